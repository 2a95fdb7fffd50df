//! MongoDB's total order over BSON values of all types, on raw bytes.
//!
//! Numbers are compared exactly across int32, int64 and double; NaN is below all numbers and equal
//! to itself; -0 equals 0. Missing is not a value: callers compare it as null. Strings compare by
//! their UTF-8 bytes. Types that `check` refuses have a place in the order, so that it is total, but
//! no promise about the order among themselves.

use std::cmp::Ordering;

use bson::{RawArray, RawBsonRef, RawDocument};

use crate::limits::NESTING_DEPTH_MAX;

/// The place of a type in the order. Types with an equal rank are compared by value.
/// The numbers are the first byte of encoded keys: they never change, and 0 ends a sequence.
pub(crate) mod rank {
    pub(crate) const END: u8 = 0x00;
    pub(crate) const MIN_KEY: u8 = 0x04;
    pub(crate) const UNDEFINED: u8 = 0x08;
    pub(crate) const NULL: u8 = 0x0c;
    pub(crate) const NUMBER: u8 = 0x10;
    pub(crate) const STRING: u8 = 0x18;
    pub(crate) const OBJECT: u8 = 0x20;
    pub(crate) const ARRAY: u8 = 0x28;
    pub(crate) const BINARY: u8 = 0x30;
    pub(crate) const OBJECT_ID: u8 = 0x38;
    pub(crate) const BOOLEAN: u8 = 0x40;
    pub(crate) const DATE: u8 = 0x48;
    pub(crate) const TIMESTAMP: u8 = 0x50;
    pub(crate) const REGEX: u8 = 0x58;
    pub(crate) const DB_POINTER: u8 = 0x60;
    pub(crate) const CODE: u8 = 0x68;
    pub(crate) const CODE_WITH_SCOPE: u8 = 0x70;
    pub(crate) const MAX_KEY: u8 = 0xf0;
}

/// Where the type of `value` stands in the order.
pub(crate) fn rank_of(value: RawBsonRef<'_>) -> u8 {
    match value {
        RawBsonRef::MinKey => rank::MIN_KEY,
        RawBsonRef::Undefined => rank::UNDEFINED,
        RawBsonRef::Null => rank::NULL,
        RawBsonRef::Int32(_)
        | RawBsonRef::Int64(_)
        | RawBsonRef::Double(_)
        | RawBsonRef::Decimal128(_) => rank::NUMBER,
        RawBsonRef::String(_) | RawBsonRef::Symbol(_) => rank::STRING,
        RawBsonRef::Document(_) => rank::OBJECT,
        RawBsonRef::Array(_) => rank::ARRAY,
        RawBsonRef::Binary(_) => rank::BINARY,
        RawBsonRef::ObjectId(_) => rank::OBJECT_ID,
        RawBsonRef::Boolean(_) => rank::BOOLEAN,
        RawBsonRef::DateTime(_) => rank::DATE,
        RawBsonRef::Timestamp(_) => rank::TIMESTAMP,
        RawBsonRef::RegularExpression(_) => rank::REGEX,
        RawBsonRef::DbPointer(_) => rank::DB_POINTER,
        RawBsonRef::JavaScriptCode(_) => rank::CODE,
        RawBsonRef::JavaScriptCodeWithScope(_) => rank::CODE_WITH_SCOPE,
        RawBsonRef::MaxKey => rank::MAX_KEY,
    }
}

/// Orders two values of any types.
pub fn compare(a: RawBsonRef<'_>, b: RawBsonRef<'_>) -> Ordering {
    compare_at(a, b, 0)
}

/// Whether two values are the same value, as `$eq` sees it: `1` equals `1.0`, field order counts.
pub fn equal(a: RawBsonRef<'_>, b: RawBsonRef<'_>) -> bool {
    compare(a, b).is_eq()
}

fn compare_at(a: RawBsonRef<'_>, b: RawBsonRef<'_>, depth: usize) -> Ordering {
    rank_of(a)
        .cmp(&rank_of(b))
        .then_with(|| compare_same_rank(a, b, depth))
}

fn compare_same_rank(a: RawBsonRef<'_>, b: RawBsonRef<'_>, depth: usize) -> Ordering {
    use RawBsonRef as V;
    match (a, b) {
        (V::String(a) | V::Symbol(a), V::String(b) | V::Symbol(b)) => {
            a.as_bytes().cmp(b.as_bytes())
        }
        (V::Document(a), V::Document(b)) => compare_documents(a, b, depth + 1),
        (V::Array(a), V::Array(b)) => compare_arrays(a, b, depth + 1),
        (V::Binary(a), V::Binary(b)) => a
            .bytes
            .len()
            .cmp(&b.bytes.len())
            .then_with(|| u8::from(a.subtype).cmp(&u8::from(b.subtype)))
            .then_with(|| a.bytes.cmp(b.bytes)),
        (V::ObjectId(a), V::ObjectId(b)) => a.bytes().cmp(&b.bytes()),
        (V::Boolean(a), V::Boolean(b)) => a.cmp(&b),
        (V::DateTime(a), V::DateTime(b)) => a.timestamp_millis().cmp(&b.timestamp_millis()),
        (V::Timestamp(a), V::Timestamp(b)) => (a.time, a.increment).cmp(&(b.time, b.increment)),
        (V::RegularExpression(a), V::RegularExpression(b)) => {
            (a.pattern.as_str(), a.options.as_str()).cmp(&(b.pattern.as_str(), b.options.as_str()))
        }
        (V::JavaScriptCode(a), V::JavaScriptCode(b)) => a.cmp(b),
        _ => compare_numbers(a, b),
    }
}

