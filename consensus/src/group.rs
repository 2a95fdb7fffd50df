//! One group on this node: propose, read, look, change members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::commit_hold::CommitWanted;
use crate::disk_room::{DiskRoom, SharedRoom};
use crate::error::{MembershipError, ProposeError, ReadError};
use crate::log_engine::GroupLog;
use crate::membership::{self, Members, MembershipChange, MembershipVersion};
use crate::metrics::{GroupCounters, GroupMetrics};
use crate::options::{ProposalOptions, TransferOptions};
use crate::proposer::{Proposed, Proposer};
use crate::raft::RaftHandle;
use crate::raft_network::PeerContext;
use crate::read_index::{Barrier, ReadIndex};
use crate::snapshot_transfer::SnapshotReceiver;
use crate::state_machine_store::StateMachineStore;
use crate::status::{self, GroupStatus, Leadership};
use crate::types::{GroupId, NodeId, Peer, TypeConfig};

/// How often a transfer of leadership is asked for again: the first request may find the target
/// a few entries short.
const TRANSFER_RETRY: Duration = Duration::from_millis(300);

/// A replica of a group. Clones are the same replica.
#[derive(Clone)]
pub struct Group {
    pub(crate) inner: Arc<GroupInner>,
}

/// What [`Group::start`] puts together.
pub(crate) struct GroupParts {
    pub(crate) id: GroupId,
    pub(crate) raft: RaftHandle,
    pub(crate) log: GroupLog,
    pub(crate) state: StateMachineStore,
    pub(crate) peers: Arc<PeerContext>,
    pub(crate) counters: Arc<GroupCounters>,
    pub(crate) commit_wanted: CommitWanted,
    pub(crate) room: Arc<SharedRoom>,
}

pub(crate) struct GroupInner {
    pub(crate) id: GroupId,
    pub(crate) raft: RaftHandle,
    pub(crate) log: GroupLog,
    pub(crate) state: StateMachineStore,
    pub(crate) counters: Arc<GroupCounters>,
    pub(crate) transfer: TransferOptions,
    pub(crate) receiver: SnapshotReceiver,
    pub(crate) room: Arc<SharedRoom>,
    proposer: Proposer,
    reads: ReadIndex,
    leadership: watch::Receiver<Leadership>,
}

