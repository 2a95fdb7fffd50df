//! Objects that are the notation of one value: `{"$numberLong": "5"}`, `{"$date": ...}` and their kind.

use std::str::FromStr;

use bson::oid::ObjectId;
use bson::spec::{BinarySubtype, ElementType};
use bson::{Binary, DateTime, Decimal128, RawBsonRef, RawDocument, Uuid};

/// A value that JSON has no own notation for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Int32(i32),
    Int64(i64),
    Double(f64),
    DateTime(i64),
    Decimal128([u8; 16]),
    ObjectId([u8; 12]),
    Timestamp { time: u32, increment: u32 },
    Binary { subtype: u8, bytes: Vec<u8> },
    Regex { pattern: String, options: String },
    MinKey,
    MaxKey,
}

impl Scalar {
    pub(super) fn element_type(&self) -> ElementType {
        match self {
            Self::Int32(_) => ElementType::Int32,
            Self::Int64(_) => ElementType::Int64,
            Self::Double(_) => ElementType::Double,
            Self::DateTime(_) => ElementType::DateTime,
            Self::Decimal128(_) => ElementType::Decimal128,
            Self::ObjectId(_) => ElementType::ObjectId,
            Self::Timestamp { .. } => ElementType::Timestamp,
            Self::Binary { .. } => ElementType::Binary,
            Self::Regex { .. } => ElementType::RegularExpression,
            Self::MinKey => ElementType::MinKey,
            Self::MaxKey => ElementType::MaxKey,
        }
    }
}

/// The value that `object` stands for; `None` when it is an object of its own right.
///
/// An object that begins with a notation's name and goes on with other members is refused: it is
/// neither a value nor an operator. `$regex` is both, so it is a value only on its own or with `$options`.
pub(super) fn resolve(object: &RawDocument, now_unix_ms: i64) -> Result<Option<Scalar>, String> {
    let mut members = object.iter();
    let Some(first) = members.next() else {
        return Ok(None);
    };
    let (name, value) = first
        .map(|(name, value)| (name.as_str(), value))
        .map_err(|error| error.to_string())?;
    let second = members
        .next()
        .transpose()
        .map_err(|error| error.to_string())?;
    let second = second.map(|(name, value)| (name.as_str(), value));
    let more = members.next().is_some();

    if matches!(name, "$regex" | "$options" | "$binary") {
        if let (Some(second), false) = (second, more) {
            return pair((name, value), second);
        }
        if name == "$regex" && second.is_none() {
            return value.as_str().map(|pattern| regex(pattern, "")).transpose();
        }
        if name != "$binary" {
            return Ok(None);
        }
    }
    let scalar = match name {
        "$numberInt" => text(name, value)?
            .parse()
            .map(Scalar::Int32)
            .map_err(|_| wrong(name, "an integer of 32 bits")),
        "$numberLong" => text(name, value)?
            .parse()
            .map(Scalar::Int64)
            .map_err(|_| wrong(name, "an integer of 64 bits")),
        "$numberDouble" => double(text(name, value)?)
            .map(Scalar::Double)
            .ok_or_else(|| wrong(name, "a number")),
        "$numberDecimal" => Decimal128::from_str(text(name, value)?)
            .map(|decimal| Scalar::Decimal128(decimal.bytes()))
            .map_err(|_| wrong(name, "a decimal number")),
        "$date" => date(value, now_unix_ms).map(Scalar::DateTime),
        "$tcb_server_date" => server_date(name, value, now_unix_ms).map(Scalar::DateTime),
        "$oid" => ObjectId::parse_str(text(name, value)?)
            .map(|id| Scalar::ObjectId(id.bytes()))
            .map_err(|_| wrong(name, "24 hex digits")),
        "$uuid" => Uuid::parse_str(text(name, value)?)
            .map(|uuid| Scalar::Binary {
                subtype: BinarySubtype::Uuid.into(),
                bytes: uuid.bytes().to_vec(),
            })
            .map_err(|_| wrong(name, "a UUID")),
        "$binary" => binary(value),
        "$regularExpression" => regular_expression(value),
        "$timestamp" => timestamp(value),
        "$minKey" => Ok(Scalar::MinKey),
        "$maxKey" => Ok(Scalar::MaxKey),
        "$code" | "$symbol" | "$dbPointer" | "$undefined" => {
            Err(format!("`{name}` values are not supported"))
        }
        _ => return Ok(None),
    }?;
    if second.is_some() {
        return Err(format!(
            "`{name}` stands for a value and must be the only member of its object"
        ));
    }
    Ok(Some(scalar))
}

/// Notations of two members.
fn pair(
    first: (&str, RawBsonRef<'_>),
    second: (&str, RawBsonRef<'_>),
) -> Result<Option<Scalar>, String> {
    let (pattern, options) = match (first.0, second.0) {
        ("$regex", "$options") => (first.1, second.1),
        ("$options", "$regex") => (second.1, first.1),
        ("$binary", "$type") => {
            let subtype = subtype(text("$type", second.1)?)?;
            return Ok(Some(base64(text("$binary", first.1)?, subtype)?));
        }
        _ => return Ok(None),
    };
    match (pattern, options) {
        (RawBsonRef::String(pattern), RawBsonRef::String(options)) => {
            regex(pattern, options).map(Some)
        }
        _ => Ok(None),
    }
}

fn text<'a>(name: &str, value: RawBsonRef<'a>) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| wrong(name, "a string"))
}

