//! The SDK against a stand-in cluster that misbehaves on command.
#![allow(clippy::unwrap_used, missing_docs)]

mod t10_documents;
mod t20_batching;
mod t30_retries;
mod t40_failover;
mod t50_garbage;
mod t60_files;
