//! Chooses how a query is carried out: by `_id`, along an index, or through the whole collection.
//!
//! A filter implies ranges of keys for each index; a bounded probe counts how many keys lie in them.
//! The cost of a plan is what it examines, with a lookup through an index dearer than a step of a
//! scan, plus what it must sort. Any plan gives the right result: ranges are sound and every document
//! is matched again.

use crate::catalog::{Collection, Index};
use crate::error::{Error, ErrorCode, Result};
use crate::filter::Interval;
use crate::keys;
use crate::kv::{Direction, Family, KeyRange, View, after_prefix};
use crate::limits::{PLANNER_PROBE_KEYS_MAX, PLANNER_RANGES_MAX};
use crate::query::Query;
use crate::sort::SortField;

/// A document fetched through an index costs a random read; one met in a scan is next to its neighbour.
const FETCH_COST: f64 = 3.0;
/// Sorting a match in memory, on top of examining it.
const SORT_COST: f64 = 0.5;
/// Share of a collection that a range is taken to hold when the probe ends before it does. Small enough that an
/// index with bounds beats a scan of everything, as whoever made the index expects.
const RANGE_SHARE: f64 = 0.2;
/// The same for one equal value.
const POINT_SHARE: f64 = 0.1;

/// Where documents come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Access {
    /// Nothing can match.
    Nothing,
    /// The documents with these encoded `_id`s, ascending.
    Ids(Vec<Vec<u8>>),
    /// All documents in some ranges of `_id`, ascending.
    Collection {
        /// Disjoint ranges of document keys.
        ranges: Vec<KeyRange>,
    },
    /// The entries of the index at this position of the catalog that lie in some ranges, ascending.
    Index { at: usize, ranges: Vec<KeyRange> },
    /// The entries of a geo index, by distance from the point that the filter names.
    Near {
        at: usize,
        /// What entries begin with that agree with the filter on the fields before the place.
        prefixes: Vec<Vec<u8>>,
    },
}

/// How a query is carried out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) access: Access,
    pub(crate) direction: Direction,
    /// Documents come in the order that the query asks for.
    pub(crate) ordered: bool,
    /// Entries it is expected to examine.
    pub(crate) examined: f64,
    pub(crate) cost: f64,
}

impl Plan {
    /// The same walk through a collection, with what it is expected to cost.
    fn over(self, collection: &Collection, documents: f64, matches: f64, query: &Query) -> Self {
        let whole = vec![keys::documents(collection.id)];
        let is_whole = self.access == Access::Collection { ranges: whole };
        let documents = if is_whole {
            documents
        } else {
            documents * RANGE_SHARE
        };
        let examined = if self.ordered {
            until_wanted(documents, matches, query)
        } else {
            documents
        };
        let sorting = if self.ordered {
            0.0
        } else {
            matches * SORT_COST
        };
        Self {
            examined,
            cost: examined + sorting,
            ..self
        }
    }
}

/// The best plan, and the others that were considered.
pub(crate) struct Choice {
    pub(crate) best: Plan,
    pub(crate) others: Vec<Plan>,
}

/// Plans `query` over a collection of `documents` documents.
pub(crate) fn choose(
    view: &dyn View,
    collection: &Collection,
    documents: u64,
    query: &Query,
) -> Result<Choice> {
    if let Some((path, _)) = query.filter.near() {
        let near = near(collection, path, query)?;
        if query.sort.is_empty() {
            return Ok(Choice {
                best: near,
                others: Vec::new(),
            });
        }
    }
    let by_id = by_id(collection, query);
    if !matches!(by_id.access, Access::Collection { .. }) {
        return Ok(Choice {
            best: by_id,
            others: Vec::new(),
        });
    }
    let mut candidates = Vec::new();
    for (at, index) in collection.indexes.iter().enumerate() {
        if !index.is_ready() || !holds_all_matches(index, query) {
            continue;
        }
        let bounds = Bounds::of(index, query);
        if bounds.ranges.is_empty() {
            return Ok(Choice {
                best: Plan {
                    access: Access::Nothing,
                    examined: 0.0,
                    cost: 0.0,
                    ordered: true,
                    ..by_id
                },
                others: Vec::new(),
            });
        }
        let order = bounds.order(index, query);
        if !bounds.is_unbounded || order.is_some() {
            candidates.push((at, bounds, order, documents as f64));
        }
    }
    // One index that fixes values and gives the order beats a scan whatever a probe would count.
    let is_settled =
        matches!(candidates.as_slice(), [(_, bounds, Some(_), _)] if bounds.points > 0);
    for (_, bounds, _, keys) in &mut candidates {
        *keys = if is_settled {
            bounds.guess(documents)
        } else {
            estimate(view, bounds, documents)?
        };
    }
    // The tightest index says how many matches there can be at most.
    let matches = candidates
        .iter()
        .map(|(.., keys)| *keys)
        .fold(documents as f64, f64::min)
        .max(1.0);
    let mut plans = vec![by_id.over(collection, documents as f64, matches, query)];
    plans.extend(candidates.into_iter().map(|(at, bounds, order, keys)| {
        let ordered = order.is_some();
        let examined = if ordered {
            until_wanted(keys, matches, query)
        } else {
            keys
        };
        Plan {
            access: Access::Index {
                at,
                ranges: bounds.ranges,
            },
            direction: order.unwrap_or(Direction::Forward),
            ordered,
            examined,
            cost: examined * FETCH_COST + if ordered { 0.0 } else { keys * SORT_COST },
        }
    }));
    plans.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    let best = plans.remove(0);
    Ok(Choice {
        best,
        others: plans,
    })
}

