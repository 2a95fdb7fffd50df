'use strict';
// Watches through the death of the node that serves them, on a cluster of their own: other tests need theirs alive.

const test = require('node:test');
const assert = require('node:assert/strict');
const { nodes, run, status } = require('./own-cluster')({ portOffset: 300 });
const { collection, options, sdk } = require('./cluster');
const { Door, Watch } = require('./watching');
const { js1, js2, js3 } = require('./apps');

// One for all tests: node-sdk keeps one socket an environment, to the address that it met first.
let door;
test.before(async () => { door = await Door.open(nodes()[0].http); });
test.after(() => door.close());

/** The node that leads the environment's data now. */
function leader() {
  const group = status().groups.find(({ environments }) => environments.length > 0);
  return nodes().find(({ id }) => id === group.leader);
}

const sorted = (docs) => [...docs].sort((a, b) => (a._id < b._id ? -1 : 1));

test('RT07 watches go on at another node when theirs is killed, and miss and repeat nothing', async () => {
  const todo = await collection([{ _id: 'first', n: 0 }]);
  const name = todo.collectionName;
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
});

test('RT07 what a subscriber rebuilds is the collection, through deaths of its leader and lost connections', async () => {
  const rounds = 4;
  const todo = await collection([{ _id: 'first', n: 0 }]);
  const name = todo.collectionName;
  const at = { serviceUrl: `http://${door.host}/admin` };
  const writer = sdk.init(options(at)).database();
  const rebuilt = [new Watch(sdk.init(options(at)).database().collection(name).where({})), new Watch((await js3(undefined, door.host)).database().collection(name).where({}))];
  await Promise.all(rebuilt.map((watch) => watch.until('the first result', (w) => w.docs.length)));
  // Written whole under a name, so that a write whose answer was lost may be written again.
  const settled = async (write) => {
    for (let attempt = 0; ; attempt++) {
      try {
        return await write();
      } catch (error) {
        if (attempt === 20) throw error;
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
    }
  };
  let written = 0;
  const write = async () => {
    const n = ++written;
    await settled(() => writer.collection(name).doc(`d${n}`).set({ n }));
    if (n % 3 === 0) await settled(() => writer.collection(name).doc(`d${n - 1}`).set({ n: -n, seen: true }));
    if (n % 5 === 0) await settled(() => writer.collection(name).doc(`d${n - 2}`).remove());
  };
  const killed = [];
  for (let round = 0; round < rounds; round++) {
    for (let n = 0; n < 10; n++) await write();
    const victim = await settled(async () => leader() ?? assert.fail('no leader'));
    process.kill(victim.pid, 'SIGKILL');
    killed.push(victim.id);
    // The subscribers and the writer go on at a node that lives, sometimes the new leader, sometimes not.
    const alive = nodes().filter(({ id }) => id !== victim.id);
    door.target = alive[round % alive.length].http;
    door.cut();
    for (let n = 0; n < 10; n++) await write();
    run('restart-node', String(victim.id));
    // A connection is lost although its node lives.
    door.cut();
  }
  assert.equal(killed.length, rounds);
  await settled(() => writer.collection(name).doc('last').set({ n: 1000 }));
  const { data } = await writer.collection(name).limit(1000).get();
  for (const watch of rebuilt) {
    await watch.until('the last write', (w) => w.docs.some((doc) => doc._id === 'last'), 60000);
    assert.deepEqual(sorted(watch.docs), sorted(data));
    // As an app does that keeps the documents by what it is told of each change alone.
    const kept = new Map();
    for (const { docChanges } of watch.snapshots) {
      for (const { queueType, docId, doc } of docChanges) {
        if (queueType === 'dequeue') kept.delete(docId);
        else kept.set(docId, doc);
      }
    }
    assert.deepEqual(sorted(kept.values()), sorted(data));
    const ids = watch.snapshots.map((snapshot) => snapshot.id);
    assert.deepEqual(ids, ids.map((id, index) => ids[0] + index));
    assert.equal(watch.errors.length, 0);
    await watch.close();
  }
});
