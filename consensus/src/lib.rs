//! Raft groups: many replicated state machines in one process, on openraft, one shared RocksDB log and
//! a gRPC transport. It knows commands and replies as bytes, and no documents.
//!
//! # Map
//! * **Entrance**: `host` holds a node's groups; `group` is one replica: propose, read, look, change
//!   members. `options` has every limit and timing, `error` what callers are told, `status` and
//!   `metrics` what operators see.
//! * **Writing**: `proposer` gathers commands into entries; `log_engine` syncs the entries of all groups
//!   with one writer; `state_machine_store` applies them to a [`StateMachine`]. `disk_room` is what
//!   happens before the disk is full.
//! * **Reading**: `read_index` confirms the leader once for all reads that wait, on any member.
//! * **Peers**: `peer_network` is the seam; `grpc_network` and `peer_service` are the two halves of the
//!   transport, `sim_network` replaces both; `wire` converts and checks messages; `raft_network` is
//!   what openraft calls, `commit_hold` spares messages, `peer_handler` answers.
//! * **Long run**: `membership` changes members, `compaction` flushes, takes snapshots and shortens
//!   logs, `snapshot` keeps them as files, `snapshot_transfer` carries them.
//! * **Simulation**: `determinism` makes a thread repeatable; `executor` and `watch_channel` are what
//!   openraft runs on, so that it is repeatable too.
//! * `mutant` has deliberate bugs that no release has; `raft` configures openraft, `types` names its types, `codec` and
//!   `records` are the formats on disk.
//!
//! # Promises
//! * A command that [`Group::propose`] returned a reply for is on the disks of a majority, and is
//!   applied by every member once, in the same order. After any error but
//!   [`ProposeError::Unknown`] it has not happened and never will.
//! * After [`Group::read_barrier`] the local state reflects every command that was acknowledged, to
//!   anyone anywhere, before the call.
//! * Everything that waits is bounded, and refused with a typed error beyond its bound.
//! * A log that has lost what was synced, and so acknowledged, is refused, as far as its watermark
//!   knows: after a loss of power it may miss the last tenth of a second. What is lost unnoticed the leader
//!   sends again; until then it is on one disk less than was promised.
//! * A peer of another cluster, or one mistaken for another node, is refused before it is heard.
//! * No type of openraft appears in this interface.

#![forbid(unsafe_code)]

mod blocking_thread;
mod codec;
mod commit_hold;
mod compaction;
mod crash_point;
mod determinism;
mod disk_room;
mod error;
mod executor;
mod group;
mod grpc_network;
mod host;
mod log_engine;
mod membership;
mod metrics;
mod mutant;
mod options;
mod peer_handler;
mod peer_network;
mod peer_service;
mod pending_answers;
mod proposer;
mod raft;
mod raft_network;
mod read_index;
mod records;
mod sim_network;
mod snapshot;
mod snapshot_transfer;
mod state_machine;
mod state_machine_store;
mod status;
mod types;
mod watch_channel;
mod wire;

#[cfg(test)]
mod crash_test;
#[cfg(test)]
mod storage_suite_test;
#[cfg(test)]
mod test_state_machine;

pub use determinism::Determinism;
pub use disk_room::DiskRoom;
pub use error::{HostError, LeaderHint, MembershipError, ProposeError, ReadError, UnknownReason};
pub use group::Group;
pub use grpc_network::{EndpointFactory, GrpcNetwork, plain_endpoints};
pub use host::Host;
pub use log_engine::{
    Ballot, DiskRecord, LATENCY_BUCKETS_MICROS, LogEngine, LogError, LogOptions, LogStats,
    MemoryDisk, MountedDisk, ProbeOptions, ProbeReport, probe,
};
pub use membership::{Members, MembershipChange, MembershipVersion};
pub use metrics::GroupMetrics;
pub use options::{
    CompactionOptions, HostOptions, ProposalOptions, RaftOptions, RaftRuntime, TransferOptions,
};
pub use peer_network::{
    ClusterId, InvalidClusterId, Lane, Parties, PeerError, PeerHandler, PeerNetwork, PeerRequest,
    PeerResponse,
};
pub use peer_service::{PeerEndpoint, PeerService};
pub use pending_answers::{PendingAnswer, PendingAnswers};
pub use proposer::Proposed;
pub use read_index::Barrier;
pub use records::applied_index;
pub use sim_network::{SimFaults, SimNetwork};
pub use snapshot::SnapshotOptions;
pub use state_machine::{Command, StateMachine};
pub use state_machine_store::ApplyOptions;
pub use status::{FollowerStatus, GroupStatus, Leadership, Role};
pub use types::{Batch, GroupId, NodeId, Peer};
