//! Comparison and arithmetic operators.
//!
//! Arithmetic on null or a missing field gives null. Integers that overflow 64 bits become doubles.
//! Replicas on different machines must agree to the bit: what IEEE 754 does not fix is computed in
//! software (`transcendental`).

use std::cmp::Ordering;

use bson::{DateTime, RawBson, RawBsonRef};

use super::function::{Function, MANY, list};
use super::{Budget, Computed, is_null, is_true, refused, wrong_type};
use crate::error::Result;
use crate::value::arithmetic::{combine, integer_result};
use crate::value::compare;
use crate::value::compare::Number;

pub(super) static FUNCTIONS: [Function; 20] = [
    list("$eq", 2, 2, compare_values),
    list("$ne", 2, 2, compare_values),
    list("$lt", 2, 2, compare_values),
    list("$lte", 2, 2, compare_values),
    list("$gt", 2, 2, compare_values),
    list("$gte", 2, 2, compare_values),
    list("$cmp", 2, 2, compare_values),
    list("$not", 1, 1, not),
    list("$add", 0, MANY, add),
    list("$subtract", 2, 2, subtract),
    list("$multiply", 0, MANY, multiply),
    list("$divide", 2, 2, divide),
    list("$mod", 2, 2, modulo),
    list("$pow", 2, 2, pow),
    list("$abs", 1, 1, abs),
    list("$ceil", 1, 1, round_to_whole),
    list("$floor", 1, 1, round_to_whole),
    list("$round", 1, 2, round),
    list("$trunc", 1, 2, round),
    list("$sqrt", 1, 1, sqrt),
];

/// Missing is below null, as an undefined value is.
pub(super) fn order(a: &Computed, b: &Computed) -> Ordering {
    fn raw(value: &Computed) -> RawBsonRef<'_> {
        value
            .as_ref()
            .map_or(RawBsonRef::Undefined, RawBson::as_raw_bson_ref)
    }
    compare(raw(a), raw(b))
}

fn compare_values(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let order = order(&operands[0], &operands[1]);
    Ok(Some(RawBson::Boolean(match name {
        "$eq" => order.is_eq(),
        "$ne" => order.is_ne(),
        "$lt" => order.is_lt(),
        "$lte" => order.is_le(),
        "$gt" => order.is_gt(),
        "$gte" => order.is_ge(),
        _ => return Ok(Some(RawBson::Int32(order as i32))),
    })))
}

fn not(_: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    Ok(Some(RawBson::Boolean(!is_true(&operands[0]))))
}

/// The operand as a number; `None` for null and missing.
pub(super) fn number(name: &str, operand: &Computed) -> Result<Option<Number>> {
    if is_null(operand) {
        return Ok(None);
    }
    let number = operand
        .as_ref()
        .map(RawBson::as_raw_bson_ref)
        .and_then(Number::of);
    number
        .map(Some)
        .ok_or_else(|| wrong_type(name, "numbers", operand))
}

/// Both as numbers in the type they widen to, with a double in place of an overflow.
fn widen(
    a: &RawBson,
    b: &RawBson,
    integer: fn(i64, i64) -> Option<i64>,
    double: fn(f64, f64) -> f64,
) -> Option<RawBson> {
    let (a, b) = (a.as_raw_bson_ref(), b.as_raw_bson_ref());
    combine(a, b, integer, double).or_else(|| {
        Some(RawBson::Double(double(
            Number::of(a)?.as_f64(),
            Number::of(b)?.as_f64(),
        )))
    })
}

fn add(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let mut date = None;
    let mut sum = RawBson::Int32(0);
    if operands.iter().any(is_null) {
        return Ok(Some(RawBson::Null));
    }
    for operand in operands.iter().flatten() {
        match operand {
            RawBson::DateTime(_) if date.is_some() => {
                return Err(refused("'$add' takes only one date".to_owned()));
            }
            RawBson::DateTime(value) => date = Some(value.timestamp_millis()),
            number => {
                sum = widen(&sum, number, i64::checked_add, |a, b| a + b).ok_or_else(|| {
                    wrong_type(name, "numbers and one date", &Some(number.clone()))
                })?;
            }
        }
    }
    match date {
        None => Ok(Some(sum)),
        Some(date) => shift(date, &sum, 1),
    }
}

