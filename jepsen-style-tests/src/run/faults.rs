//! What breaks the cluster during a run, and when: quiet, a fault or two at once, quiet again.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::Instant;

use super::recorder::Recorder;
use crate::cluster::Cluster;
use crate::nemesis::{self, Nemesis, NemesisError, Proof};
use crate::report::FaultRecord;

/// How long the cluster has to itself before the first fault and after each.
const QUIET: std::ops::Range<Duration> = Duration::from_secs(3)..Duration::from_secs(5);
/// How long a fault is in force.
const HOLD: std::ops::Range<Duration> = Duration::from_secs(3)..Duration::from_secs(6);
/// How long nodes may take to be ready after a fault; clients are served much sooner.
const READY_MAX: Duration = Duration::from_secs(45);
/// How often two faults are in force at once, where several are named.
const TOGETHER: f64 = 0.25;

/// What came of the faults of a run.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Those that were in force.
    pub(crate) records: Vec<FaultRecord>,
    /// What a reader must know: faults that could not be put in force, and why.
    pub(crate) notes: Vec<String>,
    /// What the cluster did that it must never do.
    pub(crate) violations: Vec<String>,
    /// Why the run proves nothing.
    pub(crate) doubts: Vec<String>,
}

/// The schedule.
pub(crate) struct Schedule {
    /// What is broken.
    pub(crate) cluster: Arc<Cluster>,
    /// By which faults.
    pub(crate) names: Vec<String>,
    /// Fixes which, where and for how long.
    pub(crate) seed: u64,
    /// When the last has ended.
    pub(crate) until: Instant,
    /// Whose clock it is.
    pub(crate) recorder: Arc<Recorder>,
    /// Told what is in force.
    pub(crate) now: tokio::sync::watch::Sender<String>,
}

struct InForce {
    nemesis: Box<dyn Nemesis>,
    record: FaultRecord,
}

/// A fault beside another that has nothing to show: the other may have left it nothing, as a partition of dead nodes.
struct Robbed {
    name: String,
    what: String,
}

/// One that has shown itself at another time of the run is told; one that never has makes the run worth nothing.
fn settle(robbed: Vec<Robbed>, faults: &mut Faults) {
    for Robbed { name, what } in robbed {
        let proven = |record: &FaultRecord| record.name == name && !record.proof.is_empty();
        match faults.records.iter().any(proven) {
            true => faults.notes.push(what),
            false => faults.doubts.push(what),
        }
    }
}

fn within(rng: &mut StdRng, range: &std::ops::Range<Duration>) -> Duration {
    rng.random_range(range.start..range.end)
}

impl Schedule {
    /// Breaks and mends until the time is over.
    pub(crate) async fn run(self) -> Faults {
        let mut rng = StdRng::seed_from_u64(self.seed ^ 0x6661_756c_7473);
        let mut faults = Faults::default();
        // All in turn, in an order of the seed's: a short run must not leave one out by chance.
        let mut turn: Vec<String> = Vec::new();
        let mut robbed = Vec::new();
        while !self.names.is_empty() {
            let (quiet, hold) = (within(&mut rng, &QUIET), within(&mut rng, &HOLD));
            if Instant::now() + quiet + hold + QUIET.start > self.until {
                break;
            }
            tokio::time::sleep(quiet).await;
            let mut chosen = vec![self.next(&mut turn, &mut rng)];
            if self.names.len() > 1 && rng.random_bool(TOGETHER) {
                let other = self.next(&mut turn, &mut rng);
                if other != chosen[0] {
                    chosen.push(other);
                }
            }
            let mut in_force = Vec::new();
            for name in &chosen {
                self.start(name, &mut rng, &mut in_force, &mut faults).await;
            }
            tokio::time::sleep(hold).await;
            let is_alone = in_force.len() == 1;
            while let Some(ended) = in_force.pop() {
                robbed.extend(self.stop(ended, is_alone, &mut faults).await);
            }
            self.now.send_replace(String::new());
            if let Err(error) = self.cluster.wait_all_ready(READY_MAX).await {
                faults
                    .violations
                    .push(format!("after {}: {error}", chosen.join(" and ")));
                break;
            }
        }
        settle(robbed, &mut faults);
        tokio::time::sleep_until(self.until).await;
        faults
    }

