//! Parts of dates, in UTC and the proleptic Gregorian calendar. There are no time zones yet.

use bson::RawBson;

use super::function::{Function, Operands};
use super::{Budget, Computed, is_null, wrong_type};
use crate::error::Result;

pub(super) static FUNCTIONS: [Function; 9] = [
    date("$year"),
    date("$month"),
    date("$dayOfMonth"),
    date("$dayOfYear"),
    date("$dayOfWeek"),
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

const DAY_MS: i64 = 86_400_000;

/// A date taken apart.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    day_of_year: i64,
    /// 1 is Sunday.
    day_of_week: i64,
    /// Within the day.
    millisecond: i64,
}

impl Civil {
    fn of(millis: i64) -> Self {
        let days = millis.div_euclid(DAY_MS);
        // Years that begin in March put the leap day last; 400 of them have 146,097 days.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_march_year =
            day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_march_year + 2) / 153;
        let day = day_of_march_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let day_of_year = if month <= 2 {
            day_of_march_year - 305
        } else {
            day_of_march_year + 60 + i64::from(leap)
        };
        Self {
            year,
            month,
            day,
            day_of_year,
            day_of_week: (days + 4).rem_euclid(7) + 1,
            millisecond: millis.rem_euclid(DAY_MS),
        }
    }
}

fn part(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let millis = match &operands[0] {
        value if is_null(value) => return Ok(Some(RawBson::Null)),
        Some(RawBson::DateTime(date)) => date.timestamp_millis(),
        Some(RawBson::Timestamp(timestamp)) => i64::from(timestamp.time) * 1000,
        Some(RawBson::ObjectId(id)) => id.timestamp().timestamp_millis(),
        value => return Err(wrong_type(name, "a date", value)),
    };
    let civil = Civil::of(millis);
    let part = match name {
        "$year" => civil.year,
        "$month" => civil.month,
        "$dayOfMonth" => civil.day,
        "$dayOfYear" => civil.day_of_year,
        "$dayOfWeek" => civil.day_of_week,
        "$hour" => civil.millisecond / 3_600_000,
        "$minute" => civil.millisecond / 60_000 % 60,
        "$second" => civil.millisecond / 1_000 % 60,
        _ => civil.millisecond % 1_000,
    };
    Ok(Some(RawBson::Int32(part as i32)))
}

/// As `2024-05-01T10:00:00.000Z`.
pub(super) fn format(millis: i64) -> String {
    let Civil {
        year,
        month,
        day,
        millisecond,
        ..
    } = Civil::of(millis);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        millisecond / 3_600_000,
        millisecond / 60_000 % 60,
        millisecond / 1_000 % 60,
        millisecond % 1_000
    )
}
