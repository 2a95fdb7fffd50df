//! TC3-HMAC-SHA256, in the flavour of the action protocol (named members of the body are signed) and
//! in that of the Cloud API (the whole body is signed).

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::{SignedRequest, check_signed, refusal, same};
use crate::call::Failure;
use crate::gateway::body::string_of;
use crate::gateway::clock::utc_date;

/// The scheme's name in the `Authorization` header.
pub(super) const ALGORITHM: &str = "TC3-HMAC-SHA256";

/// Life of a signature whose request names none.
const LIFE_DEFAULT_SECONDS: u64 = 600;

/// What the request says about its own signature.
pub(super) struct Claim<'a> {
    pub(super) key_id: &'a str,
    pub(super) timestamp: u64,
    timestamp_text: &'a str,
    date: &'a str,
    service: &'a str,
    /// Absent in the Cloud API flavour.
    signed_params: Option<&'a str>,
    signed_headers: &'a str,
    signature: &'a str,
    /// Where the Cloud API flavour has it; the action protocol has it in the body.
    pub(super) session_token: Option<&'a str>,
}

impl<'a> Claim<'a> {
    /// Reads the fields after the scheme's name.
    pub(super) fn parse(fields: &'a str, request: &SignedRequest<'a>) -> Result<Self, Failure> {
        let field = |name: &str| {
            let mut parts = fields.split(',').map(str::trim);
            parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let incomplete =
            || refusal("the Authorization header needs Credential, SignedHeaders and Signature");
        let mut scope = field("Credential").ok_or_else(incomplete)?.rsplitn(4, '/');
        let (terminator, service, date, key_id) =
            (scope.next(), scope.next(), scope.next(), scope.next());
        let (Some("tc3_request"), Some(service), Some(date), Some(key_id)) =
            (terminator, service, date, key_id)
        else {
            return Err(refusal(
                "the Credential must read <secretId>/<date>/<service>/tc3_request",
            ));
        };
        let timestamp_text = request
            .header("x-timestamp")
            .or_else(|| request.header("x-tc-timestamp"))
            .or_else(|| field("Timestamp"))
            .ok_or_else(|| refusal("the header X-Timestamp is missing"))?;
        let timestamp = timestamp_text
            .parse()
            .map_err(|_| refusal("the header X-Timestamp must be seconds since 1970"))?;
        // The day a date names is 86400 s long whatever the rest says, so it must agree with the timestamp.
        if utc_date(u64::min(timestamp, 253_402_300_799)) != date {
            return Err(refusal(
                "the date of the Credential is not the UTC date of X-Timestamp",
            ));
        }
        let signed_params = field("SignedParams");
        if signed_params.is_some() && service != "tcb" {
            return Err(refusal("the service of the Credential must be tcb"));
        }
        Ok(Self {
            key_id,
            timestamp,
            timestamp_text,
            date,
            service,
            signed_params,
            signed_headers: field("SignedHeaders").ok_or_else(incomplete)?,
            signature: field("Signature").ok_or_else(incomplete)?,
            session_token: field("Token").or_else(|| request.header("x-tc-token")),
        })
    }

    /// How long the signature counts: `X-Signature-Expires`, but not longer than `life_max`.
    pub(super) fn life(&self, request: &SignedRequest<'_>, life_max: u64) -> u64 {
        let asked = request
            .header("x-signature-expires")
            .and_then(|text| text.trim().parse().ok());
        asked.unwrap_or(LIFE_DEFAULT_SECONDS).min(life_max)
    }

    /// Whether the signature covers the body as a whole rather than members that it names.
    pub(super) fn covers_whole_body(&self) -> bool {
        self.signed_params.is_none()
    }

    /// Refuses a signature that leaves out what the action acts on.
    pub(super) fn check_members(&self, request: &SignedRequest<'_>) -> Result<(), Failure> {
        match self.signed_params {
            None => Ok(()),
            Some(list) => {
                check_signed(request, |name| list.split(';').any(|signed| signed == name))
            }
        }
    }

    /// Whether the signature was made with `secret`.
    pub(super) fn verify(
        &self,
        request: &SignedRequest<'_>,
        secret: &str,
    ) -> Result<bool, Failure> {
        // mgr writes the method in capitals, node3 as its caller wrote it: the Cloud API flavour takes both.
        let rest = self.canonical_after_method(request)?;
        let genuine_as = |method: &str| {
            same(
                self.sign(method, &rest, secret).as_bytes(),
                self.signature.as_bytes(),
            )
        };
        let lower = genuine_as(&request.method.to_ascii_lowercase());
        let upper =
            self.signed_params.is_none() && genuine_as(&request.method.to_ascii_uppercase());
        Ok(lower | upper)
    }

    fn canonical_after_method(&self, request: &SignedRequest<'_>) -> Result<String, Failure> {
        let mut canonical = String::with_capacity(512);
        let (payload, path) = match self.signed_params {
            Some(list) => (
                payload_hash(list, request),
                format!("//{}{}", request.host, request.path),
            ),
            None => (
                hex::encode(Sha256::digest(request.body)),
                request.path.to_owned(),
            ),
        };
        for part in ["", &path, request.raw_query] {
            canonical.push_str(part);
            canonical.push('\n');
        }
        for name in self.signed_headers.split(';') {
            let value = self.header_value(name, request)?;
            for part in [name, ":", &value, "\n"] {
                canonical.push_str(part);
            }
        }
        for part in ["\n", self.signed_headers, "\n", &payload] {
            canonical.push_str(part);
        }
        Ok(canonical)
    }

    fn header_value(&self, name: &str, request: &SignedRequest<'_>) -> Result<String, Failure> {
        let value = request
            .header(name)
            .ok_or_else(|| refusal("a signed header is missing from the request"))?
            .trim();
        Ok(match name {
            "content-type" if value.starts_with("multipart/form-data") => {
                "multipart/form-data".to_owned()
            }
            "content-type" => value.to_owned(),
            // The Cloud API clients sign the host without its port.
            "host" if self.signed_params.is_none() && request.header("x-tc-action").is_some() => {
                value
                    .rsplit_once(':')
                    .map_or(value, |(host, _)| host)
                    .to_lowercase()
            }
            _ => value.to_lowercase(),
        })
    }

    fn sign(&self, method: &str, canonical_after_method: &str, secret: &str) -> String {
        let mut canonical = Sha256::new_with_prefix(method);
        canonical.update(canonical_after_method);
        let text = format!(
            "{ALGORITHM}\n{}\n{}/{}/tc3_request\n{}",
            self.timestamp_text,
            self.date,
            self.service,
            hex::encode(canonical.finalize())
        );
        let mut key = hmac(format!("TC3{secret}").as_bytes(), self.date);
        for part in [self.service, "tc3_request"] {
            key = hmac(&key, part);
        }
        hex::encode(hmac(&key, &text))
    }
}

/// The hash over the members that `list` names, in its order; empty texts are skipped.
fn payload_hash(list: &str, request: &SignedRequest<'_>) -> String {
    let mut hash = Sha256::new();
    for name in list.split(';') {
        let Some((_, raw)) = request
            .members
            .iter()
            .find(|(own, _)| encoded_name(own) == name)
        else {
            continue;
        };
        let text = string_of(raw);
        let text = trim(text.as_deref().unwrap_or(raw));
        if !text.is_empty() {
            for part in ["&", name, "=", text, "\r\n"] {
                hash.update(part);
            }
        }
    }
    hex::encode(hash.finalize())
}

/// A member's name as the clients list it: lower case, percent-encoded.
fn encoded_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.to_lowercase().bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// JavaScript's `trim`: it takes the byte order mark for a blank and U+0085 not.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}')
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
