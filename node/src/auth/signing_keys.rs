//! The keys that sign access tokens: made, published, succeeded, withdrawn.
//!
//! The private half is a document of the environment; the public half stands in the cluster map, which every node
//! follows, so a token is checked without asking anybody and a withdrawn key is gone with the commit. A private key is
//! cached by its id, but used only while the map lists it. A successor is published some minutes before it signs.

use std::sync::Arc;

use bson::doc;
use moka::sync::Cache;
use yunbase_docdb::op::{Op, OpReply, UpdateOp};

use super::Auth;
use super::error::{AuthError, AuthResult, Reason};
use super::jws::SigningKey;
use super::records::{KEYS, SigningKeyRecord};
use super::store::{Scope, Search, raw, unexpected};
use crate::cluster::records::{CLUSTER_ENV, ENVIRONMENTS, PublishedKey};

/// Nodes that make the first key at the same time draw the same number; one of them wins each round.
const ROUNDS_MAX: usize = 8;

/// Private keys by environment and id.
pub(super) struct SigningKeys(Cache<(String, String), Arc<SigningKey>>);

impl SigningKeys {
    pub(super) fn new(entries_max: u64) -> Self {
        Self(Cache::new(entries_max))
    }
}

impl Auth {
    /// The key that signs now; makes the environment's first one, and a successor for one that has grown old.
    pub(super) async fn signing_key(&self, scope: &Scope) -> AuthResult<Arc<SigningKey>> {
        let published = self.published_keys(&scope.env);
        let Some(current) = current(&published, scope.now_ms) else {
            let first = self.add_signing_key(scope, scope.now_ms, true).await?;
            return self.private_key(scope, &first).await;
        };
        let newest = published.last().unwrap_or(current);
        let due =
            newest.active_from_ms + self.limits.signing_key_ms - self.limits.signing_key_lead_ms;
        if scope.now_ms >= due {
            let from = scope.now_ms + self.limits.signing_key_lead_ms;
            // The present key goes on signing, so a sign-in does not fail for this.
            if let Err(error) = self.succeed(scope, current, from).await {
                tracing::warn!(env = scope.env, %error, "make a new signing key");
            }
        }
        self.private_key(scope, &current.kid).await
    }

    /// Withdraws all keys, after making a new one that signs at once; answers its id. Tokens that are out are refused
    /// from then on, and clients fetch new ones with their refresh tokens.
    pub async fn rotate_signing_key(&self, scope: &Scope) -> AuthResult<String> {
        let kid = self.add_signing_key(scope, scope.now_ms, false).await?;
        let keep = doc! { "$ne": &kid };
        self.store
            .remove(scope, KEYS, doc! { "_id": &keep }, true)
            .await?;
        self.publish(
            scope,
            doc! { "$pull": { "signing_keys": { "kid": keep } } },
            doc! {},
        )
        .await?;
        Ok(kid)
    }

    /// The environment's keys as this node knows them, oldest first.
    pub(super) fn published_keys(&self, env: &str) -> Arc<[PublishedKey]> {
        let map = self.map.get();
        map.signing_keys
            .get(env)
            .cloned()
            .unwrap_or_else(|| Arc::from([]))
    }

    /// Adds a successor and takes away what no token in force is signed with any more.
    async fn succeed(
        &self,
        scope: &Scope,
        current: &PublishedKey,
        active_from_ms: i64,
    ) -> AuthResult<()> {
        self.add_signing_key(scope, active_from_ms, true).await?;
        let last_use = current.active_from_ms + self.limits.access_token_ms;
        if scope.now_ms > last_use + self.limits.clock_skew_ms {
            let older = doc! { "number": { "$lt": current.number } };
            self.store.remove(scope, KEYS, older.clone(), true).await?;
            self.publish(scope, doc! { "$pull": { "signing_keys": older } }, doc! {})
                .await?;
        }
        Ok(())
    }

