//! Dates as text: `$dateToString`, `$dateFromString`.

use std::fmt::Write as _;

use bson::{DateTime, RawBson};

use super::calendar::{Civil, DAY_MS, days, days_in_month, iso_days};
use super::date::millis;
use super::function::{Function, named};
use super::zone::{Zone, offset_minutes};
use super::{Budget, Computed, is_null, refused, wrong_type};
use crate::error::{Error, Result};

const TO: &[(&str, bool)] = &[
    ("date", false),
    ("format", true),
    ("timezone", true),
    ("onNull", true),
];
const FROM: &[(&str, bool)] = &[
    ("dateString", false),
    ("format", true),
    ("timezone", true),
    ("onError", true),
    ("onNull", true),
];

pub(super) static FUNCTIONS: [Function; 2] = [
    named("$dateToString", TO, to_string),
    named("$dateFromString", FROM, from_string),
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A `format` operand; `Err(())` for null.
fn format_of<'a>(name: &str, operand: &'a Computed) -> Result<Result<Option<&'a str>, ()>> {
    match operand {
        None => Ok(Ok(None)),
        Some(RawBson::String(format)) => Ok(Ok(Some(format))),
        value if is_null(value) => Ok(Err(())),
        value => Err(wrong_type(name, "a string as 'format'", value)),
    }
}

fn to_string(name: &'static str, operands: &[Computed], budget: &mut Budget) -> Result<Computed> {
    let (Ok(format), Some(zone)) = (
        format_of(name, &operands[1])?,
        Zone::optional(name, &operands[2])?,
    ) else {
        return Ok(Some(RawBson::Null));
    };
    let Some(millis) = millis(name, &operands[0])? else {
        return Ok(match &operands[3] {
            None => Some(RawBson::Null),
            given => given.clone(),
        });
    };
    let format = format.unwrap_or(match zone {
        Zone::Utc => "%Y-%m-%dT%H:%M:%S.%LZ",
        _ => "%Y-%m-%dT%H:%M:%S.%L",
    });
    budget.take(1, format.len() * 2)?;
    write(format, millis, &zone).map(|text| Some(RawBson::String(text)))
}

fn write(format: &str, millis: i64, zone: &Zone) -> Result<String> {
    let civil = Civil::of(zone.local(millis));
    let mut text = String::with_capacity(format.len() * 2);
    let mut chars = format.chars();
    while let Some(next) = chars.next() {
        if next != '%' {
            text.push(next);
            continue;
        }
        // Writing to a String has no way to fail.
        let _ = match chars.next() {
            Some('Y') => write!(text, "{:04}", civil.year),
            Some('m') => write!(text, "{:02}", civil.month),
            Some('d') => write!(text, "{:02}", civil.day),
            Some('H') => write!(text, "{:02}", civil.hour()),
            Some('M') => write!(text, "{:02}", civil.minute()),
            Some('S') => write!(text, "{:02}", civil.second()),
            Some('L') => write!(text, "{:03}", civil.fraction()),
            Some('j') => write!(text, "{:03}", civil.day_of_year),
            Some('w') => write!(text, "{}", civil.day_of_week),
            Some('u') => write!(text, "{}", civil.iso_day_of_week()),
            Some('U') => write!(text, "{:02}", civil.week()),
            Some('V') => write!(text, "{:02}", civil.iso_week().1),
            Some('G') => write!(text, "{:04}", civil.iso_week().0),
            Some('B') => write!(text, "{}", MONTHS[civil.month as usize - 1]),
            Some('b') => write!(text, "{}", &MONTHS[civil.month as usize - 1][..3]),
            Some('z') => {
                let minutes = zone.offset_ms(millis) / 60_000;
                let sign = if minutes < 0 { '-' } else { '+' };
                let minutes = minutes.abs();
                write!(text, "{sign}{:02}{:02}", minutes / 60, minutes % 60)
            }
            Some('Z') => write!(text, "{:+}", zone.offset_ms(millis) / 60_000),
            Some('%') => {
                text.push('%');
                Ok(())
            }
            Some(other) => return Err(unknown_specifier("$dateToString", other)),
            None => {
                return Err(refused(
                    "'$dateToString': the format ends in a lone '%'; write '%%'".to_owned(),
                ));
            }
        };
    }
    Ok(text)
}

fn unknown_specifier(operator: &str, specifier: char) -> Error {
    refused(format!(
        "'{operator}': the format has the unknown specifier '%{specifier}'"
    ))
}

