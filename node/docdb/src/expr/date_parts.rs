//! Dates from their parts and back: `$dateFromParts`, `$dateToParts`.

use bson::raw::cstr;
use bson::{DateTime, RawBson, RawDocumentBuf};

use super::arithmetic::number;
use super::calendar::{Civil, DAY_MS, days, iso_days};
use super::date::millis;
use super::function::{Function, named};
use super::zone::Zone;
use super::{Budget, Computed, is_null, is_true, refused, wrong_type};
use crate::error::Result;
use crate::value::compare::Number;

const FROM: &[(&str, bool)] = &[
    ("year", true),
    ("month", true),
    ("day", true),
    ("isoWeekYear", true),
    ("isoWeek", true),
    ("isoDayOfWeek", true),
    ("hour", true),
    ("minute", true),
    ("second", true),
    ("millisecond", true),
    ("timezone", true),
];
const TO: &[(&str, bool)] = &[("date", false), ("timezone", true), ("iso8601", true)];

/// Years that `$dateFromParts` takes, as in MongoDB.
const YEARS: std::ops::RangeInclusive<i64> = 1..=9999;
/// The other parts may lie outside their ranges by this much, as in MongoDB; they are carried.
const PARTS: std::ops::RangeInclusive<i64> = -32_768..=32_767;
/// Milliseconds and seconds that are carried.
const SMALL_PARTS: std::ops::RangeInclusive<i64> = -1_000_000_000_000_000..=1_000_000_000_000_000;

pub(super) static FUNCTIONS: [Function; 2] = [
    named("$dateFromParts", FROM, from_parts),
    named("$dateToParts", TO, to_parts),
];

fn from_parts(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let iso = operands[3].is_some();
    let used = if iso { 3..6 } else { 0..3 };
    let other = if iso { 0..3 } else { 4..6 };
    if operands[other].iter().any(Option::is_some) {
        return Err(refused(
            "'$dateFromParts' takes year, month and day or isoWeekYear, isoWeek and isoDayOfWeek, not both"
                .to_owned(),
        ));
    }
    if operands[used.start].is_none() {
        return Err(refused(
            "'$dateFromParts' needs a year or an isoWeekYear that is not missing".to_owned(),
        ));
    }
    let Some(zone) = Zone::optional(name, &operands[10])? else {
        return Ok(Some(RawBson::Null));
    };
    let mut parts = [0_i64; 10];
    for at in used.clone().chain(6..10) {
        let (range, otherwise) = match at {
            0 | 3 => (YEARS, 1970),
            1 | 2 | 4 | 5 => (PARTS, 1),
            8 | 9 => (SMALL_PARTS, 0),
            _ => (PARTS, 0),
        };
        parts[at] = match &operands[at] {
            None => otherwise,
            value if is_null(value) => return Ok(Some(RawBson::Null)),
            value => {
                let number = number(name, value)?.and_then(Number::as_exact_i64);
                let number =
                    number.ok_or_else(|| wrong_type(name, "whole numbers as parts", value))?;
                if !range.contains(&number) {
                    return Err(refused(format!(
                        "'$dateFromParts': '{}' must be from {} to {}",
                        FROM[at].0,
                        range.start(),
                        range.end()
                    )));
                }
                number
            }
        };
    }
    let days = if iso {
        iso_days(parts[3], parts[4], parts[5])
    } else {
        days(parts[0], parts[1], parts[2])
    };
    let local =
        days * DAY_MS + parts[6] * 3_600_000 + parts[7] * 60_000 + parts[8] * 1_000 + parts[9];
    Ok(Some(RawBson::DateTime(DateTime::from_millis(
        zone.instant(local),
    ))))
}

fn to_parts(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let (Some(zone), Some(millis)) = (
        Zone::optional(name, &operands[1])?,
        millis(name, &operands[0])?,
    ) else {
        return Ok(Some(RawBson::Null));
    };
    let iso = match &operands[2] {
        None => false,
        value if is_null(value) => return Ok(Some(RawBson::Null)),
        Some(RawBson::Boolean(_)) => is_true(&operands[2]),
        value => return Err(wrong_type(name, "a bool as 'iso8601'", value)),
    };
    let civil = Civil::of(zone.local(millis));
    let mut parts = RawDocumentBuf::new();
    if iso {
        let (year, week) = civil.iso_week();
        parts.append(cstr!("isoWeekYear"), year as i32);
        parts.append(cstr!("isoWeek"), week as i32);
        parts.append(cstr!("isoDayOfWeek"), civil.iso_day_of_week() as i32);
    } else {
        parts.append(cstr!("year"), civil.year as i32);
        parts.append(cstr!("month"), civil.month as i32);
        parts.append(cstr!("day"), civil.day as i32);
    }
    parts.append(cstr!("hour"), civil.hour() as i32);
    parts.append(cstr!("minute"), civil.minute() as i32);
    parts.append(cstr!("second"), civil.second() as i32);
    parts.append(cstr!("millisecond"), civil.fraction() as i32);
    Ok(Some(RawBson::Document(parts)))
}
