//! The log's only writer. It turns a batch of operations into one disk write and at most one sync, then
//! completes them in the order of their submission. After the first failure it writes nothing any more:
//! what the failed batch left on disk is unknown, and a retried sync may report success for lost data.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use super::disk::{DiskWrite, LogDisk};
use super::error::LogError;
use super::keys::{HardKey, HardKind, LogKey};
use super::queue::{Operation, Queue, Queued};
use super::stats::Counters;
use crate::crash_point::{CrashPoint, crash_point};
use crate::{mutant, records};

/// Set once, by the first failure; from then on the log refuses everything.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    reason: OnceLock<String>,
    /// Tells those who wait for it.
    pub(crate) failed: Notify,
}

impl Poison {
    /// The refusal, if there was a failure.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        match self.reason.get() {
            None => Ok(()),
            Some(reason) => Err(LogError::Poisoned {
                reason: reason.clone(),
            }),
        }
    }

    fn set(&self, error: &io::Error) {
        if self.reason.set(error.to_string()).is_ok() {
            tracing::error!(%error, "log storage failed: this node stops writing its log and must be restarted");
            self.failed.notify_waiters();
        }
    }
}

/// Entries of a new cluster's first membership and contents: a group that loses these has no voters left that could
/// show what else is missing.
const FOUNDING_ENTRIES: u64 = 100;

/// Whether a deliberate bug leaves an operation without the sync that someone waits for.
fn is_left_unsynced(operation: &Operation) -> bool {
    match operation {
        Operation::Append { entries, .. } => {
            mutant::has("reply-before-fsync")
                && entries
                    .first()
                    .is_some_and(|entry| entry.log_id.index > FOUNDING_ENTRIES)
        }
        Operation::Vote { .. } => mutant::has("vote-before-fsync"),
        _ => false,
    }
}

/// Writes batches; see the module.
pub(crate) struct Writer {
    pub(crate) disk: Arc<dyn LogDisk>,
    pub(crate) poison: Arc<Poison>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) tail_bytes_max: usize,
    /// Whether something was written since the last sync.
    pub(crate) unsynced: bool,
}

impl Writer {
    /// Writes batches until the queue is closed and empty, then syncs what is left.
    pub(crate) fn run(mut self, queue: &Queue) {
        while let Some(batch) = queue.take_batch() {
            self.commit(batch);
        }
        self.finish();
    }

    /// Makes everything written durable, at the end.
    pub(crate) fn finish(&mut self) {
        if self.unsynced && self.poison.check().is_ok() {
            match self.disk.sync() {
                Ok(()) => self.unsynced = false,
                Err(error) => self.poison.set(&error),
            }
        }
    }

    /// Writes one batch and completes its operations.
    pub(crate) fn commit(&mut self, batch: Vec<Queued>) {
        let written = self.write(&batch);
        let result = written.and_then(|()| self.sync(&batch));
        self.conclude(batch, &result);
    }

    /// Like [`Self::run`], on a disk that takes as long as `latency` says.
    pub(crate) async fn run_slowly(
        mut self,
        queue: Arc<Queue>,
        wake: Arc<Notify>,
        latency: impl Fn() -> Duration + Send + 'static,
    ) {
        loop {
            while let Some(batch) = queue.try_take_batch() {
                tokio::time::sleep(latency()).await;
                let written = self.write(&batch);
                if batch.iter().any(|queued| queued.operation.needs_sync()) {
                    tokio::time::sleep(latency()).await;
                }
                let result = written.and_then(|()| self.sync(&batch));
                self.conclude(batch, &result);
            }
            if queue.is_closed() {
                return self.finish();
            }
            wake.notified().await;
        }
    }

    fn write(&mut self, batch: &[Queued]) -> Result<(), LogError> {
        self.poison.check()?;
        self.try_write(batch).map_err(|error| self.failed(&error))
    }

