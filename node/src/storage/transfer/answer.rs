//! Errors of transfers: a status, and XML with `Code`, `Message`, `RequestId` and `TraceId`, all of which clients read.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};

use crate::storage::error::StorageError;

/// After how many seconds to try again what was refused for lack of something.
const RETRY_AFTER_S: &str = "1";

/// The answer to what was refused.
pub(super) fn refusal(error: &StorageError, request_id: &str) -> Response<Body> {
    let (status, code) = shape(error);
    let mut response = xml(status, code, &error.to_string(), request_id);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    }
    response
}

/// The answer to a method that files do not have.
pub(super) fn wrong_method(request_id: &str) -> Response<Body> {
    let message = "files have the methods GET, HEAD, PUT and POST";
    let mut response = xml(
        StatusCode::METHOD_NOT_ALLOWED,
        "MethodNotAllowed",
        message,
        request_id,
    );
    let allowed = HeaderValue::from_static("GET, HEAD, PUT, POST");
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

/// An answer with an error.
pub(super) fn xml(
    status: StatusCode,
    code: &str,
    message: &str,
    request_id: &str,
) -> Response<Body> {
    let mut out = String::with_capacity(256);
    out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>");
    out.push_str(code);
    out.push_str("</Code><Message>");
    escape(&mut out, message);
    // One request has one id here; it is its trace as well.
    for (open, close) in [
        ("</Message><RequestId>", "</RequestId>"),
        ("<TraceId>", "</TraceId>"),
    ] {
        out.push_str(open);
        escape(&mut out, request_id);
        out.push_str(close);
    }
    out.push_str("</Error>");
    let mut response = Response::new(Body::from(out));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/xml; charset=utf-8"),
    );
    response
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // No escape stands for these in XML.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
}

/// The status and the code of an error, in the words of object stores.
fn shape(error: &StorageError) -> (StatusCode, &'static str) {
    match error {
        StorageError::NotFound(_) => (StatusCode::NOT_FOUND, "NoSuchKey"),
        StorageError::NoSuchUpload(_) => (StatusCode::NOT_FOUND, "NoSuchUpload"),
        StorageError::Exists(_) | StorageError::ConditionFailed(_) => {
            (StatusCode::PRECONDITION_FAILED, "PreconditionFailed")
        }
        StorageError::Denied(_) => (StatusCode::FORBIDDEN, "AccessDenied"),
        StorageError::Invalid(_) => (StatusCode::BAD_REQUEST, "InvalidArgument"),
        StorageError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "EntityTooLarge"),
        StorageError::BadContent(_) => (StatusCode::BAD_REQUEST, "BadDigest"),
        // Not 408, after which browsers send the request again by themselves.
        StorageError::Aborted(_) => (StatusCode::BAD_REQUEST, "RequestTimeout"),
        StorageError::TooMany(_) => (StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
        StorageError::Full(_) => (StatusCode::INSUFFICIENT_STORAGE, "InsufficientStorage"),
        StorageError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        StorageError::Damaged(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        StorageError::Database(failure) => match failure.code.as_ref() {
            "INVALID_ENV" => (StatusCode::NOT_FOUND, "NoSuchBucket"),
            "SERVER_TIMEOUT" | "RESOURCE_NOT_INITIAL" => {
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
            }
            "RESOURCE_INSUFFICIENT" => (StatusCode::INSUFFICIENT_STORAGE, "InsufficientStorage"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        },
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn refusals_have_four_members_and_no_markup_of_others() {
        let error = StorageError::NotFound("<a>&\u{1}b".to_owned());
        let response = refusal(&error, "r-1");
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(
            text.ends_with(
                "<Error><Code>NoSuchKey</Code><Message>there is no file `&lt;a&gt;&amp; b`</Message>\
                 <RequestId>r-1</RequestId><TraceId>r-1</TraceId></Error>"
            ),
            "{text}"
        );
    }

    #[test]
    fn what_passes_says_when_to_come_back() {
        let busy = refusal(&StorageError::TooMany("x".to_owned()), "r");
        assert_eq!(busy.status().as_u16(), 503);
        assert_eq!(busy.headers()["retry-after"], "1");
        let large = refusal(&StorageError::TooLarge { bytes_max: 1 }, "r");
        assert_eq!(large.status().as_u16(), 413);
        assert!(!large.headers().contains_key("retry-after"));
        assert_eq!(wrong_method("r").headers()["allow"], "GET, HEAD, PUT, POST");
    }
}
