//! Whether a transaction's queries would still find what they found: no change of a document since then that
//! matches before or after it (precision locking after Jordan, Banerjee and Batman, 1981, over the change log).
//!
//! The leader looks at the changes between the query and now, beside the apply thread, and moves the queries'
//! positions on. What is left for the apply are the few changes that were committed meanwhile; are there more than one
//! apply may look at, it asks the leader to look again.

use crate::change_log::{self, Change, ChangeKind, ChangesError};
use crate::codec::{self, Magic};
use crate::draft::Draft;
use crate::error::{Error, ErrorCode, Result};
use crate::filter::{Filter, FilterContext};
use crate::keys::{self, Position};
use crate::kv::{Family, View};
use crate::limits::{
    TRANSACTION_CHANGE_BYTES_MAX, TRANSACTION_CHANGES_MAX, TRANSACTION_CHANGES_WALKED_MAX,
    TRANSACTION_MATCHES_MAX,
};
use crate::query::Budget;
use crate::state::{Counters, State};
use crate::write::Failure;

use super::{ReadQuery, conflict};

/// A query with its filter parsed.
struct Watched<'q> {
    query: &'q ReadQuery,
    filter: Filter,
}

/// The queries of one transaction.
struct Watch<'q> {
    env: &'q str,
    queries: Vec<Watched<'q>>,
    /// How often a change was held against a query.
    matches: usize,
}

impl<'q> Watch<'q> {
    fn of(env: &'q str, queries: &'q [ReadQuery]) -> Result<Self> {
        let parse = |query: &'q ReadQuery| {
            let now_ms = query.now_ms;
            Ok(Watched {
                filter: Filter::parse(&query.filter, &FilterContext { now_ms })?,
                query,
            })
        };
        Ok(Self {
            env,
            queries: queries.iter().map(parse).collect::<Result<_>>()?,
            matches: 0,
        })
    }

    /// Refuses a change that one of the queries would notice.
    fn check(&mut self, position: Position, change: &Change) -> Result<()> {
        if change.env != self.env || change.kind == ChangeKind::SetAccess {
            return Ok(());
        }
        for Watched { query, filter } in &self.queries {
            if query.collection != change.collection || position <= query.as_of {
                continue;
            }
            let images = [&change.before, &change.after];
            let of_document = !change.kind.is_of_collection();
            self.matches += images.iter().filter(|image| image.is_some()).count();
            // One that it cannot be evaluated on would have failed the query.
            let is_noticed = |image: &bson::RawDocumentBuf| filter.matches(image).unwrap_or(true);
            if !of_document || images.into_iter().flatten().any(is_noticed) {
                return Err(conflict(&format!(
                    "what a query in collection '{}' found",
                    query.collection
                )));
            }
        }
        Ok(())
    }
}

fn first(queries: &[ReadQuery]) -> Option<Position> {
    queries.iter().map(|query| query.as_of).min()
}

fn too_old() -> Error {
    conflict("more than can be checked, so long ago did it query")
}

/// Looks at the changes up to a view, and has the queries begin behind them.
pub(crate) fn walk(
    view: &dyn View,
    env: &str,
    queries: &mut [ReadQuery],
    budget: &Budget<'_>,
) -> Result<()> {
    let Some(mut at) = first(queries) else {
        return Ok(());
    };
    let trimmed_to = Counters::load(view)?.trimmed_to;
    let mut watch = Watch::of(env, queries)?;
    let mut walked = 0;
    loop {
        let (count_max, bytes_max) = (TRANSACTION_CHANGES_MAX, TRANSACTION_CHANGE_BYTES_MAX);
        let read = change_log::read(view, at, trimmed_to, count_max, bytes_max);
        let read = read.map_err(|error| match error {
            ChangesError::TooOld { .. } => too_old(),
            ChangesError::Storage(error) => error.into(),
        })?;
        for (position, change) in &read.changes {
            watch.check(*position, change)?;
        }
        at = read.next;
        walked += read.changes.len();
        if !read.has_more {
            break;
        }
        if walked >= TRANSACTION_CHANGES_WALKED_MAX {
            return Err(too_old());
        }
        budget.check_time(0)?;
    }
    for query in queries {
        query.as_of = query.as_of.max(at);
    }
    Ok(())
}

/// Refuses a commit whose queries would find something else by now, and one with too many changes to look at.
pub(crate) fn check(
    state: &State,
    draft: &Draft<'_>,
    env: &str,
    queries: &[ReadQuery],
) -> Result<(), Failure> {
    let Some(from) = first(queries) else {
        return Ok(());
    };
    if from >= state.last_change() {
        return Ok(());
    }
    if from < state.trimmed_to() {
        return Err(too_old().into());
    }
    let entries = draft.first_entries(
        Family::Changes,
        &keys::changes(from.next(), Position::MAX),
        TRANSACTION_CHANGES_MAX,
        TRANSACTION_CHANGE_BYTES_MAX,
    )?;
    let mut watch = Watch::of(env, queries)?;
    let mut at = from;
    for (key, change) in &entries {
        at = keys::change_position(key)
            .ok_or_else(|| Error::internal("a change's key has a wrong length"))?;
        let change: Change = codec::decode_record(Magic::Change, change)?;
        watch.check(at, &change)?;
        if watch.matches > TRANSACTION_MATCHES_MAX {
            return Err(replan().into());
        }
    }
    if at < state.last_change() {
        return Err(replan().into());
    }
    Ok(())
}

fn replan() -> Error {
    Error::new(
        ErrorCode::Replan,
        "more has changed since the transaction's queries than one apply looks at",
    )
}
