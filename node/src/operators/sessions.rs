//! Sign-ins of operators: a session is a document, and ending it is removing that.
//!
//! The access token is proved against the session and the operator's own record, both read linearizably with each
//! request: a session that was ended, a role that was taken or an operator who was removed is so on every node with the
//! commit. A refresh token is used once; one that is used again later ends its session, since one of the two who hold it
//! has stolen it.

use std::net::IpAddr;
use std::sync::Arc;

use bson::doc;

use super::access::{Operator, by_operator};
use super::records::{OPERATOR_SESSIONS, OPERATORS, OperatorRecord, OperatorSession};
use super::{Operators, busy};
use crate::audit::record::{Act, Origin};
use crate::auth::{
    AuthError, AuthResult, Counted, Reason, RefreshToken, equal, hash, keyed, random_bytes,
};
use crate::cluster::changes::{Changes, Kept};
use crate::cluster::records::CLUSTER_ENV;

/// What every access token begins with, so that the doors tell it from other credentials.
const ACCESS_PREFIX: &str = "yop_";

/// What a sign-in or a refresh gives.
#[derive(Clone)]
pub struct SignedIn {
    /// The operator.
    pub operator: Operator,
    /// Goes with every request.
    pub access_token: String,
    /// When it ends, in milliseconds since 1970.
    pub access_until_ms: i64,
    /// Fetches the next pair, once.
    pub refresh_token: String,
}

/// Whether a bearer token has the form of an operator's.
pub fn is_access_token(token: &str) -> bool {
    token.starts_with(ACCESS_PREFIX)
}

/// The secret of the access token that belongs to a refresh token.
fn access_secret(seed: &[u8], refresh: &[u8; 32]) -> [u8; 32] {
    keyed(seed, &[b"access", refresh])
}

fn ended() -> AuthError {
    AuthError::unauthenticated("the sign-in has ended: run `yunbase login` again")
}

fn wrong() -> AuthError {
    AuthError::new(
        Reason::InvalidUsernameOrPassword,
        "there is no such operator, or the password is wrong",
    )
}

impl Operators {
    /// Signs an operator in who proves itself by its password.
    pub async fn sign_in(
        &self,
        origin: &Origin,
        address: Option<IpAddr>,
        name: &str,
        password: &str,
    ) -> AuthResult<SignedIn> {
        if name.len() > self.limits.password_bytes_max
            || password.len() > self.limits.password_bytes_max
        {
            return Err(wrong());
        }
        let name = name.to_lowercase();
        let scope = self.scope(&origin.request_id, address);
        let mut counted = vec![Counted::Name(name.clone())];
        counted.extend(address.map(Counted::Address));
        let charged = self.auth.charge(&scope, &counted).await?;
        let known: Option<Kept<OperatorRecord>> = self.store.kept_one(OPERATORS, &name).await?;
        let hash = known.as_ref().map(|known| known.record.password.as_str());
        let proved = self
            .auth
            .passwords()
            .check(password.to_owned(), hash)
            .await?;
        let Some(known) = known.filter(|_| proved) else {
            self.sign_in_refused(origin, &name).await;
            return Err(wrong());
        };
        self.auth.give_back(&scope, charged).await;
        let origin = Origin {
            by: by_operator(&name),
            ..origin.clone()
        };
        let (session, refresh) = self.new_session(&known.record, &origin.from);
        let mut changes = Changes::default();
        changes.expect(OPERATORS, &known)?;
        changes.add(OPERATOR_SESSIONS, &session.id, &session)?;
        changes.tell(
            self.audit
                .entry(&origin, &Act::new("operator.sign_in", &name))?,
        );
        if !self.store.commit(changes).await? {
            return busy();
        }
        self.end_surplus(&name).await?;
        Ok(signed_in(known.record, &session, &refresh))
    }

    /// Names in the log are those of operators: anything else may be a password in the wrong field.
    async fn sign_in_refused(&self, origin: &Origin, name: &str) {
        let known = self.store.kept_one::<OperatorRecord>(OPERATORS, name).await;
        let (by, target) = match known {
            Ok(Some(_)) => (by_operator(name), name),
            _ => ("unknown".to_owned(), ""),
        };
        let origin = Origin {
            by,
            ..origin.clone()
        };
        let act = Act::new("operator.sign_in", target);
        self.audit
            .record(CLUSTER_ENV, &origin, act, "INVALID_CREDENTIALS")
            .await;
    }

