//! Integration tests of the document database, one binary.

#![allow(clippy::unwrap_used, missing_docs)]

mod bounds;
mod engine;
mod garbage;
mod generate;
mod key_order;
mod mingo;