/// The plan that meets documents by their distance. Needs an index: any other way reads everything.
fn near(collection: &Collection, path: &str, query: &Query) -> Result<Plan> {
    for (at, index) in collection.indexes.iter().enumerate() {
        let Some(field) = index.geo_field() else {
            continue;
        };
        if !index.is_ready()
            || index.spec.fields[field].path != path
            || !holds_all_matches(index, query)
        {
            continue;
        }
        if let Some(prefixes) = point_prefixes(index, field, query) {
            let examined = query.wanted().map_or(0.0, |wanted| wanted as f64);
            return Ok(Plan {
                access: Access::Near { at, prefixes },
                direction: Direction::Forward,
                ordered: true,
                examined,
                cost: examined * FETCH_COST,
            });
        }
    }
    Err(Error::new(
        ErrorCode::RequestFailed,
        format!(
            "a query by distance needs a 2dsphere index on '{path}' that is ready, and collection '{}' has none; create one",
            collection.name
        ),
    ))
}

/// What the entries begin with that can match, when the filter fixes all fields before number `field`.
fn point_prefixes(index: &Index, field: usize, query: &Query) -> Option<Vec<Vec<u8>>> {
    let mut prefixes = vec![keys::index_prefix(index.id)];
    for position in 0..field {
        let intervals = intervals(index, position, query);
        let combined = prefixes.len().saturating_mul(intervals.len());
        if !intervals.iter().all(|interval| interval.point) || combined > PLANNER_RANGES_MAX {
            return None;
        }
        prefixes = extended(&prefixes, &intervals);
    }
    Some(prefixes)
}

/// The keys that one field of an index has in all matches.
fn intervals(index: &Index, position: usize, query: &Query) -> Vec<Interval> {
    let field = &index.spec.fields[position];
    if index.geo_field() == Some(position) {
        return query.filter.geo_constraints(&field.path);
    }
    let intervals = query
        .filter
        .constraints(&field.path, index.multikey[position]);
    if field.descending {
        intervals.iter().rev().map(Interval::descending).collect()
    } else {
        intervals
    }
}

fn extended(prefixes: &[Vec<u8>], points: &[Interval]) -> Vec<Vec<u8>> {
    prefixes
        .iter()
        .flat_map(|prefix| {
            points
                .iter()
                .map(move |point| [prefix.as_slice(), &point.start].concat())
        })
        .collect()
}

/// Whether every document that the query can match has an entry: by what the filter implies, so a few indexes that
/// would serve are passed over, and none that would not is used.
fn holds_all_matches(index: &Index, query: &Query) -> bool {
    let in_part = index
        .partial
        .as_ref()
        .is_none_or(|partial| query.filter.implies(partial));
    let is_there = !index.options.sparse
        || index
            .spec
            .fields
            .iter()
            .any(|field| query.filter.requires(&field.path));
    // Only what has a geometry is in a geo index, and only conditions on places say that it has.
    let has_place = index.geo_field().is_none_or(|field| {
        let constraints = query.filter.geo_constraints(&index.spec.fields[field].path);
        !constraints.iter().any(Interval::is_all)
    });
    in_part && is_there && has_place
}

/// The plan that uses nothing but the order of documents by `_id`.
pub(crate) fn by_id(collection: &Collection, query: &Query) -> Plan {
    let order = match query.sort.fields() {
        [] => Some(Direction::Forward),
        [only] if only.path.as_str() == "_id" && only.descending => Some(Direction::Backward),
        _ => None,
    };
    // No `_id` is an array, so all conditions on it concern one value.
    let intervals = query.filter.constraints("_id", false);
    let access = if intervals.is_empty() {
        Access::Nothing
    } else if intervals.iter().all(|interval| interval.point) {
        Access::Ids(intervals.into_iter().map(|point| point.start).collect())
    } else if intervals.iter().any(Interval::is_all) || intervals.len() > PLANNER_RANGES_MAX {
        Access::Collection {
            ranges: vec![keys::documents(collection.id)],
        }
    } else {
        let prefix = keys::document(collection.id, &[]);
        Access::Collection {
            ranges: ranges(&[prefix], &intervals),
        }
    };
    let count = match &access {
        Access::Ids(ids) => ids.len(),
        _ => 0,
    };
    Plan {
        direction: order.unwrap_or(Direction::Forward),
        ordered: order.is_some() || count <= 1 && !matches!(access, Access::Collection { .. }),
        examined: count as f64,
        cost: count as f64 * FETCH_COST,
        access,
    }
}

