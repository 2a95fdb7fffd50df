'use strict';
// What somebody would try at the HTTP surface who wants more than is granted: each attempt through every door that has it.

const test = require('node:test');
const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const { PASSWORD, auth: rest, cli, dev, newName, nextHost, ownNode, packagesOf } = require('./harness');
const { add, administrator, data, find, newCollection, newUser, remove, update, web } = require('./http');

const server = packagesOf('YUNBASE_JS3_DIR', __dirname)('@cloudbase/node-sdk');

const DENIED = ['DATABASE_PERMISSION_DENIED', 'ACTION_FORBIDDEN', 'PERMISSION_DENIED'];
const UNPROVEN = ['MISSING_CREDENTIALS', 'INVALID_CREDENTIALS', 'INVALID_ACCESS_TOKEN', 'ACCESS_TOKEN_EXPIRED', 'CHECK_LOGIN_FAILED', 'SIGN_PARAM_INVALID', 'PERMISSION_DENIED', 'INVALID_ENV'];

/** Ann's and Bob's documents in one collection under a mode. */
async function shared(mode, ...rule) {
  const name = await newCollection(mode, ...rule);
  const [ann, bob] = [await newUser(), await newUser()];
  const made = [await add(ann, name, { _id: 'hers', secret: 'pear', n: 1 }), await add(bob, name, { _id: 'his', secret: 'apple', n: 2 })];
  assert.ok(made.every(({ status }) => status === 200), JSON.stringify(made));
  return { name, ann, bob };
}

/** Ids that a query finds through `/v1` and through `/web`; a refusal finds none. */
async function seen(user, name, query) {
  const byRest = await find(user, name, query);
  const byAction = await web('database.queryDocument', { collectionName: name, query, queryType: 'WHERE', limit: 100 }, user);
  return [byRest.body.list ?? [], byAction.body.data?.list ?? []].map((list) => list.map((one) => (typeof one === 'string' ? JSON.parse(one) : one)._id));
}

test('RU03 attempt: operators in values reach nothing more', async () => {
  const { name, ann, bob } = await shared('private');
  const injected = [
    {}, { _openid: ann.uid }, { _openid: { $ne: bob.uid } }, { _openid: { $exists: true } }, { _openid: { $gt: '' } }, { _openid: { $in: [ann.uid, bob.uid] } },
    { _openid: { $regex: '.' } }, { _id: 'hers' }, { _id: { $in: ['hers'] } }, { _id: { $gt: '' } }, { $or: [{ _id: 'hers' }, {}] }, { $nor: [{ _openid: bob.uid }] },
    { $and: [{ $or: [{}, { _openid: ann.uid }] }] }, { $expr: { $eq: ['$_openid', ann.uid] } }, { $expr: true }, { secret: { $regex: '^p' } },
    { $where: 'true' }, { $where: 'this.secret' }, { $expr: { $function: { body: 'return true', args: [], lang: 'js' } } }, { $comment: 'x', _id: 'hers' },
    { __proto__: null, ['__proto__']: { _openid: ann.uid } }, { 'constructor.prototype': 1 }, { _openid: '{openid}', $or: [{ _id: 'hers' }] },
    { secret: { $not: { $eq: 'apple' } } }, { 'secret\u0000': 'pear' }, { $jsonSchema: {} }, { $text: { $search: 'pear' } },
  ];
  for (const query of injected) {
    for (const ids of await seen(bob, name, query)) assert.ok(!ids.includes('hers'), JSON.stringify(query));
    const counted = await data('GET', `/collections/${name}/documents?count=true&query=${encodeURIComponent(JSON.stringify(query))}`, bob);
    assert.ok(counted.body.code || counted.body.total <= 1, JSON.stringify(query));
    await update(bob, name, query, { $set: { n: 99 } });
    await remove(bob, name, { ...query, n: 1 });
  }
  assert.deepEqual((await seen(ann, name, {}))[0], ['hers']);
  const [hers] = (await find({ token: administrator }, name, { _id: 'hers' })).body.list;
  assert.deepEqual([hers.secret, hers.n, hers._openid], ['pear', { $numberInt: '1' }, ann.uid]);
});