/// A date moved by a number of milliseconds.
fn shift(date: i64, millis: &RawBson, sign: i64) -> Result<Computed> {
    let millis = Number::of(millis.as_raw_bson_ref()).and_then(|number| match number {
        Number::Integer(v) => Some(v),
        Number::Double(v) => Number::Double(v.round()).as_exact_i64(),
    });
    let moved = millis
        .and_then(|millis| millis.checked_mul(sign))
        .and_then(|millis| date.checked_add(millis));
    let moved = moved.ok_or_else(|| refused("a date leaves its range of 64 bits".to_owned()))?;
    Ok(Some(RawBson::DateTime(DateTime::from_millis(moved))))
}

fn subtract(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    match (&operands[0], &operands[1]) {
        (a, b) if is_null(a) || is_null(b) => Ok(Some(RawBson::Null)),
        (Some(RawBson::DateTime(a)), Some(RawBson::DateTime(b))) => {
            let millis = a.timestamp_millis().checked_sub(b.timestamp_millis());
            millis
                .map(|millis| Some(RawBson::Int64(millis)))
                .ok_or_else(|| refused("two dates are too far apart".to_owned()))
        }
        (Some(RawBson::DateTime(date)), Some(millis)) if number(name, &operands[1])?.is_some() => {
            shift(date.timestamp_millis(), millis, -1)
        }
        (Some(a), Some(b)) => widen(a, b, i64::checked_sub, |a, b| a - b)
            .map(Some)
            .ok_or_else(|| {
                wrong_type(
                    name,
                    "two numbers, two dates, or a date and a number",
                    &operands[0],
                )
            }),
        _ => Ok(Some(RawBson::Null)),
    }
}

fn multiply(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    if operands.iter().any(is_null) {
        return Ok(Some(RawBson::Null));
    }
    let mut product = RawBson::Int32(1);
    for operand in operands.iter().flatten() {
        product = widen(&product, operand, i64::checked_mul, |a, b| a * b)
            .ok_or_else(|| wrong_type(name, "numbers", &Some(operand.clone())))?;
    }
    Ok(Some(product))
}

fn divide(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    match (number(name, &operands[0])?, number(name, &operands[1])?) {
        (Some(_), Some(divisor)) if divisor.as_f64() == 0.0 => {
            Err(refused("'$divide' divides by zero".to_owned()))
        }
        (Some(dividend), Some(divisor)) => {
            Ok(Some(RawBson::Double(dividend.as_f64() / divisor.as_f64())))
        }
        _ => Ok(Some(RawBson::Null)),
    }
}

fn modulo(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    match (
        number(name, &operands[0])?,
        number(name, &operands[1])?,
        &operands[0],
        &operands[1],
    ) {
        (Some(_), Some(divisor), ..) if divisor.as_f64() == 0.0 => {
            Err(refused("'$mod' divides by zero".to_owned()))
        }
        (Some(_), Some(_), Some(a), Some(b)) => {
            Ok(widen(a, b, |a, b| Some(a.wrapping_rem(b)), |a, b| a % b))
        }
        _ => Ok(Some(RawBson::Null)),
    }
}

fn pow(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let (Some(base), Some(exponent)) = (number(name, &operands[0])?, number(name, &operands[1])?)
    else {
        return Ok(Some(RawBson::Null));
    };
    if base.as_f64() == 0.0 && exponent.as_f64() < 0.0 {
        return Err(refused(
            "'$pow' takes zero to a negative exponent".to_owned(),
        ));
    }
    let Some(exponent) = exponent.as_exact_i64() else {
        let result = libm::pow(base.as_f64(), exponent.as_f64());
        return Ok(Some(RawBson::Double(result)));
    };
    if let Number::Integer(base) = base
        && let Some(result) = u32::try_from(exponent)
            .ok()
            .and_then(|exponent| base.checked_pow(exponent))
        && !matches!(operands[1], Some(RawBson::Double(_)))
    {
        let narrow = matches!(
            (&operands[0], &operands[1]),
            (Some(RawBson::Int32(_)), Some(RawBson::Int32(_)))
        );
        return Ok(Some(integer_result(result, narrow)));
    }
    Ok(Some(RawBson::Double(power(base.as_f64(), exponent))))
}

