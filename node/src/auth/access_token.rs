//! Access tokens: what they say, and checking one without leaving the process.
//!
//! A token proves who signed in and when; whether that sign-in is still in force is asked of its session
//! ([`Auth::check_session`]), because a revocation must hold at its commit and not when a token runs out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Auth;
use super::error::{AuthError, AuthResult, Reason};
use super::jws;
use super::limits::AuthLimits;
use super::records::{SessionRecord, UserRecord, login_type_of};
use super::store::Scope;
use crate::call::{EndUser, Failure, TokenVerifier};
use crate::cluster::map::SharedMap;

/// Who gives out the tokens.
const ISSUER: &str = "yunbase";
/// Scope of a user whom nobody has proved to be; the clients look for this word.
pub(super) const ANONYMOUS: &str = "anonymous";
/// Scope of every other user.
pub(super) const USER: &str = "user";

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    /// The environment, and nothing but one: a list would let a token open several.
    pub(super) aud: String,
    /// The user's id.
    pub(super) sub: String,
    /// Seconds since 1970, as the standard wants.
    pub(super) iat: i64,
    pub(super) exp: i64,
    pub(super) scope: String,
    /// The session.
    pub(super) sid: String,
    pub(super) login_type: String,
    pub(super) openid: String,
}

impl Auth {
    /// A new access token under `session`.
    pub(super) async fn access_token(
        &self,
        scope: &Scope,
        user: &UserRecord,
        session: &SessionRecord,
    ) -> AuthResult<String> {
        let key = self.signing_key(scope).await?;
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: scope.env.clone(),
            sub: user.uid.clone(),
            iat: scope.now_ms / 1000,
            exp: (scope.now_ms + self.limits.access_token_ms) / 1000,
            scope: if user.anonymous { ANONYMOUS } else { USER }.to_owned(),
            sid: session.id.clone(),
            login_type: session.login_type.clone(),
            openid: session.openid.clone(),
        };
        let token = key.sign(&claims).map_err(AuthError::internal)?;
        if token.len() > self.limits.access_token_bytes_max {
            return Err(AuthError::internal("an access token is too long"));
        }
        Ok(token)
    }

    /// Who holds `token`, with a session in force. What a door does before it serves an end user.
    pub async fn end_user(&self, scope: &Scope, token: &str) -> AuthResult<Arc<EndUser>> {
        let user = self.verifier().verify(&scope.env, token, scope.now_ms)?;
        self.check_session(scope, &user).await?;
        Ok(user)
    }

    /// Checks tokens by what this node knows of the cluster.
    pub fn verifier(&self) -> AccessTokens {
        AccessTokens {
            map: self.map.clone(),
            limits: self.limits.clone(),
        }
    }
}

/// Checks access tokens against the keys in the cluster map.
#[derive(Clone)]
pub struct AccessTokens {
    map: SharedMap,
    limits: AuthLimits,
}

impl AccessTokens {
    /// Checks by the keys in `map`.
    pub fn new(map: SharedMap, limits: AuthLimits) -> Self {
        Self { map, limits }
    }

    /// The claims of a token that this environment has signed, however long ago.
    pub(super) fn prove(&self, env: &str, token: &str) -> AuthResult<Claims> {
        if token.len() > self.limits.access_token_bytes_max {
            return Err(refused());
        }
        let kid = jws::claimed_kid(token).map_err(|_| refused())?;
        let map = self.map.get();
        let key = map
            .signing_keys
            .get(env)
            .and_then(|keys| keys.iter().find(|key| key.kid == kid))
            .ok_or_else(refused)?;
        let claims: Claims = jws::verify_es256(token, &key.public_key).map_err(|_| refused())?;
        if claims.iss != ISSUER || claims.aud != env {
            return Err(refused());
        }
        Ok(claims)
    }

    fn check(&self, env: &str, token: &str, now_ms: i64) -> AuthResult<Claims> {
        let claims = self.prove(env, token)?;
        let skew_s = self.limits.clock_skew_ms / 1000;
        let now_s = now_ms / 1000;
        if claims.iat > now_s + skew_s {
            return Err(refused());
        }
        if claims.exp + skew_s <= now_s {
            return Err(AuthError::new(
                Reason::TokenExpired,
                "the access token has expired: refresh it",
            ));
        }
        Ok(claims)
    }
}

impl TokenVerifier for AccessTokens {
    fn verify(&self, env: &str, token: &str, now_ms: i64) -> Result<Arc<EndUser>, Failure> {
        let claims = self.check(env, token, now_ms)?;
        Ok(Arc::new(EndUser {
            uid: claims.sub,
            openid: claims.openid,
            login_type: login_type_of(&claims.login_type),
            session: claims.sid,
        }))
    }
}

fn refused() -> AuthError {
    AuthError::unauthenticated("the access token is not valid in this environment: sign in again")
}

/// The environment that a token claims to be for; nothing of it is proved.
pub(super) fn claimed_env(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Audience {
        aud: String,
    }
    jsonwebtoken::dangerous::insecure_decode_claims::<Audience>(token)
        .ok()
        .map(|claims| claims.aud)
}
