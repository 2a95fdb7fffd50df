//! The update operators: their operands checked, and what each makes of the value at its path.

use bson::{DateTime, RawBson, RawBsonRef, Timestamp};

use super::Outcome;
use super::array::{Pull, Push, add_to_set, each, pop, pull_all, sorted_values};
use crate::error::{Error, ErrorCode, Result};
use crate::value::arithmetic::{add, integer_result, multiply};
use crate::value::compare::Number;
use crate::value::{Path, compare, malformed, type_name};

/// One operator with its operand.
#[derive(Debug, Clone)]
pub(super) enum Operator {
    /// `$set`, and `$currentDate`, whose value is known when it is parsed.
    Set(RawBson),
    /// `$setOnInsert`
    SetOnInsert(RawBson),
    /// `$unset`, and what `$rename` does to the old name.
    Unset,
    /// What `$rename` does to the new name.
    RenameFrom(Path),
    /// `$inc`
    Increment(RawBson),
    /// `$mul`
    Multiply(RawBson),
    /// `$min`
    Min(RawBson),
    /// `$max`
    Max(RawBson),
    /// `$bit`
    Bit(Vec<(Bit, i64, bool)>),
    /// `$push`
    Push(Box<Push>),
    /// `$addToSet`
    AddToSet(Vec<RawBson>),
    /// `$pop`: the first element instead of the last.
    Pop {
        /// Takes index 0.
        first: bool,
    },
    /// `$pull`
    Pull(Box<Pull>),
    /// `$pullAll`: its values, ascending.
    PullAll(Vec<RawBson>),
}

/// The operators inside `$bit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bit {
    /// `and`
    And,
    /// `or`
    Or,
    /// `xor`
    Xor,
}

const NAMES: [&str; 15] = [
    "$set",
    "$setOnInsert",
    "$unset",
    "$rename",
    "$inc",
    "$mul",
    "$min",
    "$max",
    "$bit",
    "$push",
    "$addToSet",
    "$pop",
    "$pull",
    "$pullAll",
    "$currentDate",
];

/// Refuses an operator that does not exist.
pub(super) fn check_name(name: &str) -> Result<()> {
    if NAMES.contains(&name) {
        return Ok(());
    }
    Err(Error::operator(format!(
        "unknown update operator '{name}'; check its spelling"
    )))
}

impl Operator {
    pub(super) fn parse(
        name: &str,
        path: &str,
        operand: RawBsonRef<'_>,
        now_ms: i64,
    ) -> Result<Self> {
        Ok(match name {
            "$set" => Self::Set(operand.into()),
            "$setOnInsert" => Self::SetOnInsert(operand.into()),
            "$unset" => Self::Unset,
            "$currentDate" => Self::Set(current_date(path, operand, now_ms)?),
            "$inc" => Self::Increment(number(name, path, operand)?),
            "$mul" => Self::Multiply(number(name, path, operand)?),
            "$min" => Self::Min(operand.into()),
            "$max" => Self::Max(operand.into()),
            "$bit" => Self::Bit(bits(path, operand)?),
            "$push" => Self::Push(Box::new(Push::parse(path, operand)?)),
            "$addToSet" => Self::AddToSet(each(name, path, operand)?),
            "$pop" => match Number::of(operand).and_then(Number::as_exact_i64) {
                Some(1) => Self::Pop { first: false },
                Some(-1) => Self::Pop { first: true },
                _ => {
                    return Err(Error::invalid(format!(
                        "field '{path}': '$pop' takes 1 for the last or -1 for the first"
                    )));
                }
            },
            "$pull" => Self::Pull(Box::new(Pull::parse(path, operand)?)),
            "$pullAll" => Self::PullAll(sorted_values(path, operand)?),
            other => {
                return Err(Error::operator(format!(
                    "unknown update operator '{other}'; check its spelling"
                )));
            }
        })
    }

    /// What becomes of `current`; `None` is nothing there.
    pub(super) fn evaluate(&self, path: &str, current: Option<RawBsonRef<'_>>) -> Result<Outcome> {
        Ok(match self {
            Self::Set(value) | Self::SetOnInsert(value) => Outcome::Set(value.clone()),
            Self::Unset => Outcome::Remove,
            // Needs the whole document; the caller evaluates it.
            Self::RenameFrom(_) => Outcome::Keep,
            Self::Increment(operand) => match current {
                None => Outcome::Set(operand.clone()),
                Some(current) => arithmetic(
                    "$inc",
                    path,
                    current,
                    add(current, operand.as_raw_bson_ref()),
                )?,
            },
            Self::Multiply(operand) => match current {
                None => Outcome::Set(zero_like(operand)),
                Some(current) => arithmetic(
                    "$mul",
                    path,
                    current,
                    multiply(current, operand.as_raw_bson_ref()),
                )?,
            },
            Self::Min(operand) => replace_if(operand, current, |operand, current| {
                compare(operand, current).is_lt()
            }),
            Self::Max(operand) => replace_if(operand, current, |operand, current| {
                compare(operand, current).is_gt()
            }),
            Self::Bit(operations) => bit(path, operations, current)?,
            Self::Push(push) => push.apply(path, current)?,
            Self::AddToSet(values) => add_to_set(path, values, current)?,
            Self::Pop { first } => pop(path, *first, current)?,
            Self::Pull(pull) => pull.apply(path, current)?,
            Self::PullAll(values) => pull_all(path, values, current)?,
        })
    }
}

