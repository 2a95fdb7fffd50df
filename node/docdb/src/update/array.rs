//! The update operators on arrays: `$push`, `$addToSet`, `$pop`, `$pull`, `$pullAll`.

use bson::{RawArray, RawArrayBuf, RawBson, RawBsonRef, RawDocumentBuf};

use super::Outcome;
use crate::error::{Error, ErrorCode, Result};
use crate::filter::{Condition, Node, Parser, is_operator_document};
use crate::sort::Sort;
use crate::value::compare::Number;
use crate::value::{Path, compare, equal, malformed, type_name};

/// The operand of `$push`.
#[derive(Debug, Clone)]
pub(super) struct Push {
    values: Vec<RawBson>,
    /// Before which index; negative counts from the end; absent: at the end.
    position: Option<i64>,
    sort: Option<PushSort>,
    /// How many first elements to keep; negative: last ones.
    slice: Option<i64>,
}

#[derive(Debug, Clone)]
enum PushSort {
    /// By the elements themselves.
    Elements { descending: bool },
    /// By fields of the elements.
    Fields(Sort),
}

impl Push {
    pub(super) fn all(values: Vec<RawBson>) -> Self {
        Self {
            values,
            position: None,
            sort: None,
            slice: None,
        }
    }

    pub(super) fn parse(path: &str, operand: RawBsonRef<'_>) -> Result<Self> {
        let RawBsonRef::Document(document) = operand else {
            return Ok(Self::all(vec![operand.into()]));
        };
        if document.get("$each").map_err(malformed)?.is_none() {
            if is_operator_document(document)? {
                return Err(Error::operator(format!(
                    "field '{path}': '$push' with modifiers needs '$each'"
                )));
            }
            return Ok(Self::all(vec![operand.into()]));
        }
        let mut push = Self::all(Vec::new());
        for element in document.iter() {
            let (name, value) = element.map_err(malformed)?;
            let whole = |what: &str| {
                Number::of(value)
                    .and_then(Number::as_exact_i64)
                    .ok_or_else(|| {
                        Error::invalid(format!(
                            "field '{path}': '{what}' of '$push' takes a whole number, not a {}",
                            type_name(value)
                        ))
                    })
            };
            match name.as_str() {
                "$each" => push.values = values("$push", path, value)?,
                "$position" => push.position = Some(whole("$position")?),
                "$slice" => push.slice = Some(whole("$slice")?),
                "$sort" => push.sort = Some(PushSort::parse(path, value)?),
                other => {
                    return Err(Error::operator(format!(
                        "field '{path}': '{other}' is unknown in '$push'; use $each, $position, $sort, $slice"
                    )));
                }
            }
        }
        Ok(push)
    }

    pub(super) fn apply(&self, path: &str, current: Option<RawBsonRef<'_>>) -> Result<Outcome> {
        let mut elements = match current {
            None => Vec::new(),
            Some(current) => elements_of("$push", path, current)?,
        };
        let at = match self.position {
            None => elements.len(),
            Some(at) if at < 0 => elements.len().saturating_sub(index(at.unsigned_abs())),
            Some(at) => index(at.unsigned_abs()).min(elements.len()),
        };
        elements.splice(at..at, self.values.iter().map(RawBson::as_raw_bson_ref));
        if let Some(sort) = &self.sort {
            sort.apply(&mut elements)?;
        }
        match self.slice {
            None => {}
            Some(keep) if keep < 0 => {
                let dropped = elements.len().saturating_sub(index(keep.unsigned_abs()));
                elements.drain(..dropped);
            }
            Some(keep) => elements.truncate(index(keep.unsigned_abs())),
        }
        Ok(Outcome::Set(RawBson::Array(RawArrayBuf::from_iter(
            elements,
        ))))
    }
}

impl PushSort {
    fn parse(path: &str, value: RawBsonRef<'_>) -> Result<Self> {
        match value {
            RawBsonRef::Document(document) if !document.is_empty() => {
                Ok(Self::Fields(Sort::parse(document)?))
            }
            value => match Number::of(value).and_then(Number::as_exact_i64) {
                Some(1) => Ok(Self::Elements { descending: false }),
                Some(-1) => Ok(Self::Elements { descending: true }),
                _ => Err(Error::invalid(format!(
                    "field '{path}': '$sort' of '$push' takes 1, -1 or {{field: 1}}"
                ))),
            },
        }
    }

