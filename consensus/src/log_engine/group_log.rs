//! A group's view of the shared log, in the shape that openraft asks for.
//!
//! `append` returns once its entries are readable; its callback fires once they are on disk. A vote is
//! on disk when `save_vote` returns. Both, and everything else that changes the log, pass through one
//! queue and are never reordered. Reads see what was appended at once, from memory where possible.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures::stream;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use super::Engine;
use super::error::LogError;
use super::group::{Checked, Group, SharedGroup, decode};
use super::queue::Operation;
use super::stats::Counters;
use super::tail::entry_cost_bytes;
use crate::blocking_thread::run_blocking;
use crate::mutant;
use crate::types::{Entry, GroupId, LogId, TypeConfig, Vote};

/// Handle of one group's log; clones share it.
#[derive(Clone)]
pub(crate) struct GroupLog {
    engine: Arc<Engine>,
    pub(super) group: SharedGroup,
}

impl GroupLog {
    pub(super) fn new(engine: Arc<Engine>, group: Arc<Group>) -> Self {
        Self { engine, group }
    }

    /// The group.
    pub(crate) fn id(&self) -> GroupId {
        self.group.id()
    }

    /// Tells the log that the state machine's effects up to `flushed` are durable, so that purged
    /// entries up to there may leave the disk.
    pub(crate) fn set_flushed(&self, flushed: Option<LogId>) -> io::Result<()> {
        self.change(|state| state.set_flushed(flushed))
    }

    /// Brings the log up to a state machine that was found ahead of it after a restart.
    ///
    /// That happens rightly: a snapshot was installed and the purge after it was lost, or the entries
    /// were committed by the other replicas and flushed by the state before this log was synced. The
    /// state holds committed entries only, so whatever the log has instead is superseded. openraft does
    /// the same, but compares by term first and so misses a log that ends earlier in a later term, and
    /// refuses to start on a log whose entries contradict the state: their truncation was lost with the
    /// entries that took their place, after the state that came of those was flushed. Blocks.
    pub(crate) fn catch_up_to(&self, applied: LogId) -> io::Result<()> {
        if self.contradicts(applied)? {
            tracing::warn!(group = %self.id(), %applied, "dropping log entries that committed ones took the place of");
            self.change(|state| state.truncate_after(state.purged))?;
        }
        self.change(|state| {
            let behind = state.last.is_none_or(|last| last.index < applied.index);
            if behind { state.purge(applied) } else { None }
        })
    }

    /// Whether another entry than `applied` stands at its index.
    fn contradicts(&self, applied: LogId) -> io::Result<bool> {
        let next = applied.index.saturating_add(1);
        let plan = self.group.plan_read(applied.index, next, usize::MAX)?;
        let entry = if plan.from < plan.disk_to {
            let disk = &self.engine.disk;
            let raw = disk.read_entries(self.id(), plan.from, plan.disk_to, 1)?;
            raw.first().map(decode).transpose()?
        } else {
            plan.tail.into_iter().next()
        };
        Ok(entry
            .is_some_and(|entry| entry.log_id.index == applied.index && entry.log_id != applied))
    }

    /// Up to where the state machine's effects are durable.
    pub(crate) fn flushed(&self) -> io::Result<Option<LogId>> {
        Ok(self.group.lock()?.flushed())
    }

    /// Returns when every change submitted before is durable.
    pub(crate) async fn sync(&self) -> io::Result<()> {
        let (done, synced) = oneshot::channel();
        self.change(|_| Some(Operation::Barrier { done }))?;
        Ok(wait(synced).await?)
    }

    /// Changes the state and submits the operation that makes the change durable, as one step.
    fn change(
        &self,
        change: impl FnOnce(&mut super::group::LogState) -> Option<Operation>,
    ) -> io::Result<()> {
        self.engine.poison.check()?;
        let mut state = self.group.lock()?;
        if let Some(operation) = change(&mut state) {
            self.engine.queue.push(&self.group, operation)?;
        }
        drop(state);
        self.engine.pump_inline();
        Ok(())
    }

