'use strict';
// Login of js-sdk 1, by its actions of `/web`, and what every major does when a token has expired.

const test = require('node:test');
const assert = require('node:assert/strict');
const http = require('node:http');
const { collection, dev, failure, newName, packages, yunbase } = require('./cluster');
const { js1, nextHost } = require('./apps');

const PASSWORD = 'correct-horse-1';
let names = 0;
const newUser = () => `u1_${Date.now().toString(36)}_${++names}`.slice(0, 24);

/** js-sdk 1 with nobody signed in. */
async function nobody() {
  const app = await js1(null);
  return { app, auth: app.auth({ persistence: 'local' }) };
}

test('js-sdk 1.8.4: AU22: an anonymous user is the same again, and reads what is hers', async () => {
  const todo = await collection([{ _id: 'not hers' }]);
  const { app, auth } = await nobody();
  await auth.anonymousAuthProvider().signIn();
  const { uid, loginType } = await auth.getUserInfo();
  assert.ok(uid);
  assert.match(loginType, /ANONYMOUS/);
  const { id } = await app.database().collection(todo.collectionName).add({ n: 1 });
  assert.deepEqual((await app.database().collection(todo.collectionName).get()).data, [{ _id: id, _openid: uid, n: 1 }]);
  await auth.anonymousAuthProvider().signIn();
  assert.equal((await auth.getUserInfo()).uid, uid);
});

test('js-sdk 1.8.4: AU22: names and passwords, profile, sign-out', async () => {
  const username = newUser();
  const made = JSON.parse(yunbase('user', 'create', username, '-o', 'json'));
  const { auth } = await nobody();
  assert.equal(await auth.isUsernameRegistered(username), true);
  assert.equal(await auth.isUsernameRegistered(newUser()), false);
  assert.match((await failure(auth.signInWithUsernameAndPassword(username, 'wrong-horse-1'))).message, /\[[A-Z_]+\]/);
  const state = await auth.signInWithUsernameAndPassword(username, made.password);
  assert.ok(state);
  assert.equal((await auth.getUserInfo()).uid, made.uid);
  const user = auth.currentUser;
  await user.update({ nickName: 'One' });
  await user.updatePassword(PASSWORD, made.password);
  await user.refresh();
  assert.equal(auth.currentUser.nickName, 'One');
  await auth.signOut();
  assert.ok(!await auth.getLoginState());
  await auth.signInWithUsernameAndPassword(username, PASSWORD);
  assert.equal((await auth.getUserInfo()).uid, made.uid);
  await auth.signOut();
});

test('js-sdk 1.8.4: AU22 AU04: a ticket signs in', async () => {
  const key = JSON.parse(yunbase('auth', 'ticket-key', 'create', '-o', 'json'));
  const tickets = packages('@cloudbase/node-sdk').init({ env: dev.env, credentials: { ...key, env_id: dev.env } }).auth();
  const { auth } = await nobody();
  await auth.customAuthProvider().signIn(tickets.createTicket('own-user-1'));
  const { uid, customUserId } = await auth.getUserInfo();
  assert.equal(customUserId, 'own-user-1');
  await auth.signOut();
  await auth.customAuthProvider().signIn(tickets.createTicket('own-user-1'));
  assert.equal((await auth.getUserInfo()).uid, uid);
  await auth.signOut();
  yunbase('auth', 'ticket-key', 'delete', key.private_key_id);
});

/** The next node, behind a door that calls the token of the first request for documents expired, as a node does after two hours. */
async function expiring() {
  let refused = 0;
  const node = nextHost();
  const server = http.createServer((request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', async () => {
      const body = Buffer.concat(chunks);
      const isData = request.url.startsWith('/v1/database') || body.includes('"database.');
      if (isData && ++refused === 1) {
        response.writeHead(request.url.startsWith('/v1') ? 401 : 200, { 'content-type': 'application/json' });
        return response.end(JSON.stringify({ code: 'ACCESS_TOKEN_EXPIRED', message: 'the access token has expired', requestId: 'r' }));
      }
      const answer = await fetch(`http://${node}${request.url}`, {
        method: request.method, headers: { ...request.headers, host: node }, body: body.length ? body : undefined,
      });
      response.writeHead(answer.status, { 'content-type': 'application/json' });
      return response.end(Buffer.from(await answer.arrayBuffer()));
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { host: `127.0.0.1:${server.address().port}`, refused: () => refused, close: () => { server.close(); server.closeAllConnections(); } };
}

test('js-sdk 1.8.4: EV04: an expired access token is refreshed and the request repeated', async () => {
  const todo = await collection();
  const { app, auth } = await nobody();
  await auth.anonymousAuthProvider().signIn();
  const door = await expiring();
  js1.pointAt(door.host);
  try {
    const { id } = await app.database().collection(todo.collectionName).add({ n: 1 });
    assert.match(id, /^[0-9a-f]{32}$/);
    assert.equal(door.refused(), 2);
    assert.equal((await todo().count()).total, 1);
  } finally {
    door.close();
  }
});
