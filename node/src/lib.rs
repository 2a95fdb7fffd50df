//! The yunbase server as a library, so that its surfaces can be tested without a process.

pub mod call;
pub mod gateway;
