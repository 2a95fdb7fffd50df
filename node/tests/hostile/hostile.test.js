'use strict';
// Queries that are meant to bring the service down: each ends in bounded time with a result or a clear error, the nodes' memory stays
// bounded, and another client of the same environment is still served soon.

const test = require('node:test');
const assert = require('node:assert/strict');
const { execFileSync, spawn } = require('node:child_process');
const { readFileSync, writeFileSync } = require('node:fs');
const path = require('node:path');
const readline = require('node:readline');
const { collection, db, dev, nextUrl, options, sdk } = require('../js/cluster');

// The package warns of slow queries, and these are meant to be slow.
console.warn = () => {};

/** The nodes' own limit. */
const REQUEST_MS_MAX = Number(process.env.YUNBASE_REQUEST_TIMEOUT_MS || 12000);
/** Longest time to an answer: that, and what a busy machine adds. */
const ANSWER_MS_MAX = REQUEST_MS_MAX + 5000;
/** How much more memory a node may hold at its worst: the 100 MiB of an aggregation, a body, an answer, and what the allocator keeps. */
const GROWTH_MIB_MAX = 300;
/** The 99th percentile of another client may triple, though all nodes and clients share the few cores of one machine here. */
const SLOWDOWN = 3;
/** A percentile of a few seconds is a matter of luck too: something else on the machine may fall into it. */
const LOOKS_MAX = 3;
/** Longest time to a write after a query: no replica is still busy applying it. */
const PROBE_MS_MAX = 3000;
const HOSTILE_CLIENTS = 2;
const ROUND_MS = 2500;

const DOCUMENTS = 20000;
const nested = (depth, wrap, inner) => (depth === 0 ? inner : nested(depth - 1, wrap, wrap(inner)));
const upTo = (count, make) => Array.from({ length: count }, (unused, n) => make(n));
const range = (to) => ({ $range: [0, to] });

/** A text of a and b without a pattern, the same each time. */
function noise(length) {
  let state = 1;
  return upTo(length, () => (state = (state * 1103515245 + 12345) % 2147483648) < 1073741824 ? 'a' : 'b').join('');
}

let many; // A collection of many small documents.
let large; // One document with large fields.

test.before(async () => {
  many = (await collection(upTo(DOCUMENTS, (n) => ({
    _id: n, n, g: n % 10, k: `k${n % 1000}`, text: `${'a'.repeat(40)}!`, pad: 'x'.repeat(200), list: upTo(10, (i) => i + n),
  })))).collectionName;
  const text = noise(1 << 20);
  large = (await collection([{ _id: 'large', list: upTo(2000, () => `${'a'.repeat(24)}!`), text, short: text.slice(0, 8192), shorts: [text.slice(0, 8192)] }])).collectionName;
});

const own = (name) => sdk.init(options({ timeout: 4 * ANSWER_MS_MAX })).database().collection(name).options({ raw: true });
const count = (query, name = many) => own(name).where(query).count();
const changed = (query, change) => own(large).where(query).update(change);
const pipeline = (...stages) => own(many).aggregate(stages).end();
const once = (expression) => pipeline({ $limit: 1 }, { $project: { x: expression } });

/** A query as nobody's package would write it, because the packages themselves would not survive it. */
async function bare(query) {
  const response = await fetch(nextUrl().replace('/admin', `/v1/database/instances/(default)/databases/(default)/collections/${many}/documents/aggregations`), {
    method: 'POST', headers: { authorization: `Bearer ${dev.secretId}.${dev.secretKey}` }, body: query,
  });
  const body = await response.json();
  if (body.code) throw Object.assign(new Error(body.message), { code: body.code });
  return body;
}

const LIMIT = /^EXCEED_REQUEST_LIMIT$/;
const INVALID = /^INVALID_PARAM$/;
const SIZE = /^EXCEED_REQUEST_SIZE_LIMIT$/;
/** The clock or the answer's own deadline, whichever is looked at first. */
const TIME = /^(EXCEED_REQUEST_LIMIT|SERVER_TIMEOUT)$/;

