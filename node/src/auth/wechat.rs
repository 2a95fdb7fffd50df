//! WeChat Mini Programs: asks WeChat whose login code this is, and keeps the answer until somebody signs in with it.
//!
//! The appid's secret goes to WeChat and nowhere else; the `session_key` that comes back is dropped unread. Neither the
//! URL of a question nor the text of an answer is ever logged, since both hold secrets.

use std::sync::Arc;
use std::time::Duration;

use bson::doc;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::Auth;
use super::error::{AuthError, AuthResult, Reason};
use super::limits::AuthLimits;
use super::random;
use super::records::{GRANTS, GrantRecord, PROVIDERS, WechatRecord};
use super::store::Scope;
use super::users::Identity;

/// Where WeChat is, unless the environment says otherwise.
pub(super) const BASE_URL: &str = "https://api.weixin.qq.com";
/// Idle connections are not worth more than this.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks WeChat.
pub(super) struct WechatClient {
    http: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    turns: Semaphore,
    timeout: Duration,
    answer_bytes_max: usize,
}

/// Who a login code is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WechatUser {
    pub(super) openid: String,
    pub(super) unionid: Option<String>,
}

/// The answer of `jscode2session`, without the members that must not stay.
#[derive(Deserialize)]
struct Answer {
    openid: Option<String>,
    unionid: Option<String>,
    #[serde(default)]
    errcode: i64,
}

impl WechatClient {
    pub(super) fn new(limits: &AuthLimits) -> Result<Self, rustls::Error> {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls()?)
            .https_or_http()
            .enable_http1()
            .build();
        let http = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self {
            http,
            turns: Semaphore::new(limits.wechat_requests_max),
            timeout: limits.wechat_timeout,
            answer_bytes_max: limits.wechat_answer_bytes_max,
        })
    }

    /// Exchanges a code of `wx.login` for the user's ids.
    async fn code_to_session(&self, app: &WechatRecord, code: &str) -> AuthResult<WechatUser> {
        let Ok(_turn) = self.turns.try_acquire() else {
            return Err(unavailable(
                "the server asks WeChat as often as it may: try again shortly",
            ));
        };
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("appid", &app.appid)
            .append_pair("secret", &app.secret)
            .append_pair("js_code", code)
            .append_pair("grant_type", "authorization_code")
            .finish();
        let base = app.base_url.trim_end_matches('/');
        let uri: http::Uri = format!("{base}/sns/jscode2session?{query}")
            .parse()
            .map_err(|_| misconfigured("its base URL is not a URL"))?;
        let asked = async {
            let response = self.http.get(uri).await.map_err(|error| {
                // The error says which step failed and holds no part of the URL.
                tracing::warn!(%error, "reach WeChat");
                unavailable("WeChat cannot be reached: try again")
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), self.answer_bytes_max);
            let body = body
                .collect()
                .await
                .map_err(|_| unavailable("the answer of WeChat broke off or is too large"))?;
            if !status.is_success() {
                tracing::warn!(status = status.as_u16(), "WeChat refuses");
                return Err(unavailable("WeChat refuses at this moment: try again"));
            }
            Ok(body.to_bytes())
        };
        let body = tokio::time::timeout(self.timeout, asked)
            .await
            .map_err(|_| unavailable("WeChat did not answer in time: try again"))??;
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| unavailable("the answer of WeChat cannot be read"))?;
        user_of(answer)
    }
}

