//! The writes of one apply call before they are written: several commands share one batch, so each
//! must see what the earlier ones did.
//!
//! Reads look here first, then in the store. A command that is refused half-way is rolled back to the
//! savepoint before it. Range deletions are final: only operations that can no longer fail make them.

use std::collections::HashSet;
use std::ops::Range;

use crate::kv::{Direction, Family, KeyRange, StorageResult, Store, WriteBatch};

/// What a key held in the draft before a change: nothing, or a value or deletion.
type Earlier = Option<Option<Vec<u8>>>;

/// A batch under construction over a store.
pub(crate) struct Draft<'s> {
    store: &'s dyn Store,
    batch: WriteBatch,
    /// Each change since the savepoint; its key is a part of `undo_keys`, which spares an allocation each.
    undo: Vec<(Family, Range<usize>, Earlier)>,
    undo_keys: Vec<u8>,
    /// Keys that the store was asked for together, and does not have.
    absent: [HashSet<Vec<u8>>; Family::ALL.len()],
}

impl<'s> Draft<'s> {
    pub(crate) fn new(store: &'s dyn Store) -> Self {
        Self {
            store,
            batch: WriteBatch::default(),
            undo: Vec::new(),
            undo_keys: Vec::new(),
            absent: Default::default(),
        }
    }

    /// The value under `key` as the commands so far left it.
    pub(crate) fn get(&self, family: Family, key: &[u8]) -> StorageResult<Option<Vec<u8>>> {
        if let Some(change) = self.batch.family(family).get(key) {
            return Ok(change.clone());
        }
        if self.is_range_deleted(family, key) || self.absent[family as usize].contains(key) {
            Ok(None)
        } else {
            self.store.get(family, key)
        }
    }

    /// Says which keys the current command is about to get. The store answers for many at once with less work than
    /// for one after the other, above all that it does not have them.
    pub(crate) fn look_ahead(&mut self, family: Family, keys: Vec<Vec<u8>>) -> StorageResult<()> {
        let absent = self.store.absent(family, keys)?;
        self.absent[family as usize].extend(absent);
        Ok(())
    }