impl Group {
    /// Starts the tasks of a group around its running Raft, on `runtime`.
    pub(crate) fn start(parts: GroupParts, proposals: ProposalOptions, runtime: &Handle) -> Self {
        let GroupParts {
            id,
            raft,
            log,
            state,
            peers,
            counters,
            commit_wanted,
            room,
        } = parts;
        let transfer = peers.transfer.clone();
        let proposer = Proposer::new(raft.clone(), proposals, counters.clone(), runtime.clone());
        let (reads, rounds) =
            ReadIndex::new(id, raft.clone(), &peers, counters.clone(), commit_wanted);
        for round in rounds {
            runtime.spawn(round);
        }
        let (sender, leadership) =
            watch::channel(status::leadership(&raft.server_metrics().borrow_watched()));
        runtime.spawn(publish_leadership(raft.server_metrics(), sender));
        let receiver = SnapshotReceiver::default();
        let inner = GroupInner {
            id,
            raft,
            log,
            state,
            counters,
            transfer,
            receiver,
            room,
            proposer,
            reads,
            leadership,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The group's id.
    pub fn id(&self) -> GroupId {
        self.inner.id
    }

    /// Has a command committed and applied, and returns the state machine's reply. Only on the leader.
    ///
    /// An error other than [`ProposeError::Unknown`] means that the command has not taken effect and
    /// never will.
    pub async fn propose(
        &self,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<Proposed, ProposeError> {
        {
            let leadership = self.inner.leadership.borrow();
            // Leadership gained is noticed late here, leadership of others is news worth passing on.
            if !leadership.here && leadership.leader.is_some() {
                return Err(ProposeError::NotLeader {
                    leader: leadership.leader.clone(),
                });
            }
            if leadership.here && self.inner.room.get() != DiskRoom::Enough {
                return Err(ProposeError::DiskFull);
            }
        }
        self.inner.proposer.propose(payload, deadline).await
    }

    /// Waits until this node's state reflects every command acknowledged anywhere before the call.
    /// Returns the applied index. On any member; waits through elections until the deadline.
    pub async fn read_barrier(&self, deadline: Instant) -> Result<u64, ReadError> {
        self.inner.reads.barrier(Barrier::Quorum, deadline).await
    }

    /// Like [`Self::read_barrier`], with a choice of what to rely on.
    pub async fn read_barrier_by(
        &self,
        barrier: Barrier,
        deadline: Instant,
    ) -> Result<u64, ReadError> {
        self.inner.reads.barrier(barrier, deadline).await
    }

    /// The read index for a follower's read.
    pub(crate) fn reads(&self) -> &ReadIndex {
        &self.inner.reads
    }

    /// The group as seen from here.
    pub fn status(&self) -> GroupStatus {
        let leadership = self.inner.leadership.borrow().clone();
        status::status(
            self.inner.id,
            &self.inner.raft.metrics().borrow_watched(),
            leadership,
            self.inner.log.flushed().ok().flatten().map(|id| id.index),
        )
    }

    /// Counters since the group was opened.
    pub fn metrics(&self) -> GroupMetrics {
        self.inner.counters.read()
    }

    /// Who leads, and every change of it.
    pub fn watch_leader(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Makes this node and `members` the first members of a new group, durably. On one node, once.
    pub async fn bootstrap(&self, members: BTreeMap<NodeId, Peer>) -> Result<(), MembershipError> {
        membership::bootstrap(&self.inner.raft, members).await?;
        // Raft says yes when it has submitted the membership. Lost with the power, it leaves a group in
        // which nobody may stand for election.
        let synced = self.inner.log.sync().await;
        synced.map_err(|_| MembershipError::Stopped)
    }

    /// Changes the members, if they are still the `expected` ones. Only on the leader.
    pub async fn change_members(
        &self,
        change: MembershipChange,
        expected: MembershipVersion,
        deadline: Instant,
    ) -> Result<Members, MembershipError> {
        membership::change(&self.inner.raft, change, expected, deadline).await
    }

    /// Starts to send the log to a new member that does not vote yet.
    pub async fn add_learner(
        &self,
        node: NodeId,
        peer: Peer,
        expected: MembershipVersion,
        deadline: Instant,
    ) -> Result<Members, MembershipError> {
        self.change_members(MembershipChange::AddLearner(node, peer), expected, deadline)
            .await
    }

    /// Lets learners vote.
    pub async fn promote(
        &self,
        nodes: BTreeSet<NodeId>,
        expected: MembershipVersion,
        deadline: Instant,
    ) -> Result<Members, MembershipError> {
        self.change_members(MembershipChange::Promote(nodes), expected, deadline)
            .await
    }

    /// Takes a member out.
    pub async fn remove(
        &self,
        node: NodeId,
        expected: MembershipVersion,
        deadline: Instant,
    ) -> Result<Members, MembershipError> {
        self.change_members(MembershipChange::Remove([node].into()), expected, deadline)
            .await
    }

    /// Hands leadership to another voter and waits until it leads. Only on the leader.
    pub async fn transfer_leader(
        &self,
        to: NodeId,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        let mut leadership = self.watch_leader();
        loop {
            {
                let leadership = leadership.borrow_and_update();
                match &leadership.leader {
                    Some((leader, _)) if *leader == to => return Ok(()),
                    Some(_) if !leadership.here => {
                        return Err(MembershipError::NotLeader {
                            leader: leadership.leader.clone(),
                        });
                    }
                    _ => {}
                }
            }
            if !self.status().members.voters.contains(&to) {
                return Err(MembershipError::UnknownMember { node: to });
            }
            self.inner
                .raft
                .trigger()
                .transfer_leader(to)
                .await
                .map_err(|_| MembershipError::Stopped)?;
            let retry = Instant::now() + TRANSFER_RETRY;
            let elected = leadership
                .wait_for(|now| now.leader.as_ref().is_some_and(|(leader, _)| *leader == to));
            match tokio::time::timeout_at(retry.min(deadline), elected).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(_)) => return Err(MembershipError::Stopped),
                Err(_) if Instant::now() >= deadline => {
                    return Err(MembershipError::Unknown {
                        reason: crate::UnknownReason::Deadline,
                    });
                }
                Err(_) => {}
            }
        }
    }

    /// Takes a snapshot, after which the log may be purged up to it. Returns before it is complete.
    pub async fn trigger_snapshot(&self) -> Result<(), MembershipError> {
        self.inner
            .raft
            .trigger()
            .snapshot()
            .await
            .map_err(|_| MembershipError::Stopped)
    }

    /// Drops log entries up to `index`, as far as a snapshot holds them.
    pub async fn purge_log(&self, index: u64) -> Result<(), MembershipError> {
        self.inner
            .raft
            .trigger()
            .purge_log(index)
            .await
            .map_err(|_| MembershipError::Stopped)
    }
}

/// Follows openraft's view of the leader until the group stops; then nobody leads, as far as this
/// node can tell.
async fn publish_leadership(
    mut changes: WatchReceiverOf<TypeConfig, RaftServerMetrics<TypeConfig>>,
    sender: watch::Sender<Leadership>,
) {
    loop {
        let now = status::leadership(&changes.borrow_and_update());
        publish(&sender, now);
        if changes.changed().await.is_err() {
            let term = sender.borrow().term;
            publish(
                &sender,
                Leadership {
                    leader: None,
                    term,
                    here: false,
                },
            );
            return;
        }
    }
}

fn publish(sender: &watch::Sender<Leadership>, now: Leadership) {
    sender.send_if_modified(|published| {
        let changed = *published != now;
        *published = now;
        changed
    });
}
