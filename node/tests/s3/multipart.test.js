'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { Readable } = require('node:stream');
const { Bucket, bytesOf, client, failure, md5, newPrefix, packages, randomBytes, s3, send, sha256 } = require('./sdk');

const { Upload } = packages('@aws-sdk/lib-storage');
const MIB = 1 << 20;

/** Begins an upload and stores these parts, each through the next node. */
async function begun(Key, parts, extra) {
  const { UploadId } = await send('CreateMultipartUpload', { Key, ...extra });
  const Parts = await Promise.all(parts.map(async (Body, k) => {
    const { ETag } = await send('UploadPart', { Key, UploadId, PartNumber: k + 1, Body });
    assert.equal(ETag, `"${md5(Body)}"`);
    return { PartNumber: k + 1, ETag };
  }));
  return { UploadId, Parts };
}

const complete = (Key, UploadId, Parts, extra) => send('CompleteMultipartUpload', { Key, UploadId, MultipartUpload: { Parts }, ...extra });

test('parts through all nodes become one object, with the etag of S3', async () => {
  const Key = `${newPrefix()}parts`;
  const parts = [randomBytes(5 * MIB), randomBytes(6 * MIB), randomBytes(1000)];
  const { UploadId, Parts } = await begun(Key, parts, { ContentType: 'a/b', Metadata: { a: '1' } });
  assert.equal((await failure(send('HeadObject', { Key }))).status, 404);
  const listed = await send('ListParts', { Key, UploadId, MaxParts: 2 });
  assert.deepEqual(listed.Parts.map(({ PartNumber, Size }) => [PartNumber, Size]), [[1, 5 * MIB], [2, 6 * MIB]]);
  assert.deepEqual([listed.IsTruncated, listed.NextPartNumberMarker], [true, '2']);
  const rest = await send('ListParts', { Key, UploadId, PartNumberMarker: '2' });
  assert.deepEqual(rest.Parts.map(({ PartNumber }) => PartNumber), [3]);
  const uploads = await send('ListMultipartUploads', { Prefix: Key });
  assert.deepEqual(uploads.Uploads.map((upload) => upload.UploadId), [UploadId]);
  const done = await complete(Key, UploadId, Parts);
  const ofParts = md5(Buffer.concat(parts.map((part) => Buffer.from(md5(part), 'hex'))));
  assert.equal(done.ETag, `"${ofParts}-3"`);
  assert.equal((await complete(Key, UploadId, Parts)).ETag, done.ETag, 'asked again, as when the answer was lost');
  const got = await send('GetObject', { Key });
  assert.deepEqual([got.ContentType, got.Metadata, got.ETag], ['a/b', { a: '1' }, done.ETag]);
  assert.equal(sha256(await bytesOf(got)), sha256(Buffer.concat(parts)));
  assert.equal((await send('ListMultipartUploads', { Prefix: Key })).Uploads, undefined);
});

test('lib-storage uploads a stream of unknown length', async () => {
  const Key = `${newPrefix()}stream`;
  const content = randomBytes(23 * MIB);
  const pieces = [];
  for (let at = 0; at < content.length; at += 300000) pieces.push(content.subarray(at, at + 300000));
  await new Upload({ client: client(), params: { Bucket, Key, Body: Readable.from(pieces) }, partSize: 5 * MIB, queueSize: 3 }).done();
  assert.equal(sha256(await bytesOf(await send('GetObject', { Key }))), sha256(content));
});

test('what does not fit together is refused, and changes nothing', async () => {
  const Key = `${newPrefix()}wrong`;
  const { UploadId, Parts } = await begun(Key, [randomBytes(5 * MIB), randomBytes(10), randomBytes(10)]);
  const [first, second, third] = Parts;
  const code = async (parts) => (await failure(complete(Key, UploadId, parts))).code;
  assert.equal(await code([second, first]), 'InvalidPartOrder');
  assert.equal(await code([first, { PartNumber: 9, ETag: first.ETag }]), 'InvalidPart');
  assert.equal(await code([{ PartNumber: 1, ETag: second.ETag }]), 'InvalidPart');
  assert.equal(await code([first, second, third]), 'EntityTooSmall');
  assert.equal((await failure(send('UploadPart', { Key: `${Key}x`, UploadId, PartNumber: 1, Body: 'x' }))).code, 'NoSuchUpload');
  assert.equal((await failure(send('UploadPart', { Key, UploadId, PartNumber: 10001, Body: 'x' }))).code, 'InvalidArgument');
  assert.equal((await failure(send('UploadPart', { Key, UploadId: 'none', PartNumber: 1, Body: 'x' }))).code, 'NoSuchUpload');
  assert.equal((await failure(send('HeadObject', { Key }))).status, 404);
  await complete(Key, UploadId, [first, third], { IfNoneMatch: '*' });
  assert.equal((await send('HeadObject', { Key })).ContentLength, 5 * MIB + 10);
  const late = await begun(Key, [randomBytes(10)]);
  assert.equal((await failure(complete(Key, late.UploadId, late.Parts, { IfNoneMatch: '*' }))).status, 412);
});

test('an aborted upload is gone', async () => {
  const Key = `${newPrefix()}aborted`;
  const { UploadId, Parts } = await begun(Key, [randomBytes(100)]);
  await send('AbortMultipartUpload', { Key, UploadId });
  assert.equal((await failure(send('ListParts', { Key, UploadId }))).code, 'NoSuchUpload');
  assert.equal((await failure(complete(Key, UploadId, Parts))).code, 'NoSuchUpload');
});

test('parts are copied from objects, whole or in ranges', async () => {
  const prefix = newPrefix();
  const source = randomBytes(12 * MIB);
  await send('PutObject', { Key: `${prefix}source`, Body: source });
  const Key = `${prefix}copy`;
  const { UploadId } = await send('CreateMultipartUpload', { Key });
  const CopySource = `${Bucket}/${prefix}source`;
  const Parts = [];
  for (const CopySourceRange of [`bytes=0-${6 * MIB - 1}`, `bytes=${6 * MIB}-${12 * MIB - 1}`, undefined]) {
    const PartNumber = Parts.length + 1;
    const { CopyPartResult } = await send('UploadPartCopy', { Key, UploadId, PartNumber, CopySource, CopySourceRange });
    Parts.push({ PartNumber, ETag: CopyPartResult.ETag });
  }
  assert.equal(Parts[2].ETag, `"${md5(source)}"`);
  await complete(Key, UploadId, Parts);
  assert.equal(sha256(await bytesOf(await send('GetObject', { Key }))), sha256(Buffer.concat([source, source])));
  const beyond = send('UploadPartCopy', { Key, UploadId, PartNumber: 1, CopySource, CopySourceRange: `bytes=0-${12 * MIB}` });
  assert.equal((await failure(beyond)).code, 'NoSuchUpload');
});
