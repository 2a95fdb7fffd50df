'use strict';
// Browser apps as their users have them: the unmodified packages in Chromium, on pages of another origin than the nodes.
//
// A scenario gets a page of a new visitor on which `app` is made, and calls `page.step(what, argument)`: `what` runs in
// the page, and every step talks to the next node.

const test = require('node:test');
const assert = require('node:assert/strict');
const { PASSWORD, cli, dev, newName, nextHost, ownNode, packagesOf } = require('../js-sdk-3/harness');
const { open } = require('./chromium');

const server = packagesOf('YUNBASE_JS3_DIR', `${__dirname}/../js-sdk-3`)('@cloudbase/node-sdk');
const administrator = () => server.init({ env: dev.env, secretId: dev.secretId, secretKey: dev.secretKey, serviceUrl: `http://${nextHost()}/admin` });

/** A collection under a mode of access rules. */
async function collection(mode, ...rule) {
  const name = newName();
  await administrator().database().createCollection(name);
  if (mode) cli('rules', 'set', name, mode, ...rule);
  return name;
}

let chromium;
test.before(async () => { chromium = await open([2, 3]); });
test.after(() => chromium.close());

/** Makes `app` and `auth` on the page, as the documentation of each major says, and gives the page its `step`. */
async function app(major) {
  const page = await chromium.visit(major);
  const make = ({ env }) => {
    globalThis.app = cloudbase.init({ env });
    globalThis.hop = (host) => {
      if (app.registerHost) app.registerHost(host, 'http');
      else app.registerEndPoint(`//${host}/web`, 'http');
      globalThis.auth = app.auth({ persistence: 'local' });
      globalThis.db = app.database();
      globalThis._ = db.command;
    };
    /** The code of a call that must fail, however the package reports it. */
    globalThis.failure = async (promise) => {
      const outcome = await promise.catch((error) => error);
      const text = `${outcome?.message} ${outcome?.error?.message} ${JSON.stringify(outcome)}`;
      return outcome?.code || outcome?.error?.status || outcome?.error?.code || outcome?.error || (/\b[A-Z]{3,}_[A-Z_]+/.exec(text) || [])[0] || `no failure: ${text}`;
    };
  };
  await page.evaluate(make, { env: dev.env });
  page.step = async (what, argument = null) => {
    await page.evaluate((host) => hop(host), nextHost());
    return page.evaluate(what, argument);
  };
  /** Loads the page anew: nothing remains but what the package keeps in the browser's storage. */
  page.renew = async () => {
    await page.reload();
    await page.evaluate(make, { env: dev.env });
  };
  return page;
}

/** Signs up a new user by name and password and leaves her signed in. */
async function signUp(page) {
  const username = newName();
  await page.step(({ username, password }) => auth.oauthInstance.authApi.signUp({ username, password }).then(() => null), { username, password: PASSWORD });
  return username;
}
const uidOf = (page) => page.step(async () => (await auth.oauthInstance.authApi.getUserInfo()).uid);

const login = {
  'AU01 AU08 AU09: an anonymous visitor, still the same after the page is loaded anew': async (page) => {
    await page.step(() => auth.signInAnonymously().then(() => null));
    const uid = await uidOf(page);
    assert.ok(uid);
    await page.renew();
    assert.equal(await uidOf(page), uid);
    assert.ok(await page.step(async () => Boolean(await auth.getLoginState())));
    const token = await page.step(async () => (await auth.getAccessToken()).accessToken);
    await page.step(() => auth.signOut().then(() => null));
    assert.ok(!await page.step(async () => Boolean(await auth.getLoginState())));
    const old = await fetch(`http://${nextHost()}/auth/v1/user/me`, { headers: { authorization: `Bearer ${token}` } });
    assert.equal(old.status, 401);
  },

  'AU02 AU03 AU10 AU12 AU15: names and passwords, and a refreshed token': async (page) => {
    const username = await signUp(page);
    const uid = await uidOf(page);
    assert.equal(await page.step((name) => auth.isUsernameRegistered(name), username), true);
    await page.step(() => auth.signOut().then(() => null));
    const signIn = ([username, password]) => (auth.signInWithPassword ? auth.signInWithPassword({ username, password }) : auth.signIn({ username, password }))
      .then((answer) => answer.error?.status || null, (error) => error.error || error.message);
    assert.match(await page.step(signIn, [username, 'wrong-horse-1']), /invalid_username_or_password/);
    assert.equal(await page.step(signIn, [username, PASSWORD]), null);
    assert.equal(await uidOf(page), uid);
    const [before, after] = await page.step(async () => [await auth.getCredentials(), await auth.refreshTokenForce()].map((one) => one.refresh_token));
    assert.ok(before && after && before !== after);
    assert.equal(await uidOf(page), uid);
    // A request that browsers ask leave for first: PATCH, from another origin.
    await page.step((locale) => auth.oauthInstance.authApi.setUserProfile({ locale }).then(() => null), 'zh-CN');
    assert.equal(await page.step(async () => (await auth.oauthInstance.authApi.getUserInfo()).locale), 'zh-CN');
  },

  'AU04: a ticket of the developer\'s own server': async (page) => {
    const key = cli('auth', 'ticket-key', 'create');
    const customId = newName().replaceAll('_', '-');
    const ticket = () => server.init({ env: dev.env, credentials: { ...key, env_id: dev.env } }).auth().createTicket(customId);
    const signIn = async (ticket) => {
      if (auth.setCustomSignFunc) auth.setCustomSignFunc(async () => ticket);
      const answer = await auth.signInWithCustomTicket(async () => ticket);
      return answer?.error?.message || null;
    };
    assert.equal(await page.step(signIn, ticket()), null);
    const uid = await uidOf(page);
    await page.step(() => auth.signOut().then(() => null));
    assert.equal(await page.step(signIn, ticket()), null);
    assert.equal(await uidOf(page), uid);
    cli('auth', 'ticket-key', 'delete', key.private_key_id);
  },
};

