//! Time zones: fixed offsets, and names of the IANA database as it was bundled with this build.
//!
//! What the machine has installed is never looked at: replicas must agree.

use std::sync::LazyLock;

use bson::RawBson;
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

use super::{Computed, is_null, refused, wrong_type};
use crate::error::Result;

static NAMED: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Longest text that is looked up.
const NAME_BYTES_MAX: usize = 64;

/// The difference between local time and UTC.
#[derive(Debug, Clone)]
pub(super) enum Zone {
    Utc,
    /// Milliseconds to add to UTC.
    Fixed(i64),
    Named(TimeZone),
}

impl Zone {
    /// The zone that an operand names; `None` for null.
    pub(super) fn of(operator: &str, operand: &Computed) -> Result<Option<Self>> {
        match operand {
            value if is_null(value) => Ok(None),
            Some(RawBson::String(name)) => match Self::parse(name) {
                Some(zone) => Ok(Some(zone)),
                None => Err(refused(format!(
                    "'{operator}' does not know the time zone \"{}\"; use a name such as Asia/Shanghai or an offset such as +08:00",
                    name.chars().take(NAME_BYTES_MAX).collect::<String>()
                ))),
            },
            value => Err(wrong_type(operator, "the name of a time zone", value)),
        }
    }

    /// A zone operand that may be left out: `None` for null, UTC where there is none.
    pub(super) fn optional(operator: &str, operand: &Computed) -> Result<Option<Self>> {
        match operand {
            None => Ok(Some(Self::Utc)),
            operand => Self::of(operator, operand),
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        if matches!(name, "UTC" | "GMT" | "Z") {
            return Some(Self::Utc);
        }
        if name.starts_with(['+', '-']) {
            return offset_minutes(name).map(|minutes| Self::Fixed(minutes * 60_000));
        }
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return None;
        }
        NAMED.get(name).ok().map(Self::Named)
    }

    /// Milliseconds that local time is ahead of UTC at an instant.
    pub(super) fn offset_ms(&self, millis: i64) -> i64 {
        match self {
            Self::Utc => 0,
            Self::Fixed(offset) => *offset,
            Self::Named(zone) => i64::from(zone.to_offset(instant(millis)).seconds()) * 1000,
        }
    }

    /// Local time at an instant, as if it were UTC.
    pub(super) fn local(&self, millis: i64) -> i64 {
        millis.saturating_add(self.offset_ms(millis))
    }

    /// The instant of a local time. One that is skipped or repeated when clocks change is read with
    /// the offset before the change.
    pub(super) fn instant(&self, local: i64) -> i64 {
        if let (Self::Named(zone), Ok(civil)) = (self, Timestamp::from_millisecond(local)) {
            let civil = Offset::UTC.to_datetime(civil);
            if let Ok(found) = zone.to_ambiguous_timestamp(civil).compatible() {
                return found.as_millisecond();
            }
        }
        local.saturating_sub(self.offset_ms(local))
    }
}

/// Beyond the years -9999 to 9999 an offset is that of the nearest of them.
fn instant(millis: i64) -> Timestamp {
    let end = if millis < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    Timestamp::from_millisecond(millis).unwrap_or(end)
}

/// `+08:00`, `+0800`, `+08`
pub(super) fn offset_minutes(text: &str) -> Option<i64> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.as_bytes() {
        [_, _] => (digits, "0"),
        [_, _, _, _] => digits.split_at_checked(2)?,
        [_, _, b':', _, _] => digits.split_once(':')?,
        _ => return None,
    };
    let number = |text: &str| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse::<i64>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}