test('RU03 attempt: a query is no other type of thing', async () => {
  const { name, bob } = await shared('private');
  for (const query of ['[]', '5', '"x"', 'true', '[{"_id":"hers"}]', '"{\\"_id\\":\\"hers\\"}"', '{"_id":"hers"}{}', '{"$or":{}}', '{"$or":"x"}', '{"_id":{"$in":"hers"}}', '{"_id":{"$gt":{}}}']) {
    const { status, body } = await data('GET', `/collections/${name}/documents?query=${encodeURIComponent(query)}`, bob);
    assert.ok(status >= 400 || !body.list.some((one) => one._id === 'hers'), `${query}: ${JSON.stringify(body)}`);
  }
});

test('RU03 attempt: the owner is not forged, moved or taken away', async () => {
  const { name, ann, bob } = await shared('readonly');
  const [mine, all] = [{ _id: 'his' }, { multi: true, merge: true, upsert: false, queryType: 'WHERE' }];
  const changes = [
    { _openid: ann.uid }, { $set: { _openid: ann.uid } }, { $unset: { _openid: '' } }, { $rename: { _openid: 'x' } }, { $rename: { n: '_openid' } },
    { $set: { '_openid.x': 1 } }, { $inc: { _openid: 1 } }, { $push: { _openid: ann.uid } }, { $setOnInsert: { _openid: ann.uid } }, { $min: { _openid: '' } },
  ];
  for (const change of changes) {
    const attempts = [
      await update(bob, name, mine, change),
      await web('database.updateDocument', { ...all, collectionName: name, query: mine, data: change }, bob),
    ];
    for (const { body } of attempts) {
      assert.ok(body.code || (body.updated ?? body.data?.updated) === 0, `${JSON.stringify(change)}: ${JSON.stringify(body)}`);
    }
  }
  for (const made of [{ _openid: ann.uid }, { _openid: [bob.uid, ann.uid] }, { _openid: { $ne: '' } }, { _openid: null }]) {
    const attempts = [await add(bob, name, made), await web('database.addDocument', { collectionName: name, data: made }, bob)];
    for (const { body } of attempts) assert.ok(body.code, JSON.stringify(made));
  }
  const whole = { query: { _id: 'hers' }, data: { n: 5 }, multi: false, upsert: true, replaceMode: true };
  const replaced = await data('PATCH', `/collections/${name}/documents`, { token: bob.token, body: whole });
  assert.ok(replaced.body.code, JSON.stringify(replaced.body));
  const { list } = (await find({ token: administrator }, name)).body;
  assert.deepEqual(list.map((one) => [one._id, one._openid]).sort(), [['hers', ann.uid], ['his', bob.uid]]);
});

test('RU02 attempt: a query without the condition of the rule', async () => {
  const own = 'doc._openid == auth.openid';
  const { name, ann, bob } = await shared('custom', '--rule', JSON.stringify({ read: own, write: own }));
  const without = [
    {}, { n: 1 }, { secret: { $exists: true } }, { _id: 'hers' }, { _openid: ann.uid }, { _openid: { $in: [bob.uid, ann.uid] } },
    { $or: [{ _openid: bob.uid }, {}] }, { $or: [{ _openid: bob.uid }, { _openid: ann.uid }] }, { $nor: [{ _openid: ann.uid }] }, { _openid: { $ne: ann.uid } },
  ];
  for (const query of without) {
    const attempts = [
      find(bob, name, query), update(bob, name, query, { $set: { n: 3 } }), remove(bob, name, query),
      data('POST', `/collections/${name}/documents/aggregations`, { token: bob.token, body: { pipeline: [{ $match: query }, { $match: { _openid: bob.uid } }] } }),
      web('database.queryDocument', { collectionName: name, query, queryType: 'WHERE' }, bob),
      web('database.countDocument', { collectionName: name, query }, bob),
      web('database.updateDocument', { collectionName: name, query, data: { $set: { n: 3 } }, multi: true, merge: true, upsert: false }, bob),
      web('database.deleteDocument', { collectionName: name, query, multi: true }, bob),
    ];
    for (const [at, attempt] of attempts.entries()) {
      const { body } = await attempt;
      // A pipeline that names one document gets what may be seen of it: nothing.
      const nothing = at === 3 && query._id && body.list?.length === 0;
      assert.ok(nothing || DENIED.includes(body.code), `${at} ${JSON.stringify(query)}: ${JSON.stringify(body)}`);
    }
  }
  assert.equal((await find(bob, name, { _openid: '{openid}' })).body.list.length, 1);
  assert.equal((await find({ token: administrator }, name)).body.list.length, 2);
});

