'use strict';
// Every operation by every identity under every mode, at the HTTP surface and through both doors of end users, against a model
// that knows nothing of filters. Each row also checks what is stored afterwards.

const test = require('node:test');
const assert = require('node:assert/strict');
const { auth: rest, newName } = require('./harness');
const { administrator, data, newCollection, newUser, web } = require('./http');

const own = 'doc._openid == auth.openid';
const MODES = {
  private: {}, readonly: {}, adminwrite: {}, adminonly: {},
  open: { read: true, write: true },
  own: { read: own, write: own },
  published: { read: `doc.published == true || ${own}`, create: "auth.loginType != 'ANONYMOUS'", update: own, delete: false },
};
const WHO = ['ann', 'bob', 'eve', 'anonymous', 'nobody', 'root'];
const IDS = ['a1', 'a2', 'b1', 'b2', 'n1', 'n2'];
const things = () => new Map(IDS.map((id) => [id, { owner: { a: 'ann', b: 'bob' }[id[0]], published: id[1] === '1', touched: 0 }]));

const WHICH = {
  ...Object.fromEntries([...IDS, 'z'].map((id) => [id, { filter: { _id: id }, matches: (who, _id) => _id === id }])),
  all: { filter: {}, matches: () => true },
  // For an administrator the placeholder is a text like any other.
  own: { filter: { _openid: '{openid}' }, matches: (who, id, thing) => who !== 'root' && thing.owner === who },
  published: { filter: { published: true }, matches: (who, id, thing) => thing.published },
};

// ---- The model.

const isCustom = (mode) => Object.keys(MODES[mode]).length > 0;
/** Whether anybody but an administrator may do it at all. */
const isOpen = (mode, action) => ({ adminwrite: action === 'read', adminonly: false, published: action !== 'delete' })[mode] ?? true;

function allows(mode, action, who, thing) {
  const owns = thing.owner === who;
  if (who === 'root') return true;
  if (!isOpen(mode, action)) return false;
  if (mode === 'published' && action === 'create') return who !== 'anonymous';
  if (mode === 'open' || action === 'create') return true;
  if (['readonly', 'adminwrite'].includes(mode) && action === 'read') return true;
  if (mode === 'published' && action === 'read') return owns || thing.published;
  return owns;
}

/** Whether a query that names no document is enough of a condition. */
function takes(mode, action, which) {
  if (mode === 'published' && action === 'read' && which === 'published') return true;
  return !(['own', 'published'].includes(mode) && ['all', 'published'].includes(which));
}

/** The ids that an action reaches, or the refusal. */
function reached(mode, who, action, which, stored, kind) {
  const matching = [...stored].filter(([id, thing]) => WHICH[which].matches(who, id, thing));
  if (who !== 'root') {
    if (!isOpen(mode, action)) return 'denied';
    if (WHICH[which].filter._id && isCustom(mode)) {
      // A document that is named and not allowed is a refusal; a pipeline begins after what may not be seen.
      if (kind !== 'aggregate' && matching.some(([, thing]) => !allows(mode, action, who, thing))) return 'denied';
    } else if (!takes(mode, action, which)) {
      return 'denied';
    }
  }
  return matching.filter(([, thing]) => allows(mode, action, who, thing)).map(([id]) => id);
}

/** The outcome of one row; changes `stored` as the row does. */
function model(mode, who, { kind, which, as }, stored) {
  if (who === 'nobody') return 'unsigned';
  const owner = who === 'root' ? undefined : who;
  if (kind === 'find' || kind === 'aggregate') return reached(mode, who, 'read', which, stored, kind);
  if (kind === 'insert') {
    if (as && who !== 'root' && as !== who) return 'denied';
    const made = { owner: as || owner, published: false, touched: 0 };
    if (!allows(mode, 'create', who, made)) return 'denied';
    stored.set('z', made);
    return 'inserted';
  }
  if (kind === 'set') {
    const present = stored.get(which);
    const made = { owner: present ? present.owner : owner, published: true, touched: 9 };
    if (!allows(mode, present ? 'update' : 'create', who, present || made)) return 'denied';
    stored.set(which, made);
    return present ? 1 : 'created';
  }
  const ids = reached(mode, who, { count: 'read', update: 'update', remove: 'delete' }[kind], which, stored);
  if (ids === 'denied') return ids;
  for (const id of ids) {
    if (kind === 'update') stored.get(id).touched += 1;
    if (kind === 'remove') stored.delete(id);
  }
  return ids.length;
}

function everything() {
  const all = [{ kind: 'insert' }, { kind: 'insert', as: 'ann' }, { kind: 'insert', as: 'eve' }];
  for (const which of Object.keys(WHICH)) {
    for (const kind of ['find', 'aggregate', 'count', 'update', 'remove']) all.push({ kind, which });
    if (WHICH[which].filter._id) all.push({ kind: 'set', which });
  }
  return all;
}

// ---- The two doors.

const users = {};
const REFUSED = ['MISSING_CREDENTIALS', 'CHECK_LOGIN_FAILED', 'INVALID_CREDENTIALS'];

/** What came of it, in the words of the model. */
function outcome({ body }, result) {
  if (REFUSED.includes(body.code)) return 'unsigned';
  if (body.code === 'DATABASE_PERMISSION_DENIED') return 'denied';
  return body.code ? `${body.code}: ${body.message}` : result(body);
}
const idsOf = (list) => list.map((one) => (typeof one === 'string' ? JSON.parse(one) : one)._id).sort();
const created = (id, updated) => (id ? 'created' : updated);
const inserted = (as) => ({ _id: 'z', published: false, touched: 0, ...(as ? { _openid: users[as].uid } : {}) });
const touch = { $inc: { touched: 1 } };
const whole = { $set: { published: true, touched: 9 } };

