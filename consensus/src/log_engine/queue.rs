//! The queue in front of the log writer: every change of every group's log and vote passes through it,
//! in the order in which it was submitted, and none overtakes another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::IOFlushed;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::error::LogError;
use super::group::Group;
use super::options::LogOptions;
use super::tail::Ticket;
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// Room taken in the queue; given back when the operation is completed.
#[derive(Debug)]
pub(crate) struct Room {
    _bytes: OwnedSemaphorePermit,
    _operation: OwnedSemaphorePermit,
}

/// One change, waiting to be written.
pub(crate) enum Operation {
    /// Entries that continue the group's log. Synced.
    Append {
        entries: Vec<Entry>,
        ticket: Ticket,
        callback: IOFlushed<TypeConfig>,
        room: Room,
    },
    /// A vote. Synced.
    Vote {
        vote: Vote,
        done: oneshot::Sender<Result<(), LogError>>,
        room: Room,
    },
    /// Removes the entries from an index on. Durable with the next append at the latest, which is all
    /// that Raft asks for: until then the old entries only reappear as what they were, uncommitted.
    Truncate { from: u64, last: Option<LogId> },
    /// Removes the entries up to a log id. Not synced: what reappears is merely old.
    Purge {
        from: u64,
        upto: LogId,
        last: Option<LogId>,
    },
    /// Notes a committed position. Not synced: it may lag.
    Committed { log_id: Option<LogId> },
    /// Removes the group. Synced.
    Drop {
        done: oneshot::Sender<Result<(), LogError>>,
    },
    /// Changes nothing; done when everything before it is durable.
    Barrier {
        done: oneshot::Sender<Result<(), LogError>>,
    },
}

impl Operation {
    /// Whether someone waits for its durability.
    pub(crate) fn needs_sync(&self) -> bool {
        match self {
            Self::Append { .. } | Self::Vote { .. } | Self::Drop { .. } | Self::Barrier { .. } => {
                true
            }
            Self::Truncate { .. } | Self::Purge { .. } | Self::Committed { .. } => false,
        }
    }

    fn entry_bytes(&self) -> usize {
        match self {
            Self::Append { entries, .. } => entries.iter().map(super::tail::entry_cost_bytes).sum(),
            _ => 0,
        }
    }
}

/// An operation and the group it belongs to.
pub(crate) struct Queued {
    pub(crate) group: Arc<Group>,
    pub(crate) operation: Operation,
}

#[derive(Default)]
struct Waiting {
    operations: VecDeque<Queued>,
    /// Operations in the queue that need a sync: only they wake the writer.
    urgent: usize,
    closed: bool,
}

/// The queue.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    bytes: Arc<Semaphore>,
    bytes_max: u32,
    operations: Arc<Semaphore>,
    batch_bytes_max: usize,
    batch_ops_max: usize,
    lazy_write_delay: Duration,
}

impl Queue {
    pub(crate) fn new(options: &LogOptions) -> Self {
        Self {
            waiting: Mutex::default(),
            wake: Condvar::new(),
            bytes: Arc::new(Semaphore::new(options.queue_bytes_max as usize)),
            bytes_max: options.queue_bytes_max,
            operations: Arc::new(Semaphore::new(options.queue_ops_max as usize)),
            batch_bytes_max: options.batch_bytes_max,
            batch_ops_max: options.batch_ops_max,
            lazy_write_delay: options.lazy_write_delay,
        }
    }

    /// Waits until the queue has room for an operation of `bytes`. One larger than the whole queue
    /// waits until the queue is empty and then passes alone.
    pub(crate) async fn room(&self, bytes: usize) -> Result<Room, LogError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        let closed = |_| LogError::Closed;
        Ok(Room {
            _bytes: self
                .bytes
                .clone()
                .acquire_many_owned(bytes)
                .await
                .map_err(closed)?,
            _operation: self
                .operations
                .clone()
                .acquire_owned()
                .await
                .map_err(closed)?,
        })
    }

    /// Adds an operation. The caller holds the lock of the group's state, so that the order of a
    /// group's operations here is the order in which its state changed.
    pub(crate) fn push(&self, group: &Arc<Group>, operation: Operation) -> Result<(), LogError> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(LogError::Closed);
        }
        let urgent = operation.needs_sync();
        waiting.operations.push_back(Queued {
            group: group.clone(),
            operation,
        });
        if urgent {
            waiting.urgent += 1;
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Takes the next batch, waiting for an urgent operation, or for the lazy ones to be old enough.
    /// `None` when the queue is closed and empty.
    pub(crate) fn take_batch(&self) -> Option<Vec<Queued>> {
        let mut waiting = self.waiting.lock();
        while waiting.urgent == 0
            && !waiting.closed
            && waiting.operations.len() < self.batch_ops_max
        {
            let timed_out = self
                .wake
                .wait_for(&mut waiting, self.lazy_write_delay)
                .timed_out();
            if timed_out && !waiting.operations.is_empty() {
                break;
            }
        }
        let batch = self.drain(&mut waiting);
        (!batch.is_empty()).then_some(batch)
    }

    /// Takes the next batch if there is one.
    pub(crate) fn try_take_batch(&self) -> Option<Vec<Queued>> {
        let batch = self.drain(&mut self.waiting.lock());
        (!batch.is_empty()).then_some(batch)
    }

    /// Refuses further operations and lets the writer end once it has written those waiting.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.bytes.close();
        self.operations.close();
        self.wake.notify_all();
    }

    /// Whether nothing can be added any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.waiting.lock().closed
    }

    fn drain(&self, waiting: &mut Waiting) -> Vec<Queued> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < self.batch_ops_max && bytes < self.batch_bytes_max {
            let Some(queued) = waiting.operations.pop_front() else {
                break;
            };
            bytes += queued.operation.entry_bytes();
            if queued.operation.needs_sync() {
                waiting.urgent -= 1;
            }
            batch.push(queued);
        }
        batch
    }
}
