'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { collection, failure, _ } = require('./cluster');

const ids = (result) => result.data.map((one) => one._id);

test('CO01 add: generated id, own id, duplicate', async () => {
  const todo = await collection();
  assert.match((await todo().add({ a: 1 })).id, /^[0-9a-f]{32}$/);
  assert.equal((await todo().add({ _id: 'mine', a: 1 })).id, 'mine');
  assert.equal((await todo().add({ _id: 7 })).id, 7);
  const error = await failure(todo().add({ _id: 'mine', a: 2 }));
  assert.equal(error.code, 'DATABASE_REQUEST_FAILED');
  assert.equal((await todo().doc('mine').get()).data[0].a, 1);
});

test('CO01 add: every kind of value reads back', async () => {
  const todo = await collection();
  const value = {
    _id: 'all', int: -7, double: 1.5, large: 2 ** 40, huge: 1e300, negativeZero: 0, yes: true, no: false, nothing: null,
    text: 'a "quoted" \\ \n \u0000 数据 🙂', empty: '', date: new Date(1700000000123), old: new Date(-1),
    list: [1, 'two', [3, [4]], { five: 5 }, null], nested: { deep: { deeper: { deepest: [] } }, none: {} },
  };
  await todo().add(value);
  assert.deepEqual((await todo().doc('all').get()).data, [value]);
});

test('CO02 add of several: ids in order', async () => {
  const todo = await collection();
  const { ids: made } = await todo().add([{ _id: 'b' }, { n: 1 }, { _id: 'a' }]);
  assert.equal(made.length, 3);
  assert.equal(made[0], 'b');
  assert.match(made[1], /^[0-9a-f]{32}$/);
  assert.equal(made[2], 'a');
  assert.equal((await todo().count()).total, 3);
});

test('CO03 where: the last one wins, empty means all', async () => {
  const todo = await collection([{ _id: 'a', n: 1 }, { _id: 'b', n: 2 }]);
  assert.deepEqual(ids(await todo().where({ n: 1 }).where({ n: 2 }).get()), ['b']);
  assert.equal((await todo().where({}).get()).data.length, 2);
});

const many = (count) => Array.from({ length: count }, (unused, n) => ({ _id: String(n).padStart(5, '0'), n, even: n % 2 === 0 }));

test('CO04 CO07 get: 100 by default, 1000 at most', async () => {
  const todo = await collection(many(1005));
  assert.equal((await todo().get()).data.length, 100);
  assert.equal((await todo().limit(7).get()).data.length, 7);
  assert.equal((await todo().limit(1000).get()).data.length, 1000);
  assert.equal((await todo().limit(5000).get()).data.length, 1000);
});

test('CO05 count', async () => {
  const todo = await collection(many(30));
  assert.equal((await todo().count()).total, 30);
  assert.equal((await todo().where({ even: true }).count()).total, 15);
  assert.equal((await todo().where({ n: _.gt(100) }).count()).total, 0);
});

test('CO06 CO08 orderBy: order of calls is priority, dotted fields, skip and limit after it', async () => {
  const todo = await collection([
    { _id: 'a', g: 1, o: { n: 1 } }, { _id: 'b', g: 2, o: { n: 3 } }, { _id: 'c', g: 1, o: { n: 2 } }, { _id: 'd', g: 2, o: { n: 4 } },
  ]);
  assert.deepEqual(ids(await todo().orderBy('g', 'desc').orderBy('o.n', 'asc').get()), ['b', 'd', 'a', 'c']);
  assert.deepEqual(ids(await todo().orderBy('o.n', 'desc').get()), ['d', 'b', 'c', 'a']);
  assert.deepEqual(ids(await todo().orderBy('o.n', 'asc').skip(1).limit(2).get()), ['c', 'b']);
  assert.deepEqual(ids(await todo().orderBy('o.n', 'asc').skip(9).get()), []);
});

test('CO06 values of different types have one order', async () => {
  const todo = await collection([
    { _id: 'text', v: 'x' }, { _id: 'number', v: 5 }, { _id: 'null', v: null }, { _id: 'bool', v: true }, { _id: 'date', v: new Date(0) },
    { _id: 'object', v: { a: 1 } }, { _id: 'double', v: 4.5 }, { _id: 'large', v: 2 ** 40 },
  ]);
  assert.deepEqual(ids(await todo().orderBy('v', 'asc').get()), ['null', 'double', 'number', 'large', 'text', 'object', 'bool', 'date']);
});

test('CO09 field: include, exclude, without _id, dotted', async () => {
  const todo = await collection([{ _id: 'a', b: 1, c: { d: 2, e: 3 } }]);
  const one = async (fields) => (await todo().field(fields).get()).data[0];
  assert.deepEqual(await one({ b: true }), { _id: 'a', b: 1 });
  assert.deepEqual(await one({ b: true, _id: false }), { b: 1 });
  assert.deepEqual(await one({ b: false }), { _id: 'a', c: { d: 2, e: 3 } });
  assert.deepEqual(await one({ 'c.d': true }), { _id: 'a', c: { d: 2 } });
});