    fn new_session(&self, operator: &OperatorRecord, from: &str) -> (OperatorSession, [u8; 32]) {
        let random = self.auth.random();
        let now_ms = self.clock.now_unix_ms();
        let (refresh, seed) = (random_bytes::<32>(random), random_bytes::<32>(random));
        let ends_at_ms = now_ms + self.limits.session_ms;
        let session = OperatorSession {
            id: hex::encode(random_bytes::<16>(random)),
            operator: operator.name.clone(),
            credential_version: operator.credential_version,
            generation: 0,
            refresh_hash: hash(&refresh),
            access_hash: hash(&access_secret(&seed, &refresh)),
            seed: seed.to_vec(),
            access_until_ms: now_ms + self.limits.access_token_ms,
            previous_access_hash: Vec::new(),
            previous_access_until_ms: 0,
            from: from.to_owned(),
            created_at_ms: now_ms,
            refreshed_at_ms: now_ms,
            expires_at_ms: ends_at_ms.min(now_ms + self.limits.idle_ms),
            ends_at_ms,
        };
        (session, refresh)
    }

    /// Answers a refresh token with the next pair of tokens.
    pub async fn refresh(&self, origin: &Origin, token: &str) -> AuthResult<SignedIn> {
        if token.len() > self.limits.token_bytes_max {
            return Err(ended());
        }
        let token = RefreshToken::parse(token).ok_or_else(ended)?;
        for _ in 0..self.limits.rounds_max {
            let session = self.live_session(&token.session).await?;
            let operator = self.in_force(&session.record).await?;
            let is_current = equal(&hash(&token.secret), &session.record.refresh_hash)
                && token.generation == session.record.generation;
            if !is_current {
                return self.refresh_again(origin, operator, &session, &token).await;
            }
            let (next, secret) = self.turned_over(&session.record, &token.secret);
            let mut changes = Changes::default();
            changes.expect(OPERATOR_SESSIONS, &session)?;
            changes.put(OPERATOR_SESSIONS, &next.id, &next)?;
            if self.store.commit(changes).await? {
                return Ok(signed_in(operator, &next, &secret));
            }
        }
        busy()
    }

    fn turned_over(
        &self,
        session: &OperatorSession,
        refresh: &[u8; 32],
    ) -> (OperatorSession, [u8; 32]) {
        let now_ms = self.clock.now_unix_ms();
        let secret = keyed(&session.seed, &[refresh]);
        let overlap_ms = now_ms + self.limits.access_overlap_ms;
        let next = OperatorSession {
            generation: session.generation + 1,
            refresh_hash: hash(&secret),
            access_hash: hash(&access_secret(&session.seed, &secret)),
            access_until_ms: now_ms + self.limits.access_token_ms,
            previous_access_hash: session.access_hash.clone(),
            previous_access_until_ms: session.access_until_ms.min(overlap_ms),
            refreshed_at_ms: now_ms,
            expires_at_ms: session.ends_at_ms.min(now_ms + self.limits.idle_ms),
            ..session.clone()
        };
        (next, secret)
    }

    /// A refresh token that is not the current one: a repeated request, a stolen token, or nothing at all.
    async fn refresh_again(
        &self,
        origin: &Origin,
        operator: OperatorRecord,
        session: &Kept<OperatorSession>,
        token: &RefreshToken,
    ) -> AuthResult<SignedIn> {
        let session = &session.record;
        let behind = session.generation.saturating_sub(token.generation);
        let behind = u64::try_from(behind).unwrap_or(0);
        if behind == 0 || behind > self.limits.refresh_generations_max {
            return Err(ended());
        }
        let secret = (0..behind).fold(token.secret, |secret, _| keyed(&session.seed, &[&secret]));
        if !equal(&hash(&secret), &session.refresh_hash) {
            // Never was a token of this session: ending it would let anybody who has seen its id sign the operator out.
            return Err(ended());
        }
        let age_ms = self.clock.now_unix_ms() - session.refreshed_at_ms;
        if behind == 1 && age_ms <= self.limits.refresh_repeat_ms {
            return Ok(signed_in(operator, session, &secret));
        }
        let origin = Origin {
            by: by_operator(&session.operator),
            ..origin.clone()
        };
        let act = Act::new("operator.session_end", &session.operator)
            .with("a refresh token was used twice");
        self.end(&origin, act, &session.id).await?;
        Err(ended())
    }

    /// Who holds `token`, at this moment.
    pub async fn authenticate(&self, token: &str) -> AuthResult<Arc<Operator>> {
        let (id, secret) = token
            .strip_prefix(ACCESS_PREFIX)
            .filter(|token| token.len() <= self.limits.token_bytes_max)
            .and_then(|token| token.split_once('.'))
            .ok_or_else(ended)?;
        let mut bytes = [0_u8; 32];
        hex::decode_to_slice(secret, &mut bytes).map_err(|_| ended())?;
        let session = self.live_session(id).await?.record;
        let now_ms = self.clock.now_unix_ms();
        let presented = hash(&bytes);
        let current = equal(&presented, &session.access_hash) & (now_ms < session.access_until_ms);
        let previous = equal(&presented, &session.previous_access_hash)
            & (now_ms < session.previous_access_until_ms);
        if !(current | previous) {
            return Err(ended());
        }
        let operator = self.in_force(&session).await?;
        Ok(Arc::new(identity(operator, session.id)))
    }

