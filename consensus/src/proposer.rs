//! Gathers commands into entries: while earlier entries are appended, the next batch collects.
//!
//! Under light load a command becomes an entry at once; under heavy load entries grow with the time
//! an append takes, so the cost of a round through disk and network is shared without any timer.
//! What waits is bounded in number and bytes, and refused beyond that rather than queued.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::error::{ProposeError, UnknownReason};
use crate::metrics::GroupCounters;
use crate::options::ProposalOptions;
use crate::raft::RaftHandle;
use crate::types::{Batch, TypeConfig};

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
    queue: mpsc::UnboundedSender<Proposal>,
    options: ProposalOptions,
    counters: Arc<GroupCounters>,
}

impl Proposer {
    /// The entrance and the task behind it. The task ends when the entrance is dropped.
    pub(crate) fn new(
        raft: RaftHandle,
        options: ProposalOptions,
        counters: Arc<GroupCounters>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        // Unbounded in form only: `take_share` bounds what can be in it.
        let (sender, queue) = mpsc::unbounded_channel();
        let gatherer = Gatherer {
            raft,
            options: options.clone(),
            counters: counters.clone(),
            queue,
            left_over: None,
        };
        (
            Self {
                queue: sender,
                options,
                counters,
            },
            gatherer.run(),
        )
    }

    pub(crate) async fn propose(&self, payload: Bytes, deadline: Instant) -> Outcome {
        let share = self.take_share(payload.len())?;
        let (waiter, outcome) = oneshot::channel();
        if self
            .queue
            .send(Proposal {
                payload,
                waiter,
                _share: share,
            })
            .is_err()
        {
            return Err(ProposeError::Stopped);
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
            GroupCounters::add(&self.counters.unknown, 1);
        }
        outcome
    }

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
}

/// The task: turns what waits into entries and entries' replies into outcomes.
struct Gatherer {
    raft: RaftHandle,
    options: ProposalOptions,
    counters: Arc<GroupCounters>,
    queue: mpsc::UnboundedReceiver<Proposal>,
    /// Did not fit into the last batch.
    left_over: Option<Proposal>,
}

/// An entry on its way.
struct Submitted {
    at: Instant,
    proposals: Vec<Proposal>,
    result: oneshot::Receiver<ClientWriteResult<TypeConfig>>,
}

impl Gatherer {
    async fn run(mut self) {
        let mut under_way = FuturesUnordered::new();
        loop {
            let has_room = under_way.len() < self.options.pipeline_entries;
            let first = match self.left_over.take() {
                Some(proposal) if has_room => proposal,
                kept => {
                    self.left_over = kept;
                    tokio::select! {
                        biased;
                        Some(()) = under_way.next() => continue,
                        first = self.queue.recv(), if has_room && self.left_over.is_none() => match first {
                            Some(first) => first,
                            None => break,
                        },
                    }
                }
            };
            let proposals = self.gather(first);
            if proposals.is_empty() {
                continue;
            }
            if let Some(submitted) = self.submit(proposals).await {
                under_way.push(conclude(submitted, self.counters.clone()));
            }
        }
        while under_way.next().await.is_some() {}
    }

    /// Everything that waits now, up to the limits of a batch. Commands whose caller has given up
    /// are dropped: they have not happened, and need not.
    fn gather(&mut self, first: Proposal) -> Vec<Proposal> {
        let mut bytes = 0;
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(proposal) = next.take() {
            if !proposal.waiter.is_closed() {
                if !batch.is_empty()
                    && bytes + proposal.payload.len() > self.options.batch_max_bytes
                {
                    self.left_over = Some(proposal);
                    break;
                }
                bytes += proposal.payload.len();
                batch.push(proposal);
            }
            if batch.len() < self.options.batch_max_commands {
                next = self.queue.try_recv().ok();
            }
        }
        batch
    }

    async fn submit(&self, proposals: Vec<Proposal>) -> Option<Submitted> {
        let batch = Batch::pack(proposals.iter().map(|proposal| &proposal.payload));
        GroupCounters::add(&self.counters.entries, 1);
        GroupCounters::add(&self.counters.commands, proposals.len() as u64);
        GroupCounters::add(&self.counters.command_bytes, batch.size_bytes() as u64);
        let (responder, result) = ProgressResponder::complete_only();
        let at = Instant::now();
        match self.raft.client_write_ff(batch, Some(responder)).await {
            Ok(()) => Some(Submitted {
                at,
                proposals,
                result,
            }),
            Err(_) => {
                for proposal in proposals {
                    drop(proposal.waiter.send(Err(ProposeError::Stopped)));
                }
                None
            }
        }
    }
}

/// Waits for an entry's replies and hands each to the command it belongs to.
async fn conclude(submitted: Submitted, counters: Arc<GroupCounters>) {
    let result = submitted.result.await;
    GroupCounters::add_micros(&counters.commit_micros, submitted.at.elapsed());
    let error = match result {
        Ok(Ok(response)) if response.data.0.len() == submitted.proposals.len() => {
            let log_index = response.log_id.index;
            for (proposal, reply) in submitted.proposals.into_iter().zip(response.data.0) {
                drop(proposal.waiter.send(Ok(Proposed { log_index, reply })));
            }
            return;
        }
        // The entry was refused before it was appended, so it has not happened and never will.
        Ok(Err(ClientWriteError::ForwardToLeader(forward))) => ProposeError::NotLeader {
            leader: forward.leader_id.zip(forward.leader_node),
        },
        Ok(Err(ClientWriteError::LogEntryDiscarded(_))) => ProposeError::Unknown {
            reason: UnknownReason::LeaderChanged,
        },
        Ok(Ok(_) | Err(_)) | Err(_) => ProposeError::Unknown {
            reason: UnknownReason::Stopped,
        },
    };
    for proposal in submitted.proposals {
        drop(proposal.waiter.send(Err(error.clone())));
    }
}
