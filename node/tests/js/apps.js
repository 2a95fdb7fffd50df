'use strict';
// Apps under test: the unmodified browser packages, each major from a node_modules tree of its own, signed in.
//
// `@cloudbase/js-sdk` 1 and 2 and the browser build of 3 get a platform adapter, their documented way onto other
// platforms: `fetch` for requests and a map for the storage that survives a page.

const { createRequire } = require('node:module');
const path = require('node:path');
const { dev } = require('./cluster');

const tree = (major) => process.env[`YUNBASE_JS_SDK_${major}_DIR`] || path.join(__dirname, `js-sdk-${major}`);
const load = (major, name) => createRequire(path.resolve(tree(major), 'package.json'))(name);

let turn = 0;
const nextHost = () => new URL(dev.http[turn++ % dev.http.length]).host;

/** What an app presents as proof of who it is. The one place where a sign-in goes. */
const credential = () => `${dev.secretId}.${dev.secretKey}`;

class Request {
  constructor() {
    this.post = (options) => this.send('POST', options);
    this.get = (options) => this.send('GET', options);
    this.put = (options) => this.send('PUT', options);
  }

  async send(method, { url, data, headers }) {
    const response = await fetch(url, { method, headers, body: data && JSON.stringify(data) });
    const header = Object.fromEntries(response.headers);
    return { statusCode: response.status, header, data: await response.json() };
  }

  // As in browsers: a form with the file as its last field, or the file as the body.
  async upload({ url, method = 'post', data = {}, headers = {}, file }) {
    let body = file;
    if (method.toLowerCase() === 'post') {
      body = new FormData();
      for (const [name, value] of Object.entries(data)) body.append(name, value);
      body.append('file', file);
    }
    const response = await fetch(url, { method: method.toUpperCase(), headers, body });
    return { statusCode: response.status, header: Object.fromEntries(response.headers), data: await response.text() };
  }

  async download({ url }) {
    const response = await fetch(url);
    return { statusCode: response.status, header: Object.fromEntries(response.headers), data: Buffer.from(await response.arrayBuffer()) };
  }

  // As in a browser: a failing status rejects with the body.
  async fetch({ url, method, headers, body }) {
    const response = await fetch(url, { method, headers, body });
    const data = await response.json();
    if (!response.ok) throw data;
    return { statusCode: response.status, header: response.headers, data };
  }
}

const stored = new Map();
const storage = {
  mode: 'sync',
  getItem: (key) => stored.get(key),
  setItem: (key, value) => void stored.set(key, value),
  removeItem: (key) => void stored.delete(key),
  clear: () => stored.clear(),
};

const adapter = {
  runtime: 'web',
  isMatch: () => true,
  genAdapter: () => ({
    root: {}, reqClass: Request, wsClass: globalThis.WebSocket, localStorage: storage, sessionStorage: storage, primaryStorage: 'local',
  }),
};

/** js-sdk 1: endpoint for all apps of the process, tokens in its own cache; `null` for nobody yet. */
async function js1(accessToken = credential(), host = nextHost()) {
  const cloudbase = load(1, '@cloudbase/js-sdk');
  cloudbase.useAdapters(adapter);
  cloudbase.registerEndPoint(`http://${host}/web`);
  const app = cloudbase.init({ env: dev.env });
  if (accessToken === null) return app;
  const { keys } = app.cache;
  const tokens = { accessTokenKey: accessToken, accessTokenExpireKey: Date.now() + 3600e3, refreshTokenKey: 'unused' };
  for (const [key, value] of Object.entries(tokens)) await app.cache.setStoreAsync(keys[key], value);
  return app;
}

/** Sends js-sdk 1 elsewhere, all apps of the process. */
js1.pointAt = (host) => load(1, '@cloudbase/js-sdk').registerEndPoint(`http://${host}/web`);

/** js-sdk 2: its login address is fixed at init, so the auth object is made anew after the endpoint. */
async function js2(accessToken = credential(), host = nextHost()) {
  const cloudbase = load(2, '@cloudbase/js-sdk');
  cloudbase.useAdapters(adapter);
  const app = cloudbase.init({ env: dev.env, accessKey: accessToken });
  app.registerEndPoint(`//${host}/web`, 'http');
  app.auth({ persistence: 'local' });
  return app;
}

/** js-sdk 3 as Node.js gets it. */
async function js3(options = { accessKey: credential() }, host = nextHost()) {
  const app = load(3, '@cloudbase/js-sdk').init({ env: dev.env, ...options });
  app.registerHost(host, 'http');
  return app;
}

/** js-sdk 3 as browsers get it. */
async function js3Browser(accessKey = credential()) {
  const file = path.join(path.dirname(createRequire(path.resolve(tree(3), 'package.json')).resolve('@cloudbase/js-sdk')), 'index.cjs.js');
  const cloudbase = require(file).default || require(file);
  cloudbase.useAdapters(adapter);
  const app = cloudbase.init({ env: dev.env, accessKey });
  app.registerHost(nextHost(), 'http');
  return app;
}

module.exports = { credential, js1, js2, js3, js3Browser, nextHost };