    fn apply(&self, elements: &mut [RawBsonRef<'_>]) -> Result<()> {
        match self {
            Self::Elements { descending: false } => elements.sort_by(|a, b| compare(*a, *b)),
            Self::Elements { descending: true } => elements.sort_by(|a, b| compare(*b, *a)),
            Self::Fields(sort) => {
                let empty = RawDocumentBuf::new();
                let mut keyed = Vec::with_capacity(elements.len());
                for element in elements.iter() {
                    let document = element.as_document().unwrap_or(&empty);
                    keyed.push((sort.key(document)?, *element));
                }
                keyed.sort_by(|a, b| a.0.cmp(&b.0));
                for (slot, (_, element)) in elements.iter_mut().zip(keyed) {
                    *slot = element;
                }
            }
        }
        Ok(())
    }
}

/// `$addToSet`: the values that are not in the array yet, each once.
pub(super) fn add_to_set(
    path: &str,
    values: &[RawBson],
    current: Option<RawBsonRef<'_>>,
) -> Result<Outcome> {
    let mut elements = match current {
        None => Vec::new(),
        Some(current) => elements_of("$addToSet", path, current)?,
    };
    let before = elements.len();
    let fresh = missing_values(&elements, values);
    elements.extend(fresh);
    if current.is_some() && elements.len() == before {
        return Ok(Outcome::Keep);
    }
    Ok(Outcome::Set(RawBson::Array(RawArrayBuf::from_iter(
        elements,
    ))))
}

/// The values that are not among `elements`, each once, in their order. Sorted lookups keep two long
/// lists from costing the product of their lengths.
fn missing_values<'a>(elements: &[RawBsonRef<'_>], values: &'a [RawBson]) -> Vec<RawBsonRef<'a>> {
    if let [only] = values {
        let only = only.as_raw_bson_ref();
        let known = elements.iter().any(|element| equal(*element, only));
        return if known { Vec::new() } else { vec![only] };
    }
    let mut known = elements.to_vec();
    known.sort_by(|a, b| compare(*a, *b));
    let is_known = |value| {
        known
            .binary_search_by(|candidate| compare(*candidate, value))
            .is_ok()
    };
    let values = values.iter().map(RawBson::as_raw_bson_ref).enumerate();
    let mut fresh: Vec<(usize, RawBsonRef<'_>)> =
        values.filter(|(_, value)| !is_known(*value)).collect();
    fresh.sort_by(|a, b| compare(a.1, b.1).then(a.0.cmp(&b.0)));
    fresh.dedup_by(|later, earlier| equal(later.1, earlier.1));
    fresh.sort_by_key(|(at, _)| *at);
    fresh.into_iter().map(|(_, value)| value).collect()
}

/// `$pop`
pub(super) fn pop(path: &str, first: bool, current: Option<RawBsonRef<'_>>) -> Result<Outcome> {
    let Some(current) = current else {
        return Ok(Outcome::Keep);
    };
    let elements = elements_of("$pop", path, current)?;
    let kept = match (elements.split_first(), elements.split_last()) {
        (Some((_, kept)), _) if first => kept,
        (_, Some((_, kept))) => kept,
        _ => return Ok(Outcome::Keep),
    };
    Ok(Outcome::Set(RawBson::Array(kept.iter().copied().collect())))
}

/// `$pullAll`; the values are sorted.
pub(super) fn pull_all(
    path: &str,
    values: &[RawBson],
    current: Option<RawBsonRef<'_>>,
) -> Result<Outcome> {
    remove("$pullAll", path, current, |element| {
        let found = values.binary_search_by(|value| compare(value.as_raw_bson_ref(), element));
        Ok(found.is_ok())
    })
}

/// The operand of `$pullAll`, sorted for the lookups.
pub(super) fn sorted_values(path: &str, operand: RawBsonRef<'_>) -> Result<Vec<RawBson>> {
    let mut values = values("$pullAll", path, operand)?;
    values.sort_by(|a, b| compare(a.as_raw_bson_ref(), b.as_raw_bson_ref()));
    Ok(values)
}

/// The operand of `$pull`: which elements go.
#[derive(Debug, Clone)]
pub(super) enum Pull {
    /// Those equal to a value.
    Equal(RawBson),
    /// Those that satisfy operators or match a regular expression.
    Condition(Condition),
    /// Those that are documents satisfying a filter.
    Document(Node),
}

impl Pull {
    pub(super) fn parse(path: &str, operand: RawBsonRef<'_>) -> Result<Self> {
        let mut parser = Parser::new(0);
        Ok(match operand {
            RawBsonRef::Document(document) if is_operator_document(document)? => {
                Self::Condition(parser.operators(path, document)?)
            }
            RawBsonRef::Document(document) => Self::Document(parser.document(document)?),
            RawBsonRef::RegularExpression(_) => Self::Condition(parser.plain(path, operand)?),
            value => Self::Equal(value.into()),
        })
    }

    pub(super) fn apply(&self, path: &str, current: Option<RawBsonRef<'_>>) -> Result<Outcome> {
        let unnamed = Path::parse("")?;
        remove("$pull", path, current, |element| match (self, element) {
            (Self::Equal(value), element) => Ok(equal(value.as_raw_bson_ref(), element)),
            // The condition sees the element as the value of a field, so it looks into a nested array.
            (Self::Condition(condition), RawBsonRef::Array(_)) => {
                let holder = RawDocumentBuf::from_iter([(bson::raw::cstr!(""), element)]);
                condition.matches_at(&holder, &unnamed)
            }
            (Self::Condition(condition), element) => condition.matches_value(Some(element)),
            (Self::Document(node), RawBsonRef::Document(document)) => node.matches(document),
            (Self::Document(_), _) => Ok(false),
        })
    }
}

fn remove(
    name: &str,
    path: &str,
    current: Option<RawBsonRef<'_>>,
    mut goes: impl FnMut(RawBsonRef<'_>) -> Result<bool>,
) -> Result<Outcome> {
    let Some(current) = current else {
        return Ok(Outcome::Keep);
    };
    let elements = elements_of(name, path, current)?;
    let mut kept = Vec::with_capacity(elements.len());
    for element in &elements {
        if !goes(*element)? {
            kept.push(*element);
        }
    }
    if kept.len() == elements.len() {
        return Ok(Outcome::Keep);
    }
    Ok(Outcome::Set(RawBson::Array(RawArrayBuf::from_iter(kept))))
}

/// The values of a list operand.
fn values(name: &str, path: &str, operand: RawBsonRef<'_>) -> Result<Vec<RawBson>> {
    let RawBsonRef::Array(array) = operand else {
        return Err(Error::invalid(format!(
            "field '{path}': '{name}' takes an array of values, not a {}",
            type_name(operand)
        )));
    };
    array
        .into_iter()
        .map(|element| Ok(element.map_err(malformed)?.into()))
        .collect()
}

/// One value, or those of `{$each: [..]}`.
pub(super) fn each(name: &str, path: &str, operand: RawBsonRef<'_>) -> Result<Vec<RawBson>> {
    if let RawBsonRef::Document(document) = operand
        && is_operator_document(document)?
    {
        return match document.get("$each").map_err(malformed)? {
            Some(list) if document.iter_elements().count() == 1 => values(name, path, list),
            _ => Err(Error::operator(format!(
                "field '{path}': '{name}' takes a value or {{$each: [..]}} alone"
            ))),
        };
    }
    Ok(vec![operand.into()])
}

fn elements_of<'a>(name: &str, path: &str, value: RawBsonRef<'a>) -> Result<Vec<RawBsonRef<'a>>> {
    let array: &RawArray = value.as_array().ok_or_else(|| {
        Error::new(
            ErrorCode::RequestFailed,
            format!(
                "field '{path}' is a {}; '{name}' works on arrays",
                type_name(value)
            ),
        )
    })?;
    array
        .into_iter()
        .map(|element| element.map_err(malformed))
        .collect()
}

fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
