//! Raft groups in one process: openraft over a shared RocksDB log and a gRPC transport. Under construction.

mod blocking_thread;
mod codec;
mod crash_point;
mod log_engine;
mod records;
mod snapshot;
mod state_machine;
mod state_machine_store;
mod types;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod crash_test;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod storage_suite_test;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod test_state_machine;

pub use log_engine::{
    LATENCY_BUCKETS_MICROS, LogEngine, LogError, LogOptions, LogStats, MemoryDisk, ProbeOptions,
    ProbeReport, probe,
};
pub use snapshot::SnapshotOptions;
pub use state_machine::{Command, StateMachine};
pub use state_machine_store::ApplyOptions;
pub use types::{Batch, GroupId, NodeId, Peer};
