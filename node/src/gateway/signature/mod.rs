//! Who asks: checks the credentials of a request and says which key they prove.
//!
//! An unknown key and a wrong signature give the same answer after the same work, comparisons take
//! constant time, and no secret appears in a message or a log line.

mod hmac_sha1;
mod tc3;

use std::borrow::Cow;

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::body::Members;
use super::codes;
use super::limits::Limits;
use crate::call::{Failure, KeyDirectory, Retry, SecretKey};

/// A request as its signature covers it.
#[derive(Clone, Copy)]
pub(crate) struct SignedRequest<'a> {
    /// `POST`.
    pub(crate) method: &'a str,
    /// Host and port as the client named them.
    pub(crate) host: &'a str,
    /// Path without query.
    pub(crate) path: &'a str,
    /// Query without `?`, as on the request line.
    pub(crate) raw_query: &'a str,
    /// All headers.
    pub(crate) headers: &'a HeaderMap,
    /// The body as sent.
    pub(crate) body: &'a [u8],
    /// The body's top-level members as sent.
    pub(crate) members: &'a Members<'a>,
    /// Whether a signature over named members is not enough, because it must cover the body as a whole.
    pub(crate) whole_body: bool,
}

impl<'a> SignedRequest<'a> {
    /// A header's text; absent and not plain ASCII are the same.
    fn header(&self, name: &str) -> Option<&'a str> {
        if name == "host" {
            return Some(self.host);
        }
        self.headers.get(name)?.to_str().ok()
    }
}

/// The key that a request has proved to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proven {
    /// Its public half.
    pub(crate) key_id: String,
    /// The one environment it opens; `None` = all.
    pub(crate) env: Option<String>,
}

/// Checks whatever credentials the request carries.
pub(crate) fn authenticate(
    request: &SignedRequest<'_>,
    keys: &dyn KeyDirectory,
    now_unix_ms: i64,
    limits: &Limits,
) -> Result<Proven, Failure> {
    let window = Window {
        now: u64::try_from(now_unix_ms / 1000).unwrap_or(0),
        life_max: limits.signature_life_max_seconds,
        skew: limits.clock_skew_max_seconds,
    };
    let mut session_token = request.members.text("sessionToken");
    let key = if let Some(authorization) = request.headers.get(header::AUTHORIZATION) {
        let authorization = authorization
            .to_str()
            .map_err(|_| refusal("the Authorization header is not plain text"))?;
        match authorization.split_once(' ') {
            Some(("Bearer", token)) => prove_api_key(token.trim(), keys)?,
            Some((tc3::ALGORITHM, fields)) => {
                let claim = tc3::Claim::parse(fields, request)?;
                window.check(
                    claim.timestamp,
                    claim
                        .timestamp
                        .saturating_add(claim.life(request, window.life_max)),
                )?;
                if request.whole_body && !claim.covers_whole_body() {
                    return Err(refusal(
                        "the signature covers members of the body: it must cover the body as a whole here",
                    ));
                }
                claim.check_members(request)?;
                session_token = session_token.or(claim.session_token.map(Cow::Borrowed));
                prove(keys, claim.key_id, |secret| claim.verify(request, secret))?
            }
            _ => {
                return Err(refusal(
                    "the Authorization header is neither `TC3-HMAC-SHA256 ...` nor `Bearer ...`",
                ));
            }
        }
    } else if let Some(authorization) = request.members.text("authorization") {
        let claim = hmac_sha1::Claim::parse(&authorization)?;
        window.check(claim.valid_from, claim.valid_until)?;
        claim.check_members(request)?;
        prove(keys, claim.key_id, |secret| claim.verify(request, secret))?
    } else {
        return Err(refusal(
            "the request carries no credentials: give the client a secretId and a secretKey",
        ));
    };
    admit(
        key,
        session_token.as_deref().unwrap_or_default(),
        now_unix_ms,
    )
}

/// Checks an API key on its own. A temporary key has no session token with it here, so it is refused.
pub(crate) fn authenticate_api_key(
    token: &str,
    keys: &dyn KeyDirectory,
    now_unix_ms: i64,
) -> Result<Proven, Failure> {
    admit(prove_api_key(token, keys)?, "", now_unix_ms)
}

