//! What a transaction has read and written: an overlay over the documents of the database, without any IO.
//!
//! Each document that is read counts with its fingerprint; read again, it must be the same, or the transaction has
//! lost already. Each document that is written is there for later reads of the transaction, and for nobody else.

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use yunbase_docdb::Error;
use yunbase_docdb::filter::{Filter, FilterContext, within_write_budget};
use yunbase_docdb::limits::{
    TRANSACTION_BYTES_MAX, TRANSACTION_CONDITIONS_MAX, TRANSACTION_DOCUMENTS_MAX,
    TRANSACTION_QUERIES_MAX, TRANSACTION_QUERY_BYTES_MAX,
};
use yunbase_docdb::transaction::{
    AccessVersion, CheckedTransaction, Fingerprint, ReadDocument, ReadQuery, RequiredDocument,
    Transaction, WrittenDocument, fingerprint, id_key,
};

use super::conflict;
use super::memory::Share;
use crate::call::{Failure, Retry};
use crate::rules::Rules;

/// Most collections that an end user's transaction may be in; one condition is left for the sign-in.
const COLLECTIONS_MAX: usize = TRANSACTION_CONDITIONS_MAX - 1;

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
    queries: Vec<ReadQuery>,
    query_bytes: usize,
    /// How often it has looked at the database: what one look sees is of one moment.
    looks: usize,
    /// The rules that it is held to, by collection.
    rules: BTreeMap<String, (u64, Arc<Rules>)>,
    bytes: usize,
    memory: Share,
}

/// A document as a step of a transaction leaves it.
#[derive(Debug)]
pub struct Write {
    /// Its `_id`: `{"": _id}`.
    pub id: RawDocumentBuf,
    /// The whole document; `None` = removed.
    pub document: Option<RawDocumentBuf>,
    /// Whether it replaces another one.
    pub is_replacement: bool,
}

impl Write {
    /// A whole document, under the `_id` that it has.
    pub fn of(document: RawDocumentBuf, is_replacement: bool) -> Result<Self, Failure> {
        Ok(Self {
            id: id_of(&document)?,
            document: Some(document),
            is_replacement,
        })
    }

    /// The removal of a document.
    pub fn removal(document: &RawDocument) -> Result<Self, Failure> {
        Ok(Self {
            id: id_of(document)?,
            document: None,
            is_replacement: false,
        })
    }
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
    /// An empty one, which holds no more than its share of memory allows.
    pub(super) fn new(memory: Share) -> Self {
        Self {
            memory,
            ..Self::default()
        }
    }

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

    /// The rules of a collection that it is held to, once it has been there.
    pub fn rules(&self, collection: &str) -> Option<(u64, Arc<Rules>)> {
        self.rules.get(collection).cloned()
    }

    /// Holds it to the rules of a collection.
    pub fn hold_to(
        &mut self,
        collection: &str,
        version: u64,
        rules: Arc<Rules>,
    ) -> Result<(), Failure> {
        if self.rules.len() >= COLLECTIONS_MAX {
            return Err(too_large());
        }
        self.rules.insert(collection.to_owned(), (version, rules));
        Ok(())
    }

    /// Notes what was found under an `_id`.
    pub fn note(
        &mut self,
        collection: &str,
        id: RawBsonRef<'_>,
        found: Option<&RawDocument>,
    ) -> Result<(), Failure> {
        self.looks += 1;
        self.note_one(collection, id, found)
    }

    fn note_one(
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

    /// Notes a query, with which nothing may match at the commit that did not match then.
    pub fn note_query(&mut self, query: ReadQuery) -> Result<(), Failure> {
        let bytes = self.query_bytes + query.filter.as_bytes().len();
        if self.queries.len() >= TRANSACTION_QUERIES_MAX || bytes > TRANSACTION_QUERY_BYTES_MAX {
            return Err(too_large());
        }
        self.looks += 1;
        self.query_bytes = bytes;
        self.queries.push(query);
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
            self.note_one(collection, value, Some(&document))?;
            seen.push(document);
        }
        let own = self
            .writes
            .iter()
            .filter(|(named, _)| named.collection == collection);
        for document in own.filter_map(|(_, write)| write.document.as_ref()) {
            if within_write_budget(|| filter.matches(document))? {
                seen.push(document.clone());
            }
        }
        Ok(seen)
    }

    /// Takes over the writes of a step, all of them or none.
    pub fn write(&mut self, collection: &str, writes: Vec<Write>) -> Result<(), Failure> {
        let size = |document: &Option<RawDocumentBuf>| {
            document
                .as_ref()
                .map_or(0, |document| document.as_bytes().len())
        };
        let mut named = BTreeMap::new();
        for write in writes {
            named.insert(Self::named(collection, &write.id)?, write);
        }
        let (mut more, mut bytes) = (0, self.bytes);
        for (name, write) in &named {
            match self.writes.get(name) {
                Some(before) => bytes -= size(&before.document),
                None => more += 1,
            }
            bytes += size(&write.document);
        }
        self.check_room(more, bytes)?;
        self.memory.set(bytes)?;
        self.bytes = bytes;
        for (name, write) in named {
            let written = WrittenDocument {
                collection: collection.to_owned(),
                id: write.id,
                document: write.document,
                is_replacement: write.is_replacement,
            };
            self.writes.insert(name, written);
        }
        Ok(())
    }

