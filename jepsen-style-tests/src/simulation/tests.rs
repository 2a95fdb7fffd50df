//! The simulation itself: it is repeatable, it gets somewhere, and the seeds that once found a bug pass.

use super::*;

/// Enough to meet every kind of fault.
const SEEDS: u64 = 40;

fn check(outcome: &Outcome) {
    assert!(
        outcome.is_valid(),
        "{:?}\n{}\n{}",
        outcome.violations,
        outcome.last_events.join("\n"),
        outcome.replay_command()
    );
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    let options = SimulationOptions::default();
    for seed in 1000..1000 + SEEDS {
        let first = run_seed(seed, &options).unwrap();
        let second = run_seed(seed, &options).unwrap();
        assert_eq!(first, second, "seed {seed} is not repeatable");
    }
}

#[test]
fn seeds_pass_and_get_somewhere() {
    let options = SimulationOptions::default();
    let mut hashes = std::collections::BTreeSet::new();
    let summary = run_many(1, SEEDS, &options, |outcome| {
        check(outcome);
        hashes.insert(outcome.trace_hash)
    });
    let summary = summary.unwrap();
    assert_eq!(hashes.len() as u64, SEEDS);
    assert!(summary.acknowledged > SEEDS * 50, "{summary:?}");
    assert!(summary.reads > SEEDS * 50, "{summary:?}");
    assert!(summary.restored > 0, "{summary:?}");
}
