//! Tickets: what `auth.wsWebSign` gives out and a socket's `LOGIN` presents, on this node or another.

use serde::{Deserialize, Serialize};

use crate::call::{Caller, EndUser, Failure, Retry};
use crate::seal::{Kind, Seal};

/// Longest ticket that is looked at.
const TICKET_BYTES_MAX: usize = 4096;

#[derive(Serialize, Deserialize)]
struct Ticket {
    expires_at_ms: i64,
    holder: Holder,
}

#[derive(Serialize, Deserialize)]
enum Holder {
    Administrator(String),
    User(EndUser),
}

/// A ticket for `caller` in `env`.
pub(crate) fn issue(
    seal: &Seal,
    env: &str,
    caller: &Caller,
    expires_at_ms: i64,
) -> Result<String, Failure> {
    let holder = match caller {
        Caller::Administrator { key_id } => Holder::Administrator(key_id.clone()),
        Caller::User(user) => Holder::User((**user).clone()),
        Caller::System => {
            let message = "the node itself watches without a ticket";
            return Err(Failure::new("SYS_ERR", message, Retry::Never));
        }
    };
    let ticket = Ticket {
        expires_at_ms,
        holder,
    };
    let payload = serde_json::to_vec(&ticket)
        .map_err(|error| Failure::new("SYS_ERR", error.to_string(), Retry::Never))?;
    seal.seal(Kind::Ticket, env, &payload).ok_or_else(|| {
        let message = "this node does not know its cluster yet; try again shortly";
        Failure::new("RESOURCE_NOT_INITIAL", message, Retry::Safe)
    })
}

/// Who holds a ticket for `env` that is in force at `now_ms`.
pub(crate) fn check(seal: &Seal, env: &str, text: &str, now_ms: i64) -> Result<Caller, Failure> {
    if text.is_empty() {
        let message = "LOGIN carries no signStr: ask auth.wsWebSign for one";
        return Err(Failure::new("SIGN_PARAM_INVALID", message, Retry::Never));
    }
    let invalid = || {
        let message = "the signStr was not given out for this environment: ask auth.wsWebSign anew";
        Failure::new("SIGN_INVALID_ERROR", message, Retry::Never)
    };
    if text.len() > TICKET_BYTES_MAX {
        return Err(invalid());
    }
    let payload = seal.open(Kind::Ticket, env, text).ok_or_else(invalid)?;
    let ticket: Ticket = serde_json::from_slice(&payload).map_err(|_| invalid())?;
    if now_ms >= ticket.expires_at_ms {
        let message = "the signStr has expired: ask auth.wsWebSign anew";
        return Err(Failure::new("SIGN_EXPIRED_ERROR", message, Retry::Never));
    }
    Ok(match ticket.holder {
        Holder::Administrator(key_id) => Caller::Administrator { key_id },
        Holder::User(user) => Caller::User(user.into()),
    })
}

#[cfg(test)]
mod tests {
    use crate::call::LoginType;

    use super::*;

    #[test]
    fn tickets_say_who_holds_them_until_they_expire() {
        let seal = Seal::fixed([1; 32]);
        let user = Caller::User(
            EndUser {
                uid: "ann".into(),
                openid: "o".into(),
                login_type: LoginType::Email,
                session: "s".into(),
            }
            .into(),
        );
        let key = Caller::Administrator {
            key_id: "AK".into(),
        };
        for caller in [user, key] {
            let ticket = issue(&seal, "demo", &caller, 100).unwrap();
            assert_eq!(check(&seal, "demo", &ticket, 99).unwrap(), caller);
            let code = |env: &str, text: &str, now_ms| {
                check(&seal, env, text, now_ms)
                    .unwrap_err()
                    .code
                    .into_owned()
            };
            assert_eq!(code("demo", &ticket, 100), "SIGN_EXPIRED_ERROR");
            assert_eq!(code("other", &ticket, 99), "SIGN_INVALID_ERROR");
            assert_eq!(code("demo", "x", 99), "SIGN_INVALID_ERROR");
            assert_eq!(code("demo", "", 99), "SIGN_PARAM_INVALID");
        }
        assert!(issue(&seal, "demo", &Caller::System, 100).is_err());
    }
}
