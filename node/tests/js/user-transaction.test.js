'use strict';
// Transactions of signed-in users by the web door, with js-sdk 1 and 2: the older actions of a transaction.

const test = require('node:test');
const assert = require('node:assert/strict');
const { collection, dev, failure, yunbase } = require('./cluster');
const { js1, js2, nextHost } = require('./apps');

let names = 0;
/** A new user: id and access token. */
async function newUser() {
  const username = `ut_${Date.now().toString(36)}_${++names}`.slice(0, 24);
  const signedUp = await fetch(`http://${nextHost()}/auth/v1/signup?client_id=${dev.env}`, {
    method: 'POST', body: JSON.stringify({ username, password: 'correct-horse-1' }),
  });
  const { sub, access_token: token } = await signedUp.json();
  assert.ok(token);
  return { uid: sub, token };
}

for (const [version, app] of Object.entries({ 'js-sdk 1': js1, 'js-sdk 2': js2 })) {
  test(`${version}: TX01 TX02 TX03 TX04 TX05: a transaction of a user`, async () => {
    const { uid, token } = await newUser();
    const db = (await app(token)).database();
    const todo = await collection([{ _id: 'a', n: 1, _openid: uid }]);
    const kept = await db.runTransaction(async (transaction) => {
      const inside = transaction.collection(todo.collectionName);
      const { data } = await inside.doc('a').get();
      assert.equal(data.n, 1);
      await inside.doc('a').update({ n: data.n + 1 });
      await inside.doc('b').set({ n: 7 });
      await inside.add({ _id: 'c', n: 3 });
      await inside.doc('c').delete();
      return 'kept';
    });
    assert.equal(kept, 'kept');
    const { data } = await todo().orderBy('_id', 'asc').get();
    assert.deepEqual(data.map((one) => [one._id, one.n, one._openid]), [['a', 2, uid], ['b', 7, uid]]);
  });

  test(`${version}: TX08 RU01: a conflict runs it again, and the rules hold inside`, async () => {
    const { uid, token } = await newUser();
    const db = (await app(token)).database();
    const todo = await collection([{ _id: 'a', n: 1, _openid: uid }, { _id: 'hidden', n: 1, _openid: 'another' }]);
    const open = await collection([{ _id: 'o', n: 1 }]);
    yunbase('rules', 'set', open.collectionName, 'adminwrite');
    let runs = 0;
    await db.runTransaction(async (transaction) => {
      const inside = transaction.collection(todo.collectionName).doc('a');
      const { data } = await inside.get();
      if (++runs === 1) await todo().doc('a').update({ n: 10 });
      await inside.update({ n: data.n + 1 });
    });
    assert.equal(runs, 2);
    const refused = await failure(db.runTransaction(async (transaction) => {
      const inside = transaction.collection(todo.collectionName);
      await inside.doc('a').update({ n: 0 });
      assert.ok(!(await inside.doc('hidden').get()).data);
      assert.equal((await transaction.collection(open.collectionName).doc('o').get()).data.n, 1);
      await transaction.collection(open.collectionName).doc('o').update({ n: 2 });
    }));
    assert.equal(refused.code, 'DATABASE_PERMISSION_DENIED');
    assert.deepEqual((await todo().orderBy('_id', 'asc').get()).data.map((one) => one.n), [11, 1]);
  });
}
