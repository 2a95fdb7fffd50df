'use strict';
// Watches on nodes that have no replica of the documents: their group has one, and they ask its leader.

const test = require('node:test');
const assert = require('node:assert/strict');
const { nodes, status } = require('./own-cluster')({ portOffset: 400, env: { YUNBASE_REPLICAS: '1' } });
const { collection, dev, options, sdk } = require('./cluster');
const { Watch } = require('./watching');

const sorted = (docs) => [...docs].sort((a, b) => (a._id < b._id ? -1 : 1));
const replicas = () => status().groups.find((group) => group.environments.includes(dev.env)).replicas.map((replica) => replica.node);

test('RT10 nodes without a replica tell of every change too', async () => {
  for (let waited = 0; replicas().length > 1; waited += 200) {
    assert.ok(waited < 30000, 'the group keeps one replica');
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  const todo = await collection([{ _id: 'first', n: 0 }]);
  const databases = nodes().map((node) => sdk.init(options({ serviceUrl: `http://${node.http}/admin` })).database());
  const watches = databases.map((database) => new Watch(database.collection(todo.collectionName).where({ n: database.command.gte(0) })));
  await Promise.all(watches.map((watch) => watch.until('the first result', (w) => w.docs.length === 1)));
  for (let n = 1; n <= 30; n++) {
    const own = databases[n % 3].collection(todo.collectionName);
    await own.add({ _id: `d${n}`, n });
    if (n % 3 === 0) await own.doc(`d${n - 1}`).update({ n: -n });
    if (n % 5 === 0) await own.doc(`d${n}`).remove();
  }
  await todo().add({ _id: 'last', n: 99 });
  const { data } = await todo().where({ n: databases[0].command.gte(0) }).limit(100).get();
  for (const watch of watches) {
    await watch.until('the last write', (w) => w.docs.some((doc) => doc._id === 'last'));
    assert.deepEqual(sorted(watch.docs), sorted(data));
    const ids = watch.snapshots.map((snapshot) => snapshot.id);
    assert.deepEqual(ids, ids.map((id, at) => ids[0] + at));
    assert.equal(watch.errors.length, 0);
    await watch.close();
  }
});