test('CO10 options: limit, offset, raw operators, multiple', async () => {
  const todo = await collection(many(10));
  assert.equal((await todo().options({ limit: 3, offset: 8 }).get()).data.length, 2);
  const raw = await todo().options({ raw: true }).where({ $or: [{ n: { $lt: 1 } }, { n: { $gte: 9 } }] }).get();
  assert.equal(raw.data.length, 2);
  assert.equal((await todo().where({ even: true }).options({ multiple: false }).update({ seen: true })).updated, 1);
  assert.equal((await todo().where({ seen: true }).count()).total, 1);
  assert.equal((await todo().where({ even: true }).options({ multiple: false }).remove()).deleted, 1);
  assert.equal((await todo().count()).total, 9);
});

test('CO11 update on a query: all matches, count, no upsert', async () => {
  const todo = await collection(many(12));
  assert.equal((await todo().where({ even: true }).update({ mark: 1 })).updated, 6);
  assert.equal((await todo().where({ mark: 1 }).count()).total, 6);
  assert.equal((await todo().where({ n: 99 }).update({ mark: 1 })).updated, 0);
  assert.equal((await todo().count()).total, 12);
});

test('CO12 remove on a query: all matches; without a query all', async () => {
  const todo = await collection(many(12));
  assert.equal((await todo().where({ n: _.lt(5) }).remove()).deleted, 5);
  assert.equal((await todo().where({ n: _.lt(5) }).remove()).deleted, 0);
  assert.equal((await todo().remove()).deleted, 7);
  assert.equal((await todo().count()).total, 0);
});

test('CO13 updateAndReturn: one document, as it is after the change', async () => {
  const todo = await collection([{ _id: 'a', n: 1 }]);
  const result = await todo().where({ _id: 'a' }).updateAndReturn({ n: _.inc(5), seen: true });
  assert.equal(result.updated, 1);
  assert.deepEqual(result.doc, { _id: 'a', n: 6, seen: true });
  const none = await todo().where({ _id: 'absent' }).updateAndReturn({ n: 1 });
  assert.equal(none.updated, 0);
  assert.ok(!none.doc);
});

test('CO16 CO17 doc: string and number ids; get gives none or one', async () => {
  const todo = await collection([{ _id: 'a', n: 1 }, { _id: 5, n: 2 }]);
  assert.deepEqual((await todo().doc('a').get()).data, [{ _id: 'a', n: 1 }]);
  assert.deepEqual((await todo().doc(5).get()).data, [{ _id: 5, n: 2 }]);
  assert.deepEqual((await todo().doc('5').get()).data, []);
});

test('CO18 doc.update: merges, counts, creates nothing', async () => {
  const todo = await collection([{ _id: 'a', n: 1, o: { x: 1 } }]);
  assert.equal((await todo().doc('a').update({ o: { y: 2 } })).updated, 1);
  assert.deepEqual((await todo().doc('a').get()).data[0], { _id: 'a', n: 1, o: { x: 1, y: 2 } });
  assert.equal((await todo().doc('absent').update({ n: 1 })).updated, 0);
  assert.equal((await todo().count()).total, 1);
});

test('CO18 doc.update with an empty nested object changes nothing', async () => {
  const todo = await collection([{ _id: 'a', n: 1 }]);
  assert.equal((await todo().doc('a').update({ p: {} })).updated, 0);
  assert.deepEqual((await todo().doc('a').get()).data[0], { _id: 'a', n: 1 });
});

test('CO19 doc.set: replaces, or creates with that id', async () => {
  const todo = await collection([{ _id: 'a', n: 1, gone: true }]);
  const replaced = await todo().doc('a').set({ n: 2 });
  assert.equal(replaced.updated, 1);
  assert.deepEqual((await todo().doc('a').get()).data[0], { _id: 'a', n: 2 });
  const created = await todo().doc('new').set({ n: 3 });
  assert.equal(created.upsertedId, 'new');
  assert.deepEqual((await todo().doc('new').get()).data[0], { _id: 'new', n: 3 });
});

test('CO20 doc.remove: none or one', async () => {
  const todo = await collection([{ _id: 'a' }, { _id: 'b' }]);
  assert.equal((await todo().doc('a').remove()).deleted, 1);
  assert.equal((await todo().doc('a').delete()).deleted, 0);
  assert.equal((await todo().count()).total, 1);
});

test('CO21 doc.create: adds with that id', async () => {
  const todo = await collection();
  assert.equal((await todo().doc('a').create({ n: 1 })).id, 'a');
  assert.equal((await failure(todo().doc('a').create({ n: 2 }))).code, 'DATABASE_REQUEST_FAILED');
  assert.deepEqual((await todo().doc('a').get()).data[0], { _id: 'a', n: 1 });
});

test('CO22 doc.field', async () => {
  const todo = await collection([{ _id: 'a', b: 1, c: 2 }]);
  assert.deepEqual((await todo().doc('a').field({ b: true }).get()).data[0], { _id: 'a', b: 1 });
});

test('CO18 _id cannot be changed', async () => {
  const todo = await collection([{ _id: 'a' }]);
  assert.ok((await failure(todo().where({ _id: 'a' }).options({ raw: true }).update({ $set: { _id: 'b' } }))).code);
  assert.equal((await todo().where({ _id: 'a' }).count()).total, 1);
});