    fn check_room(&self, more: usize, bytes: usize) -> Result<(), Failure> {
        let documents = self.reads.len() + self.writes.len() + more;
        if documents > TRANSACTION_DOCUMENTS_MAX || bytes > TRANSACTION_BYTES_MAX {
            return Err(too_large());
        }
        Ok(())
    }

    /// What the commit carries, if `required` is what must be there besides; `None` when there is nothing that could
    /// go wrong or take effect.
    pub fn into_transaction(self, required: Vec<RequiredDocument>) -> Option<CheckedTransaction> {
        if self.writes.is_empty() && self.looks <= 1 {
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
        let access = (self.rules.into_iter())
            .map(|(collection, (version, _))| AccessVersion {
                collection,
                version,
            })
            .collect();
        Some(CheckedTransaction {
            transaction: Transaction {
                reads: reads.collect(),
                writes: self.writes.into_values().collect(),
            },
            queries: self.queries,
            access,
            required,
        })
    }
}

fn too_large() -> Failure {
    Failure::new(
        "EXCEED_REQUEST_SIZE_LIMIT",
        format!(
            "a transaction may read and write at most {TRANSACTION_DOCUMENTS_MAX} documents, write {TRANSACTION_BYTES_MAX} bytes and read by {TRANSACTION_QUERIES_MAX} queries; split it"
        ),
        Retry::Never,
    )
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
        set.write("c", vec![Write::of(other.clone(), false).unwrap()])
            .unwrap();
        // The same number of another type names the same document.
        assert_eq!(
            set.own("c", RawBsonRef::Double(1.0)),
            Ok(Some(Some(other.clone())))
        );
        let found = vec![one.clone(), rawdoc! { "_id": 2, "n": 2 }];
        let seen = set.overlay("c", found, &rawdoc! { "n": 2 }, 0).unwrap();
        assert_eq!(seen, [rawdoc! { "_id": 2, "n": 2 }, other]);
        set.write("c", vec![Write::removal(&one).unwrap()]).unwrap();
        assert_eq!(set.own("c", id), Ok(Some(None)));
        let transaction = set.into_transaction(Vec::new()).unwrap().transaction;
        assert_eq!((transaction.reads.len(), transaction.writes.len()), (2, 1));
    }

    #[test]
    fn a_query_by_distance_comes_before_the_first_write() {
        let mut set = WorkingSet::default();
        let near = rawdoc! { "p": { "$nearSphere": { "$geometry": { "type": "Point", "coordinates": [1, 2] } } } };
        let place = rawdoc! { "_id": 1, "p": { "type": "Point", "coordinates": [1, 2] } };
        let removal = || vec![Write::removal(&rawdoc! { "_id": 2 }).unwrap()];
        set.write("other", removal()).unwrap();
        let seen = set.overlay("c", vec![place.clone()], &near, 0).unwrap();
        assert_eq!(seen, [place]);
        set.write("c", removal()).unwrap();
        let refused = set.overlay("c", Vec::new(), &near, 0).unwrap_err();
        assert!(refused.message.contains("collection 'c'"), "{refused:?}");
    }

    #[test]
    fn its_size_is_bounded_and_what_is_overwritten_does_not_count() {
        let mut set = WorkingSet::default();
        let large = |id: i32| {
            let document = rawdoc! { "_id": id, "s": "x".repeat(TRANSACTION_BYTES_MAX / 2) };
            Write::of(document, true).unwrap()
        };
        let id = RawBsonRef::Int32;
        for _ in 0..5 {
            set.write("c", vec![large(1)]).unwrap();
        }
        let small = Write::of(rawdoc! { "_id": 3 }, true).unwrap();
        let over = set.write("c", vec![small, large(2)]).unwrap_err();
        assert_eq!(over.code, "EXCEED_REQUEST_SIZE_LIMIT");
        // Of a step that does not fit nothing is kept.
        assert_eq!(set.own("c", id(3)), Ok(None));
        let mut set = WorkingSet::default();
        for number in 0..TRANSACTION_DOCUMENTS_MAX as i32 {
            set.note("c", id(number), None).unwrap();
        }
        assert!(set.note("c", id(-1), None).is_err());
        assert!(set.note("c", id(0), None).is_ok());
        let query = || ReadQuery {
            collection: "c".into(),
            filter: rawdoc! {},
            now_ms: 0,
            as_of: yunbase_docdb::Position::default(),
        };
        for _ in 0..TRANSACTION_QUERIES_MAX {
            set.note_query(query()).unwrap();
        }
        assert!(set.note_query(query()).is_err());
    }

    #[test]
    fn one_look_needs_no_commit() {
        let (one, id) = (rawdoc! { "_id": 1 }, RawBsonRef::Int32);
        let mut set = WorkingSet::default();
        assert!(WorkingSet::default().into_transaction(Vec::new()).is_none());
        set.note("c", id(1), Some(&one)).unwrap();
        assert!(set.into_transaction(Vec::new()).is_none());
        let mut set = WorkingSet::default();
        set.note("c", id(1), Some(&one)).unwrap();
        set.note("c", id(2), None).unwrap();
        assert!(set.into_transaction(Vec::new()).is_some());
    }
}
