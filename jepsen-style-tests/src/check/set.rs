//! Judges a set that only grows: what was added is never lost, and nothing comes from nowhere.
//!
//! | `f` | value | |
//! |---|---|---|
//! | `add` | `element` | each element is added by one operation only |
//! | `read` | `nil`, ok: `[element ...]` | the whole set |
//! | `final-read` | as `read` | when the run is over and nothing is under way; all of them must be equal |
//!
//! An element is certainly there once its `add` or a read that shows it is done: every read that begins later must show
//! it. `lost` elements are missing in the last read too, `stale` reads missed what a later one shows.

use std::collections::{HashMap, HashSet};

use super::findings::{Findings, certain_end};
use super::{Checker, Verdict};
use crate::history::{History, Kind, Operation, Value};

/// The judge.
#[derive(Debug, Clone, Copy, Default)]
pub struct Set;

struct Read<'h> {
    operation: Operation<'h>,
    seen: HashSet<&'h Value>,
    last: bool,
}

struct Element {
    add: Kind,
    invoke: u64,
    /// From this place in the history on it is certainly there.
    present: u64,
}

impl Checker for Set {
    fn check(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let (mut elements, reads) = read(history, &mut findings);
        if reads.is_empty() {
            findings.unknown("set: nothing was read");
            return findings.verdict();
        }
        for read in &reads {
            let event = read.operation.completion.map_or(0, |event| event.index);
            for &element in &read.seen {
                match elements.get_mut(element) {
                    Some(known) if known.add == Kind::Fail => {
                        let text = format!(
                            "event {event} shows {element}, whose add failed (begun at event {})",
                            known.invoke
                        );
                        findings.anomaly("failed add", text, vec![known.invoke, event]);
                    }
                    Some(known) if known.invoke < event => known.present = known.present.min(event),
                    Some(_) | None => {
                        let text = format!("event {event} shows {element}, which nobody had added");
                        findings.anomaly("garbage", text, vec![event]);
                    }
                }
            }
        }
        missing(&elements, &reads, &mut findings);
        disagreement(&reads, &mut findings);
        findings.note(format!(
            "set: {} elements, {} reads",
            elements.len(),
            reads.len()
        ));
        findings.verdict()
    }
}

fn read<'h>(
    history: &'h History,
    findings: &mut Findings,
) -> (HashMap<&'h Value, Element>, Vec<Read<'h>>) {
    let mut elements = HashMap::new();
    let mut reads = Vec::new();
    for operation in history.operations() {
        match operation.invoke.f.as_str() {
            "add" => {
                let outcome = operation.outcome();
                let element = Element {
                    add: outcome,
                    invoke: operation.invoke.index,
                    present: match outcome {
                        Kind::Ok => certain_end(&operation),
                        _ => u64::MAX,
                    },
                };
                if elements.insert(&operation.invoke.value, element).is_some() {
                    findings.unknown(format!(
                        "set: {} was added twice by the workload",
                        operation.invoke.value
                    ));
                }
            }
            f @ ("read" | "final-read") => {
                let Some(completion) = operation.completion.filter(|event| event.kind == Kind::Ok)
                else {
                    continue;
                };
                let Some(list) = completion.value.as_list() else {
                    findings.strange(completion, "a list of elements");
                    continue;
                };
                let mut seen = HashSet::with_capacity(list.len());
                for element in list {
                    if !seen.insert(element) {
                        let text = format!("event {} shows {element} twice", completion.index);
                        findings.anomaly("duplicate elements", text, vec![completion.index]);
                    }
                }
                let last = f == "final-read";
                reads.push(Read {
                    operation,
                    seen,
                    last,
                });
            }
            _ => findings.strange(operation.invoke, "an add, read or final-read"),
        }
    }
    (elements, reads)
}

