//! `simulate`: many seeds, or one with every event.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jepsen_style_tests::plan::Mutant;
use jepsen_style_tests::simulation::{Outcome, SimulationOptions, run_many, run_seed};

const SHOW_EVERY: Duration = Duration::from_secs(10);
/// Seeds in which the simulation must catch a mutant.
const MUTANT_SEEDS: u64 = 300;

fn show_failure(outcome: &Outcome) {
    for violation in &outcome.violations {
        println!(
            "seed {}: {}: {}",
            outcome.seed, violation.invariant, violation.detail
        );
    }
    println!("  {}", outcome.replay_command());
}

/// One seed, event by event; with `RUST_LOG`, also what Raft itself says between the events.
pub(super) fn one(seed: u64) -> anyhow::Result<bool> {
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_ansi(false)
            // Time is the simulation's: this machine's says nothing.
            .without_time()
            .init();
    }
    let options = SimulationOptions {
        on_event: Some(|line| println!("{line}")),
        ..SimulationOptions::default()
    };
    let outcome = run_seed(seed, &options)?;
    if !outcome.is_valid() {
        show_failure(&outcome);
    }
    println!(
        "{:?}, service {:?} after the faults",
        outcome.counts, outcome.served_after
    );
    Ok(outcome.is_valid())
}

/// `count` seeds from `first` on.
pub(super) fn many(first: u64, count: u64) -> anyhow::Result<bool> {
    let began = Instant::now();
    let (mut done, mut shown) = (0_u64, Instant::now());
    let an_hour = |done: u64| done as f64 / began.elapsed().as_secs_f64() * 3600.0;
    let summary = run_many(first, count, &SimulationOptions::default(), |outcome| {
        done += 1;
        if !outcome.is_valid() {
            show_failure(outcome);
        }
        if shown.elapsed() > SHOW_EVERY {
            shown = Instant::now();
            eprintln!("{done} of {count} seeds, {:.0} an hour", an_hour(done));
        }
        true
    })?;
    println!(
        "{} seeds, {} failed, {:.0} an hour; {} commands acknowledged, {} reads, {} snapshots restored, {:?} of virtual time, service at most {:?} after the faults",
        summary.seeds,
        summary.failed,
        an_hour(summary.seeds),
        summary.acknowledged,
        summary.reads,
        summary.restored,
        summary.virtual_time,
        summary.served_after_max
    );
    Ok(summary.failed == 0)
}

/// Whether a process of this program that has the bug finds it.
pub(super) fn catches(mutant: &Mutant) -> anyhow::Result<bool> {
    let own = std::env::current_exe().context("find this program")?;
    let output = std::process::Command::new(own)
        .args(["simulate", "--seed", "1", "--seeds"])
        .arg(MUTANT_SEEDS.to_string())
        .env("YUNBASE_MUTANT", mutant.name)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    // It must have run to its end: a program that cannot run at all catches nothing.
    Ok(!output.status.success() && said.contains(" seeds, "))
}
