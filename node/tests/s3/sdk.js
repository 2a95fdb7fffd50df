'use strict';
// The cluster under test and the AWS SDK against it. Every client talks to the next node in turn, so that one test reads
// through one node what it wrote through another.

const { execFileSync } = require('node:child_process');
const { createRequire } = require('node:module');
const { createHash, randomBytes } = require('node:crypto');
const { readFileSync } = require('node:fs');
const path = require('node:path');

const devFile = process.env.YUNBASE_DEV_JSON;
if (!devFile) throw new Error('set YUNBASE_DEV_JSON to the dev.json of a running cluster');
const dev = JSON.parse(readFileSync(devFile, 'utf8'));
const packages = createRequire(path.resolve(process.env.YUNBASE_S3_DIR || __dirname, 'package.json'));
const s3 = packages('@aws-sdk/client-s3');

/** A client of one node; `extra` takes the place of its usual settings. */
function clientOf(endpoint, extra) {
  const credentials = { accessKeyId: dev.secretId, secretAccessKey: dev.secretKey };
  return new s3.S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials, ...extra });
}

const clients = dev.s3.map((endpoint) => clientOf(endpoint));
let turn = 0;
const client = () => clients[turn++ % clients.length];
const Bucket = dev.env;

/** Sends a command, named without `Command`, through the next node. */
const send = (name, input) => client().send(new s3[`${name}Command`]({ Bucket, ...input }));

const run = `s3-${Date.now().toString(36)}${process.pid.toString(36)}`;
let names = 0;
/** A prefix that no other test uses. */
const newPrefix = () => `${run}/${++names}/`;

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const md5 = (bytes) => createHash('md5').update(bytes).digest('hex');
const bytesOf = async (answer) => Buffer.from(await answer.Body.transformToByteArray());

/** The failure of a call that must fail. */
async function failure(promise) {
  let outcome;
  try {
    outcome = await promise;
  } catch (error) {
    return { code: error.name, status: error.$metadata?.httpStatusCode, requestId: error.$metadata?.requestId, message: error.message };
  }
  throw new Error(`expected a failure, got ${JSON.stringify(outcome.$metadata)}`);
}

/** Runs the command line against the cluster and returns what it printed. */
function yunbase(...words) {
  const environment = { ...process.env, YUNBASE_ENV: dev.env, YUNBASE_SECRET_ID: dev.secretId, YUNBASE_SECRET_KEY: dev.secretKey };
  return execFileSync(process.env.YUNBASE_BIN || 'yunbase', [...words, '--target', dev.http[0]], { env: environment }).toString().trim();
}

module.exports = { Bucket, bytesOf, client, clientOf, dev, failure, md5, newPrefix, packages, randomBytes, s3, send, sha256, yunbase };
