//! How a query is carried out, as a document: the plan, its bounds in readable form, what it examined,
//! and the plans that were not taken.

use bson::{Bson, Document, RawDocument, doc};

use crate::aggregate::{self, Request};
use crate::catalog::{Collection, Index};
use crate::error::{Error, Result};
use crate::executor::{self, Effort};
use crate::index_options;
use crate::keys;
use crate::kv::{Direction, KeyRange, after_prefix};
use crate::op::{Op, OpReply, UpdateOp};
use crate::planner::{Access, Choice, Plan};
use crate::query::{EMPTY_DOCUMENT, Query, parse_filter};
use crate::read::{Snapshot, raw};
use crate::sort::Sort;
use crate::value::decode_value;

/// Ranges shown at most; a long `$in` would make the answer unreadable.
const RANGES_SHOWN_MAX: usize = 20;

/// Explains a find, count, update, remove or aggregate by carrying out its reading part.
pub(crate) fn explain(snapshot: &Snapshot<'_>, env: &str, op: &Op) -> Result<OpReply> {
    let name = op
        .collection()
        .ok_or_else(|| Error::invalid("only an operation on a collection can be explained"))?;
    if let Op::Aggregate { pipeline, seed, .. } = op {
        let request = Request {
            env,
            collection: name,
            pipeline,
            visible: RawDocument::from_bytes(EMPTY_DOCUMENT).map_err(Error::internal)?,
            seed: *seed,
            joined: None,
        };
        return Ok(OpReply::Described {
            documents: vec![raw(&aggregate::explain(snapshot, &request)?)?],
        });
    }
    let collection = snapshot.catalog.require(env, name)?;
    let query = explained_query(snapshot, op)?;
    let choice = snapshot.choose(collection, &query)?;
    let (returned, effort) = match op {
        Op::Find { .. } => {
            let (found, effort) =
                executor::find(snapshot.scan(collection, &choice.best, &query), &query)?;
            (found.documents.len() as u64, effort)
        }
        _ => {
            let effort = snapshot.count_matches(collection, &choice.best, &query)?;
            (effort.documents_matched, effort)
        }
    };
    let mut plan = plan(collection, &query, &choice, &effort);
    plan.insert("documentsReturned", returned as i64);
    Ok(OpReply::Described {
        documents: vec![raw(&plan)?],
    })
}

/// The plan that was chosen, what it examined, and the plans that were not.
pub(crate) fn plan(
    collection: &Collection,
    query: &Query,
    choice: &Choice,
    effort: &Effort,
) -> Document {
    let mut plan = describe(collection, &choice.best);
    plan.insert("sort", sort_text(query, &choice.best));
    plan.insert("keysExamined", effort.keys_examined as i64);
    plan.insert("documentsExamined", effort.documents_examined as i64);
    plan.insert("documentsMatched", effort.documents_matched as i64);
    let others: Vec<_> = choice
        .others
        .iter()
        .map(|other| describe(collection, other))
        .collect();
    plan.insert("otherPlans", others);
    plan
}

fn explained_query(snapshot: &Snapshot<'_>, op: &Op) -> Result<Query> {
    match op {
        Op::Find { find, .. } => Query::parse(find, snapshot.now_ms),
        Op::Count { filter, .. } | Op::Remove { filter, .. } => {
            Query::by_filter(parse_filter(filter, snapshot.now_ms)?)
        }
        Op::Update {
            update: UpdateOp { filter, sort, .. },
            ..
        } => {
            let mut query = Query::by_filter(parse_filter(filter, snapshot.now_ms)?)?;
            query.sort = Sort::parse(sort)?;
            Ok(query)
        }
        _ => Err(Error::invalid(
            "only find, count, update, remove and aggregate can be explained",
        )),
    }
}

fn sort_text(query: &Query, plan: &Plan) -> &'static str {
    match (&plan.access, plan.ordered, query.sort.is_empty()) {
        (_, false, _) => "in memory",
        (Access::Near { .. }, true, _) => "by distance",
        (Access::Index { .. }, true, _) => "by index",
        (_, true, true) => "by _id",
        (_, true, false) => "none needed",
    }
}

