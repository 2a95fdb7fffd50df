//! Servers for tests: a stand-in inside the process, and real ones. No part of the API.

pub mod fake;
mod real;

pub use real::DevServer;
