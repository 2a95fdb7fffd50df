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

/// Seeds that found a bug, and what it was. They stand for as long as the runs that they give go the same way.
const FOUND: [(u64, &str); 2] = [
    (
        1174,
        "a refusal that came late kept a follower at its snapshot",
    ),
    (
        2269,
        "what lay between snapshot and purged log could be given to nobody",
    ),
];

#[test]
fn seeds_that_found_a_bug_pass() {
    for (seed, what) in FOUND {
        let outcome = run_seed(seed, &SimulationOptions::default()).unwrap();
        assert!(outcome.is_valid(), "{what}: {:?}", outcome.violations);
    }
}

/// The first of some seeds that shows a deliberate bug, and the invariant that it violates.
fn first_violation(sabotage: Sabotage) -> Option<&'static str> {
    let options = SimulationOptions {
        sabotage: Some(sabotage),
        ..SimulationOptions::default()
    };
    let summary = run_many(1, 5 * SEEDS, &options, Outcome::is_valid).unwrap();
    summary
        .failures
        .first()
        .map(|outcome| outcome.violations[0].invariant)
}

#[test]
fn notices_disks_that_lie() {
    assert!(first_violation(Sabotage::LyingDisks).is_some());
}

#[test]
fn notices_reads_without_a_barrier() {
    assert_eq!(
        first_violation(Sabotage::ReadsWithoutBarrier),
        Some("real time")
    );
}

#[test]
fn notices_sessions_that_a_snapshot_forgets() {
    assert!(first_violation(Sabotage::ForgottenSessions).is_some());
}
