//! The commit of a transaction: one command that carries what the transaction read and what it wrote, in documents.
//!
//! Apply checks that every document is still as it was read, and then carries out all writes, or nothing. So the
//! transaction is as if it had happened in one instant, that of its commit: strictly serializable in its group, without
//! locks (optimistic concurrency control after Kung and Robinson, 1981, with validation by value). Queries are checked
//! against the changes since (`queries`), so nothing may have appeared in their results either.
//!
//! What end users commit also depends on the access rules under which they read and wrote, and on their being signed in.

mod queries;

use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf};
use serde::{Deserialize, Serialize};

use crate::apply::{Executed, Place};
use crate::catalog::Collection;
use crate::change_log::ChangeKind;
use crate::draft::Draft;
use crate::error::{Error, ErrorCode, Result};
use crate::filter::{Filter, FilterContext};
use crate::keys::{self, Position};
use crate::kv::Family;
use crate::limits::{
    TRANSACTION_BYTES_MAX, TRANSACTION_CONDITIONS_MAX, TRANSACTION_DOCUMENTS_MAX,
    TRANSACTION_QUERIES_MAX, TRANSACTION_QUERY_BYTES_MAX,
};
use crate::mutant;
use crate::op::OpReply;
use crate::raw_bson;
use crate::state::State;
use crate::write::{Effects, Failure, Writer, encode_id, stored_document};

pub(crate) use queries::walk;

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

/// A query as a transaction read by it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadQuery {
    /// Its collection.
    pub collection: String,
    /// Everything that it asked for.
    #[serde(with = "raw_bson")]
    pub filter: RawDocumentBuf,
    /// What the time was to it.
    pub now_ms: i64,
    /// The last change that it took into account.
    pub as_of: Position,
}

/// Access rules that a transaction was held to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessVersion {
    /// Whose rules.
    pub collection: String,
    /// The version of the access document that they are from.
    pub version: u64,
}

/// A document that must be there and match at the commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequiredDocument {
    /// Its collection.
    pub collection: String,
    /// `{"": _id}`.
    #[serde(with = "raw_bson")]
    pub id: RawDocumentBuf,
    /// What it must be.
    #[serde(with = "raw_bson")]
    pub filter: RawDocumentBuf,
}

/// A transaction that depends on more than the documents that it read.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CheckedTransaction {
    /// Documents read and written.
    pub transaction: Transaction,
    /// Queries that must find the same.
    pub queries: Vec<ReadQuery>,
    /// Rules that must be in force.
    pub access: Vec<AccessVersion>,
    /// What must be there.
    pub required: Vec<RequiredDocument>,
}

impl CheckedTransaction {
    /// Whether it depends on nothing but the documents that it read.
    pub fn is_plain(&self) -> bool {
        self.queries.is_empty() && self.access.is_empty() && self.required.is_empty()
    }

    /// Refuses what is too large, whatever the database holds.
    pub(crate) fn check(&self) -> Result<()> {
        self.transaction.check()?;
        let bytes: usize = (self.queries.iter())
            .map(|query| query.filter.as_bytes().len())
            .sum();
        let conditions = self.access.len() + self.required.len();
        if self.queries.len() > TRANSACTION_QUERIES_MAX
            || bytes > TRANSACTION_QUERY_BYTES_MAX
            || conditions > TRANSACTION_CONDITIONS_MAX
        {
            return Err(Error::new(
                ErrorCode::ExceedSize,
                format!(
                    "a transaction may read by at most {TRANSACTION_QUERIES_MAX} queries of {TRANSACTION_QUERY_BYTES_MAX} bytes, under the rules of {TRANSACTION_CONDITIONS_MAX} collections; split it"
                ),
            ));
        }
        for query in &self.queries {
            Filter::parse(&query.filter, &FilterContext::default())?;
        }
        Ok(())
    }

    /// The collections concerned, but for what must be there.
    pub fn collections(&self) -> impl Iterator<Item = &str> {
        let queries = self.queries.iter().map(|query| query.collection.as_str());
        let access = self.access.iter().map(|access| access.collection.as_str());
        self.transaction.collections().chain(queries).chain(access)
    }
}

/// The refusal of a transaction that is not as if it had happened now.
pub(crate) fn conflict(what: &str) -> Error {
    Error::new(
        ErrorCode::TransactionConflict,
        format!("another write changed {what}; run the transaction again"),
    )
}

/// Carries out the commit of a transaction with conditions.
pub(crate) fn commit_checked(
    state: &mut State,
    draft: &mut Draft<'_>,
    place: &Place,
    env: &str,
    checked: &CheckedTransaction,
) -> Result<Executed, Failure> {
    for access in &checked.access {
        let collection = state.catalog.require(env, &access.collection)?;
        if collection.access_version() != access.version {
            let what = format!("the access rules of collection '{}'", access.collection);
            return Err(conflict(&what).into());
        }
    }
    let now_ms = place.now_ms;
    for required in &checked.required {
        let filter = Filter::parse(&required.filter, &FilterContext { now_ms })?;
        let found = match state.catalog.require(env, &required.collection) {
            Ok(collection) => {
                let key = keys::document(collection.id, &id_key(&required.id)?);
                draft.get(Family::Docs, &key)?.map(stored_document)
            }
            Err(_) => None,
        };
        let is_there = match found {
            Some(found) => filter.matches(&found?)?,
            None => false,
        };
        if !is_there {
            return Err(conflict("who may commit this transaction").into());
        }
    }
    queries::check(state, draft, env, &checked.queries)?;
    commit(state, draft, place, env, &checked.transaction)
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
        if now.map(|bytes| *blake3::hash(&bytes).as_bytes()) != read.fingerprint
            && !mutant::has("skip-read-validation")
        {
            let what = format!(
                "a document of collection '{}' that the transaction had read",
                read.collection
            );
            return Err(conflict(&what).into());
        }
    }
    let mut effects: Vec<Effects> = Vec::new();
    let kept = match mutant::has("torn-commit") {
        true => transaction.writes.len().min(1),
        false => transaction.writes.len(),
    };
    for (collection, writes) in by_collection(state, env, &transaction.writes[..kept])? {
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
