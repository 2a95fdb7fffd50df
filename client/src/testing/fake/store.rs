//! The stand-in's documents: just enough of the database's meaning for tests of the SDK and the command line.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use bson::{Bson, Document, doc};
use bytes::Bytes;

use crate::proto::request::Op;
use crate::proto::{self, Failure, Request, Retry, response};

/// Outcomes kept for each session.
const WINDOW: u32 = 64;
/// Most documents in one answer.
const PAGE_DOCUMENTS: usize = 100;

type Documents = BTreeMap<String, Document>;

/// Collections and sessions.
#[derive(Default)]
pub struct Store {
    collections: BTreeMap<String, Documents>,
    /// Access documents by collection.
    accesses: BTreeMap<String, Document>,
    sessions: HashMap<u64, BTreeMap<u64, response::Result>>,
    sessions_opened: u64,
    ids_made: u64,
    /// How often each index can still be listed before its build ends, by collection and name.
    indexes: BTreeMap<(String, String), u32>,
    /// How often a new index is listed as one that is being built.
    pub index_build_looks: u32,
    /// Why builds of indexes fail in the end, if they do.
    pub index_build_failure: Option<String>,
    /// Requests that broke the rules of the window.
    pub violations: Vec<String>,
    /// How often a change was carried out (and not answered from memory).
    pub changes: u64,
}

/// A refusal.
pub fn failure(code: &str, message: &str) -> Failure {
    Failure {
        code: code.into(),
        message: message.into(),
        request_id: "fake-1".into(),
        retry: Retry::Never.into(),
        hint: String::new(),
    }
}

type Answer = Result<response::Result, Failure>;

impl Store {
    /// Documents of a collection in order of their `_id`.
    pub fn documents(&self, collection: &str) -> Vec<Document> {
        self.collections
            .get(collection)
            .into_iter()
            .flat_map(|documents| documents.values().cloned())
            .collect()
    }

    /// Names of the collections.
    pub fn collections(&self) -> Vec<String> {
        self.collections.keys().cloned().collect()
    }

    /// Forgets every session, as a cluster does with those long unused.
    pub fn expire_sessions(&mut self) {
        self.sessions.clear();
    }

    /// Carries out `request`, once for each session and sequence.
    pub fn carry_out(&mut self, request: Request) -> response::Result {
        let Some(op) = request.op else {
            return fail("INVALID_PARAM", "no operation");
        };
        if request.session == 0 {
            return self.answer(op);
        }
        let Some(session) = self.sessions.get(&request.session) else {
            return fail("SESSION_EXPIRED", "the session is unknown");
        };
        if let Some(outcome) = session.get(&request.sequence) {
            return outcome.clone();
        }
        let newest = session.keys().next_back().copied().unwrap_or(0);
        if request.sequence + u64::from(WINDOW) <= newest {
            self.violations
                .push(format!("sequence {} after {newest}", request.sequence));
        }
        self.changes += 1;
        let outcome = self.answer(op);
        if let Some(session) = self.sessions.get_mut(&request.session) {
            session.insert(request.sequence, outcome.clone());
            let oldest = newest
                .max(request.sequence)
                .saturating_sub(u64::from(WINDOW));
            session.retain(|sequence, _| *sequence > oldest);
        }
        outcome
    }

    fn answer(&mut self, op: Op) -> response::Result {
        self.operate(op).unwrap_or_else(response::Result::Failure)
    }

