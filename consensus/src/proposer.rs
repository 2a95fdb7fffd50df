//! Gathers commands into entries: while earlier entries are appended, the next batch collects.
//!
//! Under light load a command becomes an entry at once; under heavy load entries grow with the time
//! an append takes, so the cost of a round through disk and network is shared without any timer.
//! What waits is bounded in number and bytes, and refused beyond that rather than queued.
//!
//! There is no task of its own between callers and Raft: whoever finds room for an entry starts a
//! short one that gathers, and replies go to their callers straight from the apply thread. Each
//! hand-over saved is a context switch saved, which is most of what a lone command costs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::{ProposeError, UnknownReason};
use crate::metrics::GroupCounters;
use crate::options::ProposalOptions;
use crate::raft::RaftHandle;
use crate::types::{Batch, Responder, TypeConfig};

/// A command that was committed and applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// Log index of the entry that carried the command.
    pub log_index: u64,
    /// The state machine's reply.
    pub reply: Bytes,
}

type Outcome = Result<Proposed, ProposeError>;

/// A command on its way, and who waits for its outcome.
struct Proposal {
    payload: Bytes,
    waiter: oneshot::Sender<Outcome>,
    /// Held until the outcome is known, whether or not anybody still waits for it.
    _share: Share,
}

/// A command's share of the limits on what is under way.
struct Share {
    counters: Arc<GroupCounters>,
    bytes: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.counters
            .in_flight_commands
            .fetch_sub(1, Ordering::Relaxed);
        self.counters
            .in_flight_bytes
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The entrance: takes commands and waits for their outcomes.
pub(crate) struct Proposer {
    shared: Arc<Shared>,
}

struct Shared {
    raft: RaftHandle,
    options: ProposalOptions,
    counters: Arc<GroupCounters>,
    /// For gathering that starts outside of any runtime, on the apply thread.
    runtime: Handle,
    line: Mutex<Line>,
}

/// What waits to become an entry, and what keeps it waiting.
#[derive(Default)]
struct Line {
    /// Bounded by the shares that were taken for what is in it.
    waiting: VecDeque<Proposal>,
    entries_under_way: usize,
    commands_under_way: usize,
    /// The last entry held more than one command: callers come in crowds.
    is_crowded: bool,
    /// A task is about to look, or looking; it will see whatever is put in line before it ends.
    is_gathering: bool,
}

impl Line {
    /// Whether another entry may go. A few lone commands overtake the round that is under way; with
    /// many it is cheaper to let all that come meanwhile share the next one, until they are as many
    /// as those under way.
    fn has_room(&self, options: &ProposalOptions) -> bool {
        self.entries_under_way == 0
            || (self.entries_under_way < options.pipeline_entries
                && (self.commands_under_way < options.pipeline_commands
                    || self.waiting.len() >= self.commands_under_way))
    }

    /// Whether somebody must start to gather; that somebody is the caller.
    fn start_gathering(&mut self, options: &ProposalOptions) -> bool {
        let starts = !self.is_gathering && !self.waiting.is_empty() && self.has_room(options);
        self.is_gathering |= starts;
        starts
    }

    /// Everything that waits now, up to the limits of a batch. Commands whose caller has given up
    /// are dropped: they have not happened, and need not.
    fn take_batch(&mut self, options: &ProposalOptions) -> Vec<Proposal> {
        let mut bytes = 0;
        let mut batch = Vec::new();
        while batch.len() < options.batch_max_commands
            && let Some(proposal) = self.waiting.pop_front()
        {
            if proposal.waiter.is_closed() {
                continue;
            }
            if !batch.is_empty() && bytes + proposal.payload.len() > options.batch_max_bytes {
                self.waiting.push_front(proposal);
                break;
            }
            bytes += proposal.payload.len();
            batch.push(proposal);
        }
        batch
    }
}

impl Proposer {
    /// The entrance of a group; `runtime` is where Raft runs.
    pub(crate) fn new(
        raft: RaftHandle,
        options: ProposalOptions,
        counters: Arc<GroupCounters>,
        runtime: Handle,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                raft,
                options,
                counters,
                runtime,
                line: Mutex::default(),
            }),
        }
    }

    pub(crate) async fn propose(&self, payload: Bytes, deadline: Instant) -> Outcome {
        let shared = &self.shared;
        let share = shared.take_share(payload.len())?;
        let (waiter, outcome) = oneshot::channel();
        let starts = {
            let mut line = shared.line.lock();
            line.waiting.push_back(Proposal {
                payload,
                waiter,
                _share: share,
            });
            line.start_gathering(&shared.options)
        };
        if starts {
            shared.clone().spawn_gathering();
        }
        let outcome = match tokio::time::timeout_at(deadline, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ProposeError::Unknown {
                reason: UnknownReason::Stopped,
            }),
            Err(_) => Err(ProposeError::Unknown {
                reason: UnknownReason::Deadline,
            }),
        };
        if matches!(outcome, Err(ProposeError::Unknown { .. })) {
            GroupCounters::add(&shared.counters.unknown, 1);
        }
        outcome
    }
}