fn describe(collection: &Collection, plan: &Plan) -> Document {
    let mut document = match &plan.access {
        Access::Near { at, .. } => {
            let index = &collection.indexes[*at];
            let mut scan = doc! { "stage": "near", "index": &index.spec.name };
            index_options::describe(&index.options, &mut scan);
            scan
        }
        Access::Nothing => doc! { "stage": "nothing" },
        Access::Ids(ids) => {
            let shown = ids.iter().take(RANGES_SHOWN_MAX);
            let shown: Vec<_> = shown
                .map(|id| decode_value(id, false).map_or(Bson::Null, |(id, _)| id))
                .collect();
            doc! { "stage": "id lookup", "count": ids.len() as i64, "ids": shown }
        }
        Access::Collection { ranges } if *ranges == [keys::documents(collection.id)] => {
            doc! { "stage": "collection scan" }
        }
        Access::Collection { ranges } => {
            doc! { "stage": "id range scan", "ranges": ranges.len() as i64 }
        }
        Access::Index { at, ranges } => {
            let index = &collection.indexes[*at];
            let bounds: Vec<_> = ranges
                .iter()
                .take(RANGES_SHOWN_MAX)
                .map(|range| range_text(index, range))
                .collect();
            let mut scan = doc! {
                "stage": "index scan",
                "index": &index.spec.name,
                "multikey": index.is_multikey(),
                "ranges": ranges.len() as i64,
                "bounds": bounds,
            };
            index_options::describe(&index.options, &mut scan);
            scan
        }
    };
    document.insert(
        "direction",
        if plan.direction == Direction::Forward {
            "forward"
        } else {
            "backward"
        },
    );
    document.insert("expectedExamined", plan.examined.round() as i64);
    document.insert("cost", (plan.cost * 10.0).round() / 10.0);
    document
}

/// The values that a range admits: `a: 1` for one value, `[a: 1 .. a: 5)` for several.
fn range_text(index: &Index, range: &KeyRange) -> String {
    let prefix = keys::index_prefix(index.id).len();
    let start = range.start.get(prefix..).unwrap_or_default();
    if after_prefix(&range.start) == range.end {
        return if start.is_empty() {
            "all".into()
        } else {
            bound(index, start).0
        };
    }
    let (from, is_behind) = bound(index, start);
    let open = if is_behind { '(' } else { '[' };
    // The end of an index's last range is the beginning of the next index.
    if range.end.get(..prefix) != range.start.get(..prefix) {
        return format!("{open}{from} .. )");
    }
    let (to, is_including) = bound(index, range.end.get(prefix..).unwrap_or_default());
    let close = if is_including { ']' } else { ')' };
    format!("{open}{from} .. {to}{close}")
}

/// The values at a bound, and whether the bound lies right behind all keys that begin with them.
///
/// Bytes right behind a number are often a number too, but one with a longer text: the shorter of the
/// two is the one that the query named.
fn bound(index: &Index, bytes: &[u8]) -> (String, bool) {
    let mut before = bytes.to_vec();
    if let Some(last) = before.last_mut() {
        *last = last.wrapping_sub(1);
    }
    match (values(index, bytes), values(index, &before)) {
        (Some(at), Some(behind)) if behind.len() < at.len() => (behind, true),
        (Some(at), _) => (at, false),
        (None, Some(behind)) => (behind, true),
        (None, None) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            (format!("0x{hex}"), false)
        }
    }
}

/// The values that `bytes` consist of; the last may be only the beginning of all values of a type.
fn values(index: &Index, mut bytes: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    for field in &index.spec.fields {
        match bytes {
            [] => break,
            [_] if decode_value(bytes, field.descending).is_err() => {
                parts.push(format!("{}: the next type", field.path));
                bytes = &[];
            }
            _ => {
                let (value, length) = decode_value(bytes, field.descending).ok()?;
                parts.push(format!("{}: {value}", field.path));
                bytes = bytes.get(length..)?;
            }
        }
    }
    bytes.is_empty().then(|| parts.join(", "))
}
