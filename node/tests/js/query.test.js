'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { collection, db, failure, _ } = require('./cluster');

const $ = _.aggregate;

const documents = [
  { _id: 'a', n: 1, m: 3, s: 'apple', tags: ['x', 'y'], nested: { p: 1, q: { r: 'deep' } }, at: new Date(1000), z: null, list: [{ k: 1, v: 5 }, { k: 2, v: 9 }] },
  { _id: 'b', n: 5, m: 5, s: 'Banana', tags: ['y', 'z'], nested: { p: 2 }, at: new Date(2000), list: [{ k: 1, v: 9 }] },
  { _id: 'c', n: 10, m: 3, s: 'cherry', tags: [], nested: { p: 3, q: { r: 'x' } }, grid: [[1, 2], [3]] },
  { _id: 'd', n: 2.5, m: 2.5, s: '10', tags: ['x', 'y', 'z'] },
  { _id: 'e', n: '5', s: 'apple pie' },
];

const cases = [
  ['QC01 eq', { n: _.eq(5) }, 'b'],
  ['QC01 eq of a whole object', { nested: _.eq({ p: 2 }) }, 'b'],
  ['QC01 eq of a part of an object is not equality', { nested: _.eq({ p: 1 }) }, ''],
  ['QC01 eq of a whole array', { tags: _.eq(['x', 'y']) }, 'a'],
  ['QC02 neq', { n: _.neq(5) }, 'acde'],
  ['QC02 neq matches missing fields', { 'nested.p': _.neq(1) }, 'bcde'],
  ['QC03 lt stays within the type', { n: _.lt(5) }, 'ad'],
  ['QC03 lt on dates', { at: _.lt(new Date(2000)) }, 'a'],
  ['QC04 lte', { n: _.lte(5) }, 'abd'],
  ['QC05 gt', { n: _.gt(5) }, 'c'],
  ['QC05 gt on text', { s: _.gt('apple') }, 'ce'],
  ['QC06 gte', { n: _.gte(5) }, 'bc'],
  ['QC07 in', { n: _.in([1, 10]) }, 'ac'],
  ['QC07 in with a regular expression', { s: _.in([/^app/, 'cherry']) }, 'ace'],
  ['QC07 in on an array field', { tags: _.in(['z']) }, 'bd'],
  ['QC07 in nothing', { n: _.in([]) }, ''],
  ['QC08 nin', { n: _.nin([1, 10]) }, 'bde'],
  ['QC09 all', { tags: _.all(['x', 'y']) }, 'ad'],
  ['QC10 elemMatch of objects', { list: _.elemMatch({ k: 1, v: _.gt(5) }) }, 'b'],
  ['QC10 elemMatch of values', { tags: _.elemMatch(_.eq('z')) }, 'bd'],
  ['QC11 exists', { at: _.exists(true) }, 'ab'],
  ['QC11 exists takes null for there', { z: _.exists(true) }, 'a'],
  ['QC11 exists(false)', { z: _.exists(false) }, 'bcde'],
  ['QC12 size', { tags: _.size(2) }, 'ab'],
  ['QC12 size 0', { tags: _.size(0) }, 'c'],
  ['QC13 mod', { n: _.mod(5, 0) }, 'bc'],
  ['QC14 and on one field', { n: _.gt(1).and(_.lt(10)) }, 'bd'],
  ['QC14 and across fields', _.and([{ n: _.gt(1) }, { m: 3 }]), 'c'],
  ['QC15 or on one field', { n: _.lt(2).or(_.gt(5)) }, 'ac'],
  ['QC15 or as a field\'s value', { n: _.or([_.eq(1), _.eq('5')]) }, 'ae'],
  ['QC15 or across fields', _.or([{ n: 1 }, { s: 'Banana' }]), 'ab'],
  ['QC16 nor', _.nor([{ n: 1 }, { m: 5 }]), 'cde'],
  ['QC17 not', { n: _.not(_.gt(2)) }, 'ae'],
  ['QC18 expr compares fields', _.and([{ m: _.exists(true) }, _.expr($.gt(['$n', '$m']))]), 'c'],
  ['QC18 expr computes', _.and([{ m: _.exists(true) }, _.expr($.eq(['$n', $.subtract(['$m', 2])]))]), 'a'],
  ['QC24 plain number', { n: 5 }, 'b'],
  ['QC24 regular expression', { s: /^APP/i }, 'ae'],
  ['QC24 db.RegExp', { s: db().RegExp({ regexp: 'an', options: '' }) }, 'b'],
  ['QC24 date', { at: new Date(1000) }, 'a'],
  ['QC24 null matches missing', { z: null }, 'abcde'],
  ['QC24 a value matches an element', { tags: 'x' }, 'ad'],
  ['QC24 an array matches as a whole', { tags: ['y', 'z'] }, 'b'],
  ['QC24 several fields', { m: 3, tags: 'y' }, 'a'],
  ['QC25 nested object becomes dotted paths', { nested: { q: { r: 'deep' } } }, 'a'],
  ['QC25 nested object with commands', { nested: { p: _.gte(2) } }, 'bc'],
  ['QC25 an empty object vanishes', { nested: {} }, 'abcde'],
  ['QC27 dotted path', { 'nested.p': 3 }, 'c'],
  ['QC27 array index and below', { 'list.0.v': 5 }, 'a'],
  ['QC27 array index', { 'tags.1': 'y' }, 'ad'],
  ['QC27 into each element', { 'list.v': 9 }, 'ab'],
  ['QC27 index of an index', { 'grid.0.1': 2 }, 'c'],
];

test('queries', async (context) => {
  const fruit = await collection(documents);
  for (const [name, query, expected] of cases) {
    await context.test(name, async () => {
      const found = (await fruit().where(query).orderBy('_id', 'asc').get()).data.map((one) => one._id).join('');
      assert.equal(found, expected);
      assert.equal((await fruit().where(query).count()).total, expected.length);
    });
  }
});

test('PC01 slice in a projection', async () => {
  const lists = await collection([{ _id: 'a', v: [1, 2, 3, 4], w: 1 }]);
  const slice = async (param) => (await lists().field({ v: _.project.slice(param) }).get()).data[0].v;
  assert.deepEqual(await slice(2), [1, 2]);
  assert.deepEqual(await slice(-1), [4]);
  assert.deepEqual(await slice([1, 2]), [2, 3]);
});

test('PC02 elemMatch in a projection', async () => {
  const lists = await collection([{ _id: 'a', v: [{ k: 1 }, { k: 2, x: 1 }, { k: 2, x: 2 }] }]);
  const [found] = (await lists().field({ v: _.project.elemMatch({ k: 2 }) }).get()).data;
  assert.deepEqual(found.v, [{ k: 2, x: 1 }]);
});

test('QC19 jsonSchema', async () => {
  const people = await collection([
    { _id: 'a', name: 'Ann', age: 30 }, { _id: 'b', name: 'Bo', age: -1 }, { _id: 'c', name: 5, age: 7 }, { _id: 'd', name: 'Di' },
  ]);
  const schema = { required: ['name', 'age'], properties: { name: { bsonType: 'string' }, age: { minimum: 0 } } };
  const ids = async (query) => (await people().where(query).orderBy('_id', 'asc').get()).data.map((one) => one._id).join('');
  assert.equal(await ids(_.jsonSchema(schema)), 'a');
  assert.equal(await ids(_.and([{ age: _.gt(5) }, _.jsonSchema({ properties: { name: { type: 'number' } } })])), 'c');
  const refused = await failure(people().where(_.jsonSchema({ requird: ['name'] })).get());
  assert.match(refused.message, /'requird'/);
});
