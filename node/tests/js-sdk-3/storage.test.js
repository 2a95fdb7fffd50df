'use strict';
// Files of signed-in users: what the rules of files let through, on nodes of their own so that no other test sees them change.

const test = require('node:test');
const assert = require('node:assert/strict');
const { PASSWORD, auth: rest, dev, newName, nextHost, ownNode, packagesOf } = require('./harness');
const { newUser } = require('./http');

const packages = packagesOf('YUNBASE_JS3_DIR', __dirname);
const cloudbase = packages('@cloudbase/js-sdk').default ?? packages('@cloudbase/js-sdk');

/** One call of the REST of files, as `who`, about one file. */
async function call(where, who, name, element) {
  const response = await fetch(`${where.http[0]}/v1/storages/${name}?env=${where.env}`, {
    method: 'POST', headers: { authorization: `Bearer ${who.token}` }, body: JSON.stringify([element]),
  });
  const body = await response.json();
  return Array.isArray(body) ? body[0] : body;
}

const idOf = (where, path) => `cloud://${where.env}.${where.env}/${path}`;
const info = (where, who, path) => call(where, who, 'get-objects-upload-info', { objectId: path });
const link = (where, who, path) => call(where, who, 'get-objects-download-info', { cloudObjectId: idOf(where, path) });
const remove = (where, who, path) => call(where, who, 'delete-objects', { cloudObjectId: idOf(where, path) });

/** Uploads; answers the code of the refusal, or `ok`. */
async function upload(where, who, path, content) {
  const { code, uploadUrl, authorization } = await info(where, who, path);
  if (code) return code;
  const response = await fetch(uploadUrl, { method: 'PUT', headers: { authorization }, body: content });
  return response.ok ? 'ok' : `${response.status} ${await response.text()}`;
}
const reads = async (where, who, path) => {
  const { code, downloadUrl } = await link(where, who, path);
  return code || (await fetch(encodeURI(downloadUrl))).text();
};
const removes = async (where, who, path) => (await remove(where, who, path)).code || 'ok';

/** A new user of that cluster. */
async function userOf(where) {
  const { body } = await rest('POST', '/v1/signup', { host: new URL(where.http[0]).host, body: { username: newName(), password: PASSWORD } });
  return { uid: body.sub, token: body.access_token };
}

const DENIED = 'STORAGE_EXCEED_AUTHORITY';
const ABSENT = 'OBJECT_NOT_EXIST';

test('js-sdk 3: FS01 FS02 FS04 FS12: files of the signed-in user', async () => {
  const app = cloudbase.init({ env: dev.env });
  const hop = () => app.registerHost(nextHost(), 'http');
  const ann = await newUser();
  hop();
  const signed = await app.auth().signInWithPassword({ username: ann.username, password: PASSWORD });
  assert.equal(signed.error, null);
  for (const content of ['', 'x', 'y'.repeat(5 << 20)]) {
    const cloudPath = `${newName()}/图 片.txt`;
    hop();
    const { fileID } = await app.uploadFile({ cloudPath, filePath: new Blob([content]) });
    assert.equal(fileID, idOf(dev, cloudPath));
    hop();
    const [file] = (await app.getTempFileURL({ fileList: [{ fileID, maxAge: 60 }] })).fileList;
    assert.equal(await (await fetch(encodeURI(file.tempFileURL))).text(), content);
    hop();
    await app.deleteFile({ fileList: [fileID] });
    assert.equal((await fetch(encodeURI(file.tempFileURL))).status, 404);
  }
  await app.auth().signOut();
});