    fn operate(&mut self, op: Op) -> Answer {
        match op {
            Op::OpenSession(_) => {
                self.sessions_opened += 1;
                self.sessions.insert(self.sessions_opened, BTreeMap::new());
                let opened = proto::SessionOpened {
                    session: self.sessions_opened,
                    window: WINDOW,
                };
                Ok(response::Result::SessionOpened(opened))
            }
            Op::CreateCollection(op) => {
                if self.collections.contains_key(&op.collection) {
                    return Err(failure("DATABASE_COLLECTION_ALREADY_EXIST", "it exists"));
                }
                self.collections.insert(op.collection, Documents::new());
                Ok(done())
            }
            Op::DropCollection(op) => {
                self.documents_mut(&op.collection)?;
                self.collections.remove(&op.collection);
                Ok(done())
            }
            Op::ListCollections(_) => {
                let describe = |(name, documents): (&String, &Documents)| {
                    encode(&doc! {"name": name, "count": documents.len() as i64})
                };
                Ok(described(self.collections.iter().map(describe).collect()))
            }
            Op::Insert(op) => self.insert(&op),
            Op::Find(op) => self.find(&op),
            Op::Count(op) => {
                let filter = decode(&op.filter)?;
                let count = self
                    .documents_mut(&op.collection)?
                    .values()
                    .filter(|d| matches(d, &filter))
                    .count();
                Ok(response::Result::Counted(proto::Counted {
                    count: count as u64,
                }))
            }
            Op::Update(op) => self.update(&op),
            Op::Remove(op) => {
                let filter = decode(&op.filter)?;
                let documents = self.documents_mut(&op.collection)?;
                let most = if op.multi { usize::MAX } else { 1 };
                let keys = matching(documents, &filter).take(most).collect::<Vec<_>>();
                keys.iter().for_each(|key| drop(documents.remove(key)));
                Ok(response::Result::Removed(proto::Removed {
                    removed: keys.len() as u64,
                }))
            }
            Op::CreateIndex(op) => {
                self.documents_mut(&op.collection)?;
                self.indexes
                    .insert((op.collection, op.name), self.index_build_looks);
                Ok(done())
            }
            Op::DropIndex(op) => {
                self.documents_mut(&op.collection)?;
                self.indexes.remove(&(op.collection, op.name));
                Ok(done())
            }
            Op::SetValidator(op) => self.documents_mut(&op.collection).map(|_| done()),
            Op::RenameCollection(op) => {
                let documents = std::mem::take(self.documents_mut(&op.collection)?);
                self.collections.remove(&op.collection);
                if let Some(access) = self.accesses.remove(&op.collection) {
                    self.accesses.insert(op.to.clone(), access);
                }
                self.collections.insert(op.to, documents);
                Ok(done())
            }
            Op::ListIndexes(op) => {
                self.documents_mut(&op.collection)?;
                Ok(described(self.look_at_indexes(&op.collection)))
            }
            Op::Aggregate(op) => self.aggregate(&op),
            Op::SetAccess(op) => {
                self.documents_mut(&op.collection)?;
                let access = decode(&op.access)?;
                self.accesses.insert(op.collection, access);
                Ok(done())
            }
            Op::GetAccess(op) => {
                self.documents_mut(&op.collection)?;
                let access = self
                    .accesses
                    .get(&op.collection)
                    .cloned()
                    .unwrap_or_default();
                Ok(described(vec![encode(
                    &doc! {"version": 1_i64, "access": access},
                )]))
            }
            Op::Explain(_) => Ok(described(vec![encode(&doc! {"plan": "scan"})])),
        }
    }

    fn look_at_indexes(&mut self, collection: &str) -> Vec<Bytes> {
        let mut described = Vec::new();
        for ((of, name), looks) in &mut self.indexes {
            if of != collection {
                continue;
            }
            let mut index = doc! {"name": name.as_str(), "state": "ready"};
            if *looks > 0 {
                *looks -= 1;
                index.insert("state", "building");
            } else if let Some(reason) = &self.index_build_failure {
                index.insert("state", "failed");
                index.insert("error", reason);
            }
            described.push(encode(&index));
        }
        described
    }

    fn documents_mut(&mut self, collection: &str) -> Result<&mut Documents, Failure> {
        let missing = || {
            failure(
                "DATABASE_COLLECTION_NOT_EXIST",
                "create the collection first",
            )
        };
        self.collections.get_mut(collection).ok_or_else(missing)
    }

