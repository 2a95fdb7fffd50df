//! Operators on arrays, and those that accumulate over an array or a list of operands.

use bson::{RawArrayBuf, RawBson, RawBsonRef};

use super::arithmetic::number;
use super::function::{Function, MANY, list, named};
use super::{Budget, Computed, is_null, refused, wrong_type};
use crate::error::Result;
use crate::value::compare::Number;
use crate::value::sum::{Deviation, Sum};
use crate::value::{compare, equal, malformed};

const ZIP: &[(&str, bool)] = &[
    ("inputs", false),
    ("useLongestLength", true),
    ("defaults", true),
];
const FIRST: &[(&str, bool)] = &[("n", false), ("input", false)];

pub(super) static FUNCTIONS: [Function; 22] = [
    list("$size", 1, 1, size),
    list("$isArray", 1, 1, is_array),
    list("$arrayElemAt", 2, 2, element_at),
    list("$first", 1, 1, end),
    list("$last", 1, 1, end),
    list("$concatArrays", 0, MANY, concat),
    list("$slice", 2, 3, slice),
    list("$in", 2, 2, contains),
    list("$indexOfArray", 2, 4, index_of),
    list("$reverseArray", 1, 1, reverse),
    list("$range", 2, 3, range),
    list("$sum", 0, MANY, sum),
    list("$avg", 0, MANY, sum),
    list("$min", 0, MANY, extreme),
    list("$max", 0, MANY, extreme),
    list("$stdDevPop", 0, MANY, deviation),
    list("$stdDevSamp", 0, MANY, deviation),
    named("$zip", ZIP, zip),
    named("$firstN", FIRST, some),
    named("$lastN", FIRST, some),
    named("$minN", FIRST, some),
    named("$maxN", FIRST, some),
];

/// About what a number takes in an array: type, index, value.
const ELEMENT_BYTES: usize = 10;

/// The elements of an array operand; `None` for null and missing.
pub(super) fn elements<'a>(
    name: &str,
    operand: &'a Computed,
) -> Result<Option<Vec<RawBsonRef<'a>>>> {
    match operand {
        Some(RawBson::Array(array)) => Ok(Some(
            array
                .into_iter()
                .map(|element| element.map_err(malformed))
                .collect::<Result<_>>()?,
        )),
        value if is_null(value) => Ok(None),
        value => Err(wrong_type(name, "an array", value)),
    }
}

/// An array built from values.
pub(super) fn array<'a>(elements: impl IntoIterator<Item = RawBsonRef<'a>>) -> Computed {
    Some(RawBson::Array(RawArrayBuf::from_iter(elements)))
}

fn whole(name: &str, operand: &Computed) -> Result<i64> {
    number(name, operand)?
        .and_then(Number::as_exact_i64)
        .ok_or_else(|| wrong_type(name, "whole numbers", operand))
}

fn size(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    match elements(name, &operands[0])? {
        Some(elements) => Ok(Some(RawBson::Int32(elements.len() as i32))),
        None => Err(wrong_type(name, "an array", &operands[0])),
    }
}

fn is_array(_: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    Ok(Some(RawBson::Boolean(matches!(
        operands[0],
        Some(RawBson::Array(_))
    ))))
}

fn element_at(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let Some(elements) = elements(name, &operands[0])? else {
        return Ok(Some(RawBson::Null));
    };
    if is_null(&operands[1]) {
        return Ok(Some(RawBson::Null));
    }
    let at = whole(name, &operands[1])?;
    let at = if at < 0 {
        at + elements.len() as i64
    } else {
        at
    };
    Ok(usize::try_from(at)
        .ok()
        .and_then(|at| elements.get(at))
        .map(|element| (*element).into()))
}

fn end(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    Ok(match elements(name, &operands[0])? {
        None => Some(RawBson::Null),
        Some(elements) if name == "$first" => elements.first().map(|element| (*element).into()),
        Some(elements) => elements.last().map(|element| (*element).into()),
    })
}