/// Elements that were certainly there when a read began that does not show them.
fn missing(elements: &HashMap<&Value, Element>, reads: &[Read<'_>], findings: &mut Findings) {
    let mut present: Vec<(&Value, &Element)> = elements
        .iter()
        .filter(|(_, element)| element.present != u64::MAX)
        .map(|(value, element)| (*value, element))
        .collect();
    present.sort_by_key(|(_, element)| element.present);
    let last = reads.iter().max_by_key(|read| read.operation.invoke.index);
    for (value, element) in present {
        let first_blind = reads
            .iter()
            .filter(|read| read.operation.invoke.index > element.present)
            .find(|read| !read.seen.contains(value));
        let Some(blind) = first_blind else { continue };
        let event = blind.operation.completion.map_or(0, |event| event.index);
        let name = match last.is_some_and(|last| last.seen.contains(value)) {
            true => "stale",
            false => "lost",
        };
        let text = format!(
            "{value} was certainly there at event {}, and event {event}, which began later, does not show it",
            element.present
        );
        findings.anomaly(name, text, vec![element.invoke, element.present, event]);
    }
}

fn disagreement(reads: &[Read<'_>], findings: &mut Findings) {
    let mut finals = reads.iter().filter(|read| read.last);
    let Some(first) = finals.next() else { return };
    for other in finals {
        let Some(element) = first.seen.symmetric_difference(&other.seen).min() else {
            continue;
        };
        let events: Vec<u64> = [first, other]
            .iter()
            .filter_map(|read| Some(read.operation.completion?.index))
            .collect();
        let text = format!("the final reads of events {events:?} differ in {element}");
        findings.anomaly("disagreement", text, events);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Validity;
    use super::super::testing::{assert_names, assert_valid, history};
    use super::*;

    fn judge(text: &str) -> Verdict {
        Set.check(&history(text))
    }

    const ADDS: &str =
        "0 invoke add 1\n0 ok add 1\n0 invoke add 2\n0 fail add 2\n0 invoke add 3\n0 info add 3\n";

    fn reads(values: &[&str]) -> Verdict {
        let mut text = ADDS.to_owned();
        for value in values {
            text += &format!("1 invoke read nil\n1 ok read {value}\n");
        }
        judge(&text)
    }

    #[test]
    fn acknowledged_elements_are_there_and_unknown_ones_may_be() {
        assert_valid(&reads(&["[1]", "[1 3]"]));
        assert_valid(&reads(&["[3 1]"]));
        assert_names(&reads(&["[3]"]), &["lost"]);
        assert_names(&reads(&["[3]", "[1 3]"]), &["stale"]);
        assert_names(&reads(&["[1 3]", "[1]"]), &["lost"]);
    }

    #[test]
    fn nothing_comes_from_nowhere() {
        assert_names(&reads(&["[1 2]"]), &["failed add"]);
        assert_names(&reads(&["[1 9]"]), &["garbage"]);
        assert_names(&reads(&["[1 1]"]), &["duplicate elements"]);
        assert_names(
            &judge("1 invoke read nil\n1 ok read [1]\n0 invoke add 1\n0 ok add 1"),
            &["garbage"],
        );
    }

    #[test]
    fn a_read_beside_an_add_may_miss_it() {
        assert_valid(&judge(
            "1 invoke read nil\n0 invoke add 1\n0 ok add 1\n1 ok read []",
        ));
    }

    #[test]
    fn final_reads_agree() {
        let finals = |left: &str, right: &str| {
            judge(&format!(
                "{ADDS}1 invoke final-read nil\n2 invoke final-read nil\n1 ok final-read {left}\n2 ok final-read {right}"
            ))
        };
        assert_valid(&finals("[1 3]", "[3 1]"));
        assert_names(&finals("[1 3]", "[1]"), &["disagreement"]);
    }

    #[test]
    fn without_reads_nothing_is_known() {
        assert_eq!(judge(ADDS).validity, Validity::Unknown);
        assert_eq!(judge("0 invoke pop 1").validity, Validity::Unknown);
    }
}
