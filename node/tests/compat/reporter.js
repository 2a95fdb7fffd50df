'use strict';
// A reporter for `node --test`: one line of JSON for each test whose name carries ids of the client surface (`surface.json`).

module.exports = async function* surface(events) {
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const ids = data.name.match(/\b[A-Z]{2}\d{2}\b/g);
    if (!ids || data.skip || data.todo) continue;
    yield `${JSON.stringify({ ids, passed: type === 'test:pass', name: data.name })}\n`;
  }
};