fn from_string(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let (Ok(format), Some(zone)) = (
        format_of(name, &operands[1])?,
        Zone::optional(name, &operands[2])?,
    ) else {
        return Ok(Some(RawBson::Null));
    };
    if is_null(&operands[0]) {
        return Ok(match &operands[4] {
            None => Some(RawBson::Null),
            given => given.clone(),
        });
    }
    let read = match &operands[0] {
        Some(RawBson::String(text)) => {
            let zone = operands[2].is_some().then_some(&zone);
            match format {
                Some(format) => read_format(text, format, zone),
                None => read_iso(text, zone),
            }
        }
        value => Err(wrong_type(name, "a string", value)),
    };
    match (read, &operands[3]) {
        (Ok(millis), _) => Ok(Some(RawBson::DateTime(DateTime::from_millis(millis)))),
        (Err(_), Some(otherwise)) => Ok(Some(otherwise.clone())),
        (Err(error), None) => Err(error),
    }
}

fn unreadable(text: &str, expected: &str) -> Error {
    refused(format!(
        "'$dateFromString' cannot read \"{}\" as {expected}",
        text.chars().take(40).collect::<String>()
    ))
}

/// Digits at the beginning of a text, at least `least` and at most `most`.
fn digits(text: &mut &str, least: usize, most: usize) -> Option<i64> {
    let count = text
        .bytes()
        .take(most)
        .take_while(u8::is_ascii_digit)
        .count();
    if count < least {
        return None;
    }
    let (number, rest) = text.split_at(count);
    *text = rest;
    number.parse().ok()
}

fn eat(text: &mut &str, prefix: &str) -> bool {
    match text.strip_prefix(prefix) {
        Some(rest) => {
            *text = rest;
            true
        }
        None => false,
    }
}

/// `2017-02-08`, `2017-02-08T12:10:40.787Z`, `2017-02-08 12:10+08:00`, ..
fn read_iso(text: &str, zone: Option<&Zone>) -> Result<i64> {
    let failed = || {
        unreadable(
            text,
            "a date such as 2017-02-08T12:10:40.787Z; give a 'format'",
        )
    };
    let mut rest = text.trim();
    let year = digits(&mut rest, 4, 4).ok_or_else(failed)?;
    let dashed = eat(&mut rest, "-");
    let month = digits(&mut rest, 1, 2).ok_or_else(failed)?;
    if dashed && !eat(&mut rest, "-") {
        return Err(failed());
    }
    let day = digits(&mut rest, 1, 2).ok_or_else(failed)?;
    let mut time = 0;
    let mut own_zone = None;
    if eat(&mut rest, "T") || eat(&mut rest, "t") || eat(&mut rest, " ") {
        time = read_time(&mut rest).ok_or_else(failed)?;
        own_zone = read_zone(rest.trim()).ok_or_else(failed)?;
    } else if !rest.is_empty() {
        return Err(failed());
    }
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return Err(failed());
    }
    instant(days(year, month, day) * DAY_MS + time, own_zone, zone)
}

/// `12:10`, `12:10:40`, `12:10:40.787`; milliseconds.
fn read_time(rest: &mut &str) -> Option<i64> {
    let hour = digits(rest, 1, 2)?;
    let colon = eat(rest, ":");
    let minute = match digits(rest, 2, 2) {
        Some(minute) => minute,
        None if colon => return None,
        None => 0,
    };
    let (mut second, mut fraction) = (0, 0);
    if colon && eat(rest, ":") || !colon && rest.starts_with(|c: char| c.is_ascii_digit()) {
        second = digits(rest, 2, 2)?;
        if eat(rest, ".") || eat(rest, ",") {
            let before = rest.len();
            let number = digits(rest, 1, 9)?;
            let places = (before - rest.len()) as u32;
            fraction = if places <= 3 {
                number * 10_i64.pow(3 - places)
            } else {
                number / 10_i64.pow(places - 3)
            };
        }
    }
    (hour < 24 && minute < 60 && second < 60)
        .then_some(hour * 3_600_000 + minute * 60_000 + second * 1_000 + fraction)
}

/// The zone at the end of a text; the inner `None`: there is none.
fn read_zone(rest: &str) -> Option<Option<Zone>> {
    match rest {
        "" => Some(None),
        "Z" | "z" => Some(Some(Zone::Utc)),
        name => Zone::parse(name).map(Some),
    }
}

/// Local time with the zone that the text has, or that the caller gave, but not both.
fn instant(local: i64, own: Option<Zone>, given: Option<&Zone>) -> Result<i64> {
    match (own, given) {
        (Some(_), Some(_)) => Err(refused(
            "'$dateFromString' has a time zone in the text and as 'timezone'; leave one out"
                .to_owned(),
        )),
        (Some(zone), None) => Ok(zone.instant(local)),
        (None, Some(zone)) => Ok(zone.instant(local)),
        (None, None) => Ok(local),
    }
}

