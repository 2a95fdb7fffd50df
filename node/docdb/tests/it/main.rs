//! The engine from outside: commands in, replies and reads out, over both stores.
#![allow(clippy::unwrap_used, missing_docs)]

mod harness;
mod t10_documents;
