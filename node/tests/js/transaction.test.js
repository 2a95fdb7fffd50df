'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { collection, db, dev, failure, newName, options, packages } = require('./cluster');

const versions = { 'node-sdk 3': '@cloudbase/node-sdk', 'node-sdk 2.10': 'node-sdk-2-10' };
/** A database of one package, through the next node. */
const database = (name) => packages(name).init(options()).database();

for (const [version, name] of Object.entries(versions)) {
  test(`${version}: DB09 TX01 TX03 TX04 TX05: writes are seen inside, and by others after the commit`, async () => {
    const [one, other] = [await collection([{ _id: 'a', n: 1 }, { _id: 'gone' }]), await collection()];
    const own = database(name);
    const transaction = await own.startTransaction();
    const inside = (todo) => transaction.collection(todo.collectionName);
    assert.deepEqual((await inside(one).doc('a').get()).data, { _id: 'a', n: 1 });
    assert.equal((await inside(one).doc('a').update({ n: own.command.inc(4), list: [1] })).updated, 1);
    assert.deepEqual((await inside(one).doc('a').get()).data, { _id: 'a', n: 5, list: [1] });
    const { id } = await inside(other).add({ text: '数据' });
    assert.deepEqual((await inside(other).doc(id).get()).data, { _id: id, text: '数据' });
    await inside(other).doc('set').set({ a: 1 });
    assert.equal((await inside(one).doc('gone').remove()).deleted, 1);
    assert.ok(!(await inside(one).doc('gone').get()).data);
    // Nobody else sees any of it, and nobody waits.
    assert.deepEqual((await one().orderBy('_id', 'asc').get()).data, [{ _id: 'a', n: 1 }, { _id: 'gone' }]);
    assert.equal((await other().count()).total, 0);
    await transaction.commit();
    assert.deepEqual((await one().get()).data, [{ _id: 'a', n: 5, list: [1] }]);
    assert.deepEqual((await other().doc('set').get()).data, [{ _id: 'set', a: 1 }]);
    assert.equal((await other().count()).total, 2);
    assert.equal((await failure(transaction.commit())).code, 'DATABASE_TRANSACTION_NOT_EXIST');
  });

  test(`${version}: TX01 TX08: a rollback leaves nothing, a conflict neither`, async () => {
    const todo = await collection([{ _id: 'a', n: 1 }]);
    const dropped = await database(name).startTransaction();
    await dropped.collection(todo.collectionName).doc('a').update({ n: 9 });
    await dropped.rollback().catch(() => {});
    assert.deepEqual((await todo().get()).data, [{ _id: 'a', n: 1 }]);
    const lost = await database(name).startTransaction();
    const inside = lost.collection(todo.collectionName);
    assert.equal((await inside.doc('a').get()).data.n, 1);
    await todo().doc('a').update({ n: 2 });
    await inside.doc('b').set({ n: 1 });
    assert.equal((await failure(lost.commit())).code, 'DATABASE_TRANSACTION_CONFLICT');
    assert.deepEqual((await todo().get()).data, [{ _id: 'a', n: 2 }]);
  });

  test(`${version}: DB09 TX02 EV05: runTransaction runs again after a conflict and passes the result on`, async () => {
    const todo = await collection([{ _id: 'a', n: 0 }]);
    let runs = 0;
    const result = await database(name).runTransaction(async (transaction) => {
      const own = transaction.collection(todo.collectionName).doc('a');
      const { data } = await own.get();
      if (++runs === 1) await todo().doc('a').update({ n: 10 });
      await own.update({ n: data.n + 1 });
      return 'done';
    });
    assert.deepEqual([result, runs], ['done', 2]);
    assert.deepEqual((await todo().get()).data, [{ _id: 'a', n: 11 }]);
  });
}

test('tcb-admin-node: TX01 TX03 TX04 TX05: the older actions of a transaction', async () => {
  const todo = await collection([{ _id: 'a', n: 1 }]);
  const transaction = await database('tcb-admin-node').startTransaction();
  const inside = () => transaction.collection(todo.collectionName);
  assert.equal((await inside().doc('a').get()).data.n, 1);
  assert.equal((await inside().doc('a').update({ n: 2 })).updated, 1);
  await inside().doc('b').set({ n: 3 });
  await inside().add({ _id: 'c', n: 4 });
  assert.equal((await inside().doc('c').delete()).deleted, 1);
  await transaction.commit();
  assert.deepEqual((await todo().orderBy('_id', 'asc').get()).data, [{ _id: 'a', n: 2 }, { _id: 'b', n: 3 }]);
});