/// Entries examined until enough of `matches`, spread evenly over `entries`, have been met.
fn until_wanted(entries: f64, matches: f64, query: &Query) -> f64 {
    match query.wanted() {
        Some(wanted) => (wanted as f64 * (entries / matches).max(1.0)).min(entries),
        None => entries,
    }
}

/// Counts the keys in the ranges, up to a limit; beyond it guesses by the kind of the ranges.
fn estimate(view: &dyn View, bounds: &Bounds, documents: u64) -> Result<f64> {
    if bounds.is_unbounded {
        return Ok(documents as f64);
    }
    let mut keys = 0;
    for range in &bounds.ranges {
        let mut cursor = view.scan(Family::Index, range, Direction::Forward);
        while cursor.advance()? {
            keys += 1;
            if keys >= PLANNER_PROBE_KEYS_MAX {
                return Ok(bounds.guess(documents).max(keys as f64));
            }
        }
    }
    Ok(keys as f64)
}

/// The key ranges of one index that hold all matches.
struct Bounds {
    /// Ascending, disjoint.
    ranges: Vec<KeyRange>,
    /// Leading fields of which only single values remain.
    points: usize,
    /// The filter says nothing about the first field.
    is_unbounded: bool,
}

impl Bounds {
    /// How many of a collection's documents lie in the ranges, by their kind alone.
    fn guess(&self, documents: u64) -> f64 {
        let share = if self.points > 0 {
            POINT_SHARE
        } else {
            RANGE_SHARE
        };
        documents as f64 * share
    }

    fn of(index: &Index, query: &Query) -> Self {
        let mut prefixes = vec![keys::index_prefix(index.id)];
        let mut points = 0;
        for position in 0..index.spec.fields.len() {
            let intervals = intervals(index, position, query);
            let combined = prefixes.len().saturating_mul(intervals.len());
            if intervals.iter().any(Interval::is_all) || combined > PLANNER_RANGES_MAX {
                break;
            }
            if !intervals.iter().all(|interval| interval.point) {
                return Self {
                    ranges: ranges(&prefixes, &intervals),
                    points,
                    is_unbounded: false,
                };
            }
            prefixes = extended(&prefixes, &intervals);
            points += 1;
        }
        let mut ranges: Vec<_> = prefixes
            .iter()
            .map(|prefix| KeyRange::prefix(prefix))
            .collect();
        let is_whole_key = points == index.spec.fields.len() && !index.spec.unique;
        if is_whole_key && ranges.len() == 1 && !query.after.is_empty() && !index.is_multikey() {
            // Entries of one key are in _id order, so the next page begins right behind the last.
            ranges[0].start = [prefixes[0].as_slice(), &query.after, &[0]].concat();
        }
        Self {
            ranges,
            points,
            is_unbounded: points == 0,
        }
    }

    /// The direction in which the entries are in the query's order, if there is one.
    fn order(&self, index: &Index, query: &Query) -> Option<Direction> {
        let is_single = self.ranges.len() == 1;
        let fixed = if is_single { self.points } else { 0 };
        if query.sort.is_empty() {
            return (is_single && fixed == index.spec.fields.len()).then_some(Direction::Forward);
        }
        if !is_single && self.points > 0 {
            return None;
        }
        // A field with one value orders nothing, unless documents may have more values there.
        let is_fixed = |sort: &SortField| {
            index.spec.fields[..fixed]
                .iter()
                .zip(&index.multikey)
                .any(|(field, multikey)| field.path == sort.path.as_str() && !multikey)
        };
        let mut following = index.spec.fields.iter().zip(&index.multikey).skip(fixed);
        let mut direction = None;
        for sort in query.sort.fields().iter().filter(|sort| !is_fixed(sort)) {
            let (field, multikey) = following.next()?;
            let is_place = index
                .geo_field()
                .is_some_and(|at| index.spec.fields[at].path == field.path);
            if *multikey || is_place || field.path != sort.path.as_str() {
                return None;
            }
            let needed = if field.descending == sort.descending {
                Direction::Forward
            } else {
                Direction::Backward
            };
            if *direction.get_or_insert(needed) != needed {
                return None;
            }
        }
        Some(direction.unwrap_or(Direction::Forward))
    }
}

pub(crate) fn ranges(prefixes: &[Vec<u8>], intervals: &[Interval]) -> Vec<KeyRange> {
    let range = |prefix: &[u8], interval: &Interval| KeyRange {
        start: [prefix, &interval.start].concat(),
        end: match &interval.end {
            Some(end) => [prefix, end].concat(),
            None => after_prefix(prefix),
        },
    };
    prefixes
        .iter()
        .flat_map(|prefix| {
            intervals
                .iter()
                .map(move |interval| range(prefix, interval))
        })
        .collect()
}
