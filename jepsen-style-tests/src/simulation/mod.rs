//! A deterministic simulation of consensus: several nodes of the real consensus crate in one thread, with
//! network, clock, disks and chance simulated, under faults that no machine room survives this often. The
//! same seed gives the same run, event by event; thousands of runs an hour cost one core.
//!
//! # Map
//! * `profile` is what a seed makes of a run; `world` the machines; `life` what cuts a killed process off.
//! * `clients` ask, `faults` break, `recovery` heals and waits.
//! * `judge` holds the invariants; `registers`, `command` and `state` are what is replicated.
//! * `torn_files` is what a power loss does to a snapshot that is not complete.
//! * `trace` is what two runs of a seed are compared by.
//!
//! # What is real and what is not
//! Real: openraft and everything of the consensus crate above its seams, log engine with its batches and
//! recovery included. Simulated: the peer network, time (a clock per node that runs fast or slow; it never
//! jumps, since consensus asks the monotonic clock alone), random numbers, the log's disk below the
//! write-ahead log, the state machine and its disk. Snapshots are real files, of which a crash tears those
//! that were not synced.

mod clients;
mod command;
mod faults;
mod judge;
mod life;
mod profile;
mod recovery;
mod registers;
mod state;
mod torn_files;
mod trace;
mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;
use yunbase_consensus::Determinism;

pub use judge::{Counts, Violation};
pub use profile::Fault;

use clients::{Client, Shared};
use profile::Profile;
use trace::Trace;
use world::World;

/// Files in memory, where there is such a thing: snapshots are synced often.
const MEMORY_FILES: &str = "/dev/shm";

/// How a simulation is run.
#[derive(Debug, Clone)]
pub struct SimulationOptions {
    /// Virtual time with faults.
    pub fault_time: Duration,
    /// A write must be acknowledged this soon after the last fault ended.
    pub serve_within: Duration,
    /// All members must hold the same this soon after that.
    pub converge_within: Duration,
    /// Breaks the simulated node itself, to prove that the judge notices.
    pub sabotage: Option<Sabotage>,
    /// Gets each event of the run as a line.
    pub on_event: Option<fn(&str)>,
}

impl Default for SimulationOptions {
    fn default() -> Self {
        Self {
            fault_time: Duration::from_secs(15),
            serve_within: Duration::from_secs(5),
            converge_within: Duration::from_secs(20),
            sabotage: None,
            on_event: None,
        }
    }
}

/// A deliberate bug in what surrounds consensus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Syncs of the log succeed and make nothing durable.
    LyingDisks,
    /// Reads do not wait for a barrier.
    ReadsWithoutBarrier,
    /// Sessions do not travel with snapshots.
    ForgottenSessions,
}

/// What came of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What must not be and was, the first first.
    pub violations: Vec<Violation>,
    /// Hash of all events: the same for the same seed and options.
    pub trace_hash: u64,
    /// Number of events.
    pub events: u64,
    /// What clients and replicas did.
    pub counts: Counts,
    /// Virtual time from the end of all faults to the first acknowledged write.
    pub served_after: Duration,
    /// Virtual time of the whole run.
    pub virtual_time: Duration,
    /// The last events as text; empty when nothing was violated.
    pub last_events: Vec<String>,
}

impl Outcome {
    /// Whether nothing was violated.
    pub fn is_valid(&self) -> bool {
        self.violations.is_empty()
    }

    /// The command that runs this seed again.
    pub fn replay_command(&self) -> String {
        format!(
            "cargo run --release -p jepsen-style-tests -- simulate --seed {}",
            self.seed
        )
    }
}

/// What came of many seeds.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Seeds that were run.
    pub seeds: u64,
    /// Those that violated something; bounded by [`FAILURES_MAX`].
    pub failures: Vec<Outcome>,
    /// Number of those that violated something.
    pub failed: u64,
    /// Commands acknowledged in all.
    pub acknowledged: u64,
    /// Reads in all.
    pub reads: u64,
    /// Snapshots restored in all.
    pub restored: u64,
    /// The longest virtual time from the end of all faults to the first acknowledged write.
    pub served_after_max: Duration,
    /// Virtual time in all.
    pub virtual_time: Duration,
}

