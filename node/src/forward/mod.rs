//! Forwarding: any node takes any call and hands it to the leader of the call's group.

mod client;
pub mod codec;
mod server;

pub use client::{EndpointFactory, ForwardError, ForwardPool};
pub use server::{ForwardServer, Leader};
