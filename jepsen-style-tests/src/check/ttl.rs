//! Judges documents with an end: they vanish when it has come, never before, and never return.
//!
//! | `f` | value | |
//! |---|---|---|
//! | `insert` | `[id life_ms]` | each id once; it lives this long from its insertion |
//! | `read` | `[id nil]`, ok: `[id true]` or `[id false]` | whether it is there |
//!
//! The server's clock decides, and it sweeps now and then, so that two tolerances are given: how much earlier than by the
//! history's clock an end may come (`early_ms`, the skew of clocks), and how much later (`late_ms`, skew and sweeps).

use std::collections::HashMap;

use super::findings::{Findings, pair};
use super::{Checker, Verdict};
use crate::history::{Event, History, Kind, Operation, Value};

const NANOS_OF_A_MILLI: u64 = 1_000_000;

/// The judge.
#[derive(Debug, Clone, Copy)]
pub struct Ttl {
    early_ms: u64,
    late_ms: u64,
}

impl Ttl {
    /// With tolerances.
    pub fn new(early_ms: u64, late_ms: u64) -> Self {
        Self { early_ms, late_ms }
    }
}

struct Document<'h> {
    insert: Operation<'h>,
    life_ms: u64,
    /// The first completed read behind the insertion that showed it gone.
    gone: Option<&'h Event>,
}

impl Checker for Ttl {
    fn check(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let mut documents: HashMap<&Value, Document<'_>> = HashMap::new();
        let mut reads: Vec<(Operation<'_>, &Event)> = Vec::new();
        for operation in history.operations() {
            match (operation.invoke.f.as_str(), pair(&operation.invoke.value)) {
                ("insert", Some((id, life))) if life.as_int().is_some_and(|life| life >= 0) => {
                    let document = Document {
                        insert: operation,
                        life_ms: life.as_int().map_or(0, i64::unsigned_abs),
                        gone: None,
                    };
                    if documents.insert(id, document).is_some() {
                        findings.unknown(format!("ttl: the workload inserted {id} twice"));
                    }
                }
                ("read", Some(_)) => {
                    if let Some(event) = operation.completion.filter(|event| event.kind == Kind::Ok)
                    {
                        reads.push((operation, event));
                    }
                }
                _ => findings.strange(
                    operation.invoke,
                    "an insert of [id life_ms] or a read of [id nil]",
                ),
            }
        }
        reads.sort_by_key(|(_, event)| event.index);
        let mut expired = 0;
        for (read, event) in &reads {
            let Some((id, Value::Bool(there))) = pair(&event.value) else {
                findings.strange(event, "a read of [id true] or [id false]");
                continue;
            };
            match (documents.get_mut(id), there) {
                (None, false) => {}
                (Some(document), true)
                    if document.insert.outcome() != Kind::Fail
                        && document.insert.invoke.index < event.index =>
                {
                    self.there(id, document, read, event, &mut findings);
                }
                (_, true) => {
                    let text = format!("event {} shows {id}, which was not inserted", event.index);
                    findings.anomaly("garbage", text, vec![event.index]);
                }
                (Some(document), false) => {
                    expired += usize::from(self.gone(id, document, read, event, &mut findings));
                }
            }
        }
        if expired == 0 {
            findings.unknown("ttl: no document was seen to be gone");
        }
        findings.note(format!(
            "ttl: {} documents, {} reads, {expired} of them behind the end",
            documents.len(),
            reads.len()
        ));
        findings.verdict()
    }
}

impl Ttl {
    fn there(
        &self,
        id: &Value,
        document: &Document<'_>,
        read: &Operation<'_>,
        event: &Event,
        findings: &mut Findings,
    ) {
        let inserted = document.insert.invoke.index;
        if let Some(gone) = document.gone.filter(|gone| gone.index < read.invoke.index) {
            let text = format!(
                "event {} shows {id} again, which event {} showed gone",
                event.index, gone.index
            );
            findings.anomaly("came back", text, vec![inserted, gone.index, event.index]);
        }
        // Of an insertion of unknown outcome nobody knows when it took effect.
        let Some(done) = document
            .insert
            .completion
            .filter(|done| done.kind == Kind::Ok)
        else {
            return;
        };
        let end = done.time + (document.life_ms + self.late_ms) * NANOS_OF_A_MILLI;
        if read.invoke.time > end {
            let late = (read.invoke.time - end) / NANOS_OF_A_MILLI + self.late_ms;
            let text = format!(
                "event {} shows {id} {late} ms behind its end (inserted at event {inserted})",
                event.index
            );
            findings.anomaly("outlived its end", text, vec![inserted, event.index]);
        }
    }

    /// Whether it was to be gone by then.
    fn gone<'h>(
        &self,
        id: &Value,
        document: &mut Document<'h>,
        read: &Operation<'h>,
        event: &'h Event,
        findings: &mut Findings,
    ) -> bool {
        let Some(done) = document
            .insert
            .completion
            .filter(|done| done.kind == Kind::Ok)
        else {
            return false;
        };
        if read.invoke.index < done.index {
            return false;
        }
        document.gone.get_or_insert(event);
        let end = document.insert.invoke.time + document.life_ms * NANOS_OF_A_MILLI;
        let earliest = end.saturating_sub(self.early_ms * NANOS_OF_A_MILLI);
        if event.time >= earliest {
            return true;
        }
        let early = (end - event.time) / NANOS_OF_A_MILLI;
        let inserted = document.insert.invoke.index;
        let text = format!(
            "event {} misses {id} {early} ms before its end (inserted at event {inserted})",
            event.index
        );
        findings.anomaly("vanished early", text, vec![inserted, event.index]);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::Validity;
    use super::super::testing::{assert_names, assert_valid, history, names};
    use super::*;

    /// A document of 100 ms inserted at 0..10 ms, and reads at the given milliseconds.
    fn judge(insert: &str, reads: &[(u64, bool)]) -> Verdict {
        let mut text = format!("0 invoke insert [a 100]\n{insert}\n");
        for (_, there) in reads {
            text += &format!("1 invoke read [a nil]\n1 ok read [a {there}]\n");
        }
        let mut story = history(&text);
        story.events[1].time = 10 * NANOS_OF_A_MILLI;
        for (at, (time, _)) in reads.iter().enumerate() {
            for event in &mut story.events[2 + at * 2..4 + at * 2] {
                event.time = time * NANOS_OF_A_MILLI;
            }
        }
        Ttl::new(5, 20).check(&story)
    }

    const OK: &str = "0 ok insert [a 100]";

    #[test]
    fn documents_live_as_long_as_they_should() {
        assert_valid(&judge(OK, &[(50, true), (129, true), (129, false)]));
        assert_valid(&judge(OK, &[(95, false)]));
        assert_names(
            &judge(OK, &[(94, false), (200, false)]),
            &["vanished early"],
        );
        assert_names(
            &judge(OK, &[(131, true), (140, false)]),
            &["outlived its end"],
        );
        assert_names(&judge(OK, &[(100, false), (110, true)]), &["came back"]);
    }

    #[test]
    fn nothing_is_known_of_the_end_of_an_insertion_of_unknown_outcome() {
        assert_eq!(
            judge("0 info insert [a 100]", &[(500, true)]).validity,
            Validity::Unknown
        );
        assert_eq!(
            names(&judge("0 fail insert [a 100]", &[(50, true)])),
            ["garbage"]
        );
    }

    #[test]
    fn without_an_end_seen_nothing_is_known() {
        assert_eq!(judge(OK, &[(50, true)]).validity, Validity::Unknown);
    }
}
