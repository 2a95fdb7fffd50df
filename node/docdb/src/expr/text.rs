//! Operators on strings. Case is that of ASCII letters, as in MongoDB; positions count bytes or code
//! points as the operator's name says.

use std::cmp::Ordering;

use bson::{RawArrayBuf, RawBson};

use super::arithmetic::number;
use super::function::{Function, MANY, list, named};
use super::{Budget, Computed, is_null, refused, wrong_type};
use crate::error::Result;
use crate::filter::pattern::Pattern;
use crate::value::compare::Number;

const TRIM: &[(&str, bool)] = &[("input", false), ("chars", true)];
const MATCH: &[(&str, bool)] = &[("input", false), ("regex", false), ("options", true)];
const REPLACE: &[(&str, bool)] = &[("input", false), ("find", false), ("replacement", false)];

pub(super) static FUNCTIONS: [Function; 19] = [
    list("$concat", 0, MANY, concat),
    list("$toLower", 1, 1, change_case),
    list("$toUpper", 1, 1, change_case),
    list("$strLenBytes", 1, 1, length),
    list("$strLenCP", 1, 1, length),
    list("$substr", 3, 3, substring_bytes),
    list("$substrBytes", 3, 3, substring_bytes),
    list("$substrCP", 3, 3, substring_code_points),
    list("$indexOfBytes", 2, 4, index_of),
    list("$indexOfCP", 2, 4, index_of),
    list("$split", 2, 2, split),
    list("$strcasecmp", 2, 2, compare_ignoring_case),
    named("$trim", TRIM, trim),
    named("$ltrim", TRIM, trim),
    named("$rtrim", TRIM, trim),
    named("$regexMatch", MATCH, regex_match),
    named("$replaceOne", REPLACE, replace),
    named("$replaceAll", REPLACE, replace),
    list("$toString", 1, 1, super::convert::to_string),
];

fn text<'a>(name: &str, operand: &'a Computed) -> Result<&'a str> {
    match operand {
        Some(RawBson::String(text)) => Ok(text),
        other => Err(wrong_type(name, "strings", other)),
    }
}

/// The operand's text; empty for null and missing, numbers and dates as text.
fn text_or_empty(name: &'static str, operand: &Computed) -> Result<String> {
    match operand {
        value if is_null(value) => Ok(String::new()),
        Some(RawBson::String(text)) => Ok(text.clone()),
        Some(value) => {
            super::convert::text_of(value).ok_or_else(|| wrong_type(name, "strings", operand))
        }
        None => Ok(String::new()),
    }
}

fn string(text: impl Into<String>) -> Result<Computed> {
    Ok(Some(RawBson::String(text.into())))
}

fn concat(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    if operands.iter().any(is_null) {
        return Ok(Some(RawBson::Null));
    }
    let mut joined = String::new();
    for operand in operands {
        joined.push_str(text(name, operand)?);
    }
    string(joined)
}

fn change_case(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let text = text_or_empty(name, &operands[0])?;
    string(if name == "$toLower" {
        text.to_ascii_lowercase()
    } else {
        text.to_ascii_uppercase()
    })
}

fn length(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let text = text(name, &operands[0])?;
    let length = if name == "$strLenCP" {
        text.chars().count()
    } else {
        text.len()
    };
    Ok(Some(RawBson::Int32(length as i32)))
}

fn whole(name: &str, operand: &Computed) -> Result<i64> {
    number(name, operand)?
        .and_then(Number::truncate_i64)
        .ok_or_else(|| wrong_type(name, "whole numbers as positions", operand))
}

fn position(name: &str, operand: &Computed) -> Result<usize> {
    usize::try_from(whole(name, operand)?)
        .map_err(|_| refused(format!("'{name}' takes positions from 0")))
}

fn substring_bytes(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let text = text_or_empty(name, &operands[0])?;
    let start = whole(name, &operands[1])?;
    let length = whole(name, &operands[2])?;
    let Ok(start) = usize::try_from(start) else {
        return string("");
    };
    // A negative length means the rest.
    let end = usize::try_from(length).map_or(text.len(), |length| {
        start.saturating_add(length).min(text.len())
    });
    if start >= text.len() {
        return string("");
    }
    match text.get(start..end) {
        Some(part) => string(part),
        None => Err(refused(format!(
            "'{name}' would cut a character in two; use '$substrCP'"
        ))),
    }
}

