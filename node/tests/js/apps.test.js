'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { collection, dev, failure, newName } = require('./cluster');
const { js1, js2, js3, js3Browser, nextHost } = require('./apps');

const signed = () => js3({ auth: { secretId: dev.secretId, secretKey: dev.secretKey } });

/** The server's code, however the package reports a failure. */
const codeOf = (error) => error.code || (/\[([A-Z_]+)\]/.exec(error.message) || [])[1];

const all = { 'js-sdk 1.8.4': js1, 'js-sdk 2.25.6': js2, 'js-sdk 3.7.0': js3, 'js-sdk 3.7.0 in a browser': js3Browser };
const value = {
  int: -7, double: 1.5, large: 2 ** 40, yes: true, nothing: null, text: 'a "quoted" \\ \n 数据 🙂', date: new Date(1700000000123),
  list: [1, 'two', [3], { five: 5 }], nested: { deep: { deeper: {} } },
};

for (const [name, app] of Object.entries(all)) {
  test(`${name}: OT07 CO01 CO03 CO04 CO05 CO06 CO07 CO08 CO09 CO11 CO12 CO17 CO18 CO19 CO20`, async () => {
    const todo = await collection();
    const database = (await app()).database();
    const _ = database.command;
    const own = () => database.collection(todo.collectionName);
    const { id } = await own().add({ n: 1, ...value });
    assert.match(id, /^[0-9a-f]{32}$/);
    assert.deepEqual((await own().doc(id).get()).data, [{ _id: id, n: 1, ...value }]);
    // What one client writes, another reads as the same.
    assert.deepEqual((await todo().doc(id).get()).data, [{ _id: id, n: 1, ...value }]);
    assert.equal((await own().doc(id).update({ n: _.inc(4), nested: { b: 2 } })).updated, 1);
    const [changed] = (await own().where({ n: _.gt(4) }).field({ nested: true }).get()).data;
    assert.deepEqual(changed, { _id: id, nested: { deep: { deeper: {} }, b: 2 } });
    assert.equal((await own().doc('set').set({ n: 9, a: 1 })).upsertedId, 'set');
    assert.equal((await own().doc('set').set({ n: 10 })).updated, 1);
    // Version 3 says "merge" even where it sets (protocol 9).
    const [set] = (await own().doc('set').get()).data;
    assert.deepEqual(set, app === js3 || app === js3Browser ? { _id: 'set', n: 10, a: 1 } : { _id: 'set', n: 10 });
    const ids = async (query) => (await query.get()).data.map((one) => one._id);
    assert.deepEqual(await ids(own().orderBy('n', 'desc').limit(1)), ['set']);
    assert.deepEqual(await ids(own().orderBy('n', 'desc').skip(1)), [id]);
    assert.deepEqual(await ids(own().where({ date: new Date(1700000000123), text: /^A .QUOTED/i })), [id]);
    assert.deepEqual(await ids(own().where({ 'list.1': 'two', nothing: null })), [id]);
    assert.equal((await own().where({ n: _.gte(5) }).update({ seen: true })).updated, 2);
    assert.equal((await own().count()).total, 2);
    assert.equal((await own().where({ seen: true, n: 5 }).count()).total, 1);
    assert.equal((await own().doc('set').remove()).deleted, 1);
    assert.equal((await own().doc('set').remove()).deleted, 0);
    assert.deepEqual((await own().doc('set').get()).data, []);
    assert.equal((await own().where({ n: _.exists(true) }).remove()).deleted, 1);
    assert.equal((await own().count()).total, 0);
  });

  test(`${name}: QC UC: commands of queries and updates arrive as meant`, async () => {
    const todo = await collection([{ _id: 'a', n: 1, l: [1] }, { _id: 'b', n: 5, l: [] }, { _id: 'c', n: 9 }]);
    const database = (await app()).database();
    const _ = database.command;
    const own = database.collection(todo.collectionName);
    const cases = [
      [{ n: _.in([1, 9]) }, 'ac'], [{ n: _.nin([1, 9]) }, 'b'], [{ n: _.neq(5) }, 'ac'], [{ n: _.gt(1).and(_.lt(9)) }, 'b'],
      [_.or([{ n: 1 }, { n: _.gte(9) }]), 'ac'], [{ l: _.exists(true) }, 'ab'], [{ l: _.size(1) }, 'a'], [{ l: _.all([1]) }, 'a'],
      [{ n: _.not(_.gt(4)) }, 'a'], [{ n: _.mod([4, 1]) }, 'abc'],
    ];
    for (const [query, expected] of cases) {
      const found = (await own.where(query).orderBy('_id', 'asc').get()).data.map((one) => one._id).join('');
      assert.equal(found, expected, JSON.stringify(query));
    }
    await own.doc('a').update({
      n: _.mul(3), l: _.push([2, 3]), o: _.set({ x: { y: 1 } }), at: database.serverDate({ offset: 5000 }), gone: _.remove(),
    });
    const [{ at, ...rest }] = (await todo().doc('a').get()).data;
    assert.deepEqual(rest, { _id: 'a', n: 3, l: [1, 2, 3], o: { x: { y: 1 } } });
    assert.ok(Math.abs(at - Date.now() - 5000) < 30000);
  });

  test(`${name}: EV02 EV06 failures carry the codes of the server`, async () => {
    const database = (await app()).database();
    const absent = await failure(database.collection(newName()).get());
    assert.equal(codeOf(absent), 'DATABASE_COLLECTION_NOT_EXIST');
    const todo = await collection([{ _id: 'a' }]);
    // An operator that does not exist.
    const wrong = await failure(database.collection(todo.collectionName).where({ a: { $nonsense: 1 } }).get());
    assert.equal(codeOf(wrong), 'DATABASE_INVALID_OPERRATOR');
  });

  test(`${name}: AU23 wrong and missing credentials are refused`, async () => {
    const todo = await collection([{ _id: 'a' }]);
    const wrong = `${dev.secretId}.wrong`;
    const other = app === js3 ? await js3({ accessKey: wrong }) : await app(wrong);
    const error = await failure(other.database().collection(todo.collectionName).get());
    assert.ok(['INVALID_CREDENTIALS', 'SIGN_PARAM_INVALID'].includes(codeOf(error)), error.message);
    assert.ok(!JSON.stringify(error).includes(dev.secretKey));
    // A token of the right shape that nobody issued.
    const token = `eyJhbGciOiJIUzI1NiJ9.${Buffer.from(JSON.stringify({ aud: dev.env, sub: 'x' })).toString('base64url')}.c2ln`;
    const forged = app === js3 ? await js3({ accessKey: token }) : await app(token);
    const refused = await failure(forged.database().collection(todo.collectionName).get());
    assert.ok(['INVALID_CREDENTIALS', 'INVALID_ACCESS_TOKEN'].includes(codeOf(refused)), refused.message);
  });
}

