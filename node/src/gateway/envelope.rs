//! The one shape of all answers: HTTP 200 and `{requestId, data?}` or `{code, message, requestId}`.
//!
//! A non-200 status would make the clients throw the status number and lose the code.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, header};

use super::ejson::write_json_string;
use crate::call::Failure;

const TRACE: HeaderName = HeaderName::from_static("x-tcb-trace");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a successful action answers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// JSON text of the member `data`; empty when the action answers nothing.
    pub(crate) data: String,
    /// JSON members that stand beside `data`, `"name":value` separated by commas: a few actions answer there.
    pub(crate) beside: String,
}

impl Answer {
    /// An answer in `data`, a JSON text.
    pub(crate) fn of(data: String) -> Self {
        Self {
            data,
            beside: String::new(),
        }
    }

    /// An answer whose members stand beside `data`.
    pub(crate) fn beside(members: &serde_json::Map<String, serde_json::Value>) -> Self {
        let text = serde_json::Value::Object(members.clone()).to_string();
        Self {
            data: String::new(),
            beside: text[1..text.len() - 1].to_owned(),
        }
    }

    /// An answer whose `data` is the JSON object with the members written by `write`.
    pub(crate) fn object(write: impl FnOnce(&mut String)) -> Self {
        let mut data = String::from("{");
        write(&mut data);
        data.push('}');
        Self::of(data)
    }
}

/// The JSON text of an outcome.
pub(crate) fn body_of(outcome: &Result<Answer, Failure>, request_id: &str) -> String {
    let answer = match outcome {
        Ok(answer) => answer,
        Err(failure) => return body_of_failure(failure, request_id),
    };
    let mut out = String::with_capacity(96 + answer.data.len());
    out.push_str(r#"{"requestId":"#);
    write_json_string(&mut out, request_id);
    if !answer.data.is_empty() {
        out.push_str(r#","data":"#);
        out.push_str(&answer.data);
    }
    if !answer.beside.is_empty() {
        out.push(',');
        out.push_str(&answer.beside);
    }
    out.push('}');
    out
}

/// The JSON text of a failure: `{code, message, requestId}`.
pub(crate) fn body_of_failure(failure: &Failure, request_id: &str) -> String {
    let mut out = String::with_capacity(160);
    out.push_str(r#"{"code":"#);
    write_json_string(&mut out, &failure.code);
    out.push_str(r#","message":"#);
    write_json_string(&mut out, &failure.message);
    out.push_str(r#","requestId":"#);
    write_json_string(&mut out, request_id);
    out.push('}');
    out
}

/// The HTTP response of an outcome; `x-tcb-trace` of the request comes back.
pub(crate) fn respond(
    outcome: &Result<Answer, Failure>,
    request_id: &str,
    request: &HeaderMap,
) -> Response<Body> {
    let mut response = Response::new(Body::from(body_of(outcome, request_id)));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    if let Some(trace) = request.get(TRACE) {
        headers.insert(TRACE, trace.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::{Answer, body_of};
    use crate::call::{Failure, Retry};

    #[test]
    fn success_never_carries_a_code_and_failure_always_does() {
        assert_eq!(
            body_of(&Ok(Answer::default()), "r1"),
            r#"{"requestId":"r1"}"#
        );
        let answer = Answer::object(|out| out.push_str(r#""total":3"#));
        assert_eq!(
            body_of(&Ok(answer), "r1"),
            r#"{"requestId":"r1","data":{"total":3}}"#
        );
        let failure = Failure::new("SYS_ERR", "a \"quoted\" text", Retry::Never);
        assert_eq!(
            body_of(&Err(failure), "r1"),
            r#"{"code":"SYS_ERR","message":"a \"quoted\" text","requestId":"r1"}"#
        );
    }
}