    fn insert(&mut self, op: &proto::Insert) -> Answer {
        self.documents_mut(&op.collection)?;
        let mut new = Vec::new();
        for bytes in &op.documents {
            let mut document = decode(bytes)?;
            if !document.contains_key("_id") {
                self.ids_made += 1;
                document.insert("_id", format!("made-{:06}", self.ids_made));
            }
            new.push(document);
        }
        let documents = self.documents_mut(&op.collection)?;
        let mut keys = std::collections::BTreeSet::new();
        if new
            .iter()
            .map(key)
            .any(|key| documents.contains_key(&key) || !keys.insert(key))
        {
            return Err(failure("DATABASE_DUPLICATE_WRITE", "_id exists"));
        }
        let ids = new
            .iter()
            .map(|document| encode(&doc! {"": document.get("_id").cloned()}))
            .collect();
        documents.extend(new.into_iter().map(|document| (key(&document), document)));
        Ok(response::Result::Inserted(proto::Inserted { ids }))
    }

    fn find(&mut self, op: &proto::Find) -> Answer {
        let (filter, sort) = (decode(&op.filter)?, decode(&op.sort)?);
        let documents = self.documents_mut(&op.collection)?;
        let after = String::from_utf8_lossy(&op.after).into_owned();
        let mut found: Vec<(&String, &Document)> = documents
            .iter()
            .filter(|(key, d)| (after.is_empty() || **key > after) && matches(d, &filter))
            .collect();
        if let Some((path, direction)) = sort.iter().next() {
            found.sort_by(|(_, a), (_, b)| {
                let order = compare(a.get(path), b.get(path)).unwrap_or(Ordering::Equal);
                if direction == &Bson::Int32(-1) {
                    order.reverse()
                } else {
                    order
                }
            });
        }
        let most = (op.limit.unwrap_or(u64::MAX) as usize).min(PAGE_DOCUMENTS);
        let skip = op.skip as usize;
        let more = found.len() > skip.saturating_add(most);
        let page: Vec<_> = found.into_iter().skip(skip).take(most).collect();
        let next = page
            .last()
            .filter(|_| more)
            .map_or_else(Bytes::new, |(key, _)| Bytes::from((*key).clone()));
        let documents = page
            .into_iter()
            .map(|(_, document)| encode(document))
            .collect();
        Ok(response::Result::Found(proto::Found { documents, next }))
    }

    /// Knows `$match` and `$limit`.
    fn aggregate(&mut self, op: &proto::Aggregate) -> Answer {
        let documents = self.documents_mut(&op.collection)?;
        let mut found: Vec<&Document> = documents.values().collect();
        for stage in &op.pipeline {
            let stage = decode(stage)?;
            match stage.iter().next() {
                Some((name, Bson::Document(filter))) if name == "$match" => {
                    found.retain(|document| matches(document, filter));
                }
                Some((name, Bson::Int32(limit))) if name == "$limit" => {
                    found.truncate(usize::try_from(*limit).unwrap_or_default());
                }
                _ => return Err(failure("DATABASE_INVALID_OPERRATOR", "unknown stage")),
            }
        }
        Ok(response::Result::Found(proto::Found {
            documents: found.into_iter().map(encode).collect(),
            next: Bytes::new(),
        }))
    }

    fn update(&mut self, op: &proto::Update) -> Answer {
        let (filter, update) = (decode(&op.filter)?, decode(&op.update)?);
        let documents = self.documents_mut(&op.collection)?;
        let most = if op.multi { usize::MAX } else { 1 };
        let keys: Vec<String> = matching(documents, &filter).take(most).collect();
        let mut updated = proto::Updated {
            matched: keys.len() as u64,
            ..proto::Updated::default()
        };
        for key in &keys {
            let Some(document) = documents.get_mut(key) else {
                continue;
            };
            let before = document.clone();
            change(document, &update, op.replace);
            updated.modified += u64::from(*document != before);
            updated.document = op.return_document.then(|| encode(document));
        }
        if keys.is_empty() && op.upsert {
            let id = filter
                .get("_id")
                .map_or(Bson::String("upserted".into()), |id| match id {
                    Bson::Document(comparison) => {
                        comparison.get("$eq").cloned().unwrap_or(Bson::Null)
                    }
                    id => id.clone(),
                });
            let mut document = doc! {"_id": id.clone()};
            change(&mut document, &update, op.replace);
            updated.upserted_id = Some(encode(&doc! {"": id}));
            documents.insert(key(&document), document);
        }
        Ok(response::Result::Updated(updated))
    }
}

