//! Judges a maker of identifiers: it never makes the same one twice.
//!
//! | `f` | value |
//! |---|---|
//! | `generate` | `nil`, ok: the identifier |

use std::collections::HashMap;

use super::findings::Findings;
use super::{Checker, Verdict};
use crate::history::{History, Kind, Value};

/// The judge.
#[derive(Debug, Clone, Copy, Default)]
pub struct UniqueIds;

impl Checker for UniqueIds {
    fn check(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let mut made: HashMap<&Value, u64> = HashMap::new();
        for operation in history.operations() {
            if operation.invoke.f != "generate" {
                findings.strange(operation.invoke, "a generate");
            }
            let Some(completion) = operation.completion.filter(|event| event.kind == Kind::Ok)
            else {
                continue;
            };
            if let Some(before) = made.insert(&completion.value, completion.index) {
                let text = format!(
                    "events {before} and {} both made {}",
                    completion.index, completion.value
                );
                findings.anomaly("duplicate id", text, vec![before, completion.index]);
            }
        }
        if made.is_empty() {
            findings.unknown("unique-ids: none was made");
        }
        findings.note(format!("unique-ids: {} made", made.len()));
        findings.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Validity;
    use super::super::testing::{assert_names, assert_valid, history};
    use super::*;

    #[test]
    fn the_same_id_twice_is_found() {
        let story = |second: &str| {
            history(&format!(
                "0 invoke generate\n1 invoke generate\n0 ok generate a\n1 {second}\n2 invoke generate\n2 info generate"
            ))
        };
        assert_valid(&UniqueIds.check(&story("ok generate b")));
        assert_names(&UniqueIds.check(&story("ok generate a")), &["duplicate id"]);
        assert_eq!(
            UniqueIds.check(&History::default()).validity,
            Validity::Unknown
        );
    }
}
