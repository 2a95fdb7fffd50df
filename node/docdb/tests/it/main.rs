//! The database from outside: commands in, replies and reads out, over both stores; and the query language against
//! an independent implementation.

#![allow(clippy::unwrap_used, missing_docs)]

mod bounds;
mod garbage;
mod generate;
mod harness;
mod key_order;
mod mingo;
mod t10_documents;
