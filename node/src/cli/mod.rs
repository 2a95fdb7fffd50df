//! The `yunbase` command.

pub mod bench;
pub mod db;
mod ejson;
pub mod environment;
pub mod exit;
pub mod export;
pub mod failure;
pub mod import;
pub mod output;

pub use exit::Exit;
