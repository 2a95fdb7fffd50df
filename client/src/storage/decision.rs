//! What follows from a failed attempt: a pure decision, so that each case can be read and tested by itself.

use tonic::{Code, Status};

use crate::error::{Error, ErrorKind};
use crate::proto::Retry;
use crate::status::told;

/// Whether a request may be sent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Only reads, or does no harm when done twice.
    Repeatable,
    /// Replaces or removes a file. Done once more, it could undo what another has done since.
    Once,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Hand this to the caller.
    Fail(Error),
    /// Send it again; this is why, should there be no time for it.
    Again(Error),
}

/// Decides.
pub(super) fn decide(class: Class, status: &Status) -> Next {
    if let Some(told) = told(status) {
        let kind = match status.code() {
            _ if told.retry != Retry::Never => ErrorKind::Unavailable,
            code => kind_of(code),
        };
        let error = Error::new(kind, told.code.to_owned(), status.message())
            .with_request_id(told.request_id);
        return match (told.retry, class) {
            (Retry::Never, _) => Next::Fail(error),
            (Retry::Safe, _) | (Retry::SameSequence, Class::Repeatable) => Next::Again(error),
            (Retry::SameSequence, Class::Once) => Next::Fail(error.with_unknown(true)),
        };
    }
    match status.code() {
        code @ (Code::Unauthenticated
        | Code::PermissionDenied
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::ResourceExhausted
        | Code::OutOfRange) => {
            let name = match kind_of(code) {
                ErrorKind::Unauthenticated => "UNAUTHENTICATED",
                ErrorKind::InvalidArgument => "INVALID_PARAM",
                _ => "STORAGE_REQUEST_FAIL",
            };
            // These two may also come from the transport, after a request has arrived.
            let is_ambiguous = matches!(code, Code::ResourceExhausted | Code::OutOfRange);
            let error = Error::new(kind_of(code), name, status.message());
            Next::Fail(error.with_unknown(class == Class::Once && is_ambiguous))
        }
        Code::Unimplemented => Next::Fail(Error::new(
            ErrorKind::Refused,
            "UNIMPLEMENTED",
            "the node knows nothing of files: it is older than this client",
        )),
        code => {
            let error = Error::unavailable(format!("{code}: {}", causes(status)));
            match class {
                Class::Repeatable => Next::Again(error),
                Class::Once if never_left(status) => Next::Again(error),
                Class::Once => Next::Fail(error.with_unknown(true)),
            }
        }
    }
}

fn kind_of(code: Code) -> ErrorKind {
    match code {
        Code::Unauthenticated | Code::PermissionDenied => ErrorKind::Unauthenticated,
        Code::InvalidArgument => ErrorKind::InvalidArgument,
        _ => ErrorKind::Refused,
    }
}

/// Whether there was no connection, so that the request was certainly not sent.
fn never_left(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// tonic says "transport error" and hides the reason behind `source`.
fn causes(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::status::failed;

    fn ending(class: Class, status: &Status) -> (bool, ErrorKind, bool) {
        match decide(class, status) {
            Next::Again(error) => (true, error.kind(), error.is_unknown()),
            Next::Fail(error) => (false, error.kind(), error.is_unknown()),
        }
    }

    #[test]
    fn advice_of_nodes_is_followed() {
        let status = |retry| failed(Code::Unavailable, "X", "no", retry, "r");
        for (class, retry, expected) in [
            (
                Class::Once,
                Retry::Never,
                (false, ErrorKind::Refused, false),
            ),
            (
                Class::Once,
                Retry::Safe,
                (true, ErrorKind::Unavailable, false),
            ),
            (
                Class::Once,
                Retry::SameSequence,
                (false, ErrorKind::Unavailable, true),
            ),
            (
                Class::Repeatable,
                Retry::SameSequence,
                (true, ErrorKind::Unavailable, false),
            ),
            (
                Class::Repeatable,
                Retry::Never,
                (false, ErrorKind::Refused, false),
            ),
        ] {
            assert_eq!(
                ending(class, &status(retry)),
                expected,
                "{class:?} {retry:?}"
            );
        }
        let Next::Fail(error) = decide(
            Class::Repeatable,
            &failed(
                Code::NotFound,
                "STORAGE_FILE_NONEXIST",
                "no",
                Retry::Never,
                "r9",
            ),
        ) else {
            panic!("must fail")
        };
        assert_eq!(
            (error.code(), error.request_id()),
            ("STORAGE_FILE_NONEXIST", "r9")
        );
    }

    #[test]
    fn a_broken_connection_leaves_open_what_may_happen_once_only() {
        let broken = Status::unknown("transport error");
        assert_eq!(
            ending(Class::Repeatable, &broken),
            (true, ErrorKind::Unavailable, false)
        );
        assert_eq!(
            ending(Class::Once, &broken),
            (false, ErrorKind::Unavailable, true)
        );
        let too_large = Status::out_of_range("the answer is too large");
        assert_eq!(
            ending(Class::Once, &too_large),
            (false, ErrorKind::Refused, true)
        );
        assert_eq!(
            ending(Class::Repeatable, &too_large),
            (false, ErrorKind::Refused, false)
        );
        let mut never_sent = Status::unavailable("error trying to connect");
        never_sent.set_source(Arc::new(tonic::ConnectError("refused".into())));
        assert_eq!(
            ending(Class::Once, &never_sent),
            (true, ErrorKind::Unavailable, false)
        );
    }

    #[test]
    fn refusals_of_the_door_are_final() {
        for (status, kind) in [
            (Status::unauthenticated("no"), ErrorKind::Unauthenticated),
            (Status::permission_denied("no"), ErrorKind::Unauthenticated),
            (Status::invalid_argument("no"), ErrorKind::InvalidArgument),
            (Status::unimplemented("no"), ErrorKind::Refused),
        ] {
            assert_eq!(ending(Class::Repeatable, &status), (false, kind, false));
        }
    }
}