    /// The same operator as it is now, refused if its sign-in has ended since: for connections that live for long.
    pub async fn again(&self, operator: &Operator) -> AuthResult<Arc<Operator>> {
        let session = self.live_session(&operator.session).await?.record;
        if session.operator != operator.name {
            return Err(ended());
        }
        let record = self.in_force(&session).await?;
        Ok(Arc::new(identity(record, session.id)))
    }

    /// Ends a sign-in of `operator`; whether there was one makes no difference.
    pub async fn sign_out(&self, origin: &Origin, operator: &Operator) -> AuthResult<()> {
        let act = Act::new("operator.sign_out", &operator.name);
        self.end(origin, act, &operator.session).await.map(drop)
    }

    /// The sign-ins of an operator that are in force, the newest first.
    pub async fn sessions(&self, name: &str) -> AuthResult<Vec<OperatorSession>> {
        let now_ms = self.clock.now_unix_ms();
        let mut sessions: Vec<OperatorSession> = self.sessions_of(name).await?;
        sessions.retain(|session| session.expires_at_ms > now_ms);
        Ok(sessions)
    }

    /// Ends one sign-in of an operator, or all; says how many.
    pub async fn revoke(
        &self,
        origin: &Origin,
        name: &str,
        session: Option<&str>,
    ) -> AuthResult<u64> {
        let mut ended = 0;
        for known in self.sessions_of(name).await? {
            if session.is_some_and(|one| one != known.id) {
                continue;
            }
            let act = Act::new("operator.session_end", name);
            ended += u64::from(self.end(origin, act, &known.id).await?);
        }
        Ok(ended)
    }

    async fn sessions_of(&self, name: &str) -> AuthResult<Vec<OperatorSession>> {
        let filter = doc! { "operator": name };
        let kept = self.store.kept(OPERATOR_SESSIONS, filter).await?;
        let mut sessions: Vec<OperatorSession> = kept.into_iter().map(|kept| kept.record).collect();
        sessions.sort_by_key(|session| std::cmp::Reverse(session.created_at_ms));
        Ok(sessions)
    }

    async fn end(&self, origin: &Origin, act: Act, id: &str) -> AuthResult<bool> {
        for _ in 0..self.limits.rounds_max {
            let known: Option<Kept<OperatorSession>> =
                self.store.kept_one(OPERATOR_SESSIONS, id).await?;
            let Some(known) = known else {
                return Ok(false);
            };
            let mut changes = Changes::default();
            changes.expect(OPERATOR_SESSIONS, &known)?;
            changes.remove(OPERATOR_SESSIONS, id);
            changes.tell(self.audit.entry(origin, &act)?);
            if self.store.commit(changes).await? {
                return Ok(true);
            }
        }
        busy()
    }

    async fn end_surplus(&self, name: &str) -> AuthResult<()> {
        let sessions = self.sessions_of(name).await?;
        for session in sessions.iter().skip(self.limits.sessions_max) {
            self.store.remove(OPERATOR_SESSIONS, &session.id).await?;
        }
        Ok(())
    }

    async fn live_session(&self, id: &str) -> AuthResult<Kept<OperatorSession>> {
        let session: Option<Kept<OperatorSession>> =
            self.store.kept_one(OPERATOR_SESSIONS, id).await?;
        let now_ms = self.clock.now_unix_ms();
        session
            .filter(|session| session.record.expires_at_ms > now_ms)
            .ok_or_else(ended)
    }

    /// The session's operator, if that may still be signed in under it.
    async fn in_force(&self, session: &OperatorSession) -> AuthResult<OperatorRecord> {
        let operator: Option<Kept<OperatorRecord>> =
            self.store.kept_one(OPERATORS, &session.operator).await?;
        operator
            .map(|operator| operator.record)
            .filter(|operator| operator.credential_version == session.credential_version)
            .ok_or_else(ended)
    }
}

fn identity(operator: OperatorRecord, session: String) -> Operator {
    Operator {
        name: operator.name,
        grants: operator.grants,
        session,
    }
}

fn signed_in(operator: OperatorRecord, session: &OperatorSession, refresh: &[u8; 32]) -> SignedIn {
    let access = hex::encode(access_secret(&session.seed, refresh));
    SignedIn {
        operator: identity(operator, session.id.clone()),
        access_token: format!("{ACCESS_PREFIX}{}.{access}", session.id),
        access_until_ms: session.access_until_ms,
        refresh_token: RefreshToken::text(&session.id, session.generation, refresh),
    }
}
