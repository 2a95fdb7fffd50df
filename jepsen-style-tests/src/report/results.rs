//! `results.json` and `nemesis.jsonl`: a run for scripts.

use serde_json::{Value as Json, json};

use super::availability::{FaultAvailability, Wait};
use super::{FaultRecord, Run};
use crate::check::Validity;

/// The word of `valid`, as Jepsen has it.
pub(super) fn valid(validity: Validity) -> Json {
    match validity {
        Validity::Valid => Json::Bool(true),
        Validity::Invalid => Json::Bool(false),
        Validity::Unknown => Json::from("unknown"),
    }
}

/// What `results.json` holds.
pub(super) fn results(run: &Run) -> Json {
    let figures = &run.availability;
    let faults: Vec<Json> = run
        .faults
        .iter()
        .zip(&figures.faults)
        .map(|(record, fault)| of_fault(record, fault))
        .collect();
    json!({
        "valid": valid(run.verdict.validity),
        "workload": run.workload,
        "nemeses": run.nemeses,
        "seed": run.seed,
        "nodes": run.nodes,
        "mode": run.mode,
        "command": run.command,
        "started_unix_ms": run.started_unix_ms,
        "duration_ms": milliseconds(run.duration_ns),
        "ops": figures.operations.total(),
        "ok": figures.operations.ok,
        "fail": figures.operations.fail,
        "info": figures.operations.info,
        "anomalies": run.verdict.anomalies,
        "availability": {
            "longest_gap_ms": figures.longest_gap.map(|gap| milliseconds(gap.length_ns())),
            "longest_gap_start_ms": figures.longest_gap.map(|gap| milliseconds(gap.start_ns)),
            "slowest_recovery_ms": figures.slowest_recovery_ns().map(milliseconds),
            "slowest_failover_ms": figures.slowest_failover_ns().map(milliseconds),
            "late": figures.late(),
            "faults": faults,
        },
        "notes": run.verdict.notes.iter().chain(&run.notes).collect::<Vec<_>>(),
        "logs": run.logs,
    })
}

fn of_fault(record: &FaultRecord, fault: &FaultAvailability) -> Json {
    json!({
        "name": record.name,
        "targets": record.targets,
        "start_ms": milliseconds(record.start_ns),
        "end_ms": milliseconds(record.end_ns),
        "longest_gap_ms": milliseconds(fault.longest_gap_ns),
        "failover_ms": of_wait(fault.failover),
        "recovery_ms": of_wait(fault.recovery),
        "leader_death": fault.leader_death,
        "alone": fault.alone,
        "late": fault.recovers_late() || fault.fails_over_late(),
    })
}

/// A number, `"never"`, or nothing when nobody asked.
fn of_wait(wait: Wait) -> Json {
    match wait {
        Wait::Took(nanoseconds) => milliseconds(nanoseconds).into(),
        Wait::Never(_) => "never".into(),
        Wait::Unseen => Json::Null,
    }
}

/// With three decimals.
fn milliseconds(nanoseconds: u64) -> f64 {
    (nanoseconds / 1_000) as f64 / 1_000.0
}

/// What `nemesis.jsonl` holds: a line for each beginning and each end, by time.
pub(super) fn nemesis(faults: &[FaultRecord]) -> String {
    let mut lines: Vec<(u64, &str, &FaultRecord)> = faults
        .iter()
        .flat_map(|fault| {
            [
                (fault.start_ns, "begin", fault),
                (fault.end_ns, "end", fault),
            ]
        })
        .collect();
    lines.sort_by_key(|(time, ..)| *time);
    let mut text = String::new();
    for (time, event, fault) in lines {
        let line = json!({
            "time": time,
            "event": event,
            "name": fault.name,
            "targets": fault.targets,
            "what": fault.what,
            "proof": fault.proof,
        });
        text.push_str(&line.to_string());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Verdict;
    use crate::report::sample;

    #[test]
    fn results_have_what_scripts_rely_on() {
        let mut run = sample::run(400);
        let json = results(&run);
        assert_eq!(json["valid"], false);
        assert_eq!(json["workload"], "list-append");
        let count = |name: &str| json[name].as_u64().unwrap();
        assert_eq!(count("ops"), run.history.operations().len() as u64);
        assert_eq!(count("ops"), count("ok") + count("fail") + count("info"));
        assert_eq!(json["anomalies"][0]["name"], "G-single");
        assert!(json["anomalies"][0]["edges"][0][2].is_string());
        assert_eq!(json["seed"], run.seed);
        assert_eq!(json["availability"]["faults"].as_array().unwrap().len(), 2);
        assert!(json["availability"]["longest_gap_ms"].is_f64());
        assert_eq!(
            json["notes"].as_array().unwrap().len(),
            run.notes.len() + run.verdict.notes.len()
        );

        run.verdict = Verdict::unknown("out of memory");
        let json = results(&run);
        assert_eq!(json["valid"], "unknown");
        assert_eq!(json["notes"][0], "out of memory");
        run.verdict = Verdict::valid();
        assert_eq!(results(&run)["valid"], true);
    }

    #[test]
    fn waits_are_numbers_never_or_nothing() {
        assert_eq!(of_wait(Wait::Took(1_234_567)), json!(1.234));
        assert_eq!(of_wait(Wait::Never(5)), json!("never"));
        assert_eq!(of_wait(Wait::Unseen), Json::Null);
    }

    #[test]
    fn faults_are_told_by_time() {
        let faults = [
            sample::fault("pause", &["n1", "n2"], 10, 50),
            sample::fault("loss", &["n3"], 20, 30),
        ];
        let text = nemesis(&faults);
        let lines: Vec<Json> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let told: Vec<_> = lines
            .iter()
            .map(|line| {
                (
                    line["time"].as_u64().unwrap(),
                    line["event"].as_str().unwrap(),
                    line["name"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (10, "begin", "pause"),
                (20, "begin", "loss"),
                (30, "end", "loss"),
                (50, "end", "pause")
            ]
        );
        assert_eq!(lines[0]["targets"], json!(["n1", "n2"]));
        assert!(lines[3]["proof"].is_string() && lines[3]["what"].is_string());
    }
}
