//! A query with its parts parsed, and what a read may spend.

use bson::RawDocument;

use crate::error::{Error, ErrorCode, Result};
use crate::filter::{Filter, FilterContext};
use crate::limits::{
    AGGREGATE_MEMORY_BYTES_MAX, AGGREGATE_SPILL_BYTES_MAX, DEADLINE_CHECK_ENTRIES,
    READ_DOCUMENTS_EXAMINED_MAX, READ_MEMORY_BYTES_MAX, READ_RESULT_BYTES_MAX,
    READ_RESULT_DOCUMENTS_MAX,
};
use crate::op::FindOp;
use crate::projection::Projection;
use crate::sort::Sort;
use crate::spill::Spill;

/// What one read may spend.
pub struct Budget<'a> {
    /// Documents it may look at.
    pub documents_examined_max: u64,
    /// Documents it may return; a result is cut there.
    pub result_documents_max: u64,
    /// Bytes it may return; a result is cut there.
    pub result_bytes_max: usize,
    /// Bytes it may hold to sort.
    pub memory_bytes_max: usize,
    /// Bytes that the stages of an aggregation may hold together before they spill.
    pub aggregate_memory_bytes_max: usize,
    /// Bytes that an aggregation may spill.
    pub spill_bytes_max: u64,
    /// Where an aggregation spills; without it, one that needs more memory is refused.
    pub spill: Option<&'a dyn Spill>,
    /// Whether a pipeline may be rearranged. It makes no difference but in speed; off to compare.
    pub optimize: bool,
    /// Whether the caller has stopped waiting. Asked now and then, so that time enters from outside.
    pub expired: &'a dyn Fn() -> bool,
}

impl<'a> Budget<'a> {
    /// The default limits, with the caller's deadline.
    pub fn new(expired: &'a dyn Fn() -> bool) -> Self {
        Self {
            documents_examined_max: READ_DOCUMENTS_EXAMINED_MAX,
            result_documents_max: READ_RESULT_DOCUMENTS_MAX,
            result_bytes_max: READ_RESULT_BYTES_MAX,
            memory_bytes_max: READ_MEMORY_BYTES_MAX,
            aggregate_memory_bytes_max: AGGREGATE_MEMORY_BYTES_MAX,
            spill_bytes_max: AGGREGATE_SPILL_BYTES_MAX,
            spill: None,
            optimize: true,
            expired,
        }
    }

    /// The same with a place to spill to.
    pub fn with_spill(self, spill: &'a dyn Spill) -> Self {
        Self {
            spill: Some(spill),
            ..self
        }
    }

    /// Refuses to go on past the deadline; looks at the clock only at some of the calls.
    pub(crate) fn check_time(&self, entries: u64) -> Result<()> {
        if entries.is_multiple_of(DEADLINE_CHECK_ENTRIES) && (self.expired)() {
            return Err(exceeded(
                "the time limit",
                "add an index, narrow the filter or ask for less",
            ));
        }
        Ok(())
    }
}

/// A read that spent too much.
pub(crate) fn exceeded(limit: &str, advice: &str) -> Error {
    Error::new(
        ErrorCode::ExceedBudget,
        format!("the query exceeds {limit}; {advice}"),
    )
}

/// A parsed query.
pub(crate) struct Query {
    pub(crate) filter: Filter,
    pub(crate) projection: Projection,
    /// Empty: by `_id`.
    pub(crate) sort: Sort,
    pub(crate) skip: u64,
    pub(crate) limit: Option<u64>,
    /// Encoded `_id` to continue after; empty: from the beginning.
    pub(crate) after: Vec<u8>,
}

impl Query {
    pub(crate) fn parse(find: &FindOp, now_ms: i64) -> Result<Self> {
        let sort = normal(Sort::parse(&find.sort)?);
        if !find.after.is_empty() && !sort.is_empty() {
            return Err(Error::invalid(
                "a position to continue after needs results in _id order; leave out the sort",
            ));
        }
        let filter = parse_filter(&find.filter, now_ms)?;
        if !find.after.is_empty() && filter.near().is_some() {
            return Err(Error::invalid(
                "a position to continue after needs results in _id order, and these are by distance; ask for more at once",
            ));
        }
        Ok(Self {
            filter,
            projection: Projection::parse(&find.projection)?,
            sort,
            skip: find.skip,
            limit: find.limit,
            after: find.after.clone(),
        })
    }

    /// A query for documents in `_id` order.
    pub(crate) fn by_filter(filter: Filter) -> Result<Self> {
        Ok(Self {
            filter,
            projection: Projection::parse(
                RawDocument::from_bytes(EMPTY_DOCUMENT).map_err(Error::internal)?,
            )?,
            sort: Sort::default(),
            skip: 0,
            limit: None,
            after: Vec::new(),
        })
    }

    /// Asks for another order.
    pub(crate) fn set_sort(&mut self, sort: Sort) {
        self.sort = normal(sort);
    }

    /// How many matches are needed before the result is complete; `None`: all.
    pub(crate) fn wanted(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_add(self.skip))
    }
}

/// The order by `_id` is the one that documents have.
fn normal(sort: Sort) -> Sort {
    match sort.fields() {
        [only] if only.path.as_str() == "_id" && !only.descending => Sort::default(),
        _ => sort,
    }
}

pub(crate) fn parse_filter(filter: &RawDocument, now_ms: i64) -> Result<Filter> {
    Filter::parse(filter, &FilterContext { now_ms })
}

/// `{}`
pub(crate) const EMPTY_DOCUMENT: &[u8] = &[5, 0, 0, 0, 0];
