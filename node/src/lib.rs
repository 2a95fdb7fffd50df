//! The yunbase node: wiring, doors, cluster duties and the command line.
//!
//! # Map
//! | module | owns |
//! |---|---|
//! | `config`, `identity`, `durable_file`, `direct_io` | what a node is told, who it is, small files that survive a crash, what the file system can do |
//! | `disk_space` | no writes before the disk is full |
//! | `tls` | the cluster's certificate authority and mutual TLS between nodes |
//! | `call` | one request as everything behind the doors sees it |
//! | `gateway` | the doors for CloudBase clients (`POST /admin`, `POST /web`, `/v1/database`, `/v1/storages`) |
//! | `auth` | end users: sign-in, sessions, tokens, and the door `/auth` |
//! | `operators` | who runs the cluster or builds on it: roles, sign-in, the gate in front of what they do |
//! | `audit` | who did what: append-only logs |
//! | `realtime` | the door for watches, and the engine behind it |
//! | `data_service` | the door for gRPC: documents |
//! | `storage` | files: manifests, chunks on their nodes, links, the doors for them |
//! | `seal` | texts that clients carry from node to node and cannot change |
//! | `cluster` | the cluster map, placement, joining, and the management door |
//! | `router`, `leader_hints`, `sessions`, `forward`, `multiplex` | any node takes any call: find the leader, act once, answer in time |
//! | `group_runtime`, `state_bridge` | one group: the database over its Raft group |
//! | `scan_threads`, `spill`, `priority` | where long queries run: their threads, their temporary files; who goes first |
//! | `transactions` | open transactions: what each has read and written |
//! | `rules` | what end users may do: access rules to guarded operations |
//! | `surface` | the ports |
//! | `metrics`, `maintenance` | readiness and metrics; index builds and the watch over groups |
//! | `node`, `threads` | puts the parts together, starts and stops them; shares the cores out |
//! | `cli` | the `yunbase` command |
//!
//! # What it promises
//! * Any node takes any request. During an election requests wait within their deadline.
//! * Identity is settled at the door: nothing behind `gateway` and `data_service` parses a token.
//! * What an end user asks for is held to the collection's rules in one place, `rules::enforce`, on its way through
//!   `router`; the database checks that they are still in force when it acts.
//! * A retry of the node's own, and a client's under its session, takes effect once.

pub mod audit;
pub mod auth;
pub mod call;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod data_service;
pub mod direct_io;
pub mod disk_space;
pub mod durable_file;
pub mod forward;
pub mod gateway;
pub mod group_runtime;
pub mod identity;
pub mod leader_hints;
pub mod maintenance;
pub mod metrics;
pub mod multiplex;
mod mutant;
pub mod node;
pub mod operators;
mod priority;
pub mod realtime;
pub mod router;
pub mod rules;
pub mod scan_threads;
pub mod seal;
pub mod sessions;
pub mod spill;
pub mod state_bridge;
pub mod storage;
pub mod surface;
pub mod threads;
pub mod tls;
pub mod transactions;

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
