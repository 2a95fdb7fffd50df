//! What a transaction has read and written: an overlay over the documents of the database, without any IO.
//!
//! Each document that is read counts with its fingerprint; read again, it must be the same, or the transaction has
//! lost already. Each document that is written is there for later reads of the transaction, and for nobody else.

use std::collections::BTreeMap;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use yunbase_docdb::Error;
use yunbase_docdb::filter::{Filter, FilterContext};
use yunbase_docdb::limits::{TRANSACTION_BYTES_MAX, TRANSACTION_DOCUMENTS_MAX};
use yunbase_docdb::transaction::{
    Fingerprint, ReadDocument, Transaction, WrittenDocument, fingerprint, id_key,
};

use super::conflict;
use crate::call::{Failure, Retry};

/// A document by collection and `_id`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    collection: String,
    /// The `_id` in the database's own encoding: numbers of different types that are equal name the same document.
    key: Vec<u8>,
}

/// What a transaction has read and written.
#[derive(Debug, Default)]
pub struct WorkingSet {
    reads: BTreeMap<Named, (RawDocumentBuf, Option<Fingerprint>)>,
    writes: BTreeMap<Named, WrittenDocument>,
    bytes: usize,
}

/// `{"": id}`.
fn wrapped(id: RawBsonRef<'_>) -> RawDocumentBuf {
    let mut wrapped = RawDocumentBuf::new();
    wrapped.append(bson::cstr!(""), id);
    wrapped
}

/// The `_id` of a document, wrapped.
fn id_of(document: &RawDocument) -> Result<RawDocumentBuf, Failure> {
    match document.get("_id") {
        Ok(Some(id)) => Ok(wrapped(id)),
        _ => Err(Error::invalid("the document has no _id; give it one").into()),
    }
}

impl WorkingSet {
    fn named(collection: &str, id: &RawDocument) -> Result<Named, Failure> {
        Ok(Named {
            collection: collection.to_owned(),
            key: id_key(id)?,
        })
    }

    /// What the transaction itself has made of the document with this `_id`; `None` when it has not touched it.
    pub fn own(
        &self,
        collection: &str,
        id: RawBsonRef<'_>,
    ) -> Result<Option<Option<RawDocumentBuf>>, Failure> {
        let named = Self::named(collection, &wrapped(id))?;
        Ok(self.writes.get(&named).map(|write| write.document.clone()))
    }

    /// Whether the transaction has written to a collection.
    pub fn has_written_to(&self, collection: &str) -> bool {
        self.writes
            .keys()
            .any(|named| named.collection == collection)
    }

    /// Notes what was found under an `_id`.
    pub fn note(
        &mut self,
        collection: &str,
        id: RawBsonRef<'_>,
        found: Option<&RawDocument>,
    ) -> Result<(), Failure> {
        let id = wrapped(id);
        let named = Self::named(collection, &id)?;
        let found = found.map(fingerprint);
        match self.reads.get(&named) {
            Some((_, before)) if *before != found => return Err(conflict()),
            Some(_) => {}
            None => {
                self.check_room(1, 0)?;
                self.reads.insert(named, (id, found));
            }
        }
        Ok(())
    }

    /// Takes what a query found in the database, and gives what the transaction sees: its own writes instead of what they
    /// replace, and those that `filter` matches besides.
    pub fn overlay(
        &mut self,
        collection: &str,
        found: Vec<RawDocumentBuf>,
        filter: &RawDocument,
        now_ms: i64,
    ) -> Result<Vec<RawDocumentBuf>, Failure> {
        let filter = Filter::parse(filter, &FilterContext { now_ms })?;
        if filter.orders_by_distance() && self.has_written_to(collection) {
            return Err(Error::operator(format!(
                "a transaction that has written to collection '{collection}' cannot query it by distance; query before the first write, or use '$geoWithin'"
            ))
            .into());
        }
        let mut seen = Vec::with_capacity(found.len());
        for document in found {
            let id = id_of(&document)?;
            let named = Self::named(collection, &id)?;
            if self.writes.contains_key(&named) {
                continue;
            }
            let value = id.get("").ok().flatten().unwrap_or(RawBsonRef::Null);
            self.note(collection, value, Some(&document))?;
            seen.push(document);
        }
        let own = self
            .writes
            .iter()
            .filter(|(named, _)| named.collection == collection);
        for document in own.filter_map(|(_, write)| write.document.as_ref()) {
            if filter.matches(document)? {
                seen.push(document.clone());
            }
        }
        Ok(seen)
    }