/// By squaring, so that every machine computes the same bits; the platform's functions do not promise that.
fn power(base: f64, exponent: i64) -> f64 {
    let mut remaining = exponent.unsigned_abs();
    let mut square = base;
    let mut result = 1.0;
    while remaining > 0 {
        if remaining & 1 == 1 {
            result *= square;
        }
        square *= square;
        remaining >>= 1;
    }
    if exponent < 0 { 1.0 / result } else { result }
}

fn abs(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    Ok(Some(match number(name, &operands[0])? {
        None => RawBson::Null,
        Some(Number::Double(v)) => RawBson::Double(v.abs()),
        Some(Number::Integer(v)) => match v.checked_abs() {
            Some(result) => integer_result(result, matches!(operands[0], Some(RawBson::Int32(_)))),
            None => {
                return Err(refused(
                    "'$abs' of the smallest int64 does not fit".to_owned(),
                ));
            }
        },
    }))
}

fn round_to_whole(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    Ok(match number(name, &operands[0])? {
        None => Some(RawBson::Null),
        Some(Number::Double(v)) => Some(RawBson::Double(if name == "$ceil" {
            v.ceil()
        } else {
            v.floor()
        })),
        Some(Number::Integer(_)) => operands[0].clone(),
    })
}

/// `$round` to even and `$trunc`, at a decimal place from -20 to 100.
fn round(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let place = match operands.get(1) {
        None => 0,
        Some(place) => match number(name, place)? {
            None => return Ok(Some(RawBson::Null)),
            Some(place) => match place
                .as_exact_i64()
                .and_then(|place| i32::try_from(place).ok())
            {
                Some(place) if (-20..=100).contains(&place) => place,
                _ => return Err(refused(format!("'{name}' takes a place from -20 to 100"))),
            },
        },
    };
    let apply = |v: f64| {
        if name == "$round" {
            v.round_ties_even()
        } else {
            v.trunc()
        }
    };
    Ok(match number(name, &operands[0])? {
        None => Some(RawBson::Null),
        Some(Number::Double(v)) => {
            let scale = power(10.0, i64::from(place.abs()));
            let scaled = if place < 0 { v / scale } else { v * scale };
            let result = if place < 0 {
                apply(scaled) * scale
            } else {
                apply(scaled) / scale
            };
            // Beyond the range of doubles there is nothing to round.
            Some(RawBson::Double(if result.is_finite() { result } else { v }))
        }
        Some(Number::Integer(_)) if place >= 0 => operands[0].clone(),
        Some(Number::Integer(v)) => {
            let unit = 10_i128.pow(place.unsigned_abs());
            let (whole, rest) = (i128::from(v) / unit, i128::from(v) % unit);
            let away = name == "$round"
                && (rest.abs() * 2 > unit || (rest.abs() * 2 == unit && whole % 2 != 0));
            let rounded = (whole + if away { i128::from(v.signum()) } else { 0 }) * unit;
            let narrow = matches!(operands[0], Some(RawBson::Int32(_)));
            Some(
                i64::try_from(rounded).map_or(RawBson::Double(rounded as f64), |v| {
                    integer_result(v, narrow)
                }),
            )
        }
    })
}

fn sqrt(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    match number(name, &operands[0])?.map(Number::as_f64) {
        None => Ok(Some(RawBson::Null)),
        Some(value) if value < 0.0 => Err(refused("'$sqrt' takes a number from 0".to_owned())),
        Some(value) => Ok(Some(RawBson::Double(value.sqrt()))),
    }
}
