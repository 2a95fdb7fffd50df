'use strict';
// The compatibility table of README: `node table.js [--write] README RESULTS...`
//
// RESULTS are what `reporter.js` wrote. `yes` needs a test that names the id and passed, and none that failed; `partly` needs one too,
// and its reason stands in `surface.json`, as that of each `no`. Whatever has neither a test nor a reason is an error, and so
// is a README that says something else than the tests, unless it is to be written.

const { readFileSync, writeFileSync } = require('node:fs');
const path = require('node:path');

const BEGIN = '<!-- Written by `deploy/test --clients --table`. -->';
const END = '<!-- End of the table. -->';

const words = process.argv.slice(2);
const write = words[0] === '--write';
const [readme, ...results] = write ? words.slice(1) : words;

const tests = new Map();
for (const file of results) {
  for (const line of readFileSync(file, 'utf8').split('\n').filter(Boolean)) {
    const { ids, passed, name } = JSON.parse(line);
    for (const id of ids) {
      const row = tests.get(id) || { passed: 0, failed: [] };
      if (passed) row.passed += 1;
      else row.failed.push(name);
      tests.set(id, row);
    }
  }
}

const wrong = [];

/** What the tests and the reasons say of one id. */
function verdict(id, entry, section) {
  const { passed, failed } = tests.get(id) || { passed: 0, failed: [] };
  tests.delete(id);
  for (const name of failed) wrong.push(`${id}: failed: ${name}`);
  const no = entry.no || (entry.partly ? undefined : section.no);
  if (no) return ['no', no];
  if (passed === 0) wrong.push(`${id}: no test names it; write one, or say in surface.json why not`);
  return passed === 0 || failed.length ? ['no', 'no test passes'] : entry.partly ? ['partly', entry.partly] : ['yes'];
}

const total = { yes: 0, partly: 0, no: 0 };
const counted = (counts) => Object.entries(counts).filter(([, n]) => n).map(([word, n]) => `${n} ${word}`).join(', ');

function details(section) {
  const counts = { yes: 0, partly: 0, no: 0 };
  const rows = Object.entries(section.rows).map(([id, value]) => {
    const entry = typeof value === 'string' ? { name: value } : value;
    const [word, reason] = verdict(id, entry, section);
    counts[word] += 1;
    total[word] += 1;
    return `| ${id} | ${entry.name.replaceAll('|', '\\|')} | ${word}${reason ? `: ${reason}` : ''} |`;
  });
  const summary = `<details><summary>${section.title}: ${counted(counts)}</summary>`;
  return [summary, '', '| id | what | works |', '|---|---|---|', ...rows, '', '</details>', ''];
}

const { sections } = JSON.parse(readFileSync(path.join(__dirname, 'surface.json'), 'utf8'));
const folded = sections.flatMap(details);
for (const id of tests.keys()) wrong.push(`${id}: tests name it, surface.json does not`);
const table = [BEGIN, `Of ${total.yes + total.partly + total.no} parts: ${counted(total)}.`, '', ...folded, END].join('\n');

const text = readFileSync(readme, 'utf8');
const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)];
if (from < 0 || to < from) throw new Error(`${readme} has no place for the table: ${BEGIN} … ${END}`);
const old = text.slice(from, to + END.length);
if (write) {
  writeFileSync(readme, text.slice(0, from) + table + text.slice(to + END.length));
} else if (old !== table) {
  const said = new Set(old.split('\n'));
  const news = table.split('\n').filter((line) => line.startsWith('| ') && !said.has(line));
  wrong.push('the table of README is not what the tests show (deploy/test --clients --table writes it):', ...news);
}
if (wrong.length) {
  console.error(wrong.join('\n'));
  process.exit(1);
}
