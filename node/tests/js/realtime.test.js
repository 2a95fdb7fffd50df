'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { _, collection, db, dev, newName, options, packages, sdk } = require('./cluster');
const { Watch, describe } = require('./watching');
const { credential, js1, js2, js3 } = require('./apps');

const sorted = (docs) => [...docs].sort((a, b) => (String(a._id) < String(b._id) ? -1 : 1));
const apps = {
  'node-sdk 3.18.3': async () => sdk.init(options()).database(),
  'js-sdk 1.8.4': async () => (await js1()).database(),
  'js-sdk 2.25.6': async () => (await js2()).database(),
  'js-sdk 3.7.0': async () => (await js3()).database(),
};

for (const [name, database] of Object.entries(apps)) {
  test(`${name}: RT01 RT02 RT03 RT05 CO14 a watch follows its query`, async () => {
    const todo = await collection([{ _id: 'a', n: 1, o: { x: 1, y: 2 } }, { _id: 'b', n: 9 }]);
    const own = await database();
    const watch = new Watch(own.collection(todo.collectionName).where({ n: own.command.lt(5) }));
    await watch.until('the first result', (w) => w.docs.length === 1);
    assert.deepEqual(watch.docs, [{ _id: 'a', n: 1, o: { x: 1, y: 2 } }]);
    assert.equal(watch.last.docChanges[0].queueType, 'init');
    await todo().doc('b').update({ n: 2, at: new Date(5) });
    await watch.until('an entry', (w) => w.docs.length === 2);
    const [entered] = watch.last.docChanges;
    assert.deepEqual([entered.queueType, entered.dataType, entered.docId], ['enqueue', 'update', 'b']);
    assert.deepEqual(entered.doc, { _id: 'b', n: 2, at: { $date: 5 } });
    await todo().doc('a').update({ n: 3, o: { x: 7 } });
    await watch.until('an update', (w) => w.docs.some((doc) => doc.n === 3));
    const [updated] = watch.last.docChanges;
    assert.deepEqual(updated.updatedFields, { n: 3, 'o.x': 7 });
    assert.deepEqual(updated.doc, { _id: 'a', n: 3, o: { x: 7, y: 2 } });
    await todo().doc('a').update({ o: { y: _.remove() } });
    await watch.until('a removed field', (w) => w.last.docChanges[0].removedFields?.includes('o.y'));
    await todo().doc('a').set({ n: 4 });
    await watch.until('a replacement', (w) => w.last.docChanges[0].dataType === 'replace');
    assert.deepEqual(watch.last.docChanges[0].doc, { _id: 'a', n: 4 });
    await todo().add([{ _id: 7, n: 0 }, { _id: 'd', n: 100 }]);
    await watch.until('an addition', (w) => w.docs.length === 3);
    await todo().doc(7).update({ n: 1 });
    await watch.until('an update of a number', (w) => w.docs.some((doc) => doc._id === 7 && doc.n === 1));
    await todo().where({ n: _.lt(3) }).remove();
    await watch.until('removals', (w) => w.docs.length === 1);
    await todo().doc('a').update({ n: 50 });
    await watch.until('a departure', (w) => w.docs.length === 0);
    assert.equal(watch.last.docChanges[0].queueType, 'dequeue');
    const ids = watch.snapshots.map((snapshot) => snapshot.id);
    assert.deepEqual(ids, ids.map((id, at) => ids[0] + at));
    await watch.close();
    const told = watch.snapshots.length;
    await todo().doc('a').update({ n: 1 });
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.equal(watch.snapshots.length, told);
  });

  test(`${name}: RT09 CO23 many watches on one socket, of one document too`, async () => {
    const todo = await collection(Array.from({ length: 5 }, (_, n) => ({ _id: `d${n}`, room: n % 2, n })));
    const own = (await database()).collection(todo.collectionName);
    const empty = new Watch(own.where({ room: 99 }));
    await empty.until('an empty result', (w) => w.last);
    assert.deepEqual([empty.docs, empty.last.type], [[], 'init']);
    const rooms = [0, 1].map((room) => new Watch(own.where({ room })));
    const one = new Watch(own.doc('d3'));
    await Promise.all([...rooms, one].map((watch) => watch.until('the first result', (w) => w.docs.length)));
    assert.deepEqual(rooms.map((watch) => watch.docs.length), [3, 2]);
    assert.deepEqual(one.docs, [{ _id: 'd3', room: 1, n: 3 }]);
    await todo().doc('d3').update({ room: 0 });
    await Promise.all([
      rooms[0].until('an entry', (w) => w.docs.length === 4),
      rooms[1].until('a departure', (w) => w.docs.length === 1),
      one.until('an update', (w) => w.docs[0].room === 0),
    ]);
    for (const watch of [empty, ...rooms, one]) await watch.close();
  });

  test(`${name}: RT06 what cannot be watched fails with its reason`, async () => {
    const own = await database();
    const absent = new Watch(own.collection(newName()));
    await absent.until('an error', (w) => w.errors.length);
    assert.match(absent.errors.map(describe).join(), /DATABASE_COLLECTION_NOT_EXIST/);
    await absent.close();
  });
}

