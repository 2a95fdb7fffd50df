//! The `yunbase` command.

pub mod bench;
pub mod db;
mod ejson;
pub mod exit;
pub mod export;
pub mod failure;
pub mod import;
pub mod output;
pub mod target;

pub use exit::Exit;
