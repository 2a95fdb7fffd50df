'use strict';
// Transactions of signed-in users: js-sdk 3 and bare requests, every step through another node.

const test = require('node:test');
const assert = require('node:assert/strict');
const { PASSWORD, cli, dev, nextHost, packagesOf } = require('./harness');
const { administrator, data, newCollection, newUser } = require('./http');

const packages = packagesOf('YUNBASE_JS3_DIR', __dirname);
const cloudbase = packages('@cloudbase/js-sdk').default ?? packages('@cloudbase/js-sdk');
const app = cloudbase.init({ env: dev.env });
const auth = app.auth();
const db = () => { app.registerHost(nextHost(), 'http'); return app.database(); };

const all = async (name) => (await data('GET', `/collections/${name}/documents?order=${encodeURIComponent('[{"field":"_id","direction":"asc"}]')}`, { token: administrator })).body.list;
const add = (token, name, document, transactionId) => data('POST', `/collections/${name}/documents`, { token, body: { data: [document], transactionId } });
const get = (token, name, id, transactionId) => data('GET', `/collections/${name}/documents/${id}?transactionId=${transactionId}`, { token });
const find = (token, name, query, transactionId) => data('GET', `/collections/${name}/documents?query=${encodeURIComponent(JSON.stringify(query))}&transactionId=${transactionId}`, { token });
const update = (token, name, id, change, transactionId) => data('PATCH', `/collections/${name}/documents`, { token, body: { query: { _id: id }, data: change, multi: false, upsert: false, replaceMode: false, transactionId } });
const begin = async (token) => (await data('POST', '/transactions', { token })).body.transactionId;
const commit = (token, id) => data('POST', `/transactions/${id}/commit`, { token });

test('TX01 TX02 TX04 TX05: js-sdk 3 runs transactions on what is the signed-in user\'s', async () => {
  const name = await newCollection();
  const ann = await newUser();
  app.registerHost(nextHost(), 'http');
  assert.equal((await auth.signInWithPassword({ username: ann.username, password: PASSWORD })).error, null);
  await add(ann.token, name, { _id: 'a', n: 1 });
  await db().runTransaction(async (transaction) => {
    const inside = transaction.collection(name);
    await inside.doc('a').update({ n: 5 });
    await inside.add({ _id: 'b', n: 2 });
  });
  const left = await all(name);
  assert.deepEqual(left.map((one) => [one._id, one._openid]), [['a', ann.uid], ['b', ann.uid]]);
  assert.deepEqual(left[0].n, { $numberInt: '5' });
  const dropped = await db().startTransaction();
  await dropped.collection(name).doc('a').update({ n: 9 });
  await dropped.rollback().catch(() => {});
  assert.deepEqual(await all(name), left);
  await auth.signOut();
});

test('RU01 TX04: inside of a transaction the rules hold for each read and write', async () => {
  const rule = JSON.stringify({ read: true, create: true, delete: false, update: 'doc._openid == auth.openid && doc.n < 10' });
  const [open, own] = [await newCollection('custom', '--rule', rule), await newCollection()];
  const [ann, bob] = [await newUser(), await newUser()];
  await add(ann.token, open, { _id: 'a', n: 1 });
  await add(ann.token, own, { _id: 'a', n: 1 });
  await add(bob.token, open, { _id: 'b', n: 1 });
  const id = await begin(bob.token);
  const code = async (asked) => (await asked).body.code;
  assert.equal((await get(bob.token, open, 'a', id)).body._id, 'a');
  assert.equal(await code(get(bob.token, own, 'a', id)), 'DOCUMENT_NOT_FOUND');
  assert.deepEqual((await find(bob.token, own, {}, id)).body.list, []);
  assert.equal(await code(update(bob.token, open, 'a', { n: 2 }, id)), 'DATABASE_PERMISSION_DENIED');
  assert.equal(await code(update(bob.token, open, 'b', { n: 10 }, id)), 'DATABASE_PERMISSION_DENIED');
  assert.equal(await code(update(bob.token, open, 'b', { _openid: ann.uid }, id)), 'DATABASE_PERMISSION_DENIED');
  assert.equal(await code(add(bob.token, open, { _openid: ann.uid }, id)), 'DATABASE_PERMISSION_DENIED');
  assert.equal(await code(find(bob.token, '_sys.users', {}, id)), 'DATABASE_PERMISSION_DENIED');
  assert.equal((await update(bob.token, own, 'a', { n: 2 }, id)).body.updated, 0);
  assert.equal((await update(bob.token, open, 'b', { n: 9 }, id)).body.updated, 1);
  // It is nobody else's.
  for (const token of [ann.token, administrator]) assert.equal(await code(commit(token, id)), 'DATABASE_TRANSACTION_NOT_EXIST');
  assert.equal((await commit(bob.token, id)).status, 200);
  assert.deepEqual((await all(open)).map((one) => [one._id, one.n]), [['a', { $numberInt: '1' }], ['b', { $numberInt: '9' }]]);
});

