//! Indexes come and go: created over an empty or small collection at once, over a large one by
//! bounded steps that go through the log beside other writes.
//!
//! From its creation on, every write maintains the index; the steps enter the documents that were
//! there before, in `_id` order. So when the last step is done the index holds all documents, on every
//! replica at the same place of the log. A document that cannot be entered fails the build for good.

use std::sync::Arc;

use crate::apply::{Executed, Place, collection_by_id};
use crate::catalog::{self, Collection, Index, IndexState};
use crate::draft::Draft;
use crate::error::{Error, ErrorCode, Result};
use crate::index_options;
use crate::keys::{self, CollectionId, IndexId};
use crate::kv::Family;
use crate::limits::{STEP_BYTES_MAX, STEP_DOCUMENTS_MAX};
use crate::op::{IndexOptions, IndexSpec, OpReply};
use crate::state::State;
use crate::value::key::KEY_ENCODING_VERSION;
use crate::write::{Failure, Writer, stored_document};

/// Creates an index. Over a collection that one step can enter it is ready at once, and refused at
/// once when a document cannot be entered.
pub(crate) fn create(
    state: &mut State,
    draft: &mut Draft<'_>,
    place: &Place,
    collection: &Arc<Collection>,
    (spec, options): (&IndexSpec, &IndexOptions),
) -> Result<Executed, Failure> {
    if let Some(at) = collection.index_named(&spec.name) {
        let there = &collection.indexes[at];
        return if there.spec == *spec && there.options == *options && there.is_maintained() {
            Ok(OpReply::Done.into())
        } else {
            Err(Failure::Refused(Error::new(
                ErrorCode::IndexConflict,
                format!(
                    "index '{}' exists with another definition or has failed; drop it first",
                    spec.name
                ),
            )))
        };
    }
    catalog::check_index(collection, spec)?;
    index_options::check(spec, options)?;
    let index = Index {
        id: IndexId(state.new_id()),
        spec: spec.clone(),
        state: IndexState::Building { cursor: Vec::new() },
        multikey: vec![false; spec.fields.len()],
        key_encoding: KEY_ENCODING_VERSION,
        options: options.clone(),
        partial: None,
    };
    let mut with_index = Collection::clone(collection);
    with_index.push_index(index)?;
    let at = with_index.indexes.len() - 1;
    let with_index = Arc::new(with_index);
    enter_next(state, draft, place, &with_index, (at, STEP_DOCUMENTS_MAX))?;
    Ok(OpReply::Done.into())
}

/// One step of a build.
pub(crate) struct BuildStep<'a> {
    pub(crate) collection: CollectionId,
    pub(crate) index: IndexId,
    /// Where the build must stand; `None`: anywhere.
    pub(crate) behind: Option<&'a [u8]>,
    pub(crate) documents_max: usize,
}

impl BuildStep<'_> {
    fn carries_on(&self, index: &Index) -> bool {
        let IndexState::Building { cursor } = &index.state else {
            return false;
        };
        index.id == self.index && self.behind.is_none_or(|behind| behind == cursor)
    }
}

/// Carries on a build, if it still goes on.
pub(crate) fn step(
    state: &mut State,
    draft: &mut Draft<'_>,
    place: &Place,
    step: &BuildStep<'_>,
) -> Result<Executed, Failure> {
    let Some(collection) = collection_by_id(&state.catalog, step.collection).cloned() else {
        return Ok(OpReply::Done.into());
    };
    let mut indexes = collection.indexes.iter();
    let Some(at) = indexes.position(|index| step.carries_on(index)) else {
        return Ok(OpReply::Done.into());
    };
    match enter_next(state, draft, place, &collection, (at, step.documents_max)) {
        Ok(()) => {}
        Err(Failure::Refused(reason)) => {
            draft.rollback();
            let mut failed = Collection::clone(&collection);
            draft.delete_range(Family::Index, keys::index_entries(step.index));
            failed.indexes[at].state = IndexState::Failed { reason };
            state.put_collection(draft, failed)?;
        }
        Err(storage) => return Err(storage),
    }
    Ok(OpReply::Done.into())
}

/// Enters the next documents, at most so many, into the index at `at` of `collection`, and saves the collection.
fn enter_next(
    state: &mut State,
    draft: &mut Draft<'_>,
    place: &Place,
    collection: &Arc<Collection>,
    (at, documents_max): (usize, usize),
) -> Result<(), Failure> {
    let IndexState::Building { cursor } = &collection.indexes[at].state else {
        return Ok(());
    };
    let range = if cursor.is_empty() {
        keys::documents(collection.id)
    } else {
        keys::documents_after(collection.id, cursor)
    };
    let documents = draft.first_entries(Family::Docs, &range, documents_max, STEP_BYTES_MAX)?;
    let mut writer = Writer::new(draft, state, collection, place.now_ms);
    let done_to = documents
        .last()
        .map(|(key, _)| keys::document_id(key).to_vec())
        .unwrap_or_default();
    for (key, value) in documents {
        writer.enter(at, keys::document_id(&key), &stored_document(value)?)?;
    }
    let multikey = writer.multikey_of(at);
    let rest = keys::documents_after(collection.id, &done_to);
    let is_complete =
        done_to.is_empty() || draft.first_entries(Family::Docs, &rest, 1, 0)?.is_empty();
    let mut moved = Collection::clone(collection);
    let index = &mut moved.indexes[at];
    for field in multikey {
        index.multikey[field] = true;
    }
    index.state = if is_complete {
        IndexState::Ready
    } else {
        IndexState::Building { cursor: done_to }
    };
    // Readers do not look at an index that is being built, so they need not wait for each step of it.
    let is_new = cursor.is_empty();
    if is_complete || is_new {
        state.put_collection(draft, moved)?;
    } else {
        state.put_building(draft, moved)?;
    }
    Ok(())
}

/// Removes an index with its entries.
pub(crate) fn drop_index(
    state: &mut State,
    draft: &mut Draft<'_>,
    collection: &Arc<Collection>,
    name: &str,
) -> Result<Executed, Failure> {
    let Some(at) = collection.index_named(name) else {
        return Err(Failure::Refused(Error::new(
            ErrorCode::IndexConflict,
            format!(
                "index '{name}' does not exist in collection '{}'",
                collection.name
            ),
        )));
    };
    let mut without = Collection::clone(collection);
    let index = without.remove_index(at);
    draft.delete_range(Family::Index, keys::index_entries(index.id));
    state.put_collection(draft, without)?;
    Ok(OpReply::Done.into())
}
