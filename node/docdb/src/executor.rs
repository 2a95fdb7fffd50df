//! Carries out a plan over one consistent view: examines entries, matches documents, sorts, skips,
//! cuts and projects, within a budget.
//!
//! Documents stream; only what must be sorted is held, and of that no more than the result needs.

use std::collections::{BinaryHeap, HashSet};

use bson::{RawDocument, RawDocumentBuf};

use crate::catalog::{Collection, Index};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::index_entries;
use crate::keys;
use crate::kv::{Direction, Family, KeyRange, View};
use crate::planner::{Access, Plan};
use crate::query::{Budget, Query, exceeded};
use crate::value::malformed;

/// What carrying out a plan took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Effort {
    pub(crate) keys_examined: u64,
    pub(crate) documents_examined: u64,
    pub(crate) documents_matched: u64,
}

/// The walk through what a plan says must be examined.
pub(crate) struct Scan<'a> {
    pub(crate) view: &'a dyn View,
    pub(crate) collection: &'a Collection,
    pub(crate) plan: &'a Plan,
    pub(crate) filter: &'a Filter,
    /// Only documents behind this encoded `_id`; empty: all.
    pub(crate) after: &'a [u8],
    pub(crate) budget: &'a Budget<'a>,
    pub(crate) effort: Effort,
}

/// Takes a match with its encoded `_id`; answers whether to go on.
pub(crate) type Visit<'v> = dyn FnMut(&[u8], &RawDocument) -> Result<bool> + 'v;

