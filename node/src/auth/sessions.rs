//! Sign-in sessions: begun, refreshed, checked, ended. One document each, so that all nodes agree at each commit.
//!
//! A refresh token is used once: using it gives out the next and ends it. One that comes again much later was stolen
//! from somebody, so the whole session ends. One that comes again at once is a repeated request (a lost answer, two
//! tabs), and gets the same next token: each secret follows from the one before it.

use bson::doc;
use hmac::{Hmac, Mac};
use serde::Serialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use super::Auth;
use super::access_token::{ANONYMOUS, USER};
use super::error::{AuthError, AuthResult, Reason};
use super::random;
use super::records::{SESSIONS, SessionRecord, USERS, UserRecord};
use super::store::{PAGE_MAX, Scope, Search};
use crate::call::{EndUser, LoginType};

/// What every sign-in and refresh answers.
#[derive(Clone, Serialize)]
pub struct Credentials {
    token_type: &'static str,
    /// The access token.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// Seconds until the access token has expired.
    pub expires_in: i64,
    scope: &'static str,
    /// The user's id.
    pub sub: String,
    groups: Option<Vec<String>>,
}

/// How a session begins.
#[derive(Debug, Clone)]
pub(super) struct SignIn {
    /// How the user signed in.
    pub login_type: LoginType,
    /// When it ends whatever happens.
    pub ends_at_ms: Option<i64>,
    /// Whether refresh tokens are used once.
    pub rotates: bool,
}

impl SignIn {
    /// A sign-in by `login_type` with everything else as usual.
    pub(super) fn by(login_type: LoginType) -> Self {
        Self {
            login_type,
            ends_at_ms: None,
            rotates: true,
        }
    }
}

/// A refresh token in its parts: session, generation, secret.
pub(crate) struct RefreshToken {
    pub(crate) session: String,
    pub(crate) generation: i64,
    pub(crate) secret: [u8; 32],
}

impl RefreshToken {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (session, generation, secret) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || session.len() != 32 {
            return None;
        }
        let mut bytes = [0_u8; 32];
        hex::decode_to_slice(secret, &mut bytes).ok()?;
        Some(Self {
            session: session.to_owned(),
            generation: generation.parse().ok().filter(|number| *number >= 0)?,
            secret: bytes,
        })
    }

    pub(crate) fn text(session: &str, generation: i64, secret: &[u8; 32]) -> String {
        format!("{session}.{generation}.{}", hex::encode(secret))
    }
}

