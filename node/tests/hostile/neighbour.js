'use strict';
// Another client of the same environment, in a process of its own: reads and changes single documents, one after the other
// through each node in turn, and answers each line of its input, a number of milliseconds, with what it saw in them.

const readline = require('node:readline');
const { collection } = require('../js/cluster');

const WORKERS = 2;
const DOCUMENTS = 100;

const percentile = (times, part) => times.sort((a, b) => a - b)[Math.min(times.length - 1, Math.floor(times.length * part))];

async function main() {
  const own = await collection(Array.from({ length: DOCUMENTS }, (unused, n) => ({ _id: `${n}`, n })));
  async function watch(ms) {
    const [reads, writes] = [[], []];
    const until = Date.now() + ms;
    const timed = async (times, call) => {
      const start = process.hrtime.bigint();
      await call();
      times.push(Number(process.hrtime.bigint() - start) / 1e6);
    };
    const work = async (seed) => {
      for (let turn = seed; Date.now() < until; turn += WORKERS) {
        const one = () => own().doc(`${turn % DOCUMENTS}`);
        await timed(reads, () => one().get());
        await timed(writes, () => one().update({ n: turn }));
      }
    };
    await Promise.all(Array.from({ length: WORKERS }, (unused, seed) => work(seed)));
    const seen = (times) => ({ count: times.length, p50: percentile(times, 0.5), p99: percentile(times, 0.99), max: percentile(times, 1) });
    return { reads: seen(reads), writes: seen(writes) };
  }
  console.log(JSON.stringify(await watch(500)));
  for await (const line of readline.createInterface({ input: process.stdin })) console.log(JSON.stringify(await watch(Number(line))));
}

main().catch((error) => {
  console.log(JSON.stringify({ error: String(error) }));
  process.exit(1);
});
