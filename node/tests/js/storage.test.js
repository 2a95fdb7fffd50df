'use strict';
// Files: what one package stores through one node, all others read through the next.

const test = require('node:test');
const assert = require('node:assert/strict');
const { createHash, randomBytes } = require('node:crypto');
const { createReadStream, mkdtempSync, rmSync, writeFileSync } = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { dev, failure, newName, nextUrl, options, packages, sdk } = require('./cluster');
const { credential, js1, js2, js3, js3Browser, nextHost } = require('./apps');

const MIB = 1 << 20;
const sizes = [0, 1, 5 * MIB];
const long = { timeout: 120000 };
const hash = (bytes) => createHash('sha256').update(bytes).digest('hex');
const idOf = (cloudPath) => `cloud://${dev.env}.${dev.env}/${cloudPath}`;

/** The file as anybody with its address gets it. */
async function fetched(url) {
  const response = await fetch(encodeURI(url));
  return { status: response.status, headers: response.headers, bytes: Buffer.from(await response.arrayBuffer()) };
}

const newest = () => sdk.init(options());
const urlOf = async (fileID, app = newest()) => (await app.getTempFileURL({ fileList: [fileID] })).fileList[0];

const plain = {
  '@cloudbase/node-sdk 3.18.3': '@cloudbase/node-sdk',
  '@cloudbase/node-sdk 2.11.0': 'node-sdk-2-11',
  '@cloudbase/node-sdk 2.10.0': 'node-sdk-2-10',
  'tcb-admin-node 1.23.0': 'tcb-admin-node',
};

for (const [name, module] of Object.entries(plain)) {
  const app = () => packages(module).init(options());

  test(`${name}: FS01 FS02 FS03 FS04 FS12: files of all sizes, from upload to deletion`, async () => {
    for (const size of sizes) {
      const cloudPath = `${newName()}/图片 ${size}.png`;
      const content = randomBytes(size);
      const { fileID } = await app().uploadFile({ cloudPath, fileContent: content });
      assert.equal(fileID, idOf(cloudPath));
      const link = await urlOf(fileID, app());
      assert.deepEqual([link.code, link.fileID], ['SUCCESS', fileID]);
      const read = await fetched(link.tempFileURL);
      assert.deepEqual([read.status, read.headers.get('content-type'), hash(read.bytes)], [200, 'image/png', hash(content)]);
      const downloaded = await app().downloadFile({ fileID });
      assert.equal(hash(downloaded.fileContent), hash(content));
      // Again under the same name: another content.
      await app().uploadFile({ cloudPath, fileContent: Buffer.from('other') });
      assert.equal((await fetched((await urlOf(fileID, app())).tempFileURL)).bytes.toString(), 'other');
      const { fileList } = await app().deleteFile({ fileList: [fileID] });
      assert.deepEqual([fileList.length, fileList[0].code, fileList[0].fileID], [1, 'SUCCESS', fileID]);
      assert.equal((await fetched(link.tempFileURL)).status, 404);
    }
  });

  test(`${name}: FS01: a stream is a content too`, async () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'yunbase-files-'));
    const file = path.join(folder, 'a.txt');
    writeFileSync(file, 'from a stream');
    const cloudPath = `${newName()}/a.txt`;
    const { fileID } = await app().uploadFile({ cloudPath, fileContent: createReadStream(file) });
    const read = await fetched((await urlOf(fileID)).tempFileURL);
    assert.deepEqual([read.bytes.toString(), read.headers.get('content-type').split(';')[0]], ['from a stream', 'text/plain']);
    rmSync(folder, { recursive: true });
  });

  test(`${name}: FS02 FS04: each file has a code of its own`, async () => {
    const there = `${newName()}/there`;
    const { fileID } = await app().uploadFile({ cloudPath: there, fileContent: Buffer.from('x') });
    const absent = idOf(`${there}-not`);
    const wrong = `cloud://${dev.env}.${dev.env}/../a`;
    const links = (await app().getTempFileURL({ fileList: [absent, fileID, wrong].map((fileID) => ({ fileID, maxAge: 60 })) })).fileList;
    assert.deepEqual(links.map((one) => one.code), ['STORAGE_FILE_NONEXIST', 'SUCCESS', 'INVALID_PARAM']);
    const { fileList } = await app().deleteFile({ fileList: [absent, fileID, wrong] });
    assert.deepEqual(fileList.map((one) => one.code), ['STORAGE_FILE_NONEXIST', 'SUCCESS', 'INVALID_PARAM']);
    assert.deepEqual(fileList.map((one) => one.fileID), [absent, fileID, wrong]);
  });
}

