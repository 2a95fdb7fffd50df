//! End users: who they are, how they sign in, and what proves it afterwards.
//!
//! Everything is a document in the environment's system collections (`_sys.*`), read and written through the router as
//! the node itself, so every node agrees at each commit: users, sessions, keys, counters. This node's memory holds
//! nothing but caches of what cannot change. Passwords, tokens, session keys and secrets never reach a log.
//!
//! | file | idea |
//! |---|---|
//! | `records`, `store` | the documents, and typed access to them |
//! | `limits` | every lifetime and bound |
//! | `error` | why login refuses, as each surface spells it |
//! | `jws`, `signing_keys`, `access_token` | ES256 tokens: keys made, published, succeeded, withdrawn; signing and checking |
//! | `sessions` | sign-in sessions: refresh tokens that are used once, revocation in force at its commit |
//! | `users` | users and the identities that lead to them |
//! | `passwords`, `throttle` | argon2id in bounded numbers; slowing down whoever guesses |
//! | `sign_in` | the ways in: anonymously, with a password, with WeChat |
//! | `tickets` | custom login |
//! | `wechat` | `code2session` and provider tokens |
//! | `rest` | the door `/auth/v1/*`, `/auth/v2/*` |
//! | `web_actions` | the login actions of js-sdk 1 for the door `/web` |
//! | `admin`, `service` | what an administrator does to users, and its gRPC service |
//! | `sweep` | removes what has ended |

mod access_token;
pub mod admin;
mod error;
mod jws;
mod limits;
mod passwords;
mod random;
pub mod records;
pub mod rest;
pub mod service;
mod sessions;
mod sign_in;
mod signing_keys;
mod store;
pub mod sweep;
mod throttle;
mod tickets;
mod users;
mod web_actions;
pub(crate) mod wechat;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;

pub use access_token::AccessTokens;
pub use error::{AuthError, AuthResult, Reason};
pub use limits::AuthLimits;
pub use random::{Random, SystemRandom};
pub use sessions::Credentials;
pub(crate) use sessions::{RefreshToken, equal, hash, keyed};
pub use store::Scope;
pub(crate) use throttle::Counted;
pub use web_actions::{is_login_action, web_login_action};

use crate::call::{Execute, KeyDirectory as _};
use crate::cluster::map::SharedMap;
use crate::cluster::records::CLUSTER_ENV;
use crate::gateway::Clock;
pub(crate) use passwords::Passwords;
pub(crate) use random::bytes as random_bytes;
use records::{AuthSettings, SETTINGS, SETTINGS_ID};
use signing_keys::SigningKeys;
use store::SystemStore;
use wechat::WechatClient;

/// Login of all environments, as one node carries it out.
pub struct Auth {
    store: SystemStore,
    map: SharedMap,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    limits: AuthLimits,
    passwords: Passwords,
    signing: SigningKeys,
    wechat: WechatClient,
    secrets: Cache<String, Arc<[u8]>>,
}

impl Auth {
    /// Login over the documents that `execute` reaches and the cluster that `map` shows.
    pub fn new(
        execute: Arc<dyn Execute>,
        map: SharedMap,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        limits: AuthLimits,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            store: SystemStore::new(execute),
            map,
            clock,
            passwords: Passwords::new(&limits, random.clone()),
            signing: SigningKeys::new(limits.cache_entries_max),
            wechat: WechatClient::new(&limits)?,
            secrets: Cache::new(limits.cache_entries_max),
            random,
            limits,
        })
    }

    /// A scope for work on `env` that has `timeout` left; refuses environments that do not exist or are not for users.
    pub fn scope(
        &self,
        env: &str,
        request_id: &str,
        timeout: Duration,
        address: Option<IpAddr>,
    ) -> AuthResult<Scope> {
        if env == CLUSTER_ENV || !self.map.has_env(env) {
            return Err(AuthError::argument(
                "there is no environment of this name: check the client's `env`",
            ));
        }
        Ok(Scope {
            env: env.to_owned(),
            deadline: Instant::now() + timeout,
            request_id: request_id.to_owned(),
            now_ms: self.clock.now_unix_ms(),
            address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        })
    }

    /// What passwords are hashed and checked with: one bound for all that this node works on.
    pub(crate) fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// Where unguessable values come from.
    pub(crate) fn random(&self) -> &dyn Random {
        &*self.random
    }

    /// Makes what login of a new environment needs, so that its first sign-in finds it everywhere.
    pub async fn prepare(&self, scope: &Scope) -> AuthResult<()> {
        self.secret(scope).await?;
        self.signing_key(scope).await.map(drop)
    }

    /// The secret of the environment's login; drawn once in its life.
    async fn secret(&self, scope: &Scope) -> AuthResult<Arc<[u8]>> {
        if let Some(secret) = self.secrets.get(&scope.env) {
            return Ok(secret);
        }
        let known: Option<AuthSettings> = self.store.get(scope, SETTINGS, SETTINGS_ID).await?;
        let settings = match known {
            Some(settings) => settings,
            None => {
                let drawn = AuthSettings {
                    id: SETTINGS_ID.to_owned(),
                    secret: random::bytes::<32>(&*self.random).to_vec(),
                };
                if self.store.insert(scope, SETTINGS, &drawn).await? {
                    drawn
                } else {
                    let other = self.store.get(scope, SETTINGS, SETTINGS_ID).await?;
                    other.ok_or_else(|| AuthError::internal("the login settings vanished"))?
                }
            }
        };
        let secret: Arc<[u8]> = settings.secret.into();
        self.secrets.insert(scope.env.clone(), secret.clone());
        Ok(secret)
    }
}

#[cfg(test)]
mod attempts_test;
#[cfg(test)]
mod flows_test;
#[cfg(test)]
pub(crate) mod test_bed;
