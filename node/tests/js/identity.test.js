'use strict';
// What the server packages take from their process: environments, contexts, callers. A function's process has these variables.

const test = require('node:test');
const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const { mkdtempSync, readFileSync, rmSync } = require('node:fs');
const https = require('node:https');
const os = require('node:os');
const path = require('node:path');
const { collection, dev, failure, nextUrl, options, packages, sdk } = require('./cluster');

/** Runs `what` with variables in the process that are gone afterwards. */
async function within(variables, what) {
  const before = { ...process.env };
  Object.assign(process.env, variables);
  try {
    return await what();
  } finally {
    for (const name of Object.keys(variables)) {
      if (name in before) process.env[name] = before[name];
      else delete process.env[name];
    }
  }
}

test('CN02 the current environment is that of the process', async () => {
  const todo = await collection([{ _id: 'a' }]);
  await within({ SCF_NAMESPACE: dev.env }, async () => {
    const own = sdk.init(options({ env: sdk.SYMBOL_CURRENT_ENV })).database();
    assert.equal((await own.collection(todo.collectionName).count()).total, 1);
    const cloud = packages('wx-server-sdk');
    cloud.init(options({ env: cloud.DYNAMIC_CURRENT_ENV }));
    assert.equal((await cloud.database().collection(todo.collectionName).count()).total, 1);
  });
  await within({ SCF_NAMESPACE: 'elsewhere' }, async () => {
    const other = sdk.init(options({ env: sdk.SYMBOL_CURRENT_ENV })).database();
    assert.ok(['INVALID_ENV', 'PERMISSION_DENIED'].includes((await failure(other.collection(todo.collectionName).count())).code));
  });
});

test('CN03 the default environment is that of the key', async () => {
  const todo = await collection([{ _id: 'a' }]);
  const own = sdk.init(options({ env: sdk.SYMBOL_DEFAULT_ENV })).database();
  assert.equal((await own.collection(todo.collectionName).count()).total, 1);
});

test('CN05 wx-server-sdk: further instances have environments of their own', async () => {
  const todo = await collection([{ _id: 'a' }]);
  const cloud = packages('wx-server-sdk');
  cloud.init(options());
  const count = async (instance) => (await instance.database().collection(todo.collectionName).count()).total;
  assert.equal(await count(cloud.createNewInstance(options())), 1);
  const named = new cloud.Cloud({ ...options(), resourceEnv: dev.env });
  await named.init();
  assert.equal(await count(named), 1);
  const elsewhere = cloud.createNewInstance(options({ env: 'elsewhere' }));
  assert.ok((await failure(elsewhere.database().collection(todo.collectionName).count())).errCode);
  // A database keeps the configuration of `init`; what changes is the default of later calls.
  cloud.updateConfig(options());
  assert.equal(await count(cloud), 1);
});

const context = {
  memory_limit_in_mb: 256, time_limit_in_ms: 3000, request_id: 'r', function_version: '$LATEST', namespace: dev.env, function_name: 'f',
  environ: '', environment: JSON.stringify({ TCB_CONTEXT_KEYS: 'TCB_UUID', TCB_UUID: 'somebody' }),
};

test('CN06 CN07 contexts of functions are understood', async () => {
  const parsed = sdk.parseContext(context);
  assert.deepEqual([parsed.memoryLimitInMb, parsed.functionName, parsed.environment.TCB_UUID], [256, 'f', 'somebody']);
  assert.equal(sdk.getCloudbaseContext(context).TCB_UUID, 'somebody');
  await within({ TCB_CONTEXT_KEYS: 'TCB_ENV,TCB_UUID', TCB_ENV: dev.env, TCB_UUID: 'another' }, () => {
    assert.deepEqual([sdk.getCloudbaseContext().TCB_ENV, sdk.getCloudbaseContext().TCB_UUID], [dev.env, 'another']);
  });
});

test('CN08 AU19 who calls is told by the process', async () => {
  const variables = {
    WX_CONTEXT_KEYS: 'WX_OPENID,WX_APPID', WX_OPENID: 'o-caller', WX_APPID: 'wx00', WX_CLIENTIP: '10.1.1.1', TCB_ENV: dev.env, TCB_SOURCE: 'wx_client',
    TCB_CONTEXT_KEYS: 'TCB_ENV,TCB_UUID,TCB_ISANONYMOUS_USER,TCB_CUSTOM_USER_ID,TCB_SOURCE_IP,TCB_SOURCE', TCB_UUID: 'uid-1', TCB_ISANONYMOUS_USER: 'false',
    TCB_CUSTOM_USER_ID: 'own-1', TCB_SOURCE_IP: '10.1.1.1',
  };
  await within(variables, () => {
    const cloud = packages('wx-server-sdk');
    const seen = cloud.getWXContext();
    assert.deepEqual([seen.OPENID, seen.APPID, seen.ENV, seen.SOURCE], ['o-caller', 'wx00', dev.env, 'wx_client']);
    const auth = sdk.init(options()).auth();
    assert.deepEqual(auth.getUserInfo(), { openId: 'o-caller', appId: 'wx00', uid: 'uid-1', customUserId: 'own-1', isAnonymous: false });
    assert.equal(auth.getClientIP(), '10.1.1.1');
  });
});

test('CN09 HTTPS by an authority of one\'s own, ended by a proxy', async () => {
  const todo = await collection([{ _id: 'a' }]);
  const folder = mkdtempSync(path.join(os.tmpdir(), 'yunbase-https-'));
  const [key, cert] = [path.join(folder, 'key.pem'), path.join(folder, 'cert.pem')];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1', '-keyout', key, '-out', cert,
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'], { stdio: 'ignore' });
  const proxy = https.createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (request, response) => {
    const { host } = request.headers;
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      // The signature covers the host that the client named, so it stays.
      const onward = require('node:http').request(nextUrl().replace('/admin', request.url), { method: request.method, headers: { ...request.headers, host } }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      onward.end(Buffer.concat(chunks));
    });
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  try {
    const program = `
      const sdk = require(${JSON.stringify(packages.resolve('@cloudbase/node-sdk'))});
      sdk.init(${JSON.stringify(options({ serviceUrl: `https://localhost:${proxy.address().port}/admin` }))}).database()
        .collection(${JSON.stringify(todo.collectionName)}).count().then(({ total }) => console.log('total', total), (error) => console.log(error.code));`;
    const run = (extra) => new Promise((resolve) => {
      require('node:child_process').execFile(process.execPath, ['-e', program], { env: { ...process.env, ...extra } }, (error, stdout) => resolve(stdout.trim()));
    });
    assert.equal(await run({ NODE_EXTRA_CA_CERTS: cert }), 'total 1');
    assert.notEqual(await run({}), 'total 1');
  } finally {
    proxy.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
