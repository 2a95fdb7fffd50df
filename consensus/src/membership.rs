//! Members of a group: who votes, who learns, and changes that name the membership they start from.
//!
//! Each change carries the version of the membership that its author looked at, and is refused when
//! another change came between; so two planners, or a planner and an operator, never undo each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use openraft::alias::StoredMembershipOf;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{
    ChangeMembershipError, ClientWriteError, InitializeError, PreconditionFailed, RaftError,
};
use openraft::{ChangeMembers, LogId, Precondition};
use tokio::time::Instant;

use crate::error::{MembershipError, UnknownReason};
use crate::raft::RaftHandle;
use crate::types::{NodeId, Peer, TypeConfig};

/// Which membership is in effect: changes with every change of members, and never comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MembershipVersion(Option<openraft::alias::LogIdOf<TypeConfig>>);

impl fmt::Display for MembershipVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(LogId { leader_id, index }) => {
                write!(f, "{}-{}-{index}", leader_id.term, leader_id.node_id)
            }
            None => f.write_str("0"),
        }
    }
}

/// The members of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// Names this membership in a change.
    pub version: MembershipVersion,
    /// Who votes.
    pub voters: BTreeSet<NodeId>,
    /// Who receives the log without voting.
    pub learners: BTreeSet<NodeId>,
    /// Where each of them is reached.
    pub peers: BTreeMap<NodeId, Peer>,
    /// Whether a change of voters is half done: both the old and the new majority must agree. It is
    /// finished by the leader, also by one that only came to lead in between.
    pub changing: bool,
}

impl Members {
    pub(crate) fn of(stored: &StoredMembershipOf<TypeConfig>) -> Self {
        let membership = stored.membership();
        Self {
            version: MembershipVersion(*stored.log_id()),
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
            peers: membership
                .nodes()
                .map(|(node, peer)| (*node, peer.clone()))
                .collect(),
            changing: membership.get_joint_config().len() > 1,
        }
    }
}

/// One change of a group's members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipChange {
    /// Start to send the log to a node that does not vote yet.
    AddLearner(NodeId, Peer),
    /// Let learners vote.
    Promote(BTreeSet<NodeId>),
    /// Take nodes out of the group, whether they vote or not.
    Remove(BTreeSet<NodeId>),
    /// Let one set of nodes take over the votes of another, in one step. All must be members.
    ReplaceVoters(BTreeSet<NodeId>),
    /// A member is reached at another address. The node must be the same one, with its data.
    Readdress(NodeId, Peer),
}

pub(crate) async fn change(
    raft: &RaftHandle,
    change: MembershipChange,
    expected: MembershipVersion,
    deadline: Instant,
) -> Result<Members, MembershipError> {
    let members = Members::of(&raft.metrics().borrow_watched().membership_config);
    let (change, retain) = translate(&members, change, expected)?;
    let precondition = Precondition::LastMembershipLogId {
        last_membership_log_id: expected.0,
    };
    let written = raft.change_membership_if(change, retain, [precondition]);
    match tokio::time::timeout_at(deadline, written).await {
        Ok(Ok(_)) => Ok(Members::of(
            &raft.metrics().borrow_watched().membership_config,
        )),
        Ok(Err(RaftError::APIError(error))) => Err(refused(error, expected)),
        Ok(Err(RaftError::Fatal(_))) => Err(MembershipError::Stopped),
        Err(_) => Err(MembershipError::Unknown {
            reason: UnknownReason::Deadline,
        }),
    }
}

/// A change as openraft takes it, and whether voters that it takes the vote from stay as learners.
///
/// Refused while another is half done: its voters are those of both sides, and what is taken away then is taken from
/// the side that stays. So is one that was made for a membership other than `members`, by which it is translated.
fn translate(
    members: &Members,
    change: MembershipChange,
    expected: MembershipVersion,
) -> Result<(ChangeMembers<NodeId, Peer>, bool), MembershipError> {
    if members.version != expected {
        return Err(MembershipError::Conflict {
            expected,
            found: members.version,
        });
    }
    if members.changing {
        return Err(MembershipError::InProgress);
    }
    Ok(match change {
        MembershipChange::AddLearner(node, peer) => {
            (ChangeMembers::AddNodes([(node, peer)].into()), true)
        }
        MembershipChange::Promote(nodes) => (ChangeMembers::AddVoterIds(nodes), true),
        MembershipChange::ReplaceVoters(nodes) => (ChangeMembers::ReplaceAllVoters(nodes), true),
        MembershipChange::Remove(nodes) => {
            let voters: BTreeSet<NodeId> = nodes.intersection(&members.voters).copied().collect();
            let learners: BTreeSet<NodeId> =
                nodes.intersection(&members.learners).copied().collect();
            let steps = vec![
                ChangeMembers::RemoveVoters(voters),
                ChangeMembers::RemoveNodes(learners),
            ];
            (ChangeMembers::Batch(steps), false)
        }
        MembershipChange::Readdress(node, _) if !members.peers.contains_key(&node) => {
            return Err(MembershipError::UnknownMember { node });
        }
        MembershipChange::Readdress(node, peer) => {
            (ChangeMembers::SetNodes([(node, peer)].into()), true)
        }
    })
}

