//! Which runs there are: the short suite, the rotation of the soak, and what catches which mutant.

use std::time::Duration;

/// A workload with the faults beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// What clients do.
    pub workload: &'static str,
    /// What breaks the cluster.
    pub nemeses: &'static [&'static str],
    /// How many nodes.
    pub nodes: usize,
    /// How long.
    pub time: Duration,
}

const fn pair(
    workload: &'static str,
    nemeses: &'static [&'static str],
    nodes: usize,
    seconds: u64,
) -> Pair {
    Pair {
        workload,
        nemeses,
        nodes,
        time: Duration::from_secs(seconds),
    }
}

/// The short suite: each kind of fault that a machine room has every week, under the workload that it would show in.
pub const SUITE: &[Pair] = &[
    pair("list-append", &["kill-leader", "partition-leader"], 3, 40),
    pair("register", &["pause", "partition-one-way"], 3, 30),
    pair("set", &["power-loss-all"], 3, 25),
    pair("bank", &["kill-leader", "leader-transfer"], 3, 30),
    pair("watch", &["kill-leader", "packet-loss"], 3, 35),
    pair("dedup", &["partition-flapping", "kill-leader"], 3, 30),
    pair("index", &["kill-all"], 3, 25),
    pair("files", &["kill-one", "bit-rot"], 3, 30),
];

/// A deliberate bug and what catches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mutant {
    /// Its name in the code.
    pub name: &'static str,
    /// What is wrong with it.
    pub about: &'static str,
    /// The run that catches it; `None`: the simulation does.
    pub caught_by: Option<Pair>,
}

const fn mutant(name: &'static str, about: &'static str, caught_by: Pair) -> Mutant {
    Mutant {
        name,
        about,
        caught_by: Some(caught_by),
    }
}

const fn simulated(name: &'static str, about: &'static str) -> Mutant {
    Mutant {
        name,
        about,
        caught_by: None,
    }
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    mutant(
        "reply-before-fsync",
        "entries behind a group's founding are acknowledged before they are on the disk",
        pair("set", &["power-loss-all"], 3, 30),
    ),
    mutant(
        "skip-read-index",
        "a read does not ask whether its node still leads",
        pair("register", &["partition-leader", "pause"], 3, 30),
    ),
    mutant(
        "read-without-waiting",
        "a follower reads before it has applied what the leader had",
        pair("register", &["packet-delay"], 3, 30),
    ),
    mutant(
        "apply-twice-after-restart",
        "what a restarted node catches up with takes effect twice, and sessions do not notice",
        pair("counter", &["kill-all", "kill-leader"], 3, 30),
    ),
    mutant(
        "forget-session",
        "a request that is repeated takes effect again",
        pair("dedup", &["kill-leader", "partition-flapping"], 3, 40),
    ),
    mutant(
        "unique-outside-apply",
        "a unique index is not checked where writes are in order",
        pair("index", &[], 3, 15),
    ),
    mutant(
        "skip-recheck",
        "a compare-and-set does not compare where writes are in order",
        pair("register", &[], 3, 20),
    ),
    mutant(
        "skip-read-validation",
        "a transaction commits although what it read has changed",
        pair("list-append", &[], 3, 15),
    ),
    mutant(
        "torn-commit",
        "only the first write of a transaction takes effect",
        pair("bank", &[], 3, 15),
    ),
    mutant(
        "index-forgets-new",
        "a document that changed is not entered into an index again now and then",
        pair("index", &[], 3, 15),
    ),
    mutant(
        "build-misses-writes",
        "an index that is being built does not hear of writes",
        pair("index-build", &[], 3, 25),
    ),
    mutant(
        "expire-early",
        "documents expire before their time",
        pair("ttl", &[], 3, 15),
    ),
    mutant(
        "drop-change-event",
        "a change is missing from the change log now and then",
        pair("watch", &["kill-leader"], 3, 20),
    ),
    mutant(
        "acknowledge-one-copy",
        "a file is acknowledged when its chunks are on one node, and brought to others later",
        pair("files", &["replace-node", "kill-one"], 3, 40),
    ),
    mutant(
        "collect-pinned",
        "chunks that an upload relies on are collected",
        pair("files", &[], 1, 30),
    ),
    mutant(
        "serve-unverified",
        "chunks are served without a look at their hash",
        pair("files", &["bit-rot"], 3, 40),
    ),
    simulated("forget-vote", "a restarted node forgets whom it voted for"),
    simulated(
        "vote-before-fsync",
        "a vote is given before it is on the disk",
    ),
    simulated(
        "partial-snapshot-install",
        "a snapshot is taken note of, but a state that is there already stays",
    ),
];