const STEPS = /regular expressions.*steps/;
/** Looks through the rest of the text with many states, from each position. */
const LOOK_AHEAD = '(?=[ab]*a[ab]{200}c)x';

// name, code and words of the refusal (none: the query is bounded as it is), query
const queries = {
  'a regular expression that backtracks': [LIMIT, STEPS, () => count({ text: { $regex: '^(a|aa)+\\1$' } })],
  'a regular expression that would backtrack elsewhere': [null, null, () => count({ text: { $regex: '(a+)+$' } })],
  'a regular expression of many repetitions': [INVALID, /cannot be compiled/, () => count({ text: { $regex: '((a{1000}){1000}){1000}' } })],
  'a very long regular expression': [INVALID, /bytes.*shorten/, () => count({ text: { $regex: upTo(100000, (n) => `q${n}`).join('|') } })],
  'many regular expressions': [INVALID, /more than 64/, () => count({ text: { $in: upTo(5000, (n) => ({ $regex: `b${n}$` })) } })],
  'a regular expression on many elements of one named document': [LIMIT, STEPS, () => count({ _id: 'large', list: { $regex: '^(a|aa)+\\1$' } }, large)],
  'a regular expression of some states on a long text': [null, null, () => count({ _id: 'large', text: { $regex: '[ab]*a[ab]{40}c' } }, large)],
  'a regular expression of many states on a long text': [LIMIT, STEPS, () => count({ _id: 'large', text: { $regex: '[ab]*a[ab]{4000}c' } }, large)],
  'a look-ahead at each position': [LIMIT, STEPS, () => count({ _id: 'large', short: { $regex: LOOK_AHEAD } }, large)],
  'a regular expression in an expression': [LIMIT, STEPS, () => count({ $expr: { $anyElementTrue: { $map: { input: '$list', in: { $regexMatch: { input: '$$this', regex: '^(a|aa)+\\1$' } } } } } }, large)],
  'an update where a look-ahead does not match': [LIMIT, STEPS, () => changed({ _id: 'large', short: { $not: { $regex: LOOK_AHEAD } } }, { $set: { n: 1 } })],
  'an update where no element matches': [LIMIT, STEPS, () => changed({ $nor: [{ list: { $regex: '^(a|aa)+\\1$' } }] }, { $set: { n: 1 } })],
  // Planned without a look at the elements: it is the application on each replica that must be bounded.
  'a pull by a reference': [LIMIT, STEPS, () => changed({ _id: 'large' }, { $pull: { list: { $regex: '^(a|aa)+\\1$' } } })],
  'a pull by a look-ahead': [LIMIT, STEPS, () => changed({ _id: 'large' }, { $pull: { shorts: { $regex: LOOK_AHEAD } } })],
  'a pull just within its steps': [null, null, () => changed({ _id: 'large' }, { $pull: { shorts: { $regex: '[ab]*a[ab]{25}c' } } })],
  'a huge $in': [INVALID, /\$in.*65536/, () => count({ n: { $in: upTo(400000, (n) => -n - 1) } })],
  'a huge $nin of texts': [INVALID, /\$nin.*65536/, () => count({ k: { $nin: upTo(400000, (n) => `z${n}`) } })],
  'the largest $in': [null, null, () => count({ n: { $in: upTo(65536, (n) => -n - 1) } })],
  'a wide $or': [INVALID, /4096 conditions/, () => count({ $or: upTo(50000, (n) => ({ n: -n - 1 })) })],
  'a tree of $or': [INVALID, /4096 conditions/, () => count(nested(14, (x) => ({ $or: [x, x] }), { n: -1 }))],
  'deep nesting of documents': [INVALID, /100 levels/, () => count(nested(1000, (x) => ({ a: x }), 1))],
  'deep nesting of brackets': [INVALID, /nested|levels/, () => bare(`{"pipeline":[{"$match":{"a":${'['.repeat(200000)}${']'.repeat(200000)}}}]}`)],
  'deep nesting of expressions': [INVALID, /100 levels/, () => bare(`{"pipeline":[{"$match":{"$expr":${'{"$not":['.repeat(3000)}1${']}'.repeat(3000)}}}]}`)],
  'too many stages': [INVALID, /200 stages/, () => pipeline(...upTo(5000, () => ({ $match: {} })))],
  'pipelines in pipelines': [INVALID, /stages|nested/, () => pipeline(nested(9, (x) => ({ $unionWith: { coll: many, pipeline: [x, x] } }), { $match: {} }))],
  'a cartesian lookup': [TIME, /time/, () => pipeline({ $lookup: { from: many, let: {}, pipeline: [{ $project: { n: 1 } }], as: 'all' } }, { $unwind: '$all' }, { $count: 'n' })],
  'a lookup that scans for each document': [LIMIT, /1000000 documents examined/,
    () => pipeline({ $lookup: { from: many, let: { x: '$n' }, pipeline: [{ $match: { $expr: { $eq: [{ $add: ['$n', 1] }, '$$x'] } } }], as: 'all' } }, { $count: 'n' })],
  'lookups in lookups': [LIMIT, /bytes held/,
    () => pipeline({ $lookup: { from: many, let: {}, pipeline: [{ $lookup: { from: many, let: {}, pipeline: [{ $limit: 1000 }], as: 'b' } }], as: 'a' } }, { $count: 'n' })],
  'a graph without an end': [LIMIT, /documents examined/,
    () => pipeline({ $graphLookup: { from: many, startWith: '$g', connectFromField: 'list', connectToField: 'n', as: 'r' } }, { $count: 'n' })],
  'a union with itself, often': [LIMIT, /documents examined/, () => pipeline(...upTo(100, () => ({ $unionWith: { coll: many, pipeline: [] } })), { $count: 'n' })],
  'a giant group': [TIME, /time|temporary files|bytes/, () => pipeline({ $unwind: '$list' }, { $addFields: { m: range(50) } }, { $unwind: '$m' },
    { $group: { _id: { a: '$n', b: '$list', c: '$m' }, all: { $push: '$$ROOT' } } }, { $count: 'n' })],
  'an unbounded $push': [SIZE, /gathers more/, () => pipeline({ $unwind: '$list' }, { $group: { _id: null, all: { $push: { a: '$pad', b: '$text' } } } })],
  'an unbounded $addToSet': [SIZE, /gathers more/, () => pipeline({ $unwind: '$list' }, { $group: { _id: null, all: { $addToSet: { a: '$list', b: '$n', p: '$pad' } } } })],
  'groups in every facet': [LIMIT, /bytes held/, () => pipeline({ $facet: Object.fromEntries(upTo(50, (n) => [`f${n}`, [{ $group: { _id: '$n', all: { $push: '$$ROOT' } } }]])) })],
  'a giant sort': [TIME, /temporary files|time/, () => pipeline({ $unwind: '$list' }, { $addFields: { m: range(20) } }, { $unwind: '$m' }, { $sort: { pad: -1, list: 1, m: -1 } }, { $skip: 3999999 })],
  'a huge skip': [null, null, () => own(many).skip(1e12).limit(1).get()],
  'unwinding into billions': [TIME, /time/, () => pipeline({ $addFields: { a: range(1000), b: range(1000) } }, { $unwind: '$a' }, { $unwind: '$b' }, { $count: 'n' })],
  'a huge range': [LIMIT, /steps/, () => once({ $size: { $range: [-2147483647, 2147483647] } })],
  'ranges in ranges': [LIMIT, /steps/, () => once({ $sum: { $map: { input: range(100000), in: { $sum: range(100000) } } } })],
  'a text that doubles': [LIMIT, /steps/, () => once({ $strLenCP: { $reduce: { input: range(60), initialValue: 'xxxxxxxx', in: { $concat: ['$$value', '$$value'] } } } })],
  'an array that doubles': [LIMIT, /steps/, () => once({ $size: { $reduce: { input: range(60), initialValue: [1, 2], in: { $concatArrays: ['$$value', '$$value'] } } } })],
  'a variable that doubles': [LIMIT, /steps/, () => once(nested(30, (x) => ({ $let: { vars: { v: x }, in: ['$$v', '$$v'] } }), '$pad'))],
};

