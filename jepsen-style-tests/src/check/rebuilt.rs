//! Judges watches: a subscriber that follows the events has the collection at the end, and saw each change once.
//!
//! | `f` | value | |
//! |---|---|---|
//! | `write` | `[id version]` | inserts or updates a document |
//! | `remove` | `[id version]` | removes it |
//! | `watch` | `nil`, ok: `[[kind id version] ...]` | events in the order in which they came; several `watch` of a process continue each other |
//! | `final-read` | `nil`, ok: `[[id version] ...]` | the collection, when all is over |
//!
//! A write whose outcome is unknown may come at any time, late too, or never; all others must come in their order.
//!
//! `kind` is `:init` (in the collection when the subscription began), `:put` or `:remove`. The versions of a document
//! rise by one with each write and each removal, and go on behind a removal, so that a gap over an acknowledged version
//! shows a lost event. Every
//! `watch` must be complete when the final read is: the workload waits for the last events.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::findings::{Findings, pair};
use super::{Checker, Verdict};
use crate::history::{Event, History, Kind, Process, Value};

/// The judge.
#[derive(Debug, Clone, Copy)]
pub struct Rebuilt {
    every_version: bool,
}

impl Default for Rebuilt {
    fn default() -> Self {
        Self {
            every_version: true,
        }
    }
}

impl Rebuilt {
    /// Events may leave out versions, but never go back: for watches that merge changes.
    pub fn merging() -> Self {
        Self {
            every_version: false,
        }
    }
}

/// What a subscriber knows.
#[derive(Default)]
struct Subscriber<'h> {
    documents: BTreeMap<&'h Value, i64>,
    versions: HashMap<&'h Value, (i64, u64)>,
    last_event: u64,
    events: usize,
}

/// Versions that were or may have been written.
#[derive(Default)]
struct Written<'h> {
    acknowledged: HashSet<(&'h Value, i64)>,
    uncertain: HashSet<(&'h Value, i64)>,
}

impl Checker for Rebuilt {
    fn check(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let mut written = Written::default();
        let mut subscribers: BTreeMap<Process, Subscriber<'_>> = BTreeMap::new();
        let mut finals: Vec<(u64, BTreeMap<&Value, i64>)> = Vec::new();
        let operations = history.operations();
        for operation in &operations {
            let done = operation.completion.filter(|event| event.kind == Kind::Ok);
            match (operation.invoke.f.as_str(), done) {
                ("write" | "remove", _) if operation.outcome() == Kind::Fail => {}
                ("write" | "remove", _) => match document(&operation.invoke.value) {
                    Some(version) => {
                        let into = match operation.outcome() {
                            Kind::Ok => &mut written.acknowledged,
                            _ => &mut written.uncertain,
                        };
                        into.insert(version);
                    }
                    None => findings.strange(operation.invoke, "a write of [id version]"),
                },
                ("final-read", Some(event)) => {
                    match event
                        .value
                        .as_list()
                        .and_then(|list| list.iter().map(document).collect())
                    {
                        Some(documents) => finals.push((event.index, documents)),
                        None => findings.strange(event, "a list of [id version]"),
                    }
                }
                ("watch" | "final-read", _) => {}
                _ => findings.strange(operation.invoke, "a write, remove, watch or final-read"),
            }
        }
        for operation in operations.iter().filter(|one| one.invoke.f == "watch") {
            let subscriber = subscribers.entry(operation.invoke.process).or_default();
            if let Some(event) = operation.completion.filter(|event| event.kind == Kind::Ok) {
                self.follow(event, subscriber, &written, &mut findings);
            }
        }
        compare(&subscribers, &finals, &mut findings);
        findings.verdict()
    }
}

fn document(value: &Value) -> Option<(&Value, i64)> {
    let (id, version) = pair(value)?;
    Some((id, version.as_int()?))
}

fn change(value: &Value) -> Option<(&str, &Value, i64)> {
    match value.as_list()? {
        [kind, id, version] => Some((kind.as_word()?, id, version.as_int()?)),
        _ => None,
    }
}

impl Rebuilt {
    fn follow<'h>(
        &self,
        event: &'h Event,
        subscriber: &mut Subscriber<'h>,
        written: &Written<'h>,
        findings: &mut Findings,
    ) {
        let Some(list) = event.value.as_list() else {
            findings.strange(event, "a list of [kind id version]");
            return;
        };
        subscriber.last_event = event.index;
        for entry in list {
            let Some((kind @ ("init" | "put" | "remove"), id, version)) = change(entry) else {
                findings.strange(event, "a list of [:init|:put|:remove id version]");
                return;
            };
            subscriber.events += 1;
            let at = event.index;
            let is_uncertain = written.uncertain.contains(&(id, version));
            if !is_uncertain && !written.acknowledged.contains(&(id, version)) {
                let text =
                    format!("event {at} tells of version {version} of {id}, which nobody wrote");
                findings.anomaly("phantom event", text, vec![at]);
            }
            let earlier = match is_uncertain {
                true => None,
                false => subscriber.versions.insert(id, (version, at)),
            };
            if let Some((before, earlier)) = earlier {
                let is_missing = |skipped| written.acknowledged.contains(&(id, skipped));
                let name = match version - before {
                    0 => Some("repeated event"),
                    ..0 => Some("event out of order"),
                    2.. if self.every_version && (before + 1..version).any(is_missing) => {
                        Some("missed event")
                    }
                    _ => None,
                };
                if let Some(name) = name {
                    let text = format!(
                        "event {at} tells of version {version} of {id} behind version {before} (event {earlier})"
                    );
                    findings.anomaly(name, text, vec![earlier, at]);
                }
            }
            match kind {
                "remove" => subscriber.documents.remove(id),
                _ => subscriber.documents.insert(id, version),
            };
        }
    }
}