test('RU01 AU23 TX01: a change of rules and the end of a sign-in come before the commit', async () => {
  const name = await newCollection('readonly');
  const ann = await newUser();
  await add(ann.token, name, { _id: 'a', n: 1 });
  const [first, second] = [await begin(ann.token), await begin(ann.token)];
  for (const id of [first, second]) assert.equal((await update(ann.token, name, 'a', { n: 2 }, id)).body.updated, 1);
  cli('rules', 'set', name, 'adminwrite');
  assert.equal((await commit(ann.token, first)).body.code, 'DATABASE_TRANSACTION_CONFLICT');
  cli('rules', 'set', name, 'readonly');
  const third = await begin(ann.token);
  assert.equal((await update(ann.token, name, 'a', { n: 3 }, third)).body.updated, 1);
  cli('user', 'revoke', ann.username);
  assert.equal((await commit(ann.token, third)).status, 401);
  assert.deepEqual((await all(name)).map((one) => one.n), [{ $numberInt: '1' }]);
});

test('TX08: nothing appears behind a query of a transaction', async () => {
  const name = await newCollection();
  const ann = await newUser();
  await add(ann.token, name, { n: 1 });
  const id = await begin(ann.token);
  assert.equal((await find(ann.token, name, { n: { $gt: 0 } }, id)).body.list.length, 1);
  await add(ann.token, name, { sum: 1 }, id);
  await add(ann.token, name, { n: 2 });
  assert.equal((await commit(ann.token, id)).body.code, 'DATABASE_TRANSACTION_CONFLICT');
});

test('ST08 RU01: a join shows what the rules of the other collection show, and none of a closed one', async () => {
  const [root, own, closed] = [await newCollection('readonly'), await newCollection(), await newCollection('adminonly')];
  const [ann, bob] = [await newUser(), await newUser()];
  await add(ann.token, root, { _id: 'r', key: 1 });
  for (const user of [ann, bob]) await add(user.token, own, { key: 1, by: user.username });
  await add(administrator, closed, { key: 1 });
  const joined = async (pipeline) => (await data('POST', `/collections/${root}/documents/aggregations`, { token: bob.token, body: { pipeline } })).body;
  const forms = (from) => [
    [{ $lookup: { from, localField: 'key', foreignField: 'key', as: 'x' } }, { $unwind: '$x' }, { $replaceWith: '$x' }],
    [{ $lookup: { from, let: { k: '$key' }, pipeline: [{ $match: { $expr: { $eq: ['$key', '$$k'] } } }], as: 'x' } }, { $unwind: '$x' }, { $replaceWith: '$x' }],
    [{ $match: { key: 2 } }, { $unionWith: from }],
    [{ $graphLookup: { from, startWith: '$key', connectFromField: 'none', connectToField: 'key', as: 'x' } }, { $unwind: '$x' }, { $replaceWith: '$x' }],
  ];
  for (const pipeline of forms(own)) assert.deepEqual((await joined(pipeline)).list?.map((one) => one.by), [bob.username], JSON.stringify(pipeline));
  for (const from of [closed, '_sys.users', '_sys.sessions']) {
    for (const pipeline of forms(from)) assert.equal((await joined(pipeline)).code, 'DATABASE_PERMISSION_DENIED', JSON.stringify(pipeline));
  }
  const aggregated = await data('POST', `/collections/${closed}/documents/aggregations`, { token: bob.token, body: { pipeline: [{ $count: 'n' }] } });
  assert.equal(aggregated.body.code, 'DATABASE_PERMISSION_DENIED');
});
