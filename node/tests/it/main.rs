//! Tests of whole nodes: real processes, real disks, real connections.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod cluster;
mod t10_serve;
mod t20_cities;
mod t50_kill;