/// Whether a key that has been proved counts: with its own session token only, and until its end.
fn admit(key: SecretKey, session_token: &str, now_unix_ms: i64) -> Result<Proven, Failure> {
    match key.session_token.as_deref() {
        None if session_token.is_empty() => {}
        None => {
            return Err(refusal(
                "the session token does not belong to this key: remove sessionToken",
            ));
        }
        Some(_) if session_token.is_empty() => {
            return Err(refusal(
                "this is a temporary key: give the client its sessionToken too",
            ));
        }
        Some(own) if !same(&Sha256::digest(session_token), &Sha256::digest(own)) => {
            return Err(refusal(
                "the session token is not the one that was issued with this key",
            ));
        }
        Some(_) => {}
    }
    if !key.in_force(now_unix_ms) {
        return Err(refusal(
            "this temporary key has come to its end: get a new one",
        ));
    }
    Ok(Proven {
        key_id: key.id,
        env: key.env,
    })
}

/// Looks up the key and lets `verify` judge it; an unknown key is judged like a known one.
fn prove(
    keys: &dyn KeyDirectory,
    id: &str,
    verify: impl FnOnce(&str) -> Result<bool, Failure>,
) -> Result<SecretKey, Failure> {
    let found = keys.find(id);
    let known = found.is_some();
    let key = found.unwrap_or_else(nobody);
    let genuine = verify(&key.secret)?;
    if genuine & known {
        Ok(key)
    } else {
        Err(mismatch())
    }
}

/// `<id>.<secret>`: the key pair itself as an API key.
fn prove_api_key(token: &str, keys: &dyn KeyDirectory) -> Result<SecretKey, Failure> {
    let (id, secret) = token.split_once('.').unwrap_or((token, ""));
    prove(keys, id, |known| {
        Ok(same(&Sha256::digest(secret), &Sha256::digest(known)))
    })
}

/// Stands in for a key that is not there, so that looking for one takes as long as finding one.
fn nobody() -> SecretKey {
    SecretKey {
        id: String::new(),
        secret: "0".repeat(32),
        env: None,
        session_token: None,
        expires_at_ms: None,
    }
}

/// Equality in constant time.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

fn refusal(message: &str) -> Failure {
    Failure::new(codes::SIGN_PARAM_INVALID, message, Retry::Never)
}

fn mismatch() -> Failure {
    refusal(
        "the signature does not match: check secretId, secretKey and that proxies keep the Host header",
    )
}

/// The members that any action acts on. One of them outside the signature could be exchanged on the way.
const MEMBERS_ACTED_ON: &[&str] = &[
    "action",
    "collectionName",
    "data",
    "database",
    "envName",
    "_id",
    "instance",
    "limit",
    "merge",
    "multi",
    "offset",
    "order",
    "projection",
    "query",
    "queryType",
    "stages",
    "transactionId",
    "upsert",
];

/// Refuses a member that an action acts on when the signature (whose list `is_signed` knows) leaves it out.
fn check_signed(
    request: &SignedRequest<'_>,
    is_signed: impl Fn(&str) -> bool,
) -> Result<(), Failure> {
    for (name, raw) in request.members.iter() {
        let empty = raw == r#""""#;
        if !empty && MEMBERS_ACTED_ON.contains(&name) && !is_signed(&name.to_lowercase()) {
            return Err(refusal(
                "the signature leaves out a member of the body that the action acts on",
            ));
        }
    }
    Ok(())
}

/// The time in which a signature counts.
struct Window {
    now: u64,
    life_max: u64,
    skew: u64,
}

impl Window {
    fn check(&self, from: u64, until: u64) -> Result<(), Failure> {
        let claimed_too_much = until.saturating_sub(from) > self.life_max;
        if claimed_too_much
            || self.now > until.saturating_add(self.skew)
            || from > self.now.saturating_add(self.skew)
        {
            return Err(refusal(
                "the signature is not valid at this time: check the clock of the client",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "../signature_test.rs"]
mod tests;