    /// Makes and publishes a key and waits until this node knows it. With `or_known`, a key that this node does not know
    /// yet, because another one has just made it or its maker broke off, is as good.
    async fn add_signing_key(
        &self,
        scope: &Scope,
        active_from_ms: i64,
        or_known: bool,
    ) -> AuthResult<String> {
        for _ in 0..ROUNDS_MAX {
            let search = Search {
                sort: doc! { "number": -1 },
                limit: 1,
                ..Search::default()
            };
            let newest: Option<SigningKeyRecord> =
                self.store.find(scope, KEYS, search).await?.pop();
            let published = self.published_keys(&scope.env);
            if let Some(unpublished) = newest
                .as_ref()
                .filter(|newest| published.iter().all(|key| key.kid != newest.kid))
            {
                self.publish_key(scope, unpublished).await?;
                if or_known && unpublished.active_from_ms <= active_from_ms {
                    return Ok(unpublished.kid.clone());
                }
                continue;
            }
            let number = newest.map_or(1, |newest| newest.number + 1);
            let (private_key, public_key) = SigningKey::generate()
                .ok_or_else(|| AuthError::internal("no random bytes for a signing key"))?;
            let record = SigningKeyRecord {
                kid: format!("k{number}"),
                number,
                private_key,
                public_key,
                active_from_ms,
            };
            if self.store.insert(scope, KEYS, &record).await? {
                self.publish_key(scope, &record).await?;
                return Ok(record.kid);
            }
        }
        Err(AuthError::new(
            Reason::Unavailable,
            "other nodes make signing keys at this moment: try again",
        ))
    }

    async fn publish_key(&self, scope: &Scope, record: &SigningKeyRecord) -> AuthResult<()> {
        let key = PublishedKey {
            kid: record.kid.clone(),
            number: record.number,
            public_key: record.public_key.clone(),
            active_from_ms: record.active_from_ms,
        };
        let key = bson::serialize_to_document(&key).map_err(AuthError::internal)?;
        self.publish(
            scope,
            doc! { "$push": { "signing_keys": key } },
            doc! { "signing_keys.kid": { "$ne": &record.kid } },
        )
        .await?;
        self.wait_for_key(scope, &record.kid).await
    }

    /// Changes the environment's record in the cluster map, if `condition` holds.
    async fn publish(
        &self,
        scope: &Scope,
        update: bson::Document,
        condition: bson::Document,
    ) -> AuthResult<()> {
        let mut filter = doc! { "_id": &scope.env };
        filter.extend(condition);
        let update = UpdateOp {
            filter: raw(&filter)?,
            update: raw(&update)?,
            ..UpdateOp::default()
        };
        let op = Op::Update {
            collection: ENVIRONMENTS.to_owned(),
            update,
        };
        match self.store.run(scope, CLUSTER_ENV, op).await? {
            OpReply::Updated { .. } => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn wait_for_key(&self, scope: &Scope, kid: &str) -> AuthResult<()> {
        let mut changes = self.map.watch();
        let seen = async {
            while !self
                .published_keys(&scope.env)
                .iter()
                .any(|key| key.kid == kid)
            {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout_at(scope.deadline.into(), seen)
            .await
            .map_err(|_| {
                AuthError::new(
                    Reason::Unavailable,
                    "this node does not follow the cluster's own group at this moment: try again",
                )
            })
    }

    async fn private_key(&self, scope: &Scope, kid: &str) -> AuthResult<Arc<SigningKey>> {
        let name = (scope.env.clone(), kid.to_owned());
        if let Some(key) = self.signing.0.get(&name) {
            return Ok(key);
        }
        let record: SigningKeyRecord =
            self.store.get(scope, KEYS, kid).await?.ok_or_else(|| {
                AuthError::new(
                    Reason::Unavailable,
                    "the signing key is being changed: try again",
                )
            })?;
        let key = Arc::new(SigningKey::new(kid, &record.private_key));
        self.signing.0.insert(name, key.clone());
        Ok(key)
    }
}

/// The newest key that signs already.
fn current(published: &[PublishedKey], now_ms: i64) -> Option<&PublishedKey> {
    published
        .iter()
        .rev()
        .find(|key| key.active_from_ms <= now_ms)
}
