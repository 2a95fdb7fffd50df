//! What a filter implies for an index on one path: the key ranges outside which no match can lie.
//!
//! Sound, never exact: whoever scans the ranges still matches each document. An index entry is one of
//! the values of `value::index_values`, encoded ascending by `value::encode_value`.
//!
//! Two conditions on one path may be satisfied by different elements of an array. So their ranges may
//! be intersected only when no document has several entries on the path; otherwise one condition has
//! to be chosen. Conditions inside one `$elemMatch` on values concern one element and are always intersected.

use bson::{RawBson, RawBsonRef};

use super::condition::{Condition, OrderTest, Test, is_nan};
use super::pattern::Pattern;
use super::{Filter, Node};
use crate::error::Result;
use crate::value::Path;
use crate::value::compare::{rank, rank_of};
use crate::value::key::{encoded, invert, prefix_successor, string_prefix};

/// A half-open range of key bytes: `start <= key`, and `key < end` when there is an end.
///
/// A key is inside when it begins with the encoding of a value that is, so the range can be put after
/// the encodings of other fields and before those of more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    /// First key bytes inside; empty: from the beginning.
    pub start: Vec<u8>,
    /// First key bytes beyond; `None`: to the end.
    pub end: Option<Vec<u8>>,
    /// Holds the keys of one value only, whose encoding is `start`.
    pub point: bool,
}

impl Interval {
    /// All keys.
    pub fn all() -> Self {
        Self {
            start: Vec::new(),
            end: None,
            point: false,
        }
    }

    /// Whether no key is outside.
    pub fn is_all(&self) -> bool {
        self.start.is_empty() && self.end.is_none()
    }

    /// The same values in an index that stores the field descending.
    #[must_use]
    pub fn descending(&self) -> Self {
        let flip = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            invert(&mut bytes);
            bytes
        };
        if self.point {
            return Self::of_key(flip(&self.start), true);
        }
        let start = self
            .end
            .as_deref()
            .and_then(|end| prefix_successor(flip(end)))
            .unwrap_or_default();
        let end = if self.start.is_empty() {
            None
        } else {
            prefix_successor(flip(&self.start))
        };
        Self {
            start,
            end,
            point: false,
        }
    }

    /// All keys that begin with `prefix`.
    fn of_key(prefix: Vec<u8>, point: bool) -> Self {
        let end = prefix_successor(prefix.clone());
        Self {
            start: prefix,
            end,
            point,
        }
    }

    /// The keys of the whole numbers from `low` to `high`, both included.
    pub(crate) fn of_numbers(low: i64, high: i64) -> Result<Self> {
        Ok(Self {
            start: encoded(RawBsonRef::Int64(low))?,
            end: prefix_successor(encoded(RawBsonRef::Int64(high))?),
            point: false,
        })
    }

    fn of_value(value: RawBsonRef<'_>) -> Option<Self> {
        encoded(value).ok().map(|key| Self::of_key(key, true))
    }

    fn of_rank(rank: u8) -> Self {
        Self::of_key(vec![rank], false)
    }

    fn intersection(&self, other: &Self) -> Option<Self> {
        let (low, high) = if self.start >= other.start {
            (self, other)
        } else {
            (other, self)
        };
        let end = match (&self.end, &other.end) {
            (Some(a), Some(b)) => Some(a.min(b).clone()),
            (a, b) => a.as_ref().or(b.as_ref()).cloned(),
        };
        if end.as_ref().is_some_and(|end| *end <= low.start) {
            return None;
        }
        let point = low.point || (high.point && high.start == low.start);
        Some(Self {
            start: low.start.clone(),
            end,
            point,
        })
    }
}

/// A union of intervals, ascending and disjoint.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ranges(Vec<Interval>);

impl Ranges {
    fn all() -> Self {
        Self(vec![Interval::all()])
    }

    fn is_all(&self) -> bool {
        matches!(&self.0[..], [only] if only.is_all())
    }

    fn union(mut intervals: Vec<Interval>) -> Self {
        intervals.sort();
        let mut merged: Vec<Interval> = Vec::with_capacity(intervals.len());
        for next in intervals {
            match merged.last_mut() {
                Some(last) if last.end.as_ref().is_none_or(|end| next.start < *end) => {
                    last.point &= next.point && last.start == next.start;
                    if last.end.is_some() && (next.end.is_none() || next.end > last.end) {
                        last.end = next.end;
                    }
                }
                _ => merged.push(next),
            }
        }
        Self(merged)
    }

