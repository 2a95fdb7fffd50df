//! How a failure travels as a gRPC status: in its metadata stand the code that the CloudBase clients know, what may be
//! done about it, and the request.
//!
//! Both sides of the protocol use this one file, so that what a node writes is what the SDK reads.

use tonic::{Code, Status};

use crate::proto::Retry;

/// Key of the code.
pub const CODE: &str = "yunbase-code";
/// Key of the advice.
pub const RETRY: &str = "yunbase-retry";
/// Key of the request's id.
pub const REQUEST_ID: &str = "yunbase-request-id";

const NEVER: &str = "never";
const SAFE: &str = "safe";
const SAME_SEQUENCE: &str = "same-sequence";

/// A failure as a status of class `class`.
pub fn failed(
    class: Code,
    code: &str,
    message: impl Into<String>,
    retry: Retry,
    request_id: &str,
) -> Status {
    advised(Status::new(class, message), code, retry, request_id)
}

/// Adds to `status` what a caller can do about it.
pub fn advised(mut status: Status, code: &str, retry: Retry, request_id: &str) -> Status {
    let retry = match retry {
        Retry::Never => NEVER,
        Retry::Safe => SAFE,
        Retry::SameSequence => SAME_SEQUENCE,
    };
    for (key, value) in [(CODE, code), (RETRY, retry), (REQUEST_ID, request_id)] {
        // What a header cannot carry is left out: the message says the rest.
        if let Ok(value) = value.parse() {
            status.metadata_mut().insert(key, value);
        }
    }
    status
}

/// What a node has told of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told<'a> {
    pub(crate) code: &'a str,
    pub(crate) retry: Retry,
    pub(crate) request_id: &'a str,
}

/// Reads what [`failed`] wrote; `None` where a status comes from somewhere else, such as a broken connection.
pub(crate) fn told(status: &Status) -> Option<Told<'_>> {
    let text = |key: &str| status.metadata().get(key)?.to_str().ok();
    Some(Told {
        code: text(CODE)?,
        retry: match text(RETRY)? {
            NEVER => Retry::Never,
            SAFE => Retry::Safe,
            // Unknown advice is read as the careful one.
            _ => Retry::SameSequence,
        },
        request_id: text(REQUEST_ID).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_survive_the_journey() {
        for retry in [Retry::Never, Retry::Safe, Retry::SameSequence] {
            let status = failed(Code::NotFound, "STORAGE_FILE_NONEXIST", "no", retry, "r1");
            let expected = Told {
                code: "STORAGE_FILE_NONEXIST",
                retry,
                request_id: "r1",
            };
            assert_eq!(told(&status), Some(expected));
            assert_eq!((status.code(), status.message()), (Code::NotFound, "no"));
        }
    }

    #[test]
    fn what_no_node_has_written_says_nothing() {
        assert_eq!(told(&Status::unavailable("broken")), None);
        let odd = failed(Code::Internal, "a\nb", "no", Retry::Safe, "r");
        assert_eq!(told(&odd), None);
    }
}
