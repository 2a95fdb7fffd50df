'use strict';
// Watches through the death of the node that serves them, on a cluster of their own: other tests need theirs alive.

const test = require('node:test');
const assert = require('node:assert/strict');
const { nodes, run } = require('./own-cluster')({ portOffset: 300 });
const { collection, options, sdk } = require('./cluster');
const { Door, Watch } = require('./watching');
const { js1, js2, js3 } = require('./apps');

const sorted = (docs) => [...docs].sort((a, b) => (a._id < b._id ? -1 : 1));

test('RT07 watches go on at another node when theirs is killed, and miss and repeat nothing', async () => {
  const todo = await collection([{ _id: 'first', n: 0 }]);
  const name = todo.collectionName;
  const door = await Door.open(nodes()[0].http);
  // Writers stay with a node that lives.
  const writer = sdk.init(options({ serviceUrl: `http://${nodes()[1].http}/admin` })).database();
  const databases = [
    sdk.init(options({ serviceUrl: `http://${door.host}/admin` })).database(),
    (await js1(undefined, door.host)).database(),
    (await js2(undefined, door.host)).database(),
    (await js3(undefined, door.host)).database(),
  ];
  const whole = databases.map((database) => new Watch(database.collection(name).where({})));
  const limited = databases.slice(1).map((database) => new Watch(database.collection(name).orderBy('n', 'desc').limit(3)));
  await Promise.all([...whole, ...limited].map((watch) => watch.until('the first result', (w) => w.docs.length)));
  let written = 0;
  const write = async () => {
    const n = ++written;
    await writer.collection(name).add({ _id: `d${n}`, n });
    if (n % 3 === 0) await writer.collection(name).doc(`d${n - 1}`).update({ n: -n, seen: true });
    if (n % 5 === 0) await writer.collection(name).doc(`d${n - 2}`).remove();
  };
  for (let n = 0; n < 20; n++) await write();
  await Promise.all(whole.map((watch) => watch.until('the first writes', (w) => w.docs.some((doc) => doc._id === 'd20'))));
  process.kill(nodes()[0].pid, 'SIGKILL');
  door.target = nodes()[2].http;
  for (let n = 0; n < 40; n++) await write();
  await writer.collection(name).add({ _id: 'last', n: 1000 });
  for (const watch of [...whole, ...limited]) await watch.until('the last write', (w) => w.docs.some((doc) => doc._id === 'last'), 60000);
  run('restart-node', '1');
  await writer.collection(name).add({ _id: 'very last', n: 1001 });
  const { data } = await writer.collection(name).limit(1000).get();
  const { data: top } = await writer.collection(name).orderBy('n', 'desc').limit(3).get();
  for (const [watches, expected] of [[whole, data], [limited, top]]) {
    for (const watch of watches) {
      await watch.until('the very last write', (w) => w.docs.some((doc) => doc._id === 'very last'), 60000);
      assert.deepEqual(sorted(watch.docs), sorted(expected));
      const ids = watch.snapshots.map((snapshot) => snapshot.id);
      assert.deepEqual(ids, ids.map((id, at) => ids[0] + at));
      await watch.close();
    }
  }
  // Without a limit each change is told exactly once, whichever node told it.
  for (const watch of whole) {
    const entered = watch.snapshots.flatMap((snapshot) => snapshot.docChanges).filter((change) => change.queueType === 'enqueue');
    assert.equal(entered.length, written + 2);
    assert.equal(new Set(entered.map((change) => change.docId)).size, entered.length);
    assert.equal(watch.errors.length, 0);
  }
  door.close();
});
