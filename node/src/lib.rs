//! The yunbase node: wiring, doors, cluster duties and the command line.
//!
//! # Map
//! | module | owns |
//! |---|---|
//! | `config`, `identity`, `durable_file` | what a node is told, who it is, small files that survive a crash |
//! | `tls` | the cluster's certificate authority and mutual TLS between nodes |
//! | `call` | one request as everything behind the doors sees it |
//! | `gateway` | the doors for CloudBase clients (`POST /admin`, `POST /web`, `/v1/database`) |
//! | `realtime` | the door for watches, and the engine behind it |
//! | `data_service` | the door for gRPC: documents |
//! | `cluster` | the cluster map, placement, joining, and the management door |
//! | `router`, `leader_hints`, `sessions`, `forward`, `multiplex` | any node takes any call: find the leader, act once, answer in time |
//! | `group_runtime`, `state_bridge` | one group: the database over its Raft group |
//! | `surface` | the ports |
//! | `metrics`, `maintenance` | readiness and metrics; index builds and the watch over groups |
//! | `node` | puts the parts together, starts and stops them |
//! | `cli` | the `yunbase` command |
//!
//! # What it promises
//! * Any node takes any request. During an election requests wait within their deadline.
//! * Identity is settled at the door: nothing behind `gateway` and `data_service` parses a token.
//! * A retry of the node's own, and a client's under its session, takes effect once.

pub mod call;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod data_service;
pub mod durable_file;
pub mod forward;
pub mod gateway;
pub mod group_runtime;
pub mod identity;
pub mod leader_hints;
pub mod maintenance;
pub mod metrics;
pub mod multiplex;
pub mod node;
pub mod realtime;
pub mod router;
pub mod sessions;
pub mod state_bridge;
pub mod surface;
pub mod tls;

/// The generated node-to-node protocol.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic
)]
pub mod peer_proto {
    tonic::include_proto!("yunbase.peer.v1");
}
