//! Groups as their users see them: several hosts in one process, talking over loopback or a simulated network.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod cluster;
mod kv;
mod t10_propose_and_read;
mod t20_failover;
mod t30_catch_up;
mod t40_membership;
mod t50_refusals;
mod t60_partitions;
