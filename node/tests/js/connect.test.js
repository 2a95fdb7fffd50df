'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { collection, db, dev, eventually, failure, newName, nextUrl, options, packages, sdk, yunbase } = require('./cluster');

test('CN01 init with a key pair and serviceUrl reaches every node', async () => {
  const todo = await collection();
  for (const url of dev.http) {
    const app = sdk.init(options({ serviceUrl: `${url}/admin` }));
    const { id } = await app.database().collection(todo.collectionName).add({ from: url });
    assert.equal(typeof id, 'string');
  }
  assert.equal((await todo().count()).total, dev.http.length);
});

test('CN01 a wrong or unknown key is refused, and so is none', async () => {
  const name = newName();
  for (const wrong of [{ secretKey: 'wrong' }, { secretId: 'unknown' }, { secretId: 'undefined', secretKey: 'undefined' }]) {
    const error = await failure(sdk.init(options(wrong)).database().collection(name).get());
    assert.equal(error.code, 'SIGN_PARAM_INVALID');
    assert.ok(!error.message.includes(dev.secretKey));
  }
});

test('CN01 an unknown environment is refused', async () => {
  const error = await failure(sdk.init(options({ env: 'no-such-env' })).database().collection('c').get());
  assert.ok(['INVALID_ENV', 'PERMISSION_DENIED'].includes(error.code), error.code);
});

test('CN04 wx-server-sdk: an environment for all services, for each, or for one database', async () => {
  const todo = await collection();
  const inits = [[dev.env, {}], [{ database: dev.env, storage: 'elsewhere', default: 'elsewhere' }, {}], [{ default: dev.env }, {}], ['elsewhere', { env: dev.env }]];
  for (const [env, own] of inits) {
    const cloud = packages('wx-server-sdk').createNewInstance(options({ env }));
    const added = await cloud.database(own).collection(todo.collectionName).add({ data: { a: 1 } });
    assert.equal(added.errMsg, 'collection.add:ok');
    assert.match(added._id, /^[0-9a-f]{32}$/);
  }
});

test('CN10 a session token that belongs to no key is refused', async () => {
  const error = await failure(sdk.init(options({ sessionToken: 'stolen' })).database().collection('c').get());
  assert.equal(error.code, 'SIGN_PARAM_INVALID');
});

test('CN10 a temporary key opens /admin with its session token only', async () => {
  const todo = await collection([{ _id: 'a' }]);
  const made = JSON.parse(yunbase('key', 'create', '--temporary', '--hours', '1'));
  const { secret_id: secretId, secret_key: secretKey, session_token: sessionToken } = made;
  const read = (extra) => sdk.init(options({ secretId, secretKey, ...extra })).database().collection(todo.collectionName).get();
  // The key has been committed; each node knows it as soon as the commit has reached it.
  await eventually(dev.http.length, async () => assert.deepEqual((await read({ sessionToken })).data, [{ _id: 'a' }]));
  for (const wrong of [{}, { sessionToken: 'another' }]) {
    const error = await failure(read(wrong));
    assert.equal(error.code, 'SIGN_PARAM_INVALID');
    assert.ok(!error.message.includes(sessionToken));
  }
  const old = packages('node-sdk-2-10').init(options({ secretId, secretKey, sessionToken })).database();
  assert.deepEqual((await old.collection(todo.collectionName).get()).data, [{ _id: 'a' }]);
  const oldest = packages('tcb-admin-node').init(options({ secretId, secretKey, sessionToken })).database();
  assert.deepEqual((await oldest.collection(todo.collectionName).get()).data, [{ _id: 'a' }]);
  yunbase('key', 'delete', secretId);
  await eventually(dev.http.length, async () => assert.equal((await failure(read({ sessionToken }))).code, 'SIGN_PARAM_INVALID'));
});

test('CN11 an API key opens /admin', async () => {
  const todo = await collection([{ _id: 'a' }]);
  const withKey = (accessKey) => sdk.init({ env: dev.env, serviceUrl: nextUrl(), accessKey }).database();
  const read = await withKey(`${dev.secretId}.${dev.secretKey}`).collection(todo.collectionName).get();
  assert.deepEqual(read.data, [{ _id: 'a' }]);
  const error = await failure(withKey(`${dev.secretId}.wrong`).collection(todo.collectionName).get());
  assert.equal(error.code, 'SIGN_PARAM_INVALID');
});

test('EV01 every answer carries a requestId', async () => {
  const todo = await collection();
  for (const call of [() => todo().add({ a: 1 }), () => todo().get(), () => todo().count(), () => todo().where({}).remove()]) {
    assert.match((await call()).requestId, /./);
  }
  assert.match((await failure(db().collection(newName()).get())).requestId, /./);
});

test('EV02 error codes are the clients\' own; wx-server-sdk turns them into numbers', async () => {
  const error = await failure(db().collection(newName()).add({ a: 1 }));
  assert.equal(error.code, 'DATABASE_COLLECTION_NOT_EXIST');
  const cloud = packages('wx-server-sdk-3');
  cloud.init(options());
  const numbered = await failure(cloud.database().collection(newName()).add({ data: { a: 1 } }));
  assert.equal(numbered.errCode, -502005);
});

test('EV03 failures are HTTP 200', async () => {
  for (const body of ['', '{', '[]', '{"action":"database.getDocument"}', '['.repeat(5000)]) {
    const response = await fetch(nextUrl(), { method: 'POST', body });
    assert.equal(response.status, 200);
    const answer = await response.json();
    assert.equal(typeof answer.code, 'string');
    assert.ok(answer.requestId);
  }
});

test('EV06 reading, counting, changing and removing in an unknown collection is an error', async () => {
  const unknown = () => db().collection(newName());
  const calls = [
    () => unknown().get(), () => unknown().count(), () => unknown().where({ a: 1 }).update({ a: 2 }), () => unknown().doc('a').set({ a: 1 }),
    () => unknown().where({ a: 1 }).remove(), () => unknown().doc('a').get(), () => unknown().doc('a').update({ p: {} }), () => unknown().add({ a: 1 }),
  ];
  for (const call of calls) assert.equal((await failure(call())).code, 'DATABASE_COLLECTION_NOT_EXIST');
});

test('RU05 requests that are too large or nested too deep are refused in words', async () => {
  const todo = await collection();
  const large = await failure(todo().add({ text: 'x'.repeat(17 << 20) }));
  assert.equal(large.code, 'EXCEED_REQUEST_SIZE_LIMIT');
  const nested = (depth) => (depth === 0 ? 1 : { a: nested(depth - 1) });
  assert.ok((await todo().add(nested(90))).id);
  assert.equal((await failure(todo().add(nested(150)))).code, 'INVALID_PARAM');
  assert.equal((await todo().count()).total, 1);
});