const data = {
  'CO01 CO04 CO05 CO11 CO12 CO16 CO17 CO18 CO19 CO20 RU03: documents of the signed-in user': async (page) => {
    const name = await collection();
    await signUp(page);
    const uid = await uidOf(page);
    const id = await page.step(async (name) => (await db.collection(name).add({ n: 1, text: '数据 🙂', at: new Date(5), list: [1, null, { a: [] }] })).id, name);
    assert.match(id, /^[0-9a-f]{32}$/);
    const [found] = await page.step(async ([name, id]) => (await db.collection(name).doc(id).get()).data, [name, id]);
    assert.deepEqual(found, { _id: id, _openid: uid, n: 1, text: '数据 🙂', at: new Date(5), list: [1, null, { a: [] }] });
    assert.equal(await page.step(async ([name, id]) => (await db.collection(name).doc(id).update({ n: _.inc(4), o: { a: 1 } })).updated, [name, id]), 1);
    await page.step((name) => db.collection(name).doc('own').set({ n: 9 }).then(() => null), name);
    assert.equal(await page.step(async (name) => (await db.collection(name).where({ n: _.gt(1) }).update({ seen: true })).updated, name), 2);
    assert.equal(await page.step(async (name) => (await db.collection(name).where({ seen: true }).count()).total, name), 2);
    // What the browser wrote is there for the server's side too.
    const { data } = await administrator().database().collection(name).doc(id).get();
    assert.deepEqual([data[0].n, data[0].o, data[0]._openid], [5, { a: 1 }, uid]);
    assert.equal(await page.step(async (name) => (await db.collection(name).doc('own').remove()).deleted, name), 1);
    assert.equal(await page.step(async (name) => (await db.collection(name).where({ n: 5 }).remove()).deleted, name), 1);
    assert.equal(await page.step(async (name) => (await db.collection(name).count()).total, name), 0);
  },

  'CO03 CO06 CO07 CO08 CO09 QC01 QC04 QC06 QC07 QC08 QC09 QC11 QC12 QC14 QC15 QC17 QC24 QC26: queries with commands': async (page) => {
    const name = await collection('readonly');
    const letters = ['a', 'b', 'c', 'd'].map((_id, n) => ({ _id, n, tags: ['x', 'y', 'z'].slice(0, n), text: `letter ${_id}`, o: { p: n % 2 } }));
    await administrator().database().collection(name).add(letters);
    await signUp(page);
    const found = await page.step(async (name) => {
      const own = db.collection(name);
      const ids = async (query) => (await query.orderBy('n', 'asc').get()).data.map((one) => one._id).join('');
      const answers = {};
      const cases = {
        eq: { n: _.eq(1) }, lte: { n: _.lte(1) }, gte: { n: _.gte(2) }, in: { n: _.in([0, 3]) }, nin: { n: _.nin([0, 3]) },
        all: { tags: _.all(['x', 'y']) }, exists: { none: _.exists(true) }, size: { tags: _.size(1) }, and: { n: _.gt(0).and(_.lt(3)) },
        or: _.or([{ n: 0 }, { text: /C$/i }]), not: { n: _.not(_.gt(1)) }, nested: { o: { p: 1 } }, element: { tags: 'z' }, mine: { _openid: '{openid}' },
      };
      for (const [name, query] of Object.entries(cases)) answers[name] = await ids(own.where(query));
      answers.page = (await own.orderBy('n', 'desc').skip(1).limit(2).field({ n: true }).get()).data;
      return answers;
    }, name);
    assert.deepEqual(found, {
      eq: 'b', lte: 'ab', gte: 'cd', in: 'ad', nin: 'bc', all: 'cd', exists: '', size: 'b', and: 'bc', or: 'ac', not: 'ab', nested: 'bd',
      element: 'd', mine: '', page: [{ _id: 'c', n: 2 }, { _id: 'b', n: 1 }],
    });
  },

  'RU01 RU02 EV02: what the rules refuse': async (page) => {
    await signUp(page);
    const closed = await collection('adminonly');
    const custom = await collection('custom', '--rule', JSON.stringify({ read: 'doc.public == true', write: false }));
    await administrator().database().collection(custom).add([{ _id: 'seen', public: true }, { _id: 'hidden', public: false }]);
    const codes = await page.step(async ([closed, custom]) => [
      await failure(db.collection(closed).get()), await failure(db.collection(closed).add({ n: 1 })),
      await failure(db.collection(custom).get()), await failure(db.collection(custom).add({ n: 1 })), await failure(db.collection('_sys.users').get()),
    ], [closed, custom]);
    assert.deepEqual(codes, Array(5).fill('DATABASE_PERMISSION_DENIED'));
    const seen = await page.step(async (custom) => (await db.collection(custom).where({ public: true }).get()).data, custom);
    assert.deepEqual(seen, [{ _id: 'seen', public: true }]);
  },
};