fn number(name: &str, path: &str, operand: RawBsonRef<'_>) -> Result<RawBson> {
    match Number::of(operand) {
        Some(_) => Ok(operand.into()),
        None => Err(Error::invalid(format!(
            "field '{path}': '{name}' takes a number, not a {}",
            type_name(operand)
        ))),
    }
}

fn zero_like(operand: &RawBson) -> RawBson {
    match operand {
        RawBson::Int32(_) => RawBson::Int32(0),
        RawBson::Int64(_) => RawBson::Int64(0),
        _ => RawBson::Double(0.0),
    }
}

fn arithmetic(
    name: &str,
    path: &str,
    current: RawBsonRef<'_>,
    result: Option<RawBson>,
) -> Result<Outcome> {
    match result {
        Some(value) => Ok(Outcome::Set(value)),
        None if Number::of(current).is_none() => Err(Error::new(
            ErrorCode::RequestFailed,
            format!(
                "field '{path}' is a {}; '{name}' works on numbers",
                type_name(current)
            ),
        )),
        None => Err(Error::new(
            ErrorCode::RequestFailed,
            format!("field '{path}': '{name}' goes beyond 64 bits; store a double"),
        )),
    }
}

fn replace_if(
    operand: &RawBson,
    current: Option<RawBsonRef<'_>>,
    better: impl Fn(RawBsonRef<'_>, RawBsonRef<'_>) -> bool,
) -> Outcome {
    match current {
        Some(current) if !better(operand.as_raw_bson_ref(), current) => Outcome::Keep,
        _ => Outcome::Set(operand.clone()),
    }
}

fn current_date(path: &str, operand: RawBsonRef<'_>, now_ms: i64) -> Result<RawBson> {
    let date = RawBson::DateTime(DateTime::from_millis(now_ms));
    let kind = match operand {
        RawBsonRef::Boolean(_) => return Ok(date),
        RawBsonRef::Document(document) => document.get("$type").map_err(malformed)?,
        _ => None,
    };
    match kind {
        Some(RawBsonRef::String("date")) => Ok(date),
        Some(RawBsonRef::String("timestamp")) => {
            let time = u32::try_from(now_ms.div_euclid(1000)).unwrap_or_default();
            Ok(RawBson::Timestamp(Timestamp { time, increment: 1 }))
        }
        _ => Err(Error::invalid(format!(
            "field '{path}': '$currentDate' takes true, {{$type: \"date\"}} or {{$type: \"timestamp\"}}"
        ))),
    }
}

/// The operations with their operands, and whether an operand is an int64.
fn bits(path: &str, operand: RawBsonRef<'_>) -> Result<Vec<(Bit, i64, bool)>> {
    let refused = || {
        Error::invalid(format!(
            "field '{path}': '$bit' takes {{and|or|xor: integer}}"
        ))
    };
    let RawBsonRef::Document(document) = operand else {
        return Err(refused());
    };
    let mut operations = Vec::new();
    for element in document.iter() {
        let (name, value) = element.map_err(malformed)?;
        let bit = match name.as_str() {
            "and" => Bit::And,
            "or" => Bit::Or,
            "xor" => Bit::Xor,
            _ => return Err(refused()),
        };
        operations.push(match value {
            RawBsonRef::Int32(value) => (bit, i64::from(value), false),
            RawBsonRef::Int64(value) => (bit, value, true),
            _ => return Err(refused()),
        });
    }
    if operations.is_empty() {
        return Err(refused());
    }
    Ok(operations)
}

fn bit(
    path: &str,
    operations: &[(Bit, i64, bool)],
    current: Option<RawBsonRef<'_>>,
) -> Result<Outcome> {
    let (mut value, mut wide) = match current {
        None => (0, false),
        Some(RawBsonRef::Int32(value)) => (i64::from(value), false),
        Some(RawBsonRef::Int64(value)) => (value, true),
        Some(other) => {
            return Err(Error::new(
                ErrorCode::RequestFailed,
                format!(
                    "field '{path}' is a {}; '$bit' works on integers",
                    type_name(other)
                ),
            ));
        }
    };
    for (bit, operand, operand_wide) in operations {
        value = match bit {
            Bit::And => value & operand,
            Bit::Or => value | operand,
            Bit::Xor => value ^ operand,
        };
        wide |= operand_wide;
    }
    Ok(Outcome::Set(integer_result(value, !wide)))
}
