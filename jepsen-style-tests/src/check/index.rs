//! Judges an index: it finds every document that is there, agrees with the documents, and never lets two documents have
//! the same key if it is unique.
//!
//! | `f` | value | |
//! |---|---|---|
//! | `insert` | `[id key]` | a new document |
//! | `update` | `[id old new]` | gives it another key |
//! | `remove` | `[id key ...]` | which had one of these keys |
//! | `find` | `[key nil]`, ok: `[key [id ...]]` or `[key error]` | the documents with this key, by the index as soon as there is one |
//! | `create-index`, `drop-index` | `nil` | |
//! | `check` | `nil`, ok: `{:scan [[id key] ...], :index [[id key] ...]}` | all documents by a scan without the index and by the index, in one transaction or at rest; `{:broken error}` when a node said that its index is broken |
//!
//! A document certainly has a key from the acknowledgement that gave it until the first request that may take it away.

mod holds;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::findings::{Findings, pair};
use super::{Checker, Verdict};
use crate::history::{Event, History, Kind, Value};
use holds::{Hold, Holds};

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

impl Checker for Index {
    fn check(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let operations = history.operations();
        let mut holds = Holds::default();
        for operation in &operations {
            match operation.invoke.f.as_str() {
                // It is made or dropped, which changes no document.
                "check" | "find" | "create-index" | "drop-index" => {}
                _ if holds.note(operation) => {}
                _ => findings.strange(operation.invoke, "an insert, update, remove, find or check"),
            }
        }
        let held = holds.certain();
        if !self.keys_may_repeat {
            for (key, holds) in &held {
                held_twice(key, holds, &mut findings);
            }
        }
        let (mut checks, mut finds) = (0, 0);
        for operation in &operations {
            let Some(event) = operation.completion.filter(|event| event.kind == Kind::Ok) else {
                continue;
            };
            let during = (operation.invoke.index, event.index);
            match operation.invoke.f.as_str() {
                "check" => {
                    checks += 1;
                    judge(event, self.keys_may_repeat, &mut findings);
                    lost(event, during, &held, &mut findings);
                }
                "find" => {
                    finds += 1;
                    found(event, during, &held, &holds, &mut findings);
                }
                _ => {}
            }
        }
        if checks == 0 {
            findings.unknown("index: it was never compared with the documents");
        }
        findings.note(format!(
            "index: compared with the documents {checks} times, asked for a key {finds} times"
        ));
        findings.verdict()
    }
}

/// What certainly had each key, and when.
type Held<'h> = BTreeMap<&'h Value, Vec<Hold<'h>>>;

/// Two documents that certainly had a key at the same time.
fn held_twice(key: &Value, holds: &[Hold<'_>], findings: &mut Findings) {
    let mut longest: Option<&Hold<'_>> = None;
    for hold in holds {
        if let Some(earlier) = longest.filter(|earlier| hold.from < earlier.until)
            && earlier.id != hold.id
        {
            let text = format!(
                "document {} was given the key {key} (event {}), and document {} too (event {}), before it was given up",
                earlier.id, earlier.from, hold.id, hold.from
            );
            findings.anomaly(
                "key acknowledged twice",
                text,
                vec![earlier.from, hold.from],
            );
        }
        if longest.is_none_or(|earlier| hold.until > earlier.until) {
            longest = Some(hold);
        }
    }
}

/// A look at the documents with one key.
fn found(
    event: &Event,
    during: (u64, u64),
    held: &Held<'_>,
    holds: &Holds<'_>,
    findings: &mut Findings,
) {
    if let Some((_, Value::Text(said))) = pair(&event.value) {
        broken(event, said, findings);
        return;
    }
    let seen = pair(&event.value).and_then(|(key, ids)| Some((key, ids.as_list()?)));
    let Some((key, ids)) = seen else {
        findings.strange(event, "[key [id ...]]");
        return;
    };
    let at = event.index;
    for hold in held.get(key).into_iter().flatten() {
        if hold.lasts(during) && !ids.contains(hold.id) {
            let text = format!(
                "event {at}: document {} has the key {key} since event {}, and is not found by it",
                hold.id, hold.from
            );
            findings.anomaly("not found by its key", text, vec![hold.from, at]);
        }
    }
    for id in ids {
        if let Some(gone) = holds.gone_before(id, key, during.0) {
            let text = format!(
                "event {at}: document {id} is found by the key {key}, which it lost at event {gone}"
            );
            findings.anomaly("found by a key it lost", text, vec![gone, at]);
        }
    }
}

fn broken(event: &Event, said: &str, findings: &mut Findings) {
    let text = format!("event {}: {said}", event.index);
    findings.anomaly("index broken", text, vec![event.index]);
}

/// Documents that must be there and are not.
fn lost(event: &Event, during: (u64, u64), held: &Held<'_>, findings: &mut Findings) {
    let Some(scan) = entries(event, "scan") else {
        return;
    };
    let scan: BTreeSet<_> = scan.into_iter().collect();
    for (key, holds) in held {
        for hold in holds.iter().filter(|hold| hold.lasts(during)) {
            if !scan.contains(&(hold.id, *key)) {
                let at = event.index;
                let text = format!(
                    "event {at}: document {} with key {key} was certainly there since event {}, and is not",
                    hold.id, hold.from
                );
                findings.anomaly("document lost", text, vec![hold.from, at]);
            }
        }
    }
}

type Entries<'h> = Vec<(&'h Value, &'h Value)>;

fn entries<'h>(event: &'h Event, name: &str) -> Option<Entries<'h>> {
    event.value.get(name)?.as_list()?.iter().map(pair).collect()
}

