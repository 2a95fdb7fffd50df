//! Changes to single documents inside an apply: the document, its index entries, its place in the
//! change log, the collection's tally.
//!
//! A `Writer` lives for one command on one collection. What it does to the draft can be rolled back;
//! what it would do to the state in memory is only gathered, and carried out by `commit`.

use std::sync::Arc;

use bson::spec::ElementType;
use bson::{RawBsonRef, RawDocument, RawDocumentBuf};

use crate::catalog::Collection;
use crate::change_log::{ChangeKind, ChangeRef};
use crate::draft::Draft;
use crate::error::{Error, ErrorCode, Result};
use crate::index_entries::{self, Entries};
use crate::kv::{Family, StorageError, StorageResult};
use crate::limits::{DOCUMENT_BYTES_MAX, ID_BYTES_MAX};
use crate::state::{State, Tally};
use crate::value::{encode_value, malformed, type_name};
use crate::{keys, mutant};

/// Inserts of fewer documents do not gain by looking them up together.
const LOOK_AHEAD_DOCUMENTS_MIN: usize = 8;

/// Why a command did not go through.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The same on every replica: answered.
    Refused(Error),
    /// This replica is in trouble: stops it.
    Storage(StorageError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Carries out the document changes of one command.
pub(crate) struct Writer<'a, 's> {
    pub(crate) draft: &'a mut Draft<'s>,
    pub(crate) collection: Arc<Collection>,
    now_ms: i64,
    tally: Tally,
    changes: Vec<Vec<u8>>,
    /// (index, field) pairs that became multikey.
    multikey: Vec<(usize, usize)>,
    /// Documents stored although they break the collection's schema.
    warnings: u64,
}

impl<'a, 's> Writer<'a, 's> {
    pub(crate) fn new(
        draft: &'a mut Draft<'s>,
        state: &State,
        collection: &Arc<Collection>,
        now_ms: i64,
    ) -> Self {
        Self {
            draft,
            tally: state.tally(collection.id),
            collection: Arc::clone(collection),
            now_ms,
            changes: Vec::new(),
            multikey: Vec::new(),
            warnings: 0,
        }
    }

    /// Holds a document that shall be stored to the collection's schema.
    fn validate(&mut self, document: &RawDocument) -> Result<()> {
        if let Some(validator) = &self.collection.validator
            && !validator.check(&self.collection.name, document)?
        {
            self.warnings += 1;
        }
        Ok(())
    }

    /// The document under this encoded `_id`.
    pub(crate) fn get(&self, id: &[u8]) -> StorageResult<Option<RawDocumentBuf>> {
        let bytes = self
            .draft
            .get(Family::Docs, &keys::document(self.collection.id, id))?;
        bytes.map(stored_document).transpose()
    }

    /// Says which documents are about to be inserted; without this each is looked up by itself.
    pub(crate) fn look_ahead(&mut self, documents: &[RawDocumentBuf]) -> StorageResult<()> {
        if documents.len() < LOOK_AHEAD_DOCUMENTS_MIN {
            return Ok(());
        }
        // A document without a good `_id` is refused in its turn.
        let keys = documents
            .iter()
            .filter_map(|document| encoded_id(document).ok())
            .map(|id| keys::document(self.collection.id, &id))
            .collect();
        self.draft.look_ahead(Family::Docs, keys)
    }

    /// Inserts a new document.
    pub(crate) fn insert(&mut self, document: &RawDocument) -> Result<(), Failure> {
        check_size(document)?;
        let id = encoded_id(document)?;
        let key = keys::document(self.collection.id, &id);
        if self.draft.get(Family::Docs, &key)?.is_some() {
            return Err(Failure::Refused(Error::new(
                ErrorCode::DuplicateWrite,
                format!(
                    "a document with this _id exists already in collection '{}'; choose another _id",
                    self.collection.name
                ),
            )));
        }
        self.validate(document)?;
        self.change_entries(&id, None, Some(document))?;
        self.draft
            .put(Family::Docs, key, document.as_bytes().to_vec());
        self.tally.documents += 1;
        self.tally.bytes += document.as_bytes().len() as u64;
        self.log(ChangeKind::Insert, None, Some(document))?;
        Ok(())
    }

    /// Puts `after` in the place of `before`, which has this encoded `_id`.
    pub(crate) fn change(
        &mut self,
        kind: ChangeKind,
        id: &[u8],
        before: &RawDocument,
        after: &RawDocument,
    ) -> Result<(), Failure> {
        check_size(after)?;
        if encoded_id(after)? != id {
            return Err(Failure::Refused(Error::invalid(
                "the _id of a document cannot be changed; leave it out",
            )));
        }
        self.validate(after)?;
        self.change_entries(id, Some(before), Some(after))?;
        self.draft.put(
            Family::Docs,
            keys::document(self.collection.id, id),
            after.as_bytes().to_vec(),
        );
        self.tally.bytes = self
            .tally
            .bytes
            .saturating_sub(before.as_bytes().len() as u64)
            + after.as_bytes().len() as u64;
        self.log(kind, Some(before), Some(after))?;
        Ok(())
    }

    /// Removes `before`, which has this encoded `_id`.
    pub(crate) fn remove(&mut self, id: &[u8], before: &RawDocument) -> Result<(), Failure> {
        self.change_entries(id, Some(before), None)?;
        self.draft
            .delete(Family::Docs, keys::document(self.collection.id, id));
        self.tally.documents = self.tally.documents.saturating_sub(1);
        self.tally.bytes = self
            .tally
            .bytes
            .saturating_sub(before.as_bytes().len() as u64);
        self.log(ChangeKind::Remove, Some(before), None)?;
        Ok(())
    }

    /// Enters a document that exists into one index (by its position).
    pub(crate) fn enter(
        &mut self,
        at: usize,
        id: &[u8],
        document: &RawDocument,
    ) -> Result<(), Failure> {
        let entries = self.entries(at, id, Some(document))?;
        self.replace_entries(at, id, &[], &entries.keys)?;
        self.note_multikey(at, &entries);
        Ok(())
    }

    /// Fields of one index (by its position) that became multikey.
    pub(crate) fn multikey_of(&self, at: usize) -> Vec<usize> {
        self.multikey
            .iter()
            .filter(|(index, _)| *index == at)
            .map(|(_, field)| *field)
            .collect()
    }

    /// Carries the gathered effects over to the state; the command can no longer fail.
    pub(crate) fn commit(self, state: &mut State, log_index: u64) -> StorageResult<()> {
        let (effects, draft) = self.parts();
        effects.commit(draft, state, log_index)
    }

    /// Lets go of the draft, for a command that goes on in another collection and may still fail there.
    pub(crate) fn finish(self) -> Effects {
        self.parts().0
    }

    fn parts(self) -> (Effects, &'a mut Draft<'s>) {
        let effects = Effects {
            collection: self.collection,
            tally: self.tally,
            changes: self.changes,
            multikey: self.multikey,
            warnings: self.warnings,
        };
        (effects, self.draft)
    }

    fn change_entries(
        &mut self,
        id: &[u8],
        before: Option<&RawDocument>,
        after: Option<&RawDocument>,
    ) -> Result<(), Failure> {
        for at in 0..self.collection.indexes.len() {
            if !self.collection.indexes[at].is_maintained() {
                continue;
            }
            let old = self.entries(at, id, before)?;
            let new = self.entries(at, id, after)?;
            if old.keys != new.keys {
                self.replace_entries(at, id, &old.keys, &new.keys)?;
            }
            self.note_multikey(at, &new);
        }
        Ok(())
    }

    fn entries(&self, at: usize, id: &[u8], document: Option<&RawDocument>) -> Result<Entries> {
        match document {
            Some(document) => index_entries::of_document(
                &self.collection.indexes[at],
                &self.collection.index_paths[at],
                document,
                id,
            ),
            None => Ok(Entries::default()),
        }
    }

    /// `old` and `new` are ascending and without duplicates.
    fn replace_entries(
        &mut self,
        at: usize,
        id: &[u8],
        old: &[Vec<u8>],
        new: &[Vec<u8>],
    ) -> Result<(), Failure> {
        let index = &self.collection.indexes[at];
        for key in old.iter().filter(|key| new.binary_search(key).is_err()) {
            // While a unique index is built, an entry may be missing, or be another document's.
            let is_own =
                !index.spec.unique || self.draft.get(Family::Index, key)?.as_deref() == Some(id);
            if is_own {
                self.draft.delete(Family::Index, key.clone());
            }
        }
        for key in new
            .iter()
            .filter(|key| old.binary_search(key).is_err() || index.spec.unique)
        {
            if index.spec.unique && !mutant::has("unique-outside-apply") {
                match self.draft.get(Family::Index, key)? {
                    Some(holder) if holder != id => {
                        return Err(Failure::Refused(Error::new(
                            ErrorCode::DuplicateWrite,
                            format!(
                                "another document of collection '{}' has the same value in unique index '{}'",
                                self.collection.name, index.spec.name
                            ),
                        )));
                    }
                    Some(_) => continue,
                    None => {}
                }
            }
            // The last digits of the clock stand for a rare case, which all replicas must take alike.
            if mutant::has("index-forgets-new") && !old.is_empty() && self.now_ms % 8 == 0 {
                continue;
            }
            self.draft.put(
                Family::Index,
                key.clone(),
                index_entries::entry_value(index, id),
            );
        }
        Ok(())
    }

    fn note_multikey(&mut self, at: usize, entries: &Entries) {
        for &field in &entries.multikey {
            if !self.collection.indexes[at].multikey[field] && !self.multikey.contains(&(at, field))
            {
                self.multikey.push((at, field));
            }
        }
    }

    fn log(
        &mut self,
        kind: ChangeKind,
        before: Option<&RawDocument>,
        after: Option<&RawDocument>,
    ) -> StorageResult<()> {
        let change = ChangeRef::new(
            kind,
            &self.collection.env,
            &self.collection.name,
            self.now_ms,
        )
        .images(before, after);
        // The last two digits of the clock stand for a change of leader, which is not known here.
        if !mutant::has("drop-change-event") || self.now_ms % 100 != 0 {
            self.changes.push(change.encode()?);
        }
        Ok(())
    }
}

/// What a [`Writer`] would do to the state in memory.
pub(crate) struct Effects {
    collection: Arc<Collection>,
    tally: Tally,
    changes: Vec<Vec<u8>>,
    multikey: Vec<(usize, usize)>,
    warnings: u64,
}

impl Effects {
    /// Carries them over; the command can no longer fail.
    pub(crate) fn commit(
        self,
        draft: &mut Draft<'_>,
        state: &mut State,
        log_index: u64,
    ) -> StorageResult<()> {
        if self.tally != state.tally(self.collection.id) {
            state.set_tally(self.collection.id, self.tally);
        }
        state.effects.validation_warnings += self.warnings;
        if !self.multikey.is_empty() {
            let mut collection = Collection::clone(&self.collection);
            for (index, field) in self.multikey {
                collection.indexes[index].multikey[field] = true;
            }
            state.put_collection(draft, collection)?;
        }
        for change in self.changes {
            state.log_change(draft, log_index, change);
        }
        Ok(())
    }
}

/// A stored value as the document that it is.
pub(crate) fn stored_document(bytes: Vec<u8>) -> StorageResult<RawDocumentBuf> {
    RawDocumentBuf::from_bytes(bytes)
        .map_err(|error| StorageError::corrupt(format!("stored document: {error}")))
}

fn check_size(document: &RawDocument) -> Result<()> {
    let size = document.as_bytes().len();
    if size > DOCUMENT_BYTES_MAX {
        return Err(Error::new(
            ErrorCode::ExceedSize,
            format!(
                "the document would have {size} bytes, more than {DOCUMENT_BYTES_MAX}; split it"
            ),
        ));
    }
    Ok(())
}

/// The document's `_id`.
pub(crate) fn id_value(document: &RawDocument) -> Result<RawBsonRef<'_>> {
    document
        .get("_id")
        .ok()
        .flatten()
        .ok_or_else(|| Error::invalid("the document has no _id; give it one"))
}

