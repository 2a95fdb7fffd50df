//! The chaos harness of yunbase: starts real clusters of real processes, breaks them, records what clients saw, and
//! judges it by the strongest model that yunbase claims.
//!
//! # Map
//! | what | files |
//! |---|---|
//! | what clients saw | `history` |
//! | how clients reach the database | `access` |
//! | what to do to the database, and what must come of it | `workload` |
//! | judges of histories; they know nothing of yunbase | `check` |
//! | nodes as hosts of their own | `cluster` |
//! | what breaks them | `nemesis` |
//! | one run: seed, load, faults, recovery, verdict; which runs there are | `run`, `plan` |
//! | the page that tells of it | `report` |
//! | consensus alone, on a simulated network, clock and disk | `simulation` |
//!
//! # What it promises
//! * A seed fixes the schedule of operations and faults.
//! * A fault that did not happen makes a run invalid, not passed.
//! * `unknown` is not `valid`.
//! * It stops and removes only what it has started itself, whatever way it ends.

pub mod access;
pub mod check;
pub mod cluster;
pub mod history;
pub mod nemesis;
pub mod plan;
pub mod report;
pub mod run;
pub mod simulation;
pub mod workload;
