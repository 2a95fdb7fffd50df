//! Linearizable reads: one round that confirms the leader serves all reads that wait for it.
//!
//! A read that arrives while a round is under way waits for the next one, since the round under way
//! may have begun before a write that the read must see. On a follower a round is one request to
//! the leader. After the round each read waits until this node has applied up to the index it gave.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ForwardReason, LinearizableReadError, RaftError};
use openraft::{LinearizerOption, ReadPolicy};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::commit_hold::CommitWanted;
use crate::error::ReadError;
use crate::metrics::GroupCounters;
use crate::mutant;
use crate::peer_network::Lane;
use crate::raft::RaftHandle;
use crate::raft_network::{GroupPeer, PeerContext};
use crate::types::{GroupId, NodeId, Peer};
use crate::wire::{Reason, RequestBody, ResponseBody, proto};

/// How a read is made sure of being current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    /// A quorum confirms the leader after the read began. Depends on no clock.
    Quorum,
    /// The leader trusts its lease: a quorum confirmed it less than a lease ago. Saves the round,
    /// and relies on clocks of all members running at about the same speed.
    Lease,
}

/// Reads that may wait for one round.
const ROUND_MAX_READS: usize = 16 * 1024;

/// Longest a single round may take before it is tried again; a read's own deadline bounds the tries.
const ROUND_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause before a round is tried again when nobody leads.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Why a round gave no index.
#[derive(Debug, Clone)]
enum RoundError {
    /// Worth another try: an election is under way, or a message was lost.
    Transient(String),
    Stopped,
}

type RoundResult = Result<u64, RoundError>;

/// Establishes barriers for one group.
pub(crate) struct ReadIndex {
    raft: RaftHandle,
    counters: Arc<GroupCounters>,
    rounds: BTreeMap<bool, mpsc::Sender<oneshot::Sender<RoundResult>>>,
    commit_wanted: CommitWanted,
}

impl ReadIndex {
    /// The barriers and the tasks behind them, which end when the barriers are dropped.
    pub(crate) fn new(
        group: GroupId,
        raft: RaftHandle,
        peers: &Arc<PeerContext>,
        counters: Arc<GroupCounters>,
        commit_wanted: CommitWanted,
    ) -> (Self, Vec<impl Future<Output = ()> + Send + 'static>) {
        let mut rounds = BTreeMap::new();
        let mut tasks = Vec::new();
        for lease in [false, true] {
            let (sender, waiting) = mpsc::channel(ROUND_MAX_READS);
            let round = Round {
                group,
                raft: raft.clone(),
                peers: peers.clone(),
                counters: counters.clone(),
                lease,
            };
            rounds.insert(lease, sender);
            tasks.push(run_rounds(round, waiting));
        }
        (
            Self {
                raft,
                counters,
                rounds,
                commit_wanted,
            },
            tasks,
        )
    }

    /// Waits until this node's state reflects everything acknowledged before the call; returns the
    /// applied index.
    pub(crate) async fn barrier(
        &self,
        barrier: Barrier,
        deadline: Instant,
    ) -> Result<u64, ReadError> {
        GroupCounters::add(&self.counters.reads, 1);
        let attempts = async {
            loop {
                match self.index(barrier == Barrier::Lease).await? {
                    Ok(index) => return self.applied(index).await,
                    Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
                }
            }
        };
        match tokio::time::timeout_at(deadline, attempts).await {
            Ok(result) => result,
            Err(_) => Err(ReadError::Unavailable {
                reason: self.obstacle(),
            }),
        }
    }

    /// Gives a follower the index it has to apply before it may read; only on the leader.
    pub(crate) async fn index_for_follower(&self, lease: bool) -> ResponseBody {
        let refused = |reason: Reason, detail: String, leader: Option<NodeId>| {
            ResponseBody::Refused(proto::Refused {
                reason: reason.into(),
                detail,
                leader: leader.unwrap_or(0),
            })
        };
        if !self.raft.is_leader() {
            let leader = self.raft.current_leader().await;
            return refused(Reason::NotLeader, String::new(), leader);
        }
        // The follower waits until it has applied what this index covers.
        self.commit_wanted.release();
        match self.index(lease).await {
            Ok(Ok(index)) => ResponseBody::ReadIndex(proto::ReadIndexReply { index }),
            Ok(Err(reason)) => refused(Reason::NoQuorum, reason, None),
            Err(ReadError::Overloaded) => {
                refused(Reason::Busy, "too many reads wait".to_owned(), None)
            }
            Err(_) => refused(Reason::Stopped, String::new(), None),
        }
    }

