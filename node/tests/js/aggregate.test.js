'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { collection, db, failure, options, packages, _ } = require('./cluster');

const $ = _.aggregate;

const sales = [
  { _id: 1, city: 'Rome', n: 5, price: 2.5, tags: ['a', 'b'], at: new Date('2024-02-29T23:30:15.250Z'), o: { x: 1, y: 2 } },
  { _id: 2, city: 'Rome', n: 10, price: 4, tags: ['b'], at: new Date('2024-12-31T12:00:00Z'), o: { x: 3 } },
  { _id: 3, city: 'Oslo', n: 1, price: 8, tags: [], at: new Date('2023-01-01T00:00:00Z') },
  { _id: 4, city: 'Bern', n: 7, price: 1 },
];

const list = async (aggregation) => (await aggregation.end()).data;

test('stages', async (context) => {
  const shop = await collection(sales);
  const cities = await collection([{ _id: 'Rome', country: 'IT' }, { _id: 'Oslo', country: 'NO' }, { _id: 'Nice', country: 'FR' }]);
  const from = cities.collectionName;
  const run = () => shop().aggregate();
  const cases = [
    ['ST17 end of nothing is the whole collection', () => run(), sales],
    ['ST01 addFields', () => run().match({ _id: 1 }).addFields({ total: $.multiply(['$n', '$price']), 'o.z': 3 }).project({ total: 1, o: 1 }),
      [{ _id: 1, total: 12.5, o: { x: 1, y: 2, z: 3 } }]],
    ['ST02 bucket', () => run().bucket({ groupBy: '$n', boundaries: [0, 5, 10], default: 'more', output: { ids: $.push('$_id') } }),
      [{ _id: 0, ids: [3] }, { _id: 5, ids: [1, 4] }, { _id: 'more', ids: [2] }]],
    ['ST02 bucket counts by default', () => run().bucket({ groupBy: '$n', boundaries: [0, 100] }), [{ _id: 0, count: 4 }]],
    ['ST03 bucketAuto', () => run().bucketAuto({ groupBy: '$n', buckets: 2 }),
      [{ _id: { min: 1, max: 7 }, count: 2 }, { _id: { min: 7, max: 10 }, count: 2 }]],
    ['ST04 count', () => run().match({ n: _.gte(5) }).count('total'), [{ total: 3 }]],
    ['ST06 group', () => run().group({ _id: '$city', n: $.sum('$n') }).sort({ _id: 1 }),
      [{ _id: 'Bern', n: 7 }, { _id: 'Oslo', n: 1 }, { _id: 'Rome', n: 15 }]],
    ['ST06 group by several and by nothing', () => run().group({ _id: { c: '$city' }, one: $.sum(1) }).group({ _id: null, groups: $.sum(1) }),
      [{ _id: null, groups: 3 }]],
    ['ST07 ST13 ST14 sort, skip, limit', () => run().sort({ price: -1 }).skip(1).limit(2).project({ price: 1 }),
      [{ _id: 2, price: 4 }, { _id: 1, price: 2.5 }]],
    ['ST08 lookup by fields', () => run().lookup({ from, localField: 'city', foreignField: '_id', as: 'where' }).sort({ _id: 1 }).project({ where: 1 }),
      [1, 2, 3, 4].map((_id) => ({ _id, where: { 1: [{ _id: 'Rome', country: 'IT' }], 2: [{ _id: 'Rome', country: 'IT' }], 3: [{ _id: 'Oslo', country: 'NO' }], 4: [] }[_id] }))],
    ['ST08 OP93 lookup with let and pipeline', () => run().match({ _id: 1 }).lookup({
      from, let: { city: '$city' }, as: 'where',
      pipeline: $.pipeline().match(_.expr($.eq(['$_id', '$$city']))).project({ _id: 0, country: 1 }).done(),
    }).project({ where: 1 }), [{ _id: 1, where: [{ country: 'IT' }] }]],
    ['ST09 match takes commands, dates and patterns', () => run().match({ at: _.gte(new Date('2024-01-01')), city: /^R/, o: { x: _.lt(3) } }).project({ _id: 1 }), [{ _id: 1 }]],
    ['ST10 project', () => run().match({ _id: 2 }).project({ _id: 0, city: 1, 'o.x': 1, twice: $.add(['$n', '$n']) }), [{ city: 'Rome', o: { x: 3 }, twice: 20 }]],
    ['ST10 project leaves out', () => run().match({ _id: 4 }).project({ city: 0, price: 0 }), [{ _id: 4, n: 7 }]],
    ['ST11 replaceRoot', () => run().match({ _id: 1 }).replaceRoot({ newRoot: $.mergeObjects(['$o', { city: '$city' }]) }), [{ x: 1, y: 2, city: 'Rome' }]],
    ['ST15 sortByCount', () => run().sortByCount('$city').limit(1), [{ _id: 'Rome', count: 2 }]],
    ['ST16 unwind', () => run().unwind('$tags').group({ _id: '$tags', n: $.sum(1) }).sort({ _id: 1 }), [{ _id: 'a', n: 1 }, { _id: 'b', n: 2 }]],
    ['ST16 unwind with its options', () => run().match({ _id: _.in([2, 3]) }).unwind({ path: '$tags', includeArrayIndex: 'i', preserveNullAndEmptyArrays: true }).project({ tags: 1, i: 1 }),
      [{ _id: 2, tags: 'b', i: 0 }, { _id: 3, i: null }]],
  ];
  for (const [name, aggregation, expected] of cases) {
    await context.test(name, async () => assert.deepEqual(await list(aggregation()), expected));
  }
  await context.test('ST12 sample', async () => {
    const ids = (await list(run().sample({ size: 2 }))).map((one) => one._id);
    assert.equal(new Set(ids).size, 2);
  });
  await context.test('ST05 geoNear says that it needs an index', async () => {
    const near = new (db().Geo.Point)(1, 2);
    const error = await failure(run().geoNear({ near, spherical: true, distanceField: 'd', key: 'at' }).end());
    assert.match(error.message, /2dsphere index on 'at'/);
  });
  await context.test('CO15 a raw pipeline may have stages that the builder lacks, but none that writes', async () => {
    const raw = (stages) => list(shop().options({ raw: true }).aggregate(stages));
    assert.deepEqual(await raw([{ $match: { _id: 4 } }, { $unset: ['price', 'n'] }]), [{ _id: 4, city: 'Bern' }]);
    const [facets] = await raw([{ $facet: { n: [{ $count: 'n' }], top: [{ $sort: { n: -1 } }, { $limit: 1 }, { $project: { n: 1 } }] } }]);
    assert.deepEqual(facets, { n: [{ n: 4 }], top: [{ _id: 2, n: 10 }] });
    for (const stage of ['$out', '$merge']) {
      const error = await failure(raw([{ [stage]: 'elsewhere' }]));
      assert.equal(error.code, 'DATABASE_INVALID_OPERRATOR');
      assert.ok(error.message.includes(stage));
    }
  });
  await context.test('ST17 an unknown collection is an error', async () => {
    const error = await failure(db().collection(`${from}_absent`).aggregate().end());
    assert.equal(error.code, 'DATABASE_COLLECTION_NOT_EXIST');
  });
});

