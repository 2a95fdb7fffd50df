//! Judges replicas: at the same place of the log they are the same, and at the end all are at the same place.
//!
//! | `f` | value | |
//! |---|---|---|
//! | `digest` | `nil`, ok: `[[group replica applied digest] ...]` | the digest of a replica's state behind the log index `applied` |
//!
//! The last digest of each replica counts as that at the end: the workload takes it when all is healed and at rest.

use std::collections::{BTreeMap, HashMap};

use super::findings::Findings;
use super::{Checker, Verdict};
use crate::history::{History, Kind, Value};

/// The judge.
#[derive(Debug, Clone, Copy, Default)]
pub struct Digests;

struct Digest<'h> {
    replica: &'h Value,
    digest: &'h Value,
    event: u64,
}

impl Checker for Digests {
    fn check(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let mut at_place: HashMap<(&Value, i64), Digest<'_>> = HashMap::new();
        let mut last: BTreeMap<&Value, BTreeMap<&Value, (i64, u64)>> = BTreeMap::new();
        let completions = history.events.iter().filter(|event| event.kind == Kind::Ok);
        for event in completions {
            let Some(list) = event.value.as_list().filter(|_| event.f == "digest") else {
                findings.strange(event, "a digest of [[group replica applied digest] ...]");
                continue;
            };
            for entry in list {
                let Some([group, replica, Value::Int(applied), digest]) = entry.as_list() else {
                    findings.strange(event, "a digest of [[group replica applied digest] ...]");
                    continue;
                };
                last.entry(group)
                    .or_default()
                    .insert(replica, (*applied, event.index));
                let known = at_place.entry((group, *applied)).or_insert(Digest {
                    replica,
                    digest,
                    event: event.index,
                });
                if known.digest != digest {
                    let text = format!(
                        "group {group} at {applied}: replica {} has the digest {} (event {}), replica {replica} has {digest} (event {})",
                        known.replica, known.digest, known.event, event.index
                    );
                    findings.anomaly("replicas differ", text, vec![known.event, event.index]);
                }
            }
        }
        for (group, replicas) in &last {
            if replicas.len() < 2 {
                findings.unknown(format!(
                    "digests: group {group} has one replica only, and nothing to compare it with"
                ));
            }
            let behind = replicas.iter().min_by_key(|(_, (applied, _))| *applied);
            let ahead = replicas.iter().max_by_key(|(_, (applied, _))| *applied);
            if let (Some((slow, (low, one))), Some((fast, (high, two)))) = (behind, ahead)
                && low != high
            {
                let text = format!(
                    "group {group} ended with replica {slow} at {low} (event {one}) and replica {fast} at {high} (event {two})"
                );
                findings.anomaly("replica behind", text, vec![*one, *two]);
            }
        }
        if last.is_empty() {
            findings.unknown("digests: none was taken");
        }
        findings.note(format!("digests: {} groups compared", last.len()));
        findings.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Validity;
    use super::super::testing::{assert_names, assert_valid, history};
    use super::*;

    fn judge(digests: &[&str]) -> Verdict {
        let lines = digests
            .iter()
            .map(|digest| format!("0 invoke digest\n0 ok digest {digest}\n"));
        Digests.check(&history(&lines.collect::<String>()))
    }

    #[test]
    fn replicas_end_alike() {
        assert_valid(&judge(&[
            "[[g a 5 x] [g b 4 y]]",
            "[[g a 6 z] [g b 6 z] [h a 1 q] [h b 1 q]]",
        ]));
        assert_names(&judge(&["[[g a 5 x] [g b 5 y]]"]), &["replicas differ"]);
        assert_names(
            &judge(&["[[g a 5 x]]", "[[g b 5 y]]", "[[g a 6 z] [g b 6 z]]"]),
            &["replicas differ"],
        );
        assert_names(&judge(&["[[g a 5 x] [g b 6 y]]"]), &["replica behind"]);
    }

    #[test]
    fn a_lone_replica_proves_nothing() {
        for digests in [&["[[g a 5 x]]"][..], &[], &["[[g a x]]"]] {
            assert_eq!(judge(digests).validity, Validity::Unknown, "{digests:?}");
        }
    }
}
