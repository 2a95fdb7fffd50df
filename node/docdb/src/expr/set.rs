//! Operators that take arrays as sets: without duplicates, in the order of the values.

use bson::{RawBson, RawBsonRef};

use super::array::{array, elements};
use super::function::{Function, MANY, list};
use super::{Budget, Computed, is_true, wrong_type};
use crate::error::Result;
use crate::value::{compare, equal};

pub(super) static FUNCTIONS: [Function; 7] = [
    list("$setUnion", 0, MANY, union),
    list("$setIntersection", 0, MANY, intersection),
    list("$setDifference", 2, 2, difference),
    list("$setIsSubset", 2, 2, is_subset),
    list("$setEquals", 2, MANY, equals),
    list("$anyElementTrue", 1, 1, truth_of_elements),
    list("$allElementsTrue", 1, 1, truth_of_elements),
];

/// A sorted set.
type Set<'a> = Vec<RawBsonRef<'a>>;

fn set_of(mut elements: Vec<RawBsonRef<'_>>) -> Set<'_> {
    elements.sort_by(|a, b| compare(*a, *b));
    elements.dedup_by(|a, b| equal(*a, *b));
    elements
}

fn holds(set: &Set<'_>, value: RawBsonRef<'_>) -> bool {
    set.binary_search_by(|candidate| compare(*candidate, value))
        .is_ok()
}

/// `None` for null and missing.
fn set<'a>(name: &str, operand: &'a Computed) -> Result<Option<Set<'a>>> {
    Ok(elements(name, operand)?.map(set_of))
}

/// An operand that must be there.
fn present_set<'a>(name: &str, operand: &'a Computed) -> Result<Set<'a>> {
    set(name, operand)?.ok_or_else(|| wrong_type(name, "arrays", operand))
}

fn union(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let mut all = Vec::new();
    for operand in operands {
        match elements(name, operand)? {
            Some(elements) => all.extend(elements),
            None => return Ok(Some(RawBson::Null)),
        }
    }
    Ok(array(set_of(all)))
}

fn intersection(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let mut common: Option<Set<'_>> = None;
    for operand in operands {
        let Some(set) = set(name, operand)? else {
            return Ok(Some(RawBson::Null));
        };
        common = Some(match common {
            None => set,
            Some(mut common) => {
                common.retain(|value| holds(&set, *value));
                common
            }
        });
    }
    Ok(array(common.unwrap_or_default()))
}

/// In the order of the first operand.
fn difference(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let (Some(elements), Some(without)) = (elements(name, &operands[0])?, set(name, &operands[1])?)
    else {
        return Ok(Some(RawBson::Null));
    };
    let values = set_of(elements.clone());
    let mut seen = vec![false; values.len()];
    let mut kept = Vec::new();
    for element in elements {
        if let Ok(at) = values.binary_search_by(|candidate| compare(*candidate, element))
            && !std::mem::replace(&mut seen[at], true)
            && !holds(&without, element)
        {
            kept.push(element);
        }
    }
    Ok(array(kept))
}

fn is_subset(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let (part, whole) = (
        present_set(name, &operands[0])?,
        present_set(name, &operands[1])?,
    );
    Ok(Some(RawBson::Boolean(
        part.iter().all(|value| holds(&whole, *value)),
    )))
}

fn equals(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let first = present_set(name, &operands[0])?;
    for operand in &operands[1..] {
        let other = present_set(name, operand)?;
        if other.len() != first.len() || !other.iter().zip(&first).all(|(a, b)| equal(*a, *b)) {
            return Ok(Some(RawBson::Boolean(false)));
        }
    }
    Ok(Some(RawBson::Boolean(true)))
}

fn truth_of_elements(
    name: &'static str,
    operands: &[Computed],
    _: &mut Budget,
) -> Result<Computed> {
    let elements =
        elements(name, &operands[0])?.ok_or_else(|| wrong_type(name, "an array", &operands[0]))?;
    let mut truths = elements
        .into_iter()
        .map(|element| is_true(&Some(element.into())));
    let holds = if name == "$anyElementTrue" {
        truths.any(|truth| truth)
    } else {
        truths.all(|truth| truth)
    };
    Ok(Some(RawBson::Boolean(holds)))
}
