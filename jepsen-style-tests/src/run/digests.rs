//! Whether all replicas of a cluster at rest hold the same: asked for when a run is over, and judged with its workload.

use std::sync::Arc;

use super::recorder::Recorder;
use crate::access::Outcome;
use crate::check::digests::Digests;
use crate::check::{Checker, Verdict};
use crate::cluster::Cluster;
use crate::history::{History, OBSERVERS, Process, Value};
use crate::workload::{Step, Workload};

/// The operation's name in the history.
const F: &str = "digest";
/// Who asks: behind those that take the last looks.
const PROCESS: Process = OBSERVERS * 2;

/// How often is asked: digests are made below all else that a machine does, and a busy one has no time for them.
const ATTEMPTS: usize = 3;

/// Asks for the digests of all replicas; an error tells why they prove nothing.
pub(super) async fn take(cluster: &Arc<Cluster>, recorder: &Recorder) -> Result<(), String> {
    let mut doubt = ask(cluster, recorder).await;
    for _ in 1..ATTEMPTS {
        if doubt.is_ok() {
            break;
        }
        doubt = ask(cluster, recorder).await;
    }
    doubt
}

async fn ask(cluster: &Arc<Cluster>, recorder: &Recorder) -> Result<(), String> {
    let step = Step {
        f: F,
        value: Value::Nil,
    };
    recorder.invoke(PROCESS, &step);
    let outcome = match cluster.digests().await {
        Ok(replicas) => {
            let silent: Vec<String> = replicas
                .iter()
                .filter_map(|replica| {
                    let problem = replica.problem.as_ref()?;
                    Some(format!(
                        "id {} of group {}: {problem}",
                        replica.node, replica.group
                    ))
                })
                .collect();
            if silent.is_empty() {
                let entry = |replica: &crate::cluster::ReplicaDigest| {
                    Value::List(vec![
                        Value::Int(replica.group),
                        Value::Int(replica.node),
                        Value::Int(replica.applied),
                        Value::Text(replica.digest.clone()),
                    ])
                };
                Outcome::Ok(Value::List(replicas.iter().map(entry).collect()))
            } else {
                Outcome::Fail(silent.join("; "))
            }
        }
        Err(error) => Outcome::Fail(error.to_string()),
    };
    let doubt = match &outcome {
        Outcome::Ok(_) => Ok(()),
        Outcome::Fail(why) | Outcome::Info(why) => {
            Err(format!("the replicas could not be compared: {why}"))
        }
    };
    recorder.complete(PROCESS, &step, outcome);
    doubt
}

/// What a whole history shows: the workload's judge sees what clients did, that of replicas the digests.
///
/// A history without digests is one of a single node, or ended before they were taken, which the run itself tells.
pub fn judge(workload: &dyn Workload, history: &History) -> Verdict {
    let (digests, events) = history
        .events
        .iter()
        .cloned()
        .partition::<Vec<_>, _>(|event| event.f == F);
    let verdict = workload.checker().check(&History { events });
    match digests.iter().any(|event| event.value != Value::Nil) {
        true => verdict.and(Digests.check(&History { events: digests })),
        false => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Validity;
    use crate::history::{Event, Kind};
    use crate::workload;

    fn digest(applied: i64, digest: &str, node: i64) -> Value {
        let digest = Value::Text(digest.to_owned());
        Value::List(vec![
            Value::Int(1),
            Value::Int(node),
            Value::Int(applied),
            digest,
        ])
    }

    fn judged(replicas: Option<Vec<Value>>) -> (Verdict, Verdict) {
        let workload = workload::by_name("set").expect("a workload");
        let mut history = History::default();
        let mut push = |kind, value| {
            history.push(Event {
                index: 0,
                time: 0,
                kind,
                process: PROCESS,
                f: F.to_owned(),
                value,
                error: None,
            });
        };
        push(Kind::Invoke, Value::Nil);
        match replicas {
            Some(replicas) => push(Kind::Ok, Value::List(replicas)),
            None => push(Kind::Fail, Value::Nil),
        }
        let alone = workload.checker().check(&History::default());
        (judge(&*workload, &history), alone)
    }

    #[test]
    fn replicas_that_differ_make_a_run_invalid() {
        let (verdict, alone) = judged(Some(vec![digest(5, "x", 1), digest(5, "y", 2)]));
        assert_ne!(alone.validity, Validity::Invalid);
        assert_eq!(verdict.validity, Validity::Invalid);
        assert_eq!(verdict.anomalies[0].name, "replicas differ");
    }

    #[test]
    fn equal_replicas_and_none_leave_the_workload_its_own_verdict() {
        let (verdict, alone) = judged(Some(vec![digest(5, "x", 1), digest(5, "x", 2)]));
        assert_eq!(verdict.validity, alone.validity);
        assert!(
            verdict
                .notes
                .iter()
                .any(|note| note.contains("1 groups compared"))
        );
        let (verdict, alone) = judged(None);
        assert_eq!(verdict, alone);
    }
}
