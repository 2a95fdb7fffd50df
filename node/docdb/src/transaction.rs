//! The commit of a transaction: one command that carries what the transaction read and what it wrote, in documents.
//!
//! Apply checks that every document is still as it was read, and then carries out all writes, or nothing. So the
//! transaction is as if it had happened in one instant, that of its commit: strictly serializable in its group, without
//! locks (optimistic concurrency control after Kung and Robinson, 1981, with validation by value). Documents that a
//! query of the transaction did not find are not part of what is checked.

use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf};
use serde::{Deserialize, Serialize};

use crate::apply::{Executed, Place};
use crate::catalog::Collection;
use crate::change_log::ChangeKind;
use crate::draft::Draft;
use crate::error::{Error, ErrorCode, Result};
use crate::keys;
use crate::kv::Family;
use crate::limits::{TRANSACTION_BYTES_MAX, TRANSACTION_DOCUMENTS_MAX};
use crate::op::OpReply;
use crate::raw_bson;
use crate::state::State;
use crate::write::{Effects, Failure, Writer, encode_id};

/// A hash of a document's bytes: what tells whether it is still as it was read.
pub type Fingerprint = [u8; 32];

/// The fingerprint of a document.
pub fn fingerprint(document: &RawDocument) -> Fingerprint {
    *blake3::hash(document.as_bytes()).as_bytes()
}

/// A document as a transaction read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadDocument {
    /// Its collection.
    pub collection: String,
    /// `{"": _id}`.
    #[serde(with = "raw_bson")]
    pub id: RawDocumentBuf,
    /// What it was; `None` where there was none.
    pub fingerprint: Option<Fingerprint>,
}

/// A document as a transaction leaves it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WrittenDocument {
    /// Its collection.
    pub collection: String,
    /// `{"": _id}`.
    #[serde(with = "raw_bson")]
    pub id: RawDocumentBuf,
    /// The whole document; `None` = removed.
    #[serde(with = "raw_bson::option")]
    pub document: Option<RawDocumentBuf>,
    /// Whether the change log tells of it as of a replacement, where there was one before.
    pub is_replacement: bool,
}

/// What a transaction read and wrote: each document once.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Transaction {
    /// What must still be so.
    pub reads: Vec<ReadDocument>,
    /// What shall be.
    pub writes: Vec<WrittenDocument>,
}

impl Transaction {
    /// Refuses what is too large, whatever the database holds.
    pub(crate) fn check(&self) -> Result<()> {
        let documents = self.reads.len() + self.writes.len();
        let bytes: usize = self
            .writes
            .iter()
            .filter_map(|write| write.document.as_ref())
            .map(|document| document.as_bytes().len())
            .sum();
        if documents > TRANSACTION_DOCUMENTS_MAX || bytes > TRANSACTION_BYTES_MAX {
            return Err(Error::new(
                ErrorCode::ExceedSize,
                format!(
                    "a transaction may read and write at most {TRANSACTION_DOCUMENTS_MAX} documents and write {TRANSACTION_BYTES_MAX} bytes; split it"
                ),
            ));
        }
        Ok(())
    }

    /// The collections concerned.
    pub fn collections(&self) -> impl Iterator<Item = &str> {
        let reads = self.reads.iter().map(|read| read.collection.as_str());
        reads.chain(self.writes.iter().map(|write| write.collection.as_str()))
    }
}

/// The database's own encoding of an `_id` given as `{"": _id}`: equal for `_id`s that name the same document.
pub fn id_key(id: &RawDocument) -> Result<Vec<u8>> {
    let value = id.get("").ok().flatten();
    encode_id(value.ok_or_else(|| Error::internal("a transaction names a document without _id"))?)
}

/// Carries out a commit.
pub(crate) fn commit(
    state: &mut State,
    draft: &mut Draft<'_>,
    place: &Place,
    env: &str,
    transaction: &Transaction,
) -> Result<Executed, Failure> {
    for read in &transaction.reads {
        let collection = state.catalog.require(env, &read.collection)?;
        let key = keys::document(collection.id, &id_key(&read.id)?);
        let now = draft.get(Family::Docs, &key)?;
        if now.map(|bytes| *blake3::hash(&bytes).as_bytes()) != read.fingerprint {
            return Err(Failure::Refused(Error::new(
                ErrorCode::TransactionConflict,
                format!(
                    "another write changed a document of collection '{}' that the transaction had read; run it again",
                    read.collection
                ),
            )));
        }
    }
    let mut effects: Vec<Effects> = Vec::new();
    for (collection, writes) in by_collection(state, env, &transaction.writes)? {
        let mut writer = Writer::new(draft, state, &collection, place.now_ms);
        for write in writes {
            carry_out(&mut writer, write)?;
        }
        effects.push(writer.finish());
    }
    // Nothing can be refused any more.
    for effects in effects {
        effects.commit(draft, state, place.log_index)?;
    }
    Ok(OpReply::Done.into())
}

type Group<'t> = (Arc<Collection>, Vec<&'t WrittenDocument>);

fn by_collection<'t>(
    state: &State,
    env: &str,
    writes: &'t [WrittenDocument],
) -> Result<Vec<Group<'t>>> {
    let mut groups: Vec<Group<'t>> = Vec::new();
    for write in writes {
        let collection = state.catalog.require(env, &write.collection)?;
        match groups
            .iter_mut()
            .find(|(known, _)| known.id == collection.id)
        {
            Some((_, group)) => group.push(write),
            None => groups.push((Arc::clone(collection), vec![write])),
        }
    }
    Ok(groups)
}

fn carry_out(writer: &mut Writer<'_, '_>, write: &WrittenDocument) -> Result<(), Failure> {
    let id = id_key(&write.id)?;
    match (writer.get(&id)?, &write.document) {
        (None, Some(document)) => writer.insert(document),
        (Some(before), Some(after)) if before.as_bytes() == after.as_bytes() => Ok(()),
        (Some(before), Some(after)) => {
            let kind = if write.is_replacement {
                ChangeKind::Replace
            } else {
                ChangeKind::Update
            };
            writer.change(kind, &id, &before, after)
        }
        (Some(before), None) => writer.remove(&id, &before),
        (None, None) => Ok(()),
    }
}
