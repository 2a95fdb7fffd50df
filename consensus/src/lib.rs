//! Raft groups in one process: openraft over a shared RocksDB log and a gRPC transport. Under construction.

mod state_machine;
mod types;

pub use state_machine::{Command, StateMachine};
pub use types::{Batch, GroupId, NodeId, Peer};