test('js-sdk 3.7.0: CO02 adding several, CO01 a duplicate', async () => {
  const todo = await collection();
  const own = (await js3()).database().collection(todo.collectionName);
  const { ids } = await own.add([{ _id: 'x' }, { n: 1 }]);
  assert.equal(ids[0], 'x');
  assert.match(ids[1], /^[0-9a-f]{32}$/);
  const browser = (await js3Browser()).database().collection(todo.collectionName);
  assert.equal(codeOf(await failure(browser.add({ _id: 'x' }))), 'DATABASE_DUPLICATE_WRITE');
});

test('js-sdk 2.25.6: CO02 adding several', async () => {
  const todo = await collection();
  await (await js2()).database().collection(todo.collectionName).add([{ _id: 'x' }, { n: 1 }]);
  assert.equal((await todo().count()).total, 2);
});

test('js-sdk 3.7.0: CO16 CO17 a query for one _id asks for the document itself', async () => {
  const todo = await collection([{ _id: 'a b/数?', n: 1 }, { _id: 'plain', n: 2 }, { _id: 7, n: 3 }]);
  const database = (await js3()).database();
  const own = database.collection(todo.collectionName);
  const one = async (id) => (await own.where({ _id: database.command.eq(id) }).get()).data;
  assert.deepEqual(await one('plain'), [{ _id: 'plain', n: 2 }]);
  assert.deepEqual(await one(7), [{ _id: 7, n: 3 }]);
  const missing = await failure(own.where({ _id: database.command.eq('missing') }).get());
  assert.equal(codeOf(missing), 'DOCUMENT_NOT_FOUND');
  // Not so through doc(), which may therefore have any character in its id.
  assert.deepEqual((await own.doc('a b/数?').get()).data, [{ _id: 'a b/数?', n: 1 }]);
  assert.deepEqual((await own.doc(7).get()).data, [{ _id: 7, n: 3 }]);
});

