//! What all doors read from the head of a request: its id, its host, its query, the bounds of its headers.

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::{codes, ids};
use crate::call::{Failure, Retry};

/// The id under which the request is answered: the client's own where it is fit, else a new one.
pub(super) fn request_id(parts: &Parts, bytes_max: usize) -> String {
    let named = |name| text(&parts.headers, name);
    let offered = named("x-request-id")
        .or_else(|| query_value(parts.uri.query(), "seqId"))
        .or_else(|| named("x-seqid"));
    ids::adopt_request_id(offered, bytes_max)
}

/// Host and port as the client named them.
pub(super) fn host(parts: &Parts) -> &str {
    text(&parts.headers, header::HOST.as_str())
        .or_else(|| parts.uri.authority().map(|authority| authority.as_str()))
        .unwrap_or_default()
}

/// Where the client has reached this node: whether by TLS, and host and port as it named them. `None` when it named none
/// that an address can be made of.
pub(super) fn origin(parts: &Parts) -> Option<(bool, &str)> {
    let host = host(parts);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(plain) {
        return None;
    }
    // Of several proxies the first speaks with the client.
    let outside = text(&parts.headers, "x-forwarded-proto").unwrap_or_default();
    let first = outside.split(',').next().unwrap_or_default().trim();
    let secure = ["https", "wss"]
        .iter()
        .any(|scheme| first.eq_ignore_ascii_case(scheme));
    Some((secure, host))
}

/// A header's text; absent and not plain ASCII are the same.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A parameter of a query as it stands there, not decoded; empty and absent are the same.
pub(super) fn query_value<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    query?
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        .filter(|value| !value.is_empty())
}

/// Refuses headers that are too large, and bodies that are not JSON by their own account.
pub(super) fn check_headers(headers: &HeaderMap, bytes_max: usize) -> Result<(), Failure> {
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