const value = { _id: 'v', n: -2.5, m: 7, z: null, s: 'Héllo', l: [3, 1, 2], d: new Date('2024-02-29T23:30:15.250Z'), o: { a: 1, b: 2 }, e: [{ k: 'x', v: 1 }] };

// name, expression, value
const expressions = [
  ['OP01 abs', $.abs('$n'), 2.5],
  ['OP02 add', $.add(['$m', 1, 2]), 10],
  ['OP02 add to a date', $.add(['$d', 1000]), new Date('2024-02-29T23:30:16.250Z')],
  ['OP03 ceil', $.ceil('$n'), -2],
  ['OP04 divide', $.divide(['$m', 2]), 3.5],
  ['OP05 exp', $.exp(0), 1],
  ['OP06 floor', $.floor('$n'), -3],
  ['OP07 ln', $.ln(1), 0],
  ['OP08 log', $.log([8, 2]), 3],
  ['OP09 log10', $.log10(1000), 3],
  ['OP10 mod', $.mod(['$m', 4]), 3],
  ['OP11 multiply', $.multiply(['$m', 3]), 21],
  ['OP12 pow', $.pow(['$m', 2]), 49],
  ['OP12 pow of a fraction', $.pow([4, 0.5]), 2],
  ['OP13 sqrt', $.sqrt(9), 3],
  ['OP14 subtract', $.subtract(['$m', 10]), -3],
  ['OP14 subtract dates', $.subtract(['$d', new Date('2024-02-29T23:30:15Z')]), 250],
  ['OP15 trunc', $.trunc('$n'), -2],
  ['OP16 arrayElemAt', $.arrayElemAt(['$l', -1]), 2],
  ['OP17 arrayToObject', $.arrayToObject('$e'), { x: 1 }],
  ['OP18 concatArrays', $.concatArrays(['$l', [9]]), [3, 1, 2, 9]],
  ['OP19 filter', $.filter({ input: '$l', as: 'x', cond: $.gte(['$$x', 2]) }), [3, 2]],
  ['OP20 in', $.in([1, '$l']), true],
  ['OP21 indexOfArray', $.indexOfArray(['$l', 2]), 2],
  ['OP22 isArray', $.isArray('$l'), true],
  ['OP23 map', $.map({ input: '$l', as: 'x', in: $.add(['$$x', 1]) }), [4, 2, 3]],
  ['OP24 range', $.range([0, 6, 2]), [0, 2, 4]],
  ['OP25 reduce', $.reduce({ input: '$l', initialValue: 0, in: $.add(['$$value', '$$this']) }), 6],
  ['OP26 reverseArray', $.reverseArray('$l'), [2, 1, 3]],
  ['OP27 size', $.size('$l'), 3],
  ['OP28 slice', $.slice(['$l', 2]), [3, 1]],
  ['OP29 zip', $.zip({ inputs: ['$l', ['a']], useLongestLength: true, defaults: [0, '-'] }), [[3, 'a'], [1, '-'], [2, '-']]],
  ['OP30 and', $.and([true, '$m']), true],
  ['OP31 or', $.or(['$z', 0]), false],
  ['OP32 not', $.not(['$z']), true],
  ['OP33 cmp', $.cmp(['$m', 8]), -1],
  ['OP34 eq', $.eq(['$m', 7]), true],
  ['OP35 gt', $.gt(['$m', 7]), false],
  ['OP36 gte', $.gte(['$m', 7]), true],
  ['OP37 lt', $.lt(['$m', 7]), false],
  ['OP38 lte', $.lte(['$m', 7]), true],
  ['OP39 neq', $.neq(['$m', 7]), false],
  ['OP40 cond', $.cond({ if: $.gt(['$m', 5]), then: 'big', else: 'small' }), 'big'],
  ['OP41 ifNull', $.ifNull(['$z', 'none']), 'none'],
  ['OP42 switch', $.switch({ branches: [{ case: $.eq(['$m', 1]), then: 'one' }], default: 'many' }), 'many'],
  ['OP43 dateFromParts', $.dateFromParts({ year: 2024, month: 2, day: 29, hour: 8, timezone: 'Asia/Shanghai' }), new Date('2024-02-29T00:00:00Z')],
  ['OP44 dateFromString', $.dateFromString({ dateString: '2024-03-01T08:00:00', timezone: '+08:00' }), new Date('2024-03-01T00:00:00Z')],
  ['OP45 dateToString', $.dateToString({ date: '$d', format: '%Y-%m-%d %H:%M:%S.%L', timezone: 'Asia/Shanghai' }), '2024-03-01 07:30:15.250'],
  ['OP46 dayOfMonth', $.dayOfMonth('$d'), 29],
  ['OP46 dayOfMonth in a time zone', $.dayOfMonth({ date: '$d', timezone: 'Asia/Shanghai' }), 1],
  ['OP47 dayOfWeek', $.dayOfWeek('$d'), 5],
  ['OP48 dayOfYear', $.dayOfYear('$d'), 60],
  ['OP49 hour', $.hour('$d'), 23],
  ['OP50 isoDayOfWeek', $.isoDayOfWeek('$d'), 4],
  ['OP51 isoWeek', $.isoWeek('$d'), 9],
  ['OP52 isoWeekYear', $.isoWeekYear('$d'), 2024],
  ['OP53 millisecond', $.millisecond('$d'), 250],
  ['OP54 minute', $.minute('$d'), 30],
  ['OP55 month', $.month('$d'), 2],
  ['OP56 second', $.second('$d'), 15],
  ['OP57 week', $.week('$d'), 8],
  ['OP58 year', $.year('$d'), 2024],
  ['OP59 literal', $.literal('$m'), '$m'],
  ['OP60 mergeObjects', $.mergeObjects(['$o', { b: 3 }]), { a: 1, b: 3 }],
  ['OP61 objectToArray', $.objectToArray('$o'), [{ k: 'a', v: 1 }, { k: 'b', v: 2 }]],
  ['OP62 allElementsTrue', $.allElementsTrue(['$l']), true],
  ['OP63 anyElementTrue', $.anyElementTrue([[0, null]]), false],
  ['OP64 setDifference', $.setDifference(['$l', [1]]), [3, 2]],
  ['OP65 setEquals', $.setEquals(['$l', [1, 2, 3]]), true],
  ['OP66 setIntersection', $.setIntersection(['$l', [1, 9]]), [1]],
  ['OP67 setIsSubset', $.setIsSubset([[1], '$l']), true],
  ['OP68 setUnion', $.size($.setUnion(['$l', [1, 9]])), 4],
  ['OP69 concat', $.concat(['$s', '!']), 'Héllo!'],
  ['OP70 indexOfBytes', $.indexOfBytes(['$s', 'l']), 3],
  ['OP71 indexOfCP', $.indexOfCP(['$s', 'l']), 2],
  ['OP72 split', $.split(['a-b', '-']), ['a', 'b']],
  ['OP73 strLenBytes', $.strLenBytes('$s'), 6],
  ['OP74 strLenCP', $.strLenCP('$s'), 5],
  ['OP75 strcasecmp', $.strcasecmp(['AB', 'ab']), 0],
  ['OP76 substr', $.substr(['$s', 0, 1]), 'H'],
  ['OP77 substrBytes', $.substrBytes(['$s', 3, 2]), 'll'],
  ['OP78 substrCP', $.substrCP(['$s', 1, 2]), 'él'],
  ['OP79 toLower', $.toLower('$s'), 'héllo'],
  ['OP80 toUpper', $.toUpper('abc'), 'ABC'],
  ['OP81 avg', $.avg('$l'), 2],
  ['OP84 max', $.max('$l'), 3],
  ['OP85 min', $.min('$l'), 1],
  ['OP88 stdDevPop', $.stdDevPop([1, 3]), 1],
  ['OP90 sum', $.sum('$l'), 6],
  ['OP91 let', $.let({ vars: { x: '$m' }, in: $.add(['$$x', 1]) }), 8],
];

