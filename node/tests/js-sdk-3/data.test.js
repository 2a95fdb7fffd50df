'use strict';
// What signed-in users of an app reach of the database: js-sdk 3 and bare requests, every step through another node.

const test = require('node:test');
const assert = require('node:assert/strict');
const { PASSWORD, auth: rest, cli, dev, newName, nextHost, packagesOf } = require('./harness');
const { add, administrator, data, find, newCollection, newUser, remove, update } = require('./http');

const packages = packagesOf('YUNBASE_JS3_DIR', __dirname);
const cloudbase = packages('@cloudbase/js-sdk').default ?? packages('@cloudbase/js-sdk');
const app = cloudbase.init({ env: dev.env });
const auth = app.auth();

test('RU03 QC26: js-sdk 3 reads and writes what is the signed-in user\'s', async () => {
  const name = await newCollection();
  const ann = await newUser();
  app.registerHost(nextHost(), 'http');
  const signed = await auth.signInWithPassword({ username: ann.username, password: PASSWORD });
  assert.equal(signed.error, null);
  const own = () => { app.registerHost(nextHost(), 'http'); return app.database().collection(name); };
  const { id } = await own().add({ n: 1, text: 'hers' });
  const [mine] = (await own().doc(id).get()).data;
  assert.deepEqual(mine, { _id: id, _openid: ann.uid, n: 1, text: 'hers' });
  assert.equal((await own().where({ _openid: '{openid}' }).count()).total, 1);
  assert.equal((await own().doc(id).update({ n: 2 })).updated, 1);
  const bob = await newUser();
  await add(bob, name, { n: 5 }, { n: 5 });
  const $ = app.database().command.aggregate;
  const grouped = await own().aggregate().match({ n: app.database().command.gt(0) }).group({ _id: null, n: $.sum('$n') }).end();
  assert.deepEqual(grouped.data, [{ _id: null, n: 2 }]);
  assert.equal((await own().where({ n: 5 }).update({ n: 6 })).updated, 0);
  assert.equal((await own().doc(id).remove()).deleted, 1);
  await auth.signOut();
});

test('RU01: each mode lets through what it says', async () => {
  const [ann, bob] = [await newUser(), await newUser()];
  const sees = async (user, name) => {
    const { status, body } = await find(user, name);
    return status === 200 ? body.list.length : body.code;
  };
  for (const [mode, seen] of [['private', [1, 0]], ['readonly', [1, 1]]]) {
    const name = await newCollection(mode);
    assert.equal((await add(ann, name, { n: 1 })).status, 200);
    assert.deepEqual([await sees(ann, name), await sees(bob, name)], seen, mode);
    assert.equal((await update(bob, name, { n: 1 }, { n: 2 })).body.updated, 0);
    assert.equal((await remove(bob, name, { n: 1 })).body.deleted, 0);
    assert.equal((await update(ann, name, { n: 1 }, { n: 2 })).body.updated, 1);
  }
  for (const [mode, seen] of [['adminwrite', 0], ['adminonly', 'DATABASE_PERMISSION_DENIED']]) {
    const name = await newCollection(mode);
    const refused = await add(ann, name, { n: 1 });
    assert.deepEqual([refused.status, refused.body.code], [401, 'DATABASE_PERMISSION_DENIED'], mode);
    assert.equal(await sees(ann, name), seen, mode);
  }
});

test('RU04: administrators are not bound, by signature or API key', async () => {
  const name = await newCollection('adminonly');
  const ann = await newUser();
  const server = packages('@cloudbase/node-sdk').init({ env: dev.env, secretId: dev.secretId, secretKey: dev.secretKey, serviceUrl: `http://${nextHost()}/admin` });
  await server.database().collection(name).add({ _id: 'a', _openid: ann.uid, n: 1 });
  assert.equal((await find({ token: administrator }, name)).body.list.length, 1);
  assert.equal((await update({ token: administrator }, name, { n: 1 }, { _openid: 'another' })).body.updated, 1);
  assert.equal((await server.database().collection(name).where({ _openid: 'another' }).remove()).deleted, 1);
  assert.equal((await find(ann, name)).body.code, 'DATABASE_PERMISSION_DENIED');
});

test('RU02: custom rules hold for queries and for documents before and after', async () => {
  const rule = JSON.stringify({ read: 'doc.members == auth.openid || doc.public == true', write: 'doc._openid == auth.openid' });
  const name = await newCollection('custom', '--rule', rule);
  const [ann, bob] = [await newUser(), await newUser()];
  await add(ann, name, { n: 1, public: true }, { n: 2, public: false });
  assert.equal((await find(bob, name, { public: true })).body.list.length, 1);
  assert.equal((await find(bob, name, {})).body.code, 'DATABASE_PERMISSION_DENIED');
  assert.equal((await update(bob, name, { _openid: ann.uid }, { n: 3 })).body.code, 'DATABASE_PERMISSION_DENIED');
  const counts = await update(ann, name, { _openid: '{openid}' }, { n: 3 });
  assert.equal(counts.body.updated, 2);
});

