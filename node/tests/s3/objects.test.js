'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { Readable } = require('node:stream');
const { Bucket, bytesOf, client, clientOf, dev, failure, md5, newPrefix, packages, randomBytes, s3, send, sha256, yunbase } = require('./sdk');

const { getSignedUrl } = packages('@aws-sdk/s3-request-presigner');
const MIB = 1 << 20;

test('objects of all sizes come back byte for byte, through every node', async () => {
  const prefix = newPrefix();
  for (const size of [0, 1, 1000, 64 << 10, (5 << 20) + 1, 32 * MIB]) {
    const content = randomBytes(size);
    const Key = `${prefix}${size}`;
    const put = await send('PutObject', { Key, Body: content });
    assert.equal(put.ETag, `"${md5(content)}"`);
    for (let k = 0; k < dev.s3.length; k++) {
      const got = await send('GetObject', { Key });
      assert.equal(got.ContentLength, size);
      assert.equal(got.ETag, put.ETag);
      assert.equal(sha256(await bytesOf(got)), sha256(content));
    }
  }
});

test('a stream is stored with the checksum that comes behind it', async () => {
  const Key = `${newPrefix()}stream`;
  const content = randomBytes(9 * MIB);
  for (const ChecksumAlgorithm of ['CRC32', 'CRC32C', 'SHA1', 'SHA256']) {
    const pieces = [];
    for (let at = 0; at < content.length; at += 100000) pieces.push(content.subarray(at, at + 100000));
    const put = await send('PutObject', { Key, Body: Readable.from(pieces), ContentLength: content.length, ChecksumAlgorithm });
    assert.ok(put[`Checksum${ChecksumAlgorithm}`], ChecksumAlgorithm);
    assert.equal(sha256(await bytesOf(await send('GetObject', { Key }))), sha256(content));
  }
});

test('what is said of an object is told again', async () => {
  const Key = `${newPrefix()}图片/一 二+三.txt`;
  const said = {
    ContentType: 'text/x-own', CacheControl: 'max-age=60', ContentDisposition: 'attachment; filename="a.txt"',
    ContentEncoding: 'identity', ContentLanguage: 'zh', Metadata: { mtime: '1700000000.5', who: 'me' },
  };
  await send('PutObject', { Key, Body: 'abc', ...said });
  const head = await send('HeadObject', { Key });
  for (const [name, value] of Object.entries(said)) assert.deepEqual(head[name], value, name);
  assert.equal(head.ContentLength, 3);
  assert.ok(Math.abs(head.LastModified - Date.now()) < 60000);
  const instead = await send('GetObject', { Key, ResponseContentType: 'text/csv', ResponseCacheControl: 'no-store' });
  assert.deepEqual([instead.ContentType, instead.CacheControl], ['text/csv', 'no-store']);
});

test('ranges', async () => {
  const Key = `${newPrefix()}range`;
  const content = randomBytes(3 * MIB);
  await send('PutObject', { Key, Body: content });
  for (const [Range, from, to] of [['bytes=0-0', 0, 1], ['bytes=1048570-1048600', 1048570, 1048601], ['bytes=3145000-', 3145000, 3145728], ['bytes=-100', 3145628, 3145728], ['bytes=3145727-9999999', 3145727, 3145728]]) {
    const part = await send('GetObject', { Key, Range });
    assert.equal(part.$metadata.httpStatusCode, 206);
    assert.equal(part.ContentRange, `bytes ${from}-${to - 1}/${content.length}`);
    assert.deepEqual(await bytesOf(part), content.subarray(from, to));
  }
  const beyond = await failure(send('GetObject', { Key, Range: 'bytes=3145728-' }));
  assert.deepEqual([beyond.status, beyond.code], [416, 'InvalidRange']);
});

test('reads and writes are conditional', async () => {
  const Key = `${newPrefix()}conditional`;
  const first = await send('PutObject', { Key, Body: 'one', IfNoneMatch: '*' });
  assert.equal((await failure(send('PutObject', { Key, Body: 'two', IfNoneMatch: '*' }))).status, 412);
  assert.equal((await failure(send('PutObject', { Key, Body: 'two', IfMatch: '"0"' }))).status, 412);
  assert.equal((await bytesOf(await send('GetObject', { Key }))).toString(), 'one');
  const second = await send('PutObject', { Key, Body: 'two', IfMatch: first.ETag });
  assert.equal((await failure(send('GetObject', { Key, IfMatch: first.ETag }))).status, 412);
  assert.equal((await failure(send('GetObject', { Key, IfNoneMatch: second.ETag }))).status, 304);
  assert.equal((await failure(send('HeadObject', { Key, IfModifiedSince: new Date() }))).status, 304);
  await send('GetObject', { Key, IfMatch: second.ETag, IfUnmodifiedSince: new Date() });
  assert.equal((await failure(send('DeleteObject', { Key, IfMatch: first.ETag }))).status, 412);
  await send('DeleteObject', { Key, IfMatch: second.ETag });
});

test('of many writers who want to be the first, one is', async () => {
  const Key = `${newPrefix()}race`;
  const writers = Array.from({ length: 12 }, (_, k) => send('PutObject', { Key, Body: `writer ${k}`, IfNoneMatch: '*' }));
  const outcomes = await Promise.allSettled(writers);
  const won = outcomes.flatMap((outcome, k) => (outcome.status === 'fulfilled' ? [k] : []));
  assert.equal(won.length, 1);
  assert.equal((await bytesOf(await send('GetObject', { Key }))).toString(), `writer ${won[0]}`);
});