test('operators', async (context) => {
  const one = await collection([value]);
  for (const [name, expression, expected] of expressions) {
    await context.test(name, async () => {
      const [found] = await list(one().aggregate().project({ _id: 0, value: expression }));
      assert.deepEqual(found, { value: expected });
    });
  }
  await context.test('OP92 meta says that there is no text query yet', async () => {
    const error = await failure(one().aggregate().project({ score: $.meta('textScore') }).end());
    assert.match(error.message, /\$meta/);
  });
});

test('OP60 OP81 OP82 OP83 OP84 OP85 OP86 OP87 OP88 OP89 OP90 accumulators', async () => {
  const shop = await collection(sales);
  const [rome] = await list(shop().aggregate().match({ city: 'Rome' }).sort({ _id: 1 }).group({
    _id: '$city', avg: $.avg('$n'), first: $.first('$n'), last: $.last('$n'), max: $.max('$price'), min: $.min('$price'),
    all: $.push('$tags'), set: $.addToSet('$city'), pop: $.stdDevPop('$n'), samp: $.stdDevSamp('$n'), sum: $.sum('$price'), merged: $.mergeObjects('$o'),
  }));
  assert.deepEqual(rome, {
    _id: 'Rome', avg: 7.5, first: 5, last: 10, max: 4, min: 2.5, all: [['a', 'b'], ['b']], set: ['Rome'], pop: 2.5,
    samp: Math.sqrt(12.5), sum: 6.5, merged: { x: 3, y: 2 },
  });
});