const aggregation = {
  'ST06 ST07 ST09 ST10 ST14 ST16 ST17 OP90: an aggregation of what the user may read': async (page) => {
    const name = await collection('readonly');
    await administrator().database().collection(name).add([{ k: 'a', n: 1, l: [1, 2] }, { k: 'b', n: 5, l: [3] }, { k: 'a', n: 3, l: [] }]);
    await signUp(page);
    const [groups, elements] = await page.step(async (name) => {
      const $ = _.aggregate;
      const own = () => db.collection(name).aggregate();
      return [
        (await own().match({ n: _.gt(0) }).group({ _id: '$k', n: $.sum('$n') }).sort({ n: -1, _id: 1 }).limit(5).end()).data,
        (await own().unwind('$l').sort({ l: 1 }).project({ _id: 0, l: 1 }).end()).data,
      ];
    }, name);
    assert.deepEqual(groups, [{ _id: 'b', n: 5 }, { _id: 'a', n: 4 }]);
    assert.deepEqual(elements, [{ l: 1 }, { l: 2 }, { l: 3 }]);
  },
};

const realtime = {
  'RT01 RT02 RT03 RT04 RT05 CO14: a watch of what the user may read': async (page) => {
    const name = await collection('readonly');
    const own = () => administrator().database().collection(name);
    await own().add([{ _id: 'a', n: 1 }, { _id: 'b', n: 2 }]);
    await signUp(page);
    await page.step((name) => {
      globalThis.seen = { ids: '', kinds: [], errors: [] };
      seen.listener = db.collection(name).orderBy('n', 'desc').limit(2).watch({
        onChange({ docs, docChanges }) {
          seen.ids = docs.map((one) => one._id).sort().join('');
          seen.kinds.push(...docChanges.map((change) => `${change.queueType} ${change.dataType}`));
        },
        onError: (error) => seen.errors.push(error.message),
      });
    }, name);
    const shows = (ids) => page.waitForFunction((ids) => seen.ids === ids || seen.errors.length, ids, { timeout: 10000, polling: 20 });
    await shows('ab');
    await own().add({ _id: 'c', n: 3 });
    await shows('bc');
    await own().doc('a').update({ n: 4 });
    await shows('ac');
    await own().doc('a').remove();
    await shows('bc');
    const { kinds, errors } = await page.evaluate(async () => {
      await seen.listener.close();
      return { kinds: seen.kinds, errors: seen.errors };
    });
    assert.deepEqual(errors, []);
    for (const kind of ['init init', 'enqueue add', 'dequeue limit', 'enqueue update', 'dequeue remove', 'enqueue limit']) assert.ok(kinds.includes(kind), `${kind} in ${kinds}`);
    await own().doc('b').update({ n: 5 });
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.equal(await page.evaluate(() => seen.kinds.length), kinds.length, 'nothing after it was closed');
  },

  'RT06 RU01: a watch of what the user may not read fails': async (page) => {
    const name = await collection('adminonly');
    await signUp(page);
    const heard = await page.step((name) => new Promise((resolve) => {
      db.collection(name).where({}).watch({ onChange: () => resolve('a result'), onError: (error) => resolve(`${error.message} ${JSON.stringify(error)}`) });
    }), name);
    assert.match(heard, /COLLECTION_PERMISSION_DENIED/);
    page.errors.length = 0; // Beside telling the app the packages reject a promise that nobody holds.
  },
};

