//! Runs seeds of the consensus simulation: `simulate FIRST [COUNT]`. One seed prints every event.

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use jepsen_style_tests::simulation::{Outcome, SimulationOptions, run_many, run_seed};

const SHOW_EVERY: Duration = Duration::from_secs(10);

fn show_failure(outcome: &Outcome) {
    for violation in &outcome.violations {
        println!(
            "seed {}: {}: {}",
            outcome.seed, violation.invariant, violation.detail
        );
    }
    println!("  {}", outcome.replay_command());
}

fn main() -> anyhow::Result<()> {
    let numbers: Result<Vec<u64>, _> = std::env::args().skip(1).map(|n| n.parse()).collect();
    let mut options = SimulationOptions::default();
    let (first, count) = match numbers?.as_slice() {
        [seed] => {
            options.on_event = Some(|line| println!("{line}"));
            let outcome = run_seed(*seed, &options)?;
            show_failure(&outcome);
            println!("{:?} after {:?}", outcome.counts, outcome.served_after);
            anyhow::ensure!(outcome.is_valid(), "seed {seed} failed");
            return Ok(());
        }
        [first, count] => (*first, *count),
        _ => anyhow::bail!("usage: simulate FIRST [COUNT]"),
    };
    let began = Instant::now();
    let (mut done, mut shown) = (0_u64, Instant::now());
    let summary = run_many(first, count, &options, |outcome| {
        done += 1;
        if !outcome.is_valid() {
            show_failure(outcome);
        }
        if shown.elapsed() > SHOW_EVERY {
            shown = Instant::now();
            let rate = done as f64 / began.elapsed().as_secs_f64() * 3600.0;
            println!("{done} of {count} seeds, {rate:.0} an hour");
        }
        true
    })?;
    let rate = summary.seeds as f64 / began.elapsed().as_secs_f64() * 3600.0;
    println!(
        "{} seeds, {} failed, {rate:.0} an hour; {} acknowledged, {} reads, {} snapshots restored, {:?} of virtual time, served at most {:?} after the faults",
        summary.seeds,
        summary.failed,
        summary.acknowledged,
        summary.reads,
        summary.restored,
        summary.virtual_time,
        summary.served_after_max
    );
    anyhow::ensure!(summary.failed == 0, "{} seeds failed", summary.failed);
    Ok(())
}
