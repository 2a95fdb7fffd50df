'use strict';
// Bare requests of the database, as anybody may send them, with and without the packages' good manners.

const assert = require('node:assert/strict');
const { PASSWORD, auth: rest, cli, dev, newName, nextHost } = require('./harness');

/** A request to the REST of the database; `token` may be anybody's, an API key's too. */
async function data(method, route, { token, body } = {}) {
  const prefix = '/v1/database/instances/(default)/databases/(default)';
  const response = await fetch(`http://${nextHost()}${prefix}${route}`, {
    method,
    headers: token ? { authorization: `Bearer ${token}` } : {},
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

const administrator = `${dev.secretId}.${dev.secretKey}`;

async function newCollection(mode, ...rule) {
  const collectionName = newName();
  const made = await data('POST', '/collections', { token: administrator, body: { collectionName } });
  assert.equal(made.status, 200, JSON.stringify(made.body));
  if (mode) cli('rules', 'set', collectionName, mode, ...rule);
  return collectionName;
}

/** A new user: id and access token. */
async function newUser() {
  const username = newName();
  const { body } = await rest('POST', '/v1/signup', { body: { username, password: PASSWORD } });
  return { username, uid: body.sub, token: body.access_token };
}

const add = (user, name, ...documents) => data('POST', `/collections/${name}/documents`, { token: user.token, body: { data: documents } });
const find = (user, name, query = {}) => data('GET', `/collections/${name}/documents?query=${encodeURIComponent(JSON.stringify(query))}`, user);
const update = (user, name, query, change) => data('PATCH', `/collections/${name}/documents`, { token: user.token, body: { query, data: change, multi: true, upsert: false, replaceMode: false } });
const remove = (user, name, query) => data('POST', `/collections/${name}/documents/remove`, { token: user.token, body: { query, multi: true } });

/** One action of `/web`, the door of js-sdk 1 and 2: parameters and answer as they travel. */
async function web(action, parameters, { token, env = dev.env } = {}) {
  const response = await fetch(`http://${nextHost()}/web?env=${env}`, {
    method: 'POST',
    body: JSON.stringify({ action, env, dataVersion: '2020-01-10', ...(token ? { access_token: token } : {}), ...parameters }),
  });
  return { status: response.status, body: await response.json() };
}

module.exports = { add, administrator, data, find, newCollection, newUser, remove, update, web };
