//! What to do after an attempt: a pure decision, so that each case can be read and tested by itself.
//!
//! The rule that everything follows: a request that may have taken effect is only ever sent again under the
//! same session and sequence, and if that is not possible its outcome is reported as unknown.

use std::time::Duration;

use rand::Rng;

use crate::error::{Error, ErrorKind};
use crate::limits::{BACKOFF_MAX, BACKOFF_MIN};
use crate::link::LinkError;
use crate::proto::{Failure, Retry, response};

/// The answer that names an expired session.
pub(crate) const SESSION_EXPIRED: &str = "SESSION_EXPIRED";

/// A node's storage failed or an invariant broke, at whatever moment.
const NODE_BROKEN: &str = "SYS_ERR";

/// Whether a request may be sent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Only reads, or does no harm when done twice.
    Repeatable,
    /// Changes something: repeated under one sequence only.
    Sequenced,
}

/// How one attempt ended.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// The endpoint answered; `None` stands for an answer without content.
    Answered(Option<response::Result>),
    /// There was no connection: the request was not sent.
    NotSent(LinkError),
    /// The connection ended after the request may have been sent.
    Lost(LinkError),
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Hand this to the caller.
    Finish(response::Result),
    /// Hand this to the caller.
    Fail(Error),
    /// Send it again.
    Again {
        /// Why, should there be no time for another attempt.
        because: Error,
        /// The endpoint to go to, where the answer named one.
        hint: Option<String>,
        /// The request may have taken effect.
        ambiguous: bool,
    },
    /// The session is gone and nothing happened: send it again under a new session.
    NewSession(Error),
}

/// Decides, given whether an earlier attempt of the same request `was_ambiguous`.
pub(crate) fn decide(class: Class, was_ambiguous: bool, attempt: Attempt) -> Next {
    let may_have_happened = class == Class::Sequenced;
    let unknown = was_ambiguous && may_have_happened;
    match attempt {
        Attempt::Answered(Some(response::Result::Failure(failure))) => {
            after_failure(class, unknown, failure)
        }
        Attempt::Answered(Some(result)) => Next::Finish(result),
        Attempt::Answered(None) => Next::Fail(
            Error::malformed("the node sent an answer without content")
                .with_unknown(may_have_happened),
        ),
        Attempt::NotSent(LinkError::Unauthenticated(text))
        | Attempt::Lost(LinkError::Unauthenticated(text)) => Next::Fail(
            Error::new(ErrorKind::Unauthenticated, "UNAUTHENTICATED", text).with_unknown(unknown),
        ),
        Attempt::NotSent(LinkError::Broken(text)) => Next::Again {
            because: Error::unavailable(text),
            hint: None,
            ambiguous: false,
        },
        Attempt::Lost(LinkError::Broken(text)) => Next::Again {
            because: Error::unavailable(text),
            hint: None,
            ambiguous: may_have_happened,
        },
    }
}

fn after_failure(class: Class, unknown: bool, failure: Failure) -> Next {
    let retry = Retry::try_from(failure.retry).unwrap_or(Retry::SameSequence);
    let hint = (!failure.hint.is_empty()).then(|| failure.hint.clone());
    let kind = match failure.code.as_str() {
        SESSION_EXPIRED => ErrorKind::SessionExpired,
        _ if retry != Retry::Never => ErrorKind::Unavailable,
        code if is_authentication(code) => ErrorKind::Unauthenticated,
        _ => ErrorKind::Refused,
    };
    let error =
        Error::new(kind, failure.code, failure.message).with_request_id(&failure.request_id);
    match (kind, retry) {
        (ErrorKind::SessionExpired, Retry::Safe) if !unknown => Next::NewSession(error),
        (ErrorKind::SessionExpired, _) => Next::Fail(error.with_unknown(class == Class::Sequenced)),
        // The answer to a retried sequence is the first outcome, and as final as an answer to the first attempt.
        (_, Retry::Never) => {
            let silent = unknown && says_nothing_about_before(kind, error.code());
            let broken = class == Class::Sequenced && error.code() == NODE_BROKEN;
            Next::Fail(error.with_unknown(silent || broken))
        }
        (_, Retry::Safe) => Next::Again {
            because: error,
            hint,
            ambiguous: false,
        },
        (_, Retry::SameSequence) => Next::Again {
            because: error,
            hint,
            ambiguous: class == Class::Sequenced,
        },
    }
}

/// Whether a refusal leaves open what an earlier, ambiguous attempt did: the door refuses without looking at
/// sequences, and the catch-all also stands for an outcome that was too large to be remembered.
fn says_nothing_about_before(kind: ErrorKind, code: &str) -> bool {
    kind == ErrorKind::Unauthenticated || code == "DATABASE_REQUEST_FAILED"
}

/// Codes by which the door refuses a caller.
fn is_authentication(code: &str) -> bool {
    matches!(
        code,
        "UNAUTHENTICATED" | "PERMISSION_DENIED" | "DATABASE_PERMISSION_DENIED"
    ) || code.starts_with("SIGN_PARAM_INVALID")
        || code.starts_with("INVALID_CREDENTIALS")
}

