'use strict';
// Places, through the official packages: the types of `db.Geo`, and queries by distance, inside and in touch.

const test = require('node:test');
const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const path = require('node:path');
const { collection, db, failure, _ } = require('./cluster');

const geo = db().Geo;
const point = (lng, lat) => new geo.Point(lng, lat);
const ring = (...places) => new geo.LineString(places.map(([lng, lat]) => point(lng, lat)));
const square = (lng, lat, size) =>
  new geo.Polygon([ring([lng, lat], [lng + size, lat], [lng + size, lat + size], [lng, lat + size], [lng, lat])]);
const ids = (result) => result.data.map((one) => one._id).join('');

/** The protocol of the packages has no way to make an index: the command line has. */
function geoIndex(name) {
  const yunbase = process.env.YUNBASE_BIN;
  assert.ok(yunbase, 'set YUNBASE_BIN to the binary under test');
  const target = path.dirname(path.resolve(process.env.YUNBASE_DEV_JSON));
  execFileSync(yunbase, ['db', '--target', target, 'index', 'create', name, 'loc', '--geo']);
}

const documents = () => [
  { _id: 'a', loc: point(116.4074, 39.9042) },
  { _id: 'b', loc: point(117.3616, 39.3434) },
  { _id: 'c', loc: point(121.4737, 31.2304) },
  { _id: 'd', loc: ring([116, 39], [117, 41]) },
  { _id: 'e', loc: square(100, 20, 2) },
  { _id: 'f', other: 1 },
];

test('DB06 DB07 every type of place comes back as it was', async () => {
  const places = {
    point: point(116.4, 39.9),
    line: ring([0, 0], [1, 1]),
    polygon: square(0, 0, 3),
    points: new geo.MultiPoint([point(1, 2), point(3, 4)]),
    lines: new geo.MultiLineString([ring([0, 0], [1, 1]), ring([2, 2], [3, 3])]),
    polygons: new geo.MultiPolygon([square(0, 0, 1), square(5, 5, 1)]),
  };
  const places2 = await collection([{ _id: 'a', ...places }]);
  const [found] = (await places2().get()).data;
  for (const [name, place] of Object.entries(places)) assert.deepEqual(found[name].toJSON(), place.toJSON(), name);
});

test('QC21 geoNear needs an index, and says so', async () => {
  const places = await collection(documents());
  const refused = await failure(places().where({ loc: _.geoNear({ geometry: point(116, 39) }) }).get());
  assert.equal(refused.code, 'DATABASE_REQUEST_FAILED');
  assert.match(refused.message, /2dsphere index on 'loc'/);
});

test('QC21 geoNear orders by distance, between two distances', async () => {
  const places = await collection(documents());
  geoIndex(places.collectionName);
  const near = (options) => places().where({ loc: _.geoNear({ geometry: point(116.4074, 39.9042), ...options }) });
  assert.equal(ids(await near({}).get()), 'adbce');
  assert.equal(ids(await near({ maxDistance: 200000 }).get()), 'adb');
  assert.equal(ids(await near({ minDistance: 1000, maxDistance: 200000 }).get()), 'db');
  assert.equal(ids(await near({}).skip(1).limit(2).get()), 'db');
  assert.equal((await near({ maxDistance: 200000 }).count()).total, 3);
});

test('QC22 geoWithin an area and a circle', async () => {
  const places = await collection(documents());
  const run = async () => {
    const within = (options) => places().where({ loc: _.geoWithin(options) }).orderBy('_id', 'asc').get();
    assert.equal(ids(await within({ geometry: square(115, 38, 5) })), 'abd');
    assert.equal(ids(await within({ centerSphere: [[116.4, 39.9], 0.005] })), 'a');
    const both = new geo.MultiPolygon([square(99, 19, 4), square(121, 31, 1)]);
    assert.equal(ids(await within({ geometry: both })), 'ce');
  };
  await run();
  geoIndex(places.collectionName);
  await run();
});

test('QC23 geoIntersects any geometry', async () => {
  const places = await collection(documents());
  const run = async () => {
    const meets = (geometry) => places().where({ loc: _.geoIntersects({ geometry }) }).orderBy('_id', 'asc').get();
    assert.equal(ids(await meets(ring([116, 41], [117, 39]))), 'd');
    assert.equal(ids(await meets(point(101, 21))), 'e');
    assert.equal(ids(await meets(square(101, 21, 30))), 'abcde');
    assert.equal(ids(await meets(point(121.4737, 31.2304))), 'c');
  };
  await run();
  geoIndex(places.collectionName);
  await run();
});

test('QC21 an update and a removal find what is near', async () => {
  const places = await collection(documents());
  geoIndex(places.collectionName);
  const near = { loc: _.geoNear({ geometry: point(121.4737, 31.2304), maxDistance: 1000 }) };
  assert.equal((await places().where(near).update({ hit: true })).updated, 1);
  assert.equal(ids(await places().where({ hit: true }).get()), 'c');
  assert.equal((await places().where(near).remove()).deleted, 1);
  assert.equal((await places().count()).total, 5);
});

test('ST05 geoNear begins a pipeline, with distances, places and a query', async () => {
  const places = await collection(documents());
  geoIndex(places.collectionName);
  const near = point(116.4074, 39.9042);
  const run = (options) => places().aggregate().geoNear({ near, spherical: true, distanceField: 'far', ...options });
  const all = (await run({}).end()).data;
  assert.equal(ids({ data: all }), 'adbce');
  assert.equal(all[0].far, 0);
  assert.ok(all[2].far > 100_000 && all[2].far < 110_000, all[2].far);
  const some = run({ query: { _id: _.neq('d') }, maxDistance: 2_000_000, minDistance: 1, distanceMultiplier: 0.001, includeLocs: 'at.place', limit: 1, key: 'loc' });
  const [found] = (await some.project({ far: 1, at: 1 }).end()).data;
  assert.equal(found._id, 'b');
  assert.ok(found.far > 100 && found.far < 110, found.far);
  assert.deepEqual(found.at.place, { type: 'Point', coordinates: [117.3616, 39.3434] });
  const grouped = run({}).group({ _id: null, n: db().command.aggregate.sum(1) });
  assert.deepEqual((await grouped.end()).data, [{ _id: null, n: 5 }]);
  const late = await failure(places().aggregate().limit(1).geoNear({ near, distanceField: 'far' }).end());
  assert.match(late.message, /first/);
});
