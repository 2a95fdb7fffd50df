//! The engine from outside: commands in, replies and reads out, over both stores.

// Documents are literals at the call.
#![allow(clippy::needless_pass_by_value, unreachable_pub)]

mod generate;
pub(crate) mod harness;
mod t10_documents;
mod t20_sessions;
mod t30_indexes;
mod t32_index_options;
mod t33_geo;
mod t34_collections;
mod t35_plans;
mod t36_geo_near;
mod t36_patterns;
mod t40_changes;
mod t50_stores;
mod t60_replicas;
mod t70_threads;
mod t80_access;
mod t90_transactions;
