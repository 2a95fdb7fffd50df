//! `POST /web`: one request of the action protocol from an app, with an access token in its body.
//!
//! Serves `@cloudbase/js-sdk` 1 and 2, and a few calls of 3. Signatures count for nothing here: whoever has a key
//! uses `/admin`, or the key as access token.

use std::time::Instant;

use axum::http::request::Parts;

use super::actions::{self, CallContext};
use super::body::Members;
use super::door::Trace;
use super::envelope::Answer;
use super::environment::Named;
use super::params::Params;
use super::{GatewayState, bearer, codes, head, ws_sign};
use crate::call::{Failure, Retry};

/// Actions by which apps sign in. They come without access token.
const SIGN_IN_ACTIONS: &[&str] = &[
    "auth.activateEndUserMail",
    "auth.fetchAccessTokenWithRefreshToken",
    "auth.getJwt",
    "auth.isUsernameRegistered",
    "auth.logout",
    "auth.resetPasswordWithToken",
    "auth.sendPasswordResetEmail",
    "auth.signIn",
    "auth.signInAnonymously",
    "auth.signInWithTicket",
    "auth.signUpWithEmailAndPassword",
];

/// Finds out who asks, and carries out the action.
pub(super) async fn answer(
    state: &GatewayState,
    parts: &Parts,
    body: &[u8],
    request_id: &str,
    deadline: Instant,
    trace: &mut Trace,
) -> Result<Answer, Failure> {
    let now_unix_ms = state.clock.now_unix_ms();
    head::check_headers(&parts.headers, state.limits.header_bytes_max)?;
    let members = Members::parse(body, &state.limits)?;
    let params = Params::new(&members, &state.limits, now_unix_ms);
    let action = params.action()?;
    trace.name_action(&action);
    if SIGN_IN_ACTIONS.contains(&action.as_str()) {
        return Err(actions::unknown(&action));
    }
    let token = params.text("access_token")?.ok_or_else(|| {
        let message = "the request carries no access token: sign in first";
        Failure::new(codes::CHECK_LOGIN_FAILED, message, Retry::Never)
    })?;
    let named = Named::of(state, parts, params.text("env")?);
    let identity = bearer::identify(state, &token, named, now_unix_ms)?;
    identity.name().clone_into(&mut trace.caller);
    trace.env.clone_from(&identity.env);
    if action == ws_sign::ACTION {
        return ws_sign::answer(state, parts, &identity, now_unix_ms);
    }
    let context = CallContext {
        execute: &*state.execute,
        caller: identity.caller,
        env: identity.env,
        deadline,
        request_id,
    };
    actions::dispatch(&action, params, &context).await
}
