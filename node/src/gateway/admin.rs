//! One request of the action protocol, from its body to its outcome.

use std::time::Instant;

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::actions::{self, CallContext};
use super::body::Members;
use super::codes;
use super::envelope::Answer;
use super::params::{Params, wrong};
use super::signature::{self, Proven, SignedRequest};
use super::{GatewayState, ids};
use crate::call::{Caller, Failure, Retry};

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
    check_headers(&parts.headers, state.limits.header_bytes_max)?;
    let members = Members::parse(body, &state.limits)?;
    let request = SignedRequest {
        method: parts.method.as_str(),
        host: host(parts),
        path: parts.uri.path(),
        raw_query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        body,
        members: &members,
    };
    let proven = signature::authenticate(&request, &*state.keys, now_unix_ms, &state.limits)?;
    trace.key_id.clone_from(&proven.key_id);
    let params = Params::new(&members, &state.limits, now_unix_ms);
    let env = settle_env(state, &params, parts.uri.query(), &proven)?;
    trace.env.clone_from(&env);
    let action = params
        .text("action")?
        .ok_or_else(|| wrong("action", "the name of an action"))?;
    trace.action = action
        .chars()
        .filter(|c| c.is_ascii_graphic())
        .take(64)
        .collect();
    let caller = Caller::Administrator {
        key_id: proven.key_id,
    };
    let context = CallContext {
        execute: &*state.execute,
        caller,
        env,
        deadline,
        request_id,
    };
    match &state.auth {
        Some(auth) if action == actions::USER_INFO => {
            actions::user_info(auth, &params, &context).await
        }
        _ => actions::dispatch(&action, params, &context).await,
    }
}

/// What the access log says about a request besides its outcome.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) key_id: String,
    pub(super) env: String,
    pub(super) action: String,
}

/// The id under which the request is answered: the client's own where it is fit, else a new one.
pub(super) fn request_id(parts: &Parts, bytes_max: usize) -> String {
    let header = parts
        .headers
        .get("x-request-id")
        .and_then(|value| value.to_str().ok());
    let offered = header.or_else(|| query_value(parts.uri.query(), "seqId"));
    ids::adopt_request_id(offered, bytes_max)
}

fn host(parts: &Parts) -> &str {
    let named = parts
        .headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok());
    named
        .or_else(|| parts.uri.authority().map(|authority| authority.as_str()))
        .unwrap_or_default()
}

fn query_value<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    query?
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn check_headers(headers: &HeaderMap, bytes_max: usize) -> Result<(), Failure> {
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if bytes > bytes_max {
        let message = format!("the headers are larger than {bytes_max} bytes");
        return Err(Failure::new(
            codes::EXCEED_REQUEST_SIZE_LIMIT,
            message,
            Retry::Never,
        ));
    }
    let multipart = |value: &header::HeaderValue| value.as_bytes().starts_with(b"multipart/");
    if headers.get(header::CONTENT_TYPE).is_some_and(multipart) {
        let message = "multipart bodies are not supported by this version: send JSON";
        return Err(Failure::new(codes::INVALID_PARAM, message, Retry::Never));
    }
    Ok(())
}

/// The environment to act on: the body's, else the query's, else the one that the key is made for.
///
/// A key made for one environment gets the same answer for every other, existing or not.
fn settle_env(
    state: &GatewayState,
    params: &Params<'_>,
    query: Option<&str>,
    proven: &Proven,
) -> Result<String, Failure> {
    let named = params.text("envName")?;
    let named = named.or_else(|| {
        query_value(query, "env")
            .filter(|env| !env.is_empty())
            .map(str::to_owned)
    });
    let env = named.or_else(|| proven.env.clone()).ok_or_else(|| {
        Failure::new(
            codes::INVALID_ENV,
            "the request names no environment: pass `env` to init",
            Retry::Never,
        )
    })?;
    if proven.env.as_ref().is_some_and(|own| *own != env) {
        let message = "the key does not open this environment: use a key that was made for it";
        return Err(Failure::new(
            codes::PERMISSION_DENIED,
            message,
            Retry::Never,
        ));
    }
    if env.len() > state.limits.name_bytes_max || !state.keys.has_env(&env) {
        let message = "there is no environment of this name: check `env`";
        return Err(Failure::new(codes::INVALID_ENV, message, Retry::Never));
    }
    Ok(env)
}
