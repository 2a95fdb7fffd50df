//! `simulate`: many seeds, or one with every event.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
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

/// The invariant by which a process of this program that has the bug finds it, and the seed.
pub(super) fn catches(mutant: &Mutant) -> anyhow::Result<Option<String>> {
    let own = std::env::current_exe().context("find this program")?;
    let mut process = Command::new(own)
        .args(["simulate", "--seed", "1", "--seeds"])
        .arg(MUTANT_SEEDS.to_string())
        .env("YUNBASE_MUTANT", mutant.name)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let said = process.stdout.take().context("hear what it says")?;
    let (mut caught, mut is_done) = (None, false);
    for line in BufReader::new(said).lines() {
        let line = line?;
        if let Some((seed, rest)) = failure(&line) {
            caught = Some(format!("'{rest}' in seed {seed}"));
            // The first is enough.
            process.kill()?;
            break;
        }
        is_done |= line.contains(" seeds, ");
    }
    process.wait()?;
    // A program that cannot run at all catches nothing, and misses nothing either.
    ensure!(
        caught.is_some() || is_done,
        "the simulation did not run to its end"
    );
    Ok(caught)
}

/// The seed and the invariant of a line by which [`show_failure`] begins.
fn failure(line: &str) -> Option<(&str, &str)> {
    let (seed, rest) = line.strip_prefix("seed ")?.split_once(": ")?;
    Some((seed, rest.split_once(": ")?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_tell_of_a_failure() {
        let failed = "seed 7: log matching: node 1 wrote: twice";
        assert_eq!(failure(failed), Some(("7", "log matching")));
        assert_eq!(failure("300 seeds, 0 failed, 9 an hour"), None);
    }
}
