//! Open transactions: what each has read and written so far, on the node where it began.
//!
//! A transaction reads through the ordinary, linearizable read path, keeps its writes to itself, and ends in one command
//! that the group's state machine carries out only if everything that was read is still so
//! ([`yunbase_docdb::transaction`]). Nothing is locked: others neither wait for a transaction nor notice it before its
//! commit. Its state lives on one node, whatever leads the group; the id names the node, and every other one passes
//! requests on. When that node is gone, the transaction is, and nothing of it has happened.
//!
//! | file | idea |
//! |---|---|
//! | `working_set` | what a transaction has read and written: a pure overlay over documents |
//! | `registry`, `memory` | the open ones, their limits and their end |
//!
//! An end user's transaction is held to the access rules step by step, in its own view; its commit takes effect only
//! while these rules are in force and the user is still signed in.

mod memory;
mod registry;
mod working_set;

pub use registry::{Open, Registry};
pub use working_set::{Named, WorkingSet, Write};

use serde::{Deserialize, Serialize};
use yunbase_docdb::op::Op;

use crate::call::{CallFuture, Caller, Failure, Retry};
use crate::router::TransactionCall;

/// A document that the transaction had read has been changed since: the clients run it again.
pub const CONFLICT: &str = "DATABASE_TRANSACTION_CONFLICT";
/// There is no such transaction, or no longer.
pub const NOT_EXIST: &str = "DATABASE_TRANSACTION_NOT_EXIST";
/// The transaction cannot go on.
pub const FAIL: &str = "DATABASE_TRANSACTION_FAIL";

/// Whoever keeps transactions: the router of this node, or a stand-in in a test.
pub trait Transact: Send + Sync + 'static {
    /// Opens a transaction of `caller` in `env` and gives its id.
    fn begin(&self, env: &str, caller: &Caller) -> Result<String, Failure>;
    /// Carries out a step, wherever the transaction lives.
    fn step(&self, call: TransactionCall) -> CallFuture;
}

/// What a request does with a transaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// An operation inside of it.
    Run(Op),
    /// Its end, with effect.
    Commit,
    /// Its end, without.
    Abort,
}

pub(crate) fn unknown() -> Failure {
    Failure::new(
        NOT_EXIST,
        "there is no such transaction: it has ended, or was idle for too long; begin another",
        Retry::Never,
    )
}

pub(crate) fn conflict() -> Failure {
    Failure::new(
        CONFLICT,
        "another write changed a document that the transaction had read; run it again",
        Retry::Never,
    )
}
