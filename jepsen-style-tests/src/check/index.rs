//! Judges a unique index: it never lets two documents have the same key, and agrees with the documents.
//!
//! | `f` | value | |
//! |---|---|---|
//! | `insert` | `[id key]` | a new document |
//! | `update` | `[id old new]` | gives it another key |
//! | `remove` | `[id key]` | |
//! | `create-index`, `drop-index` | `nil` | |
//! | `check` | `nil`, ok: `{:scan [[id key] ...], :index [[id key] ...]}` | all documents by a scan without the index and by the index, in one transaction or at rest |

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::findings::{Findings, pair};
use super::{Checker, Verdict};
use crate::history::{Event, History, Kind, Operation, Value};

/// The judge.
#[derive(Debug, Clone, Copy, Default)]
pub struct Index {
    keys_may_repeat: bool,
}

impl Index {
    /// Of an index that is not unique: it only has to agree with the documents.
    pub fn with_repeating_keys() -> Self {
        Self {
            keys_may_repeat: true,
        }
    }
}

/// What happened to a key: who certainly took it, and how often it may have been given up.
#[derive(Default)]
struct Key {
    taken: Vec<u64>,
    freed: usize,
}

impl Checker for Index {
    fn check(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let mut keys: BTreeMap<&Value, Key> = BTreeMap::new();
        let mut checks = 0;
        for operation in history.operations() {
            if operation.invoke.f == "check" {
                if let Some(event) = operation.completion.filter(|event| event.kind == Kind::Ok) {
                    checks += 1;
                    judge(event, self.keys_may_repeat, &mut findings);
                }
            } else if operation.invoke.f.ends_with("-index") {
                // It is made or dropped, which changes no document.
            } else if !count(&operation, &mut keys) {
                findings.strange(operation.invoke, "an insert, update, remove or check");
            }
        }
        for (key, Key { taken, freed }) in keys {
            if taken.len() > freed + 1 && !self.keys_may_repeat {
                let text = format!(
                    "{} documents were given the key {key}, and it was given up {freed} times at most",
                    taken.len()
                );
                findings.anomaly("key acknowledged twice", text, taken);
            }
        }
        if checks == 0 {
            findings.unknown("index: it was never compared with the documents");
        }
        findings.note(format!("index: compared with the documents {checks} times"));
        findings.verdict()
    }
}

fn count<'h>(operation: &Operation<'h>, keys: &mut BTreeMap<&'h Value, Key>) -> bool {
    let Some(parts) = operation.invoke.value.as_list() else {
        return false;
    };
    let (taken, freed) = match (operation.invoke.f.as_str(), parts) {
        ("insert", [_, key]) => (Some(key), None),
        ("remove", [_, key]) => (None, Some(key)),
        ("update", [_, old, new]) if old == new => return true,
        ("update", [_, old, new]) => (Some(new), Some(old)),
        _ => return false,
    };
    if let Some(key) = taken.filter(|_| operation.outcome() == Kind::Ok) {
        keys.entry(key)
            .or_default()
            .taken
            .push(operation.invoke.index);
    }
    if let Some(key) = freed.filter(|_| operation.outcome() != Kind::Fail) {
        keys.entry(key).or_default().freed += 1;
    }
    true
}

type Entries<'h> = Vec<(&'h Value, &'h Value)>;

fn entries<'h>(event: &'h Event, name: &str) -> Option<Entries<'h>> {
    event.value.get(name)?.as_list()?.iter().map(pair).collect()
}

fn judge(event: &Event, keys_may_repeat: bool, findings: &mut Findings) {
    let (Some(scan), Some(index)) = (entries(event, "scan"), entries(event, "index")) else {
        findings.strange(event, "{:scan [[id key] ...], :index [[id key] ...]}");
        return;
    };
    let at = event.index;
    for (by, list) in [("scan", &scan), ("index", &index)] {
        let mut owner = HashMap::new();
        let mut ids = BTreeSet::new();
        for (id, key) in list {
            if !ids.insert(*id) {
                findings.anomaly(
                    "document twice",
                    format!("event {at}: the {by} shows document {id} twice"),
                    vec![at],
                );
            } else if let Some(other) = owner.insert(*key, *id)
                && !keys_may_repeat
            {
                let text = format!(
                    "event {at}: by the {by}, documents {other} and {id} both have the key {key}"
                );
                findings.anomaly("unique key twice", text, vec![at]);
            }
        }
    }
    let (scan, index): (BTreeSet<_>, BTreeSet<_>) =
        (scan.into_iter().collect(), index.into_iter().collect());
    if let Some((id, key)) = scan.symmetric_difference(&index).next() {
        let by = if scan.contains(&(*id, *key)) {
            "scan"
        } else {
            "index"
        };
        let text = format!("event {at}: document {id} with key {key} is shown by the {by} alone");
        findings.anomaly("index disagrees", text, vec![at]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Validity;
    use super::super::testing::{assert_names, assert_valid, history};
    use super::*;

    fn check(scan: &str, index: &str) -> Verdict {
        Index::default().check(&history(&format!(
            "0 invoke check\n0 ok check {{:scan {scan}, :index {index}}}"
        )))
    }

    #[test]
    fn index_and_documents_agree() {
        assert_valid(&check("[[1 a] [2 b]]", "[[2 b] [1 a]]"));
        assert_names(&check("[[1 a] [2 b]]", "[[1 a]]"), &["index disagrees"]);
        assert_names(&check("[[1 a]]", "[[1 a] [2 b]]"), &["index disagrees"]);
        assert_names(&check("[[1 a]]", "[[1 b]]"), &["index disagrees"]);
    }

    #[test]
    fn no_key_and_no_document_is_there_twice() {
        assert_names(
            &check("[[1 a] [2 a]]", "[[1 a] [2 a]]"),
            &["unique key twice"],
        );
        assert_names(&check("[[1 a] [1 a]]", "[[1 a]]"), &["document twice"]);
    }

    #[test]
    fn a_key_is_given_once_until_it_is_given_up() {
        let judge = |between: &str| {
            Index::default().check(&history(&format!(
                "0 invoke insert [1 a]\n0 ok insert [1 a]\n{between}\n1 invoke insert [2 a]\n1 ok insert [2 a]\n2 invoke check\n2 ok check {{:scan [], :index []}}"
            )))
        };
        assert_names(
            &judge("0 invoke remove [1 a]\n0 fail remove [1 a]"),
            &["key acknowledged twice"],
        );
        assert_valid(&judge("0 invoke remove [1 a]\n0 info remove [1 a]"));
        assert_valid(&judge("0 invoke update [1 a b]\n0 ok update [1 a b]"));
        assert_names(
            &judge("0 invoke update [1 a a]\n0 ok update [1 a a]"),
            &["key acknowledged twice"],
        );
    }

    #[test]
    fn without_checks_nothing_is_known() {
        assert_eq!(
            Index::default()
                .check(&history("0 invoke insert [1 a]\n0 ok insert [1 a]"))
                .validity,
            Validity::Unknown
        );
        assert_eq!(check("[1]", "[]").validity, Validity::Unknown);
    }
}