    /// Writes a whole document, or removes it.
    pub fn write(
        &mut self,
        collection: &str,
        id: RawBsonRef<'_>,
        document: Option<RawDocumentBuf>,
        is_replacement: bool,
    ) -> Result<(), Failure> {
        let id = wrapped(id);
        let named = Self::named(collection, &id)?;
        let size = |document: &Option<RawDocumentBuf>| {
            document
                .as_ref()
                .map_or(0, |document| document.as_bytes().len())
        };
        let before = self.writes.get(&named).map(|write| size(&write.document));
        let bytes = self.bytes - before.unwrap_or(0) + size(&document);
        self.check_room(usize::from(before.is_none()), bytes)?;
        self.bytes = bytes;
        let written = WrittenDocument {
            collection: collection.to_owned(),
            id,
            document,
            is_replacement,
        };
        self.writes.insert(named, written);
        Ok(())
    }

    fn check_room(&self, more: usize, bytes: usize) -> Result<(), Failure> {
        let documents = self.reads.len() + self.writes.len() + more;
        if documents > TRANSACTION_DOCUMENTS_MAX || bytes > TRANSACTION_BYTES_MAX {
            return Err(Failure::new(
                "EXCEED_REQUEST_SIZE_LIMIT",
                format!(
                    "a transaction may read and write at most {TRANSACTION_DOCUMENTS_MAX} documents and write {TRANSACTION_BYTES_MAX} bytes; split it"
                ),
                Retry::Never,
            ));
        }
        Ok(())
    }

    /// What the commit carries; `None` when there is nothing that could go wrong or take effect.
    pub fn into_transaction(self) -> Option<Transaction> {
        // A single read was of one instant by itself.
        if self.writes.is_empty() && self.reads.len() <= 1 {
            return None;
        }
        let reads = self
            .reads
            .into_iter()
            .map(|(named, (id, fingerprint))| ReadDocument {
                collection: named.collection,
                id,
                fingerprint,
            });
        Some(Transaction {
            reads: reads.collect(),
            writes: self.writes.into_values().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::transactions::CONFLICT;

    #[test]
    fn later_reads_see_earlier_writes_and_a_changed_read_is_a_conflict() {
        let mut set = WorkingSet::default();
        let (one, other) = (rawdoc! { "_id": 1, "n": 1 }, rawdoc! { "_id": 1, "n": 2 });
        let id = RawBsonRef::Int32(1);
        set.note("c", id, Some(&one)).unwrap();
        set.note("c", id, Some(&one)).unwrap();
        assert_eq!(set.note("c", id, Some(&other)).unwrap_err().code, CONFLICT);
        assert_eq!(set.note("c", id, None).unwrap_err().code, CONFLICT);
        assert_eq!(set.own("c", id), Ok(None));
        set.write("c", id, Some(other.clone()), false).unwrap();
        // The same number of another type names the same document.
        assert_eq!(
            set.own("c", RawBsonRef::Double(1.0)),
            Ok(Some(Some(other.clone())))
        );
        let found = vec![one.clone(), rawdoc! { "_id": 2, "n": 2 }];
        let seen = set.overlay("c", found, &rawdoc! { "n": 2 }, 0).unwrap();
        assert_eq!(seen, [rawdoc! { "_id": 2, "n": 2 }, other]);
        set.write("c", id, None, false).unwrap();
        assert_eq!(set.own("c", id), Ok(Some(None)));
        let transaction = set.into_transaction().unwrap();
        assert_eq!((transaction.reads.len(), transaction.writes.len()), (2, 1));
    }

    #[test]
    fn a_query_by_distance_comes_before_the_first_write() {
        let mut set = WorkingSet::default();
        let near = rawdoc! { "p": { "$nearSphere": { "$geometry": { "type": "Point", "coordinates": [1, 2] } } } };
        let place = rawdoc! { "_id": 1, "p": { "type": "Point", "coordinates": [1, 2] } };
        let id = RawBsonRef::Int32(2);
        set.write("other", id, None, false).unwrap();
        let seen = set.overlay("c", vec![place.clone()], &near, 0).unwrap();
        assert_eq!(seen, [place]);
        set.write("c", id, None, false).unwrap();
        let refused = set.overlay("c", Vec::new(), &near, 0).unwrap_err();
        assert!(refused.message.contains("collection 'c'"), "{refused:?}");
    }

    #[test]
    fn its_size_is_bounded_and_what_is_overwritten_does_not_count() {
        let mut set = WorkingSet::default();
        let large = rawdoc! { "_id": 1, "s": "x".repeat(TRANSACTION_BYTES_MAX / 2) };
        let id = RawBsonRef::Int32;
        for _ in 0..5 {
            set.write("c", id(1), Some(large.clone()), true).unwrap();
        }
        let over = set.write("c", id(2), Some(large), true).unwrap_err();
        assert_eq!(over.code, "EXCEED_REQUEST_SIZE_LIMIT");
        let mut set = WorkingSet::default();
        for number in 0..TRANSACTION_DOCUMENTS_MAX as i32 {
            set.note("c", id(number), None).unwrap();
        }
        assert!(set.note("c", id(-1), None).is_err());
        assert!(set.note("c", id(0), None).is_ok());
    }
}
