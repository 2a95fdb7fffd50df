//! Time-to-live indexes: documents whose date is long enough past are removed, a bounded step at a time.
//!
//! The leader finds candidates through the index and proposes their removal; the apply checks each again by
//! the time stamped into the command, so a document whose date was moved meanwhile stays. Removals go to the
//! change log like any other. Never before its time by the stamped clock; how long after is the proposer's pace.

use serde_bytes::ByteBuf;

use bson::{DateTime, RawBsonRef, RawDocument};

use crate::apply::{Executed, Place, collection_by_id};
use crate::catalog::{Collection, Index};
use crate::command::{Command, WriteOp};
use crate::draft::Draft;
use crate::error::{Error, Result};
use crate::index_entries;
use crate::keys::{self, CollectionId, IndexId};
use crate::kv::{Direction, Family, KeyRange};
use crate::limits::{STEP_BYTES_MAX, STEP_DOCUMENTS_MAX};
use crate::mutant;
use crate::op::OpReply;
use crate::read::Snapshot;
use crate::state::State;
use crate::value::compare::rank;
use crate::value::key::prefix_successor;
use crate::value::{Path, encode_value, index_values};
use crate::write::{Failure, Writer};

/// The positions of a collection's time-to-live indexes that hold all their documents, with the time to live.
pub(crate) fn indexes(collection: &Collection) -> impl Iterator<Item = (usize, u32)> {
    collection
        .indexes
        .iter()
        .enumerate()
        .filter(|(_, index)| index.is_ready())
        .filter_map(|(at, index)| Some((at, index.options.expire_after_seconds?)))
}

/// The latest date, in milliseconds, that is past its time at `now_ms`.
fn expired_to(now_ms: i64, seconds: u32) -> i64 {
    if mutant::has("expire-early") {
        return now_ms;
    }
    now_ms.saturating_sub(i64::from(seconds).saturating_mul(1000))
}

/// One step for each index that has expired documents, at most `steps_max`, beginning with index number `turn`.
pub(crate) fn pending(
    snapshot: &Snapshot<'_>,
    turn: usize,
    steps_max: usize,
) -> Result<Vec<Vec<u8>>> {
    let all: Vec<_> = snapshot
        .catalog
        .all()
        .flat_map(|collection| indexes(collection).map(move |index| (collection, index)))
        .collect();
    let mut commands = Vec::new();
    for number in 0..all.len() {
        let (collection, (at, seconds)) = &all[turn.wrapping_add(number) % all.len()];
        let index = &collection.indexes[*at];
        let ids = candidates(
            snapshot,
            collection,
            index,
            expired_to(snapshot.now_ms, *seconds),
        )?;
        if ids.is_empty() {
            continue;
        }
        let command = Command {
            env: collection.env.to_string(),
            session: None,
            now_ms: snapshot.now_ms,
            op: WriteOp::Expire {
                collection: collection.id,
                index: index.id,
                ids,
            },
        };
        commands.push(command.encode()?);
        if commands.len() >= steps_max {
            break;
        }
    }
    Ok(commands)
}

/// The oldest documents whose date is at most `expired_to`, as many as one step may touch, ascending by `_id`.
fn candidates(
    snapshot: &Snapshot<'_>,
    collection: &Collection,
    index: &Index,
    expired_to: i64,
) -> Result<Vec<ByteBuf>> {
    let descending = index.spec.fields[0].descending;
    let direction = if descending {
        Direction::Backward
    } else {
        Direction::Forward
    };
    let range = expired_range(index, descending, expired_to)?;
    let mut ids: Vec<ByteBuf> = Vec::new();
    let mut bytes = 0;
    let mut cursor = snapshot.view.scan(Family::Index, &range, direction);
    while ids.len() < STEP_DOCUMENTS_MAX && cursor.advance()? {
        let id = index_entries::entry_id(index, cursor.key(), cursor.value())?;
        let document = snapshot
            .view
            .get(Family::Docs, &keys::document(collection.id, id))?;
        bytes += document.map_or(0, |document| document.len());
        if bytes > STEP_BYTES_MAX && !ids.is_empty() {
            break;
        }
        ids.push(ByteBuf::from(id));
    }
    // An array of dates may have named its document more than once.
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// The entries whose value is a date up to `expired_to`.
fn expired_range(index: &Index, descending: bool, expired_to: i64) -> Result<KeyRange> {
    let prefix = keys::index_prefix(index.id);
    let mut last = Vec::new();
    encode_value(
        RawBsonRef::DateTime(DateTime::from_millis(expired_to)),
        descending,
        &mut last,
    )?;
    let joined = |bytes: &[u8]| [prefix.as_slice(), bytes].concat();
    let behind = |bytes: Vec<u8>| {
        prefix_successor(bytes).ok_or_else(|| Error::internal("dates are not the last type"))
    };
    Ok(if descending {
        KeyRange {
            start: joined(&last),
            end: behind(joined(&[!rank::DATE]))?,
        }
    } else {
        KeyRange {
            start: joined(&[rank::DATE]),
            end: behind(joined(&last))?,
        }
    })
}

/// Removes those of `ids` that are past their time by the command's clock.
pub(crate) fn step(
    state: &mut State,
    draft: &mut Draft<'_>,
    place: &Place,
    (collection, index): (CollectionId, IndexId),
    ids: &[ByteBuf],
) -> Result<Executed, Failure> {
    if ids.len() > STEP_DOCUMENTS_MAX {
        return Err(Error::internal("a step names too many documents").into());
    }
    let nothing = Ok(OpReply::Removed { removed: 0 }.into());
    let Some(collection) = collection_by_id(&state.catalog, collection).cloned() else {
        return nothing;
    };
    let Some((at, seconds)) =
        indexes(&collection).find(|(at, _)| collection.indexes[*at].id == index)
    else {
        return nothing;
    };
    let expired_to = expired_to(place.now_ms, seconds);
    let mut writer = Writer::new(draft, state, &collection, place.now_ms);
    let mut removed = 0;
    for id in ids {
        if let Some(document) = writer.get(id)?
            && is_expired(&collection, at, &document, id, expired_to)?
        {
            writer.remove(id, &document)?;
            removed += 1;
        }
    }
    writer.commit(state, place.log_index)?;
    state.effects.expired_documents += removed;
    Ok(OpReply::Removed { removed }.into())
}

/// Whether the index has the document, with a date up to `expired_to`: of several dates the earliest counts.
fn is_expired(
    collection: &Collection,
    at: usize,
    document: &RawDocument,
    id: &[u8],
    expired_to: i64,
) -> Result<bool> {
    let paths: &[Path] = &collection.index_paths[at];
    let entries = index_entries::of_document(&collection.indexes[at], paths, document, id)?;
    if entries.keys.is_empty() {
        return Ok(false);
    }
    let is_past = |value: &Option<RawBsonRef<'_>>| matches!(value, Some(RawBsonRef::DateTime(date)) if date.timestamp_millis() <= expired_to);
    Ok(index_values(document, &paths[0])?
        .values
        .iter()
        .any(is_past))
}
