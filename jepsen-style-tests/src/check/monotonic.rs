//! Judges numbers that only rise: nobody sees one go back.
//!
//! | `f` | value | |
//! |---|---|---|
//! | `inc` | `[key nil]`, ok: `[key number]` | the number behind the increment; `[key nil]` when it is not known |
//! | `read` | `[key nil]`, ok: `[key number]` | an absent number is `nil` |
//!
//! Always judged: what a process sees of a key never falls. With [`Monotonic::across_processes`] also: what is seen is
//! not below anything seen before it began, by whomever; linearizable reads promise that.

use std::collections::HashMap;

use super::findings::{Findings, pair};
use super::{Checker, Verdict};
use crate::history::{History, Kind, Process, Value};

/// The judge.
#[derive(Debug, Clone, Copy, Default)]
pub struct Monotonic {
    across_processes: bool,
}

impl Monotonic {
    /// Other processes' earlier operations count, too.
    pub fn across_processes() -> Self {
        Self {
            across_processes: true,
        }
    }
}

/// The highest number of a key so far, and the event that showed it.
type Highest = (i64, u64);

impl Checker for Monotonic {
    fn check(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let mut of_process: HashMap<(Process, &Value), Highest> = HashMap::new();
        let mut of_all: HashMap<&Value, Highest> = HashMap::new();
        // What was known of the key when a process began its open operation.
        let mut at_begin: HashMap<Process, Option<Highest>> = HashMap::new();
        let mut seen = 0;
        for event in &history.events {
            let ("inc" | "read", Some((key, value))) = (event.f.as_str(), pair(&event.value))
            else {
                findings.strange(event, "an inc or read of [key number]");
                continue;
            };
            if event.kind == Kind::Invoke {
                at_begin.insert(event.process, of_all.get(key).copied());
            }
            if event.kind != Kind::Ok {
                continue;
            }
            let number = match (value, event.f.as_str()) {
                (Value::Int(number), _) => *number,
                (Value::Nil, "read") => i64::MIN,
                (Value::Nil, _) => continue,
                _ => {
                    findings.strange(event, "a number");
                    continue;
                }
            };
            seen += 1;
            let mut judge = |before: Option<Highest>, whose: &str, name: &str| {
                if let Some((highest, earlier)) = before.filter(|(highest, _)| number < *highest) {
                    let text = format!(
                        "event {} shows {key} at {value}, but {whose} event {earlier} showed {highest}",
                        event.index
                    );
                    findings.anomaly(name, text, vec![earlier, event.index]);
                }
            };
            let own = of_process
                .entry((event.process, key))
                .or_insert((i64::MIN, event.index));
            judge(Some(*own), "the same process's", "went back");
            if self.across_processes {
                judge(
                    at_begin.remove(&event.process).flatten(),
                    "the earlier",
                    "stale",
                );
            }
            for highest in [own, of_all.entry(key).or_insert((i64::MIN, event.index))] {
                if number > highest.0 {
                    *highest = (number, event.index);
                }
            }
        }
        if seen == 0 {
            findings.unknown("monotonic: nothing was seen");
        }
        findings.note(format!("monotonic: {seen} numbers seen"));
        findings.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Validity;
    use super::super::testing::{assert_names, assert_valid, history};
    use super::*;

    fn reads(values: &[(u64, &str)]) -> History {
        let lines = values.iter().map(|(process, value)| {
            format!("{process} invoke read [k nil]\n{process} ok read [k {value}]\n")
        });
        history(&lines.collect::<String>())
    }

    #[test]
    fn a_process_never_sees_a_number_fall() {
        let rising = reads(&[(0, "nil"), (0, "1"), (0, "1"), (0, "3")]);
        assert_valid(&Monotonic::default().check(&rising));
        for falling in [[(0, "2"), (0, "1")], [(0, "1"), (0, "nil")]] {
            assert_names(
                &Monotonic::default().check(&reads(&falling)),
                &["went back"],
            );
        }
        assert_valid(&Monotonic::default().check(&history(
            "0 invoke inc [k nil]\n0 ok inc [k 2]\n0 invoke read [other nil]\n0 ok read [other 1]\n0 invoke inc [k nil]\n0 info inc [k nil]",
        )));
    }

    #[test]
    fn others_count_when_asked() {
        let two = reads(&[(0, "2"), (1, "1")]);
        assert_valid(&Monotonic::default().check(&two));
        assert_names(&Monotonic::across_processes().check(&two), &["stale"]);
        let beside = history(
            "1 invoke read [k nil]\n0 invoke read [k nil]\n0 ok read [k 2]\n1 ok read [k 1]",
        );
        assert_valid(&Monotonic::across_processes().check(&beside));
    }

    #[test]
    fn without_numbers_nothing_is_known() {
        assert_eq!(
            Monotonic::default().check(&History::default()).validity,
            Validity::Unknown
        );
        assert_eq!(
            Monotonic::default()
                .check(&history("0 invoke read k"))
                .validity,
            Validity::Unknown
        );
    }
}
