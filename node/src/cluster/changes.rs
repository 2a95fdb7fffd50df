//! Several changes of the cluster's documents in one commit: all of them, if everything is still as it was read, or none.

use bson::{RawDocumentBuf, rawdoc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use yunbase_docdb::transaction::{ReadDocument, Transaction, WrittenDocument, fingerprint};

use super::store::raw;
use crate::audit::Entry;
use crate::call::{Failure, Retry};

/// A record as it was read, and its bytes, for a commit to check that it is still so.
pub struct Kept<T> {
    /// The record.
    pub record: T,
    bytes: RawDocumentBuf,
}

impl<T: DeserializeOwned> Kept<T> {
    /// Reads a record.
    pub fn of(document: RawDocumentBuf) -> Result<Self, Failure> {
        Ok(Self {
            record: super::store::record(&document)?,
            bytes: document,
        })
    }
}

/// Changes that belong together.
#[derive(Default)]
pub struct Changes {
    transaction: Transaction,
}

impl Changes {
    /// The record must still be as it was read.
    pub fn expect<T>(&mut self, collection: &str, kept: &Kept<T>) -> Result<(), Failure> {
        let id = kept.bytes.get("_id").ok().flatten().ok_or_else(no_id)?;
        self.transaction.reads.push(ReadDocument {
            collection: collection.to_owned(),
            id: rawdoc! { "": bson::RawBson::from(id) },
            fingerprint: Some(fingerprint(&kept.bytes)),
        });
        Ok(())
    }

    /// Adds a record, if there is none of this `_id`.
    pub fn add<T: Serialize>(
        &mut self,
        collection: &str,
        id: &str,
        record: &T,
    ) -> Result<(), Failure> {
        self.transaction.reads.push(ReadDocument {
            collection: collection.to_owned(),
            id: rawdoc! { "": id },
            fingerprint: None,
        });
        self.put(collection, id, record)
    }

    /// Likewise, where `_id`s are numbers.
    pub fn add_numbered<T: Serialize>(
        &mut self,
        collection: &str,
        id: i64,
        record: &T,
    ) -> Result<(), Failure> {
        let id = rawdoc! { "": id };
        self.transaction.reads.push(ReadDocument {
            collection: collection.to_owned(),
            id: id.clone(),
            fingerprint: None,
        });
        self.write(collection, id, Some(raw(record)?));
        Ok(())
    }

    /// Puts a record in the place of the one with this `_id`.
    pub fn put<T: Serialize>(
        &mut self,
        collection: &str,
        id: &str,
        record: &T,
    ) -> Result<(), Failure> {
        self.write(collection, rawdoc! { "": id }, Some(raw(record)?));
        Ok(())
    }

    /// Puts a record in the place of the one with this `_id`, where `_id`s are numbers.
    pub fn put_numbered<T: Serialize>(
        &mut self,
        collection: &str,
        id: i64,
        record: &T,
    ) -> Result<(), Failure> {
        self.write(collection, rawdoc! { "": id }, Some(raw(record)?));
        Ok(())
    }

    /// Removes the record with this `_id`, where they are numbers.
    pub fn remove_numbered(&mut self, collection: &str, id: i64) {
        self.write(collection, rawdoc! { "": id }, None);
    }

    /// Removes the record with this `_id`.
    pub fn remove(&mut self, collection: &str, id: &str) {
        self.write(collection, rawdoc! { "": id }, None);
    }

    /// Adds an entry of the audit log.
    pub fn tell(&mut self, entry: Entry) {
        self.transaction.reads.push(entry.read);
        self.transaction.writes.push(entry.write);
    }

    fn write(&mut self, collection: &str, id: RawDocumentBuf, document: Option<RawDocumentBuf>) {
        self.transaction.writes.push(WrittenDocument {
            collection: collection.to_owned(),
            id,
            document,
            is_replacement: true,
        });
    }

    pub(super) fn into_transaction(self) -> Transaction {
        self.transaction
    }

    /// The collections concerned.
    pub(super) fn collections(&self) -> Vec<String> {
        let mut collections: Vec<String> =
            self.transaction.collections().map(str::to_owned).collect();
        collections.sort();
        collections.dedup();
        collections
    }
}

fn no_id() -> Failure {
    Failure::new(
        "SYS_ERR",
        "a record of the cluster has no _id",
        Retry::Never,
    )
}