/// Failures that a summary keeps.
pub const FAILURES_MAX: usize = 20;

/// A run that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// No folder for the snapshots, or no runtime.
    #[error("the simulation cannot start: {0}; free some space for temporary files")]
    Start(#[from] std::io::Error),
}

/// Runs a seed.
pub fn run_seed(seed: u64, options: &SimulationOptions) -> Result<Outcome, SimulationError> {
    let memory = Path::new(MEMORY_FILES);
    let folder = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir())?,
        false => tempfile::tempdir()?,
    };
    let _determinism = Determinism::enter(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    Ok(runtime.block_on(run(seed, options, folder.path().to_owned())))
}

/// Runs `count` seeds from `first` on; `progress` gets each outcome and ends the row by `false`.
pub fn run_many(
    first: u64,
    count: u64,
    options: &SimulationOptions,
    mut progress: impl FnMut(&Outcome) -> bool,
) -> Result<Summary, SimulationError> {
    let mut summary = Summary::default();
    for seed in first..first.saturating_add(count) {
        let outcome = run_seed(seed, options)?;
        summary.seeds += 1;
        summary.acknowledged += outcome.counts.acknowledged;
        summary.reads += outcome.counts.reads;
        summary.restored += outcome.counts.restored;
        summary.served_after_max = summary.served_after_max.max(outcome.served_after);
        summary.virtual_time += outcome.virtual_time;
        let go_on = progress(&outcome);
        if !outcome.is_valid() {
            summary.failed += 1;
            if summary.failures.len() < FAILURES_MAX {
                summary.failures.push(outcome);
            }
        }
        if !go_on {
            break;
        }
    }
    Ok(summary)
}

async fn run(seed: u64, options: &SimulationOptions, folder: PathBuf) -> Outcome {
    let began = Instant::now();
    let mut random = StdRng::seed_from_u64(seed);
    let profile = Profile::draw(&mut random);
    let trace = Trace::new(options.on_event);
    let (voters, machines) = (profile.voters, profile.voters + profile.spares);
    let world = World::new(seed, profile, folder, trace, options.sabotage);
    world.event(format_args!("{:?}", world.profile()));
    for _ in 0..machines {
        let node = world.add_machine();
        world.start(node).await;
    }
    let members = (1..=voters).map(|node| (node, world.peer(node))).collect();
    if let Some(first) = world.process(1)
        && let Err(error) = first.group.bootstrap(members).await
    {
        world.judge(|judge| judge.violated("harness", format!("no bootstrap: {error}")));
    }

    recovery::form(&world).await;
    world.network().set_faults(world.profile().network.clone());

    let shared = Arc::new(Shared::default());
    let clients: Vec<_> = (1..=world.profile().clients)
        .map(|id| tokio::spawn(Client::new(id, seed, world.clone(), shared.clone()).run()))
        .collect();
    faults::run(&world, Instant::now() + options.fault_time).await;
    shared.stop.store(true, Ordering::Release);
    let served_after = recovery::recover(&world, options).await;
    for client in clients {
        if client.await.is_err() {
            world.judge(|judge| judge.violated("harness", "a client panicked".to_owned()));
        }
    }
    world.inspect();

    let (violations, counts) = world.judge(|judge| (judge.violations().to_vec(), judge.counts()));
    world.trace(|trace| Outcome {
        seed,
        trace_hash: trace.hash(),
        events: trace.events(),
        counts,
        served_after,
        virtual_time: began.elapsed(),
        last_events: match violations.is_empty() {
            true => Vec::new(),
            false => trace.last_events(),
        },
        violations,
    })
}

#[cfg(test)]
mod tests;
