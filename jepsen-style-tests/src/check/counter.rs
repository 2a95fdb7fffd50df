//! Judges counters: each read lies between what must and what may have been added.
//!
//! | `f` | value | |
//! |---|---|---|
//! | `inc` | `[key amount]` | amounts may be negative |
//! | `read` | `[key nil]`, ok: `[key number]` | an absent counter is 0 or `nil` |
//!
//! A read must hold all amounts acknowledged before it began, may hold all that were begun before it ended, and never
//! holds failed ones. When nothing of unknown outcome is left, the bounds of a late read meet, and it must be exact.

use std::collections::BTreeMap;

use super::findings::{Findings, certain_end, pair};
use super::{Checker, Verdict};
use crate::history::{History, Kind, Value};

/// The judge.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counter;

#[derive(Default)]
struct Key {
    increments: Vec<Increment>,
    reads: Vec<Read>,
}

struct Increment {
    amount: i128,
    invoke: u64,
    /// Behind it the amount is certainly there.
    certain: u64,
}

struct Read {
    invoke: u64,
    end: u64,
    seen: i128,
}

/// Sums of amounts up to a place in the history.
struct Sums(Vec<(u64, i128)>);

impl Sums {
    fn of(mut amounts: Vec<(u64, i128)>) -> Self {
        amounts.sort_unstable();
        let mut sum = 0;
        for (_, amount) in &mut amounts {
            sum += *amount;
            *amount = sum;
        }
        Self(amounts)
    }

    fn before(&self, place: u64) -> i128 {
        match self.0.partition_point(|(at, _)| *at < place) {
            0 => 0,
            count => self.0[count - 1].1,
        }
    }
}

impl Checker for Counter {
    fn check(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let keys = read(history, &mut findings);
        let mut reads = 0;
        for (
            key,
            Key {
                increments,
                reads: of_key,
            },
        ) in keys
        {
            let sums = |certain: bool, positive: bool| {
                let chosen = increments.iter().filter(|one| (one.amount > 0) == positive);
                Sums::of(
                    chosen
                        .map(|one| (if certain { one.certain } else { one.invoke }, one.amount))
                        .collect(),
                )
            };
            let (must_rise, must_fall) = (sums(true, true), sums(true, false));
            let (may_rise, may_fall) = (sums(false, true), sums(false, false));
            for read in &of_key {
                let low = must_rise.before(read.invoke) + may_fall.before(read.end);
                let high = may_rise.before(read.end) + must_fall.before(read.invoke);
                if read.seen < low || read.seen > high {
                    let name = if read.seen < low {
                        "lost increment"
                    } else {
                        "too much"
                    };
                    let text = format!(
                        "event {} read {} from {key}, but only {low} to {high} is possible",
                        read.end, read.seen
                    );
                    findings.anomaly(name, text, vec![read.invoke, read.end]);
                }
            }
            reads += of_key.len();
        }
        if reads == 0 {
            findings.unknown("counter: nothing was read");
        }
        findings.note(format!("counter: {reads} reads"));
        findings.verdict()
    }
}

fn read<'h>(history: &'h History, findings: &mut Findings) -> BTreeMap<&'h Value, Key> {
    let mut keys: BTreeMap<&Value, Key> = BTreeMap::new();
    for operation in history.operations() {
        let outcome = operation.outcome();
        match (operation.invoke.f.as_str(), pair(&operation.invoke.value)) {
            ("inc" | "read", Some(_)) if outcome == Kind::Fail => {}
            ("inc", Some((key, Value::Int(amount)))) => {
                keys.entry(key).or_default().increments.push(Increment {
                    amount: i128::from(*amount),
                    invoke: operation.invoke.index,
                    certain: certain_end(&operation),
                });
            }
            ("read", Some((key, _))) => {
                let Some(completion) = operation.completion.filter(|_| outcome == Kind::Ok) else {
                    continue;
                };
                let seen = match pair(&completion.value) {
                    Some((_, Value::Int(seen))) => i128::from(*seen),
                    Some((_, Value::Nil)) => 0,
                    _ => {
                        findings.strange(completion, "a read of [key number]");
                        continue;
                    }
                };
                keys.entry(key).or_default().reads.push(Read {
                    invoke: operation.invoke.index,
                    end: completion.index,
                    seen,
                });
            }
            _ => findings.strange(
                operation.invoke,
                "an inc of [key amount] or a read of [key nil]",
            ),
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::super::Validity;
    use super::super::testing::{assert_names, assert_valid, history};
    use super::*;

    fn judge(text: &str) -> Verdict {
        Counter.check(&history(text))
    }

    fn reads(increments: &str, seen: i64) -> Verdict {
        judge(&format!(
            "{increments}\n9 invoke read [k nil]\n9 ok read [k {seen}]"
        ))
    }

    #[test]
    fn known_increments_make_reads_exact() {
        let text = "0 invoke inc [k 2]\n0 ok inc [k 2]\n0 invoke inc [k -5]\n0 ok inc [k -5]\n0 invoke inc [k 1]\n0 fail inc [k 1]\n0 invoke inc [other 7]\n0 ok inc [other 7]";
        assert_valid(&reads(text, -3));
        assert_names(&reads(text, -4), &["lost increment"]);
        assert_names(&reads(text, -2), &["too much"]);
    }

    #[test]
    fn unknown_increments_widen_the_bounds_by_their_amount() {
        let text = "0 invoke inc [k 2]\n0 info inc [k 2]\n1 invoke inc [k -5]\n1 info inc [k -5]";
        for fine in [-5, -3, 0, 2] {
            assert_valid(&reads(text, fine));
        }
        assert_names(&reads(text, -6), &["lost increment"]);
        assert_names(&reads(text, 3), &["too much"]);
    }

    #[test]
    fn increments_beside_a_read_may_be_seen() {
        let text = |seen: i64| {
            format!(
                "9 invoke read [k nil]\n0 invoke inc [k 1]\n0 ok inc [k 1]\n9 ok read [k {seen}]\n0 invoke inc [k 1]\n0 ok inc [k 1]"
            )
        };
        assert_valid(&judge(&text(0)));
        assert_valid(&judge(&text(1)));
        assert_names(&judge(&text(2)), &["too much"]);
    }

    #[test]
    fn without_reads_nothing_is_known() {
        assert_eq!(
            judge("0 invoke inc [k 1]\n0 ok inc [k 1]").validity,
            Validity::Unknown
        );
        assert_eq!(judge("0 invoke inc 1").validity, Validity::Unknown);
    }
}
