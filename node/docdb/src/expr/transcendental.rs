//! Logarithms, exponentials and trigonometry, computed in software so that all machines agree to the bit.

use bson::RawBson;

use super::arithmetic::number;
use super::function::{Function, list};
use super::{Budget, Computed, refused};
use crate::error::Result;

pub(super) static FUNCTIONS: [Function; 19] = [
    list("$exp", 1, 1, of_one),
    list("$ln", 1, 1, logarithm),
    list("$log10", 1, 1, logarithm),
    list("$log", 2, 2, logarithm_to_base),
    list("$sin", 1, 1, of_one),
    list("$cos", 1, 1, of_one),
    list("$tan", 1, 1, of_one),
    list("$asin", 1, 1, of_one),
    list("$acos", 1, 1, of_one),
    list("$atan", 1, 1, of_one),
    list("$atan2", 2, 2, atan2),
    list("$sinh", 1, 1, of_one),
    list("$cosh", 1, 1, of_one),
    list("$tanh", 1, 1, of_one),
    list("$asinh", 1, 1, of_one),
    list("$acosh", 1, 1, of_one),
    list("$atanh", 1, 1, of_one),
    list("$degreesToRadians", 1, 1, of_one),
    list("$radiansToDegrees", 1, 1, of_one),
];

fn of_one(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let Some(value) = number(name, &operands[0])?.map(|number| number.as_f64()) else {
        return Ok(Some(RawBson::Null));
    };
    let (least, most) = match name {
        "$sin" | "$cos" | "$tan" => (-f64::MAX, f64::MAX),
        "$asin" | "$acos" | "$atanh" => (-1.0, 1.0),
        "$acosh" => (1.0, f64::INFINITY),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    };
    if !value.is_nan() && !(least..=most).contains(&value) {
        return Err(refused(format!(
            "'{name}' takes a number from {least} to {most}"
        )));
    }
    Ok(Some(RawBson::Double(match name {
        "$exp" => libm::exp(value),
        "$sin" => libm::sin(value),
        "$cos" => libm::cos(value),
        "$tan" => libm::tan(value),
        "$asin" => libm::asin(value),
        "$acos" => libm::acos(value),
        "$atan" => libm::atan(value),
        "$sinh" => libm::sinh(value),
        "$cosh" => libm::cosh(value),
        "$tanh" => libm::tanh(value),
        "$asinh" => libm::asinh(value),
        "$acosh" => libm::acosh(value),
        "$atanh" => libm::atanh(value),
        "$degreesToRadians" => value * (std::f64::consts::PI / 180.0),
        _ => value * (180.0 / std::f64::consts::PI),
    })))
}

fn logarithm(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let Some(value) = number(name, &operands[0])?.map(|number| number.as_f64()) else {
        return Ok(Some(RawBson::Null));
    };
    if value <= 0.0 {
        return Err(refused(format!("'{name}' takes a number above 0")));
    }
    Ok(Some(RawBson::Double(if name == "$ln" {
        libm::log(value)
    } else {
        libm::log10(value)
    })))
}

fn logarithm_to_base(
    name: &'static str,
    operands: &[Computed],
    _: &mut Budget,
) -> Result<Computed> {
    let (Some(value), Some(base)) = (number(name, &operands[0])?, number(name, &operands[1])?)
    else {
        return Ok(Some(RawBson::Null));
    };
    let (value, base) = (value.as_f64(), base.as_f64());
    if value <= 0.0 || base <= 0.0 || base == 1.0 {
        return Err(refused(
            "'$log' takes a number above 0 and a base above 0 other than 1".to_owned(),
        ));
    }
    Ok(Some(RawBson::Double(libm::log(value) / libm::log(base))))
}

fn atan2(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let (Some(y), Some(x)) = (number(name, &operands[0])?, number(name, &operands[1])?) else {
        return Ok(Some(RawBson::Null));
    };
    Ok(Some(RawBson::Double(libm::atan2(y.as_f64(), x.as_f64()))))
}
