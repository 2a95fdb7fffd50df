//! Raft groups in one process: openraft over a shared RocksDB log and a gRPC transport. Under construction.

mod blocking_thread;
mod codec;
mod compaction;
mod crash_point;
mod error;
mod group;
mod grpc_network;
mod host;
mod log_engine;
mod membership;
mod metrics;
mod options;
mod peer_handler;
mod peer_network;
mod peer_service;
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
mod wire;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod crash_test;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod storage_suite_test;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod test_state_machine;

pub use error::{HostError, LeaderHint, MembershipError, ProposeError, ReadError, UnknownReason};
pub use group::Group;
pub use grpc_network::{EndpointFactory, GrpcNetwork, plain_endpoints};
pub use host::Host;
pub use log_engine::{
    LATENCY_BUCKETS_MICROS, LogEngine, LogError, LogOptions, LogStats, MemoryDisk, ProbeOptions, ProbeReport, probe,
};
pub use membership::{Members, MembershipChange, MembershipVersion};
pub use metrics::GroupMetrics;
pub use options::{
    CompactionOptions, HostOptions, ProposalOptions, RaftOptions, RaftRuntime, TransferOptions,
};
pub use peer_network::{
    ClusterId, InvalidClusterId, Lane, Parties, PeerError, PeerHandler, PeerNetwork, PeerRequest, PeerResponse,
};
pub use peer_service::{PeerEndpoint, PeerService};
pub use proposer::Proposed;
pub use read_index::Barrier;
pub use sim_network::{SimFaults, SimNetwork};
pub use snapshot::SnapshotOptions;
pub use state_machine::{Command, StateMachine};
pub use state_machine_store::ApplyOptions;
pub use status::{FollowerStatus, GroupStatus, Leadership, Role};
pub use types::{Batch, GroupId, NodeId, Peer};