/// Leads a half-done change of voters to its end.
pub(crate) async fn finish_change(raft: &RaftHandle) -> Result<(), MembershipError> {
    let nothing = ChangeMembers::AddVoterIds(BTreeSet::new());
    match raft.change_membership(nothing, true).await {
        Ok(_) => Ok(()),
        Err(RaftError::APIError(error)) => Err(refused(error, MembershipVersion::default())),
        Err(RaftError::Fatal(_)) => Err(MembershipError::Stopped),
    }
}

fn refused(error: ClientWriteError<TypeConfig>, expected: MembershipVersion) -> MembershipError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => MembershipError::NotLeader {
            leader: forward.leader_id.zip(forward.leader_node),
        },
        ClientWriteError::LogEntryDiscarded(_) => MembershipError::Unknown {
            reason: UnknownReason::LeaderChanged,
        },
        ClientWriteError::PreconditionFailed(PreconditionFailed::LastMembershipLogIdMismatch {
            expected: required,
            actual,
        }) if MembershipVersion(required) == expected => MembershipError::Conflict {
            expected,
            found: MembershipVersion(actual),
        },
        // The second half of the change was overtaken: the first half is in effect.
        ClientWriteError::PreconditionFailed(_) => MembershipError::Unknown {
            reason: UnknownReason::LeaderChanged,
        },
        ClientWriteError::ChangeMembershipError(error) => match error {
            ChangeMembershipError::InProgress(_)
            | ChangeMembershipError::UncommittedLeaderLog(_) => MembershipError::InProgress,
            ChangeMembershipError::LearnerNotFound(missing) => MembershipError::UnknownMember {
                node: missing.node_id,
            },
            other => MembershipError::Invalid {
                detail: other.to_string(),
            },
        },
    }
}

pub(crate) async fn bootstrap(
    raft: &RaftHandle,
    members: BTreeMap<NodeId, Peer>,
) -> Result<(), MembershipError> {
    match raft.initialize(members).await {
        Ok(()) => Ok(()),
        Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
            Err(MembershipError::AlreadyBootstrapped)
        }
        Err(RaftError::APIError(InitializeError::NotInMembers(error))) => {
            Err(MembershipError::Invalid {
                detail: error.to_string(),
            })
        }
        Err(RaftError::Fatal(_)) => Err(MembershipError::Stopped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u64) -> MembershipVersion {
        let leader_id = crate::types::LeaderId {
            term: 1,
            node_id: 1,
        };
        MembershipVersion(Some(LogId::new(leader_id, index)))
    }

    fn changes() -> Vec<MembershipChange> {
        vec![
            MembershipChange::AddLearner(5, Peer::default()),
            MembershipChange::Promote([4].into()),
            MembershipChange::Remove([1].into()),
            MembershipChange::ReplaceVoters([1, 2, 4].into()),
            MembershipChange::Readdress(1, Peer::default()),
        ]
    }

    /// On its way from voters 1, 2, 3 to 2, 3, 4, which show as all four: without 2 and 3 it would end with one.
    #[test]
    fn nothing_is_changed_while_a_change_is_half_done() {
        let mut members = Members {
            version: at(7),
            voters: [1, 2, 3, 4].into(),
            peers: (1..=4).map(|node| (node, Peer::default())).collect(),
            changing: true,
            ..Members::default()
        };
        for change in changes() {
            let refused = translate(&members, change, at(7));
            assert_eq!(refused.map(drop), Err(MembershipError::InProgress));
        }
        members.changing = false;
        for change in changes() {
            assert!(translate(&members, change, at(7)).is_ok());
        }
    }

    #[test]
    fn a_change_is_translated_by_the_membership_it_was_made_for() {
        let members = Members {
            version: at(7),
            voters: [1, 2, 3].into(),
            ..Members::default()
        };
        let refused = translate(&members, MembershipChange::Remove([1].into()), at(6));
        let conflict = MembershipError::Conflict {
            expected: at(6),
            found: at(7),
        };
        assert_eq!(refused.map(drop), Err(conflict));
    }
}