test('RU01 attempt: pipelines into forbidden collections', async () => {
  const { name: open, bob } = await shared('readonly');
  const { name: closed, ann: her, bob: him } = await shared('private');
  const secret = await newCollection('adminonly');
  await data('POST', `/collections/${secret}/documents`, { token: administrator, body: { data: [{ _id: 'secret' }] } });
  const join = (from) => ({ $lookup: { from, localField: 'x', foreignField: 'y', as: 'stolen' } });
  for (const from of [closed, secret, '_sys.users', '_sys.sessions', '_sys.keys', '_cluster.nodes']) {
    const pipelines = [
      [join(from)], [{ $lookup: { from, let: {}, pipeline: [], as: 'stolen' } }], [{ $unionWith: from }], [{ $unionWith: { coll: from, pipeline: [] } }],
      [{ $graphLookup: { from, startWith: '$x', connectFromField: 'x', connectToField: 'y', as: 'stolen' } }], [{ $facet: { inner: [join(from)] } }],
      [{ $lookup: { from: open, let: {}, pipeline: [join(from)], as: 'stolen' } }], [{ $facet: { inner: [{ $unionWith: from }] } }],
      [{ $out: from }], [{ $merge: { into: from } }],
    ];
    for (const pipeline of pipelines) {
      const text = (stage) => ({ stageKey: Object.keys(stage)[0], stageValue: JSON.stringify(Object.values(stage)[0]) });
      const attempts = [
        await data('POST', `/collections/${open}/documents/aggregations`, { token: bob.token, body: { pipeline } }),
        await web('database.aggregate', { collectionName: open, stages: pipeline.map(text) }, bob),
      ];
      const joins = !('$out' in pipeline[0] || '$merge' in pipeline[0]);
      for (const { body } of attempts) {
        const text = JSON.stringify(body);
        // What is private is joined with what is one's own, and here that is nothing.
        const nothing = from === closed && joins && !body.code && ![her, him].some(({ uid }) => text.includes(uid));
        assert.ok(nothing || (body.code && !text.includes('"list"')), `${JSON.stringify(pipeline)}: ${text}`);
      }
    }
    const direct = [
      await data('POST', `/collections/${from}/documents/aggregations`, { token: bob.token, body: { pipeline: [] } }),
      await web('database.aggregate', { collectionName: from, stages: [] }, bob),
    ];
    for (const { body } of direct) {
      const list = body.list ?? JSON.parse(body.data?.list ?? '[]');
      // What is private begins with what is one's own, and here that is nothing.
      assert.ok(from === closed ? list.length === 0 && !body.code : DENIED.includes(body.code), `${from}: ${JSON.stringify(body)}`);
    }
  }
});

test('RU01 attempt: what belongs to administrators', async () => {
  const { name, bob } = await shared('readonly');
  const made = newName();
  const attempts = [
    data('POST', '/collections', { token: bob.token, body: { collectionName: made } }), web('database.addCollection', { collectionName: made }, bob),
    data('POST', '/commands', { token: bob.token, body: { commands: [{ find: name }] } }),
    data('POST', '/commands', { token: bob.token, body: { commands: [{ insert: name, documents: [{ _openid: 'x' }] }] } }),
    data('POST', '/collections/_sys.users/documents', { token: bob.token, body: { data: [{ _id: 'x' }] } }),
    web('database.queryDocument', { collectionName: '_sys.users', query: {} }, bob), web('auth.getUserInfoForAdmin', { uuid: bob.uid }, bob),
  ];
  for (const [at, attempt] of attempts.entries()) {
    const { body } = await attempt;
    assert.ok(body.code, `${at}: ${JSON.stringify(body)}`);
  }
  const absent = await find({ token: administrator }, made);
  assert.equal(absent.body.code, 'DATABASE_COLLECTION_NOT_EXIST');
  // A user's token is no administrator's at the door of administrators.
  const admin = await fetch(`http://${nextHost()}/admin?env=${dev.env}`, {
    method: 'POST', headers: { authorization: `Bearer ${bob.token}` }, body: JSON.stringify({ action: 'database.getDocument', collectionName: name, envName: dev.env }),
  });
  assert.ok(UNPROVEN.includes((await admin.json()).code));
});

