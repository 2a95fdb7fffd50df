//! The document database: pure, synchronous, deterministic. Under construction.

pub mod error;
pub mod expr;
pub mod filter;
pub mod limits;
pub mod op;
pub mod projection;
pub mod raw_bson;
pub mod sort;
pub mod update;
pub mod value;

pub use error::{Error, ErrorCode, Result};
