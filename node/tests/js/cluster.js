'use strict';
// The cluster under test and the official packages against it.
//
// Every `db()` talks to the next node in turn, so that one test reads through one node what it wrote through another.

const { execFileSync } = require('node:child_process');
const { createRequire } = require('node:module');
const { readFileSync } = require('node:fs');
const path = require('node:path');

// Else the newer packages ask the cloud vendor's metadata service before each request, and wait for its name to resolve.
process.env.TENCENTCLOUD = 'true';

const devFile = process.env.YUNBASE_DEV_JSON;
if (!devFile) throw new Error('set YUNBASE_DEV_JSON to the dev.json of a running cluster');
const dev = JSON.parse(readFileSync(devFile, 'utf8'));

const packages = createRequire(path.resolve(process.env.YUNBASE_NPM_DIR || __dirname, 'package.json'));

let turn = 0;
const nextUrl = () => `${dev.http[turn++ % dev.http.length]}/admin`;

/** Options of `init` for the next node in turn. */
function options(extra) {
  return { env: dev.env, secretId: dev.secretId, secretKey: dev.secretKey, serviceUrl: nextUrl(), ...extra };
}

const sdk = packages('@cloudbase/node-sdk');
const nodes = dev.http.map(() => sdk.init(options()).database());

/** The database through the next node in turn. */
const db = () => nodes[turn++ % nodes.length];

let collections = 0;
const run = `${Date.now().toString(36)}${process.pid.toString(36)}`;

/** A name that no other test uses. */
const newName = () => `compat_${run}_${++collections}`;

/** A new collection that holds `documents`; each access goes to the next node. */
async function collection(documents = []) {
  const name = newName();
  await db().createCollection(name);
  const access = () => db().collection(name);
  access.collectionName = name;
  for (let from = 0; from < documents.length; from += 500) await access().add(documents.slice(from, from + 500));
  return access;
}

/** The failure of a call that must fail, however the package reports it. */
async function failure(promise) {
  let outcome;
  try {
    outcome = await promise;
  } catch (error) {
    return error;
  }
  if (outcome && outcome.code) return outcome;
  throw new Error(`expected a failure, got ${JSON.stringify(outcome)}`);
}

/** Runs the command line against the cluster and returns what it printed. */
function yunbase(...words) {
  const environment = { ...process.env, YUNBASE_ENV: dev.env, YUNBASE_SECRET_ID: dev.secretId, YUNBASE_SECRET_KEY: dev.secretKey };
  const output = execFileSync(process.env.YUNBASE_BIN || 'yunbase', [...words, '--target', dev.http[0]], { env: environment });
  return output.toString().trim();
}

/** Waits until `check` holds `times` times in a row, as when each node must have heard of something. */
async function eventually(times, check) {
  const givenUp = Date.now() + 10000;
  for (let held = 0; held < times;) {
    try {
      await check();
      held += 1;
    } catch (error) {
      if (Date.now() > givenUp) throw error;
      held = 0;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

module.exports = { collection, db, dev, eventually, failure, newName, nextUrl, options, packages, sdk, yunbase, _: nodes[0].command };
