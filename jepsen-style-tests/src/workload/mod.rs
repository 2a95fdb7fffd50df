//! What clients do to the database, and what must come of it.
//!
//! A workload is a file here and a line in [`all`]: what must be there first, what a process does next, how one step is
//! carried out, what is looked at when all faults are over, and the judge of it all. What a process does is drawn from a
//! generator of its own that the run's seed fixes, so a workload keeps no state of its own.

mod bank;
mod counter;
mod dedup;
mod files;
mod index;
mod index_build;
mod list_append;
mod long_fork;
mod monotonic;
mod register;
mod rw_register;
mod set;
mod transaction;
mod ttl;
mod unique_ids;
mod watch;

use futures::future::BoxFuture;
use rand::rngs::StdRng;

use crate::access::{Outcome, Session};
use crate::check::Checker;
use crate::history::Value;

/// One operation that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name in the history.
    pub f: &'static str,
    /// Its argument in the history.
    pub value: Value,
}

impl Step {
    /// A step.
    pub fn new(f: &'static str, value: Value) -> Self {
        Self { f, value }
    }

    /// A step without an argument.
    pub fn bare(f: &'static str) -> Self {
        Self::new(f, Value::Nil)
    }
}

/// Where in a run a process is.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The process, from 0; unlike the history's it stays the same when an operation's outcome is unknown.
    pub client: u64,
    /// How many clients there are.
    pub clients: u64,
    /// How many steps it has taken.
    pub step: u64,
}

impl Place {
    /// A number that no other step of the run has.
    pub fn unique(&self) -> i64 {
        i64::try_from(self.step * self.clients + self.client).unwrap_or(i64::MAX)
    }

    /// About how many steps all clients have taken.
    pub fn progress(&self) -> i64 {
        i64::try_from(self.step * self.clients).unwrap_or(i64::MAX)
    }
}

/// A kind of load with its judge.
pub trait Workload: Send + Sync {
    /// What it is called on the command line.
    fn name(&self) -> &'static str;

    /// What it would find, in a line.
    fn about(&self) -> &'static str;

    /// Makes what must be there, before any fault. May be repeated after an error.
    fn prepare<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, yunbase_client::Result<()>>;

    /// What a client does next.
    fn next(&self, rng: &mut StdRng, place: Place) -> Step;

    /// Does it.
    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome>;

    /// What is looked at through each node when all is over. Each is repeated until it succeeds.
    fn last(&self) -> Vec<Step>;

    /// Its judge.
    fn checker(&self) -> Box<dyn Checker>;
}

/// All workloads.
pub fn all() -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(register::Register),
        Box::new(list_append::ListAppend),
        Box::new(rw_register::RwRegister),
        Box::new(bank::Bank),
        Box::new(set::Set),
        Box::new(unique_ids::UniqueIds),
        Box::new(dedup::Dedup),
        Box::new(counter::Counter),
        Box::new(monotonic::Monotonic),
        Box::new(long_fork::LongFork),
        Box::new(index::Index),
        Box::new(index_build::IndexBuild),
        Box::new(ttl::Ttl),
        Box::new(files::Files),
        Box::<watch::Watch>::default(),
    ]
}

/// The workload of this name.
pub fn by_name(name: &str) -> Option<Box<dyn Workload>> {
    all().into_iter().find(|workload| workload.name() == name)
}
