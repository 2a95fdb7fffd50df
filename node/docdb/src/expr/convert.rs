//! Operators that tell and change types.

use bson::{DateTime, RawBson};

use super::function::{Function, list};
use super::{Budget, Computed, is_null, is_true, refused, wrong_type};
use crate::error::Result;
use crate::value::compare::Number;
use crate::value::type_name;

pub(super) static FUNCTIONS: [Function; 7] = [
    list("$type", 1, 1, type_of),
    list("$isNumber", 1, 1, is_number),
    list("$toBool", 1, 1, to_bool),
    list("$toInt", 1, 1, to_integer),
    list("$toLong", 1, 1, to_integer),
    list("$toDouble", 1, 1, to_double),
    list("$toDate", 1, 1, to_date),
];

fn type_of(_: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let name = operands[0]
        .as_ref()
        .map_or("missing", |value| type_name(value.as_raw_bson_ref()));
    Ok(Some(RawBson::String(name.to_owned())))
}

fn is_number(_: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let number = operands[0]
        .as_ref()
        .map(RawBson::as_raw_bson_ref)
        .and_then(Number::of);
    Ok(Some(RawBson::Boolean(number.is_some())))
}

fn to_bool(_: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    Ok(Some(if is_null(&operands[0]) {
        RawBson::Null
    } else {
        RawBson::Boolean(is_true(&operands[0]))
    }))
}

fn cannot_parse(name: &str, text: &str) -> crate::error::Error {
    refused(format!(
        "'{name}' cannot read \"{}\" as a number",
        text.chars().take(40).collect::<String>()
    ))
}

fn to_integer(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let value = match &operands[0] {
        value if is_null(value) => return Ok(Some(RawBson::Null)),
        Some(RawBson::Boolean(value)) => Some(i64::from(*value)),
        Some(RawBson::String(text)) => Some(text.parse().map_err(|_| cannot_parse(name, text))?),
        Some(RawBson::DateTime(date)) if name == "$toLong" => Some(date.timestamp_millis()),
        Some(value) => match Number::of(value.as_raw_bson_ref()) {
            Some(number) => number.truncate_i64(),
            None => return Err(wrong_type(name, "a number, bool or string", &operands[0])),
        },
        None => None,
    };
    let out_of_range = || refused(format!("'{name}': the number does not fit"));
    let value = value.ok_or_else(out_of_range)?;
    Ok(Some(match name {
        "$toLong" => RawBson::Int64(value),
        _ => RawBson::Int32(i32::try_from(value).map_err(|_| out_of_range())?),
    }))
}

fn to_double(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let value = match &operands[0] {
        value if is_null(value) => return Ok(Some(RawBson::Null)),
        Some(RawBson::Boolean(value)) => f64::from(u8::from(*value)),
        Some(RawBson::String(text)) => text.parse().map_err(|_| cannot_parse(name, text))?,
        Some(RawBson::DateTime(date)) => date.timestamp_millis() as f64,
        value => match value
            .as_ref()
            .map(RawBson::as_raw_bson_ref)
            .and_then(Number::of)
        {
            Some(number) => number.as_f64(),
            None => return Err(wrong_type(name, "a number, bool, date or string", value)),
        },
    };
    Ok(Some(RawBson::Double(value)))
}

fn to_date(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let millis = match &operands[0] {
        value if is_null(value) => return Ok(Some(RawBson::Null)),
        Some(RawBson::DateTime(date)) => date.timestamp_millis(),
        Some(RawBson::ObjectId(id)) => id.timestamp().timestamp_millis(),
        Some(RawBson::String(text)) => DateTime::parse_rfc3339_str(text)
            .map_err(|_| refused(format!("'{name}' takes dates such as 2024-05-01T10:00:00Z")))?
            .timestamp_millis(),
        Some(RawBson::Int32(_)) | None => {
            return Err(wrong_type(
                name,
                "a long, double, string or date",
                &operands[0],
            ));
        }
        Some(value) => Number::of(value.as_raw_bson_ref())
            .and_then(Number::truncate_i64)
            .ok_or_else(|| wrong_type(name, "a long, double, string or date", &operands[0]))?,
    };
    Ok(Some(RawBson::DateTime(DateTime::from_millis(millis))))
}

pub(super) fn to_string(
    name: &'static str,
    operands: &[Computed],
    _: &mut Budget,
) -> Result<Computed> {
    match &operands[0] {
        value if is_null(value) => Ok(Some(RawBson::Null)),
        Some(RawBson::String(text)) => Ok(Some(RawBson::String(text.clone()))),
        value => match value.as_ref().and_then(text_of) {
            Some(text) => Ok(Some(RawBson::String(text))),
            None => Err(wrong_type(name, "a number, bool, date or objectId", value)),
        },
    }
}

/// Numbers, booleans, dates and object ids as text.
pub(super) fn text_of(value: &RawBson) -> Option<String> {
    match value {
        RawBson::Int32(v) => Some(v.to_string()),
        RawBson::Int64(v) => Some(v.to_string()),
        RawBson::Double(v) if v.is_nan() => Some("NaN".to_owned()),
        RawBson::Double(v) if v.is_infinite() => {
            Some(if *v > 0.0 { "Infinity" } else { "-Infinity" }.to_owned())
        }
        RawBson::Double(v) => Some(v.to_string()),
        RawBson::Boolean(v) => Some(v.to_string()),
        RawBson::ObjectId(v) => Some(v.to_hex()),
        RawBson::DateTime(v) => Some(super::date::format(v.timestamp_millis())),
        _ => None,
    }
}