/** A socket of the realtime door, logged in as a user, with all that it was told. */
async function socket(user) {
  const WebSocket = packagesOf('YUNBASE_JS_SDK_3_DIR', `${__dirname}/../js/js-sdk-3`)('ws');
  const { body } = await web('auth.wsWebSign', {}, user);
  assert.ok(body.data, JSON.stringify(body));
  const connection = new WebSocket(body.data.wsUrl);
  const told = [];
  let heard = () => {};
  connection.on('message', (text) => { told.push(JSON.parse(text)); heard(); });
  connection.on('close', (code) => { told.push({ msgType: 'closed', code }); heard(); });
  await new Promise((resolve, reject) => connection.on('open', resolve).on('error', reject));
  const send = (message) => connection.send(JSON.stringify({ requestId: 'r', watchId: 'w', ...message }));
  /** The first message, now or later, that is one of these. */
  const wait = (...kinds) => new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no ${kinds} in ${JSON.stringify(told)}`)), 10000);
    heard = () => {
      const found = told.find((message) => kinds.includes(message.msgType));
      if (!found) return;
      clearTimeout(late);
      resolve(found);
    };
    heard();
  });
  send({ msgType: 'LOGIN', msgData: { envId: dev.env }, exMsgData: { signStr: body.data.signStr, secretVersion: body.data.secretVersion } });
  await wait('LOGIN_RES');
  return { told, send, wait, close: () => connection.close() };
}

const revocations = {
  'the rules change': ({ name }) => cli('rules', 'set', name, 'adminonly'),
  'the user\'s sessions are revoked': ({ bob }) => cli('user', 'revoke', bob.username),
  'the user is disabled': ({ bob }) => cli('user', 'disable', bob.username),
};

for (const [what, revoke] of Object.entries(revocations)) {
  test(`RT06 attempt: a watch goes on after ${what}`, async () => {
    const all = await shared('readonly');
    const watch = await socket(all.bob);
    watch.send({ msgType: 'INIT_WATCH', msgData: { envId: dev.env, collName: all.name, query: '{}' } });
    assert.equal((await watch.wait('INIT_EVENT')).msgData.events.length, 2);
    revoke(all);
    // It ends with the commit, and not some time after it.
    await add({ token: administrator }, all.name, { _id: 'later', n: 3 });
    const end = await watch.wait('ERROR', 'closed');
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.ok(!JSON.stringify(watch.told).includes('later'), JSON.stringify(watch.told));
    assert.ok(end.code ?? end.msgData.code);
    watch.close();
  });
}

test('RT06 attempt: watches of what is not one\'s own', async () => {
  const { name, ann, bob } = await shared('private');
  const watch = await socket(bob);
  watch.send({ msgType: 'INIT_WATCH', msgData: { envId: dev.env, collName: name, query: JSON.stringify({ _openid: { $ne: bob.uid } }) } });
  assert.deepEqual((await watch.wait('INIT_EVENT')).msgData.events, []);
  await add(ann, name, { _id: 'later', n: 3 });
  await add(bob, name, { _id: 'own', n: 3 });
  for (const collName of ['_sys.users', '_sys.sessions', '_cluster.nodes']) {
    const other = await socket(bob);
    other.send({ msgType: 'INIT_WATCH', msgData: { envId: dev.env, collName, query: '{}' } });
    assert.match((await other.wait('ERROR')).msgData.code, /PERMISSION_DENIED|NOT_EXIST/);
    other.close();
  }
  watch.send({ msgType: 'PING', msgData: null });
  await watch.wait('PONG');
  assert.ok(!JSON.stringify(watch.told).includes('later'), JSON.stringify(watch.told));
  watch.close();
});

const part = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

test('AU10 attempt: tokens that nobody issued, or for somewhere else', async () => {
  const { name, ann } = await shared('readonly');
  const [head, body, signature] = ann.token.split('.');
  const [header, claims] = [head, body].map((text) => JSON.parse(Buffer.from(text, 'base64url')));
  const own = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const signed = (header, claims, key = own.privateKey) => {
    const text = `${part(header)}.${part(claims)}`;
    return `${text}.${crypto.sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
  };
  const hmac = (secret) => `${part({ ...header, alg: 'HS256' })}.${body}.${crypto.createHmac('sha256', secret).update(`${part({ ...header, alg: 'HS256' })}.${body}`).digest('base64url')}`;
  const tokens = {
    'the text undefined': 'undefined', 'the text null': 'null', 'nothing between the dots': '..', 'no signature': `${head}.${body}`, 'an empty signature': `${head}.${body}.`,
    'alg none': `${part({ ...header, alg: 'none' })}.${body}.`, 'alg None with the signature': `${part({ ...header, alg: 'None' })}.${body}.${signature}`,
    'alg HS256 by an empty secret': hmac(''), 'alg HS256 by the key\'s name': hmac(header.kid ?? 'k1'),
    'another user': `${head}.${part({ ...claims, sub: 'somebody' })}.${signature}`, 'a longer life': `${head}.${part({ ...claims, exp: claims.exp + 9e6 })}.${signature}`,
    'another environment': `${head}.${part({ ...claims, aud: 'elsewhere' })}.${signature}`, 'a key of one\'s own': signed(header, claims),
    'a key that the token brings along': signed({ ...header, jwk: own.publicKey.export({ format: 'jwk' }) }, claims),
    'a key to be fetched': signed({ ...header, jku: 'http://127.0.0.1:1/keys', kid: 'evil' }, claims), 'a kid of another kind': signed({ ...header, kid: { $ne: null } }, claims),
    'expired, by a key of one\'s own': signed(header, { ...claims, exp: 1 }), 'an API key with a wrong secret': `${dev.secretId}.wrong`, 'an API key without a secret': `${dev.secretId}.`,
    'very long': 'x'.repeat(7000),
  };
  for (const [what, token] of Object.entries(tokens)) {
    const attempts = [await find({ token }, name), await web('database.queryDocument', { collectionName: name, query: {} }, { token })];
    for (const { body } of attempts) assert.ok(UNPROVEN.includes(body.code), `${what}: ${JSON.stringify(body)}`);
    const me = await rest('GET', '/v1/user/me', { token });
    assert.ok(me.status >= 400, what);
  }
  const none = [await find({}, name), await web('database.queryDocument', { collectionName: name, query: {} })];
  for (const { body } of none) assert.ok(UNPROVEN.includes(body.code), JSON.stringify(body));
  assert.equal((await find(ann, name)).status, 200);
});