/// TLS by the certificate authorities of this machine. Without any, only a stand-in over plain HTTP can be reached.
/// TLS to servers elsewhere, trusted as this machine trusts them.
pub(crate) fn tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "read the machine's certificate authorities");
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    Ok(builder
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn user_of(answer: Answer) -> AuthResult<WechatUser> {
    match (answer.errcode, answer.openid) {
        (0, Some(openid)) if !openid.is_empty() && openid.len() <= 128 => Ok(WechatUser {
            openid,
            unionid: answer
                .unionid
                .filter(|id| !id.is_empty() && id.len() <= 128),
        }),
        (40_029 | 40_163 | 41_008, _) => Err(AuthError::argument(
            "the login code is not valid or was used: call wx.login again",
        )),
        (40_226, _) => Err(AuthError::new(
            Reason::UserBlocked,
            "WeChat has blocked this user",
        )),
        (45_011, _) => Err(AuthError::new(
            Reason::ResourceExhausted,
            "WeChat sees too many logins of this user: try again in a minute",
        )),
        (40_013 | 40_125 | 41_002 | 41_004, _) => {
            Err(misconfigured("WeChat does not accept its appid or secret"))
        }
        (errcode, _) => {
            tracing::warn!(errcode, "WeChat refuses a login code");
            Err(unavailable("WeChat refuses at this moment: try again"))
        }
    }
}

fn unavailable(message: &str) -> AuthError {
    AuthError::new(Reason::Unavailable, message)
}

fn misconfigured(what: &str) -> AuthError {
    AuthError::new(
        Reason::FailedPrecondition,
        format!(
            "the Mini Program is set up wrongly: {what}; an administrator runs `yunbase auth wechat set`"
        ),
    )
}

fn grant_id(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

impl Auth {
    /// Asks WeChat whose `code` this is and answers a provider token for it, which signs in once.
    pub(super) async fn grant(
        &self,
        scope: &Scope,
        appid: &str,
        code: &str,
        by_union: bool,
    ) -> AuthResult<String> {
        if code.is_empty() || code.len() > self.limits.credential_bytes_max {
            return Err(AuthError::argument(
                "`provider_code` needs the code that wx.login gave",
            ));
        }
        let user = self.wechat_user(scope, appid, code).await?;
        if by_union && user.unionid.is_none() {
            return Err(AuthError::new(
                Reason::FailedPrecondition,
                "WeChat gives no unionid: bind the Mini Program to an open platform account, or sign in by openid",
            ));
        }
        let token = random::hex::<32>(&*self.random);
        let grant = GrantRecord {
            id: grant_id(&token),
            appid: appid.to_owned(),
            openid: user.openid,
            unionid: user.unionid,
            by_union,
            expires_at_ms: scope.now_ms + self.limits.provider_token_ms,
        };
        self.store.insert(scope, GRANTS, &grant).await?;
        Ok(token)
    }

    /// Whose `code` this is, straight from WeChat.
    pub(super) async fn wechat_user(
        &self,
        scope: &Scope,
        appid: &str,
        code: &str,
    ) -> AuthResult<WechatUser> {
        let app: Option<WechatRecord> = self.store.get(scope, PROVIDERS, appid).await?;
        let app = app.ok_or_else(|| {
            AuthError::new(
                Reason::ProviderNotEnabled,
                "this Mini Program is not set up in the environment: an administrator runs `yunbase auth wechat set`",
            )
        })?;
        self.wechat.code_to_session(&app, code).await
    }

    /// Takes what a provider token stands for; a second time there is nothing left.
    pub(super) async fn take_grant(&self, scope: &Scope, token: &str) -> AuthResult<GrantRecord> {
        let refused = || {
            AuthError::argument(
                "the provider token is not valid, was used or has expired: ask for a new one",
            )
        };
        let id = grant_id(token);
        let grant: Option<GrantRecord> = self.store.get(scope, GRANTS, &id).await?;
        let grant = grant.ok_or_else(refused)?;
        // Whoever removes it has it: of two requests with one token only one goes on.
        let removed = self
            .store
            .remove(scope, GRANTS, doc! { "_id": &id }, false)
            .await?;
        if removed == 0 || grant.expires_at_ms <= scope.now_ms {
            return Err(refused());
        }
        Ok(grant)
    }

    /// Links the WeChat identity of `grant` to a user. What `_openid` of the user's documents is stays as it was.
    pub(super) async fn bind_wechat(
        &self,
        scope: &Scope,
        uid: &str,
        grant: GrantRecord,
    ) -> AuthResult<()> {
        let appid = grant.appid;
        let union = grant.unionid.clone().map(|unionid| Identity::Unionid {
            appid: appid.clone(),
            unionid,
        });
        let own = Identity::Openid {
            appid: appid.clone(),
            openid: grant.openid,
        };
        for identity in std::iter::once(own).chain(union) {
            if !self.claim(scope, &identity, uid).await? {
                return Err(AuthError::new(
                    Reason::AlreadyExists,
                    "this WeChat user is linked to another user",
                ));
            }
        }
        let mut set = doc! { "anonymous": false };
        if let Some(unionid) = grant.unionid {
            set.insert("unionid", unionid);
        }
        self.change_user(scope, uid, set).await?;
        self.forget_devices(scope, uid).await
    }

    /// Sets how users of one Mini Program are looked up; an empty secret removes it.
    pub async fn set_wechat(
        &self,
        scope: &Scope,
        appid: &str,
        secret: &str,
        base_url: &str,
    ) -> AuthResult<()> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if appid.is_empty() || appid.len() > 64 || !appid.chars().all(fits) {
            return Err(AuthError::argument(
                "an appid has up to 64 letters and digits, for example wx0123456789abcdef",
            ));
        }
        if secret.is_empty() {
            let filter = doc! { "_id": appid };
            self.store.remove(scope, PROVIDERS, filter, false).await?;
            return Ok(());
        }
        let base_url = if base_url.is_empty() {
            BASE_URL
        } else {
            base_url
        };
        let well_formed = base_url
            .parse::<http::Uri>()
            .is_ok_and(|uri| uri.host().is_some() && uri.query().is_none());
        if !well_formed || !(base_url.starts_with("https://") || base_url.starts_with("http://")) {
            return Err(AuthError::argument(
                "the base URL needs a form such as https://api.weixin.qq.com",
            ));
        }
        let record = WechatRecord {
            appid: appid.to_owned(),
            secret: secret.to_owned(),
            base_url: base_url.to_owned(),
            updated_at_ms: scope.now_ms,
        };
        self.store.put(scope, PROVIDERS, appid, &record).await
    }
}
