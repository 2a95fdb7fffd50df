//! A log disk in memory with the semantics of a real one, for simulations and tests: what is written
//! is readable, what is synced survives [`MemoryDisk::crash`], and failures come when told to.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use parking_lot::Mutex;

use super::disk::{DiskWrite, LogDisk, RawEntry};
use super::keys::{HardKey, LogKey};
use crate::types::GroupId;

#[derive(Debug, Clone, Default)]
struct Content {
    entries: BTreeMap<LogKey, Bytes>,
    hard: BTreeMap<HardKey, Vec<u8>>,
}

impl Content {
    fn apply(&mut self, write: &DiskWrite) {
        match write {
            DiskWrite::PutEntry(key, record) => {
                self.entries.insert(*key, record.clone());
            }
            DiskWrite::DeleteEntries { group, from, to } => {
                self.entries.retain(|key, _| {
                    key.group != *group || key.index < *from || to.is_some_and(|to| key.index >= to)
                });
            }
            DiskWrite::PutHard(key, record) => {
                self.hard.insert(*key, record.clone());
            }
            DiskWrite::DropGroup(group) => {
                self.entries.retain(|key, _| key.group != *group);
                self.hard.retain(|key, _| key.group != *group);
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    durable: Content,
    visible: Content,
    /// Batches written since the last sync; a crash keeps a prefix of them.
    unsynced: Vec<Vec<DiskWrite>>,
    syncs: u64,
    fail_sync_at: Option<u64>,
    off: bool,
}

/// The disk. Shared by clones of its `Arc` with the test that breaks it.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    state: Mutex<State>,
}

impl MemoryDisk {
    /// From now on every write and sync fails, until [`Self::crash`] ends it.
    pub fn power_off(&self) {
        self.state.lock().off = true;
    }

    /// Comes back from a loss of power: of the batches since the last sync the first `kept` survived,
    /// the rest are gone. Injected failures are over.
    pub fn crash(&self, kept: usize) {
        let mut state = self.state.lock();
        let unsynced = std::mem::take(&mut state.unsynced);
        for write in unsynced.iter().take(kept).flatten() {
            state.durable.apply(write);
        }
        state.visible = state.durable.clone();
        state.off = false;
        state.fail_sync_at = None;
    }

    /// Number of batches that a crash may lose.
    pub fn unsynced_batches(&self) -> usize {
        self.state.lock().unsynced.len()
    }

    /// Number of syncs so far.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// Makes the sync after `succeeding` more ones fail, and every one after it.
    pub fn fail_sync_after(&self, succeeding: u64) {
        let mut state = self.state.lock();
        state.fail_sync_at = Some(state.syncs + succeeding);
    }
}

impl LogDisk for MemoryDisk {
    fn write(&self, writes: &[DiskWrite]) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.off {
            return Err(io::Error::other("simulated loss of power"));
        }
        for write in writes {
            state.visible.apply(write);
        }
        state.unsynced.push(writes.to_vec());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.off || state.fail_sync_at.is_some_and(|at| state.syncs >= at) {
            return Err(io::Error::other("injected sync failure"));
        }
        state.syncs += 1;
        state.unsynced.clear();
        state.durable = state.visible.clone();
        Ok(())
    }

    fn read_entries(
        &self,
        group: GroupId,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> io::Result<Vec<RawEntry>> {
        let state = self.state.lock();
        let mut entries = Vec::new();
        let mut bytes = 0;
        if from >= to {
            return Ok(entries);
        }
        for (key, record) in state
            .visible
            .entries
            .range(LogKey { group, index: from }..LogKey { group, index: to })
        {
            entries.push(RawEntry {
                index: key.index,
                record: record.clone(),
            });
            bytes += record.len();
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(entries)
    }

    fn read_hard(&self) -> io::Result<Vec<(HardKey, Vec<u8>)>> {
        Ok(self
            .state
            .lock()
            .visible
            .hard
            .iter()
            .map(|(key, record)| (*key, record.clone()))
            .collect())
    }

    fn reads_block(&self) -> bool {
        false
    }
}