test('RU02: rules ask for other documents, for what a write brings, and for who asks', async () => {
  const teams = await newCollection('adminonly');
  await data('POST', `/collections/${teams}/documents`, { token: administrator, body: { data: [{ _id: 'open', open: true }, { _id: 'shut', open: false }] } });
  const rule = { read: `get(\`database.${teams}.\${doc.team}\`).open == true`, create: "auth.loginType != 'ANONYMOUS' && request.data.level < 3", update: false, delete: 'now > 0 && doc.level < 2' };
  const name = await newCollection('custom', '--rule', JSON.stringify(rule));
  const ann = await newUser();
  const { body: { access_token: token } } = await rest('POST', '/v1/signin/anonymously', { body: {}, headers: { 'x-device-id': newName() } });
  assert.equal((await add(ann, name, { _id: 'seen', team: 'open', level: 1 }, { _id: 'hidden', team: 'shut', level: 2 })).status, 200);
  assert.equal((await add(ann, name, { level: 3 })).body.code, 'DATABASE_PERMISSION_DENIED');
  assert.equal((await add({ token }, name, { level: 1 })).body.code, 'DATABASE_PERMISSION_DENIED');
  assert.equal((await find({ token }, name, { _id: 'seen' })).body.list.length, 1);
  assert.equal((await find({ token }, name, { _id: 'hidden' })).body.code, 'DATABASE_PERMISSION_DENIED');
  assert.equal((await update(ann, name, { _id: 'seen' }, { level: 0 })).body.code, 'DATABASE_PERMISSION_DENIED');
  assert.equal((await remove(ann, name, { _id: 'hidden' })).body.code, 'DATABASE_PERMISSION_DENIED');
  assert.equal((await remove(ann, name, { _id: 'seen' })).body.deleted, 1);
});

test('RU03: what is attempted against the rules is refused', async () => {
  const name = await newCollection('readonly');
  const [ann, bob] = [await newUser(), await newUser()];
  const { body } = await add(ann, name, { _id: newName(), n: 1 });
  const [id] = body.insertedIds;
  const codes = async (attempts) => Promise.all(attempts.map(async (attempt) => (await attempt).body.code ?? 'done'));
  const forged = await codes([
    add(bob, name, { _openid: ann.uid }),
    update(bob, name, {}, { $set: { _openid: bob.uid } }),
    update(bob, name, {}, { $unset: { _openid: '' } }),
    update(bob, name, {}, { $rename: { n: '_openid' } }),
    update(bob, name, {}, { _openid: bob.uid }),
  ]);
  assert.ok(forged.every((code) => code !== 'done'), String(forged));
  const refused = await codes([
    find(bob, '_sys.users'), find(bob, '_sys.sessions'), add(bob, '_sys.users', { a: 1 }),
    data('POST', '/collections', { token: bob.token, body: { collectionName: newName() } }),
    data('POST', '/commands', { token: bob.token, body: { commands: [] } }),
    data('POST', `/collections/${name}/documents/aggregations`, {
      token: bob.token, body: { pipeline: [{ $lookup: { from: '_sys.users', localField: 'a', foreignField: 'b', as: 'c' } }] },
    }),
    data('POST', `/collections/${name}/documents/aggregations`, { token: bob.token, body: { pipeline: [{ $unionWith: '_sys.users' }] } }),
  ]);
  assert.ok(refused.every((code) => ['DATABASE_PERMISSION_DENIED', 'ACTION_FORBIDDEN', 'PERMISSION_DENIED', 'DATABASE_COLLECTION_NOT_EXIST'].includes(code)), String(refused));
  const [kept] = (await find(ann, name, { _id: id })).body.list;
  assert.deepEqual([kept._openid, kept.n], [ann.uid, { $numberInt: '1' }]);
});

test('AU23: tokens that are no longer good, or never were, open nothing', async () => {
  const name = await newCollection('readonly');
  const ann = await newUser();
  const [head, , signature] = ann.token.split('.');
  const claims = JSON.parse(Buffer.from(ann.token.split('.')[1], 'base64url'));
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const bad = {
    'no credentials': undefined,
    'the text undefined': 'undefined',
    'alg none': `${part({ alg: 'none', typ: 'JWT' })}.${part(claims)}.`,
    'another user': `${head}.${part({ ...claims, sub: 'somebody' })}.${signature}`,
    'another environment': `${head}.${part({ ...claims, aud: 'elsewhere' })}.${signature}`,
  };
  for (const [what, token] of Object.entries(bad)) {
    const { status, body } = await find({ token }, name);
    assert.ok(status >= 400 && body.code, `${what}: ${status} ${JSON.stringify(body)}`);
  }
  assert.equal((await find(ann, name)).status, 200);
  cli('user', 'revoke', ann.username);
  // In force on every node with the commit: one try each.
  for (let node = 0; node < dev.http.length; node++) assert.equal((await find(ann, name)).status, 401);
});
