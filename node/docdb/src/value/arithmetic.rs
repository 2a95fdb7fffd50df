//! Addition and multiplication with MongoDB's result types: the widest operand's type wins, an int32
//! that overflows becomes an int64, an int64 that overflows is the caller's problem.

use bson::{RawBson, RawBsonRef};

use super::compare::Number;

/// `a + b`; `None` when one is not a number or the int64 sum overflows.
pub(crate) fn add(a: RawBsonRef<'_>, b: RawBsonRef<'_>) -> Option<RawBson> {
    combine(a, b, i64::checked_add, |a, b| a + b)
}

/// `a * b`; `None` when one is not a number or the int64 product overflows.
pub(crate) fn multiply(a: RawBsonRef<'_>, b: RawBsonRef<'_>) -> Option<RawBson> {
    combine(a, b, i64::checked_mul, |a, b| a * b)
}

/// Applies the operation in the type that both operands widen to.
pub(crate) fn combine(
    a: RawBsonRef<'_>,
    b: RawBsonRef<'_>,
    integer: impl Fn(i64, i64) -> Option<i64>,
    double: impl Fn(f64, f64) -> f64,
) -> Option<RawBson> {
    match (Number::of(a)?, Number::of(b)?) {
        (Number::Integer(x), Number::Integer(y)) => {
            let narrow = matches!((a, b), (RawBsonRef::Int32(_), RawBsonRef::Int32(_)));
            integer(x, y).map(|result| integer_result(result, narrow))
        }
        (x, y) => Some(RawBson::Double(double(x.as_f64(), y.as_f64()))),
    }
}

/// An integer as an int32 when it should be one and fits.
pub(crate) fn integer_result(value: i64, narrow: bool) -> RawBson {
    match i32::try_from(value) {
        Ok(small) if narrow => RawBson::Int32(small),
        _ => RawBson::Int64(value),
    }
}