const rows = {
  '/v1': async (name, who, { kind, which, as }) => {
    const { token } = users[who];
    const query = which && WHICH[which].filter;
    const documents = `/collections/${name}/documents`;
    const where = `query=${encodeURIComponent(JSON.stringify(query))}`;
    const change = (body) => data('PATCH', documents, { token, body: { query, multi: true, upsert: false, replaceMode: false, ...body } });
    switch (kind) {
      case 'find': return outcome(await data('GET', `${documents}?${where}`, { token }), ({ list }) => idsOf(list));
      case 'count': return outcome(await data('GET', `${documents}?${where}&count=true`, { token }), ({ total }) => total);
      case 'aggregate':
        return outcome(await data('POST', `${documents}/aggregations`, { token, body: { pipeline: [{ $match: query }] } }), ({ list }) => idsOf(list));
      case 'update': return outcome(await change({ data: touch }), ({ matched }) => matched);
      case 'set': return outcome(await change({ data: whole, multi: false, upsert: true }), ({ matched, upsert_id: id }) => created(id, matched));
      case 'remove': return outcome(await data('POST', `${documents}/remove`, { token, body: { query, multi: true } }), ({ deleted }) => deleted);
      default: return outcome(await data('POST', documents, { token, body: { data: [inserted(as)] } }), () => 'inserted');
    }
  },
  '/web': async (name, who, { kind, which, as }) => {
    const action = (one, parameters, result) => web(one, { collectionName: name, ...parameters }, users[who]).then((answer) => outcome(answer, result));
    const query = which && WHICH[which].filter;
    const change = { query, queryType: 'WHERE', multi: true, merge: true, upsert: false };
    switch (kind) {
      case 'find': return action('database.queryDocument', { query, queryType: 'WHERE', limit: 100 }, (body) => idsOf(body.data.list));
      case 'count': return action('database.countDocument', { query, queryType: 'WHERE' }, (body) => body.data.total);
      case 'aggregate':
        return action('database.aggregate', { stages: [{ stageKey: '$match', stageValue: JSON.stringify(query) }] }, (body) => idsOf(JSON.parse(body.data.list)));
      case 'update': return action('database.updateDocument', { ...change, data: touch }, (body) => body.data.updated);
      case 'set':
        return action('database.updateDocument', { ...change, multi: false, upsert: true, data: whole }, (body) => created(body.data.upserted_id, body.data.updated));
      case 'remove': return action('database.deleteDocument', { query, queryType: 'WHERE', multi: true }, (body) => body.data.deleted);
      default: return action('database.addDocument', { data: inserted(as) }, () => 'inserted');
    }
  },
};

// ---- The collections.

async function reset(name) {
  const documents = [...things()].map(([_id, { owner, published, touched }]) => ({ _id, published, touched, ...(owner ? { _openid: users[owner].uid } : {}) }));
  await data('POST', `/collections/${name}/documents/remove`, { token: administrator, body: { query: {}, multi: true } });
  const { status } = await data('POST', `/collections/${name}/documents`, { token: administrator, body: { data: documents } });
  assert.equal(status, 200);
}

async function stored(name) {
  const { body } = await data('GET', `/collections/${name}/documents?limit=100`, { token: administrator });
  const ownerOf = (uid) => Object.keys(users).find((who) => uid && users[who].uid === uid);
  const number = (value) => Number(value.$numberInt ?? value);
  return new Map(body.list.map((one) => [one._id, { owner: ownerOf(one._openid), published: one.published, touched: number(one.touched) }]).sort());
}

/** All rows of one identity under one mode through one door. */
async function check(door, mode, who, count) {
  const rule = isCustom(mode) ? ['custom', '--rule', JSON.stringify(MODES[mode])] : [mode];
  const name = await newCollection(...rule);
  await reset(name);
  for (const what of everything()) {
    const expected = things();
    const result = model(mode, who, what, expected);
    const row = `${door} ${mode} ${who} ${Object.values(what).join(' ')}`;
    assert.deepEqual(await rows[door](name, who, what), Array.isArray(result) ? result.sort() : result, row);
    count.rows += 1;
    count.denied += ['denied', 'unsigned'].includes(result) ? 1 : 0;
    if (['find', 'count', 'aggregate'].includes(what.kind)) continue;
    assert.deepEqual(await stored(name), new Map([...expected].sort()), `${row}: documents`);
    if (JSON.stringify([...expected]) !== JSON.stringify([...things()])) await reset(name);
  }
}

test('RU01 RU02 RU03 RU04: every operation, identity and mode is as the model says', async () => {
  for (const who of ['ann', 'bob', 'eve']) users[who] = await newUser();
  const { body } = await rest('POST', '/v1/signin/anonymously', { body: {}, headers: { 'x-device-id': newName() } });
  Object.assign(users, { anonymous: { uid: body.sub, token: body.access_token }, nobody: {}, root: { token: administrator } });
  const count = { rows: 0, denied: 0 };
  const left = Object.keys(rows).flatMap((door) => Object.keys(MODES).flatMap((mode) => WHO.map((who) => [door, mode, who])));
  const worker = async () => {
    for (let next = left.pop(); next; next = left.pop()) await check(...next, count);
  };
  await Promise.all(Array.from({ length: 6 }, worker));
  assert.ok(count.rows > 4000, `${count.rows} rows`);
  assert.ok(count.denied > count.rows / 5 && count.denied < (count.rows * 4) / 5, `${count.denied} of ${count.rows} denied`);
});
