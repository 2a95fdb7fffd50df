// A to-do list through the official @cloudbase/node-sdk: the SDK is unmodified, only its endpoint differs.
// usage: node index.js path/to/dev.json [label]
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const assert = require('node:assert');
const tcb = require('@cloudbase/node-sdk');

const dev = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const label = process.argv[3] || 'run';

// One client for each node: any of them takes any request.
function clients() {
  return dev.http.map((url) =>
    tcb.init({ env: dev.env, secretId: dev.secretId, secretKey: dev.secretKey, serviceUrl: `${url}/admin` }),
  );
}

// An app in production would put the nodes behind one name; here a dead node is simply passed over.
async function onAnyNode(apps, work) {
  let last;
  for (const app of apps) {
    try {
      return await work(app.database(), app);
    } catch (error) {
      if (!['ECONNREFUSED', 'ECONNRESET'].includes(error.code)) throw error;
      last = error;
    }
  }
  throw last;
}

async function main() {
  const apps = clients();
  await onAnyNode(apps, async (db) => {
    try {
      await db.createCollection('todos');
    } catch (error) {
      if (error.code !== 'DATABASE_COLLECTION_ALREADY_EXIST') throw error;
    }
  });

  const { id } = await onAnyNode(apps, (db) =>
    db.collection('todos').add({ title: `learn yunbase (${label})`, done: false, priority: 3, tags: ['cloud'] }),
  );
  console.log(`added      ${id}`);

  await onAnyNode(apps, (db) =>
    db.collection('todos').doc(id).update({ done: true, tags: db.command.push(['rust']), doneAt: db.serverDate() }),
  );

  const { data } = await onAnyNode(apps.toReversed?.() ?? apps.slice().reverse(), (db) => {
    const _ = db.command;
    return db.collection('todos').where({ done: true, priority: _.gte(3).and(_.lt(5)) }).orderBy('doneAt', 'desc').get();
  });
  const mine = data.find((todo) => todo._id === id);
  assert.ok(mine, 'a write is seen by the next read, through whichever node');
  assert.deepStrictEqual(mine.tags, ['cloud', 'rust']);
  assert.ok(mine.doneAt instanceof Date);
  console.log(`found      ${data.length} done, the newest: ${data[0].title}`);

  // A picture for the to-do: stored through one node, its chunks on all three, read through another.
  const picture = crypto.randomBytes(300_000);
  const { fileID } = await onAnyNode(apps, (db, app) =>
    app.uploadFile({ cloudPath: `todos/${id}.png`, fileContent: picture }),
  );
  const { fileContent } = await onAnyNode(apps.slice().reverse(), (db, app) => app.downloadFile({ fileID }));
  assert.ok(picture.equals(fileContent), 'a file reads back byte for byte, through whichever node');
  console.log(`stored     ${fileID} (${fileContent.length} bytes)`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