test('FS11: without rules everyone reads, and who stored a file replaces and deletes it', async () => {
  const [ann, bob] = [await newUser(), await newUser()];
  const path = `${newName()}/a.txt`;
  assert.equal(await upload(dev, ann, path, 'hers'), 'ok');
  assert.equal(await reads(dev, bob, path), 'hers');
  // Without signing in, too.
  assert.equal(await (await fetch(`http://${nextHost()}/storage/${dev.env}/${path}`)).text(), 'hers');
  assert.equal(await upload(dev, bob, path, 'his'), DENIED);
  assert.equal(await removes(dev, bob, path), DENIED);
  assert.equal(await upload(dev, ann, path, 'hers too'), 'ok');
  const copied = await call(dev, bob, 'copy-objects', { srcPath: path, dstPath: `${path}-his` });
  assert.equal(copied.cloudObjectId, idOf(dev, `${path}-his`));
  assert.equal(await removes(dev, ann, `${path}-his`), DENIED);
  assert.equal(await removes(dev, bob, `${path}-his`), 'ok');
  const moved = await call(dev, bob, 'copy-objects', { srcPath: path, dstPath: `${path}-his`, removeOriginal: true });
  assert.equal(moved.code, DENIED);
  assert.equal(await removes(dev, ann, path), 'ok');
  assert.equal(await removes(dev, ann, path), ABSENT);
  assert.equal(await reads(dev, ann, path), ABSENT);
});

test('FS11: each mode lets through what it says, as soon as it is set', async () => {
  await ownNode({}, async (own, cli) => {
    const [ann, bob] = [await userOf(own), await userOf(own)];
    const root = { token: `${own.secretId}.${own.secretKey}` };
    const open = `${own.http[0]}/storage/${own.env}/a`;
    assert.equal(await upload(own, ann, 'a', 'hers'), 'ok');
    for (const [mode, hers, his, new_, anybody] of [
      ['readonly', 'hers', 'hers', 'ok', 200], ['private', 'hers', DENIED, 'ok', 403],
      ['adminwrite', 'hers', 'hers', DENIED, 200], ['adminonly', DENIED, DENIED, DENIED, 403],
    ]) {
      cli('rules', 'set', '_sys.files', mode);
      const writes = mode === 'readonly' || mode === 'private';
      assert.deepEqual([await reads(own, ann, 'a'), await reads(own, bob, 'a')], [hers, his], mode);
      assert.equal(await upload(own, bob, `new-${mode}`, 'x'), new_, mode);
      assert.equal(await upload(own, ann, 'a', 'hers'), writes ? 'ok' : DENIED, mode);
      assert.equal(await upload(own, bob, 'a', 'his'), DENIED, mode);
      assert.equal((await fetch(open)).status, anybody, mode);
      // Administrators are not bound.
      assert.equal(await reads(own, root, 'a'), 'hers', mode);
      assert.equal(await upload(own, root, `root-${mode}`, 'x'), 'ok', mode);
    }
  });
});

test('FS11: rules of their own look at the file, the user and documents', async () => {
  await ownNode({}, async (own, cli) => {
    const [ann, bob] = [await userOf(own), await userOf(own)];
    cli('rules', 'set', '_sys.files', 'custom', '--rule', JSON.stringify({
      read: 'resource.openid == auth.openid || resource.path in ["open/a"]',
      create: 'auth.loginType != "ANONYMOUS" && resource.openid == auth.openid',
      update: 'resource.openid == auth.openid && resource.size < 5',
      delete: false,
    }));
    assert.equal(await upload(own, ann, 'open/a', 'open'), 'ok');
    assert.equal(await upload(own, ann, 'closed/a', 'closed'), 'ok');
    assert.deepEqual([await reads(own, bob, 'open/a'), await reads(own, bob, 'closed/a')], ['open', DENIED]);
    assert.equal(await upload(own, ann, 'open/a', 'long enough'), 'ok');
    assert.equal(await upload(own, ann, 'open/a', 'no more'), DENIED);
    assert.equal(await removes(own, ann, 'open/a'), DENIED);
    // What everyone may do alone is told without a signature.
    assert.equal((await fetch(`${own.http[0]}/storage/${own.env}/open/a`)).status, 403);
  });
});

test('FS11: a ticket is good for what was there when it was given out', async () => {
  const [ann, bob] = [await newUser(), await newUser()];
  const path = `${newName()}/a`;
  const early = await info(dev, ann, path);
  assert.equal(await upload(dev, bob, path, 'his'), 'ok');
  const late = await fetch(early.uploadUrl, { method: 'PUT', headers: { authorization: early.authorization }, body: 'hers' });
  assert.equal(late.status, 412);
  assert.match(await late.text(), /<Code>PreconditionFailed<\/Code>/);
  assert.equal(await reads(dev, ann, path), 'his');
});