    fn intersection(&self, other: &Self) -> Self {
        let mut common = Vec::new();
        let (mut i, mut j) = (0, 0);
        while let (Some(a), Some(b)) = (self.0.get(i), other.0.get(j)) {
            common.extend(a.intersection(b));
            // The interval that ends first can meet nothing further.
            if a.end.is_some() && (b.end.is_none() || a.end < b.end) {
                i += 1;
            } else {
                j += 1;
            }
        }
        Self(common)
    }

    /// Few points are better than many, points better than ranges, ranges closed at both ends better
    /// than open ones.
    fn cost(&self) -> (usize, usize) {
        let open = self
            .0
            .iter()
            .filter(|interval| interval.start.len() < 2 || interval.end.is_none())
            .count();
        let ranges = self.0.iter().filter(|interval| !interval.point).count();
        (open * 2 + ranges, self.0.len())
    }

    fn holds_null(&self) -> bool {
        let null = vec![rank::NULL];
        self.0.iter().any(|interval| {
            interval.start <= null && interval.end.as_ref().is_none_or(|end| *end > null)
        })
    }
}

impl Filter {
    /// The key ranges of an index on `path` that hold every match of the filter, ascending and
    /// disjoint. `[Interval::all()]` when the filter implies nothing, empty when nothing can match.
    ///
    /// `multikey` says whether any document of the index may have had an array on the path
    /// (`IndexValues::multikey`); then only one of several conditions on the path is used.
    ///
    /// In a compound index the ranges of different fields may be combined when the index holds, for a
    /// document, every combination of the fields' values.
    pub fn constraints(&self, path: &str, multikey: bool) -> Vec<Interval> {
        let mut found = Vec::new();
        collect(&self.root, path, multikey, &mut found);
        combine(found, multikey).0
    }
}

fn combine(found: Vec<Ranges>, multikey: bool) -> Ranges {
    let found = found.into_iter().filter(|ranges| !ranges.is_all());
    if multikey {
        found.min_by_key(Ranges::cost).unwrap_or_else(Ranges::all)
    } else {
        found
            .reduce(|a, b| a.intersection(&b))
            .unwrap_or_else(Ranges::all)
    }
}

/// Adds one set of ranges for each condition that every match satisfies.
fn collect(node: &Node, path: &str, multikey: bool, found: &mut Vec<Ranges>) {
    match node {
        Node::All(nodes) => nodes
            .iter()
            .for_each(|node| collect(node, path, multikey, found)),
        Node::Any(nodes) => {
            let mut intervals = Vec::new();
            for node in nodes {
                let mut branch = Vec::new();
                collect(node, path, multikey, &mut branch);
                let branch = combine(branch, multikey);
                if branch.is_all() {
                    return;
                }
                intervals.extend(branch.0);
            }
            found.push(Ranges::union(intervals));
        }
        Node::Field {
            path: at,
            condition,
        } if at.as_str() == path => {
            collect_condition(condition, at, found);
        }
        Node::Field {
            path: at,
            condition,
        } => {
            if let Some(rest) = path
                .strip_prefix(at.as_str())
                .and_then(|rest| rest.strip_prefix('.'))
            {
                collect_inside(condition, rest, found);
            }
        }
        Node::Expression(expression) => {
            // Equality of whole values: a scalar is indexed as it is, and missing is not null here, so what
            // is found is only too much. An array is indexed by its elements.
            let equalities = expression.equalities().into_iter();
            for (_, value) in equalities.filter(|(at, value)| {
                at == path && !matches!(value, RawBsonRef::Array(_) | RawBsonRef::Undefined)
            }) {
                if let Some(interval) = Interval::of_value(value) {
                    found.push(Ranges(vec![interval]));
                }
            }
        }
        Node::Nor(_) | Node::Schema(_) => {}
    }
}

fn collect_condition(condition: &Condition, path: &Path, found: &mut Vec<Ranges>) {
    match condition {
        Condition::All(conditions) => {
            conditions
                .iter()
                .for_each(|condition| collect_condition(condition, path, found));
        }
        Condition::Not(_) => {}
        // An element selected by the path's last component is indexed as a whole, not by its elements.
        Condition::Test(Test::AnyElement(inner))
            if path.parts().last().is_some_and(|part| part.index.is_none()) =>
        {
            let mut element = Vec::new();
            collect_element(inner, &mut element);
            found.push(combine(element, false));
        }
        Condition::Test(test) => found.push(ranges_of(test)),
    }
}

