//! What the engine knows of one group's log without asking the disk: vote, first, last, purged and
//! committed positions, and the tail. Every rule about them is here, as plain functions of this state;
//! whoever changes the state submits the matching operation before letting go of its lock.

use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::disk::RawEntry;
use super::error::LogError;
use super::keys::HardKind;
use super::queue::Operation;
use super::tail::{Tail, Ticket};
use crate::records;
use crate::types::{Entry, GroupId, LogId, Vote};

/// One group's log in memory.
#[derive(Debug)]
pub(crate) struct Group {
    id: GroupId,
    state: Mutex<LogState>,
}

/// See [`Group`].
#[derive(Debug, Default)]
pub(crate) struct LogState {
    /// The vote on disk.
    pub(crate) vote: Option<Vote>,
    /// The last committed position that was noted.
    pub(crate) committed: Option<LogId>,
    /// Index of the first entry that readers may see; `None` while the log never had one.
    first: Option<u64>,
    /// Up to where Raft considers the log purged, inclusive.
    pub(crate) purged: Option<LogId>,
    /// Up to where entries were removed from disk. It lags `purged` while the state machine has not
    /// made the entries' effects durable: after a crash they are needed again.
    purged_on_disk: Option<LogId>,
    /// Up to where the state machine's effects are durable.
    flushed: Option<LogId>,
    /// The last entry, or `purged` if that is further.
    pub(crate) last: Option<LogId>,
    tail: Tail,
    next_ticket: Ticket,
    /// Counts the truncations, so that a read can tell that the log changed under it.
    truncations: u64,
    dropped: bool,
}

/// What a read has to fetch: first from disk, then `tail`.
pub(crate) struct ReadPlan {
    /// First index to return.
    pub(crate) from: u64,
    /// First index not to be read from disk; equal to `from` when the tail has everything.
    pub(crate) disk_to: u64,
    /// The entries from `disk_to` on.
    pub(crate) tail: Vec<Entry>,
    truncations: u64,
}

/// Whether the entries that a [`ReadPlan`] found on disk may be used.
pub(crate) enum Checked {
    /// They continue from the returned first index without a hole.
    Valid(Vec<Entry>),
    /// The log was truncated meanwhile: plan again.
    Stale,
}

impl Group {
    /// A group with an empty log.
    pub(crate) fn new(id: GroupId) -> Self {
        Self {
            id,
            state: Mutex::default(),
        }
    }

    /// A group as its hard-state records describe it. `read` fetches entries from disk, to check that
    /// the log ends where its record says.
    pub(crate) fn recover(
        id: GroupId,
        hard: &[(HardKind, Vec<u8>)],
        read: impl Fn(u64, u64) -> io::Result<Vec<RawEntry>>,
    ) -> io::Result<Self> {
        let mut state = LogState::default();
        let mut recorded_last = None;
        for (kind, record) in hard {
            match kind {
                HardKind::Vote => state.vote = Some(records::decode_vote(record)?),
                HardKind::Committed => state.committed = records::decode_log_id(record)?,
                HardKind::Purged => state.purged = records::decode_log_id(record)?,
                HardKind::Last => recorded_last = records::decode_log_id(record)?,
            }
        }
        state.purged_on_disk = state.purged;
        state.last = recorded_last.max(state.purged);
        let after_purged = state.purged.map_or(0, |purged| purged.index + 1);
        if let Some(recorded) = recorded_last.filter(|last| last.index >= after_purged) {
            let inconsistent = |found: String| LogError::Inconsistent {
                group: id,
                found,
                recorded: recorded.to_string(),
            };
            let last = read(recorded.index, u64::MAX)?;
            let [last] = last.as_slice() else {
                return Err(inconsistent(format!("{} entries from there on", last.len())).into());
            };
            let entry = decode(last)?;
            if entry.log_id != recorded {
                return Err(inconsistent(entry.log_id.to_string()).into());
            }
            state.first = read(after_purged, u64::MAX)?
                .first()
                .map(|entry| entry.index);
            if let (Some(purged), Some(first)) = (state.purged, state.first)
                && first != purged.index + 1
            {
                return Err(LogError::Hole {
                    group: id,
                    index: purged.index + 1,
                }
                .into());
            }
        }
        // The committed position is written without a sync of its own, but after the entries it covers.
        state.committed = state.committed.min(state.last);
        Ok(Self {
            id,
            state: Mutex::new(state),
        })
    }

    pub(crate) fn id(&self) -> GroupId {
        self.id
    }

    /// The state, if the group is still there.
    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, LogState>, LogError> {
        let state = self.state.lock();
        if state.dropped {
            return Err(LogError::Dropped(self.id));
        }
        Ok(state)
    }

    /// An append with this ticket, and everything before it, is durable.
    pub(crate) fn append_completed(&self, ticket: Ticket, tail_bytes_max: usize) {
        self.state.lock().tail.completed(ticket, tail_bytes_max);
    }

    /// A vote is durable.
    pub(crate) fn vote_completed(&self, vote: Vote) {
        self.state.lock().vote = Some(vote);
    }

    /// Refuses everything from now on.
    pub(crate) fn mark_dropped(&self) -> Result<(), LogError> {
        self.lock()?.dropped = true;
        Ok(())
    }

