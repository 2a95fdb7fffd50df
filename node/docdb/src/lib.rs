//! The document database: pure, synchronous, deterministic. Under construction.

mod apply;
mod catalog;
pub mod change_log;
mod codec;
pub mod command;
pub mod database;
mod draft;
pub mod error;
pub mod expr;
pub mod filter;
mod index_build;
mod index_entries;
mod keys;
pub mod kv;
pub mod limits;
pub mod memory;
pub mod op;
pub mod projection;
pub mod raw_bson;
pub mod rocks;
pub mod rocks_options;
mod session;
pub mod sort;
mod state;
pub mod value;
mod write;

pub use database::{Database, Entry, Options};
pub use error::{Error, ErrorCode, Result};
pub use keys::Position;
