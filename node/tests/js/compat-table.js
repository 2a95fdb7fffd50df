'use strict';
// A reporter for `node --test --test-reporter=./compat-table.js`: one line for each id of the client surface that the names of
// the tests carry, with the number of tests that passed and the names of those that failed.

module.exports = async function* compatTable(events) {
  const surface = new Map();
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    for (const id of data.name.match(/\b[A-Z]{2}\d{2}\b/g) || []) {
      const row = surface.get(id) || { passed: 0, failed: [] };
      if (type === 'test:pass') row.passed += 1;
      else row.failed.push(data.name);
      surface.set(id, row);
    }
  }
  yield '| id | passed | failed |\n|---|---|---|\n';
  for (const [id, { passed, failed }] of [...surface].sort()) yield `| ${id} | ${passed} | ${failed.join('; ') || '–'} |\n`;
};