fn concat(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let mut all = Vec::new();
    for operand in operands {
        match elements(name, operand)? {
            Some(elements) => all.extend(elements),
            None => return Ok(Some(RawBson::Null)),
        }
    }
    Ok(array(all))
}

fn slice(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let Some(elements) = elements(name, &operands[0])? else {
        return Ok(Some(RawBson::Null));
    };
    if operands[1..].iter().any(is_null) {
        return Ok(Some(RawBson::Null));
    }
    let length = elements.len() as i64;
    let first = whole(name, &operands[1])?;
    let from_end = |at: i64| {
        if at < 0 {
            at.saturating_add(length).max(0)
        } else {
            at.min(length)
        }
    };
    let (start, count) = match operands.get(2) {
        None if first < 0 => (from_end(first), length),
        None => (0, first),
        Some(count) => match whole(name, count)? {
            count if count > 0 => (from_end(first), count),
            _ => return Err(refused("'$slice' takes a count above 0".to_owned())),
        },
    };
    let end = start.saturating_add(count).min(length);
    Ok(array(
        elements[start as usize..end as usize].iter().copied(),
    ))
}

fn contains(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let Some(elements) = elements(name, &operands[1])? else {
        return Err(wrong_type(
            name,
            "an array as its second operand",
            &operands[1],
        ));
    };
    let sought = operands[0]
        .as_ref()
        .map_or(RawBsonRef::Undefined, RawBson::as_raw_bson_ref);
    Ok(Some(RawBson::Boolean(
        elements.iter().any(|element| equal(*element, sought)),
    )))
}

fn index_of(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let Some(elements) = elements(name, &operands[0])? else {
        return Ok(Some(RawBson::Null));
    };
    let bound = |at: usize, otherwise: usize| match operands.get(at) {
        None => Ok(otherwise),
        Some(operand) => usize::try_from(whole(name, operand)?)
            .map_err(|_| refused("'$indexOfArray' takes positions from 0".to_owned())),
    };
    let (start, end) = (bound(2, 0)?, bound(3, elements.len())?.min(elements.len()));
    let sought = operands[1]
        .as_ref()
        .map_or(RawBsonRef::Undefined, RawBson::as_raw_bson_ref);
    let found = (start..end).find(|at| equal(elements[*at], sought));
    Ok(Some(RawBson::Int32(found.map_or(-1, |at| at as i32))))
}

fn reverse(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    Ok(match elements(name, &operands[0])? {
        Some(elements) => array(elements.into_iter().rev()),
        None => Some(RawBson::Null),
    })
}

fn range(name: &'static str, operands: &[Computed], budget: &mut Budget) -> Result<Computed> {
    let bound = |at: usize, otherwise: i64| match operands.get(at) {
        None => Ok(otherwise),
        Some(operand) => i32::try_from(whole(name, operand)?)
            .map(i64::from)
            .map_err(|_| refused("'$range' takes numbers of 32 bits".to_owned())),
    };
    let (start, end, step) = (bound(0, 0)?, bound(1, 0)?, bound(2, 1)?);
    if step == 0 {
        return Err(refused("'$range' takes a step other than 0".to_owned()));
    }
    let mut numbers = RawArrayBuf::new();
    let mut next = start;
    while (step > 0 && next < end) || (step < 0 && next > end) {
        budget.take(1, ELEMENT_BYTES)?;
        numbers.push(next as i32);
        next += step;
    }
    Ok(Some(RawBson::Array(numbers)))
}

/// What an accumulator runs over: the elements of a single array operand, or the operands.
fn accumulated<'a>(name: &str, operands: &'a [Computed]) -> Result<Vec<RawBsonRef<'a>>> {
    match operands {
        [only @ Some(RawBson::Array(_))] => Ok(elements(name, only)?.unwrap_or_default()),
        operands => Ok(operands
            .iter()
            .flatten()
            .map(RawBson::as_raw_bson_ref)
            .collect()),
    }
}

