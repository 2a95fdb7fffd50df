//! What callers of a group can be told, sorted by what they can do about it.

use std::time::Duration;

use crate::membership::MembershipVersion;
use crate::types::{GroupId, NodeId, Peer};

/// The leader as far as the answering node knows, with the address the membership gives for it.
pub type LeaderHint = Option<(NodeId, Peer)>;

/// Why the outcome of a proposal is not known. It may still take effect, or already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnknownReason {
    /// No answer before the deadline.
    #[error("no answer before the deadline")]
    Deadline,
    /// Leadership changed while the command was on its way; another leader may yet commit it.
    #[error("leadership changed while the command was on its way")]
    LeaderChanged,
    /// The group stopped on this node while the command was on its way.
    #[error("the group stopped while the command was on its way")]
    Stopped,
}

/// A proposal that did not come back with a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead the group. Nothing happened; ask the leader.
    #[error("this node does not lead the group")]
    NotLeader {
        /// Who does, if known.
        leader: LeaderHint,
    },
    /// Too much is under way in this group. Nothing happened; try again later.
    #[error("the group is overloaded: {commands} commands with {bytes} bytes are under way")]
    Overloaded {
        /// Commands under way.
        commands: usize,
        /// Bytes of commands under way.
        bytes: usize,
    },
    /// The disk of this node, which leads, is nearly full. Nothing happened; another node may lead soon,
    /// or there is room again.
    #[error("the disk of the leader is nearly full")]
    DiskFull,
    /// The command exceeds the limit. Nothing happened, and never will.
    #[error("a command of {bytes} bytes exceeds the limit of {max_bytes} bytes")]
    TooLarge {
        /// Size of the command.
        bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// The command may or may not have taken effect, now or later. Only a retry with the same
    /// request id can settle it.
    #[error("the outcome is unknown: {reason}")]
    Unknown {
        /// What cut the answer off.
        reason: UnknownReason,
    },
    /// The group does not run on this node (any more). Nothing happened.
    #[error("the group has stopped on this node")]
    Stopped,
}

/// A read barrier that could not be established. Reads have no effect, so it may always be retried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader confirmed by a quorum answered, or the state did not catch up, before the deadline.
    #[error("no read barrier before the deadline: {reason}")]
    Unavailable {
        /// What stood in the way last.
        reason: String,
    },
    /// More reads wait in this group than its limit.
    #[error("the group is overloaded with reads")]
    Overloaded,
    /// The group does not run on this node (any more).
    #[error("the group has stopped on this node")]
    Stopped,
}

/// A change of membership or leadership that was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// The membership is not the one that the caller looked at. Nothing happened; look again.
    #[error("the membership changed: expected version {expected}, found {found}")]
    Conflict {
        /// The version that the caller expected.
        expected: MembershipVersion,
        /// The version in effect.
        found: MembershipVersion,
    },
    /// This node does not lead the group. Nothing happened; ask the leader.
    #[error("this node does not lead the group")]
    NotLeader {
        /// Who does, if known.
        leader: LeaderHint,
    },
    /// Another change is not finished. Nothing happened; try again later.
    #[error("another membership change is in progress")]
    InProgress,
    /// A node that should become a voter or lead is not a learner or voter of the group.
    #[error("node {node} is not a member of the group")]
    UnknownMember {
        /// The node.
        node: NodeId,
    },
    /// The change would leave the group without voters, or names a node twice.
    #[error("the membership would not be valid: {detail}")]
    Invalid {
        /// What is wrong with it.
        detail: String,
    },
    /// The group has members already.
    #[error("the group has been bootstrapped already")]
    AlreadyBootstrapped,
    /// The change may or may not be in effect, now or later. Look at the status.
    #[error("the outcome is unknown: {reason}")]
    Unknown {
        /// What cut the answer off.
        reason: UnknownReason,
    },
    /// The group does not run on this node (any more).
    #[error("the group has stopped on this node")]
    Stopped,
}

/// A host that did not start, or a group that did not open.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The options contradict each other.
    #[error("invalid consensus options: {0}")]
    InvalidOptions(String),
    /// The log or the state cannot be read or written.
    #[error("consensus storage failed: {0}")]
    Storage(#[from] std::io::Error),
    /// The group is open already.
    #[error("group {0} is open already")]
    AlreadyOpen(GroupId),
    /// Raft refused what the storage holds.
    #[error("group {group} cannot start: {detail}")]
    Group {
        /// The group.
        group: GroupId,
        /// What Raft said.
        detail: String,
    },
    /// The host is shutting down.
    #[error("the host has stopped")]
    Stopped,
    /// Shutting down took longer than allowed; storage may not be flushed, which the log makes good.
    #[error("shutdown did not finish within {0:?}")]
    ShutdownTimeout(Duration),
}