/// What a format has read so far.
#[derive(Default)]
struct Fields {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    iso_day: Option<i64>,
    time: i64,
    zone: Option<Zone>,
}

fn read_format(text: &str, format: &str, zone: Option<&Zone>) -> Result<i64> {
    let failed = || unreadable(text, &format!("a date of the format \"{format}\""));
    let mut fields = Fields::default();
    let mut rest = text;
    let mut chars = format.chars();
    while let Some(next) = chars.next() {
        if next != '%' {
            if !eat(&mut rest, next.encode_utf8(&mut [0; 4])) {
                return Err(failed());
            }
            continue;
        }
        let specifier = chars.next().unwrap_or('%');
        if !read_field(specifier, &mut rest, &mut fields)?.is_some_and(|read| read) {
            return Err(failed());
        }
    }
    if !rest.is_empty() {
        return Err(failed());
    }
    let days = fields.days().ok_or_else(failed)?;
    instant(days * DAY_MS + fields.time, fields.zone, zone)
}

/// Whether the text has what the specifier stands for.
fn read_field(specifier: char, rest: &mut &str, fields: &mut Fields) -> Result<Option<bool>> {
    let mut scaled = |limit: i64, most: usize, unit: i64| {
        let number = digits(rest, 1, most).filter(|number| *number < limit)?;
        fields.time += number * unit;
        Some(true)
    };
    Ok(match specifier {
        'H' => scaled(24, 2, 3_600_000),
        'M' => scaled(60, 2, 60_000),
        'S' => scaled(60, 2, 1_000),
        'L' => scaled(1_000, 3, 1),
        'Y' => keep(&mut fields.year, digits(rest, 4, 4)),
        'm' => keep(&mut fields.month, digits(rest, 1, 2)),
        'd' => keep(&mut fields.day, digits(rest, 1, 2)),
        'j' => keep(&mut fields.day_of_year, digits(rest, 1, 3)),
        'G' => keep(&mut fields.iso_year, digits(rest, 4, 4)),
        'V' => keep(&mut fields.iso_week, digits(rest, 1, 2)),
        'u' => keep(&mut fields.iso_day, digits(rest, 1, 1)),
        'b' | 'B' => keep(&mut fields.month, month_name(rest, specifier == 'B')),
        'z' => {
            let length = rest
                .find(|c: char| !matches!(c, '+' | '-' | ':' | '0'..='9'))
                .unwrap_or(rest.len());
            let (text, after) = rest.split_at(length);
            let after_letter = after.strip_prefix('Z').filter(|_| text.is_empty());
            fields.zone = match after_letter {
                Some(_) => Some(Zone::Utc),
                None => offset_minutes(text).map(|minutes| Zone::Fixed(minutes * 60_000)),
            };
            *rest = after_letter.unwrap_or(after);
            Some(fields.zone.is_some())
        }
        'Z' => {
            let sign = if eat(rest, "-") {
                -1
            } else {
                eat(rest, "+");
                1
            };
            let minutes = digits(rest, 1, 4);
            fields.zone = minutes.map(|minutes| Zone::Fixed(sign * minutes * 60_000));
            Some(fields.zone.is_some())
        }
        '%' => Some(eat(rest, "%")),
        other => return Err(unknown_specifier("$dateFromString", other)),
    })
}

fn keep(field: &mut Option<i64>, read: Option<i64>) -> Option<bool> {
    *field = read;
    Some(read.is_some())
}

fn month_name(rest: &mut &str, whole: bool) -> Option<i64> {
    for (name, number) in MONTHS.iter().zip(1..) {
        let name = if whole { name } else { &name[..3] };
        let begins = rest
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name));
        if begins {
            *rest = &rest[name.len()..];
            return Some(number);
        }
    }
    None
}

impl Fields {
    /// Days since 1970, when what was read fixes a day.
    fn days(&self) -> Option<i64> {
        if let Some(year) = self.iso_year {
            let (week, day) = (self.iso_week.unwrap_or(1), self.iso_day.unwrap_or(1));
            let fits = (1..=53).contains(&week) && (1..=7).contains(&day);
            return fits.then(|| iso_days(year, week, day));
        }
        let year = self.year?;
        if let Some(day) = self.day_of_year {
            return (1..=366).contains(&day).then(|| days(year, 1, day));
        }
        let (month, day) = (self.month?, self.day?);
        let fits = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
        fits.then(|| days(year, month, day))
    }
}