/// `$sum` and `$avg`: what is not a number does not count.
fn sum(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let mut sum = Sum::default();
    for value in accumulated(name, operands)? {
        sum.add(value);
    }
    Ok(Some(if name == "$sum" {
        sum.total()
    } else {
        sum.mean().map_or(RawBson::Null, RawBson::Double)
    }))
}

/// `$stdDevPop` and `$stdDevSamp`: what is not a number does not count.
fn deviation(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let mut deviation = Deviation::default();
    for value in accumulated(name, operands)? {
        deviation.add(value);
    }
    let value = deviation.value(name == "$stdDevSamp");
    Ok(Some(value.map_or(RawBson::Null, RawBson::Double)))
}

/// Arrays side by side, as long as the shortest, or as the longest with values to fill up.
fn zip(name: &'static str, operands: &[Computed], budget: &mut Budget) -> Result<Computed> {
    let Some(inputs) = elements(name, &operands[0])? else {
        return Ok(Some(RawBson::Null));
    };
    if inputs.is_empty() {
        return Err(refused("'$zip' needs at least one array".to_owned()));
    }
    let mut arrays = Vec::with_capacity(inputs.len());
    for input in inputs {
        let values: Vec<RawBsonRef<'_>> = match input {
            RawBsonRef::Array(array) => array
                .into_iter()
                .map(|element| element.map_err(malformed))
                .collect::<Result<_>>()?,
            RawBsonRef::Null | RawBsonRef::Undefined => return Ok(Some(RawBson::Null)),
            other => return Err(wrong_type(name, "arrays", &Some(other.into()))),
        };
        arrays.push(values);
    }
    let longest = match &operands[1] {
        None => false,
        Some(RawBson::Boolean(longest)) => *longest,
        value => return Err(wrong_type(name, "a bool as 'useLongestLength'", value)),
    };
    let defaults = match &operands[2] {
        None => Vec::new(),
        given => elements(name, given)?
            .filter(|defaults| longest && defaults.len() == arrays.len())
            .ok_or_else(|| {
                refused(
                    "'$zip' takes one of 'defaults' for each array, and only with 'useLongestLength'"
                        .to_owned(),
                )
            })?,
    };
    let lengths = arrays.iter().map(Vec::len);
    let length = if longest {
        lengths.max()
    } else {
        lengths.min()
    }
    .unwrap_or_default();
    let mut zipped = RawArrayBuf::new();
    for at in 0..length {
        let tuple = RawArrayBuf::from_iter(arrays.iter().enumerate().map(|(input, values)| {
            let value = values.get(at).or_else(|| defaults.get(input));
            value.copied().unwrap_or(RawBsonRef::Null)
        }));
        budget.take(arrays.len() as u64, tuple.as_bytes().len())?;
        zipped.push(tuple);
    }
    Ok(Some(RawBson::Array(zipped)))
}

/// `$firstN`, `$lastN`, `$minN`, `$maxN`
fn some(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let count = usize::try_from(whole(name, &operands[0])?)
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| wrong_type(name, "a whole number above 0 as 'n'", &operands[0]))?;
    let mut values = elements(name, &operands[1])?
        .ok_or_else(|| wrong_type(name, "an array as 'input'", &operands[1]))?;
    if matches!(name, "$minN" | "$maxN") {
        values.retain(|value| !matches!(value, RawBsonRef::Null | RawBsonRef::Undefined));
        values.sort_by(|a, b| compare(*a, *b));
        if name == "$maxN" {
            values.reverse();
        }
    }
    let skipped = if name == "$lastN" {
        values.len().saturating_sub(count)
    } else {
        0
    };
    Ok(array(values.into_iter().skip(skipped).take(count)))
}

/// `$min` and `$max`: null and missing do not count.
fn extreme(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let values = accumulated(name, operands)?.into_iter();
    let values = values.filter(|value| !matches!(value, RawBsonRef::Null | RawBsonRef::Undefined));
    let found = if name == "$min" {
        values.min_by(|a, b| compare(*a, *b))
    } else {
        values.reduce(|a, b| if compare(b, a).is_gt() { b } else { a })
    };
    Ok(Some(found.map_or(RawBson::Null, Into::into)))
}