/// How long to wait before attempt number `attempt` (from 0), spread at random so that the callers
/// that failed together do not come back together.
///
/// Each endpoint is tried once without a pause: usually only one of them is in trouble.
pub(crate) fn pause(attempt: u32, endpoints: usize, rng: &mut impl Rng) -> Duration {
    let Some(round) = attempt.checked_sub(endpoints as u32) else {
        return Duration::ZERO;
    };
    let longest = BACKOFF_MIN
        .saturating_mul(1 << round.min(10))
        .min(BACKOFF_MAX);
    longest.mul_f64(rng.random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::proto::Done;

    fn failure(code: &str, retry: Retry) -> Attempt {
        Attempt::Answered(Some(response::Result::Failure(Failure {
            code: code.into(),
            message: "no".into(),
            request_id: "r1".into(),
            retry: retry.into(),
            hint: "http://b".into(),
        })))
    }

    fn lost() -> Attempt {
        Attempt::Lost(LinkError::Broken("gone".into()))
    }

    #[test]
    fn an_answer_finishes() {
        let done = || Attempt::Answered(Some(response::Result::Done(Done {})));
        assert!(matches!(
            decide(Class::Sequenced, true, done()),
            Next::Finish(_)
        ));
        assert!(matches!(
            decide(Class::Repeatable, false, done()),
            Next::Finish(_)
        ));
    }

    #[test]
    fn a_lost_write_is_ambiguous_and_a_lost_read_is_not() {
        assert!(matches!(
            decide(Class::Sequenced, false, lost()),
            Next::Again {
                ambiguous: true,
                ..
            }
        ));
        assert!(matches!(
            decide(Class::Repeatable, false, lost()),
            Next::Again {
                ambiguous: false,
                ..
            }
        ));
        let not_sent = Attempt::NotSent(LinkError::Broken("refused".into()));
        assert!(matches!(
            decide(Class::Sequenced, false, not_sent),
            Next::Again {
                ambiguous: false,
                ..
            }
        ));
    }

    #[test]
    fn refusals_are_final_and_known_even_after_an_ambiguous_attempt() {
        let Next::Fail(error) = decide(
            Class::Sequenced,
            true,
            failure("DATABASE_DUPLICATE_WRITE", Retry::Never),
        ) else {
            panic!("a refusal must fail");
        };
        assert_eq!(
            (error.kind(), error.is_unknown(), error.request_id()),
            (ErrorKind::Refused, false, "r1")
        );
    }

    #[test]
    fn a_refused_key_after_an_ambiguous_attempt_is_unknown() {
        for (ambiguous, class, unknown) in [
            (true, Class::Sequenced, true),
            (false, Class::Sequenced, false),
            (true, Class::Repeatable, false),
        ] {
            let attempts = [
                failure("SIGN_PARAM_INVALID", Retry::Never),
                Attempt::NotSent(LinkError::Unauthenticated("no".into())),
            ];
            for attempt in attempts {
                let Next::Fail(error) = decide(class, ambiguous, attempt) else {
                    panic!("must fail")
                };
                assert_eq!(
                    (error.kind(), error.is_unknown()),
                    (ErrorKind::Unauthenticated, unknown)
                );
            }
        }
    }

    #[test]
    fn refusals_that_settle_nothing_are_unknown() {
        let cases = [
            ("DATABASE_REQUEST_FAILED", true, Class::Sequenced, true),
            ("DATABASE_REQUEST_FAILED", false, Class::Sequenced, false),
            ("SYS_ERR", false, Class::Sequenced, true),
            ("SYS_ERR", false, Class::Repeatable, false),
        ];
        for (code, ambiguous, class, unknown) in cases {
            let Next::Fail(error) = decide(class, ambiguous, failure(code, Retry::Never)) else {
                panic!("must fail");
            };
            assert_eq!(error.is_unknown(), unknown, "{code} {class:?}");
        }
    }

    #[test]
    fn retry_advice_is_followed() {
        let next = decide(Class::Sequenced, false, failure("UNAVAILABLE", Retry::Safe));
        assert!(
            matches!(next, Next::Again { ambiguous: false, hint: Some(hint), .. } if hint == "http://b")
        );
        let next = decide(
            Class::Sequenced,
            false,
            failure("UNAVAILABLE", Retry::SameSequence),
        );
        assert!(matches!(
            next,
            Next::Again {
                ambiguous: true,
                ..
            }
        ));
    }

    #[test]
    fn an_expired_session_is_replaced_only_when_nothing_can_have_happened() {
        let next = decide(
            Class::Sequenced,
            false,
            failure(SESSION_EXPIRED, Retry::Safe),
        );
        assert!(matches!(next, Next::NewSession(_)));
        for (ambiguous, retry) in [
            (true, Retry::Safe),
            (false, Retry::Never),
            (true, Retry::SameSequence),
        ] {
            let next = decide(Class::Sequenced, ambiguous, failure(SESSION_EXPIRED, retry));
            assert!(matches!(next, Next::Fail(error) if error.is_unknown()));
        }
    }

    #[test]
    fn nonsense_is_an_error_and_never_a_panic() {
        let Next::Fail(error) = decide(Class::Sequenced, false, Attempt::Answered(None)) else {
            panic!("must fail")
        };
        assert!(error.is_unknown());
        let mut odd = Failure {
            retry: 99,
            ..Failure::default()
        };
        odd.code = "X".into();
        let next = decide(
            Class::Sequenced,
            false,
            Attempt::Answered(Some(response::Result::Failure(odd))),
        );
        assert!(
            matches!(
                next,
                Next::Again {
                    ambiguous: true,
                    ..
                }
            ),
            "unknown advice is read as the careful one"
        );
    }

    #[test]
    fn pauses_begin_after_one_round_grow_and_stay_bounded() {
        let mut rng = StdRng::seed_from_u64(1);
        for attempt in 0..3 {
            assert_eq!(pause(attempt, 3, &mut rng), Duration::ZERO);
        }
        for attempt in 3..100 {
            let pause = pause(attempt, 3, &mut rng);
            assert!(
                pause >= BACKOFF_MIN / 2 && pause <= BACKOFF_MAX,
                "{attempt}: {pause:?}"
            );
        }
        assert!(pause(u32::MAX, 1, &mut rng) >= BACKOFF_MAX / 2);
    }
}
