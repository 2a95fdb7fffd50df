//! Conditions on the values at one path, and the tests on single values that they are made of.
//!
//! A [`Test`] never looks into arrays on its own account: which values of an array are tried is the
//! walk's business, except for the tests that are about arrays (`$size`, `$elemMatch`).

use std::cmp::Ordering;

use bson::spec::ElementType;
use bson::{RawBson, RawBsonRef, RawDocument};

use super::pattern::Pattern;
use super::{GeoTest, Node, all, any};
use crate::error::Result;
use crate::value::check::array_document;
use crate::value::compare::{Number, rank_of};
use crate::value::path::{Leaf, Visit, Walk};
use crate::value::{Path, compare, equal, malformed};

/// A boolean combination of tests, all on the same path.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    /// All hold, each perhaps for another element of an array.
    All(Vec<Condition>),
    /// Does not hold for any value at the path.
    Not(Box<Condition>),
    /// Holds for some value at the path.
    Test(Test),
}

/// A test on one value.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    /// The same value; null also where nothing is.
    Equal(RawBson),
    /// In order before or after a value of the same type.
    Order(OrderTest, RawBson),
    /// One of a list.
    In(InList),
    /// A string that matches, or the same regular expression.
    Matches(Pattern),
    /// A number with this remainder.
    Modulo {
        /// Not zero.
        divisor: i64,
        /// Compared after truncation of the value to an integer.
        remainder: i64,
    },
    /// Something is there.
    Exists,
    /// Of one of these types.
    Type(Vec<ElementType>),
    /// An array of this length.
    Size(u64),
    /// An array with an element that satisfies the condition by itself.
    AnyElement(Box<Condition>),
    /// An array with an element that is a document satisfying the filter.
    AnyDocument(Box<Node>),
    /// A geometry that lies as asked.
    Geo(Box<GeoTest>),
}

/// `$lt` and its kin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderTest {
    /// `$lt`
    Less,
    /// `$lte`
    LessOrEqual,
    /// `$gt`
    Greater,
    /// `$gte`
    GreaterOrEqual,
}

/// The operand of `$in`.
#[derive(Debug, Clone)]
pub(crate) struct InList {
    /// Ascending, so that it can be searched.
    values: Vec<RawBson>,
    patterns: Vec<Pattern>,
    has_null: bool,
}

impl Condition {
    /// Whether the condition holds for the values that `path` leads to.
    pub(crate) fn matches_at(&self, document: &RawDocument, path: &Path) -> Result<bool> {
        match self {
            Self::All(conditions) => {
                all(conditions, |condition| condition.matches_at(document, path))
            }
            Self::Not(condition) => Ok(!condition.matches_at(document, path)?),
            Self::Test(test) => {
                let visit = |visit: Visit<'_>| test.matches(visit.value);
                Walk::new(test.leaf(), visit).document(document, path.parts())
            }
        }
    }

    /// Whether the condition holds for one value on its own.
    pub(crate) fn matches_value(&self, value: Option<RawBsonRef<'_>>) -> Result<bool> {
        match self {
            Self::All(conditions) => all(conditions, |condition| condition.matches_value(value)),
            Self::Not(condition) => Ok(!condition.matches_value(value)?),
            Self::Test(test) => test.matches(value),
        }
    }

    /// The only scalar the condition allows, when it says so directly.
    pub(super) fn equality(&self) -> Option<RawBsonRef<'_>> {
        match self {
            Self::All(conditions) => conditions.iter().find_map(Self::equality),
            Self::Test(Test::Equal(RawBson::Array(_))) | Self::Not(_) => None,
            Self::Test(Test::Equal(value)) => Some(value.as_raw_bson_ref()),
            Self::Test(_) => None,
        }
    }
}

impl Test {
    fn leaf(&self) -> Leaf {
        match self {
            Self::Size(_) | Self::AnyElement(_) | Self::AnyDocument(_) => Leaf::Whole,
            _ => Leaf::Expand,
        }
    }