/// What one element of an array satisfies by itself. Its own elements are not indexed.
fn collect_element(condition: &Condition, found: &mut Vec<Ranges>) {
    match condition {
        Condition::All(conditions) => conditions
            .iter()
            .for_each(|condition| collect_element(condition, found)),
        Condition::Not(_) => {}
        Condition::Test(test) => found.push(ranges_of(test)),
    }
}

/// `{a: {$elemMatch: {b: ..}}}` for an index on `a.b`. An element that is itself an array counts as a
/// document with numbered fields and is not indexed under `a.b`: hence the exclusions.
fn collect_inside(condition: &Condition, rest: &str, found: &mut Vec<Ranges>) {
    match condition {
        Condition::All(conditions) => {
            conditions
                .iter()
                .for_each(|condition| collect_inside(condition, rest, found));
        }
        Condition::Test(Test::AnyDocument(node)) => {
            let numbered = rest.starts_with(|first: char| first.is_ascii_digit());
            let mut inner = Vec::new();
            collect(node, rest, true, &mut inner);
            found.extend(
                inner
                    .into_iter()
                    .filter(|ranges| !numbered && !ranges.holds_null()),
            );
        }
        _ => {}
    }
}

fn ranges_of(test: &Test) -> Ranges {
    match test {
        Test::Equal(value) => {
            equal_ranges(value.as_raw_bson_ref()).map_or_else(Ranges::all, Ranges::union)
        }
        Test::Order(order, operand) => order_ranges(*order, operand),
        Test::In(list) => {
            let mut intervals = Vec::new();
            for value in list.values() {
                match equal_ranges(value) {
                    Some(equal) => intervals.extend(equal),
                    None => return Ranges::all(),
                }
            }
            list.patterns()
                .iter()
                .for_each(|pattern| intervals.extend(pattern_ranges(pattern)));
            Ranges::union(intervals)
        }
        Test::Matches(pattern) => Ranges::union(pattern_ranges(pattern).into()),
        Test::Modulo { .. } => Ranges(vec![Interval::of_rank(rank::NUMBER)]),
        // What an element satisfies on its own is handled by the caller; the rest is about arrays or types.
        Test::Exists
        | Test::Type(_)
        | Test::Size(_)
        | Test::AnyElement(_)
        | Test::AnyDocument(_)
        | Test::Geo(_) => Ranges::all(),
    }
}

/// An array equal to the operand is indexed by its elements; as an element of an array, by itself.
fn equal_ranges(value: RawBsonRef<'_>) -> Option<Vec<Interval>> {
    let mut intervals = vec![Interval::of_value(value)?];
    if let RawBsonRef::Array(array) = value {
        let first = match array.into_iter().next() {
            Some(first) => first.ok()?,
            None => RawBsonRef::Undefined,
        };
        intervals.push(Interval::of_value(first)?);
    }
    Some(intervals)
}

fn order_ranges(order: OrderTest, operand: &RawBson) -> Ranges {
    let operand = operand.as_raw_bson_ref();
    let inclusive = matches!(order, OrderTest::LessOrEqual | OrderTest::GreaterOrEqual);
    let Some(point) = Interval::of_value(operand) else {
        return Ranges::all();
    };
    match operand {
        // Arrays are compared as wholes but indexed by their elements; MinKey and MaxKey bound all types.
        RawBsonRef::Array(_) | RawBsonRef::MinKey | RawBsonRef::MaxKey => Ranges::all(),
        _ if is_nan(operand) => Ranges(if inclusive { vec![point] } else { Vec::new() }),
        RawBsonRef::Null => Ranges(if inclusive { vec![point] } else { Vec::new() }),
        _ => {
            let class = Interval::of_rank(rank_of(operand));
            let range = match order {
                OrderTest::Less => Interval {
                    end: Some(point.start),
                    ..class
                },
                OrderTest::LessOrEqual => Interval {
                    end: point.end,
                    ..class
                },
                OrderTest::Greater => Interval {
                    start: point.end.unwrap_or_default(),
                    ..class
                },
                OrderTest::GreaterOrEqual => Interval {
                    start: point.start,
                    ..class
                },
            };
            let empty = range.end.as_ref().is_some_and(|end| *end <= range.start);
            Ranges(if empty { Vec::new() } else { vec![range] })
        }
    }
}

fn pattern_ranges(pattern: &Pattern) -> [Interval; 2] {
    [
        Interval::of_key(string_prefix(&pattern.literal_prefix()), false),
        Interval::of_rank(rank::REGEX),
    ]
}