test('FS01 FS03: 200 MiB through the newest server package', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'yunbase-large-'));
  try {
    const file = path.join(folder, 'large.bin');
    const content = randomBytes(200 * MIB);
    writeFileSync(file, content);
    const cloudPath = `${newName()}/large.bin`;
    const { fileID } = await newest().uploadFile({ cloudPath, fileContent: createReadStream(file) }, long);
    const { tempFileURL } = await urlOf(fileID);
    const head = await fetch(encodeURI(tempFileURL), { method: 'HEAD' });
    assert.equal(Number(head.headers.get('content-length')), content.length);
    const downloaded = await newest().downloadFile({ fileID }, long);
    assert.equal(hash(downloaded.fileContent), hash(content));
    const part = await fetch(encodeURI(tempFileURL), { headers: { range: 'bytes=104857600-104857699' } });
    assert.equal(part.status, 206);
    assert.deepEqual(Buffer.from(await part.arrayBuffer()), content.subarray(104857600, 104857700));
    await newest().deleteFile({ fileList: [fileID] });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('FS01 FS02: names that URLs and headers could stumble over', async () => {
  for (const name of ['一 二🙂.txt', '100%.txt', 'a%41.txt', 'q?x=1&y#z.txt', "it's (1)!*;:@,$=+.txt", 'back\\slash']) {
    const cloudPath = `${newName()}/${name}`;
    const { fileID } = await newest().uploadFile({ cloudPath, fileContent: Buffer.from(name) });
    const { tempFileURL } = await urlOf(fileID);
    assert.equal((await fetched(tempFileURL)).bytes.toString(), name);
    // The query has nothing that would be escaped again.
    assert.match(tempFileURL, /\?sign=[0-9a-f]+&t=[0-9]+$/);
    assert.equal((await newest().downloadFile({ fileID })).fileContent.toString(), name);
  }
});

test('FS01: paths that could mean another place are refused', async () => {
  for (const cloudPath of ['/a', '../a', 'a/../b', 'a//b', 'a\u0000b', 'x'.repeat(1025)]) {
    const refused = await failure(newest().uploadFile({ cloudPath, fileContent: Buffer.from('x') }));
    assert.equal(refused.code, 'INVALID_PARAM', cloudPath);
  }
});

test('FS02: addresses live as long as was asked for', async () => {
  const cloudPath = `${newName()}/short`;
  const { fileID } = await newest().uploadFile({ cloudPath, fileContent: Buffer.from('x') });
  const [link] = (await newest().getTempFileURL({ fileList: [{ fileID, maxAge: 1 }] })).fileList;
  assert.equal(link.maxAge, 1);
  await new Promise((resolve) => setTimeout(resolve, 2200));
  const late = await fetched(link.tempFileURL);
  assert.equal(late.status, 403);
  assert.match(late.bytes.toString(), /<Error><Code>AccessDenied<\/Code><Message>.+<\/Message><RequestId>.+<\/RequestId><TraceId>.+<\/TraceId><\/Error>/);
});

test('FS02 FS04: no more than 50 files at once', async () => {
  const fileList = Array.from({ length: 51 }, (_, n) => idOf(`many/${n}`));
  assert.equal((await failure(newest().getTempFileURL({ fileList }))).code, 'INVALID_PARAM');
  assert.equal((await newest().deleteFile({ fileList: fileList.slice(1) })).fileList.length, 50);
});

test('FS05: copies and moves', async () => {
  const folder = newName();
  const { fileID } = await newest().uploadFile({ cloudPath: `${folder}/a/x.txt`, fileContent: Buffer.from('copied') });
  const copy = async (...list) => (await newest().copyFile({ fileList: list })).fileList;
  const [made] = await copy({ srcPath: `${folder}/a/x.txt`, dstPath: `${folder}/b/x.txt` });
  assert.deepEqual([made.code, made.fileId], ['SUCCESS', idOf(`${folder}/b/x.txt`)]);
  assert.equal((await fetched((await urlOf(made.fileId)).tempFileURL)).bytes.toString(), 'copied');
  const answers = await copy(
    { srcPath: `${folder}/a/x.txt`, dstPath: `${folder}/b/x.txt`, overwrite: false },
    { srcPath: `${folder}/none/x.txt`, dstPath: `${folder}/c/x.txt` },
    { srcPath: `${folder}/a/x.txt`, dstPath: `${folder}/c/x.txt`, removeOriginal: true },
  );
  assert.deepEqual(answers.map((one) => one.code), ['OBJECT_ALREADY_EXIST', 'STORAGE_FILE_NONEXIST', 'SUCCESS']);
  assert.equal((await urlOf(fileID)).code, 'STORAGE_FILE_NONEXIST');
  assert.equal((await urlOf(idOf(`${folder}/c/x.txt`))).code, 'SUCCESS');
});

test('FS06 FS07: what there is to know of a file, and what an upload needs', async () => {
  const cloudPath = `${newName()}/a.json`;
  const { fileID } = await newest().uploadFile({ cloudPath, fileContent: Buffer.from('{}') });
  const [info] = (await newest().getFileInfo({ fileList: [fileID] })).fileList;
  assert.deepEqual([info.size, info.mime, info.fileName], [2, 'application/json', 'a.json']);
  const { data } = await newest().getUploadMetadata({ cloudPath });
  assert.deepEqual([data.fileId, typeof data.url, typeof data.authorization, typeof data.token], [fileID, 'string', 'string', 'string']);
});

test('FS08: what a user may do with files, for a server that asks', async () => {
  const cloudPath = `${newName()}/a`;
  await newest().uploadFile({ cloudPath, fileContent: Buffer.from('x') });
  process.env.WX_OPENID = 'o-somebody';
  process.env.WX_CONTEXT_KEYS = 'WX_OPENID';
  try {
    const fileList = [{ type: 'READ', path: cloudPath }, { type: 'WRITE', path: cloudPath }, { type: 'READWRITE', path: `${cloudPath}-new` }];
    const { data } = await newest().getFileAuthority({ fileList });
    // Nobody has set rules here: everyone reads, and what an administrator stored is nobody's.
    assert.deepEqual(data.authorityList.slice(0, 2).map((one) => one.code), ['SUCCESS', 'STORAGE_EXCEED_AUTHORITY']);
  } finally {
    delete process.env.WX_OPENID;
    delete process.env.WX_CONTEXT_KEYS;
  }
});

test('FS09: forms, answered as they ask', async () => {
  const folder = newName();
  for (const [fields, status] of [[{}, 204], [{ success_action_status: '200' }, 200], [{ success_action_status: '201' }, 201]]) {
    const cloudPath = `${folder}/${status}.txt`;
    const { data } = await newest().getUploadMetadata({ cloudPath });
    const form = new FormData();
    const credentials = { key: cloudPath, signature: data.authorization, 'x-cos-meta-fileid': data.cosFileId, 'x-cos-security-token': data.token };
    for (const [name, value] of Object.entries({ ...credentials, ...fields })) form.append(name, value);
    form.append('file', new Blob(['of a form']), 'x');
    const response = await fetch(data.url, { method: 'POST', body: form });
    assert.deepEqual([response.status, await response.text()], [status, '']);
    assert.equal((await fetched((await urlOf(data.fileId)).tempFileURL)).bytes.toString(), 'of a form');
  }
  // As a Mini Program sends it: nothing but the file, and the credentials in headers.
  const { data } = await newest().getUploadMetadata({ cloudPath: `${folder}/mini` });
  const form = new FormData();
  form.append('file', new Blob(['mini']), 'x');
  const headers = { authorization: data.authorization, 'x-cos-meta-fileid': data.cosFileId, 'x-cos-security-token': data.token };
  assert.equal((await fetch(data.url, { method: 'POST', body: form, headers })).status, 204);
  assert.equal((await fetch(data.url, { method: 'POST', body: form })).status, 403);
});

const miniProgram = {
  'wx-server-sdk 4.0.2': 'wx-server-sdk',
  'wx-server-sdk 3.0.4': 'wx-server-sdk-3',
  'wx-server-sdk 2.7.2': 'wx-server-sdk-2-7',
  'wx-server-sdk 2.6.3': 'wx-server-sdk-2-6',
};

for (const [name, module] of Object.entries(miniProgram)) {
  test(`${name}: FS01 FS02 FS03 FS04: files in the way of Mini Programs`, async () => {
    const cloud = packages(module);
    for (const size of sizes) {
      cloud.init(options());
      const cloudPath = `${newName()}/图 ${size}.bin`;
      const content = randomBytes(size);
      const { fileID } = await cloud.uploadFile({ cloudPath, fileContent: content });
      assert.equal(fileID, idOf(cloudPath));
      cloud.init(options());
      const absent = idOf(`${cloudPath}-not`);
      const [link, none] = (await cloud.getTempFileURL({ fileList: [fileID, absent] })).fileList;
      assert.deepEqual([link.status, none.status === 0], [0, false]);
      assert.equal(hash((await fetched(link.tempFileURL)).bytes), hash(content));
      assert.equal(hash((await cloud.downloadFile({ fileID })).fileContent), hash(content));
      const { fileList } = await cloud.deleteFile({ fileList: [fileID, absent] });
      assert.deepEqual([fileList[0].status, fileList[1].status === 0], [0, false]);
    }
  });
}

const web = { 'js-sdk 1.8.4': js1, 'js-sdk 2.25.6': js2, 'js-sdk 3.7.0': js3, 'js-sdk 3.7.0 in a browser': js3Browser };

for (const [name, make] of Object.entries(web)) {
  test(`${name}: FS01 FS02 FS04 FS12: files of a web app`, async () => {
    for (const size of sizes) {
      const app = await make();
      const cloudPath = `${newName()}/图 ${size}.png`;
      const content = randomBytes(size);
      const { fileID } = await app.uploadFile({ cloudPath, filePath: new Blob([content]) });
      assert.equal(fileID, idOf(cloudPath));
      const absent = idOf(`${cloudPath}-not`);
      const [link, none] = (await app.getTempFileURL({ fileList: [{ fileID, maxAge: 60 }, { fileID: absent, maxAge: 60 }] })).fileList;
      assert.equal(link.code, 'SUCCESS');
      assert.notEqual(none.code, 'SUCCESS');
      const read = await fetched(link.tempFileURL);
      assert.deepEqual([read.status, hash(read.bytes)], [200, hash(content)]);
      const { fileList } = await app.deleteFile({ fileList: [fileID] });
      assert.equal(fileList.length, 1);
      assert.equal((await urlOf(fileID)).code, 'STORAGE_FILE_NONEXIST');
    }
  });
}

for (const [name, make] of [['js-sdk 1.8.4', js1], ['js-sdk 2.25.6', js2]]) {
  test(`${name}: FS03 FS09: by form, and back`, async () => {
    const app = await make();
    const cloudPath = `${newName()}/a.txt`;
    const { fileID } = await app.uploadFile({ cloudPath, filePath: new Blob(['by form']), method: 'post' });
    const downloaded = await app.downloadFile({ fileID });
    assert.equal(Buffer.from(downloaded.data).toString(), 'by form');
  });
}

test('FS12: what no package sends: bare requests without credentials get none', async () => {
  const elements = JSON.stringify([{ cloudObjectId: idOf('a') }]);
  const call = (headers) => fetch(`http://${nextHost()}/v1/storages/get-objects-download-info?env=${dev.env}`, { method: 'POST', headers, body: elements });
  assert.equal((await call({})).status, 401);
  assert.equal((await call({ authorization: 'Bearer a.b' })).status, 401);
  assert.equal((await call({ authorization: `Bearer ${credential()}` })).status, 200);
  assert.equal((await fetch(nextUrl(), { method: 'POST', body: JSON.stringify({ action: 'storage.batchDeleteFile', fileid_list: [idOf('a')] }) }).then((answer) => answer.json())).code, 'SIGN_PARAM_INVALID');
});
