//! The parts of dates, in UTC or in a time zone.

use bson::RawBson;

use super::calendar::Civil;
use super::function::{Function, Operands};
use super::zone::Zone;
use super::{Budget, Computed, is_null, wrong_type};
use crate::error::Result;

pub(super) static FUNCTIONS: [Function; 13] = [
    date("$year"),
    date("$month"),
    date("$week"),
    date("$dayOfMonth"),
    date("$dayOfYear"),
    date("$dayOfWeek"),
    date("$isoWeekYear"),
    date("$isoWeek"),
    date("$isoDayOfWeek"),
    date("$hour"),
    date("$minute"),
    date("$second"),
    date("$millisecond"),
];

const fn date(name: &'static str) -> Function {
    Function {
        name,
        operands: Operands::Date,
        call: part,
    }
}

/// A date operand in milliseconds since 1970; `None` for null and missing.
pub(super) fn millis(name: &str, operand: &Computed) -> Result<Option<i64>> {
    Ok(Some(match operand {
        value if is_null(value) => return Ok(None),
        Some(RawBson::DateTime(date)) => date.timestamp_millis(),
        Some(RawBson::Timestamp(timestamp)) => i64::from(timestamp.time) * 1000,
        Some(RawBson::ObjectId(id)) => id.timestamp().timestamp_millis(),
        value => return Err(wrong_type(name, "a date", value)),
    }))
}

fn part(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let zone = match operands.get(1) {
        None => Zone::Utc,
        Some(zone) => match Zone::of(name, zone)? {
            Some(zone) => zone,
            None => return Ok(Some(RawBson::Null)),
        },
    };
    let Some(millis) = millis(name, &operands[0])? else {
        return Ok(Some(RawBson::Null));
    };
    let civil = Civil::of(zone.local(millis));
    let part = match name {
        "$year" => civil.year,
        "$month" => civil.month,
        "$week" => civil.week(),
        "$dayOfMonth" => civil.day,
        "$dayOfYear" => civil.day_of_year,
        "$dayOfWeek" => civil.day_of_week,
        "$isoWeekYear" => return Ok(Some(RawBson::Int64(civil.iso_week().0))),
        "$isoWeek" => civil.iso_week().1,
        "$isoDayOfWeek" => civil.iso_day_of_week(),
        "$hour" => civil.hour(),
        "$minute" => civil.minute(),
        "$second" => civil.second(),
        _ => civil.fraction(),
    };
    Ok(Some(RawBson::Int32(part as i32)))
}

/// As `2024-05-01T10:00:00.000Z`.
pub(super) fn format(millis: i64) -> String {
    let civil = Civil::of(millis);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        civil.year,
        civil.month,
        civil.day,
        civil.hour(),
        civil.minute(),
        civil.second(),
        civil.fraction()
    )
}