    pub(crate) fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.change(family, key, Some(value));
    }

    pub(crate) fn delete(&mut self, family: Family, key: Vec<u8>) {
        self.change(family, key, None);
    }

    fn change(&mut self, family: Family, key: Vec<u8>, value: Option<Vec<u8>>) {
        let start = self.undo_keys.len();
        self.undo_keys.extend_from_slice(&key);
        let earlier = self.batch.changes[family as usize].insert(key, value);
        self.undo
            .push((family, start..self.undo_keys.len(), earlier));
    }

    /// Deletes all keys in `range`. Cannot be rolled back.
    pub(crate) fn delete_range(&mut self, family: Family, range: KeyRange) {
        self.batch.changes[family as usize].retain(|key, _| !range.contains(key));
        let undo_keys = &self.undo_keys;
        self.undo
            .retain(|(of, key, _)| *of != family || !range.contains(&undo_keys[key.clone()]));
        self.batch.deleted_ranges.push((family, range));
    }

    /// Begins a command: what came before can no longer be rolled back.
    pub(crate) fn savepoint(&mut self) {
        self.undo.clear();
        self.undo_keys.clear();
        self.absent.iter_mut().for_each(HashSet::clear);
    }

    /// Takes back all single changes since the savepoint.
    pub(crate) fn rollback(&mut self) {
        while let Some((family, key, earlier)) = self.undo.pop() {
            let key = &self.undo_keys[key];
            match earlier {
                Some(value) => self.batch.changes[family as usize].insert(key.to_vec(), value),
                None => self.batch.changes[family as usize].remove(key),
            };
        }
        self.undo_keys.clear();
    }

    /// The first entries of `range`, up to `count_max` entries and, but for the first, `bytes_max` bytes.
    pub(crate) fn first_entries(
        &self,
        family: Family,
        range: &KeyRange,
        count_max: usize,
        bytes_max: usize,
    ) -> StorageResult<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut entries = Vec::new();
        let mut outcome = Ok(());
        self.store.with_view(&mut |view| {
            outcome = (|| {
                let mut bytes = 0;
                let mut stored = view.scan(family, range, Direction::Forward);
                let mut has_stored = stored.advance()?;
                let mut drafted = (!range.is_empty())
                    .then(|| self.batch.family(family).range::<[u8], _>(range.bounds()))
                    .into_iter()
                    .flatten()
                    .peekable();
                while entries.len() < count_max {
                    let key_order = match (drafted.peek(), has_stored) {
                        (None, false) => break,
                        (Some((key, _)), true) => key.as_slice().cmp(stored.key()),
                        (Some(_), false) => std::cmp::Ordering::Less,
                        (None, true) => std::cmp::Ordering::Greater,
                    };
                    let entry = if key_order.is_gt() {
                        let entry = (!self.is_range_deleted(family, stored.key()))
                            .then(|| (stored.key().to_vec(), stored.value().to_vec()));
                        has_stored = stored.advance()?;
                        entry
                    } else {
                        if key_order.is_eq() {
                            has_stored = stored.advance()?;
                        }
                        drafted
                            .next()
                            .and_then(|(key, value)| Some((key.clone(), value.clone()?)))
                    };
                    if let Some((key, value)) = entry {
                        bytes += value.len();
                        if bytes > bytes_max && !entries.is_empty() {
                            break;
                        }
                        entries.push((key, value));
                    }
                }
                Ok(())
            })();
        })?;
        outcome.map(|()| entries)
    }

    /// The finished batch.
    pub(crate) fn into_batch(self) -> WriteBatch {
        self.batch
    }

    fn is_range_deleted(&self, family: Family, key: &[u8]) -> bool {
        self.batch
            .deleted_ranges
            .iter()
            .any(|(of, range)| *of == family && range.contains(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;

    fn stored(keys: &[&str]) -> MemoryStore {
        let store = MemoryStore::new();
        let mut batch = WriteBatch::default();
        for key in keys {
            batch.put(Family::Docs, key.as_bytes().to_vec(), b"old".to_vec());
        }
        store.write(&batch).unwrap();
        store
    }

    fn keys(draft: &Draft<'_>, from: &str, to: &str) -> Vec<String> {
        let range = KeyRange {
            start: from.into(),
            end: to.into(),
        };
        let entries = draft
            .first_entries(Family::Docs, &range, 100, 1000)
            .unwrap();
        entries
            .into_iter()
            .map(|(key, _)| String::from_utf8(key).unwrap())
            .collect()
    }

    #[test]
    fn reads_see_earlier_writes_of_the_batch() {
        let store = stored(&["a", "b", "c", "d"]);
        let mut draft = Draft::new(&store);
        draft.put(Family::Docs, b"bb".to_vec(), b"new".to_vec());
        draft.put(Family::Docs, b"d".to_vec(), b"new".to_vec());
        draft.delete(Family::Docs, b"a".to_vec());
        assert_eq!(draft.get(Family::Docs, b"a").unwrap(), None);
        assert_eq!(
            draft.get(Family::Docs, b"d").unwrap(),
            Some(b"new".to_vec())
        );
        assert_eq!(keys(&draft, "a", "z"), ["b", "bb", "c", "d"]);
        draft.delete_range(
            Family::Docs,
            KeyRange {
                start: b"b".to_vec(),
                end: b"c".to_vec(),
            },
        );
        assert_eq!(keys(&draft, "a", "z"), ["c", "d"]);
        draft.put(Family::Docs, b"b".to_vec(), b"again".to_vec());
        assert_eq!(keys(&draft, "a", "z"), ["b", "c", "d"]);
        store.write(&draft.into_batch()).unwrap();
        assert_eq!(keys(&Draft::new(&store), "a", "z"), ["b", "c", "d"]);
    }

    #[test]
    fn a_rollback_returns_to_the_savepoint() {
        let store = stored(&["a"]);
        let mut draft = Draft::new(&store);
        draft.put(Family::Docs, b"b".to_vec(), b"kept".to_vec());
        draft.savepoint();
        draft.put(Family::Docs, b"b".to_vec(), b"lost".to_vec());
        draft.put(Family::Docs, b"b".to_vec(), b"lost again".to_vec());
        draft.delete(Family::Docs, b"a".to_vec());
        draft.put(Family::Docs, b"c".to_vec(), b"lost".to_vec());
        draft.rollback();
        assert_eq!(
            draft.get(Family::Docs, b"b").unwrap(),
            Some(b"kept".to_vec())
        );
        assert_eq!(keys(&draft, "a", "z"), ["a", "b"]);
    }

    #[test]
    fn keys_looked_up_ahead_are_the_same_as_one_by_one() {
        let store = stored(&["a", "c"]);
        let mut draft = Draft::new(&store);
        draft.put(Family::Docs, b"b".to_vec(), b"new".to_vec());
        let keys = ["a", "b", "c", "d"].map(|key| key.as_bytes().to_vec());
        draft.look_ahead(Family::Docs, keys.to_vec()).unwrap();
        let got = keys.map(|key| draft.get(Family::Docs, &key).unwrap());
        let expected = [Some("old"), Some("new"), Some("old"), None];
        assert_eq!(
            got,
            expected.map(|value| value.map(|v| v.as_bytes().to_vec()))
        );
        draft.put(Family::Docs, b"d".to_vec(), b"later".to_vec());
        assert_eq!(
            draft.get(Family::Docs, b"d").unwrap(),
            Some(b"later".to_vec())
        );
        assert_eq!(draft.get(Family::Index, b"d").unwrap(), None);
    }

    #[test]
    fn steps_are_bounded_by_count_and_bytes_but_always_move() {
        let store = stored(&["a", "b", "c"]);
        let draft = Draft::new(&store);
        let range = KeyRange {
            start: b"a".to_vec(),
            end: b"z".to_vec(),
        };
        assert_eq!(
            draft
                .first_entries(Family::Docs, &range, 2, 1000)
                .unwrap()
                .len(),
            2
        );
        assert_eq!(
            draft
                .first_entries(Family::Docs, &range, 9, 6)
                .unwrap()
                .len(),
            2
        );
        assert_eq!(
            draft
                .first_entries(Family::Docs, &range, 9, 1)
                .unwrap()
                .len(),
            1
        );
    }
}