    fn sync(&mut self, batch: &[Queued]) -> Result<(), LogError> {
        self.try_sync(batch).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> LogError {
        self.poison.set(error);
        LogError::Poisoned {
            reason: error.to_string(),
        }
    }

    fn conclude(&self, batch: Vec<Queued>, result: &Result<(), LogError>) {
        for queued in batch {
            self.complete(queued, result.clone());
        }
    }

    fn try_write(&mut self, batch: &[Queued]) -> io::Result<()> {
        let mut writes = Vec::with_capacity(2 * batch.len());
        let (mut appends, mut votes, mut purges) = (false, false, false);
        for queued in batch {
            self.encode(queued, &mut writes)?;
            appends |= matches!(queued.operation, Operation::Append { .. });
            votes |= matches!(queued.operation, Operation::Vote { .. });
            purges |= matches!(queued.operation, Operation::Purge { .. });
        }
        Counters::add(&self.counters.operations, batch.len());

        crash_point(CrashPoint::AppendBeforeWrite, appends);
        crash_point(CrashPoint::VoteBeforeWrite, votes);
        crash_point(CrashPoint::PurgeBeforeWrite, purges);
        if !writes.is_empty() {
            let started = Instant::now();
            self.disk.write(&writes)?;
            self.counters.write_took(started.elapsed());
            self.unsynced = true;
        }
        crash_point(CrashPoint::PurgeAfterWrite, purges);
        Ok(())
    }

    fn try_sync(&mut self, batch: &[Queued]) -> io::Result<()> {
        let any =
            |wanted: fn(&Operation) -> bool| batch.iter().any(|queued| wanted(&queued.operation));
        let appends = any(|operation| matches!(operation, Operation::Append { .. }));
        let votes = any(|operation| matches!(operation, Operation::Vote { .. }));
        crash_point(CrashPoint::AppendBeforeSync, appends);
        crash_point(CrashPoint::VoteBeforeSync, votes);
        let must_sync = batch
            .iter()
            .any(|queued| queued.operation.needs_sync() && !is_left_unsynced(&queued.operation));
        if self.unsynced && must_sync {
            let started = Instant::now();
            self.disk.sync()?;
            self.counters.sync_took(started.elapsed());
            self.unsynced = false;
        }
        crash_point(CrashPoint::AppendAfterSync, appends);
        crash_point(CrashPoint::VoteAfterSync, votes);
        Ok(())
    }

    fn encode(&self, queued: &Queued, writes: &mut Vec<DiskWrite>) -> io::Result<()> {
        let group = queued.group.id();
        let hard = |kind| HardKey { group, kind };
        match &queued.operation {
            Operation::Append { entries, .. } => {
                let mut bytes = 0;
                for entry in entries {
                    let record = records::encode_entry(entry)?;
                    bytes += record.len();
                    let key = LogKey {
                        group,
                        index: entry.log_id.index,
                    };
                    writes.push(DiskWrite::PutEntry(key, Bytes::from(record)));
                }
                Counters::add(&self.counters.entries, entries.len());
                Counters::add(&self.counters.entry_bytes, bytes);
                if let Some(last) = entries.last() {
                    let record = records::encode_log_id(Some(&last.log_id))?;
                    writes.push(DiskWrite::PutHard(hard(HardKind::Last), record));
                }
            }
            Operation::Vote { vote, .. } => {
                writes.push(DiskWrite::PutHard(
                    hard(HardKind::Vote),
                    records::encode_vote(vote)?,
                ));
            }
            Operation::Truncate { from, last } => {
                writes.push(DiskWrite::DeleteEntries {
                    group,
                    from: *from,
                    to: None,
                });
                writes.push(DiskWrite::PutHard(
                    hard(HardKind::Last),
                    records::encode_log_id(last.as_ref())?,
                ));
            }
            Operation::Purge { from, upto, last } => {
                writes.push(DiskWrite::DeleteEntries {
                    group,
                    from: *from,
                    to: upto.index.checked_add(1),
                });
                writes.push(DiskWrite::PutHard(
                    hard(HardKind::Purged),
                    records::encode_log_id(Some(upto))?,
                ));
                writes.push(DiskWrite::PutHard(
                    hard(HardKind::Last),
                    records::encode_log_id(last.as_ref())?,
                ));
            }
            Operation::Committed { log_id } => {
                writes.push(DiskWrite::PutHard(
                    hard(HardKind::Committed),
                    records::encode_log_id(log_id.as_ref())?,
                ));
            }
            Operation::Drop { .. } => writes.push(DiskWrite::DropGroup(group)),
            Operation::Barrier { .. } => {}
        }
        Ok(())
    }

    fn complete(&self, queued: Queued, result: Result<(), LogError>) {
        match queued.operation {
            Operation::Append {
                ticket,
                callback,
                room,
                ..
            } => {
                if result.is_ok() {
                    queued.group.append_completed(ticket, self.tail_bytes_max);
                }
                drop(room);
                callback.io_completed(result.map_err(io::Error::from));
            }
            Operation::Vote { vote, done, room } => {
                if result.is_ok() {
                    queued.group.vote_completed(vote);
                }
                drop(room);
                // A receiver that is gone has stopped waiting; the vote is durable all the same.
                let _ = done.send(result);
            }
            Operation::Drop { done } | Operation::Barrier { done } => {
                let _ = done.send(result);
            }
            Operation::Truncate { .. } | Operation::Purge { .. } | Operation::Committed { .. } => {}
        }
    }
}
