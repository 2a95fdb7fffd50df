'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { Bucket, client, dev, failure, newPrefix, s3, send } = require('./sdk');

/** Stores empty objects below a new prefix. */
async function stored(names) {
  const prefix = newPrefix();
  await Promise.all(names.map((name) => send('PutObject', { Key: prefix + name, Body: '' })));
  return prefix;
}

/** All pages of a listing of version 2 below a prefix: keys and common prefixes, without the prefix. */
async function pages(prefix, input) {
  const keys = [];
  const prefixes = [];
  for (let ContinuationToken; ;) {
    const page = await send('ListObjectsV2', { Prefix: prefix, ContinuationToken, ...input });
    keys.push(...(page.Contents || []).map(({ Key }) => Key.slice(prefix.length)));
    prefixes.push(...(page.CommonPrefixes || []).map(({ Prefix }) => Prefix.slice(prefix.length)));
    assert.equal(page.KeyCount, (page.Contents || []).length + (page.CommonPrefixes || []).length);
    if (input?.MaxKeys) assert.ok(page.KeyCount <= input.MaxKeys);
    if (!page.IsTruncated) return { keys, prefixes };
    ContinuationToken = page.NextContinuationToken;
  }
}

const NAMES = ['a', 'a b', 'a&<>"', 'b/', 'b/1', 'b/2', 'b/c/3', 'c', 'd/1', 'é', '图/片'];

test('keys come in the order of their bytes, once each, whatever the size of pages', async () => {
  const prefix = await stored(NAMES);
  const inOrder = [...NAMES].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  for (const MaxKeys of [1, 2, 3, 1000]) {
    assert.deepEqual((await pages(prefix, { MaxKeys })).keys, inOrder);
    assert.deepEqual((await pages(prefix, { MaxKeys, EncodingType: 'url' })).keys.map(decodeURIComponent), inOrder);
    const folders = await pages(prefix, { MaxKeys, Delimiter: '/' });
    assert.deepEqual(folders, { keys: ['a', 'a b', 'a&<>"', 'c', 'é'].sort(), prefixes: ['b/', 'd/', '图/'] });
  }
  assert.deepEqual((await pages(`${prefix}b/`, { Delimiter: '/' })), { keys: ['', '1', '2'], prefixes: ['c/'] });
  assert.deepEqual((await pages(prefix, { StartAfter: `${prefix}b/2` })).keys, ['b/c/3', 'c', 'd/1', 'é', '图/片']);
  const none = await send('ListObjectsV2', { Prefix: prefix, MaxKeys: 0 });
  assert.deepEqual([none.KeyCount, none.IsTruncated], [0, false]);
  assert.equal((await failure(send('ListObjectsV2', { ContinuationToken: '%' }))).code, 'InvalidArgument');
});

test('version 1 pages by marker, also behind common prefixes', async () => {
  const prefix = await stored(NAMES);
  for (const MaxKeys of [1, 2, 1000]) {
    const seen = [];
    for (let Marker; ;) {
      const page = await send('ListObjects', { Prefix: prefix, Delimiter: '/', MaxKeys, Marker });
      seen.push(...(page.Contents || []).map(({ Key }) => Key), ...(page.CommonPrefixes || []).map(({ Prefix }) => Prefix));
      if (!page.IsTruncated) break;
      Marker = page.NextMarker;
    }
    const wanted = ['a', 'a b', 'a&<>"', 'b/', 'c', 'd/', 'é', '图/'].map((name) => prefix + name);
    assert.deepEqual(seen.sort(), wanted.sort());
  }
});

test('entries tell what tools compare', async () => {
  const prefix = newPrefix();
  const { ETag } = await send('PutObject', { Key: `${prefix}a`, Body: 'abc' });
  const [entry] = (await send('ListObjectsV2', { Prefix: prefix, FetchOwner: true })).Contents;
  assert.deepEqual([entry.ETag, entry.Size, entry.StorageClass, entry.Owner.ID], [ETag, 3, 'STANDARD', Bucket]);
  assert.ok(Math.abs(entry.LastModified - Date.now()) < 60000);
});

test('buckets are the environments that the key opens', async () => {
  const { Buckets } = await client().send(new s3.ListBucketsCommand({}));
  const own = Buckets.find(({ Name }) => Name === dev.env);
  assert.ok(own.CreationDate instanceof Date);
  await send('HeadBucket');
  assert.ok(!(await send('GetBucketLocation')).LocationConstraint);
  assert.equal((await failure(send('CreateBucket'))).code, 'BucketAlreadyOwnedByYou');
  assert.equal((await failure(send('CreateBucket', { Bucket: 'no-such-env' }))).code, 'MethodNotAllowed');
  assert.equal((await failure(send('DeleteBucket'))).code, 'MethodNotAllowed');
  assert.equal((await failure(send('ListObjectsV2', { Bucket: 'no-such-env' }))).code, 'NoSuchBucket');
  assert.equal((await failure(send('HeadBucket', { Bucket: 'no-such-env' }))).status, 404);
});

test('what buckets and objects do not have here is said as S3 says it', async () => {
  const Key = `${newPrefix()}a`;
  await send('PutObject', { Key, Body: '' });
  assert.equal((await send('GetBucketVersioning')).Status, undefined);
  assert.deepEqual((await send('GetObjectTagging', { Key })).TagSet, []);
  assert.equal((await send('GetObjectAcl', { Key })).Grants[0].Permission, 'FULL_CONTROL');
  for (const [name, code] of [['GetBucketPolicy', 'NoSuchBucketPolicy'], ['GetBucketCors', 'NoSuchCORSConfiguration'], ['GetBucketTagging', 'NoSuchTagSet']]) {
    assert.deepEqual(await failure(send(name)).then(({ status, code: told }) => [status, told]), [404, code]);
  }
  assert.equal((await failure(send('PutObjectTagging', { Key, Tagging: { TagSet: [{ Key: 'a', Value: 'b' }] } }))).status, 501);
});