const older = {
  '@cloudbase/node-sdk 2.11.0': 'node-sdk-2-11',
  '@cloudbase/node-sdk 2.10.0': 'node-sdk-2-10',
  'tcb-admin-node 1.23.0': 'tcb-admin-node',
};

for (const [name, module] of Object.entries(older)) {
  test(`${name}: ST04 ST06 ST07 ST09 ST10 ST14 ST16 ST17 OP90`, async () => {
    const shop = await collection(sales);
    const database = packages(module).init(options()).database();
    const command = database.command;
    const own = () => database.collection(shop.collectionName).aggregate();
    const { data } = await own().match({ n: command.gte(5), at: command.gt(new Date('2024-01-01')) }).sort({ n: -1 }).limit(5).project({ at: 1, n: 1 }).end();
    assert.deepEqual(data, [{ _id: 2, n: 10, at: sales[1].at }, { _id: 1, n: 5, at: sales[0].at }]);
    assert.deepEqual((await own().group({ _id: '$city', n: command.aggregate.sum('$n') }).sort({ n: -1 }).limit(1).end()).data, [{ _id: 'Rome', n: 15 }]);
    assert.deepEqual((await own().unwind('$tags').count('n').end()).data, [{ n: 3 }]);
    assert.equal((await own().end()).data.length, sales.length);
  });
}

for (const [name, module] of [['wx-server-sdk 4.0.2', 'wx-server-sdk'], ['wx-server-sdk 3.0.4', 'wx-server-sdk-3']]) {
  test(`${name}: ST04 ST06 ST09 ST14 ST16 ST17 OP90`, async () => {
    const shop = await collection(sales);
    const cloud = packages(module);
    cloud.init(options());
    const database = cloud.database();
    const command = database.command;
    const own = () => database.collection(shop.collectionName).aggregate();
    const { list: found } = await own().match({ n: command.gte(5) }).group({ _id: '$city', n: command.aggregate.sum('$n') }).sort({ _id: 1 }).end();
    assert.deepEqual(found, [{ _id: 'Bern', n: 7 }, { _id: 'Rome', n: 15 }]);
    assert.deepEqual((await own().unwind('$tags').count('n').end()).list, [{ n: 3 }]);
    assert.equal((await own().end()).list.length, sales.length);
  });
}
