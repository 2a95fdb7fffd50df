//! What a group looks like from one node, for operators, planners and metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::metrics::RaftServerMetrics;
use openraft::{Instant, RaftMetrics, ServerState};

use crate::membership::Members;
use crate::types::{GroupId, NodeId, Peer, TypeConfig};

/// What a node is in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes proposals.
    Leader,
    /// Votes and follows a leader.
    Follower,
    /// Stands for election.
    Candidate,
    /// Receives the log without voting, or is not a member yet.
    Learner,
    /// Does not take part any more: storage failed, or the host shut down.
    Stopped,
}

/// Who leads a group, as known on this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The leader and its address.
    pub leader: Option<(NodeId, Peer)>,
    /// The term this is about; fences what a leader does outside the log.
    pub term: u64,
    /// Whether this node is the leader.
    pub here: bool,
}

/// A follower or learner, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowerStatus {
    /// Last index known to be stored there.
    pub matched: Option<u64>,
    /// Entries it lacks.
    pub lag: u64,
    /// How long it has been silent; `None` when this leader has never heard from it.
    pub silent_for: Option<Duration>,
}

/// A group as seen from one node. Indexes are log indexes, `None` before the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// The node that this is the view of.
    pub node: NodeId,
    /// What that node is in the group.
    pub role: Role,
    /// Who leads.
    pub leadership: Leadership,
    /// Last entry in the log.
    pub last_log: Option<u64>,
    /// Last entry known here to be committed.
    pub committed: Option<u64>,
    /// Last entry that the state reflects.
    pub applied: Option<u64>,
    /// Last entry that the state would still reflect after a crash.
    pub flushed: Option<u64>,
    /// Last entry of the newest snapshot.
    pub snapshot: Option<u64>,
    /// Last entry that is gone from the log.
    pub purged: Option<u64>,
    /// The members.
    pub members: Members,
    /// On the leader: the others.
    pub followers: BTreeMap<NodeId, FollowerStatus>,
    /// Why the group stopped on this node.
    pub failure: Option<String>,
}

/// The leadership that a node's part in a group shows.
pub(crate) fn leadership(metrics: &RaftServerMetrics<TypeConfig>) -> Leadership {
    let leader = metrics.current_leader.and_then(|leader| {
        let peer = metrics.membership_config.membership().get_node(&leader)?;
        Some((leader, peer.clone()))
    });
    Leadership {
        leader,
        term: metrics.vote.leader_id.term,
        here: metrics.state == ServerState::Leader,
    }
}

pub(crate) fn status(
    group: GroupId,
    metrics: &RaftMetrics<TypeConfig>,
    leadership: Leadership,
    flushed: Option<u64>,
) -> GroupStatus {
    let index = |id: &Option<openraft::alias::LogIdOf<TypeConfig>>| id.as_ref().map(|id| id.index);
    let role = match (&metrics.running_state, metrics.state) {
        (Err(_), _) | (_, ServerState::Shutdown) => Role::Stopped,
        (Ok(()), ServerState::Leader) => Role::Leader,
        (Ok(()), ServerState::Follower) => Role::Follower,
        (Ok(()), ServerState::Candidate) => Role::Candidate,
        (Ok(()), ServerState::Learner) => Role::Learner,
    };
    let next = metrics.last_log_index.map_or(0, |last| last + 1);
    let followers = metrics
        .replication
        .iter()
        .flatten()
        .filter(|(node, _)| **node != metrics.id);
    let followers = followers.map(|(node, matched)| {
        let matched = index(matched);
        let heard = metrics
            .heartbeat
            .as_ref()
            .and_then(|heard| heard.get(node))
            .and_then(Option::as_ref);
        let follower = FollowerStatus {
            matched,
            lag: next.saturating_sub(matched.map_or(0, |matched| matched + 1)),
            silent_for: heard.map(|at| at.elapsed()),
        };
        (*node, follower)
    });
    GroupStatus {
        group,
        node: metrics.id,
        role,
        leadership,
        last_log: metrics.last_log_index,
        committed: index(&metrics.local_committed),
        applied: index(&metrics.last_applied),
        flushed,
        snapshot: index(&metrics.snapshot),
        purged: index(&metrics.purged),
        members: Members::of(&metrics.membership_config),
        followers: followers.collect(),
        failure: metrics
            .running_state
            .as_ref()
            .err()
            .map(ToString::to_string),
    }
}