fn wrong(name: &str, expected: &str) -> String {
    format!("`{name}` needs {expected}")
}

fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // Rust reads `inf` and `nan` too, which no client writes.
        _ if text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E')) =>
        {
            text.parse().ok()
        }
        _ => None,
    }
}

/// A number without fraction, whatever its type.
fn integer(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Int32(value) => Some(value.into()),
        RawBsonRef::Int64(value) => Some(value),
        RawBsonRef::Double(value) if value.fract() == 0.0 && value.abs() < 9e15 => {
            Some(value as i64)
        }
        _ => None,
    }
}

fn date(value: RawBsonRef<'_>, now_unix_ms: i64) -> Result<i64, String> {
    match value {
        RawBsonRef::String(text) => DateTime::parse_rfc3339_str(text)
            .map(DateTime::timestamp_millis)
            .map_err(|_| {
                wrong(
                    "$date",
                    "milliseconds or an ISO date such as 2026-01-31T12:00:00.000Z",
                )
            }),
        RawBsonRef::Document(_) => server_date("$date", value, now_unix_ms),
        _ => integer(value).ok_or_else(|| wrong("$date", "milliseconds, an ISO date or an offset")),
    }
}

fn server_date(name: &str, value: RawBsonRef<'_>, now_unix_ms: i64) -> Result<i64, String> {
    let offset = match value {
        RawBsonRef::Document(object) => member(object, "offset")?.and_then(integer),
        _ => None,
    };
    let offset = offset.ok_or_else(|| wrong(name, "an `offset` in whole milliseconds"))?;
    now_unix_ms
        .checked_add(offset)
        .ok_or_else(|| wrong(name, "a smaller `offset`"))
}

fn member<'a>(object: &'a RawDocument, name: &str) -> Result<Option<RawBsonRef<'a>>, String> {
    object.get(name).map_err(|error| error.to_string())
}

fn regular_expression(value: RawBsonRef<'_>) -> Result<Scalar, String> {
    let object = value
        .as_document()
        .ok_or_else(|| wrong("$regularExpression", "`pattern` and `options`"))?;
    let pattern = member(object, "pattern")?.and_then(RawBsonRef::as_str);
    let options = member(object, "options")?.and_then(RawBsonRef::as_str);
    regex(
        pattern.ok_or_else(|| wrong("$regularExpression", "a `pattern`"))?,
        options.unwrap_or_default(),
    )
}

/// The flags of JavaScript that say how to search rather than what to find are dropped.
fn regex(pattern: &str, flags: &str) -> Result<Scalar, String> {
    if pattern.contains('\0') {
        return Err("a regular expression contains the character U+0000".into());
    }
    let mut options: Vec<char> = flags
        .chars()
        .filter(|flag| !matches!(flag, 'g' | 'u' | 'y'))
        .collect();
    options.sort_unstable();
    options.dedup();
    if let Some(unknown) = options
        .iter()
        .find(|flag| !matches!(flag, 'i' | 'm' | 's' | 'x'))
    {
        return Err(format!(
            "the regular expression has the unknown flag {unknown:?}: use i, m, s or x"
        ));
    }
    Ok(Scalar::Regex {
        pattern: pattern.to_owned(),
        options: options.into_iter().collect(),
    })
}

fn binary(value: RawBsonRef<'_>) -> Result<Scalar, String> {
    let object = value
        .as_document()
        .ok_or_else(|| wrong("$binary", "`base64` and `subType`"))?;
    let part = |name| {
        member(object, name)?
            .and_then(RawBsonRef::as_str)
            .ok_or_else(|| wrong("$binary", "`base64` and `subType`"))
    };
    base64(part("base64")?, subtype(part("subType")?)?)
}

fn subtype(hex_digits: &str) -> Result<u8, String> {
    u8::from_str_radix(hex_digits, 16)
        // Subtype 2 carries a second length of its own and has been out of use since BSON 1.0.
        .ok()
        .filter(|subtype| *subtype != 2)
        .ok_or_else(|| wrong("$binary", "a `subType` of two hex digits other than 02"))
}

fn base64(text: &str, subtype: u8) -> Result<Scalar, String> {
    let binary = Binary::from_base64(text, Some(subtype.into()))
        .map_err(|_| wrong("$binary", "base64 text"))?;
    Ok(Scalar::Binary {
        subtype,
        bytes: binary.bytes,
    })
}

fn timestamp(value: RawBsonRef<'_>) -> Result<Scalar, String> {
    let object = value
        .as_document()
        .ok_or_else(|| wrong("$timestamp", "`t` and `i`"))?;
    let part = |name| {
        let number = member(object, name)?
            .and_then(integer)
            .and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| wrong("$timestamp", "`t` and `i` as unsigned integers of 32 bits"))
    };
    Ok(Scalar::Timestamp {
        time: part("t")?,
        increment: part("i")?,
    })
}
