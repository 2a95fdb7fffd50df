'use strict';
// A headless Chromium and pages in it that have one major of the unmodified `@cloudbase/js-sdk` and nothing else of ours.
//
// The pages come from a server of their own, so for the browser every node is another origin.

const { mkdtempSync, rmSync } = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { packagesOf } = require('../js-sdk-3/harness');

const packages = packagesOf('YUNBASE_BROWSER_DIR', __dirname);
const esbuild = packages('esbuild');
const { chromium } = packages('playwright-core');

/** The package of that major as an app's bundler would build it for browsers; it becomes `globalThis.cloudbase`. */
async function bundle(major) {
  const tree = process.env[`YUNBASE_JS_SDK_${major}_DIR`] || path.join(__dirname, `../js/js-sdk-${major}`);
  const { outputFiles } = await esbuild.build({
    stdin: { contents: "import cloudbase from '@cloudbase/js-sdk'; globalThis.cloudbase = cloudbase;", resolveDir: path.resolve(tree) },
    bundle: true, write: false, format: 'iife', platform: 'browser', logLevel: 'silent', define: { global: 'globalThis' },
  });
  return outputFiles[0].contents;
}

/** Serves `/<major>.html` and its bundle; answers its origin. */
async function serve(majors) {
  const files = new Map();
  for (const major of majors) {
    files.set(`/${major}.js`, ['text/javascript', await bundle(major)]);
    files.set(`/${major}.html`, ['text/html', `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><script src="/${major}.js"></script>`]);
  }
  const server = http.createServer((request, response) => {
    const file = files.get(request.url);
    response.writeHead(file ? 200 : 404, { 'content-type': file ? file[0] : 'text/plain' });
    response.end(file && file[1]);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

/** Starts the browser and the server of the pages. */
async function open(majors) {
  const home = mkdtempSync(path.join(os.tmpdir(), 'yunbase-chromium-'));
  const browser = await chromium.launch({
    executablePath: process.env.YUNBASE_CHROMIUM || '/usr/bin/chromium',
    // Root has no sandbox of Chromium's, and a container has little of /dev/shm.
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
    env: { ...process.env, HOME: home },
  });
  const site = await serve(majors);

  /** A page of a visitor who was never here, with the major loaded. What it logs as an error is kept in `page.errors`. */
  async function visit(major) {
    const context = await browser.newContext();
    const page = await context.newPage();
    page.errors = [];
    page.on('pageerror', (error) => page.errors.push(error.message));
    await page.goto(`${site.origin}/${major}.html`);
    return page;
  }

  async function close() {
    await browser.close();
    site.close();
    rmSync(home, { recursive: true, force: true });
  }
  return { visit, close, origin: site.origin };
}

module.exports = { open };
