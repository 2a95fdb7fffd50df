//! Judges whether two readers ever disagree on which of two writes came first, as parallel snapshot isolation allows.
//!
//! | `f` | value | |
//! |---|---|---|
//! | `write` | `[key value]` | each key is written at most once |
//! | `read` | `[[key nil] ...]`, ok: `[[key value] ...]` | a group of keys in one transaction; `nil` when absent |
//!
//! Keys come in groups, and a read reads one whole group: reads of the same keys are compared. Of two of them, one must
//! show all that the other shows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::findings::{Findings, pair};
use super::{Checker, Verdict};
use crate::history::{History, Kind, Operation, Value};

/// The judge.
#[derive(Debug, Clone, Copy, Default)]
pub struct LongFork;

struct Read<'h> {
    event: u64,
    present: BTreeSet<&'h Value>,
}

impl Checker for LongFork {
    fn check(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let mut written: HashMap<&Value, (&Value, Kind, u64)> = HashMap::new();
        let mut groups: BTreeMap<BTreeSet<&Value>, Vec<Read<'_>>> = BTreeMap::new();
        let operations = history.operations();
        for operation in &operations {
            match (operation.invoke.f.as_str(), pair(&operation.invoke.value)) {
                ("write", Some((key, value))) => {
                    let write = (value, operation.outcome(), operation.invoke.index);
                    if written.insert(key, write).is_some() {
                        findings.unknown(format!("long-fork: the workload wrote {key} twice"));
                    }
                }
                ("read", _) => {}
                _ => findings.strange(
                    operation.invoke,
                    "a write of [key value] or a read of [[key nil] ...]",
                ),
            }
        }
        for operation in operations.iter().filter(|one| one.invoke.f == "read") {
            read(operation, &written, &mut groups, &mut findings);
        }
        let mut reads = 0;
        for mut group in groups.into_values() {
            reads += group.len();
            compare(&mut group, &mut findings);
        }
        if reads == 0 {
            findings.unknown("long-fork: nothing was read");
        }
        findings.note(format!("long-fork: {reads} reads"));
        findings.verdict()
    }
}

fn read<'h>(
    operation: &Operation<'h>,
    written: &HashMap<&Value, (&Value, Kind, u64)>,
    groups: &mut BTreeMap<BTreeSet<&'h Value>, Vec<Read<'h>>>,
    findings: &mut Findings,
) {
    let Some(completion) = operation.completion.filter(|event| event.kind == Kind::Ok) else {
        return;
    };
    let event = completion.index;
    let entries: Option<Vec<(&Value, &Value)>> = completion
        .value
        .as_list()
        .and_then(|list| list.iter().map(pair).collect());
    let Some(entries) = entries else {
        findings.strange(completion, "a list of [key value]");
        return;
    };
    let mut present = BTreeSet::new();
    for (key, value) in entries.iter().filter(|(_, value)| **value != Value::Nil) {
        match written.get(key) {
            Some((_, Kind::Fail, write)) => {
                let text = format!(
                    "event {event} shows {value} at {key}, whose write failed (event {write})"
                );
                findings.anomaly("failed write", text, vec![*write, event]);
            }
            Some((expected, _, write)) if expected == value && *write < event => {}
            _ => {
                let text =
                    format!("event {event} shows {value} at {key}, which nobody had written");
                findings.anomaly("garbage", text, vec![event]);
            }
        }
        present.insert(*key);
    }
    let keys = entries.into_iter().map(|(key, _)| key).collect();
    groups
        .entry(keys)
        .or_default()
        .push(Read { event, present });
}

/// Sets of which each contains the other or is contained stand in a row when sorted by size.
fn compare(group: &mut [Read<'_>], findings: &mut Findings) {
    group.sort_by_key(|read| read.present.len());
    for neighbours in group.windows(2) {
        let [small, large] = neighbours else { continue };
        if let (Some(left), Some(right)) = (
            small.present.difference(&large.present).next(),
            large.present.difference(&small.present).next(),
        ) {
            let (one, two) = (small.event, large.event);
            let text = format!(
                "event {one} shows {left} and not {right}, event {two} shows {right} and not {left}"
            );
            findings.anomaly("long fork", text, vec![one, two]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Validity;
    use super::super::testing::{assert_names, assert_valid, history};
    use super::*;

    fn judge(reads: &[&str]) -> Verdict {
        let mut text = "0 invoke write [x 1]\n1 invoke write [y 1]\n0 ok write [x 1]\n1 info write [y 1]\n5 invoke write [z 1]\n5 fail write [z 1]\n".to_owned();
        for (at, read) in reads.iter().enumerate() {
            text += &format!(
                "{0} invoke read [[x nil] [y nil]]\n{0} ok read {read}\n",
                at + 10
            );
        }
        LongFork.check(&history(&text))
    }

    #[test]
    fn readers_agree_on_the_order_of_writes() {
        assert_valid(&judge(&[
            "[[x nil] [y nil]]",
            "[[x 1] [y nil]]",
            "[[x 1] [y 1]]",
            "[[x 1] [y nil]]",
        ]));
        assert_names(
            &judge(&["[[x 1] [y nil]]", "[[x 1] [y 1]]", "[[y 1] [x nil]]"]),
            &["long fork"],
        );
        // Other keys, other group.
        assert_valid(&judge(&["[[x 1] [y nil]]", "[[x nil] [y 1] [z nil]]"]));
    }

    #[test]
    fn what_nobody_wrote_is_found() {
        assert_names(&judge(&["[[x 2] [y nil]]"]), &["garbage"]);
        assert_names(&judge(&["[[x 1] [z 1]]"]), &["failed write"]);
    }

    #[test]
    fn without_reads_nothing_is_known() {
        assert_eq!(judge(&[]).validity, Validity::Unknown);
        assert_eq!(judge(&["[x y]"]).validity, Validity::Unknown);
    }
}
