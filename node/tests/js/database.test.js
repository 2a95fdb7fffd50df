'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { collection, db, dev, failure, newName, options, sdk, yunbase, _ } = require('./cluster');

test('DB01 collections may have unicode and dotted names', async () => {
  for (const suffix of ['_数据', '.part', '-dash']) {
    const name = newName() + suffix;
    await db().createCollection(name);
    await db().collection(name).add({ _id: 'a' });
    assert.equal((await db().collection(name).count()).total, 1);
  }
});

test('DB02 createCollection, and again', async () => {
  const name = newName();
  assert.ok((await db().createCollection(name)).requestId);
  assert.equal((await failure(db().createCollection(name))).code, 'DATABASE_COLLECTION_ALREADY_EXIST');
});

test('DB03 command, aggregate and project build without a request', () => {
  assert.ok(_.gt(1) && _.aggregate.sum('$a') && _.project.slice(1));
});

test('DB04 serverDate with and without offset, one time for a whole request', async () => {
  const todo = await collection();
  const before = Date.now();
  await todo().add([{ _id: 'a', at: db().serverDate(), later: db().serverDate({ offset: 60000 }) }, { _id: 'b', at: db().serverDate() }]);
  const [a, b] = (await todo().orderBy('_id', 'asc').get()).data;
  assert.ok(a.at instanceof Date);
  assert.ok(a.at >= before - 5000 && a.at <= Date.now() + 5000, a.at.toISOString());
  assert.equal(a.later - a.at, 60000);
  assert.equal(a.at.getTime(), b.at.getTime());
  assert.equal((await todo().where({ at: _.lt(db().serverDate({ offset: 3600000 })) }).count()).total, 2);
});

test('DB05 regular expressions: native, db.RegExp, flags g u y ignored', async () => {
  const todo = await collection([{ _id: 'a', s: 'Hello' }, { _id: 'b', s: 'first\nhello' }, { _id: 'c', s: 'bye' }]);
  const ids = async (s) => (await todo().where({ s }).orderBy('_id', 'asc').get()).data.map((one) => one._id);
  assert.deepEqual(await ids(/^hello/), []);
  assert.deepEqual(await ids(/^hello/i), ['a']);
  assert.deepEqual(await ids(/^hello/gim), ['a', 'b']);
  assert.deepEqual(await ids(db().RegExp({ regexp: '^hello', options: 'im' })), ['a', 'b']);
  assert.deepEqual(await ids(db().RegExp({ regexp: 'first.hello', options: 's' })), ['b']);
});

test('DB06 DB07 places are stored as GeoJSON and come back as places', async () => {
  const todo = await collection();
  const { Point, LineString, Polygon, MultiPoint, MultiLineString, MultiPolygon } = db().Geo;
  const [a, b, c] = [new Point(116.4, 39.9), new Point(121.5, 31.2), new Point(113.3, 23.1)];
  const line = new LineString([a, b]);
  const area = new Polygon([new LineString([a, b, c, a])]);
  const places = { point: a, line, area, points: new MultiPoint([a, b]), lines: new MultiLineString([line]), areas: new MultiPolygon([area]) };
  await todo().add({ _id: 'places', ...places });
  const [found] = (await todo().doc('places').get()).data;
  for (const [name, place] of Object.entries(places)) {
    assert.equal(found[name].constructor.name, place.constructor.name);
    assert.deepEqual(found[name].toJSON(), place.toJSON());
  }
  const raw = await todo().options({ raw: true }).where({ 'point.type': 'Point', 'point.coordinates.1': 39.9 }).get();
  assert.equal(raw.data.length, 1);
  await todo().doc('places').update({ point: b });
  assert.deepEqual((await todo().doc('places').get()).data[0].point.toJSON(), b.toJSON());
});

test('DB08 ObjectIds are kept as such and found again', async () => {
  const todo = await collection();
  const id = db().ObjectId({ id: '0123456789abcdef01234567' });
  await todo().add({ _id: 'a', other: id });
  assert.equal((await todo().where({ other: id }).count()).total, 1);
  assert.equal((await todo().where({ other: '0123456789abcdef01234567' }).count()).total, 0);
});

test('RU06 indexes: single, compound, unique', async () => {
  const todo = await collection([{ _id: 'a', n: 1, m: 1 }, { _id: 'b', n: 2, m: 1 }]);
  const index = (...words) => yunbase('db', 'index', ...words, '-o', 'jsonl');
  index('create', todo.collectionName, 'n', '--wait');
  index('create', todo.collectionName, 'm', 'n:-1', '--unique', '--wait');
  const names = index('list', todo.collectionName).split('\n').map((line) => JSON.parse(line));
  assert.equal(names.filter((one) => one.unique).length, 1);
  assert.match((await failure(todo().add({ _id: 'c', n: 2, m: 1 }))).message, /unique|duplicate/i);
  await todo().add({ _id: 'c', n: 3, m: 1 });
  assert.deepEqual((await todo().where({ m: 1, n: _.gte(2) }).orderBy('n', 'desc').get()).data.map((one) => one._id), ['c', 'b']);
});

test('DB10 runCommands is not part of this package', () => {
  assert.equal(typeof db().runCommands, 'undefined');
});

test('DB11 another database than the environment\'s own is refused', async () => {
  const todo = await collection([{ _id: 'a' }]);
  const other = sdk.init(options()).database({ instance: 'other', database: 'other' });
  assert.equal((await failure(other.collection(todo.collectionName).get())).code, 'INVALID_PARAM');
  const own = sdk.init(options()).database({ instance: '(default)', database: dev.env });
  assert.equal((await own.collection(todo.collectionName).get()).data.length, 1);
});
