//! The ports of a node.

pub mod health;
pub mod http;
pub mod peer;
