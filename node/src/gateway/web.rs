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
use super::{GatewayState, bearer, codes, head, operator, storage, ws_sign};
use crate::auth::{Auth, Scope, is_login_action, web_login_action};
use crate::call::{Caller, EndUser, Failure, Retry};
use crate::surface::client_address::ClientAddress;

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
    let named = Named::of(state, parts, params.text("env")?);
    let token = params
        .text("access_token")?
        .filter(|token| !token.is_empty());
    if let (None, Some(auth), true) = (&token, &state.auth, is_login_action(&action)) {
        let env = named.settle(state, None)?;
        trace.env.clone_from(&env);
        let scope = scope(auth, &env, parts, request_id, deadline)?;
        return login(auth, &scope, &action, body, None).await;
    }
    let token = token.ok_or_else(|| {
        let message = "the request carries no access token: sign in first";
        Failure::new(codes::CHECK_LOGIN_FAILED, message, Retry::Never)
    })?;
    let identity = bearer::identify(state, &token, named, now_unix_ms)?;
    identity.name().clone_into(&mut trace.caller);
    trace.env.clone_from(&identity.env);
    state
        .check_session(&identity.caller, &identity.env, request_id, deadline)
        .await?;
    if let (Some(auth), true) = (&state.auth, is_login_action(&action)) {
        let scope = scope(auth, &identity.env, parts, request_id, deadline)?;
        let user = match &identity.caller {
            Caller::User(user) => Some(&**user),
            Caller::Administrator { .. } | Caller::System => None,
        };
        return login(auth, &scope, &action, body, user).await;
    }
    if action == ws_sign::ACTION {
        return ws_sign::answer(state, parts, &identity, now_unix_ms);
    }
    let gate = operator::gate(state, parts, identity.access);
    let context = CallContext {
        execute: &gate,
        transactions: &gate,
        caller: identity.caller,
        env: identity.env,
        deadline,
        request_id,
    };
    if storage::is_action(&action) {
        return storage::dispatch(state, parts, &gate, &action, &params, &context).await;
    }
    actions::dispatch(&action, params, &context).await
}

fn scope(
    auth: &Auth,
    env: &str,
    parts: &Parts,
    request_id: &str,
    deadline: Instant,
) -> Result<Scope, Failure> {
    let address = parts.extensions.get::<ClientAddress>().map(|from| from.0);
    let left = deadline.saturating_duration_since(Instant::now());
    Ok(auth.scope(env, request_id, left, address)?)
}

/// Carries out an action of login, which answers beside `data`.
async fn login(
    auth: &Auth,
    scope: &Scope,
    action: &str,
    body: &[u8],
    user: Option<&EndUser>,
) -> Result<Answer, Failure> {
    let members = serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body is not a JSON object: {error}");
        Failure::new(codes::INVALID_PARAM, message, Retry::Never)
    })?;
    let answer = web_login_action(auth, scope, action, &members, user).await?;
    Ok(Answer::beside(&answer))
}