test('js-sdk 3.7.0: DB02 createCollection', async () => {
  const name = newName();
  const database = (await js3()).database();
  await database.createCollection(name);
  assert.equal((await database.collection(name).count()).total, 0);
  const browser = (await js3Browser()).database();
  assert.equal(codeOf(await failure(browser.createCollection(name))), 'DATABASE_COLLECTION_ALREADY_EXIST');
});

test('js-sdk 3.7.0: DB10 runCommands', async () => {
  const todo = await collection();
  const c = todo.collectionName;
  const database = (await js3()).database();
  const { list } = await database.runCommands({ commands: [
    { insert: c, documents: [{ _id: 'a', n: 1, at: new Date(5) }, { _id: 'b', n: 2 }] },
    { update: c, updates: [{ q: { n: { $gt: 1 } }, u: { $inc: { n: 1 } }, multi: true }] },
    { find: c, filter: { _id: { $in: ['a', 'b'] } }, sort: { n: -1 }, limit: 5 },
    { count: c, query: { at: new Date(5) } },
    { delete: c, deletes: [{ q: {}, limit: 0 }] },
  ] });
  assert.deepEqual(list, [
    [{ n: 2, ok: 1 }], [{ n: 1, nModified: 1, ok: 1 }], [{ _id: 'b', n: 3 }, { _id: 'a', n: 1, at: new Date(5) }],
    [{ n: 1, ok: 1 }], [{ n: 2, ok: 1 }],
  ]);
  const browser = (await js3Browser()).database();
  const unknown = await failure(browser.runCommands({ commands: [{ dropDatabase: 1 }] }));
  assert.equal(unknown.code, 'INVALID_ACTION');
  assert.match(unknown.message, /dropDatabase/);
});

test('js-sdk 3.7.0 with a key pair signs its requests', async () => {
  const todo = await collection([{ _id: 'a', n: 1 }]);
  const own = (await signed()).database().collection(todo.collectionName);
  assert.deepEqual((await own.where({ n: 1 }).get()).data, [{ _id: 'a', n: 1 }]);
  assert.match((await own.add({ text: '数据' })).id, /^[0-9a-f]{32}$/);
  assert.equal((await own.doc('a').update({ n: 2 })).updated, 1);
  assert.equal((await own.count()).total, 2);
  const wrong = await js3({ auth: { secretId: dev.secretId, secretKey: 'wrong' } });
  // In Node.js the package resolves what is refused; what matters is that nothing came of it.
  assert.equal((await wrong.database().collection(todo.collectionName).count()).total, undefined);
});

test('js-sdk 3.7.0 without any credentials is told so', async () => {
  const response = await fetch(`http://${nextHost()}/v1/database/instances/(default)/databases/(default)/collections/c/documents`);
  assert.equal(response.status, 401);
  assert.equal((await response.json()).code, 'MISSING_CREDENTIALS');
});

test('CORS: preflights are answered and answers may be read', async () => {
  const origin = 'https://app.example';
  for (const path of ['/web', '/v1/database/instances/(default)/databases/(default)/commands', '/anything']) {
    const headers = { origin, 'access-control-request-method': 'PATCH', 'access-control-request-headers': 'authorization,x-seqid' };
    const preflight = await fetch(`http://${nextHost()}${path}`, { method: 'OPTIONS', headers });
    assert.ok(preflight.ok, path);
    assert.equal(preflight.headers.get('access-control-allow-origin'), origin);
    assert.equal(preflight.headers.get('access-control-allow-headers'), 'authorization,x-seqid');
    assert.match(preflight.headers.get('access-control-allow-methods'), /PATCH/);
  }
  const answer = await fetch(`http://${nextHost()}/web`, { method: 'POST', headers: { origin }, body: '{}' });
  assert.equal(answer.headers.get('access-control-allow-origin'), origin);
  assert.match(answer.headers.get('access-control-expose-headers'), /x-request-id/);
});