impl Scan<'_> {
    /// Calls `visit` for each match, in the plan's order, until it answers false.
    pub(crate) fn run(&mut self, visit: &mut Visit<'_>) -> Result<()> {
        let (collection, plan) = (self.collection, self.plan);
        match &plan.access {
            Access::Nothing => Ok(()),
            Access::Ids(ids) => self.ids(ids, visit),
            Access::Collection { ranges } => self.documents(ranges, visit),
            Access::Index { at, ranges } => self.index(&collection.indexes[*at], ranges, visit),
            Access::Near { at, prefixes } => self.near(&collection.indexes[*at], prefixes, visit),
        }
    }

    /// The same in the order of `_id`, whatever order the plan's index has.
    pub(crate) fn run_by_id(&mut self, visit: &mut Visit<'_>) -> Result<()> {
        let (collection, plan) = (self.collection, self.plan);
        let Access::Index { at, ranges } = &plan.access else {
            return self.run(visit);
        };
        let index = &collection.indexes[*at];
        let mut ids: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        for range in ranges {
            let mut cursor = self.view.scan(Family::Index, range, Direction::Forward);
            while cursor.advance()? {
                self.effort.keys_examined += 1;
                self.budget.check_time(self.effort.keys_examined)?;
                let id = index_entries::entry_id(index, cursor.key(), cursor.value())?;
                bytes += id.len() + size_of::<Vec<u8>>();
                if bytes > self.budget.memory_bytes_max {
                    // So many that reading everything in order is no worse.
                    drop(ids);
                    return self.documents(&[keys::documents(collection.id)], visit);
                }
                ids.push(id.to_vec());
            }
        }
        ids.sort_unstable();
        ids.dedup();
        self.ids(&ids, visit)
    }

    fn ids(&mut self, ids: &[Vec<u8>], visit: &mut Visit<'_>) -> Result<()> {
        for (number, id) in (0..).zip(in_direction(ids, self.plan.direction)) {
            self.budget.check_time(number)?;
            if id.as_slice() <= self.after {
                continue;
            }
            let key = keys::document(self.collection.id, id);
            if let Some(document) = self.view.get(Family::Docs, &key)?
                && !self.examine(id, &document, visit)?
            {
                break;
            }
        }
        Ok(())
    }

    fn documents(&mut self, ranges: &[KeyRange], visit: &mut Visit<'_>) -> Result<()> {
        let behind = keys::documents_after(self.collection.id, self.after).start;
        for range in in_direction(ranges, self.plan.direction) {
            let mut range = range.clone();
            if !self.after.is_empty() && range.start < behind {
                range.start.clone_from(&behind);
            }
            let mut cursor = self.view.scan(Family::Docs, &range, self.plan.direction);
            while cursor.advance()? {
                if !self.examine(keys::document_id(cursor.key()), cursor.value(), visit)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn index(&mut self, index: &Index, ranges: &[KeyRange], visit: &mut Visit<'_>) -> Result<()> {
        // A document with several entries is examined at its first.
        let mut seen = index.is_multikey().then(HashSet::new);
        for range in in_direction(ranges, self.plan.direction) {
            let mut cursor = self.view.scan(Family::Index, range, self.plan.direction);
            while cursor.advance()? {
                self.effort.keys_examined += 1;
                self.budget.check_time(self.effort.keys_examined)?;
                let id = index_entries::entry_id(index, cursor.key(), cursor.value())?;
                if id <= self.after || seen.as_mut().is_some_and(|seen| !seen.insert(id.to_vec())) {
                    continue;
                }
                let Some(document) = self
                    .view
                    .get(Family::Docs, &keys::document(self.collection.id, id))?
                else {
                    return Err(Error::internal(format!(
                        "index '{}' names a document that does not exist",
                        index.spec.name
                    )));
                };
                if !self.examine(id, &document, visit)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    pub(crate) fn examine(
        &mut self,
        id: &[u8],
        document: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<bool> {
        self.effort.documents_examined += 1;
        if self.effort.documents_examined > self.budget.documents_examined_max {
            let limit = format!(
                "the limit of {} documents examined",
                self.budget.documents_examined_max
            );
            return Err(exceeded(&limit, "add an index or narrow the filter"));
        }
        self.budget.check_time(self.effort.documents_examined)?;
        let document = RawDocument::from_bytes(document).map_err(malformed)?;
        if !self.filter.matches(document)? {
            return Ok(true);
        }
        self.effort.documents_matched += 1;
        visit(id, document)
    }
}

/// What is ascending, in the direction of a plan.
fn in_direction<T>(ascending: &[T], direction: Direction) -> impl Iterator<Item = &T> {
    let last = ascending.len().saturating_sub(1);
    (0..ascending.len()).map(move |number| match direction {
        Direction::Forward => &ascending[number],
        Direction::Backward => &ascending[last - number],
    })
}

/// Documents found, and where to continue.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Found {
    pub(crate) documents: Vec<RawDocumentBuf>,
    /// Encoded `_id` of the last one, when a limit cut the result and it is in `_id` order.
    pub(crate) next: Vec<u8>,
}

/// Carries out a find.
pub(crate) fn find(mut scan: Scan<'_>, query: &Query) -> Result<(Found, Effort)> {
    let mut output = Output::new(query, scan.budget);
    if output.limit == 0 {
        return Ok((Found::default(), scan.effort));
    }
    if scan.plan.ordered {
        scan.run(&mut |id, document| output.take(id, document))?;
    } else {
        // One more than wanted tells whether a limit cut the result.
        let wanted = query.skip.saturating_add(output.limit).saturating_add(1);
        let mut top = Top::new(wanted, scan.budget);
        scan.run(&mut |id, document| {
            let mut key = query.sort.key(document)?;
            key.extend_from_slice(id);
            top.offer(key, id, document)?;
            Ok(true)
        })?;
        for row in top.into_sorted() {
            if !output.take(
                &row.id,
                RawDocument::from_bytes(&row.document).map_err(malformed)?,
            )? {
                break;
            }
        }
    }
    Ok((output.finish(), scan.effort))
}

/// The encoded `_id`s of the first matches, at most `count_max`, in the query's order.
pub(crate) fn ids(
    mut scan: Scan<'_>,
    query: &Query,
    count_max: u64,
) -> Result<(Vec<Vec<u8>>, Effort)> {
    let mut ids = Vec::new();
    if scan.plan.ordered {
        scan.run(&mut |id, _| {
            ids.push(id.to_vec());
            Ok((ids.len() as u64) < count_max)
        })?;
    } else {
        let mut top = Top::new(count_max, scan.budget);
        let empty = RawDocumentBuf::new();
        scan.run(&mut |id, document| {
            let mut key = query.sort.key(document)?;
            key.extend_from_slice(id);
            top.offer(key, id, &empty)?;
            Ok(true)
        })?;
        ids.extend(top.into_sorted().into_iter().map(|row| row.id));
    }
    Ok((ids, scan.effort))
}

/// Skips, projects and cuts documents that come in the right order.
struct Output<'a> {
    query: &'a Query,
    bytes_max: usize,
    limit: u64,
    skipped: u64,
    bytes: usize,
    documents: Vec<RawDocumentBuf>,
    last_id: Vec<u8>,
    is_cut: bool,
}

impl<'a> Output<'a> {
    fn new(query: &'a Query, budget: &Budget<'_>) -> Self {
        Self {
            query,
            bytes_max: budget.result_bytes_max,
            limit: query
                .limit
                .unwrap_or(u64::MAX)
                .min(budget.result_documents_max),
            skipped: 0,
            bytes: 0,
            documents: Vec::new(),
            last_id: Vec::new(),
            is_cut: false,
        }
    }

    fn take(&mut self, id: &[u8], document: &RawDocument) -> Result<bool> {
        if self.skipped < self.query.skip {
            self.skipped += 1;
            return Ok(true);
        }
        if self.documents.len() as u64 >= self.limit {
            self.is_cut = true;
            return Ok(false);
        }
        let document = self.query.projection.apply(document)?;
        self.bytes += document.as_bytes().len();
        if self.bytes > self.bytes_max && !self.documents.is_empty() {
            if !self.query.sort.is_empty() || self.query.filter.near().is_some() {
                let limit = format!("the limit of {} bytes in a result", self.bytes_max);
                return Err(exceeded(&limit, "lower the limit or project fewer fields"));
            }
            self.is_cut = true;
            return Ok(false);
        }
        self.documents.push(document);
        self.last_id.clear();
        self.last_id.extend_from_slice(id);
        Ok(true)
    }

    fn finish(self) -> Found {
        let by_id = self.query.sort.is_empty() && self.query.filter.near().is_none();
        let next = if self.is_cut && by_id {
            self.last_id
        } else {
            Vec::new()
        };
        Found {
            documents: self.documents,
            next,
        }
    }
}

/// A match waiting to be sorted. Keys end with the `_id`, so no two are equal.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    key: Vec<u8>,
    id: Vec<u8>,
    document: Vec<u8>,
}

impl Row {
    fn bytes(&self) -> usize {
        self.key.len() + self.id.len() + self.document.len() + size_of::<Self>()
    }
}

/// The first rows of all that were offered: a heap with the last of them on top.
struct Top {
    rows: BinaryHeap<Row>,
    count_max: u64,
    bytes: usize,
    bytes_max: usize,
}

impl Top {
    fn new(count_max: u64, budget: &Budget<'_>) -> Self {
        Self {
            rows: BinaryHeap::new(),
            count_max,
            bytes: 0,
            bytes_max: budget.memory_bytes_max,
        }
    }

    fn offer(&mut self, key: Vec<u8>, id: &[u8], document: &RawDocument) -> Result<()> {
        if self.rows.len() as u64 >= self.count_max {
            match self.rows.peek() {
                Some(last) if key < last.key => {
                    self.bytes -= last.bytes();
                    self.rows.pop();
                }
                _ => return Ok(()),
            }
        }
        let row = Row {
            key,
            id: id.to_vec(),
            document: document.as_bytes().to_vec(),
        };
        self.bytes += row.bytes();
        if self.bytes > self.bytes_max {
            let limit = format!("the limit of {} bytes sorted in memory", self.bytes_max);
            return Err(exceeded(
                &limit,
                "add an index on the sort fields, narrow the filter or set a limit",
            ));
        }
        self.rows.push(row);
        Ok(())
    }

    fn into_sorted(self) -> Vec<Row> {
        self.rows.into_sorted_vec()
    }
}

/// Counts entries of an index range without fetching documents.
pub(crate) fn count_keys(view: &dyn View, range: &KeyRange, budget: &Budget<'_>) -> Result<u64> {
    let mut count = 0;
    let mut cursor = view.scan(Family::Index, range, Direction::Forward);
    while cursor.advance()? {
        count += 1;
        budget.check_time(count)?;
    }
    Ok(count)
}
