//! The document database of yunbase as a library: collections of BSON documents with indexes, queries,
//! exactly-once writes and a change log, over an ordered key-value store.
//!
//! It is pure, synchronous and deterministic: no network, no async, no clock, no randomness. Time, ids
//! and decisions of the leader enter as parts of commands; disk is reached through one narrow trait.
//! Raft stays outside: a node feeds committed commands to [`Database::apply`] and serves
//! [`Database::read`] after its read barrier.
//!
//! # The way of a write
//!
//! [`op::Op`] → [`WritePlan`] on the leader finds what the write is about and makes commands →
//! consensus orders them → [`Database::apply`] checks each again and carries it out in one atomic
//! batch: documents, index entries, change log, session outcome, `progress` → the reply goes back to
//! the plan, which has the next step or the answer.
//!
//! # Map
//!
//! | what | files |
//! |---|---|
//! | the seam to callers | `op`, `error`, `limits`, `raw_bson` |
//! | opening, applying, reading | `database`, `point_read`, `read`, `statistics` |
//! | writes: on the leader, in the log, on every replica | `write_plan`, `rehearsal`, `command`, `apply`, `change`, `write`, `validator`, `draft` |
//! | what requests of end users are held to | `guard` |
//! | what exists, what is remembered | `catalog`, `state`, `session`, `change_log` |
//! | indexes | `index_options`, `index_entries`, `index_build`, `expiry` |
//! | queries | `query`, `query_check`, `planner`, `executor`, `near_scan`, `explain` |
//! | aggregation | `aggregate`, `spill` |
//! | the query language | `value`, `filter`, `update`, `projection`, `sort`, `expr` |
//! | places on the earth | `geo` |
//! | bytes | `keys`, `codec` |
//! | storage | `kv`; `rocks`, `rocks_options`; `memory` |
//!
//! # Promises
//!
//! * Replicas that applied the same commands hold the same bytes ([`Database::digest`]) and gave the
//!   same replies, however the log was cut into calls and whichever store is below.
//! * A batch is visible, and after a crash present, as a whole or not at all, with its `progress`.
//! * A request retried under its [`SessionSequence`] takes effect once and returns its first outcome.
//! * A query gives the same result whatever plan is chosen, from one consistent view.
//! * A guarded operation touches and shows only what its [`Guard`] allows, and nothing at all once the access document
//!   that the guard was made from has changed.
//! * A transaction is committed only while every document and query that it read would be read the same: strictly
//!   serializable within the group ([`transaction`]).
//! * Nothing that comes from outside panics; every buffer, result, queue and step has a limit in [`limits`].

#![forbid(unsafe_code)]

mod aggregate;
mod apply;
mod catalog;
mod change;
pub mod change_log;
mod codec;
pub mod command;
pub mod database;
mod draft;
pub mod error;
mod executor;
mod expiry;
mod explain;
pub mod expr;
pub mod filter;
mod geo;
mod guard;
mod index_build;
mod index_entries;
mod index_options;
mod keys;
pub mod kv;
pub mod limits;
pub mod memory;
mod mutant;
mod near_scan;
pub mod op;
mod planner;
mod point_read;
pub mod projection;
mod query;
mod query_check;
pub mod raw_bson;
mod read;
mod rehearsal;
pub mod rocks;
pub mod rocks_options;
mod session;
pub mod sort;
pub mod spill;
mod state;
mod statistics;
pub mod transaction;
pub mod update;
mod validator;
pub mod value;
mod write;
pub mod write_plan;

pub use catalog::Access;
pub use command::{CommandReply, SessionSequence};
pub use database::{Database, Entry, Options};
pub use error::{Error, ErrorCode, Result};
pub use guard::{Checks, Guard, Joined};
pub use keys::Position;
pub use query::Budget;
pub use write_plan::{Step, WritePlan};