for (const name of ['js-sdk 1.8.4', 'js-sdk 2.25.6', 'js-sdk 3.7.0']) {
  test(`${name}: RT04 order and limit`, async () => {
    const todo = await collection([1, 2, 3, 4].map((n) => ({ _id: `d${n}`, n })));
    const own = (await apps[name]()).collection(todo.collectionName);
    const watch = new Watch(own.orderBy('n', 'desc').limit(2));
    const shows = (...ids) => watch.until(ids.join(), (w) => sorted(w.docs).map((doc) => doc._id).join() === ids.join());
    await shows('d3', 'd4');
    await todo().add({ _id: 'd9', n: 9 });
    await shows('d4', 'd9');
    await todo().doc('d9').update({ n: 0 });
    await shows('d3', 'd4');
    await todo().doc('d4').remove();
    await shows('d2', 'd3');
    const kinds = new Set(watch.snapshots.flatMap((snapshot) => snapshot.docChanges).map((change) => `${change.queueType} ${change.dataType}`));
    for (const kind of ['dequeue limit', 'enqueue add', 'dequeue update', 'enqueue limit', 'dequeue remove']) assert.ok(kinds.has(kind), kind);
    await watch.close();
  });
}

test('RT10 a watch sees the writes of every node, in the order of the database', async () => {
  const todo = await collection();
  const own = await apps['js-sdk 2.25.6']();
  const watch = new Watch(own.collection(todo.collectionName).where({}));
  await watch.until('the first result', (w) => w.last);
  // Each write goes through the next node.
  await Promise.all(Array.from({ length: 90 }, (_, n) => todo().add({ _id: `d${n}`, n })));
  await todo().where({ n: db().command.gte(30) }).update({ n: -1 });
  await todo().where({ n: db().command.gte(20) }).remove();
  await watch.until('all', (w) => w.docs.length === 80 && w.docs.filter((doc) => doc.n === -1).length === 60);
  assert.deepEqual(sorted(watch.docs), sorted((await todo().limit(1000).get()).data));
  await watch.close();
});

test('RT08 sockets: tickets are checked, sockets without login do nothing, heartbeats are answered', async () => {
  const todo = await collection([{ _id: 'a', n: 1 }]);
  const [node, other] = [dev.http[0], dev.http.at(-1)];
  const sign = async () => {
    const body = JSON.stringify({ action: 'auth.wsWebSign', env: dev.env, access_token: credential() });
    const response = await fetch(`${node}/web`, { method: 'POST', body, headers: { 'x-forwarded-proto': 'https' } });
    return (await response.json()).data;
  };
  const { signStr, wsUrl, secretVersion, envId } = await sign();
  assert.equal(wsUrl, `wss://${new URL(node).host}/realtime`);
  assert.deepEqual([envId, typeof secretVersion], [dev.env, 'number']);
  // A ticket of one node opens the socket of another.
  const socket = new (packages('ws'))(`${other.replace('http', 'ws')}/realtime`);
  await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject; });
  const ask = (message) => new Promise((resolve) => {
    socket.onmessage = ({ data }) => resolve(JSON.parse(data));
    socket.send(JSON.stringify({ requestId: 'r', watchId: 'w', ...message }));
  });
  const login = (sign) => ask({ msgType: 'LOGIN', msgData: { envId }, exMsgData: { signStr: sign, secretVersion } });
  const init = { msgType: 'INIT_WATCH', msgData: { envId, collName: 'c', query: '{}' } };
  assert.equal((await ask(init)).msgData.code, 'CHECK_LOGIN_FAILED');
  assert.equal((await login(`${signStr}x`)).msgData.code, 'SIGN_INVALID_ERROR');
  assert.deepEqual((await login(signStr)).msgData, { envId });
  assert.equal((await ask({ msgType: 'PING', msgData: null })).msgType, 'PONG');
  const watched = await ask({ msgType: 'INIT_WATCH', msgData: { envId, collName: todo.collectionName, query: '{}' } });
  assert.equal(watched.msgType, 'INIT_EVENT');
  const { queryID, currEvent } = watched.msgData;
  const checked = await ask({ msgType: 'CHECK_LAST', msgData: { queryID, eventID: currEvent } });
  assert.deepEqual([checked.msgType, checked.msgData], ['CHECK_EVENT', { queryID, currEvent }]);
  const rebuild = { msgType: 'REBUILD_WATCH', msgData: { envId, collName: 'c', queryID: 'made up', eventID: 1 } };
  assert.equal((await ask(rebuild)).msgData.code, 'QUERYID_INVALID_ERROR');
  const metrics = await (await fetch(`${other}/metrics`)).text();
  assert.match(metrics, /yunbase_realtime_sockets [1-9]/);
  socket.close();
});
