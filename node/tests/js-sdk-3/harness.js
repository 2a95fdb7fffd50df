'use strict';
// The cluster under test, its command line, a stand-in for WeChat, and what browsers have and Node lacks.

const { execFileSync } = require('node:child_process');
const { createRequire } = require('node:module');
const { mkdtempSync, readFileSync, rmSync, writeFileSync } = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');

// Else the packages ask the cloud vendor's metadata service first, and wait for its name to resolve.
process.env.TENCENTCLOUD = 'true';

const devFile = process.env.YUNBASE_DEV_JSON;
if (!devFile) throw new Error('set YUNBASE_DEV_JSON to the dev.json of a running cluster');
const dev = JSON.parse(readFileSync(devFile, 'utf8'));

/** The packages installed for the test in `folder`. */
const packagesOf = (variable, folder) => createRequire(path.resolve(process.env[variable] || folder, 'package.json'));

let turn = 0;
/** The next node in turn, as `host:port`. */
const nextHost = () => new URL(dev.http[turn++ % dev.http.length]).host;

const run = `${Date.now().toString(36)}${process.pid.toString(36)}`.slice(-10);
let names = 0;
/** A user name that no other test uses. */
const newName = () => `u_${run}_${++names}`;

const PASSWORD = 'correct-horse-1';

/** Runs the command line against the cluster and reads its JSON. */
function cli(...args) {
  const binary = process.env.YUNBASE_BIN;
  if (!binary) throw new Error('set YUNBASE_BIN to the yunbase binary');
  const target = ['--target', path.dirname(path.resolve(devFile)), '-o', 'json'];
  const out = execFileSync(binary, [...args, ...target], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  return out.trim() ? JSON.parse(out) : undefined;
}

// Beyond those of the other clusters of the tests, and below those that the system gives to connections.
let ownPort = Number(process.env.YUNBASE_TEST_PORT || 17600) + 500;

/** Runs `what` with the `dev.json` of one more node, a cluster of its own, whose process has `variables`. */
async function ownNode(variables, what) {
  ownPort += 10;
  const folder = mkdtempSync(path.join(os.tmpdir(), 'yunbase-own-node-'));
  const node = (...words) => execFileSync(process.env.YUNBASE_BIN, words, { encoding: 'utf8', stdio: 'pipe', env: { ...process.env, ...variables } });
  node('dev', '--nodes', '1', '--port', String(ownPort), '--dir', folder, '--ephemeral', '--detach');
  try {
    const own = JSON.parse(readFileSync(path.join(folder, 'dev.json'), 'utf8'));
    return await what(own, (...words) => node(...words, '--target', folder));
  } finally {
    node('dev', 'stop', '--dir', folder);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A file with a secret for the command line. */
function secretFile(secret) {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'yunbase-secret-'));
  const file = path.join(folder, 'secret');
  writeFileSync(file, `${secret}\n`, { mode: 0o600 });
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return file;
}

/** WeChat as far as login needs it: the code `<openid>` or `<openid>+<unionid>` is its own answer. */
async function wechat(appid) {
  const asked = [];
  const server = http.createServer((request, response) => {
    const query = new URL(request.url, 'http://stand-in').searchParams;
    asked.push(Object.fromEntries(query));
    const [openid, unionid] = query.get('js_code').split('+');
    const answer = openid === 'bad' ? { errcode: 40029, errmsg: 'invalid code' } : { openid, unionid, session_key: 'hush' };
    response.setHeader('content-type', 'text/plain');
    response.end(JSON.stringify(answer));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  server.unref();
  const url = `http://127.0.0.1:${server.address().port}`;
  cli('auth', 'wechat', 'set', appid, '--secret-file', secretFile('app-secret'), '--base-url', url);
  return asked;
}

/** One request of the login door, without any package. */
async function auth(method, route, { token, body, host = nextHost(), headers } = {}) {
  const query = token ? '' : `${route.includes('?') ? '&' : '?'}client_id=${dev.env}`;
  const response = await fetch(`http://${host}/auth${route}${query}`, {
    method,
    headers: { ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

/** What js-sdk 2 takes for granted of a browser. */
function browser() {
  const storage = () => {
    const items = new Map();
    return {
      getItem: (key) => items.get(String(key)) ?? null,
      setItem: (key, value) => void items.set(String(key), String(value)),
      removeItem: (key) => void items.delete(String(key)),
      clear: () => items.clear(),
      key: (index) => [...items.keys()][index] ?? null,
      get length() { return items.size; },
    };
  };
  globalThis.window = globalThis;
  globalThis.localStorage = storage();
  globalThis.sessionStorage = storage();
  globalThis.WebSocket ??= class {};
}

module.exports = { PASSWORD, auth, browser, cli, dev, newName, nextHost, ownNode, packagesOf, wechat };
