//! The HMAC-SHA1 signature "v2" of `tcb-admin-node`: all of it travels in the body member `authorization`.

use hmac::{Hmac, Mac};
use sha1::{Digest, Sha1};

use super::{SignedRequest, check_signed, refusal, same};
use crate::call::Failure;
use crate::gateway::body::string_of;

/// What the request says about its own signature.
pub(super) struct Claim<'a> {
    pub(super) key_id: &'a str,
    pub(super) valid_from: u64,
    pub(super) valid_until: u64,
    sign_time: &'a str,
    key_time: &'a str,
    header_list: &'a str,
    member_list: &'a str,
    signature: &'a str,
}

impl<'a> Claim<'a> {
    /// Reads the text of the member `authorization`.
    pub(super) fn parse(authorization: &'a str) -> Result<Self, Failure> {
        let field = |name: &str| {
            let mut parts = authorization.split('&');
            parts
                .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
                .ok_or_else(|| refusal("the member `authorization` lacks a part of its signature"))
        };
        if field("q-sign-algorithm")? != "sha1" {
            return Err(refusal(
                "the algorithm of the member `authorization` must be sha1",
            ));
        }
        let sign_time = field("q-sign-time")?;
        let key_time = field("q-key-time")?;
        let (valid_from, valid_until) = sign_time
            .split_once(';')
            .and_then(|(from, until)| Some((from.parse().ok()?, until.parse().ok()?)))
            .filter(|_| sign_time == key_time)
            .ok_or_else(|| {
                refusal("q-sign-time and q-key-time must be the same <from>;<until> in seconds")
            })?;
        Ok(Self {
            key_id: field("q-ak")?,
            valid_from,
            valid_until,
            sign_time,
            key_time,
            header_list: field("q-header-list")?,
            member_list: field("q-url-param-list")?,
            signature: field("q-signature")?,
        })
    }

    /// Refuses a signature that leaves out what the action acts on.
    pub(super) fn check_members(&self, request: &SignedRequest<'_>) -> Result<(), Failure> {
        check_signed(request, |name| {
            self.member_list.split(';').any(|signed| signed == name)
        })
    }

    /// Whether the signature was made with `secret`.
    pub(super) fn verify(
        &self,
        request: &SignedRequest<'_>,
        secret: &str,
    ) -> Result<bool, Failure> {
        let mut format = Format {
            hash: Sha1::new_with_prefix("post\n/admin\n"),
            first: true,
        };
        for name in self.member_list.split(';').filter(|name| !name.is_empty()) {
            let mut members = request.members.iter();
            let raw = members
                .find(|(own, _)| own.to_lowercase() == name)
                .map(|(_, raw)| raw);
            let raw = raw.ok_or_else(|| refusal("a signed member is missing from the body"))?;
            let text = string_of(raw);
            format.pair(
                name,
                text.as_deref()
                    .unwrap_or(if raw == "null" { "" } else { raw }),
            );
        }
        format.end_line();
        for name in self.header_list.split(';').filter(|name| !name.is_empty()) {
            let value = request
                .header(name)
                .ok_or_else(|| refusal("a signed header is missing from the request"))?;
            format.pair(name, value);
        }
        format.end_line();
        let text = format!(
            "sha1\n{}\n{}\n",
            self.sign_time,
            hex::encode(format.hash.finalize())
        );
        let key = hmac(secret.as_bytes(), self.key_time);
        Ok(same(
            hmac(key.as_bytes(), &text).as_bytes(),
            self.signature.as_bytes(),
        ))
    }
}

/// Hashes `name=value&name=value` lines without building them.
struct Format {
    hash: Sha1,
    first: bool,
}

impl Format {
    fn pair(&mut self, name: &str, value: &str) {
        if !self.first {
            self.hash.update("&");
        }
        self.first = false;
        self.encoded(name);
        self.hash.update("=");
        self.encoded(value);
    }

    fn end_line(&mut self) {
        self.hash.update("\n");
        self.first = true;
    }

    /// Percent-encodes everything but letters, digits and `-_.~`.
    fn encoded(&mut self, text: &str) {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let run = rest
                .iter()
                .position(|byte| !plain(byte))
                .unwrap_or(rest.len());
            self.hash.update(&rest[..run]);
            if let Some(byte) = rest.get(run) {
                self.hash.update(format!("%{byte:02X}"));
            }
            rest = rest.get(run + 1..).unwrap_or_default();
        }
    }
}

fn hmac(key: &[u8], text: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}
