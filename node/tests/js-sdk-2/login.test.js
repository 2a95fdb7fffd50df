'use strict';
const test = require('node:test');
const assert = require('node:assert/strict');
const { PASSWORD, auth: rest, browser, cli, dev, newName, nextHost, packagesOf, wechat } = require('../js-sdk-3/harness');

browser();
const packages = packagesOf('YUNBASE_JS2_DIR', __dirname);
const cloudbase = packages('@cloudbase/js-sdk').default ?? packages('@cloudbase/js-sdk');
const APPID = 'wx00000000000002';

const app = cloudbase.init({ env: dev.env });
/** Login through the next node. The address is fixed when `auth` is made, so each step makes it anew. */
function login() {
  app.registerEndPoint(`//${nextHost()}/web`, 'http');
  return app.auth({ persistence: 'local' });
}
const api = () => login().oauthInstance.authApi;
const me = () => api().getUserInfo();

test('js-sdk 2, AU01 AU08 AU09: an anonymous user stays the same on its device', async () => {
  await login().signInAnonymously();
  const { uid, name } = await me();
  assert.equal(name, 'anonymous');
  await login().signOut();
  await login().signInAnonymously();
  assert.equal((await me()).uid, uid);
  await login().signOut();
});

test('js-sdk 2, AU02 AU03 AU10 AU12 AU15: names and passwords', async () => {
  const username = newName();
  await api().signUp({ username, password: PASSWORD });
  const uid = (await me()).uid;
  assert.equal(await login().isUsernameRegistered(username), true);
  await login().signOut();
  await assert.rejects(() => login().signIn({ username, password: 'wrong-horse-1' }), (error) => /invalid_username_or_password/.test(JSON.stringify(error) + error.message + error.error));
  await login().signIn({ username, password: PASSWORD });
  assert.equal((await me()).uid, uid);
  const before = await login().getCredentials();
  const after = await login().refreshTokenForce();
  assert.notEqual(after.refresh_token, before.refresh_token);
  await login().updateUserBasicInfo({ nickname: 'Two' });
  assert.equal((await me()).name, 'Two');
  await api().setUserProfile({ locale: 'zh-CN' });
  assert.equal((await me()).locale, 'zh-CN');
  const { sudo_token } = await login().sudo({ password: PASSWORD });
  await login().setPassword({ new_password: 'another-horse-2', sudo_token });
  await login().signOut();
  assert.equal((await rest('GET', '/v1/user/me', { token: after.access_token })).status, 401);
});

test('js-sdk 2, AU06: WeChat users sign in', async () => {
  await wechat(APPID);
  const openid = `o-${newName()}`;
  const granted = await login().grantProviderToken({ provider_id: APPID, provider_code: openid });
  await login().signInWithProvider({ provider_token: granted.provider_token });
  assert.equal((await me()).loginType, 'WECHAT');
  await login().signOut();
});

test('js-sdk 2, AU16: a user leaves', async () => {
  const username = newName();
  await api().signUp({ username, password: PASSWORD });
  const { sudo_token } = await login().sudo({ password: PASSWORD });
  assert.equal((await login().deleteMe({ sudo_token })).username, username);
  const gone = await login().signIn({ username, password: PASSWORD }).catch((error) => error);
  assert.equal(gone.error, 'invalid_username_or_password');
});

test('js-sdk 2: a disabled user is signed out everywhere', async () => {
  const username = newName();
  await api().signUp({ username, password: PASSWORD });
  cli('user', 'disable', username);
  const refused = await me().catch((error) => error);
  assert.ok(refused === null || /unauthenticated/.test(JSON.stringify(refused) + refused?.message + refused?.error), JSON.stringify(refused));
});