/** Memory of each node in MiB: now, and at its worst since `forget`. */
const memory = (field) => dev.nodes.map(({ pid }) => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024);
const forget = () => dev.nodes.forEach(({ pid }) => writeFileSync(`/proc/${pid}/clear_refs`, '5'));

test('each hostile query ends in time with a result or a clear error, in bounded memory', async (context) => {
  for (const [name, [code, words, query]] of Object.entries(queries)) {
    await context.test(name, async () => {
      forget();
      const before = memory('VmRSS');
      const began = Date.now();
      const refusal = await query().then(() => null, (error) => error);
      const took = Date.now() - began;
      assert.ok(took < ANSWER_MS_MAX, `${took} ms`);
      if (code && refusal && took >= REQUEST_MS_MAX && TIME.test(refusal.code)) {
        // A machine may be too slow to come to the limit that this query would meet.
        assert.ok(/time/.test(refusal.message) || words.test(refusal.message), refusal.message);
      } else if (code) {
        assert.match(refusal?.code ?? 'a result', code, refusal?.message);
        assert.match(refusal.message, words);
      } else {
        assert.equal(refusal, null);
      }
      // The group goes on at once.
      const probed = Date.now();
      await db().collection(large).doc('probe').set({ probed });
      assert.ok(Date.now() - probed < PROBE_MS_MAX, `${Date.now() - probed} ms to a write`);
      const grown = memory('VmHWM').map((now, node) => now - before[node]);
      assert.ok(Math.max(...grown) < GROWTH_MIB_MAX, `${grown.map(Math.round)} MiB`);
    });
  }
});

