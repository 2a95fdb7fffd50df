//! The ports of a node.

pub mod client_address;
pub mod cors;
pub mod health;
pub mod http;
pub mod lanes;
pub mod peer;