test('copies keep the content and what is said of it, unless told else', async () => {
  const prefix = newPrefix();
  const content = randomBytes(2 * MIB);
  const from = `${prefix}from 图.bin`;
  const source = `${Bucket}/${encodeURIComponent(from)}`;
  const put = await send('PutObject', { Key: from, Body: content, ContentType: 'a/b', Metadata: { a: '1' } });
  const copied = await send('CopyObject', { Key: `${prefix}to`, CopySource: source, CopySourceIfMatch: put.ETag });
  assert.equal(copied.CopyObjectResult.ETag, put.ETag);
  const copy = await send('GetObject', { Key: `${prefix}to` });
  assert.deepEqual([copy.ContentType, copy.Metadata], ['a/b', { a: '1' }]);
  assert.equal(sha256(await bytesOf(copy)), sha256(content));
  await send('CopyObject', { Key: from, CopySource: source, MetadataDirective: 'REPLACE', ContentType: 'c/d', Metadata: { b: '2' } });
  const replaced = await send('HeadObject', { Key: from });
  assert.deepEqual([replaced.ContentType, replaced.Metadata, replaced.ETag], ['c/d', { b: '2' }, put.ETag]);
  assert.equal((await failure(send('CopyObject', { Key: from, CopySource: source }))).code, 'InvalidRequest');
  assert.equal((await failure(send('CopyObject', { Key: `${prefix}x`, CopySource: source, CopySourceIfNoneMatch: put.ETag }))).status, 412);
  assert.equal((await failure(send('CopyObject', { Key: `${prefix}x`, CopySource: `${Bucket}/${prefix}none` }))).code, 'NoSuchKey');
});

test('deletes, one and many', async () => {
  const prefix = newPrefix();
  const keys = Array.from({ length: 40 }, (_, k) => `${prefix}${k} <&>`);
  await Promise.all(keys.map((Key) => send('PutObject', { Key, Body: Key })));
  await send('DeleteObject', { Key: keys[0] });
  await send('DeleteObject', { Key: keys[0] });
  const Objects = keys.slice(1, 30).map((Key) => ({ Key }));
  const told = await send('DeleteObjects', { Delete: { Objects: [...Objects, { Key: `${prefix}never` }] } });
  assert.deepEqual(told.Deleted.map(({ Key }) => Key), [...keys.slice(1, 30), `${prefix}never`]);
  const quiet = await send('DeleteObjects', { Delete: { Quiet: true, Objects: keys.slice(30, 39).map((Key) => ({ Key })) } });
  assert.equal(quiet.Deleted, undefined);
  assert.deepEqual((await send('ListObjectsV2', { Prefix: prefix })).Contents.map(({ Key }) => Key), [keys[39]]);
  assert.equal((await failure(send('GetObject', { Key: keys[1] }))).code, 'NoSuchKey');
  assert.equal((await failure(send('HeadObject', { Key: keys[1] }))).status, 404);
});

test('presigned addresses read and write one object, for a while', async () => {
  const Key = `${newPrefix()}presigned`;
  const sign = (name, extra, options) => getSignedUrl(client(), new s3[`${name}Command`]({ Bucket, Key, ...extra }), { expiresIn: 60, ...options });
  const put = await fetch(await sign('PutObject'), { method: 'PUT', body: 'from a browser' });
  assert.equal(put.status, 200, await put.text());
  const got = await fetch(await sign('GetObject', { ResponseContentDisposition: 'attachment' }));
  assert.equal(await got.text(), 'from a browser');
  assert.equal(got.headers.get('content-disposition'), 'attachment');
  const address = await sign('GetObject');
  for (const wrong of [address.replace(/Signature=..../, 'Signature=0000'), address.replace('Expires=60', 'Expires=61'), address.replace('presigned', 'another')]) {
    assert.equal((await fetch(wrong)).status, 403);
  }
  const late = await sign('GetObject', {}, { signingDate: new Date(Date.now() - 120000) });
  const expired = await fetch(late);
  assert.equal(expired.status, 403);
  assert.match(await expired.text(), /expired/);
  assert.equal((await fetch(address, { method: 'DELETE' })).status, 403);
});

test('who may not is told so, and why', async () => {
  const Key = `${newPrefix()}mine`;
  await send('PutObject', { Key, Body: 'x' });
  const as = (credentials) => clientOf(dev.s3[0], { credentials }).send(new s3.GetObjectCommand({ Bucket, Key }));
  const wrong = await failure(as({ accessKeyId: dev.secretId, secretAccessKey: 'wrong' }));
  assert.deepEqual([wrong.status, wrong.code], [403, 'SignatureDoesNotMatch']);
  assert.ok(wrong.requestId);
  assert.equal((await failure(as({ accessKeyId: 'AKIDnone', secretAccessKey: 'x' }))).code, 'InvalidAccessKeyId');
  assert.equal((await fetch(`${dev.s3[0]}/${Bucket}/${Key}`)).status, 403);
  const made = JSON.parse(yunbase('key', 'create', '--temporary', '--hours', '1'));
  const temporary = { accessKeyId: made.secret_id, secretAccessKey: made.secret_key };
  assert.equal((await bytesOf(await as({ ...temporary, sessionToken: made.session_token }))).toString(), 'x');
  assert.equal((await failure(as(temporary))).code, 'InvalidToken');
  assert.equal((await failure(as({ ...temporary, sessionToken: 'another' }))).code, 'InvalidToken');
});