fn fail(code: &str, message: &str) -> response::Result {
    response::Result::Failure(failure(code, message))
}

fn done() -> response::Result {
    response::Result::Done(proto::Done {})
}

fn described(documents: Vec<Bytes>) -> response::Result {
    response::Result::Described(proto::Described { documents })
}

fn encode(document: &Document) -> Bytes {
    document.to_vec().unwrap_or_default().into()
}

fn decode(bytes: &[u8]) -> Result<Document, Failure> {
    if bytes.is_empty() {
        return Ok(Document::new());
    }
    bson::deserialize_from_slice(bytes)
        .map_err(|error| failure("INVALID_PARAM", &error.to_string()))
}

fn key(document: &Document) -> String {
    document
        .get("_id")
        .map_or_else(String::new, ToString::to_string)
}

fn matching<'a>(
    documents: &'a Documents,
    filter: &'a Document,
) -> impl Iterator<Item = String> + 'a {
    documents
        .iter()
        .filter(|(_, document)| matches(document, filter))
        .map(|(key, _)| key.clone())
}

fn change(document: &mut Document, update: &Document, replace: bool) {
    if replace {
        let id = document.get("_id").cloned();
        *document = update.clone();
        if let Some(id) = id {
            document.insert("_id", id);
        }
        return;
    }
    for (operator, fields) in update {
        for (path, value) in fields.as_document().into_iter().flatten() {
            let value = match (operator.as_str(), document.get(path), value) {
                ("$inc", Some(Bson::Int32(old)), Bson::Int32(by)) => Bson::Int32(old + by),
                _ => value.clone(),
            };
            document.insert(path, value);
        }
    }
}

fn matches(document: &Document, filter: &Document) -> bool {
    filter
        .iter()
        .all(|(path, wanted)| match (path.as_str(), wanted) {
            ("$and", Bson::Array(all)) => all
                .iter()
                .filter_map(Bson::as_document)
                .all(|filter| matches(document, filter)),
            (path, Bson::Document(comparisons)) => comparisons.iter().all(|(operator, value)| {
                let order = compare(document.get(path), Some(value));
                let equals =
                    |value| compare(document.get(path), Some(value)) == Some(Ordering::Equal);
                match operator.as_str() {
                    "$in" => value
                        .as_array()
                        .is_some_and(|values| values.iter().any(equals)),
                    "$eq" => order == Some(Ordering::Equal),
                    "$gt" => order == Some(Ordering::Greater),
                    "$gte" => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
                    "$lt" => order == Some(Ordering::Less),
                    _ => false,
                }
            }),
            (path, value) => compare(document.get(path), Some(value)) == Some(Ordering::Equal),
        })
}

fn compare(left: Option<&Bson>, right: Option<&Bson>) -> Option<Ordering> {
    let number = |value: &Bson| match value {
        Bson::Int32(number) => Some(f64::from(*number)),
        Bson::Int64(number) => Some(*number as f64),
        Bson::Double(number) => Some(*number),
        _ => None,
    };
    match (left?, right?) {
        (Bson::String(left), Bson::String(right)) => Some(left.cmp(right)),
        (left, right) => match (number(left), number(right)) {
            (Some(left), Some(right)) => left.partial_cmp(&right),
            _ => (left == right).then_some(Ordering::Equal),
        },
    }
}