/// Numbers; anything else that shares a rank has only one value.
fn compare_numbers(a: RawBsonRef<'_>, b: RawBsonRef<'_>) -> Ordering {
    match (Number::of(a), Number::of(b)) {
        (Some(a), Some(b)) => a.compare(b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => match (a, b) {
            (RawBsonRef::Decimal128(a), RawBsonRef::Decimal128(b)) => a.bytes().cmp(&b.bytes()),
            _ => Ordering::Equal,
        },
    }
}

/// A number without its storage width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    /// int32 or int64.
    Integer(i64),
    /// double.
    Double(f64),
}

impl Number {
    /// The number that `value` is, if it is one.
    pub(crate) fn of(value: RawBsonRef<'_>) -> Option<Self> {
        match value {
            RawBsonRef::Int32(v) => Some(Self::Integer(i64::from(v))),
            RawBsonRef::Int64(v) => Some(Self::Integer(v)),
            RawBsonRef::Double(v) => Some(Self::Double(v)),
            _ => None,
        }
    }

    /// Exact order of the mathematical values, NaN first.
    pub(crate) fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(&b),
            (Self::Double(a), Self::Double(b)) => compare_doubles(a, b),
            (Self::Integer(a), Self::Double(b)) => compare_integer_double(a, b),
            (Self::Double(a), Self::Integer(b)) => compare_integer_double(b, a).reverse(),
        }
    }

    /// As a double, rounded where it must be.
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Self::Integer(v) => v as f64,
            Self::Double(v) => v,
        }
    }

    /// The integer this number is exactly, if it is one and fits.
    pub(crate) fn as_exact_i64(self) -> Option<i64> {
        match self {
            Self::Integer(v) => Some(v),
            Self::Double(v) => (v.trunc() == v && in_i64_range(v)).then_some(v as i64),
        }
    }

    /// The integer part, if it fits.
    pub(crate) fn truncate_i64(self) -> Option<i64> {
        match self {
            Self::Integer(v) => Some(v),
            Self::Double(v) => in_i64_range(v.trunc()).then_some(v as i64),
        }
    }
}

/// Whether a double without fraction fits an int64; false for NaN. 2^63 itself does not fit.
fn in_i64_range(v: f64) -> bool {
    (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&v)
}

fn compare_doubles(a: f64, b: f64) -> Ordering {
    // The only pairs without an order are those with a NaN.
    a.partial_cmp(&b)
        .unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

fn compare_integer_double(a: i64, b: f64) -> Ordering {
    if b.is_nan() {
        return Ordering::Greater;
    }
    let whole = b.trunc();
    if !in_i64_range(whole) {
        return if b > 0.0 {
            Ordering::Less
        } else {
            Ordering::Greater
        };
    }
    // Equal whole parts: the fraction decides, and it has the sign of b.
    a.cmp(&(whole as i64))
        .then_with(|| compare_doubles(0.0, b - whole))
}

/// Field by field: type, then name, then value; a document that ends first is smaller.
/// Elements that cannot be read end their document: stored documents have passed `check`.
fn compare_documents(a: &RawDocument, b: &RawDocument, depth: usize) -> Ordering {
    if depth > NESTING_DEPTH_MAX {
        return a.as_bytes().cmp(b.as_bytes());
    }
    let mut left = a.iter().map_while(Result::ok);
    let mut right = b.iter().map_while(Result::ok);
    loop {
        let ordering = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some((left_key, left)), Some((right_key, right))) => rank_of(left)
                .cmp(&rank_of(right))
                .then_with(|| left_key.as_str().cmp(right_key.as_str()))
                .then_with(|| compare_same_rank(left, right, depth)),
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
}

fn compare_arrays(a: &RawArray, b: &RawArray, depth: usize) -> Ordering {
    if depth > NESTING_DEPTH_MAX {
        return a.as_bytes().cmp(b.as_bytes());
    }
    let mut left = a.into_iter().map_while(Result::ok);
    let mut right = b.into_iter().map_while(Result::ok);
    loop {
        let ordering = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(left), Some(right)) => compare_at(left, right, depth),
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
}