test('TX06: queries inside of a transaction see its own writes', async () => {
  const todo = await collection([{ _id: 'a', n: 1 }, { _id: 'b', n: 2 }, { _id: 'c', n: 3 }]);
  const transaction = await db().startTransaction();
  const inside = transaction.collection(todo.collectionName);
  const ids = async (query) => (await query.get()).data.map((one) => one._id);
  assert.deepEqual(await ids(inside.where({ n: db().command.gt(1) }).orderBy('n', 'desc').limit(1)), ['c']);
  await inside.doc('a').update({ n: 9 });
  await inside.doc('c').remove();
  assert.deepEqual(await ids(inside.where({ n: db().command.gt(1) }).orderBy('n', 'desc')), ['a', 'b']);
  const changed = await inside.where({ n: 2 }).updateAndReturn({ n: 20 });
  assert.deepEqual(changed, { ...changed, updated: 1, doc: { _id: 'b', n: 20 } });
  await transaction.commit();
  assert.deepEqual((await todo().orderBy('_id', 'asc').get()).data, [{ _id: 'a', n: 9 }, { _id: 'b', n: 20 }]);
});

test('TX07: what the packages send without the transaction is outside of it', async () => {
  const todo = await collection([{ _id: 'a', n: 1 }]);
  const transaction = await db().startTransaction();
  const inside = transaction.collection(todo.collectionName);
  await inside.doc('b').set({ n: 2 });
  assert.equal((await inside.where({ n: db().command.gt(0) }).count()).total, 1);
  assert.equal((await inside.where({ n: 2 }).update({ n: 3 })).updated, 0);
  assert.deepEqual((await inside.aggregate().group({ _id: null, n: db().command.aggregate.sum(1) }).end()).data, [{ _id: null, n: 1 }]);
  await transaction.commit();
  assert.deepEqual((await todo().orderBy('_id', 'asc').get()).data, [{ _id: 'a', n: 1 }, { _id: 'b', n: 2 }]);
});

test('TX08: a bank of accounts keeps its total under concurrent transactions', async () => {
  const accounts = 6;
  const todo = await collection(Array.from({ length: accounts }, (_, n) => ({ _id: `${n}`, money: 100 })));
  let moved = 0;
  const teller = async (seed) => {
    for (let turn = 0; turn < 12; turn++) {
      const [from, to] = [(seed + turn) % accounts, (seed * 5 + turn * 3 + 1) % accounts];
      if (from === to) continue;
      try {
        await db().runTransaction(async (transaction) => {
          const own = (n) => transaction.collection(todo.collectionName).doc(`${n}`);
          const [a, b] = [(await own(from).get()).data, (await own(to).get()).data];
          await own(from).update({ money: a.money - 7 });
          await own(to).update({ money: b.money + 7 });
        }, 20);
        moved++;
      } catch (error) {
        assert.equal(error.code, 'DATABASE_TRANSACTION_CONFLICT');
      }
    }
  };
  await Promise.all([1, 2, 3, 4].map(teller));
  const { data } = await todo().get();
  assert.equal(data.reduce((sum, account) => sum + account.money, 0), accounts * 100);
  assert.ok(moved > 10, `${moved} moved`);
});

test('TX01: what is no transaction is told so', async () => {
  const name = newName();
  for (const id of ['nothing', '1-00000000000000000000000000000000', 'ff-0']) {
    const response = await fetch(`${dev.http[0]}/v1/database/instances/(default)/databases/(default)/collections/${name}/documents/a?transactionId=${id}`, {
      headers: { authorization: `Bearer ${dev.secretId}.${dev.secretKey}` },
    });
    assert.ok(['DATABASE_TRANSACTION_NOT_EXIST', 'DATABASE_TRANSACTION_CONFLICT'].includes((await response.json()).code), id);
  }
});
