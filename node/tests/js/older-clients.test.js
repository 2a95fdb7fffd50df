'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { collection, failure, options, packages, _: newest } = require('./cluster');

const plain = {
  '@cloudbase/node-sdk 2.11.0': ['node-sdk-2-11', {}],
  '@cloudbase/node-sdk 2.10.0': ['node-sdk-2-10', {}],
  'tcb-admin-node 1.23.0': ['tcb-admin-node', {}],
  'tcb-admin-node 1.23.0 signing v3': ['tcb-admin-node', { signMethod: 'v3' }],
};

for (const [name, [module, extra]] of Object.entries(plain)) {
  test(`${name}: CN01 CO01 CO04 CO05 CO11 CO12 CO17 CO18 CO19 CO20 QC05 UC03`, async () => {
    const todo = await collection();
    const database = packages(module).init(options(extra)).database();
    const _ = database.command;
    const own = database.collection(todo.collectionName);
    const { id } = await own.add({ n: 1, at: new Date(5), tags: ['x', null], o: { a: 1 } });
    assert.match(id, /^[0-9a-f]{32}$/);
    assert.deepEqual((await own.doc(id).get()).data, [{ _id: id, n: 1, at: new Date(5), tags: ['x', null], o: { a: 1 } }]);
    assert.equal((await own.doc(id).update({ n: _.inc(4), o: { b: 2 } })).updated, 1);
    assert.deepEqual((await own.where({ n: _.gt(4) }).field({ o: true }).get()).data, [{ _id: id, o: { a: 1, b: 2 } }]);
    assert.equal((await own.doc('set').set({ n: 9 })).upsertedId, 'set');
    assert.equal((await own.doc('set').set({ n: 10 })).updated, 1);
    assert.deepEqual((await own.orderBy('n', 'desc').limit(1).get()).data, [{ _id: 'set', n: 10 }]);
    assert.deepEqual((await own.orderBy('n', 'desc').skip(1).get()).data.map((one) => one._id), [id]);
    assert.equal((await own.where({ n: _.gte(5) }).update({ seen: true })).updated, 2);
    assert.equal((await own.count()).total, 2);
    assert.equal((await own.where({ seen: /x/ }).count()).total, 0);
    assert.equal((await own.doc('set').remove()).deleted, 1);
    assert.equal((await own.where({ n: _.exists(true) }).remove()).deleted, 1);
    const missing = await failure(database.collection(`${todo.collectionName}_absent`).get());
    assert.equal(missing.code, 'DATABASE_COLLECTION_NOT_EXIST');
  });
}

const miniProgram = {
  'wx-server-sdk 4.0.2': 'wx-server-sdk',
  'wx-server-sdk 3.0.4': 'wx-server-sdk-3',
  'wx-server-sdk 2.7.2': 'wx-server-sdk-2-7',
  'wx-server-sdk 2.6.3': 'wx-server-sdk-2-6',
};

for (const [name, module] of Object.entries(miniProgram)) {
  test(`${name}: CN04 CO01 CO04 CO05 CO11 CO12 CO17 CO18 CO19 CO20 QC05 UC03`, async () => {
    const todo = await collection();
    const cloud = packages(module);
    cloud.init(options());
    const database = cloud.database();
    const _ = database.command;
    const own = database.collection(todo.collectionName);
    const { _id } = await own.add({ data: { n: 1, at: new Date(5), o: { a: 1 } } });
    assert.match(_id, /^[0-9a-f]{32}$/);
    assert.deepEqual((await own.doc(_id).get()).data, { _id, n: 1, at: new Date(5), o: { a: 1 } });
    assert.deepEqual((await own.doc(_id).update({ data: { n: _.inc(4), o: { b: 2 } } })).stats, { updated: 1 });
    const created = await own.doc('set').set({ data: { n: 9 } });
    assert.equal(created._id, 'set');
    assert.deepEqual(created.stats, { updated: 0, created: 1 });
    assert.deepEqual((await own.doc('set').set({ data: { n: 10 } })).stats, { updated: 1, created: 0 });
    assert.deepEqual((await own.where({ n: _.gt(4) }).orderBy('n', 'desc').get()).data.map((one) => one._id), ['set', _id]);
    assert.equal((await own.count()).total, 2);
    const error = await failure(own.doc('absent').get());
    assert.match(error.errMsg, /document\.get:fail.*does not exist/);
    assert.deepEqual((await own.where({ n: _.gt(0) }).update({ data: { seen: true } })).stats, { updated: 2 });
    assert.deepEqual((await own.doc('set').remove()).stats, { removed: 1 });
    assert.deepEqual((await own.where({ seen: true }).remove()).stats, { removed: 1 });
  });
}

test('tcb-admin-node 1.23.0: what it writes, the newest client reads, and the other way round', async () => {
  const todo = await collection();
  const old = packages('tcb-admin-node').init(options()).database().collection(todo.collectionName);
  await old.add({ _id: 'old', at: new Date(7), n: 1.5 });
  await todo().add({ _id: 'new', at: new Date(8), big: 2 ** 40 });
  assert.deepEqual((await todo().where({ at: newest.eq(new Date(7)) }).get()).data, [{ _id: 'old', at: new Date(7), n: 1.5 }]);
  assert.deepEqual((await old.where({ at: new Date(8) }).get()).data, [{ _id: 'new', at: new Date(8), big: 2 ** 40 }]);
});