const files = {
  'FS01 FS02 FS03 FS04 FS09: files of the signed-in user': async (page) => {
    await signUp(page);
    const folder = newName();
    for (const [size, method] of [[0, 'put'], [1, 'put'], [5 << 20, 'put'], [1000, 'post']]) {
      const { sent, fileID } = await page.step(async ([cloudPath, size, method]) => {
        const bytes = new Uint8Array(size).map((_, at) => (at * 31) % 251);
        const { fileID } = await app.uploadFile({ cloudPath, filePath: new File([bytes], 'a.png', { type: 'image/png' }), method });
        globalThis.hashOf = async (bytes) => String.fromCharCode(...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)));
        return { fileID, sent: crypto.subtle ? await hashOf(bytes) : String(size) };
      }, [`${folder}/图 ${size}-${method}.png`, size, method]);
      assert.equal(fileID, `cloud://${dev.env}.${dev.env}/${folder}/图 ${size}-${method}.png`);
      const read = await page.step(async (fileID) => {
        const { fileList } = await app.getTempFileURL({ fileList: [{ fileID, maxAge: 60 }] });
        const response = await fetch(encodeURI(fileList[0].tempFileURL));
        const bytes = await response.arrayBuffer();
        return { type: response.headers.get('content-type'), hash: crypto.subtle ? await hashOf(bytes) : String(bytes.byteLength) };
      }, fileID);
      assert.deepEqual(read, { type: 'image/png', hash: sent });
      await page.step((fileID) => app.deleteFile({ fileList: [fileID] }).then(() => null), fileID);
      const { fileList } = await administrator().getTempFileURL({ fileList: [fileID] });
      assert.equal(fileList[0].code, 'STORAGE_FILE_NONEXIST');
    }
  },

  'FS02 FS11: what another user stored is read, shown as a picture, and not replaced': async (page) => {
    const folder = newName();
    const pixel = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==', 'base64');
    const { fileID } = await administrator().uploadFile({ cloudPath: `${folder}/a.png`, fileContent: pixel });
    await signUp(page);
    const shown = await page.step(async (fileID) => {
      const { fileList } = await app.getTempFileURL({ fileList: [{ fileID, maxAge: 60 }] });
      const image = new Image();
      image.src = encodeURI(fileList[0].tempFileURL);
      await image.decode();
      return image.width;
    }, fileID);
    assert.equal(shown, 1);
    const refused = await page.step((cloudPath) => app.uploadFile({ cloudPath, filePath: new File(['x'], 'x') })
      .then(() => 'stored', () => 'refused'), `${folder}/a.png`);
    assert.equal(refused, 'refused');
    assert.deepEqual((await administrator().downloadFile({ fileID })).fileContent, pixel);
    page.errors.length = 0; // Some packages tell of a refusal also beside what they reject.
  },
};

for (const major of [3, 2]) {
  for (const [name, scenario] of Object.entries({ ...login, ...data, ...aggregation, ...realtime, ...files })) {
    test(`js-sdk ${major} in Chromium: ${name}`, async () => {
      const page = await app(major);
      await scenario(page);
      assert.deepEqual(page.errors, []);
      await page.context().close();
    });
  }
}

test('js-sdk 3 in Chromium: RU07: only pages of the origins that the node names may read its answers', async () => {
  const outcome = (origins) => ownNode({ YUNBASE_CORS_ORIGINS: origins }, async ({ http }) => {
    const page = await app(3);
    await page.evaluate((host) => hop(host), new URL(http[0]).host);
    return page.evaluate(async () => {
      const { error } = await auth.signInAnonymously().catch((error) => ({ error }));
      return error ? 'unreadable' : 'signed in';
    });
  });
  assert.equal(await outcome(chromium.origin), 'signed in');
  assert.equal(await outcome('https://elsewhere.example'), 'unreadable');
});
