'use strict';
// Transactions of a signed-in user by the web door, with js-sdk 2.

const test = require('node:test');
const assert = require('node:assert/strict');
const { PASSWORD, browser, cli, dev, newName, nextHost, packagesOf } = require('../js-sdk-3/harness');

browser();
const packages = packagesOf('YUNBASE_JS2_DIR', __dirname);
const cloudbase = packages('@cloudbase/js-sdk').default ?? packages('@cloudbase/js-sdk');
const app = cloudbase.init({ env: dev.env });

function login() {
  app.registerEndPoint(`//${nextHost()}/web`, 'http');
  return app.auth({ persistence: 'local' });
}
const db = () => { app.registerEndPoint(`//${nextHost()}/web`, 'http'); return app.database(); };

async function newCollection(...access) {
  const name = newName();
  cli('db', 'collection', 'create', name);
  cli('rules', 'set', name, ...access);
  return name;
}

test('js-sdk 2, TX01 TX02 TX03 TX04 TX05: a user\'s transaction', async () => {
  const name = await newCollection('private');
  const username = newName();
  await login().oauthInstance.authApi.signUp({ username, password: PASSWORD });
  const { uid } = await login().oauthInstance.authApi.getUserInfo();
  await db().collection(name).add({ _id: 'a', n: 1 });
  const kept = await db().runTransaction(async (transaction) => {
    const inside = transaction.collection(name);
    const { data } = await inside.doc('a').get();
    assert.equal(data.n, 1);
    await inside.doc('a').update({ n: data.n + 1 });
    await inside.doc('b').set({ n: 7 });
    await inside.add({ _id: 'c', n: 3 });
    await inside.doc('c').delete();
    return 'kept';
  });
  assert.equal(kept, 'kept');
  const { data } = await db().collection(name).orderBy('_id', 'asc').get();
  assert.deepEqual(data.map((one) => [one._id, one.n, one._openid]), [['a', 2, uid], ['b', 7, uid]]);
});

test('js-sdk 2, TX08 AC: a conflict runs it again, and the rules hold inside', async () => {
  const [own, open] = [await newCollection('private'), await newCollection('adminwrite')];
  cli('db', 'insert', open, '{"_id": "o", "n": 1}');
  await db().collection(own).add({ _id: 'a', n: 1 });
  let runs = 0;
  await db().runTransaction(async (transaction) => {
    const inside = transaction.collection(own).doc('a');
    const { data } = await inside.get();
    if (++runs === 1) await db().collection(own).doc('a').update({ n: 10 });
    await inside.update({ n: data.n + 1 });
  });
  assert.equal(runs, 2);
  assert.equal((await db().collection(own).doc('a').get()).data[0].n, 11);
  const refused = await db().runTransaction(async (transaction) => {
    await transaction.collection(own).doc('a').update({ n: 0 });
    assert.equal((await transaction.collection(open).doc('o').get()).data.n, 1);
    await transaction.collection(open).doc('o').update({ n: 2 });
  }).then(() => undefined, (error) => error);
  assert.equal(refused?.code, 'DATABASE_PERMISSION_DENIED');
  assert.equal((await db().collection(own).doc('a').get()).data[0].n, 11);
});
