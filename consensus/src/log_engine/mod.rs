//! The Raft logs of all groups of a node in one database, with one writer.
//!
//! One thread takes everything that waits, of every group, writes it as one batch, syncs once and then
//! completes the callbacks in the order of submission: the cost of a sync is shared by all who wait,
//! and vote and log of a group are never reordered. Nothing acknowledged is lost by a crash; a torn
//! tail, which was never acknowledged, is cut, while a log that ends before what was synced is refused
//! (`watermark`, which says how sure that is). After the first failed write or sync the engine refuses
//! everything until the process restarts. It knows log entries only as opaque bytes with a log id.

mod disk;
mod disk_record;
mod error;
mod group;
mod group_log;
mod keys;
mod memory;
mod options;
mod probe;
mod queue;
mod rocks;
mod stats;
mod tail;
mod watermark;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

pub use disk_record::{Ballot, DiskRecord};
pub use error::LogError;
pub use memory::{MemoryDisk, MountedDisk};
pub use options::LogOptions;
pub use probe::{ProbeOptions, ProbeReport, probe};
pub use stats::{LATENCY_BUCKETS_MICROS, LogStats};

pub(crate) use group_log::GroupLog;

use crate::blocking_thread::run_blocking;
use crate::crash_point;
use crate::types::GroupId;
use disk::LogDisk;
use group::{Group, SharedGroup};
use keys::HardKind;
use queue::{Operation, Queue};
use rocks::RocksDisk;
use stats::Counters;
use writer::{Poison, Writer};

/// The logs of a node; clones share them. When the last handle goes, what waits is written and synced.
#[derive(Clone)]
pub struct LogEngine {
    engine: Arc<Engine>,
}

/// How operations reach the disk.
enum Drive {
    /// By the writer thread.
    Thread(Mutex<Option<JoinHandle<()>>>),
    /// By whoever submits them, before the submission returns: deterministic, for simulations.
    Inline(Mutex<Writer>),
    /// By a task of the current runtime, woken here: for simulations in which the disk takes time.
    Task(Arc<Notify>),
    /// By [`LogEngine::pump`]: for tests that decide what shares a sync.
    #[cfg(test)]
    Manual(Mutex<Writer>),
}

struct Engine {
    queue: Arc<Queue>,
    disk: Arc<dyn LogDisk>,
    poison: Arc<Poison>,
    counters: Arc<Counters>,
    groups: Mutex<BTreeMap<GroupId, SharedGroup>>,
    drive: Drive,
    options: LogOptions,
}

impl LogEngine {
    /// Opens the logs in `dir`, or creates them there. Blocks.
    ///
    /// Fails if acknowledged data is damaged or missing: such a node has to be replaced, not restarted.
    pub fn open(dir: &Path, options: LogOptions) -> io::Result<Self> {
        crash_point::arm_from_environment();
        let disk: Arc<dyn LogDisk> = Arc::new(RocksDisk::open(dir, &options)?);
        Self::start(disk, options, |writer, queue| {
            let thread = std::thread::Builder::new()
                .name("raft-log".into())
                .spawn(move || writer.run(&queue))?;
            Ok(Drive::Thread(Mutex::new(Some(thread))))
        })
    }

    /// Logs on a disk in memory, without a thread: each change is written and synced before the call
    /// that makes it returns, so that a simulation is deterministic.
    pub fn in_memory(disk: Arc<MemoryDisk>, options: &LogOptions) -> io::Result<Self> {
        Self::start(disk, options.clone(), |writer, _| {
            Ok(Drive::Inline(Mutex::new(writer)))
        })
    }

    /// Logs on a simulated disk that takes time: before each write and before each sync a task of the
    /// current runtime sleeps as long as `latency` says.
    pub fn simulated(
        disk: MountedDisk,
        options: &LogOptions,
        latency: impl Fn() -> Duration + Send + 'static,
    ) -> io::Result<Self> {
        Self::start(Arc::new(disk), options.clone(), |writer, queue| {
            let wake = Arc::new(Notify::new());
            tokio::spawn(writer.run_slowly(queue, wake.clone(), latency));
            Ok(Drive::Task(wake))
        })
    }

    /// Logs on a disk in memory that are written when [`Self::pump`] is called.
    #[cfg(test)]
    pub(crate) fn in_memory_pumped(
        disk: Arc<MemoryDisk>,
        options: &LogOptions,
    ) -> io::Result<Self> {
        Self::start(disk, options.clone(), |writer, _| {
            Ok(Drive::Manual(Mutex::new(writer)))
        })
    }

