//! The document database: pure, synchronous, deterministic. Under construction.

pub mod error;
pub mod kv;
pub mod memory;
pub mod op;
pub mod raw_bson;
pub mod rocks;
pub mod rocks_options;

pub use error::{Error, ErrorCode, Result};