test('AU10 attempt: a token of another environment', () => ownNode({}, async ({ env, http: [node], secretId, secretKey }, yunbase) => {
  yunbase('env', 'create', 'other');
  const call = async (method, route, { token, body } = {}) => {
    const response = await fetch(`${node}${route}`, { method, headers: token ? { authorization: `Bearer ${token}` } : {}, body: body && JSON.stringify(body) });
    return { status: response.status, body: await response.json() };
  };
  const tokens = {};
  for (const one of [env, 'other']) {
    const { body } = await call('POST', `/auth/v1/signup?client_id=${one}`, { body: { username: 'somebody', password: PASSWORD } });
    tokens[one] = body;
  }
  const documents = '/v1/database/instances/(default)/databases/(default)/collections/c/documents';
  const administrator = `${secretId}.${secretKey}`;
  await call('POST', `${documents.replace('/c/documents', '')}?env=${env}`, { token: administrator, body: { collectionName: 'c' } });
  await call('POST', `${documents}?env=${env}`, { token: administrator, body: { data: [{ _id: 'a' }] } });
  yunbase('rules', 'set', 'c', 'readonly', '--env', env);
  assert.equal((await call('GET', documents, { token: tokens[env].access_token })).body.list.length, 1);
  const token = tokens.other.access_token;
  for (const query of ['', `?env=${env}`, `?env=${env}&env=other`, `?env=other&env=${env}`]) {
    const { status, body } = await call('GET', `${documents}${query}`, { token });
    assert.ok(status >= 400 && body.code, `${query}: ${JSON.stringify(body)}`);
  }
  for (const [query, named] of [['', env], [`?env=${env}`, 'other'], ['?env=other', env], [`?env=${env}`, undefined]]) {
    const { body } = await call('POST', `/web${query}`, { body: { action: 'database.queryDocument', env: named, collectionName: 'c', query: {}, access_token: token } });
    assert.ok(body.code, `${query} ${named}: ${JSON.stringify(body)}`);
  }
  const refreshed = await call('POST', `/auth/v1/token?client_id=${env}`, { body: { client_id: env, grant_type: 'refresh_token', refresh_token: tokens.other.refresh_token } });
  assert.equal(refreshed.status, 400);
  // A key that is made for one environment opens no other.
  const made = JSON.parse(yunbase('key', 'create', '--env', 'other', '-o', 'json'));
  const key = await call('GET', `${documents}?env=${env}`, { token: `${made.secret_id}.${made.secret_key}` });
  assert.ok(key.status >= 400, JSON.stringify(key.body));
  assert.equal((await call('GET', `${documents}?env=${env}`, { token: administrator })).body.list.length, 1);
}));

