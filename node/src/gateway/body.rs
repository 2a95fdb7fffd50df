//! The body of a request: read within bounds, checked for depth, opened only one level deep.
//!
//! The top-level members stay slices of the text as it was sent, because the signature covers exactly
//! those bytes. Nothing here interprets a member.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use serde::Deserializer as _;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::codes;
use super::limits::Limits;
use crate::call::{Failure, Retry};

/// A whole body and its share of the memory for bodies, given back when dropped.
#[derive(Debug)]
pub(crate) struct HeldBody {
    /// The bytes as sent.
    pub(crate) bytes: Vec<u8>,
    _share: Option<OwnedSemaphorePermit>,
}

/// Reads a body of at most `body_bytes_max`, charging each arriving piece to `memory`.
pub(crate) async fn read(
    body: Body,
    limits: &Limits,
    memory: &Arc<Semaphore>,
) -> Result<HeldBody, Failure> {
    match tokio::time::timeout(
        limits.body_read_timeout,
        read_unhurried(body, limits, memory),
    )
    .await
    {
        Ok(outcome) => outcome,
        Err(_) => Err(too_slow(limits.body_read_timeout)),
    }
}

async fn read_unhurried(
    mut body: Body,
    limits: &Limits,
    memory: &Arc<Semaphore>,
) -> Result<HeldBody, Failure> {
    let mut held = HeldBody {
        bytes: Vec::new(),
        _share: None,
    };
    let mut received = 0_usize;
    let mut refusal = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Failure::new(
                codes::INVALID_PARAM,
                "the body ended before its time",
                Retry::Safe,
            )
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        received = received.saturating_add(data.len());
        if refusal.is_none() {
            refusal = hold(&mut held, &data, limits, memory).err();
        }
        if refusal.is_some() && received > limits.body_drain_bytes_max {
            break;
        }
    }
    refusal.map_or(Ok(held), Err)
}

fn hold(
    held: &mut HeldBody,
    data: &[u8],
    limits: &Limits,
    memory: &Arc<Semaphore>,
) -> Result<(), Failure> {
    if held.bytes.len() + data.len() > limits.body_bytes_max {
        let message = format!(
            "the body is larger than {} bytes: send fewer or smaller documents",
            limits.body_bytes_max
        );
        *held = HeldBody {
            bytes: Vec::new(),
            _share: None,
        };
        return Err(Failure::new(
            codes::EXCEED_REQUEST_SIZE_LIMIT,
            message,
            Retry::Never,
        ));
    }
    let permits = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let Ok(share) = Arc::clone(memory).try_acquire_many_owned(permits) else {
        *held = HeldBody {
            bytes: Vec::new(),
            _share: None,
        };
        let message = "the server holds as many request bodies as it may: try again shortly";
        return Err(Failure::new(
            codes::EXCEED_CONCURRENT_REQUEST_LIMIT,
            message,
            Retry::Safe,
        ));
    };
    match &mut held._share {
        Some(own) => own.merge(share),
        none => *none = Some(share),
    }
    held.bytes.extend_from_slice(data);
    Ok(())
}

fn too_slow(limit: Duration) -> Failure {
    let message = format!("the body did not arrive within {} s", limit.as_secs_f32());
    Failure::new(codes::SERVER_TIMEOUT, message, Retry::Safe)
}

/// Refuses JSON text nested deeper than `depth_max`, before any recursive parser sees it.
pub(crate) fn check_depth(text: &str, depth_max: usize) -> Result<(), TooDeep> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > depth_max {
                    return Err(TooDeep { depth_max });
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// JSON nested deeper than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the JSON is nested more than {depth_max} levels deep: flatten it")]
pub(crate) struct TooDeep {
    depth_max: usize,
}

/// The top-level members of a JSON object, each with its value as sent.
#[derive(Debug)]
pub(crate) struct Members<'a> {
    entries: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> Members<'a> {
    /// Opens the object in `bytes` one level deep.
    pub(crate) fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, Failure> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            invalid(format!(
                "the body is not UTF-8 at byte {}",
                error.valid_up_to()
            ))
        })?;
        check_depth(text, limits.json_depth_max).map_err(|error| invalid(error.to_string()))?;
        let mut json = serde_json::Deserializer::from_str(text);
        let entries = json
            .deserialize_map(MembersVisitor {
                members_max: limits.body_members_max,
            })
            .and_then(|entries| json.end().map(|()| entries))
            .map_err(|error| invalid(format!("the body must be one JSON object: {error}")))?;
        let mut names: Vec<String> = entries
            .iter()
            .map(|(name, _)| name.to_lowercase())
            .collect();
        names.sort_unstable();
        // Two members of one name could let the signature cover one and the action read the other.
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(invalid(format!(
                "the body has the member `{}` twice",
                pair[0]
            )));
        }
        Ok(Self { entries })
    }

    /// Members that do not come from one object: each a name and the JSON text of its value.
    pub(crate) fn from_entries(entries: Vec<(Cow<'a, str>, &'a str)>) -> Self {
        Self { entries }
    }

    /// The raw JSON text of a member.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        self.entries
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, raw)| *raw)
    }

    /// All members in the order sent.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.entries.iter().map(|(name, raw)| (name.as_ref(), *raw))
    }

    /// A member that should be a string; absent, `null` and every other type are `None`.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        string_of(self.raw(name)?)
    }
}

/// The value of a raw JSON string; `None` when the raw text is no string.
pub(crate) fn string_of(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.starts_with('"') {
        return None;
    }
    match raw.get(1..raw.len().saturating_sub(1)) {
        Some(inner) if !inner.contains('\\') => Some(Cow::Borrowed(inner)),
        _ => serde_json::from_str::<String>(raw).ok().map(Cow::Owned),
    }
}

struct MembersVisitor {
    members_max: usize,
}

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<(Cow<'de, str>, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::with_capacity(16);
        while let Some(name) = map.next_key::<Name<'de>>()? {
            if entries.len() >= self.members_max {
                return Err(A::Error::custom(format!(
                    "it has more than {} members",
                    self.members_max
                )));
            }
            let raw: &'de RawValue = map.next_value()?;
            entries.push((name.0, raw.get()));
        }
        Ok(entries)
    }
}

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

fn invalid(message: String) -> Failure {
    Failure::new(codes::INVALID_PARAM, message, Retry::Never)
}

#[cfg(test)]
#[path = "body_test.rs"]
mod tests;
