//! Queries by what can concern them, so that a change meets few of many.
//!
//! They lie by environment and collection; those that fix a field to a value, such as a room of a chat or an `_id`,
//! lie by that value, and only the others are matched against every change of the collection.

use std::collections::HashMap;

use bson::RawDocument;
use yunbase_docdb::Result;
use yunbase_docdb::change_log::Change;
use yunbase_docdb::value::key::encoded;
use yunbase_docdb::value::{Path, values_at};

use super::query::Compiled;

/// Values under numbers, found by the changes that may concern their queries.
#[derive(Debug)]
pub(crate) struct Registry<T> {
    entries: HashMap<u64, Entry<T>>,
    next: u64,
    collections: HashMap<(String, String), Collection>,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    collection: (String, String),
    anchor: Option<(String, Vec<u8>)>,
}

#[derive(Debug, Default)]
struct Collection {
    /// Concerned by every change.
    all: Vec<u64>,
    /// By path, then by the value there.
    anchored: HashMap<String, Anchored>,
}

#[derive(Debug)]
struct Anchored {
    path: Path,
    by_value: HashMap<Vec<u8>, Vec<u64>>,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            next: 0,
            collections: HashMap::new(),
        }
    }
}

impl<T> Registry<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        self.entries.get_mut(&number).map(|entry| &mut entry.value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        self.entries
            .iter_mut()
            .map(|(number, entry)| (*number, &mut entry.value))
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        self.entries.into_values().map(|entry| entry.value)
    }

    /// Adds `value` for `query`.
    pub(crate) fn insert(&mut self, query: &Compiled, value: T) -> Result<u64> {
        let number = self.next;
        let key = (query.query.env.clone(), query.query.collection.clone());
        let anchor = query.anchor();
        let collection = self.collections.entry(key.clone()).or_default();
        match &anchor {
            None => collection.all.push(number),
            Some((path, value)) => {
                let anchored = match collection.anchored.entry(path.clone()) {
                    std::collections::hash_map::Entry::Occupied(present) => present.into_mut(),
                    std::collections::hash_map::Entry::Vacant(vacant) => vacant.insert(Anchored {
                        path: Path::parse(path)?,
                        by_value: HashMap::new(),
                    }),
                };
                let numbers = anchored.by_value.entry(value.clone()).or_default();
                numbers.push(number);
            }
        }
        self.next += 1;
        self.entries.insert(
            number,
            Entry {
                value,
                collection: key,
                anchor,
            },
        );
        Ok(number)
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        let entry = self.entries.remove(&number)?;
        if let Some(collection) = self.collections.get_mut(&entry.collection) {
            match &entry.anchor {
                None => collection.all.retain(|other| *other != number),
                Some((path, value)) => collection.remove_anchored(path, value, number),
            }
            if collection.all.is_empty() && collection.anchored.is_empty() {
                self.collections.remove(&entry.collection);
            }
        }
        Some(entry.value)
    }

    /// The numbers of those that `change` may concern, each once.
    pub(crate) fn concerned(&self, change: &Change) -> Result<Vec<u64>> {
        if self.collections.is_empty() {
            return Ok(Vec::new());
        }
        let key = (change.env.clone(), change.collection.clone());
        let Some(collection) = self.collections.get(&key) else {
            return Ok(Vec::new());
        };
        let mut numbers = collection.all.clone();
        let images = [&change.before, &change.after];
        if change.kind.is_of_collection() {
            let anchored = collection.anchored.values();
            numbers.extend(anchored.flat_map(|one| one.by_value.values().flatten()));
            return Ok(numbers);
        }
        for anchored in collection.anchored.values() {
            let from = numbers.len();
            for image in images.into_iter().flatten() {
                anchored.find(image, &mut numbers)?;
            }
            numbers[from..].sort_unstable();
            let mut kept = from;
            for at in from..numbers.len() {
                if kept == from || numbers[kept - 1] != numbers[at] {
                    numbers[kept] = numbers[at];
                    kept += 1;
                }
            }
            numbers.truncate(kept);
        }
        Ok(numbers)
    }
}

impl Collection {
    fn remove_anchored(&mut self, path: &str, value: &[u8], number: u64) {
        let Some(anchored) = self.anchored.get_mut(path) else {
            return;
        };
        if let Some(numbers) = anchored.by_value.get_mut(value) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                anchored.by_value.remove(value);
            }
        }
        if anchored.by_value.is_empty() {
            self.anchored.remove(path);
        }
    }
}

impl Anchored {
    fn find(&self, document: &RawDocument, numbers: &mut Vec<u64>) -> Result<()> {
        for value in values_at(document, &self.path)? {
            if let Some(found) = self.by_value.get(&encoded(value)?) {
                numbers.extend_from_slice(found);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};
    use yunbase_docdb::change_log::ChangeKind;

    use super::super::query::WatchQuery;
    use super::*;

    fn compiled(collection: &str, filter: RawDocumentBuf) -> Compiled {
        Compiled::new(WatchQuery {
            env: "e".into(),
            collection: collection.into(),
            filter,
            restriction: RawDocumentBuf::new(),
            sort: RawDocumentBuf::new(),
            limit: None,
            now_ms: 0,
        })
        .unwrap()
    }

    fn change(before: Option<RawDocumentBuf>, after: Option<RawDocumentBuf>) -> Change {
        let kind = match (&before, &after) {
            (None, None) => ChangeKind::DropCollection,
            _ => ChangeKind::Update,
        };
        Change {
            kind,
            env: "e".into(),
            collection: "c".into(),
            now_ms: 0,
            before,
            after,
        }
    }

    #[test]
    fn a_change_meets_those_whose_value_it_has_or_had() {
        let mut registry = Registry::default();
        let mut add = |collection, filter| {
            registry
                .insert(&compiled(collection, filter), ())
                .expect("added")
        };
        let every = add("c", rawdoc! {});
        let red = add("c", rawdoc! { "room": "red" });
        let blue = add("c", rawdoc! { "room": "blue" });
        let tagged = add("c", rawdoc! { "tags": "x", "n": { "$gt": 5 } });
        add("other", rawdoc! {});
        let met = |registry: &Registry<()>, before, after| {
            registry.concerned(&change(before, after)).expect("read")
        };
        let red_document = rawdoc! { "_id": 1, "room": "red", "tags": ["y", "x", "x"] };
        let mut both = met(
            &registry,
            Some(red_document.clone()),
            Some(rawdoc! { "_id": 1, "room": "blue" }),
        );
        both.sort_unstable();
        assert_eq!(both, [every, red, blue, tagged]);
        assert_eq!(
            met(&registry, None, Some(rawdoc! { "_id": 2, "room": "green" })),
            [every]
        );
        let mut dropped = met(&registry, None, None);
        dropped.sort_unstable();
        assert_eq!(dropped, [every, red, blue, tagged]);
        let renamed = Change {
            kind: ChangeKind::RenameCollection,
            ..change(None, Some(rawdoc! { "to": "d" }))
        };
        let mut told = registry.concerned(&renamed).expect("read");
        told.sort_unstable();
        assert_eq!(told, dropped);
        for number in [every, red, tagged] {
            registry.remove(number);
        }
        assert_eq!(met(&registry, Some(red_document), None), [0_u64; 0]);
        assert_eq!(
            met(&registry, None, Some(rawdoc! { "_id": 2, "room": "blue" })),
            [blue]
        );
    }
}