    /// Joins the next round. The inner error is worth another try.
    async fn index(&self, lease: bool) -> Result<Result<u64, String>, ReadError> {
        let (waiter, result) = oneshot::channel();
        let rounds = self.rounds.get(&lease).ok_or(ReadError::Stopped)?;
        rounds.try_send(waiter).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ReadError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => ReadError::Stopped,
        })?;
        match result.await {
            Ok(Ok(index)) => Ok(Ok(index)),
            Ok(Err(RoundError::Transient(reason))) => Ok(Err(reason)),
            Ok(Err(RoundError::Stopped)) | Err(_) => Err(ReadError::Stopped),
        }
    }

    async fn applied(&self, index: u64) -> Result<u64, ReadError> {
        if mutant::has("read-without-waiting") {
            return Ok(index);
        }
        let mut progress = self.raft.watch_apply_progress();
        let reached = progress
            .wait_until(|applied| {
                applied
                    .as_ref()
                    .is_some_and(|applied| applied.index >= index)
            })
            .await
            .map_err(|_| ReadError::Stopped)?;
        Ok(reached.map_or(0, |applied| applied.index))
    }

    fn obstacle(&self) -> String {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        match metrics.current_leader {
            None => "no leader is known".to_owned(),
            Some(leader) => format!(
                "leader {leader} was not confirmed by a quorum, or this node lags behind it"
            ),
        }
    }
}

async fn run_rounds(round: Round, mut waiting: mpsc::Receiver<oneshot::Sender<RoundResult>>) {
    let mut waiters = Vec::new();
    while waiting.recv_many(&mut waiters, ROUND_MAX_READS).await > 0 {
        waiters.retain(|waiter| !waiter.is_closed());
        if waiters.is_empty() {
            continue;
        }
        GroupCounters::add(&round.counters.read_rounds, 1);
        let result = round.run().await;
        for waiter in waiters.drain(..) {
            drop(waiter.send(result.clone()));
        }
    }
}

/// One kind of round of one group.
struct Round {
    group: GroupId,
    raft: RaftHandle,
    peers: Arc<PeerContext>,
    counters: Arc<GroupCounters>,
    lease: bool,
}

impl Round {
    async fn run(&self) -> RoundResult {
        if mutant::has("skip-read-index") {
            let metrics = self.raft.metrics();
            let applied = metrics.borrow_watched().last_applied;
            return Ok(applied.map_or(0, |applied| applied.index));
        }
        let option: LinearizerOption = if self.lease {
            ReadPolicy::LeaseRead.into()
        } else {
            LinearizerOption::from(ReadPolicy::ReadIndex).with_wait_timeout(ROUND_TIMEOUT)
        };
        match self.raft.get_read_linearizer(option).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                if forward.reason == ForwardReason::LeadershipTransfer {
                    return Err(RoundError::Transient(
                        "leadership is being transferred".to_owned(),
                    ));
                }
                match forward.leader_id.zip(forward.leader_node) {
                    Some((leader, peer)) => self.ask(leader, &peer).await,
                    None => Err(RoundError::Transient("no leader is known".to_owned())),
                }
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(error))) => {
                Err(RoundError::Transient(error.to_string()))
            }
            Err(RaftError::Fatal(_)) => Err(RoundError::Stopped),
        }
    }

    async fn ask(&self, leader: NodeId, peer: &Peer) -> RoundResult {
        if leader == self.peers.node_id {
            return Err(RoundError::Transient(
                "this node is about to lead".to_owned(),
            ));
        }
        let leader = GroupPeer::new(
            self.peers.clone(),
            self.group,
            self.counters.clone(),
            leader,
            peer,
        );
        let request = RequestBody::ReadIndex(proto::ReadIndex { lease: self.lease });
        match leader.call(Lane::Control, request, ROUND_TIMEOUT).await {
            Ok(ResponseBody::ReadIndex(reply)) => Ok(reply.index),
            Ok(ResponseBody::Refused(refused)) => Err(RoundError::Transient(refused.detail)),
            Ok(_) => Err(RoundError::Transient(
                "the leader answered another question".to_owned(),
            )),
            Err(error) => Err(RoundError::Transient(error.to_string())),
        }
    }
}