/// The document's `_id` in the order-preserving encoding.
pub(crate) fn encoded_id(document: &RawDocument) -> Result<Vec<u8>> {
    encode_id(id_value(document)?)
}

/// An `_id` in the order-preserving encoding; refuses types that cannot name a document.
pub(crate) fn encode_id(id: RawBsonRef<'_>) -> Result<Vec<u8>> {
    let allowed = match id {
        RawBsonRef::String(_)
        | RawBsonRef::Int32(_)
        | RawBsonRef::Int64(_)
        | RawBsonRef::ObjectId(_) => true,
        RawBsonRef::Double(number) => number.is_finite(),
        RawBsonRef::DateTime(_) | RawBsonRef::Binary(_) | RawBsonRef::Boolean(_) => true,
        _ => false,
    };
    if !allowed {
        return Err(Error::invalid(format!(
            "an _id cannot be of type {}; use a string or a number",
            type_name(id)
        )));
    }
    let mut encoded = Vec::with_capacity(40);
    encode_value(id, false, &mut encoded)?;
    if encoded.len() > ID_BYTES_MAX {
        return Err(Error::new(
            ErrorCode::ExceedSize,
            format!("the _id is longer than {ID_BYTES_MAX} bytes; shorten it"),
        ));
    }
    Ok(encoded)
}

