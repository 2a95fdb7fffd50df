//! Judges retries: a request takes effect at most once, however often it is sent, and an acknowledged one exactly once.
//!
//! | `f` | value | |
//! |---|---|---|
//! | `request` | `id` | several operations may send the same id: these are retries |
//! | `final-read` | `nil`, ok: `[id ...]` | an id for each time that a request took effect, when all is over |
//!
//! Each effect must leave its own mark, so the workload appends the id to a list or inserts a document without a unique
//! key; an idempotent effect could hide what is looked for.

use std::collections::HashMap;

use super::findings::Findings;
use super::{Checker, Verdict};
use crate::history::{History, Kind, Value};

/// The judge.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dedup;

struct Request {
    invoke: u64,
    outcome: Kind,
    attempts: usize,
}

impl Checker for Dedup {
    fn check(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let mut requests: HashMap<&Value, Request> = HashMap::new();
        let mut reads: Vec<(u64, &[Value])> = Vec::new();
        for operation in history.operations() {
            let outcome = operation.outcome();
            match operation.invoke.f.as_str() {
                "request" => {
                    let request = requests.entry(&operation.invoke.value).or_insert(Request {
                        invoke: operation.invoke.index,
                        outcome,
                        attempts: 0,
                    });
                    request.attempts += 1;
                    // One success is a success; all must have failed for a failure.
                    request.outcome = match (request.outcome, outcome) {
                        (Kind::Ok, _) | (_, Kind::Ok) => Kind::Ok,
                        (Kind::Fail, Kind::Fail) => Kind::Fail,
                        _ => Kind::Info,
                    };
                }
                "final-read" => {
                    let Some(completion) = operation.completion.filter(|_| outcome == Kind::Ok)
                    else {
                        continue;
                    };
                    match completion.value.as_list() {
                        Some(list) => reads.push((completion.index, list)),
                        None => findings.strange(completion, "a list of ids"),
                    }
                }
                _ => findings.strange(operation.invoke, "a request or final-read"),
            }
        }
        for (event, list) in &reads {
            judge(*event, list, &requests, &mut findings);
        }
        if reads.is_empty() {
            findings.unknown("dedup: no final read");
        }
        let retried = requests
            .values()
            .filter(|request| request.attempts > 1)
            .count();
        findings.note(format!(
            "dedup: {} requests, {retried} of them sent again",
            requests.len()
        ));
        findings.verdict()
    }
}

fn judge(event: u64, list: &[Value], requests: &HashMap<&Value, Request>, findings: &mut Findings) {
    let mut effects: HashMap<&Value, usize> = HashMap::new();
    for id in list {
        *effects.entry(id).or_default() += 1;
    }
    let mut ids: Vec<&Value> = effects.keys().chain(requests.keys()).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let count = effects.get(id).copied().unwrap_or(0);
        let Some(request) = requests.get(id) else {
            findings.anomaly(
                "garbage",
                format!("event {event} shows {id}, which nobody requested"),
                vec![event],
            );
            continue;
        };
        let begun = request.invoke;
        let events = vec![begun, event];
        match (request.outcome, count) {
            (Kind::Fail, 1..) => {
                let text = format!(
                    "request {id} (event {begun}) failed and took effect, as event {event} shows"
                );
                findings.anomaly("failed request", text, events);
            }
            (Kind::Ok, 0) => {
                let text = format!(
                    "request {id} (event {begun}) was acknowledged, and event {event} does not show it"
                );
                findings.anomaly("lost request", text, events);
            }
            (_, 2..) => {
                let text = format!(
                    "request {id} (event {begun}) took effect {count} times, as event {event} shows"
                );
                findings.anomaly("applied twice", text, events);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Validity;
    use super::super::testing::{assert_names, assert_valid, history};
    use super::*;

    fn judge(seen: &str) -> Verdict {
        Dedup.check(&history(&format!(
            "0 invoke request 1
             0 info request 1
             1 invoke request 1
             1 ok request 1
             2 invoke request 2
             2 info request 2
             3 invoke request 3
             3 fail request 3
             4 invoke final-read
             4 ok final-read {seen}"
        )))
    }

    #[test]
    fn each_request_takes_effect_once() {
        assert_valid(&judge("[1]"));
        assert_valid(&judge("[2 1]"));
        assert_names(&judge("[1 1]"), &["applied twice"]);
        assert_names(&judge("[1 2 2]"), &["applied twice"]);
        assert_names(&judge("[2]"), &["lost request"]);
        assert_names(&judge("[1 3]"), &["failed request"]);
        assert_names(&judge("[1 4]"), &["garbage"]);
    }

    #[test]
    fn without_a_final_read_nothing_is_known() {
        assert_eq!(
            Dedup
                .check(&history("0 invoke request 1\n0 ok request 1"))
                .validity,
            Validity::Unknown
        );
    }
}
