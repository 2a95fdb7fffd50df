'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { collection, db, failure, _ } = require('./cluster');

// name, document before, update, document after
const cases = [
  ['UC01 set takes the whole value', { o: { a: 1, b: 2 } }, { o: _.set({ c: 3 }) }, { o: { c: 3 } }],
  ['UC02 remove', { a: 1, b: 2 }, { b: _.remove() }, { a: 1 }],
  ['UC02 remove of a nested field', { o: { a: 1, b: 2 } }, { 'o.a': _.remove() }, { o: { b: 2 } }],
  ['UC03 inc', { n: 1 }, { n: _.inc(2) }, { n: 3 }],
  ['UC03 inc creates', {}, { n: _.inc(-2) }, { n: -2 }],
  ['UC03 inc by a fraction', { n: 1 }, { n: _.inc(0.5) }, { n: 1.5 }],
  ['UC03 inc past 32 bits', { n: 2147483647 }, { n: _.inc(1) }, { n: 2147483648 }],
  ['UC04 mul', { n: 3 }, { n: _.mul(4) }, { n: 12 }],
  ['UC04 mul of a missing field is 0', {}, { n: _.mul(4) }, { n: 0 }],
  ['UC05 min', { n: 3, m: 3 }, { n: _.min(2), m: _.min(4) }, { n: 2, m: 3 }],
  ['UC06 max', { n: 3, m: 3 }, { n: _.max(2), m: _.max(4) }, { n: 3, m: 4 }],
  ['UC07 bit', { a: 13, o: 3, x: 3 }, { a: _.bit({ and: 10 }), o: _.bit({ or: 5 }), x: _.bit({ xor: 5 }) }, { a: 8, o: 7, x: 6 }],
  ['UC08 rename', { a: 1, b: 2 }, { a: _.rename('c') }, { b: 2, c: 1 }],
  ['UC09 push one', { l: [1] }, { l: _.push(2) }, { l: [1, 2] }],
  ['UC09 push creates', {}, { l: _.push(2) }, { l: [2] }],
  ['UC09 push several', { l: [1] }, { l: _.push([2, 3]) }, { l: [1, 2, 3] }],
  ['UC09 push objects', { l: [] }, { l: _.push([{ a: 1 }]) }, { l: [{ a: 1 }] }],
  ['UC09 push at a position', { l: [1, 4] }, { l: _.push({ each: [2, 3], position: 1 }) }, { l: [1, 2, 3, 4] }],
  ['UC09 push sorted and cut', { l: [5, 1] }, { l: _.push({ each: [3, 9], sort: -1, slice: 3 }) }, { l: [9, 5, 3] }],
  ['UC09 push sorted by a field', { l: [{ n: 2 }] }, { l: _.push({ each: [{ n: 1 }], sort: { n: 1 } }) }, { l: [{ n: 1 }, { n: 2 }] }],
  ['UC10 pop', { l: [1, 2, 3] }, { l: _.pop() }, { l: [1, 2] }],
  ['UC11 shift', { l: [1, 2, 3] }, { l: _.shift() }, { l: [2, 3] }],
  ['UC12 unshift', { l: [3] }, { l: _.unshift([1, 2]) }, { l: [1, 2, 3] }],
  ['UC13 pull a value', { l: [1, 2, 1] }, { l: _.pull(1) }, { l: [2] }],
  ['UC13 pull by a condition on elements', { l: [{ k: 1, v: 1 }, { k: 2, v: 1 }] }, { l: _.pull({ k: 1 }) }, { l: [{ k: 2, v: 1 }] }],
  ['UC14 pullAll', { l: [1, 2, 3, 1] }, { l: _.pullAll([1, 3]) }, { l: [2] }],
  ['UC15 addToSet', { l: [1] }, { l: _.addToSet(2) }, { l: [1, 2] }],
  ['UC15 addToSet of a member', { l: [1, 2] }, { l: _.addToSet(2) }, { l: [1, 2] }],
  ['UC15 addToSet of several', { l: [1] }, { l: _.addToSet({ $each: [1, 2, 3] }) }, { l: [1, 2, 3] }],
  ['UC16 plain values merge nested objects and replace arrays', { o: { a: 1, b: { c: 1 } }, l: [1, 2] }, { o: { b: { d: 2 } }, l: [3] }, { o: { a: 1, b: { c: 1, d: 2 } }, l: [3] }],
  ['UC16 dotted paths', { o: { a: 1 }, l: [{ n: 1 }] }, { 'o.a': 2, 'l.0.n': 5 }, { o: { a: 2 }, l: [{ n: 5 }] }],
  ['UC16 null, date and text', { a: 1, b: 1, c: 1 }, { a: null, b: new Date(5), c: 'x' }, { a: null, b: new Date(5), c: 'x' }],
];

test('updates', async (context) => {
  const todo = await collection();
  for (const [index, [name, before, update, after]] of cases.entries()) {
    await context.test(name, async () => {
      const id = `case-${index}`;
      await todo().add({ _id: id, ...before });
      const { updated } = await todo().doc(id).update(update);
      assert.deepEqual((await todo().doc(id).get()).data[0], { _id: id, ...after });
      assert.ok(updated === 1 || JSON.stringify(before) === JSON.stringify(after));
    });
  }
});

test('UC03 inc is atomic across nodes', async () => {
  const todo = await collection([{ _id: 'a', n: 0 }]);
  await Promise.all(Array.from({ length: 60 }, () => todo().doc('a').update({ n: _.inc(1) })));
  assert.equal((await todo().doc('a').get()).data[0].n, 60);
});

test('UC03 UC09 an operator on a field of the wrong type fails and changes nothing', async () => {
  const todo = await collection([{ _id: 'a', s: 'text' }]);
  for (const update of [{ s: _.inc(1) }, { s: _.push(1) }]) {
    assert.ok((await failure(todo().doc('a').update(update))).code);
  }
  assert.deepEqual((await todo().doc('a').get()).data[0], { _id: 'a', s: 'text' });
});

test('UC17 serverDate in an update', async () => {
  const todo = await collection([{ _id: 'a' }]);
  await todo().doc('a').update({ at: db().serverDate(), later: db().serverDate({ offset: 5000 }) });
  const [found] = (await todo().doc('a').get()).data;
  assert.ok(Math.abs(found.at - Date.now()) < 30000);
  assert.equal(found.later - found.at, 5000);
});
