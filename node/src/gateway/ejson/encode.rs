//! BSON to EJSON text.

use std::fmt::Write as _;

use bson::{RawBsonRef, RawDocument};

use super::Error;

/// Deepest nesting written; stored documents are held to less.
const DEPTH_MAX: usize = 256;

/// How values are spelt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Each number and date with its type: `{"$numberInt":"1"}`.
    Canonical,
    /// Plain numbers, dates as `{"$date": ms}`: what the older clients read.
    Json,
}

/// Appends the text of a document.
pub fn write_document(
    out: &mut String,
    document: &RawDocument,
    dialect: Dialect,
) -> Result<(), Error> {
    object(out, document, dialect, DEPTH_MAX)
}

/// Appends the text of one value.
pub fn write_value(out: &mut String, value: RawBsonRef<'_>, dialect: Dialect) -> Result<(), Error> {
    any(out, value, dialect, DEPTH_MAX)
}

fn object(
    out: &mut String,
    document: &RawDocument,
    dialect: Dialect,
    depth_left: usize,
) -> Result<(), Error> {
    out.push('{');
    for (index, element) in document.iter().enumerate() {
        let (name, value) = element.map_err(unreadable)?;
        if index > 0 {
            out.push(',');
        }
        write_json_string(out, name.as_str());
        out.push(':');
        any(out, value, dialect, depth_left)?;
    }
    out.push('}');
    Ok(())
}

fn any(
    out: &mut String,
    value: RawBsonRef<'_>,
    dialect: Dialect,
    depth_left: usize,
) -> Result<(), Error> {
    let depth_left = depth_left
        .checked_sub(1)
        .ok_or_else(|| Error("a stored document is nested too deep".into()))?;
    match value {
        RawBsonRef::Document(document) => object(out, document, dialect, depth_left)?,
        RawBsonRef::Array(array) => {
            out.push('[');
            for (index, element) in array.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                any(out, element.map_err(unreadable)?, dialect, depth_left)?;
            }
            out.push(']');
        }
        RawBsonRef::String(text) => write_json_string(out, text),
        RawBsonRef::Boolean(value) => out.push_str(if value { "true" } else { "false" }),
        RawBsonRef::Null | RawBsonRef::Undefined => out.push_str("null"),
        RawBsonRef::Int32(value) => number(out, "$numberInt", format_args!("{value}"), dialect),
        RawBsonRef::Int64(value) => number(out, "$numberLong", format_args!("{value}"), dialect),
        RawBsonRef::Double(value) => double(out, value, dialect),
        RawBsonRef::DateTime(date) => {
            out.push_str(r#"{"$date":"#);
            number(
                out,
                "$numberLong",
                format_args!("{}", date.timestamp_millis()),
                dialect,
            );
            out.push('}');
        }
        RawBsonRef::ObjectId(id) => append(out, format_args!(r#"{{"$oid":"{id}"}}"#)),
        RawBsonRef::RegularExpression(regex) => {
            let (open, middle, close) = match dialect {
                Dialect::Canonical => (
                    r#"{"$regularExpression":{"pattern":"#,
                    r#","options":"#,
                    "}}",
                ),
                Dialect::Json => (r#"{"$regex":"#, r#","$options":"#, "}"),
            };
            out.push_str(open);
            write_json_string(out, regex.pattern.as_str());
            out.push_str(middle);
            write_json_string(out, regex.options.as_str());
            out.push_str(close);
        }
        // The rest has one notation in all dialects, and bson knows it.
        rare => {
            out.push_str(&serde_json::to_string(&rare).map_err(|error| Error(error.to_string()))?);
        }
    }
    Ok(())
}

fn unreadable(error: impl std::fmt::Display) -> Error {
    Error(format!("a stored document cannot be read: {error}"))
}

fn append(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String has no way to fail.
    let _ = out.write_fmt(text);
}

fn number(out: &mut String, notation: &str, digits: std::fmt::Arguments<'_>, dialect: Dialect) {
    match dialect {
        Dialect::Canonical => append(out, format_args!(r#"{{"{notation}":"{digits}"}}"#)),
        Dialect::Json => append(out, digits),
    }
}

fn double(out: &mut String, value: f64, dialect: Dialect) {
    match dialect {
        Dialect::Canonical if value.is_nan() => out.push_str(r#"{"$numberDouble":"NaN"}"#),
        Dialect::Canonical if value.is_infinite() => {
            let sign = if value < 0.0 { "-" } else { "" };
            append(out, format_args!(r#"{{"$numberDouble":"{sign}Infinity"}}"#));
        }
        Dialect::Canonical => append(out, format_args!(r#"{{"$numberDouble":"{value:?}"}}"#)),
        // As JSON.stringify does.
        Dialect::Json if !value.is_finite() => out.push_str("null"),
        Dialect::Json => append(out, format_args!("{value:?}")),
    }
}

/// Appends `text` as a JSON string.
pub fn write_json_string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain_from = 0;
    for (index, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..=0x1f => "",
            _ => continue,
        };
        out.push_str(&text[plain_from..index]);
        if escape.is_empty() {
            append(out, format_args!("\\u{byte:04x}"));
        } else {
            out.push_str(escape);
        }
        plain_from = index + 1;
    }
    out.push_str(&text[plain_from..]);
    out.push('"');
}