fn compare(
    subscribers: &BTreeMap<Process, Subscriber<'_>>,
    finals: &[(u64, BTreeMap<&Value, i64>)],
    findings: &mut Findings,
) {
    let events: usize = subscribers
        .values()
        .map(|subscriber| subscriber.events)
        .sum();
    findings.note(format!(
        "watch: {} subscribers, {events} events",
        subscribers.len()
    ));
    if finals.is_empty() || events == 0 {
        findings.unknown("watch: there must be a final read and a subscriber with events");
    }
    for (process, subscriber) in subscribers {
        for (read, documents) in finals {
            let ids = documents.keys().chain(subscriber.documents.keys());
            let different = ids
                .copied()
                .filter(|id| documents.get(id) != subscriber.documents.get(id))
                .min();
            let Some(id) = different else { continue };
            let show = |version: Option<&i64>| {
                version.map_or("absent".to_owned(), |version| {
                    format!("at version {version}")
                })
            };
            let text = format!(
                "the subscriber of process {process} ended with {id} {}, the collection with it {} (event {read})",
                show(subscriber.documents.get(id)),
                show(documents.get(id))
            );
            findings.anomaly(
                "rebuilt differently",
                text,
                vec![subscriber.last_event, *read],
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Validity;
    use super::super::testing::{assert_names, assert_valid, history};
    use super::*;

    fn story(events: &str) -> History {
        history(&format!(
            "0 invoke write [a 1]
             0 ok write [a 1]
             0 invoke write [a 2]
             0 ok write [a 2]
             0 invoke write [b 1]
             0 ok write [b 1]
             0 invoke remove [b 2]
             0 info remove [b 2]
             5 invoke write [c 1]
             5 fail write [c 1]
             1 invoke watch
             1 ok watch {events}
             2 invoke final-read
             2 ok final-read [[a 2]]"
        ))
    }

    fn judge(events: &str) -> Verdict {
        Rebuilt::default().check(&story(events))
    }

    #[test]
    fn events_rebuild_the_collection() {
        assert_valid(&judge("[[:init a 1] [:put b 1] [:put a 2] [:remove b 2]]"));
        assert_valid(&judge("[[:init a 2]]"));
        assert_names(
            &judge("[[:init a 1] [:put b 1] [:put a 2]]"),
            &["rebuilt differently"],
        );
        assert_names(&judge("[[:init a 1]]"), &["rebuilt differently"]);
    }

    #[test]
    fn each_event_comes_once_and_in_order() {
        assert_names(
            &judge("[[:put a 1] [:put a 1] [:put a 2]]"),
            &["repeated event"],
        );
        assert_names(
            &judge("[[:put a 2] [:put a 1] [:put a 2]]"),
            &["event out of order"],
        );
        assert_names(
            &judge("[[:put a 2] [:put c 1] [:remove c 1]]"),
            &["phantom event", "repeated event"],
        );
    }

    #[test]
    fn gaps_are_lost_events_unless_changes_are_merged() {
        let text = "0 invoke write [a 1]\n0 ok write [a 1]\n0 invoke write [a 2]\n0 ok write [a 2]\n0 invoke write [a 3]\n0 ok write [a 3]\n1 invoke watch\n1 ok watch [[:put a 1]]\n1 invoke watch\n1 ok watch [[:put a 3]]\n2 invoke final-read\n2 ok final-read [[a 3]]";
        assert_names(&Rebuilt::default().check(&history(text)), &["missed event"]);
        assert_valid(&Rebuilt::merging().check(&history(text)));
    }

    #[test]
    fn what_may_have_been_written_may_come_late_or_never() {
        let told = |events: &str| {
            let text = format!(
                "0 invoke write [a 1]\n0 ok write [a 1]\n0 invoke write [a 2]\n0 info write [a 2]\n3 invoke write [a 3]\n3 ok write [a 3]\n1 invoke watch\n1 ok watch {events}\n2 invoke final-read\n2 ok final-read [[a 3]]"
            );
            Rebuilt::default().check(&history(&text))
        };
        assert_valid(&told("[[:put a 1] [:put a 2] [:put a 3]]"));
        assert_valid(&told("[[:put a 1] [:put a 3]]"));
        assert_names(
            &told("[[:put a 1] [:put a 3] [:put a 2]]"),
            &["rebuilt differently"],
        );
    }

    #[test]
    fn without_events_or_end_nothing_is_known() {
        assert_eq!(
            Rebuilt::default().check(&History::default()).validity,
            Validity::Unknown
        );
    }
}
