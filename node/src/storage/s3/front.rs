//! In front of `s3s`: the id of a request, how many there may be, what is refused before a byte of the body is read, and
//! the bounds of the body.
//!
//! Two ways in are shut that `s3s` has no switch for: signatures of version 2, whose hash is broken, and forms, which it
//! holds in memory as a whole before it asks who sends them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use futures::{FutureExt as _, StreamExt as _};
use s3s::service::S3Service;
use s3s::{HttpRequest, HttpResponse, S3Error, S3Result, s3_error};
use tokio::sync::Semaphore;

use super::arrival::{Arrival, ArrivingBody, Patience};
use super::auth::RequestId;
use super::chunks::Chunks;
use super::limits::{DRAINED_BYTES_MAX, REQUESTS_MAX, XML_BODY_BYTES_MAX, XML_REQUESTS_MAX};
use crate::identity::random_id;

/// What S3 clients show when something went wrong.
const REQUEST_ID: &str = "x-amz-request-id";
/// The one way in which requests are signed.
const SIGNATURE_V4: &str = "AWS4-HMAC-SHA256";
/// Settings of an object that come as XML.
const OBJECT_SETTINGS: [&str; 4] = ["acl", "legal-hold", "retention", "tagging"];

/// What stands in front.
pub(super) struct Front {
    service: S3Service,
    requests: Semaphore,
    xml_requests: Semaphore,
    patience: Patience,
}

impl Front {
    pub(super) fn new(service: S3Service, patience: Patience) -> Self {
        Self {
            service,
            requests: Semaphore::new(REQUESTS_MAX),
            xml_requests: Semaphore::new(XML_REQUESTS_MAX),
            patience,
        }
    }

    /// Lets one request through.
    async fn pass(&self, request: Request, request_id: &str) -> S3Result<HttpResponse> {
        let (mut parts, body) = request.into_parts();
        check(&parts)?;
        let _permit = self.requests.try_acquire().map_err(|_| {
            s3_error!(
                SlowDown,
                "the node works on as many requests as it may: try again shortly"
            )
        })?;
        let is_xml = is_xml(&parts.method, &parts.uri);
        let _xml_permit = match is_xml {
            // It is never closed.
            true => self.xml_requests.acquire().await.ok(),
            false => None,
        };
        // `s3s` calls it an accident of its own.
        if is_xml && is_too_large(&parts.headers) {
            let read = read_and_drop(body, DRAINED_BYTES_MAX);
            let _ = tokio::time::timeout(self.patience.idle, read).await;
            return Err(s3_error!(
                MaxMessageLengthExceeded,
                "the XML of a request may have 4 MiB: split it into several requests"
            ));
        }
        let arrival = Arrival::default();
        parts.extensions.insert(RequestId(request_id.to_owned()));
        parts.extensions.insert(arrival.clone());
        let chunks = text(&parts.headers, "x-amz-content-sha256").and_then(Chunks::of);
        let body = ArrivingBody::new(body, chunks, arrival, self.patience);
        let request = HttpRequest::from_parts(parts, s3s::Body::http_body_unsync(body));
        self.service.call(request).await.map_err(|error| {
            let error: s3s::StdError = error.into();
            s3_error!(
                InternalError,
                "the request could not be carried out: {error}"
            )
        })
    }
}

fn is_too_large(headers: &HeaderMap) -> bool {
    let length = text(headers, header::CONTENT_LENGTH.as_str());
    let length = length.and_then(|text| text.parse::<u64>().ok());
    length.is_some_and(|length| length > XML_BODY_BYTES_MAX as u64)
}

/// Reads what is not wanted, up to a bound: who is hung up upon while still sending may lose the answer.
async fn read_and_drop(body: Body, bytes_max: usize) {
    let mut pieces = body.into_data_stream();
    let mut bytes = 0;
    while let Some(Ok(piece)) = pieces.next().await {
        bytes += piece.len();
        if bytes > bytes_max {
            return;
        }
    }
}

/// Answers one request.
pub(super) async fn answer(State(front): State<Arc<Front>>, request: Request) -> Response<Body> {
    let began = Instant::now();
    let request_id = random_id();
    let method = request.method().clone();
    let guarded = AssertUnwindSafe(front.pass(request, &request_id)).catch_unwind();
    let response = match guarded.await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => refusal(error, &request_id),
        Err(_panic) => {
            tracing::error!(request_id = request_id.as_str(), "an S3 request panicked");
            let error = s3_error!(InternalError, "the server failed: report the request id");
            refusal(error, &request_id)
        }
    };
    let (id, status) = (request_id.as_str(), response.status().as_u16());
    let duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    if response.status().is_server_error() {
        tracing::info!(request_id = id, %method, status, duration_us, "S3 request refused");
    } else {
        tracing::debug!(request_id = id, %method, status, duration_us, "S3 request answered");
    }
    finished(response, &request_id)
}