    /// Whether one value passes; `None` is nothing.
    pub(crate) fn matches(&self, value: Option<RawBsonRef<'_>>) -> Result<bool> {
        Ok(match self {
            Self::Equal(operand) => {
                let operand = operand.as_raw_bson_ref();
                value.map_or(operand == RawBsonRef::Null, |value| equal(value, operand))
            }
            Self::Order(order, operand) => order.matches(value, operand.as_raw_bson_ref()),
            Self::In(list) => return list.contains(value),
            Self::Matches(pattern) => return pattern.matches(value),
            Self::Modulo { divisor, remainder } => value
                .and_then(Number::of)
                .and_then(Number::truncate_i64)
                .is_some_and(|number| number.wrapping_rem(*divisor) == *remainder),
            Self::Exists => value.is_some(),
            Self::Type(types) => value.is_some_and(|value| types.contains(&value.element_type())),
            Self::Size(size) => match value {
                Some(RawBsonRef::Array(array)) => array.iter_elements().count() as u64 == *size,
                _ => false,
            },
            Self::Geo(test) => value.is_some_and(|value| test.matches(value)),
            Self::AnyElement(_) | Self::AnyDocument(_) => {
                if let Some(RawBsonRef::Array(array)) = value {
                    for element in array {
                        if self.matches_element(element.map_err(malformed)?)? {
                            return Ok(true);
                        }
                    }
                }
                false
            }
        })
    }

    /// Whether one element of an array is what an `$elemMatch` test looks for; false for other tests.
    pub(crate) fn matches_element(&self, element: RawBsonRef<'_>) -> Result<bool> {
        match (self, element) {
            (Self::AnyElement(condition), element) => condition.matches_value(Some(element)),
            (Self::AnyDocument(node), RawBsonRef::Document(document)) => node.matches(document),
            (Self::AnyDocument(node), RawBsonRef::Array(array)) => {
                node.matches(array_document(array)?)
            }
            _ => Ok(false),
        }
    }
}

impl OrderTest {
    fn accepts(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }

    /// Values of another type never pass, except against MinKey and MaxKey, which bound all types.
    /// NaN is comparable to NaN only.
    fn matches(self, value: Option<RawBsonRef<'_>>, operand: RawBsonRef<'_>) -> bool {
        let value = value.unwrap_or(RawBsonRef::Null);
        if rank_of(value) != rank_of(operand) {
            return match operand {
                RawBsonRef::MaxKey => matches!(self, Self::Less | Self::LessOrEqual),
                RawBsonRef::MinKey => matches!(self, Self::Greater | Self::GreaterOrEqual),
                _ => false,
            };
        }
        let ordering = compare(value, operand);
        if ordering.is_ne() && (is_nan(value) || is_nan(operand)) {
            return false;
        }
        self.accepts(ordering)
    }
}

/// Whether `value` is the double NaN.
pub(super) fn is_nan(value: RawBsonRef<'_>) -> bool {
    matches!(value, RawBsonRef::Double(v) if v.is_nan())
}

impl InList {
    pub(super) fn new(mut values: Vec<RawBson>, patterns: Vec<Pattern>) -> Self {
        values.sort_by(|a, b| compare(a.as_raw_bson_ref(), b.as_raw_bson_ref()));
        values.dedup_by(|a, b| equal(a.as_raw_bson_ref(), b.as_raw_bson_ref()));
        let has_null = values.contains(&RawBson::Null);
        Self {
            values,
            patterns,
            has_null,
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = RawBsonRef<'_>> {
        self.values.iter().map(RawBson::as_raw_bson_ref)
    }

    pub(super) fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    fn contains(&self, value: Option<RawBsonRef<'_>>) -> Result<bool> {
        let Some(present) = value else {
            return Ok(self.has_null);
        };
        let found = self
            .values
            .binary_search_by(|candidate| compare(candidate.as_raw_bson_ref(), present));
        Ok(found.is_ok() || any(&self.patterns, |pattern| pattern.matches(value))?)
    }
}
