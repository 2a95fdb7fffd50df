//! `auth.wsWebSign`: a ticket for the socket of watches, and where that socket is.
//!
//! The address is the one that the client has just used, so it leads to a node that the client can reach, behind
//! whatever proxy; every node takes every node's tickets.

use axum::http::request::Parts;

use super::bearer::Identity;
use super::ejson::write_json_string;
use super::envelope::Answer;
use super::{GatewayState, codes, head};
use crate::call::{Failure, Retry};
use crate::realtime;

/// Name of the action.
pub(super) const ACTION: &str = "auth.wsWebSign";

/// The form of the ticket, should it ever change.
const SECRET_VERSION: u32 = 1;

/// Answers `{signStr, wsUrl, secretVersion, envId}`.
pub(super) fn answer(
    state: &GatewayState,
    parts: &Parts,
    identity: &Identity,
    now_unix_ms: i64,
) -> Result<Answer, Failure> {
    let url = socket_url(parts).ok_or_else(|| {
        let message = "the request's Host header names no host to reach the socket at";
        Failure::new(codes::INVALID_PARAM, message, Retry::Never)
    })?;
    let ticket = state
        .tickets
        .issue(&identity.env, &identity.caller, now_unix_ms)?;
    Ok(Answer::object(|out| {
        out.push_str(r#""signStr":"#);
        write_json_string(out, &ticket);
        out.push_str(r#","wsUrl":"#);
        write_json_string(out, &url);
        out.push_str(&format!(r#","secretVersion":{SECRET_VERSION},"envId":"#));
        write_json_string(out, &identity.env);
    }))
}

fn socket_url(parts: &Parts) -> Option<String> {
    let (secure, host) = head::origin(parts)?;
    let scheme = if secure { "wss" } else { "ws" };
    Some(format!("{scheme}://{host}{}", realtime::PATH))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn the_socket_is_where_the_request_came_to() {
        let url = |host: &str, proto: Option<&str>| {
            let mut request = Request::post("/web").header("host", host);
            if let Some(proto) = proto {
                request = request.header("x-forwarded-proto", proto);
            }
            socket_url(&request.body(()).unwrap().into_parts().0)
        };
        assert_eq!(
            url("db.example.com", None).unwrap(),
            "ws://db.example.com/realtime"
        );
        assert_eq!(
            url("[::1]:7600", Some("http")).unwrap(),
            "ws://[::1]:7600/realtime"
        );
        assert_eq!(
            url("a.example", Some("HTTPS, http")).unwrap(),
            "wss://a.example/realtime"
        );
        for bad in ["", "a/b", "a\"b", "a b"] {
            assert_eq!(url(bad, None), None, "{bad}");
        }
    }
}
