//! A log disk in memory with the semantics of a real one, for simulations and tests: what is written
//! is readable, what is synced survives [`MemoryDisk::crash`], and failures come when told to.
//!
//! It stands for RocksDB with a write-ahead log of checksummed records: after a loss of power each
//! sector that was not synced is there or not, a record of which a sector is missing fails its checksum,
//! and recovery keeps the records before the first such one. A bit that flips later is noticed by
//! whoever reads the block, as an error.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::disk::{DiskWrite, LogDisk, RawEntry};
use super::disk_record::{self, DiskRecord};
use super::keys::{HardKey, LogKey};
use crate::types::GroupId;

/// What a device writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// Header and checksum of a record of the write-ahead log.
const RECORD_OVERHEAD_BYTES: usize = 24;

#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) entries: BTreeMap<LogKey, Bytes>,
    pub(super) hard: BTreeMap<HardKey, Vec<u8>>,
}

impl Content {
    fn apply(&mut self, write: &DiskWrite) {
        match write {
            DiskWrite::PutEntry(key, record) => {
                self.entries.insert(*key, record.clone());
            }
            DiskWrite::DeleteEntries { group, from, to } => {
                for key in self.keys(*group, *from, to.unwrap_or(u64::MAX)) {
                    self.entries.remove(&key);
                }
                if to.is_none() {
                    let (group, index) = (*group, u64::MAX);
                    self.entries.remove(&LogKey { group, index });
                }
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

    fn keys(&self, group: GroupId, from: u64, to: u64) -> Vec<LogKey> {
        if from >= to {
            return Vec::new();
        }
        let range = LogKey { group, index: from }..LogKey { group, index: to };
        self.entries.range(range).map(|(key, _)| *key).collect()
    }
}

#[derive(Debug, Default)]
struct State {
    durable: Content,
    visible: Content,
    /// Batches written since the last sync; a crash keeps a prefix of them.
    unsynced: Vec<Vec<DiskWrite>>,
    /// Bytes of the write-ahead log before the first unsynced batch.
    synced_bytes: usize,
    syncs: u64,
    fail_sync_at: Option<u64>,
    /// Reads of entries that fail from now on.
    failing_reads: u32,
    /// Entries whose block has a flipped bit.
    damaged: BTreeSet<LogKey>,
    /// Syncs succeed and make nothing durable.
    lying: bool,
    /// The power cycles so far: what was mounted in an earlier one is dead.
    cycles: u64,
    off: bool,
    /// What was written, when somebody wants to know.
    records: Option<Vec<DiskRecord>>,
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
        state.synced_bytes += unsynced
            .iter()
            .take(kept)
            .map(|b| log_bytes(b))
            .sum::<usize>();
        state.visible = state.durable.clone();
        state.off = false;
        state.fail_sync_at = None;
        state.failing_reads = 0;
        state.cycles += 1;
    }

    /// Like [`Self::crash`]; `survives` says of each sector that was not synced whether it is there.
    /// Returns how many batches were whole.
    pub fn crash_tearing(&self, mut survives: impl FnMut() -> bool) -> usize {
        let kept = {
            let state = self.state.lock();
            let ends = state
                .unsynced
                .iter()
                .scan(state.synced_bytes, |end, batch| {
                    *end += log_bytes(batch);
                    Some(*end)
                });
            let ends: Vec<usize> = ends.collect();
            let first = state.synced_bytes / SECTOR_BYTES;
            let last = ends.last().map_or(first, |end| end.div_ceil(SECTOR_BYTES));
            let torn = (first..last).find(|_| !survives());
            let whole = torn.map_or(usize::MAX, |sector| sector * SECTOR_BYTES);
            ends.iter().filter(|end| **end <= whole).count()
        };
        self.crash(kept);
        kept
    }

    /// The disk as one run of a process has it: dead after the next crash.
    pub fn mount(self: &Arc<Self>) -> MountedDisk {
        let cycle = self.state.lock().cycles;
        MountedDisk {
            disk: self.clone(),
            cycle,
        }
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

    /// Makes every sync a lie from now on: it succeeds and nothing is durable. To prove that a test of
    /// durability can fail.
    pub fn lie_about_syncs(&self) {
        self.state.lock().lying = true;
    }

    /// Makes the next `count` reads of entries fail.
    pub fn fail_reads(&self, count: u32) {
        self.state.lock().failing_reads = count;
    }

    /// Takes back the failures that were ordered and have not happened.
    pub fn clear_failures(&self) {
        let mut state = self.state.lock();
        state.fail_sync_at = None;
        state.failing_reads = 0;
    }

    /// Flips a bit in the block of a durable entry of `group`; `choose` gets their number and picks one.
    /// Returns the entry's index, `None` when there is none.
    pub fn damage_entry(&self, group: GroupId, choose: impl FnOnce(usize) -> usize) -> Option<u64> {
        let mut state = self.state.lock();
        let keys = state.durable.keys(group, 0, u64::MAX);
        let key = *keys.get(choose(keys.len().max(1)))?;
        state.damaged.insert(key);
        Some(key.index)
    }

    /// Remembers from now on what is written.
    pub fn record_writes(&self) {
        self.state.lock().records.get_or_insert_default();
    }

    /// What was written since the last call.
    pub fn take_records(&self) -> Vec<DiskRecord> {
        let mut state = self.state.lock();
        state
            .records
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }
}

/// Room of a batch in the write-ahead log.
fn log_bytes(batch: &[DiskWrite]) -> usize {
    let payload = batch.iter().map(|write| match write {
        DiskWrite::PutEntry(_, record) => record.len() + LogKey::BYTES + 2,
        DiskWrite::PutHard(_, record) => record.len() + HardKey::BYTES + 2,
        DiskWrite::DeleteEntries { .. } | DiskWrite::DropGroup(_) => 2 * LogKey::BYTES + 2,
    });
    RECORD_OVERHEAD_BYTES + payload.sum::<usize>()
}

impl State {
    fn write(&mut self, writes: &[DiskWrite]) -> io::Result<()> {
        if self.off {
            return Err(io::Error::other("simulated loss of power"));
        }
        for write in writes {
            if let Some(records) = &mut self.records {
                records.extend(disk_record::describe(write, &self.visible)?);
            }
            if let DiskWrite::PutEntry(key, _) = write {
                self.damaged.remove(key);
            }
            self.visible.apply(write);
        }
        self.unsynced.push(writes.to_vec());
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.off || self.fail_sync_at.is_some_and(|at| self.syncs >= at) {
            return Err(io::Error::other("injected sync failure"));
        }
        self.syncs += 1;
        if self.lying {
            return Ok(());
        }
        for batch in std::mem::take(&mut self.unsynced) {
            self.synced_bytes += log_bytes(&batch);
            for write in &batch {
                self.durable.apply(write);
            }
        }
        Ok(())
    }

    fn read_entries(
        &mut self,
        group: GroupId,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> io::Result<Vec<RawEntry>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        if from >= to {
            return Ok(entries);
        }
        if self.failing_reads > 0 {
            self.failing_reads -= 1;
            return Err(io::Error::other("injected read failure"));
        }
        let range = LogKey { group, index: from }..LogKey { group, index: to };
        for (key, record) in self.visible.entries.range(range) {
            if self.damaged.contains(key) {
                let message = "simulated block checksum mismatch";
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
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

    fn read_hard(&self) -> Vec<(HardKey, Vec<u8>)> {
        let records = self.visible.hard.iter();
        records
            .map(|(key, record)| (*key, record.clone()))
            .collect()
    }
}

impl LogDisk for MemoryDisk {
    fn write(&self, writes: &[DiskWrite]) -> io::Result<()> {
        self.state.lock().write(writes)
    }

    fn sync(&self) -> io::Result<()> {
        self.state.lock().sync()
    }

    fn read_entries(
        &self,
        group: GroupId,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> io::Result<Vec<RawEntry>> {
        self.state.lock().read_entries(group, from, to, bytes_max)
    }

    fn read_hard(&self) -> io::Result<Vec<(HardKey, Vec<u8>)>> {
        Ok(self.state.lock().read_hard())
    }

    fn reads_block(&self) -> bool {
        false
    }
}

/// A [`MemoryDisk`] in the hands of one run of a process. After the next crash it refuses everything,
/// so that what is left of the process that was killed does no harm.
#[derive(Debug)]
pub struct MountedDisk {
    disk: Arc<MemoryDisk>,
    cycle: u64,
}

impl MountedDisk {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state.lock();
        if state.cycles != self.cycle {
            return Err(io::Error::other(
                "the process that had this disk was killed",
            ));
        }
        Ok(state)
    }
}

impl LogDisk for MountedDisk {
    fn write(&self, writes: &[DiskWrite]) -> io::Result<()> {
        self.state()?.write(writes)
    }

    fn sync(&self) -> io::Result<()> {
        self.state()?.sync()
    }

    fn read_entries(
        &self,
        group: GroupId,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> io::Result<Vec<RawEntry>> {
        self.state()?.read_entries(group, from, to, bytes_max)
    }

    fn read_hard(&self) -> io::Result<Vec<(HardKey, Vec<u8>)>> {
        Ok(self.state()?.read_hard())
    }

    fn reads_block(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::HardKind;
    use super::*;

    const GROUP: GroupId = GroupId(3);

    fn record(bytes: usize) -> Vec<DiskWrite> {
        let kind = HardKind::Vote;
        vec![DiskWrite::PutHard(
            HardKey { group: GROUP, kind },
            vec![bytes as u8; bytes],
        )]
    }

    fn kept(disk: &MemoryDisk) -> Option<usize> {
        let hard = disk.read_hard().unwrap();
        hard.first().map(|(_, record)| record.len())
    }

    /// Three batches of one sector, two sectors and one more sector.
    fn unsynced() -> MemoryDisk {
        let disk = MemoryDisk::default();
        for bytes in [450, 1000, 200] {
            disk.write(&record(bytes)).unwrap();
        }
        disk
    }

    #[test]
    fn a_crash_keeps_the_batches_before_the_first_torn_one() {
        for (lost_sector, whole, last) in [
            (0, 0, None),
            (1, 1, Some(450)),
            (2, 1, Some(450)),
            (3, 2, Some(1000)),
            (4, 3, Some(200)),
        ] {
            let disk = unsynced();
            let mut sector = 0;
            let survives = || {
                sector += 1;
                sector - 1 != lost_sector
            };
            assert_eq!(disk.crash_tearing(survives), whole, "sector {lost_sector}");
            assert_eq!(kept(&disk), last, "sector {lost_sector}");
        }
        let disk = unsynced();
        disk.sync().unwrap();
        assert_eq!(disk.crash_tearing(|| false), 0);
        assert_eq!(kept(&disk), Some(200), "what is synced survives");
    }

    #[test]
    fn a_killed_process_cannot_touch_the_disk() {
        let disk = Arc::new(MemoryDisk::default());
        let before = disk.mount();
        before.write(&record(10)).unwrap();
        before.sync().unwrap();
        disk.crash(0);
        assert!(before.write(&record(20)).is_err() && before.sync().is_err());
        assert!(before.read_hard().is_err());
        assert_eq!(disk.mount().read_hard().unwrap()[0].1.len(), 10);
    }
}
