//! The document database: pure, synchronous, deterministic. Under construction.

pub mod error;
pub mod op;
pub mod raw_bson;

pub use error::{Error, ErrorCode, Result};
