//! The yunbase node: its doors, duties and command line.

pub mod cli;