impl Shared {
    fn take_share(&self, bytes: usize) -> Result<Share, ProposeError> {
        if bytes > self.options.command_max_bytes {
            return Err(ProposeError::TooLarge {
                bytes,
                max_bytes: self.options.command_max_bytes,
            });
        }
        let counters = &self.counters;
        let commands_before = counters.in_flight_commands.fetch_add(1, Ordering::Relaxed);
        let bytes_before = counters
            .in_flight_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        let share = Share {
            counters: counters.clone(),
            bytes: bytes as u64,
        };
        let over = commands_before >= self.options.in_flight_max_commands as u64
            || bytes_before + bytes as u64 > self.options.in_flight_max_bytes as u64;
        if over {
            GroupCounters::add(&counters.overloaded, 1);
            return Err(ProposeError::Overloaded {
                commands: usize::try_from(commands_before).unwrap_or(usize::MAX),
                bytes: usize::try_from(bytes_before).unwrap_or(usize::MAX),
            });
        }
        Ok(share)
    }

    fn spawn_gathering(self: Arc<Self>) {
        // Beside the callers where there are any, so that those on the same thread come first.
        let runtime = Handle::try_current().unwrap_or_else(|_| self.runtime.clone());
        runtime.spawn(self.gather());
    }

    /// Makes entries of what waits, until nothing does or enough are under way.
    async fn gather(self: Arc<Self>) {
        if self.line.lock().is_crowded {
            // One frame of requests wakes many callers, and the first of them starts this: going once
            // round the run queue lets the others put their commands beside it.
            tokio::task::yield_now().await;
        }
        loop {
            let proposals = {
                let mut line = self.line.lock();
                let proposals = if line.has_room(&self.options) {
                    line.take_batch(&self.options)
                } else {
                    Vec::new()
                };
                if proposals.is_empty() {
                    line.is_gathering = false;
                    return;
                }
                line.entries_under_way += 1;
                line.commands_under_way += proposals.len();
                line.is_crowded = proposals.len() > 1;
                proposals
            };
            self.clone().submit(proposals).await;
        }
    }

    async fn submit(self: Arc<Self>, proposals: Vec<Proposal>) {
        let batch = Batch::pack(proposals.iter().map(|proposal| &proposal.payload));
        GroupCounters::add(&self.counters.entries, 1);
        GroupCounters::add(&self.counters.commands, proposals.len() as u64);
        GroupCounters::add(&self.counters.command_bytes, batch.size_bytes() as u64);
        let raft = self.raft.clone();
        let submitted = Submitted {
            at: Instant::now(),
            commands: proposals.len(),
            proposals,
            shared: self,
        };
        let responder = Responder::new(move |result| submitted.conclude(result));
        // When Raft has stopped the responder is dropped, which tells the callers.
        drop(raft.client_write_ff(batch, Some(responder)).await);
    }
}

/// An entry on its way. However it ends, the next one may go.
struct Submitted {
    at: Instant,
    commands: usize,
    proposals: Vec<Proposal>,
    shared: Arc<Shared>,
}

impl Submitted {
    /// Hands each reply to the command it belongs to.
    fn conclude(mut self, result: ClientWriteResult<TypeConfig>) {
        let proposals = std::mem::take(&mut self.proposals);
        GroupCounters::add_micros(&self.shared.counters.commit_micros, self.at.elapsed());
        let error = match result {
            Ok(response) if response.data.0.len() == proposals.len() => {
                let log_index = response.log_id.index;
                for (proposal, reply) in proposals.into_iter().zip(response.data.0) {
                    drop(proposal.waiter.send(Ok(Proposed { log_index, reply })));
                }
                return;
            }
            // The entry was refused before it was appended, so it has not happened and never will.
            Err(ClientWriteError::ForwardToLeader(forward)) => ProposeError::NotLeader {
                leader: forward.leader_id.zip(forward.leader_node),
            },
            Err(ClientWriteError::LogEntryDiscarded(_)) => ProposeError::Unknown {
                reason: UnknownReason::LeaderChanged,
            },
            Ok(_) | Err(_) => ProposeError::Unknown {
                reason: UnknownReason::Stopped,
            },
        };
        for proposal in proposals {
            drop(proposal.waiter.send(Err(error.clone())));
        }
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        let starts = {
            let mut line = self.shared.line.lock();
            line.entries_under_way -= 1;
            line.commands_under_way -= self.commands;
            line.start_gathering(&self.shared.options)
        };
        if starts {
            self.shared.clone().spawn_gathering();
        }
    }
}