fn judge(event: &Event, keys_may_repeat: bool, findings: &mut Findings) {
    if let Some(said) = event.value.get("broken").and_then(Value::as_word) {
        broken(event, said, findings);
        return;
    }
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
        let judge = |between: &str, there: &str| {
            Index::default().check(&history(&format!(
                "0 invoke insert [1 a]\n0 ok insert [1 a]\n{between}\n1 invoke insert [2 a]\n1 ok insert [2 a]\n2 invoke check\n2 ok check {{:scan {there}, :index {there}}}"
            )))
        };
        let twice = ["document lost", "key acknowledged twice"];
        let failed = "0 invoke remove [1 a]\n0 fail remove [1 a]";
        assert_names(&judge(failed, "[[2 a]]"), &twice);
        assert_valid(&judge(
            "0 invoke remove [1 a]\n0 info remove [1 a]",
            "[[2 a]]",
        ));
        assert_valid(&judge(
            "0 invoke remove [1 b a]\n0 ok remove [1 b a]",
            "[[2 a]]",
        ));
        let moved = "0 invoke update [1 a b]\n0 ok update [1 a b]";
        assert_valid(&judge(moved, "[[1 b] [2 a]]"));
        let stayed = "0 invoke update [1 a a]\n0 ok update [1 a a]";
        assert_names(&judge(stayed, "[[2 a]]"), &twice);
        // It is given up in the end, and yet too late.
        let late = "1 invoke insert [2 a]\n1 ok insert [2 a]\n0 invoke remove [1 a]\n0 ok remove [1 a]\n2 invoke check\n2 ok check {:scan [[2 a]], :index [[2 a]]}";
        let judged = Index::default().check(&history(&format!(
            "0 invoke insert [1 a]\n0 ok insert [1 a]\n{late}"
        )));
        assert_names(&judged, &twice[1..]);
    }

    fn found(ids: &str, between: &str) -> Verdict {
        Index::with_repeating_keys().check(&history(&format!(
            "0 invoke insert [1 a]\n0 ok insert [1 a]\n{between}\n1 invoke find [a nil]\n1 ok find [a {ids}]\n2 invoke check\n2 ok check {{:scan [[1 a]], :index [[1 a]]}}"
        )))
    }

    #[test]
    fn what_certainly_has_a_key_is_found_by_it() {
        assert_valid(&found("[1]", ""));
        assert_names(&found("[]", ""), &["not found by its key"]);
        assert_valid(&found(
            "[]",
            "3 invoke remove [1 a b]\n3 info remove [1 a b]",
        ));
        assert_valid(&found(
            "[1]",
            "3 invoke remove [1 a b]\n3 info remove [1 a b]",
        ));
        assert_names(
            &found("[]", "3 invoke remove [1 a b]\n3 fail remove [1 a b]"),
            &["not found by its key"],
        );
    }

    #[test]
    fn what_certainly_lost_a_key_is_not_found_by_it() {
        let moved = "3 invoke update [1 a b]\n3 ok update [1 a b]\n3 invoke update [1 b a]";
        assert_valid(&found("[1]", moved));
        let gone = "3 invoke remove [1 a]\n3 ok remove [1 a]";
        assert_names(&found("[1]", gone), &["found by a key it lost"]);
        // Nobody told of it: it was there before.
        assert_valid(&found("[1 9]", ""));
    }

    #[test]
    fn an_index_that_a_node_calls_broken_is_broken() {
        let text = "0 invoke find [a nil]\n0 ok find [a names-nothing]\n2 invoke check\n2 ok check {:broken names-nothing}";
        assert_names(&Index::default().check(&history(text)), &["index broken"]);
    }

    #[test]
    fn what_is_certainly_there_is_not_lost() {
        let judged = Index::default().check(&history(
            "0 invoke insert [1 a]\n0 ok insert [1 a]\n2 invoke check\n2 ok check {:scan [], :index []}",
        ));
        assert_names(&judged, &["document lost"]);
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
