//! An index in memory, for simulations: a crash leaves what was flushed and any number of the writes after.

use std::collections::BTreeMap;
use std::io;

use parking_lot::RwLock;

use super::{Index, IndexItem, IndexWrite};

/// What the index holds, and what it would hold after a crash.
#[derive(Default)]
pub(crate) struct MemoryIndex {
    state: RwLock<State>,
}

#[derive(Default, Clone)]
struct State {
    items: BTreeMap<Vec<u8>, Vec<u8>>,
    flushed: BTreeMap<Vec<u8>, Vec<u8>>,
    unflushed: Vec<Vec<IndexWrite>>,
}

impl MemoryIndex {
    /// Forgets everything, durably.
    pub(crate) fn clear(&self) {
        *self.state.write() = State::default();
    }

    /// How many writes a crash may lose.
    pub(crate) fn unflushed(&self) -> usize {
        self.state.read().unflushed.len()
    }

    /// Loses all but the first `kept` writes since the last flush.
    pub(crate) fn crash(&self, kept: usize) {
        let mut state = self.state.write();
        let mut items = std::mem::take(&mut state.flushed);
        for writes in state.unflushed.drain(..).take(kept) {
            apply(&mut items, &writes);
        }
        state.flushed = items.clone();
        state.items = items;
    }
}

fn apply(items: &mut BTreeMap<Vec<u8>, Vec<u8>>, writes: &[IndexWrite]) {
    for write in writes {
        match &write.value {
            Some(value) => items.insert(write.key.clone(), value.clone()),
            None => items.remove(&write.key),
        };
    }
}

impl Index for MemoryIndex {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.state.read().items.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], count_max: usize) -> io::Result<Vec<IndexItem>> {
        if from >= to {
            return Ok(Vec::new());
        }
        let state = self.state.read();
        let range = state.items.range(from.to_vec()..to.to_vec());
        let items = range.take(count_max);
        Ok(items
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn write(&self, writes: &[IndexWrite]) -> io::Result<()> {
        let mut state = self.state.write();
        apply(&mut state.items, writes);
        state.unflushed.push(writes.to_vec());
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.state.write();
        state.flushed = state.items.clone();
        state.unflushed.clear();
        Ok(())
    }
}