/// Workloads and the faults that they are never under, because what they promise rests on what the fault takes away.
const APART: &[(&str, &[&str])] = &[
    // Documents expire by the wall clock: on a node whose clock is wrong by an hour they rightly go an hour early.
    ("ttl", &["clock-skew", "clock-jump"]),
];

/// Faults of what only one workload uses.
const ONLY: &[(&str, &str)] = &[("bit-rot", "files")];

/// Whether a workload can say anything under a fault.
pub fn goes_with(workload: &str, nemesis: &str) -> bool {
    let of_another = ONLY
        .iter()
        .any(|(fault, name)| *fault == nemesis && *name != workload);
    !of_another
        && !APART
            .iter()
            .any(|(name, faults)| *name == workload && faults.contains(&nemesis))
}

/// The workload and the faults of the `turn`th run of a soak: every workload meets every fault that it
/// [goes with](goes_with), sooner or later.
pub fn rotation<'n>(
    turn: u64,
    workloads: &'n [String],
    nemeses: &'n [String],
) -> (&'n str, Vec<String>) {
    let at = |turn: u64, of: usize| usize::try_from(turn).unwrap_or(0) % of.max(1);
    let workload = &workloads[at(turn, workloads.len())];
    // Shifted by one for each round of all workloads, so that the pairs differ from round to round.
    let round = turn / workloads.len().max(1) as u64;
    let first = at(turn * 2 + round, nemeses.len());
    let second = at(turn * 2 + round + 1 + turn % 5, nemeses.len());
    let mut chosen = vec![nemeses[first].clone()];
    if second != first {
        chosen.push(nemeses[second].clone());
    }
    chosen.retain(|nemesis| goes_with(workload, nemesis));
    (workload, chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{nemesis, workload};

    #[test]
    fn all_pairs_name_what_there_is() {
        let of_mutants = MUTANTS
            .iter()
            .filter_map(|mutant| mutant.caught_by.as_ref());
        for pair in SUITE.iter().chain(of_mutants) {
            assert!(workload::by_name(pair.workload).is_some(), "{pair:?}");
            for name in pair.nemeses {
                assert!(nemesis::by_name(name).is_some(), "{pair:?}");
            }
        }
        assert!(MUTANTS.len() >= 10);
        let suite: Duration = SUITE.iter().map(|pair| pair.time).sum();
        assert!(suite < Duration::from_secs(8 * 60), "{suite:?}");
    }

    #[test]
    fn what_stays_apart_exists() {
        for (name, faults) in APART {
            assert!(workload::by_name(name).is_some(), "{name}");
            for fault in *faults {
                assert!(nemesis::by_name(fault).is_some(), "{fault}");
                assert!(!goes_with(name, fault));
            }
        }
        assert!(goes_with("ttl", "kill-leader") && goes_with("bank", "clock-skew"));
    }

    #[test]
    fn a_soak_has_every_workload_meet_every_fault() {
        let names =
            |of: &str, count: usize| (0..count).map(|n| format!("{of}{n}")).collect::<Vec<_>>();
        let (workloads, nemeses) = (names("w", 14), names("n", 27));
        let mut met = std::collections::BTreeSet::new();
        for turn in 0..14 * 60 {
            let (workload, chosen) = rotation(turn, &workloads, &nemeses);
            met.extend(chosen.into_iter().map(|name| (workload.to_owned(), name)));
        }
        assert_eq!(met.len(), 14 * 27);
    }
}