/** Another client, in a process of its own: `watch(ms)` tells how it fared. */
async function neighbour() {
  const child = spawn(process.execPath, [path.join(__dirname, 'neighbour.js')], { stdio: ['pipe', 'pipe', 'ignore'] });
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const seen = JSON.parse((await lines.next()).value);
    if (seen.error) throw new Error(seen.error);
    return seen;
  };
  await next();
  return {
    watch(ms) {
      child.stdin.write(`${ms}\n`);
      return next();
    },
    close: () => child.kill(),
  };
}

/** Some of the queries at the same time, so that a node has every kind of work. */
const rounds = [
  ['a regular expression that backtracks', 'a regular expression on many elements of one named document', 'a regular expression of some states on a long text'],
  ['a pull by a reference', 'a pull just within its steps', 'an update where no element matches', 'an update where a look-ahead does not match'],
  ['a huge $in', 'a wide $or', 'deep nesting of brackets', 'the largest $in'],
  ['a cartesian lookup', 'lookups in lookups', 'a lookup that scans for each document'],
  ['a giant group', 'groups in every facet', 'an unbounded $push'],
  ['a giant sort', 'unwinding into billions', 'ranges in ranges'],
];

test('meanwhile another client waits at most three times as long', async (context) => {
  const other = await neighbour();
  // Whoever attacks has a machine of their own, where making these queries costs nobody else anything: this process may have only
  // what the nodes and the other client leave.
  execFileSync('chrt', ['--all-tasks', '--idle', '--pid', '0', String(process.pid)]);
  try {
    for (const names of rounds) {
      await context.test(names.join(', '), async () => {
        let over;
        const attack = async (seed) => {
          for (let turn = seed; !over; turn++) await queries[names[turn % names.length]][2]().catch(() => {});
        };
        const looks = [];
        const isWithin = ({ usual, seen }) => ['reads', 'writes'].every((kind) => seen[kind].count > 20 && seen[kind].p99 <= SLOWDOWN * usual[kind].p99);
        while (looks.length < LOOKS_MAX && !looks.some(isWithin)) {
          const usual = await other.watch(ROUND_MS);
          over = false;
          const attacks = upTo(HOSTILE_CLIENTS, attack);
          const seen = await other.watch(ROUND_MS);
          over = true;
          await Promise.all(attacks);
          looks.push({ usual, seen });
        }
        assert.ok(looks.some(isWithin), JSON.stringify(looks));
      });
    }
  } finally {
    other.close();
  }
});
