//! Answers of the REST: HTTP statuses that say what happened, and `{code, message, requestId}` for failures.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::call::Failure;
use crate::gateway::codes;
use crate::gateway::envelope::{Answer, body_of_failure};
use crate::group_runtime::RESOURCE_INSUFFICIENT;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The HTTP response of an outcome.
pub(in crate::gateway) fn respond(
    outcome: Result<Answer, Failure>,
    request_id: &str,
) -> Response<Body> {
    let (status, body) = match outcome.map_err(as_rest_spells_it) {
        Ok(answer) => (StatusCode::OK, answer.data),
        Err(failure) => (
            status_of(&failure.code),
            body_of_failure(&failure, request_id),
        ),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    response
}

/// Here all that is wrong with credentials has one code, but for a token that only needs to be refreshed.
fn as_rest_spells_it(mut failure: Failure) -> Failure {
    if matches!(
        failure.code.as_ref(),
        codes::SIGN_PARAM_INVALID | codes::INVALID_ACCESS_TOKEN
    ) {
        failure.code = codes::INVALID_CREDENTIALS.into();
    }
    failure
}

/// The status that goes with a code.
fn status_of(code: &str) -> StatusCode {
    match code {
        codes::MISSING_CREDENTIALS
        | codes::INVALID_CREDENTIALS
        | "ACCESS_TOKEN_EXPIRED"
        | "INVALID_ACCESS_TOKEN"
        | "CHECK_LOGIN_FAILED"
        | "DATABASE_PERMISSION_DENIED" => StatusCode::UNAUTHORIZED,
        codes::ACTION_FORBIDDEN
        | codes::PERMISSION_DENIED
        | "DATABASE_INVALID_OPERRATOR"
        | "STORAGE_EXCEED_AUTHORITY" => StatusCode::FORBIDDEN,
        codes::PATH_NOT_FOUND
        | codes::DOCUMENT_NOT_FOUND
        | "DATABASE_COLLECTION_NOT_EXIST"
        | "DATABASE_TRANSACTION_NOT_EXIST" => StatusCode::NOT_FOUND,
        codes::METHOD_NOT_ALLOWED => StatusCode::METHOD_NOT_ALLOWED,
        codes::DATABASE_DUPLICATE_WRITE
        | "DATABASE_COLLECTION_ALREADY_EXIST"
        | "DATABASE_TRANSACTION_CONFLICT" => StatusCode::CONFLICT,
        codes::EXCEED_REQUEST_SIZE_LIMIT => StatusCode::PAYLOAD_TOO_LARGE,
        codes::EXCEED_CONCURRENT_REQUEST_LIMIT | "EXCEED_REQUEST_LIMIT" | "EXCEED_RATELIMIT" => {
            StatusCode::TOO_MANY_REQUESTS
        }
        codes::SYS_ERR => StatusCode::INTERNAL_SERVER_ERROR,
        codes::INVALID_ACTION => StatusCode::NOT_IMPLEMENTED,
        codes::RESOURCE_NOT_INITIAL | "RESOURCE_UNAVAILABLE" => StatusCode::SERVICE_UNAVAILABLE,
        RESOURCE_INSUFFICIENT => StatusCode::INSUFFICIENT_STORAGE,
        codes::SERVER_TIMEOUT => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests {
    use super::status_of;

    #[test]
    fn statuses_follow_the_codes() {
        for (code, status) in [
            ("INVALID_PARAM", 400),
            ("INVALID_ENV", 400),
            ("DATABASE_REQUEST_FAILED", 400),
            ("MISSING_CREDENTIALS", 401),
            ("ACCESS_TOKEN_EXPIRED", 401),
            ("DATABASE_PERMISSION_DENIED", 401),
            ("DATABASE_INVALID_OPERRATOR", 403),
            ("ACTION_FORBIDDEN", 403),
            ("DATABASE_COLLECTION_NOT_EXIST", 404),
            ("DOCUMENT_NOT_FOUND", 404),
            ("DATABASE_COLLECTION_ALREADY_EXIST", 409),
            ("DATABASE_DUPLICATE_WRITE", 409),
            ("EXCEED_CONCURRENT_REQUEST_LIMIT", 429),
            ("SYS_ERR", 500),
            ("SERVER_TIMEOUT", 504),
            ("RESOURCE_INSUFFICIENT", 507),
        ] {
            assert_eq!(status_of(code).as_u16(), status, "{code}");
        }
    }
}