    fn start(
        disk: Arc<dyn LogDisk>,
        options: LogOptions,
        drive: impl FnOnce(Writer, Arc<Queue>) -> io::Result<Drive>,
    ) -> io::Result<Self> {
        let groups = recover(disk.as_ref())?;
        let queue = Arc::new(Queue::new(&options));
        let poison = Arc::new(Poison::default());
        let counters = Arc::new(Counters::default());
        let writer = Writer {
            disk: disk.clone(),
            poison: poison.clone(),
            counters: counters.clone(),
            tail_bytes_max: options.tail_bytes_max,
            unsynced: false,
        };
        let drive = drive(writer, queue.clone())?;
        let groups = Mutex::new(groups);
        Ok(Self {
            engine: Arc::new(Engine {
                queue,
                disk,
                poison,
                counters,
                groups,
                drive,
                options,
            }),
        })
    }

    /// The log of a group; empty if this node never had it.
    pub(crate) fn group(&self, id: GroupId) -> GroupLog {
        let group = self
            .engine
            .groups
            .lock()
            .entry(id)
            .or_insert_with(|| Arc::new(Group::new(id)))
            .clone();
        GroupLog::new(self.engine.clone(), group)
    }

    /// The groups whose log or vote this node has, and those opened since the start.
    pub fn groups(&self) -> Vec<GroupId> {
        self.engine.groups.lock().keys().copied().collect()
    }

    /// Removes a group's log and vote from this node, durably. Its handles refuse everything from
    /// now on; the caller has stopped the group before.
    pub async fn drop_group(&self, id: GroupId) -> io::Result<()> {
        self.engine.poison.check()?;
        let group = self.engine.groups.lock().get(&id).cloned();
        let Some(group) = group else { return Ok(()) };
        let (done, dropped) = oneshot::channel();
        group.mark_dropped()?;
        self.engine.queue.push(&group, Operation::Drop { done })?;
        self.engine.pump_inline();
        dropped.await.unwrap_or(Err(LogError::Closed))?;
        self.engine.groups.lock().remove(&id);
        Ok(())
    }

    /// Why the log refuses everything, if it does: the node must be restarted.
    pub fn failure(&self) -> Option<LogError> {
        self.engine.poison.check().err()
    }

    /// Returns when the log has failed, and why.
    pub async fn failed(&self) -> LogError {
        let poison = &self.engine.poison;
        loop {
            let failed = poison.failed.notified();
            if let Err(error) = poison.check() {
                return error;
            }
            failed.await;
        }
    }

    /// The counters since the logs were opened.
    pub fn stats(&self) -> LogStats {
        self.engine.counters.read()
    }

    /// How many handles, groups' included, still hold the log open.
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.engine)
    }

    /// Refuses further changes, writes and syncs those that wait, and ends the writer.
    pub async fn close(&self) -> io::Result<()> {
        let engine = self.engine.clone();
        run_blocking(move || engine.close()).await?;
        Ok(self.engine.poison.check()?)
    }

    /// Writes what waits, batch by batch; returns the number of batches. Only after [`Self::in_memory_pumped`].
    #[cfg(test)]
    pub(crate) fn pump(&self) -> usize {
        match &self.engine.drive {
            Drive::Manual(writer) => pump(&mut writer.lock(), &self.engine.queue),
            Drive::Thread(_) | Drive::Inline(_) | Drive::Task(_) => 0,
        }
    }
}

impl Engine {
    fn pump_inline(&self) {
        match &self.drive {
            Drive::Inline(writer) => drop(pump(&mut writer.lock(), &self.queue)),
            Drive::Task(wake) => wake.notify_one(),
            _ => {}
        }
    }

    fn close(&self) {
        self.queue.close();
        match &self.drive {
            Drive::Thread(thread) => {
                // The lock is held through the join, so that a second close waits for the first.
                if let Some(thread) = thread.lock().take()
                    && thread.join().is_err()
                {
                    tracing::error!("the log writer panicked");
                }
            }
            Drive::Inline(writer) => finish(&mut writer.lock(), &self.queue),
            // It ends by itself when it has written what waits.
            Drive::Task(wake) => wake.notify_one(),
            #[cfg(test)]
            Drive::Manual(writer) => finish(&mut writer.lock(), &self.queue),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

fn pump(writer: &mut Writer, queue: &Queue) -> usize {
    let mut batches = 0;
    while let Some(batch) = queue.try_take_batch() {
        writer.commit(batch);
        batches += 1;
    }
    batches
}

fn finish(writer: &mut Writer, queue: &Queue) {
    pump(writer, queue);
    writer.finish();
}

fn recover(disk: &dyn LogDisk) -> io::Result<BTreeMap<GroupId, SharedGroup>> {
    let mut hard: BTreeMap<GroupId, Vec<(HardKind, Vec<u8>)>> = BTreeMap::new();
    for (key, record) in disk.read_hard()? {
        hard.entry(key.group).or_default().push((key.kind, record));
    }
    let mut groups = BTreeMap::new();
    for (id, records) in hard {
        let group = Group::recover(id, &records, |from, to| disk.read_entries(id, from, to, 1))?;
        groups.insert(id, Arc::new(group));
    }
    Ok(groups)
}
