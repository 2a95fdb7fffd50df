//! `POST /admin`: one signed request of the action protocol, from its body to its outcome.

use std::time::Instant;

use axum::http::request::Parts;

use super::actions::{self, CallContext};
use super::bearer::Identity;
use super::body::Members;
use super::door::Trace;
use super::envelope::Answer;
use super::environment::Named;
use super::params::Params;
use super::signature::{self, SignedRequest};
use super::{GatewayState, codes, head, operator, storage, ws_sign};
use crate::call::{Failure, Retry};
use crate::operators::roles::{Action, Place};

/// Authenticates the request, settles its environment and carries out its action.
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
    let request = SignedRequest {
        method: parts.method.as_str(),
        host: head::host(parts),
        path: parts.uri.path(),
        raw_query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        body,
        members: &members,
        whole_body: false,
    };
    let params = Params::new(&members, &state.limits, now_unix_ms);
    let named = || Ok(Named::of(state, parts, params.env_name()?));
    let identity = match operator::identify(state, parts, named).await? {
        Some(identity) => identity,
        None => {
            let proven =
                signature::authenticate(&request, &*state.keys, now_unix_ms, &state.limits)?;
            trace.caller.clone_from(&proven.key_id);
            Identity::administrator(state, proven, named()?)?
        }
    };
    identity.name().clone_into(&mut trace.caller);
    trace.env.clone_from(&identity.env);
    let action = params.action()?;
    trace.name_action(&action);
    if action == ws_sign::ACTION {
        // A socket is not behind the gate, so what a role allows would not count there.
        if identity.access.operator().is_some() {
            let message = "watching needs a key: operators may not open a socket";
            return Err(Failure::new(
                codes::PERMISSION_DENIED,
                message,
                Retry::Never,
            ));
        }
        return ws_sign::answer(state, parts, &identity, now_unix_ms);
    }
    let access = identity.access.clone();
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
    match &state.auth {
        Some(auth) if action == actions::USER_INFO => {
            access.check(Action::UserView, Place::Environment(&context.env))?;
            actions::user_info(auth, &params, &context).await
        }
        _ => actions::dispatch(&action, params, &context).await,
    }
}
