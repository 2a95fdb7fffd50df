//! Calculating with dates in calendar units: `$dateAdd`, `$dateSubtract`, `$dateDiff`, `$dateTrunc`.
//!
//! Units of a day and more follow the calendar of the time zone, smaller ones are fixed lengths of time.

use bson::{DateTime, RawBson};

use super::arithmetic::number;
use super::calendar::{Civil, DAY_MS, days, days_in_month};
use super::date::millis;
use super::function::{Function, named};
use super::zone::Zone;
use super::{Budget, Computed, is_null, refused, wrong_type};
use crate::error::{Error, Result};

const ADD: &[(&str, bool)] = &[
    ("startDate", false),
    ("unit", false),
    ("amount", false),
    ("timezone", true),
];
const DIFF: &[(&str, bool)] = &[
    ("startDate", false),
    ("endDate", false),
    ("unit", false),
    ("timezone", true),
    ("startOfWeek", true),
];
const TRUNC: &[(&str, bool)] = &[
    ("date", false),
    ("unit", false),
    ("binSize", true),
    ("timezone", true),
    ("startOfWeek", true),
];

pub(super) static FUNCTIONS: [Function; 4] = [
    named("$dateAdd", ADD, add),
    named("$dateSubtract", ADD, add),
    named("$dateDiff", DIFF, difference),
    named("$dateTrunc", TRUNC, truncate),
];

/// Dates beyond this distance from 1970 are not calculated with: years keep to some hundred millions.
const MILLIS_MAX: i64 = 8_640_000_000_000_000;
/// `$dateTrunc` counts its bins from the beginning of 2000, as MongoDB does; weeks from the first
/// day of a week behind it.
const EPOCH_YEAR: i64 = 2000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// So many months.
    Months(i64),
    /// So many days.
    Days(i64),
    /// So many milliseconds.
    Millis(i64),
}

impl Unit {
    /// `None` for null.
    fn of(name: &str, operand: &Computed) -> Result<Option<Self>> {
        let text = match operand {
            value if is_null(value) => return Ok(None),
            Some(RawBson::String(text)) => text.as_str(),
            value => return Err(wrong_type(name, "the name of a unit", value)),
        };
        Ok(Some(match text {
            "year" => Self::Months(12),
            "quarter" => Self::Months(3),
            "month" => Self::Months(1),
            "week" => Self::Days(7),
            "day" => Self::Days(1),
            "hour" => Self::Millis(3_600_000),
            "minute" => Self::Millis(60_000),
            "second" => Self::Millis(1_000),
            "millisecond" => Self::Millis(1),
            _ => {
                return Err(refused(format!(
                    "'{name}' takes a unit from year, quarter, month, week, day, hour, minute, second, millisecond"
                )));
            }
        }))
    }
}

fn out_of_range() -> Error {
    refused("a date leaves the range that can be calculated with".to_owned())
}

fn in_range(millis: i64) -> Result<i64> {
    if (-MILLIS_MAX..=MILLIS_MAX).contains(&millis) {
        Ok(millis)
    } else {
        Err(out_of_range())
    }
}

fn date(millis: i64) -> Computed {
    Some(RawBson::DateTime(DateTime::from_millis(millis)))
}

fn add(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let (Some(start), Some(unit), Some(amount), Some(zone)) = (
        millis(name, &operands[0])?,
        Unit::of(name, &operands[1])?,
        number(name, &operands[2])?,
        Zone::optional(name, &operands[3])?,
    ) else {
        return Ok(Some(RawBson::Null));
    };
    let amount = amount
        .as_exact_i64()
        .and_then(|amount| {
            if name == "$dateAdd" {
                Some(amount)
            } else {
                amount.checked_neg()
            }
        })
        .ok_or_else(|| wrong_type(name, "a whole number as 'amount'", &operands[2]))?;
    let start = in_range(start)?;
    let moved = match unit {
        Unit::Millis(unit) => amount
            .checked_mul(unit)
            .and_then(|millis| start.checked_add(millis)),
        Unit::Days(unit) => amount
            .checked_mul(unit)
            .and_then(|days| days.checked_mul(DAY_MS))
            .and_then(|millis| zone.local(start).checked_add(millis))
            .map(|local| zone.instant(local)),
        Unit::Months(unit) => amount
            .checked_mul(unit)
            .filter(|months| (-MILLIS_MAX / DAY_MS..=MILLIS_MAX / DAY_MS).contains(months))
            .map(|months| zone.instant(add_months(zone.local(start), months))),
    };
    Ok(date(in_range(moved.ok_or_else(out_of_range)?)?))
}