fn substring_code_points(
    name: &'static str,
    operands: &[Computed],
    _: &mut Budget,
) -> Result<Computed> {
    let text = text_or_empty(name, &operands[0])?;
    let start = position(name, &operands[1])?;
    let length = position(name, &operands[2])?;
    string(text.chars().skip(start).take(length).collect::<String>())
}

fn index_of(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    if is_null(&operands[0]) {
        return Ok(Some(RawBson::Null));
    }
    let (text, sought) = (text(name, &operands[0])?, text(name, &operands[1])?);
    let code_points = name == "$indexOfCP";
    let length = if code_points {
        text.chars().count()
    } else {
        text.len()
    };
    let start = operands
        .get(2)
        .map_or(Ok(0), |start| position(name, start))?;
    let end = operands
        .get(3)
        .map_or(Ok(length), |end| position(name, end))?
        .min(length);
    if start > end {
        return Ok(Some(RawBson::Int32(-1)));
    }
    let to_bytes = |at: usize| {
        if code_points {
            text.char_indices().nth(at).map_or(text.len(), |(at, _)| at)
        } else {
            at
        }
    };
    let (start, end) = (to_bytes(start), to_bytes(end));
    let found = text.as_bytes()[start..end]
        .windows(sought.len().max(1))
        .position(|window| sought.is_empty() || window == sought.as_bytes())
        .or(sought.is_empty().then_some(0));
    Ok(Some(RawBson::Int32(match found {
        None => -1,
        Some(at) if code_points => text[..start + at].chars().count() as i32,
        Some(at) => (start + at) as i32,
    })))
}

fn split(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    if operands.iter().any(is_null) {
        return Ok(Some(RawBson::Null));
    }
    let (text, separator) = (text(name, &operands[0])?, text(name, &operands[1])?);
    if separator.is_empty() {
        return Err(refused(
            "'$split' takes a separator that is not empty".to_owned(),
        ));
    }
    Ok(Some(RawBson::Array(RawArrayBuf::from_iter(
        text.split(separator),
    ))))
}

fn compare_ignoring_case(
    name: &'static str,
    operands: &[Computed],
    _: &mut Budget,
) -> Result<Computed> {
    let a = text_or_empty(name, &operands[0])?.to_ascii_uppercase();
    let b = text_or_empty(name, &operands[1])?.to_ascii_uppercase();
    Ok(Some(RawBson::Int32(match a.cmp(&b) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    })))
}

fn trim(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    if is_null(&operands[0]) || matches!(operands[1], Some(RawBson::Null)) {
        return Ok(Some(RawBson::Null));
    }
    let text_to_trim = text(name, &operands[0])?;
    let unwanted: Option<Vec<char>> = match &operands[1] {
        None => None,
        chars => Some(text(name, chars)?.chars().collect()),
    };
    let goes = |c: char| match &unwanted {
        Some(chars) => chars.contains(&c),
        None => c == '\0' || c.is_whitespace(),
    };
    string(match name {
        "$ltrim" => text_to_trim.trim_start_matches(goes),
        "$rtrim" => text_to_trim.trim_end_matches(goes),
        _ => text_to_trim.trim_matches(goes),
    })
}

fn regex_match(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let flags = if is_null(&operands[2]) {
        ""
    } else {
        text(name, &operands[2])?
    };
    if is_null(&operands[0]) || is_null(&operands[1]) {
        return Ok(Some(RawBson::Boolean(false)));
    }
    let pattern = match &operands[1] {
        Some(RawBson::RegularExpression(regex)) if flags.is_empty() => {
            Pattern::compile(regex.pattern.as_str(), regex.options.as_str())?
        }
        Some(RawBson::RegularExpression(regex)) => Pattern::compile(regex.pattern.as_str(), flags)?,
        pattern => Pattern::compile(text(name, pattern)?, flags)?,
    };
    Ok(Some(RawBson::Boolean(
        pattern.matches_text(text(name, &operands[0])?)?,
    )))
}

fn replace(name: &'static str, operands: &[Computed], budget: &mut Budget) -> Result<Computed> {
    if operands.iter().any(is_null) {
        return Ok(Some(RawBson::Null));
    }
    let (input, sought, replacement) = (
        text(name, &operands[0])?,
        text(name, &operands[1])?,
        text(name, &operands[2])?,
    );
    let times = if name == "$replaceOne" {
        1
    } else {
        input.matches(sought).count()
    };
    // Known before it is built: many short matches and a long replacement multiply.
    budget.take(times as u64, times.saturating_mul(replacement.len()))?;
    string(input.replacen(sought, replacement, times))
}