/// An error as an answer.
fn refusal(mut error: S3Error, request_id: &str) -> HttpResponse {
    error.set_request_id(request_id);
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = HttpResponse::new(s3s::Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// An answer with its id, and without the body that some answers must not have.
fn finished(response: HttpResponse, request_id: &str) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let body = if parts.status == StatusCode::NOT_MODIFIED {
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        Body::empty()
    } else {
        Body::new(body)
    };
    if let Ok(id) = HeaderValue::from_str(request_id) {
        parts.headers.insert(REQUEST_ID, id);
    }
    Response::from_parts(parts, body)
}

/// Refuses what `s3s` would let in.
fn check(parts: &Parts) -> S3Result<()> {
    let is_other = |authorization: &str| !authorization.starts_with(SIGNATURE_V4);
    let query = parts.uri.query().unwrap_or_default();
    let is_version_2 = form_urlencoded::parse(query.as_bytes())
        .any(|(name, _)| name == "Signature" || name == "AWSAccessKeyId");
    if is_version_2 || text(&parts.headers, "authorization").is_some_and(is_other) {
        return Err(s3_error!(
            InvalidRequest,
            "requests must be signed with version 4 (AWS4-HMAC-SHA256): set the client to it"
        ));
    }
    let is_form = parts
        .headers
        .get_all(header::CONTENT_TYPE)
        .iter()
        .any(|value| {
            value
                .as_bytes()
                .get(.."multipart/".len())
                .is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"))
        });
    if is_form && parts.method == Method::POST {
        return Err(s3_error!(
            NotImplemented,
            "objects cannot be sent as forms: use a presigned address, and PUT"
        ));
    }
    Ok(())
}

/// Whether the body of a request is read into memory as a whole.
fn is_xml(method: &Method, uri: &Uri) -> bool {
    if method == Method::POST {
        return true;
    }
    if method != Method::PUT {
        return false;
    }
    let path = uri.path().trim_start_matches('/');
    let has_key = path.split_once('/').is_some_and(|(_, key)| !key.is_empty());
    let query = uri.query().unwrap_or_default();
    let is_setting =
        form_urlencoded::parse(query.as_bytes()).any(|(name, _)| OBJECT_SETTINGS.contains(&&*name));
    !has_key || is_setting
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use axum::http;

    use super::*;

    fn code(request: http::request::Builder) -> Option<String> {
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        check(&parts)
            .err()
            .map(|error| error.code().as_str().to_owned())
    }

    #[test]
    fn one_kind_of_signature_is_let_in() {
        let get = || http::Request::get("/demo/a?X-Amz-Signature=0");
        assert_eq!(code(get()), None);
        let signed = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request";
        assert_eq!(code(get().header("authorization", signed)), None);
        for other in ["AWS AKID:c2ln", "Bearer x", ""] {
            let refused = code(get().header("authorization", other));
            assert_eq!(refused.as_deref(), Some("InvalidRequest"), "{other}");
        }
        for query in [
            "Signature=x&AWSAccessKeyId=a",
            "Sig%6Eature=x",
            "AWSAccessKeyId=a",
        ] {
            let refused = code(http::Request::get(format!("/demo/a?{query}")));
            assert_eq!(refused.as_deref(), Some("InvalidRequest"), "{query}");
        }
    }

    #[test]
    fn forms_are_not_let_in() {
        for kind in ["multipart/form-data; boundary=x", "Multipart/Form-Data"] {
            let refused = code(http::Request::post("/demo").header("content-type", kind));
            assert_eq!(refused.as_deref(), Some("NotImplemented"), "{kind}");
        }
        // An object of whatever media type may be stored.
        let put = http::Request::put("/demo/a").header("content-type", "multipart/mixed");
        assert_eq!(code(put), None);
        let post = http::Request::post("/demo?delete").header("content-type", "text/xml");
        assert_eq!(code(post), None);
    }

    #[test]
    fn bodies_that_are_xml_are_known_beforehand() {
        let of = |method: Method, uri: &str| is_xml(&method, &uri.parse().expect("an address"));
        assert!(of(Method::POST, "/demo?delete"));
        assert!(of(Method::POST, "/demo/a?uploadId=u"));
        for uri in [
            "/demo",
            "/demo/",
            "/demo?cors",
            "/demo/a?tagging",
            "/demo/a?ac%6c",
        ] {
            assert!(of(Method::PUT, uri), "{uri}");
        }
        for uri in [
            "/demo/a",
            "/demo/a/",
            "/demo/a?partNumber=1&uploadId=u",
            "/demo/acl",
        ] {
            assert!(!of(Method::PUT, uri), "{uri}");
        }
        assert!(!of(Method::GET, "/demo?acl"));
        assert!(!of(Method::DELETE, "/demo/a"));
    }

    #[tokio::test]
    async fn refusals_carry_their_id_and_answers_without_a_body_none() {
        let refused = refusal(s3_error!(SlowDown, "wait"), "r1");
        let answer = finished(refused, "r1");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[REQUEST_ID], "r1");
        let body = axum::body::to_bytes(answer.into_body(), 1 << 16)
            .await
            .expect("a body");
        let text = String::from_utf8_lossy(&body);
        assert!(text.contains("<Code>SlowDown</Code>"), "{text}");
        assert!(text.contains("<RequestId>r1</RequestId>"), "{text}");

        let unchanged = finished(refusal(s3_error!(NotModified), "r2"), "r2");
        assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
        assert!(!unchanged.headers().contains_key(header::CONTENT_TYPE));
        let body = axum::body::to_bytes(unchanged.into_body(), 1 << 16)
            .await
            .expect("no body");
        assert!(body.is_empty());
    }
}