/// A day that the month does not have becomes its last.
fn add_months(local: i64, months: i64) -> i64 {
    let civil = Civil::of(local);
    let month = civil.year * 12 + civil.month - 1 + months;
    let (year, month) = (month.div_euclid(12), month.rem_euclid(12) + 1);
    let day = civil.day.min(days_in_month(year, month));
    days(year, month, day) * DAY_MS + civil.millisecond
}

/// Monday is 0; `None` for null.
fn start_of_week(name: &str, operand: &Computed) -> Result<Option<i64>> {
    let text = match operand {
        None => return Ok(Some(6)),
        value if is_null(value) => return Ok(None),
        Some(RawBson::String(text)) => text.to_ascii_lowercase(),
        value => return Err(wrong_type(name, "the name of a day", value)),
    };
    let names = [
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
    ];
    let found = names
        .iter()
        .position(|known| *known == text || known[..3] == text);
    match found {
        Some(day) => Ok(Some(day as i64)),
        None => Err(refused(format!(
            "'{name}' takes a 'startOfWeek' such as monday"
        ))),
    }
}

/// How many ends of a unit lie between two dates.
fn difference(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let (Some(start), Some(end), Some(unit), Some(zone), Some(first)) = (
        millis(name, &operands[0])?,
        millis(name, &operands[1])?,
        Unit::of(name, &operands[2])?,
        Zone::optional(name, &operands[3])?,
        start_of_week(name, &operands[4])?,
    ) else {
        return Ok(Some(RawBson::Null));
    };
    let (start, end) = (in_range(start)?, in_range(end)?);
    let number = |millis: i64| {
        let local = zone.local(millis);
        match unit {
            Unit::Months(unit) => {
                let civil = Civil::of(local);
                (civil.year * 12 + civil.month - 1).div_euclid(unit)
            }
            Unit::Days(unit) => {
                // 1970-01-01 was a Thursday.
                let shift = if unit == 7 { 3 - first } else { 0 };
                (local.div_euclid(DAY_MS) + shift).div_euclid(unit)
            }
            Unit::Millis(unit) => local.div_euclid(unit),
        }
    };
    Ok(Some(RawBson::Int64(match unit {
        Unit::Millis(1) => end - start,
        _ => number(end) - number(start),
    })))
}

fn truncate(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let bin = match &operands[2] {
        None => Some(1),
        value => match number(name, value)? {
            None => None,
            Some(number) => Some(
                number
                    .as_exact_i64()
                    .filter(|bin| (1..=100_000_000_000).contains(bin))
                    .ok_or_else(|| {
                        wrong_type(name, "a whole number from 1 to 10^11 as 'binSize'", value)
                    })?,
            ),
        },
    };
    let (Some(millis), Some(unit), Some(bin), Some(zone), Some(first)) = (
        millis(name, &operands[0])?,
        Unit::of(name, &operands[1])?,
        bin,
        Zone::optional(name, &operands[3])?,
        start_of_week(name, &operands[4])?,
    ) else {
        return Ok(Some(RawBson::Null));
    };
    let local = zone.local(in_range(millis)?);
    let floor = |value: i64, bin: i64| value.div_euclid(bin).saturating_mul(bin);
    let epoch = days(EPOCH_YEAR, 1, 1);
    let truncated = match unit {
        Unit::Months(unit) => {
            let civil = Civil::of(local);
            let months = (civil.year - EPOCH_YEAR) * 12 + civil.month - 1;
            let months = floor(months, unit * bin);
            let years_max = MILLIS_MAX / DAY_MS / 365;
            if months.div_euclid(12).abs() > years_max {
                return Err(out_of_range());
            }
            zone.instant(days(EPOCH_YEAR, months + 1, 1) * DAY_MS)
        }
        Unit::Days(unit) => {
            let origin = if unit == 7 {
                // The first such day on or behind the epoch.
                epoch + (first - (epoch + 3)).rem_euclid(7)
            } else {
                epoch
            };
            let day = floor(local.div_euclid(DAY_MS) - origin, unit * bin).saturating_add(origin);
            let day = day.checked_mul(DAY_MS).ok_or_else(out_of_range)?;
            zone.instant(in_range(day)?)
        }
        Unit::Millis(unit) => {
            let origin = zone.instant(epoch * DAY_MS);
            let size = unit.checked_mul(bin).ok_or_else(out_of_range)?;
            floor(millis - origin, size).saturating_add(origin)
        }
    };
    Ok(date(in_range(truncated)?))
}
