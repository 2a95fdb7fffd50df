//! Tests of whole nodes: real processes, real disks, real connections.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod cluster;
mod hosts;
mod s3_client;
mod t10_serve;
mod t20_cities;
mod t25_movement;
mod t30_cluster;
mod t35_removal;
mod t40_files;
mod t50_kill;
mod t60_garbage;
mod t70_operators;
mod t70_transactions;
mod t80_s3;
mod t80_transfer;
mod transfer_client;