    fn next(&self, turn: &mut Vec<String>, rng: &mut StdRng) -> String {
        if turn.is_empty() {
            turn.clone_from(&self.names);
        }
        turn.swap_remove(rng.random_range(0..turn.len()))
    }

    async fn start(
        &self,
        name: &str,
        rng: &mut StdRng,
        in_force: &mut Vec<InForce>,
        faults: &mut Faults,
    ) {
        let Some(mut nemesis) = nemesis::by_name(name) else {
            faults.doubts.push(format!("there is no nemesis '{name}'"));
            return;
        };
        let leader = self.cluster.leader().await;
        let start_ns = self.recorder.now_ns();
        match nemesis.start(&self.cluster, rng).await {
            Ok(fault) => {
                let named = |k: &usize| match Some(*k) == leader {
                    true => format!("n{k} (leader)"),
                    false => format!("n{k}"),
                };
                let record = FaultRecord {
                    name: name.to_owned(),
                    targets: fault.targets.iter().map(named).collect(),
                    what: fault.what,
                    start_ns,
                    end_ns: start_ns,
                    proof: String::new(),
                };
                self.now.send_modify(|now| {
                    *now = format!("{now} {name} {}", record.targets.join(","));
                });
                in_force.push(InForce { nemesis, record });
            }
            Err(error) => {
                // Part of it may be in force; that it was never whole is known already.
                let _ = nemesis.stop(&self.cluster).await;
                let what = format!("{name} was not put in force: {error}");
                // It may have taken a node for a while: another fault at that time was not alone.
                faults.records.push(FaultRecord {
                    name: name.to_owned(),
                    targets: Vec::new(),
                    what: what.clone(),
                    start_ns,
                    end_ns: self.recorder.now_ns(),
                    proof: String::new(),
                });
                match error {
                    NemesisError::Violation(_) => faults.violations.push(what),
                    // The one that is in force already stands in its way.
                    NemesisError::Cluster(_) | NemesisError::NotAvailable(_)
                        if !in_force.is_empty() =>
                    {
                        faults.notes.push(what);
                    }
                    _ => faults.doubts.push(what),
                }
            }
        }
    }

    async fn stop(&self, ended: InForce, is_alone: bool, faults: &mut Faults) -> Option<Robbed> {
        let InForce {
            mut nemesis,
            mut record,
        } = ended;
        let outcome = nemesis.stop(&self.cluster).await;
        record.end_ns = self.recorder.now_ns();
        let mut robbed = None;
        match outcome {
            Ok(Proof { facts }) => record.proof = facts.join("; "),
            Err(NemesisError::Violation(what)) => {
                faults.violations.push(format!("{}: {what}", record.name));
            }
            Err(error @ NemesisError::NoProof(_)) if !is_alone => {
                robbed = Some(Robbed {
                    name: record.name.clone(),
                    what: format!("{}: {error}", record.name),
                });
            }
            Err(error) => faults.doubts.push(format!("{}: {error}", record.name)),
        }
        faults.records.push(record);
        robbed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_without_proof_is_forgiven_only_where_it_has_shown_itself() {
        let robbed = |name: &str| Robbed {
            name: name.to_owned(),
            what: format!("{name}: nothing"),
        };
        let mut faults = Faults::default();
        faults.records.push(FaultRecord {
            name: "pause".to_owned(),
            targets: Vec::new(),
            what: String::new(),
            start_ns: 0,
            end_ns: 1,
            proof: "it stood".to_owned(),
        });
        settle(vec![robbed("pause"), robbed("kill-all")], &mut faults);
        assert_eq!(faults.notes, ["pause: nothing"]);
        assert_eq!(faults.doubts, ["kill-all: nothing"]);
    }
}
