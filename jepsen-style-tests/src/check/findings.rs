//! Collects what a judge finds: a bounded number of anomalies of each name, and a note of how many were left out.

use std::collections::BTreeMap;

use crate::history::{Event, Operation, Value};

use super::{Anomaly, Validity, Verdict};

/// A broken history shows the same anomaly thousands of times; nobody reads more than a few of each name.
pub(super) const ANOMALIES_OF_A_NAME_MAX: usize = 8;

/// Events that no judge understands are quoted up to this number.
const STRANGE_EVENTS_MAX: usize = 4;

/// Anomalies and notes on the way to a verdict.
#[derive(Debug, Default)]
pub struct Findings {
    anomalies: Vec<Anomaly>,
    seen: BTreeMap<String, usize>,
    notes: Vec<String>,
    strange: usize,
    unknown: bool,
}

impl Findings {
    /// Something that the model does not allow.
    pub fn anomaly(&mut self, name: &str, explanation: impl Into<String>, events: Vec<u64>) {
        self.cycle(name, explanation, events, Vec::new());
    }

    /// The same, with a cycle that proves it.
    pub fn cycle(
        &mut self,
        name: &str,
        explanation: impl Into<String>,
        events: Vec<u64>,
        edges: Vec<(u64, u64, String)>,
    ) {
        let seen = self.seen.entry(name.to_owned()).or_default();
        *seen += 1;
        if *seen <= ANOMALIES_OF_A_NAME_MAX {
            self.anomalies.push(Anomaly {
                name: name.to_owned(),
                explanation: explanation.into(),
                events,
                edges,
            });
        }
    }

    /// A figure for the report.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Something could not be told: the verdict is not valid any more.
    pub fn unknown(&mut self, reason: impl Into<String>) {
        self.unknown = true;
        self.notes.push(reason.into());
    }

    /// An event has not the shape that this judge documents: the workload and the judge do not fit.
    pub fn strange(&mut self, event: &Event, expected: &str) {
        self.unknown = true;
        self.strange += 1;
        if self.strange <= STRANGE_EVENTS_MAX {
            self.notes.push(format!(
                "event {} ({} {}) is not {expected}",
                event.index, event.f, event.value
            ));
        }
    }

    /// Nothing was found so far.
    pub fn is_empty(&self) -> bool {
        self.anomalies.is_empty()
    }

    /// Whether a name was found.
    pub fn has(&self, name: &str) -> bool {
        self.seen.contains_key(name)
    }

    /// The judgement.
    pub fn verdict(mut self) -> Verdict {
        for (name, &seen) in &self.seen {
            if seen > ANOMALIES_OF_A_NAME_MAX {
                self.notes.push(format!(
                    "{name}: {seen} times, {ANOMALIES_OF_A_NAME_MAX} of them are listed"
                ));
            }
        }
        if self.strange > STRANGE_EVENTS_MAX {
            self.notes
                .push(format!("{} events have an unexpected shape", self.strange));
        }
        let validity = match (self.anomalies.is_empty(), self.unknown) {
            (false, _) => Validity::Invalid,
            (true, true) => Validity::Unknown,
            (true, false) => Validity::Valid,
        };
        Verdict {
            validity,
            anomalies: self.anomalies,
            notes: self.notes,
        }
    }
}

/// The index of the event that tells most of an operation: its completion, or else its invocation.
pub(crate) fn main_event(operation: &Operation<'_>) -> u64 {
    operation.completion.unwrap_or(operation.invoke).index
}

/// The place in the history behind which an operation certainly has ended; an operation of which nothing is known may
/// take effect for ever.
pub(crate) fn certain_end(operation: &Operation<'_>) -> u64 {
    match operation.completion {
        Some(event) if event.kind != crate::history::Kind::Info => event.index,
        _ => u64::MAX,
    }
}

/// The key and the rest of a value `[k v]`.
pub(crate) fn pair(value: &Value) -> Option<(&Value, &Value)> {
    match value.as_list()? {
        [key, value] => Some((key, value)),
        _ => None,
    }
}
