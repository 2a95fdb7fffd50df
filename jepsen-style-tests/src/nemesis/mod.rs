//! What breaks a cluster. Each nemesis puts one fault in force, takes it away again, and proves with figures that it has
//! happened: a fault without a proof makes a run invalid.
//!
//! Nemeses can be combined: each remembers what it has done and undoes only that. A fault whose targets are in the way
//! of another's (a node to pause that is dead) is an error that says so, never a fault passed over in silence.

mod bit_rot;
mod clocks;
mod corruption;
mod disk_full;
mod io_errors;
mod kill;
mod leadership;
mod membership;
mod memory;
mod needs;
mod packets;
mod partition;
mod pause;
mod power;
mod replacement;
mod slow_disk;
mod targets;

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use rand::rngs::StdRng;
use serde::Serialize;

use crate::cluster::{Cluster, ClusterError};

pub use needs::Needs;

/// A fault that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The nodes that it hits, by number.
    pub targets: Vec<usize>,
    /// What is done to them, in words.
    pub what: String,
}

impl Fault {
    fn new(targets: impl Into<Vec<usize>>, what: impl Into<String>) -> Self {
        Self {
            targets: targets.into(),
            what: what.into(),
        }
    }
}

/// That a fault has really happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// What was seen, with figures.
    pub facts: Vec<String>,
}

impl Proof {
    fn of(facts: impl IntoIterator<Item = String>) -> Self {
        Self {
            facts: facts.into_iter().collect(),
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.facts.join("; "))
    }
}

/// Why a fault could not be put in force, taken away, or proven.
#[derive(Debug, thiserror::Error)]
pub enum NemesisError {
    /// The cluster could not be handled.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The harness's own files or processes could not be handled.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Nothing shows that the fault has happened: the run proves nothing.
    #[error("no proof that it happened: {0}")]
    NoProof(String),
    /// It cannot be done here, and why.
    #[error("not available here: {0}")]
    NotAvailable(String),
    /// The cluster did what it must never do.
    #[error("the node did wrong: {0}")]
    Violation(String),
}

/// Puts a fault in force and takes it away.
pub trait Nemesis: Send {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// What it does, in a sentence.
    fn about(&self) -> &'static str;

    /// What it cannot do without.
    fn needs(&self) -> Needs;

    /// Puts the fault in force. All chance comes from `rng`.
    ///
    /// * When this returns `Ok`, the fault has begun.
    /// * When it returns an error, a part of it may have begun: [`stop`](Self::stop) must be called all the same, and its
    ///   result means nothing.
    fn start<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
        rng: &'a mut StdRng,
    ) -> BoxFuture<'a, Result<Fault, NemesisError>>;

    /// Takes the fault away, and starts again the nodes that it has ended; they need not be ready yet.
    ///
    /// * When this returns, with whatever result, the fault is no longer in force.
    fn stop<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>>;
}

/// Fails without a proof.
fn prove(happened: bool, what: impl FnOnce() -> String) -> Result<(), NemesisError> {
    match happened {
        true => Ok(()),
        false => Err(NemesisError::NoProof(what())),
    }
}

/// The error of a `stop` that no `start` came before.
fn not_started() -> NemesisError {
    NemesisError::NoProof("it was never started".to_owned())
}

/// All nemeses.
pub fn all() -> Vec<Box<dyn Nemesis>> {
    let mut all: Vec<Box<dyn Nemesis>> = Vec::new();
    all.extend(kill::all());
    all.extend(pause::all());
    all.extend(partition::all());
    all.extend(packets::all());
    all.extend(leadership::all());
    all.extend(power::all());
    all.extend(clocks::all());
    all.extend(disk_full::all());
    all.extend(io_errors::all());
    all.extend(slow_disk::all());
    all.extend(corruption::all());
    all.extend(bit_rot::all());
    all.extend(membership::all());
    all.extend(replacement::all());
    all.extend(memory::all());
    all
}

/// The nemesis of this name.
pub fn by_name(name: &str) -> Option<Box<dyn Nemesis>> {
    all().into_iter().find(|nemesis| nemesis.name() == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let names: Vec<&str> = all().iter().map(|nemesis| nemesis.name()).collect();
        let unique: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(unique.len(), names.len());
        assert!(names.len() >= 14, "{names:?}");
        for name in names {
            assert_eq!(by_name(name).map(|nemesis| nemesis.name()), Some(name));
        }
        assert!(by_name("earthquake").is_none());
    }
}