/// `{"": _id}`, the form in which ids travel in replies.
pub(crate) fn wrapped_id(document: &RawDocument) -> Result<RawDocumentBuf> {
    let id = id_value(document)?;
    if let RawBsonRef::String(text) = id {
        // The usual case, in one allocation.
        let text_length = (text.len() + 1) as i32;
        let length = 4 + 1 + 1 + 4 + text_length + 1;
        let mut bytes = Vec::with_capacity(length as usize);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&[ElementType::String as u8, 0]);
        bytes.extend_from_slice(&text_length.to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes.extend_from_slice(&[0, 0]);
        return RawDocumentBuf::from_bytes(bytes).map_err(malformed);
    }
    let mut wrapped = RawDocumentBuf::new();
    wrapped.append(bson::cstr!(""), id);
    Ok(wrapped)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn ids_are_wrapped_as_bson_does_it() {
        for document in [
            rawdoc! {"_id": "é", "a": 1},
            rawdoc! {"_id": ""},
            rawdoc! {"_id": 7},
        ] {
            let mut expected = RawDocumentBuf::new();
            expected.append(bson::cstr!(""), id_value(&document).unwrap());
            assert_eq!(wrapped_id(&document).unwrap(), expected);
        }
        assert!(wrapped_id(&rawdoc! {}).is_err());
    }
}