    /// Plans a read of `from..to`, limited to about `bytes_max` of the tail.
    pub(crate) fn plan_read(
        &self,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<ReadPlan, LogError> {
        let state = self.lock()?;
        let end = state.last.map_or(0, |last| last.index.saturating_add(1));
        let from = from.max(state.first.unwrap_or(end));
        let to = to.min(end).max(from);
        let disk_to = state.tail.start().unwrap_or(end).clamp(from, to);
        let tail = if disk_to < to {
            state.tail.read(disk_to, to, bytes_max)
        } else {
            Vec::new()
        };
        Ok(ReadPlan {
            from,
            disk_to,
            tail,
            truncations: state.truncations,
        })
    }

    /// Judges what a plan's disk part returned: entries in index order, complete up to the last one.
    pub(crate) fn check_read(
        &self,
        plan: &ReadPlan,
        entries: Vec<Entry>,
        bytes_cut: bool,
    ) -> Result<Checked, LogError> {
        let state = self.lock()?;
        if state.truncations != plan.truncations {
            return Ok(Checked::Stale);
        }
        // A purge meanwhile may have removed the first entries, and only those.
        let first = state.first.unwrap_or(plan.disk_to).max(plan.from);
        let entries: Vec<Entry> = entries
            .into_iter()
            .filter(|entry| entry.log_id.index >= first)
            .collect();
        let mut expected = first;
        for entry in &entries {
            if entry.log_id.index != expected {
                return Err(LogError::Hole {
                    group: self.id,
                    index: expected,
                });
            }
            expected += 1;
        }
        if expected < plan.disk_to && (entries.is_empty() || !bytes_cut) {
            return Err(LogError::Hole {
                group: self.id,
                index: expected,
            });
        }
        Ok(Checked::Valid(entries))
    }
}

/// Decodes an entry and checks that it lies under its own key.
pub(crate) fn decode(raw: &RawEntry) -> io::Result<Entry> {
    let entry = records::decode_entry(&raw.record)?;
    if entry.log_id.index != raw.index {
        let message = format!(
            "log entry {} is stored under index {}",
            entry.log_id, raw.index
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(entry)
}

impl LogState {
    /// Takes entries that continue the log; returns the ticket of the write that must follow.
    pub(crate) fn append(&mut self, group: GroupId, entries: &[Entry]) -> Result<Ticket, LogError> {
        let mut expected = self.last.map(|last| last.index + 1);
        for entry in entries {
            let found = entry.log_id.index;
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                return Err(LogError::NotConsecutive {
                    group,
                    found,
                    expected,
                });
            }
            expected = Some(found + 1);
        }
        self.next_ticket += 1;
        for entry in entries {
            self.first.get_or_insert(entry.log_id.index);
            self.last = Some(entry.log_id);
            self.tail.push(entry.clone(), self.next_ticket);
        }
        Ok(self.next_ticket)
    }

    /// Keeps the log up to `last`, inclusive; returns the write that must follow, if any.
    pub(crate) fn truncate_after(&mut self, last: Option<LogId>) -> Option<Operation> {
        let from = last.map_or(0, |last| last.index + 1);
        if self.last.is_none_or(|current| current.index < from) {
            return None;
        }
        self.truncations += 1;
        self.tail.truncate_from(from);
        self.last = last.max(self.purged);
        if self.first.is_some_and(|first| first >= from) {
            self.first = None;
        }
        Some(Operation::Truncate {
            from,
            last: self.last,
        })
    }

    /// Forgets the log up to `upto`, inclusive; returns the write that must follow, if any.
    pub(crate) fn purge(&mut self, upto: LogId) -> Option<Operation> {
        if self.purged.is_some_and(|purged| purged.index >= upto.index) {
            return None;
        }
        self.purged = Some(upto);
        self.tail.purge_to(upto.index);
        if self.last.is_none_or(|last| last.index <= upto.index) {
            let replaced = self.last.is_none_or(|last| last.index < upto.index);
            self.last = Some(upto);
            self.first = None;
            if replaced {
                // The state came from a snapshot that ends beyond this log, and a snapshot is durable
                // before it replaces anything: nothing in the log is needed again.
                return self.purge_on_disk(upto);
            }
        } else {
            self.first = self.first.map(|first| first.max(upto.index + 1));
        }
        self.purge_flushed()
    }

    /// The state machine's effects up to `flushed` are durable; returns the write that this allows.
    pub(crate) fn set_flushed(&mut self, flushed: Option<LogId>) -> Option<Operation> {
        if flushed <= self.flushed {
            return None;
        }
        self.flushed = flushed;
        self.purge_flushed()
    }

    fn purge_flushed(&mut self) -> Option<Operation> {
        let (purged, flushed) = (self.purged?, self.flushed?);
        self.purge_on_disk(if flushed.index < purged.index {
            flushed
        } else {
            purged
        })
    }

    fn purge_on_disk(&mut self, upto: LogId) -> Option<Operation> {
        let from = match self.purged_on_disk {
            Some(purged) if purged.index >= upto.index => return None,
            Some(purged) => purged.index + 1,
            None => 0,
        };
        self.purged_on_disk = Some(upto);
        Some(Operation::Purge {
            from,
            upto,
            last: self.last,
        })
    }

    /// Up to where the state machine's effects are durable.
    pub(crate) fn flushed(&self) -> Option<LogId> {
        self.flushed
    }

    /// Up to where entries are gone from disk.
    #[cfg(test)]
    pub(crate) fn purged_on_disk(&self) -> Option<LogId> {
        self.purged_on_disk
    }
}

/// A group shared between its handles and the operations in the queue.
pub(crate) type SharedGroup = Arc<Group>;
