'use strict';
// A cluster for the tests of one file that do to its nodes what other tests could not stand. Required before `./cluster`,
// which then speaks to this one.

const { execFileSync } = require('node:child_process');
const { mkdtempSync, readFileSync, rmSync } = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const test = require('node:test');

module.exports = ({ portOffset, env = {} }) => {
  const binary = process.env.YUNBASE_BIN || 'yunbase';
  const port = Number(process.env.YUNBASE_TEST_PORT || 17600) + portOffset;
  const dir = mkdtempSync(path.join(os.tmpdir(), 'yunbase-own-'));
  const run = (...words) => execFileSync(binary, ['dev', ...words, '--dir', dir], { stdio: 'ignore', env: { ...process.env, ...env } });
  run('--nodes', '3', '--port', String(port), '--ephemeral', '--detach');
  process.env.YUNBASE_DEV_JSON = path.join(dir, 'dev.json');
  test.after(() => {
    run('stop');
    rmSync(dir, { recursive: true, force: true });
  });
  return {
    run,
    nodes: () => JSON.parse(readFileSync(process.env.YUNBASE_DEV_JSON, 'utf8')).nodes,
    status: () => JSON.parse(execFileSync(binary, ['status', '--target', dir, '-o', 'json'])),
  };
};