    /// Entries in `from..to`; with a limit at least one of them, if there is one, and not many more
    /// than `bytes_max`.
    async fn read(&self, from: u64, to: u64, bytes_max: Option<usize>) -> io::Result<Vec<Entry>> {
        let limit = bytes_max.unwrap_or(usize::MAX);
        loop {
            self.engine.poison.check()?;
            let mut plan = self.group.plan_read(from, to, limit)?;
            if plan.disk_to == plan.from {
                Counters::add(&self.engine.counters.tail_reads, plan.tail.len());
                return Ok(plan.tail);
            }
            let entries = self.read_disk(plan.from, plan.disk_to, limit).await?;
            let bytes: usize = entries.iter().map(entry_cost_bytes).sum();
            let Checked::Valid(mut entries) =
                self.group.check_read(&plan, entries, bytes_max.is_some())?
            else {
                continue;
            };
            Counters::add(&self.engine.counters.disk_reads, entries.len());
            let complete = entries
                .last()
                .is_none_or(|last| last.log_id.index + 1 == plan.disk_to);
            if complete && bytes < limit {
                Counters::add(&self.engine.counters.tail_reads, plan.tail.len());
                entries.append(&mut plan.tail);
            }
            return Ok(entries);
        }
    }

    async fn read_disk(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let disk = self.engine.disk.clone();
        let group = self.id();
        let read = move || {
            disk.read_entries(group, from, to, bytes_max)?
                .iter()
                .map(decode)
                .collect()
        };
        if self.engine.disk.reads_block() {
            run_blocking(read).await?
        } else {
            read()
        }
    }
}

async fn wait(done: oneshot::Receiver<Result<(), LogError>>) -> Result<(), LogError> {
    // The writer answers everything that it takes; it goes away only when the engine is closed.
    done.await.unwrap_or(Err(LogError::Closed))
}

fn bounds(range: impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

/// A stream of entries that reads ahead one bounded piece at a time.
struct EntryStream {
    log: GroupLog,
    next: u64,
    to: u64,
    ready: VecDeque<Entry>,
}

impl EntryStream {
    async fn advance(mut self) -> io::Result<Option<(Entry, Self)>> {
        if self.ready.is_empty() && self.next < self.to {
            let limit = self.log.engine.options.read_bytes_max;
            self.ready = self.log.read(self.next, self.to, Some(limit)).await?.into();
        }
        let Some(entry) = self.ready.pop_front() else {
            return Ok(None);
        };
        self.next = entry.log_id.index + 1;
        Ok(Some((entry, self)))
    }
}

impl RaftLogReader<TypeConfig> for GroupLog {
    /// Not limited in bytes, since the contract forbids to stop early: callers bound the range. Long
    /// ranges are read through the stream or the limited read below.
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (from, to) = bounds(range);
        self.read(from, to, None).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        if mutant::has("forget-vote") {
            return Ok(None);
        }
        Ok(self.group.lock()?.vote)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, Some(self.engine.options.read_bytes_max))
            .await
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl futures::Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (next, to) = bounds(range);
        let start = EntryStream {
            log: self.clone(),
            next,
            to,
            ready: VecDeque::new(),
        };
        Box::pin(stream::try_unfold(start, EntryStream::advance))
    }
}

impl RaftLogStorage<TypeConfig> for GroupLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.group.lock()?;
        Ok(LogState {
            last_purged_log_id: state.purged,
            last_log_id: state.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let room = self.engine.queue.room(size_of::<Vote>()).await?;
        let (done, saved) = oneshot::channel();
        let vote = *vote;
        self.change(|_| Some(Operation::Vote { vote, done, room }))?;
        Ok(wait(saved).await?)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.change(|state| {
            state.committed = committed;
            Some(Operation::Committed { log_id: committed })
        })
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.group.lock()?.committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let room = self
            .engine
            .queue
            .room(entries.iter().map(entry_cost_bytes).sum())
            .await?;
        self.engine.poison.check()?;
        let mut state = self.group.lock()?;
        let ticket = state.append(self.id(), &entries)?;
        self.engine.queue.push(
            &self.group,
            Operation::Append {
                entries,
                ticket,
                callback,
                room,
            },
        )?;
        drop(state);
        self.engine.pump_inline();
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.change(|state| state.truncate_after(last_log_id))
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.change(|state| state.purge(log_id))
    }
}
