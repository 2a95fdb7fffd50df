//! Who holds a bearer token: an API key makes an administrator, an access token an end user.
//!
//! The two differ in shape: an API key is `<id>.<secret>`, an access token a JSON Web Token, three parts of which the
//! first is the base64 of a JSON object. Which environment a token is for, it says itself; that is taken as a hint
//! only, and whether it is true is for the [`TokenVerifier`](crate::call::TokenVerifier) to say.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::environment::{self, Named};
use super::signature::{Proven, authenticate_api_key};
use super::{GatewayState, codes};
use crate::call::{Caller, Failure, Retry};
use crate::operators::access::Access;

/// Who asks, and of which environment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) caller: Caller,
    pub(super) env: String,
    /// What it may do.
    pub(super) access: Access,
}

impl Identity {
    /// The holder of a key, in the environment `named` or the one that follows from the key.
    pub(super) fn administrator(
        state: &GatewayState,
        proven: Proven,
        named: Named,
    ) -> Result<Self, Failure> {
        let env = named.settle(state, proven.env.clone())?;
        environment::check(state, &env, proven.env.as_deref())?;
        let access = Access::Key {
            id: proven.key_id.clone(),
            env: proven.env,
        };
        let caller = Caller::Administrator {
            key_id: proven.key_id,
        };
        Ok(Self {
            caller,
            env,
            access,
        })
    }

    /// For the access log: the public half of a key, or the id of a user.
    pub(super) fn name(&self) -> &str {
        match &self.caller {
            Caller::Administrator { key_id } => key_id,
            Caller::User(user) => &user.uid,
            Caller::System => "",
        }
    }
}

/// Who holds `token`, in the environment `named` or the one that follows from the token.
pub(super) fn identify(
    state: &GatewayState,
    token: &str,
    named: Named,
    now_unix_ms: i64,
) -> Result<Identity, Failure> {
    if token.len() > state.limits.access_token_bytes_max {
        let bytes_max = state.limits.access_token_bytes_max;
        let message = format!("the access token is longer than {bytes_max} bytes: sign in again");
        return Err(Failure::new(
            codes::INVALID_ACCESS_TOKEN,
            message,
            Retry::Never,
        ));
    }
    if !is_access_token(token) {
        let proven = authenticate_api_key(token, &*state.keys, now_unix_ms)?;
        return Identity::administrator(state, proven, named);
    }
    let env = named.settle(state, audience(token))?;
    environment::check(state, &env, None)?;
    let user = state.tokens.verify(&env, token, now_unix_ms)?;
    Ok(Identity {
        caller: Caller::User(user),
        env,
        access: Access::User,
    })
}

fn is_access_token(token: &str) -> bool {
    // `{"` in base64.
    token.starts_with("eyJ") && token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// The `aud` of a token, unproven.
fn audience(token: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Claims {
        aud: Audience,
    }
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Several(Vec<String>),
    }
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    match serde_json::from_slice::<Claims>(&payload).ok()?.aud {
        Audience::One(env) => Some(env),
        Audience::Several(envs) => <[String; 1]>::try_from(envs).ok().map(|[env]| env),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_apart_by_their_shape() {
        for token in ["eyJhbGciOiJIUzI1NiJ9.e30.c2ln", "eyJ..", "eyJh.b.c"] {
            assert!(is_access_token(token), "{token}");
        }
        for key in ["", "AKIDx.secret", "AKIDx.se.cret", "eyJh.b", "eyJh.b.c.d"] {
            assert!(!is_access_token(key), "{key}");
        }
    }

    #[test]
    fn the_audience_is_one_environment() {
        let with = |payload: &str| format!("eyJh.{}.x", URL_SAFE_NO_PAD.encode(payload));
        assert_eq!(
            audience(&with(r#"{"aud":"demo"}"#)).as_deref(),
            Some("demo")
        );
        assert_eq!(
            audience(&with(r#"{"aud":["demo"]}"#)).as_deref(),
            Some("demo")
        );
        for none in [r#"{"aud":["a","b"]}"#, r#"{"aud":5}"#, "{}", "[", ""] {
            assert_eq!(audience(&with(none)), None, "{none}");
        }
        assert_eq!(audience("eyJh.%%.x"), None);
    }
}