test('AU04 AU10 attempt: tickets and refresh tokens that are used up, expired or another\'s', async () => {
  const key = cli('auth', 'ticket-key', 'create');
  const ticket = (claims, { alg = 'RS256', pem = key.private_key, keyId = key.private_key_id } = {}) => {
    const now = Date.now();
    const text = `${part({ alg, typ: 'JWT' })}.${part({ alg, env: dev.env, iat: now, exp: now + 600000, uid: 'own-user-9', refresh: 3600000, expire: now + 86400000, ...claims })}`;
    return `${keyId}/@@/${text}.${alg === 'RS256' ? crypto.sign('sha256', Buffer.from(text), pem).toString('base64url') : ''}`;
  };
  const signIn = (ticket) => rest('POST', '/v1/signin/custom', { body: { provider_id: 'custom', ticket } });
  const good = await signIn(ticket({}));
  assert.equal(good.status, 200);
  const foreign = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const past = Date.now() - 3600000;
  const tickets = {
    expired: ticket({ iat: past, exp: past + 600000 }), 'of another environment': ticket({ env: 'elsewhere' }), 'alg none': ticket({}, { alg: 'none' }),
    'by another key': ticket({}, { pem: foreign }), 'by a key that is not there': ticket({}, { keyId: 'nothing' }), 'for an operator': ticket({ uid: { $ne: '' } }), 'unsigned text': 'a/@@/b',
  };
  for (const [what, one] of Object.entries(tickets)) assert.ok((await signIn(one)).status >= 400, what);
  cli('auth', 'ticket-key', 'delete', key.private_key_id);

  const grant = (refresh_token) => rest('POST', '/v1/token', { body: { client_id: dev.env, grant_type: 'refresh_token', refresh_token } });
  const first = good.body.refresh_token;
  const second = (await grant(first)).body.refresh_token;
  const third = (await grant(second)).body;
  assert.ok(third.access_token);
  assert.equal((await grant(first)).body.error, 'invalid_grant');
  assert.equal((await grant(third.refresh_token)).body.error, 'invalid_grant', 'the session is over for the thief and for the owner');
  for (const wrong of ['undefined', '', { $ne: null }, ['x'], third.access_token]) assert.ok((await grant(wrong)).status >= 400, JSON.stringify(wrong));
});

test('CN01 attempt: signatures that are old, missing or by the text undefined', async () => {
  const name = await newCollection();
  const attempt = async (options) => {
    const app = server.init({ env: dev.env, serviceUrl: `http://${nextHost()}/admin`, secretId: dev.secretId, secretKey: dev.secretKey, ...options });
    return (await app.database().collection(name).get().catch((error) => error)).code;
  };
  assert.equal(await attempt({}), undefined);
  for (const options of [{ secretKey: 'wrong' }, { secretId: 'undefined', secretKey: 'undefined' }, { secretId: 'undefined' }, { sessionToken: 'x' }]) {
    assert.equal(await attempt(options), 'SIGN_PARAM_INVALID');
  }
  const Real = Date;
  for (const shift of [-3600000, 3600000]) {
    globalThis.Date = class extends Real {
      constructor(...given) { super(...(given.length ? given : [Real.now() + shift])); }
      static now() { return Real.now() + shift; }
    };
    try {
      assert.equal(await attempt({}), 'SIGN_PARAM_INVALID', `${shift} ms`);
    } finally {
      globalThis.Date = Real;
    }
  }
  for (const headers of [{}, { authorization: 'Bearer undefined' }, { authorization: 'TC3-HMAC-SHA256' }, { authorization: 'Basic YTpi' }]) {
    const response = await fetch(`http://${nextHost()}/admin?env=${dev.env}`, {
      method: 'POST', headers, body: JSON.stringify({ action: 'database.getDocument', collectionName: name, envName: dev.env }),
    });
    assert.equal((await response.json()).code, 'SIGN_PARAM_INVALID', JSON.stringify(headers));
  }
});