pub(crate) fn hash(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// The secret after `secret`: whoever has only the stored hash and seed cannot make it.
fn next_secret(seed: &[u8], secret: &[u8; 32]) -> [u8; 32] {
    keyed(seed, &[secret])
}

/// A hash of `parts`, one after the other, under `seed`.
pub(crate) fn keyed(seed: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length, so this cannot fail; an empty key would only be a weaker one.
    let mut mac = Hmac::<Sha256>::new_from_slice(seed)
        .unwrap_or_else(|_| Hmac::<Sha256>::new(&Default::default()));
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    bool::from(a.ct_eq(b))
}

fn invalid_grant() -> AuthError {
    AuthError::new(
        Reason::InvalidGrant,
        "the refresh token is not valid any more: sign in again",
    )
}

impl Auth {
    /// Begins a session of `user`.
    pub(super) async fn begin_session(
        &self,
        scope: &Scope,
        user: &UserRecord,
        sign_in: SignIn,
    ) -> AuthResult<Credentials> {
        let secret = random::bytes::<32>(&*self.random);
        let session = SessionRecord {
            id: random::hex::<16>(&*self.random),
            uid: user.uid.clone(),
            login_type: sign_in.login_type.as_str().to_owned(),
            openid: user.document_owner().to_owned(),
            credential_version: user.credential_version,
            rotates: sign_in.rotates,
            generation: 0,
            refresh_hash: hash(&secret),
            seed: random::bytes::<32>(&*self.random).to_vec(),
            created_at_ms: scope.now_ms,
            refreshed_at_ms: scope.now_ms,
            expires_at_ms: self.session_end(scope, sign_in.ends_at_ms),
            ends_at_ms: sign_in.ends_at_ms,
            sudo_hash: Vec::new(),
            sudo_until_ms: 0,
        };
        self.store.insert(scope, SESSIONS, &session).await?;
        // Whoever disables or deletes the user first changes the user's document and then removes sessions: either
        // they see this session, or this read sees their change.
        let user = match self.user_in_force(scope, &session).await {
            Ok(user) => user,
            Err(error) => {
                self.end_session(scope, &session.id).await?;
                return Err(error);
            }
        };
        self.end_surplus_sessions(scope, &user.uid).await?;
        self.credentials(scope, &user, &session, &secret).await
    }

    /// Answers a refresh token with new credentials.
    pub async fn refresh(&self, scope: &Scope, refresh_token: &str) -> AuthResult<Credentials> {
        if refresh_token.len() > self.limits.credential_bytes_max {
            return Err(invalid_grant());
        }
        let token = RefreshToken::parse(refresh_token).ok_or_else(invalid_grant)?;
        // Once more when another request has turned the session over in between.
        for _ in 0..2 {
            let session = self.live_session(scope, &token.session).await?;
            let session = session.ok_or_else(invalid_grant)?;
            let user = match self.user_in_force(scope, &session).await {
                Ok(user) => user,
                Err(error) => {
                    self.end_session(scope, &session.id).await?;
                    return Err(error);
                }
            };
            let is_current = equal(&hash(&token.secret), &session.refresh_hash)
                && token.generation == session.generation;
            if !is_current {
                return self.refresh_again(scope, &user, &session, &token).await;
            }
            if let Some((session, secret)) = self.turn_over(scope, session, &token).await? {
                return self.credentials(scope, &user, &session, &secret).await;
            }
        }
        Err(AuthError::new(
            Reason::Unavailable,
            "several requests use this refresh token at one time: try again",
        ))
    }

    /// Ends `token` and makes the next one of `session`; `None` when somebody else was faster.
    async fn turn_over(
        &self,
        scope: &Scope,
        session: SessionRecord,
        token: &RefreshToken,
    ) -> AuthResult<Option<(SessionRecord, [u8; 32])>> {
        let expires_at_ms = self.session_end(scope, session.ends_at_ms);
        let (secret, update) = if session.rotates {
            let secret = next_secret(&session.seed, &token.secret);
            let refresh_hash = bson::Binary {
                subtype: bson::spec::BinarySubtype::Generic,
                bytes: hash(&secret),
            };
            let set = doc! {
                "generation": session.generation + 1, "refresh_hash": refresh_hash,
                "refreshed_at_ms": scope.now_ms, "expires_at_ms": expires_at_ms,
            };
            (secret, set)
        } else {
            let set = doc! { "refreshed_at_ms": scope.now_ms, "expires_at_ms": expires_at_ms };
            (token.secret, set)
        };
        let filter = doc! { "_id": &session.id, "generation": session.generation };
        let turned: Option<SessionRecord> = self
            .store
            .update(scope, SESSIONS, filter, doc! { "$set": update })
            .await?;
        Ok(turned.map(|session| (session, secret)))
    }

    /// A refresh token that is not the current one: a repeated request, a stolen token, or nothing at all.
    async fn refresh_again(
        &self,
        scope: &Scope,
        user: &UserRecord,
        session: &SessionRecord,
        token: &RefreshToken,
    ) -> AuthResult<Credentials> {
        let behind = session.generation.saturating_sub(token.generation);
        let behind = u64::try_from(behind).unwrap_or(0);
        if behind == 0 || behind > self.limits.refresh_generations_max {
            return Err(invalid_grant());
        }
        let mut secret = token.secret;
        for _ in 0..behind {
            secret = next_secret(&session.seed, &secret);
        }
        if !equal(&hash(&secret), &session.refresh_hash) {
            // Never was a token of this session: ending it would let anybody who has seen its id sign the user out.
            return Err(invalid_grant());
        }
        if behind == 1 && scope.now_ms - session.refreshed_at_ms <= self.limits.refresh_repeat_ms {
            return self.credentials(scope, user, session, &secret).await;
        }
        self.end_session(scope, &session.id).await?;
        tracing::warn!(
            env = scope.env,
            uid = session.uid,
            session = session.id,
            "a refresh token was used twice: its session has ended"
        );
        Err(invalid_grant())
    }

    async fn credentials(
        &self,
        scope: &Scope,
        user: &UserRecord,
        session: &SessionRecord,
        secret: &[u8; 32],
    ) -> AuthResult<Credentials> {
        Ok(Credentials {
            token_type: "Bearer",
            access_token: self.access_token(scope, user, session).await?,
            refresh_token: RefreshToken::text(&session.id, session.generation, secret),
            expires_in: self.limits.access_token_ms / 1000,
            scope: if user.anonymous { ANONYMOUS } else { USER },
            sub: user.uid.clone(),
            groups: None,
        })
    }

    fn session_end(&self, scope: &Scope, ends_at_ms: Option<i64>) -> i64 {
        let by_itself = scope.now_ms + self.limits.refresh_token_ms;
        ends_at_ms.map_or(by_itself, |ends| ends.min(by_itself))
    }

    async fn live_session(&self, scope: &Scope, id: &str) -> AuthResult<Option<SessionRecord>> {
        let session: Option<SessionRecord> = self.store.get(scope, SESSIONS, id).await?;
        Ok(session.filter(|session| session.expires_at_ms > scope.now_ms))
    }

    /// The session's user, if that may still be signed in under it.
    async fn user_in_force(
        &self,
        scope: &Scope,
        session: &SessionRecord,
    ) -> AuthResult<UserRecord> {
        let user: Option<UserRecord> = self.store.get(scope, USERS, &session.uid).await?;
        let user = user.ok_or_else(invalid_grant)?;
        if user.disabled {
            return Err(blocked());
        }
        if user.credential_version != session.credential_version {
            return Err(invalid_grant());
        }
        Ok(user)
    }

    /// Whether the session of `user` is in force at this moment, on whatever node it may have been ended: one
    /// linearizable read by `_id`. Refuses with `INVALID_ACCESS_TOKEN`.
    pub async fn check_session(&self, scope: &Scope, user: &EndUser) -> AuthResult<()> {
        self.session_of(scope, user).await.map(drop)
    }

    pub(super) async fn session_of(
        &self,
        scope: &Scope,
        user: &EndUser,
    ) -> AuthResult<SessionRecord> {
        self.live_session(scope, &user.session)
            .await?
            .filter(|session| session.uid == user.uid)
            .ok_or_else(|| AuthError::unauthenticated("the sign-in has been ended: sign in again"))
    }

    /// Ends one session; whether there was one makes no difference.
    pub(super) async fn end_session(&self, scope: &Scope, id: &str) -> AuthResult<u64> {
        self.store
            .remove(scope, SESSIONS, doc! { "_id": id }, false)
            .await
    }

    /// Ends all sessions of a user but one.
    pub(super) async fn end_sessions(
        &self,
        scope: &Scope,
        uid: &str,
        but: Option<&str>,
    ) -> AuthResult<u64> {
        let mut filter = doc! { "uid": uid };
        if let Some(but) = but {
            filter.insert("_id", doc! { "$ne": but });
        }
        self.store.remove(scope, SESSIONS, filter, true).await
    }

    /// Ends the session that `token` is of, an access token or a refresh token, however old; anything else ends nothing.
    pub async fn revoke(&self, scope: &Scope, token: &str) -> AuthResult<()> {
        if token.len() > self.limits.credential_bytes_max {
            return Ok(());
        }
        let id = match RefreshToken::parse(token) {
            Some(refresh) => {
                let Some(session) = self.live_session(scope, &refresh.session).await? else {
                    return Ok(());
                };
                let behind = session.generation.saturating_sub(refresh.generation);
                let behind = u64::try_from(behind).unwrap_or(u64::MAX);
                if behind > self.limits.refresh_generations_max {
                    return Ok(());
                }
                let secret = (0..behind).fold(refresh.secret, |secret, _| {
                    next_secret(&session.seed, &secret)
                });
                if !equal(&hash(&secret), &session.refresh_hash) {
                    return Ok(());
                }
                session.id
            }
            None => match self.verifier().prove(&scope.env, token) {
                Ok(claims) => claims.sid,
                Err(_) => return Ok(()),
            },
        };
        self.end_session(scope, &id).await.map(drop)
    }

    async fn end_surplus_sessions(&self, scope: &Scope, uid: &str) -> AuthResult<()> {
        let search = Search {
            filter: doc! { "uid": uid },
            sort: doc! { "created_at_ms": -1 },
            skip: self.limits.sessions_per_user_max,
            limit: PAGE_MAX,
        };
        let surplus: Vec<SessionRecord> = self.store.find(scope, SESSIONS, search).await?;
        let ids: Vec<&str> = surplus.iter().map(|session| session.id.as_str()).collect();
        if !ids.is_empty() {
            let filter = doc! { "_id": { "$in": ids } };
            self.store.remove(scope, SESSIONS, filter, true).await?;
        }
        Ok(())
    }

    /// Gives out the proof that the bearer of this session has just given the password.
    pub(super) async fn open_sudo(&self, scope: &Scope, user: &EndUser) -> AuthResult<String> {
        let token = random::hex::<32>(&*self.random);
        let digest = bson::Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes: hash(token.as_bytes()),
        };
        let set = doc! { "$set": {
            "sudo_hash": digest, "sudo_until_ms": scope.now_ms + self.limits.sudo_ms,
        } };
        let filter = doc! { "_id": &user.session, "uid": &user.uid };
        let changed: Option<SessionRecord> =
            self.store.update(scope, SESSIONS, filter, set).await?;
        match changed {
            Some(_) => Ok(token),
            None => Err(AuthError::unauthenticated(
                "the sign-in has been ended: sign in again",
            )),
        }
    }

    /// Whether `token` is that proof, and fresh.
    pub(super) fn holds_sudo(&self, scope: &Scope, session: &SessionRecord, token: &str) -> bool {
        !session.sudo_hash.is_empty()
            && session.sudo_until_ms > scope.now_ms
            && equal(&hash(token.as_bytes()), &session.sudo_hash)
    }
}

pub(super) fn blocked() -> AuthError {
    AuthError::new(
        Reason::UserBlocked,
        "the user has been disabled: ask an administrator",
    )
}
