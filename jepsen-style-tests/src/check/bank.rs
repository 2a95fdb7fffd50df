//! Judges transfers between accounts: every read sees the same total, whatever is under way.
//!
//! | `f` | value |
//! |---|---|
//! | `transfer` | `{:from account, :to account, :amount number}` |
//! | `read` | `nil`, ok: `[[account balance] ...]`, all accounts in one transaction |

use std::collections::BTreeSet;

use super::findings::{Findings, pair};
use super::{Checker, Verdict};
use crate::history::{Event, History, Kind, Value};

/// The judge.
#[derive(Debug, Clone)]
pub struct Bank {
    accounts: BTreeSet<Value>,
    total: i64,
    negative_allowed: bool,
}

impl Bank {
    /// Accounts that together always hold `total`.
    pub fn new(accounts: impl IntoIterator<Item = Value>, total: i64) -> Self {
        Self {
            accounts: accounts.into_iter().collect(),
            total,
            negative_allowed: false,
        }
    }

    /// Balances may fall below zero.
    #[must_use]
    pub fn allow_negative(mut self) -> Self {
        self.negative_allowed = true;
        self
    }

    fn judge(&self, event: &Event, findings: &mut Findings) {
        let balances: Option<Vec<(&Value, i64)>> = event.value.as_list().and_then(|list| {
            list.iter()
                .map(|entry| {
                    pair(entry).and_then(|(account, balance)| Some((account, balance.as_int()?)))
                })
                .collect()
        });
        let Some(balances) = balances else {
            findings.strange(event, "a list of [account balance]");
            return;
        };
        let at = event.index;
        let seen: BTreeSet<&Value> = balances.iter().map(|(account, _)| *account).collect();
        if seen.len() != balances.len() || !seen.iter().copied().eq(&self.accounts) {
            let text = format!(
                "event {at} shows other accounts than there are: {}",
                event.value
            );
            findings.anomaly("wrong accounts", text, vec![at]);
            return;
        }
        let total: i128 = balances
            .iter()
            .map(|(_, balance)| i128::from(*balance))
            .sum();
        if total != i128::from(self.total) {
            let text = format!(
                "event {at} shows a total of {total} instead of {}: {}",
                self.total, event.value
            );
            findings.anomaly("wrong total", text, vec![at]);
        }
        if let Some((account, balance)) = balances
            .iter()
            .find(|(_, balance)| *balance < 0 && !self.negative_allowed)
        {
            let text = format!("event {at} shows {balance} on account {account}");
            findings.anomaly("negative balance", text, vec![at]);
        }
    }
}

impl Checker for Bank {
    fn check(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let mut reads = 0;
        for operation in history.operations() {
            match (operation.invoke.f.as_str(), operation.completion) {
                ("read", Some(event)) if event.kind == Kind::Ok => {
                    reads += 1;
                    self.judge(event, &mut findings);
                }
                ("read" | "transfer", _) => {}
                _ => findings.strange(operation.invoke, "a transfer or read"),
            }
        }
        if reads == 0 {
            findings.unknown("bank: nothing was read");
        }
        findings.note(format!(
            "bank: {reads} reads of {} accounts",
            self.accounts.len()
        ));
        findings.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Validity;
    use super::super::testing::{assert_names, assert_valid, edn, history};
    use super::*;

    fn bank() -> Bank {
        Bank::new([edn("a"), edn("b")], 10)
    }

    fn story(seen: &str) -> History {
        history(&format!(
            "0 invoke transfer {{:from a, :to b, :amount 3}}\n1 invoke read nil\n1 ok read {seen}\n0 ok transfer nil"
        ))
    }

    #[test]
    fn money_is_neither_made_nor_lost() {
        assert_valid(&bank().check(&story("[[a 10] [b 0]]")));
        assert_valid(&bank().check(&story("[[b 3] [a 7]]")));
        assert_names(&bank().check(&story("[[a 10] [b 3]]")), &["wrong total"]);
        assert_names(&bank().check(&story("[[a 10]]")), &["wrong accounts"]);
        assert_names(
            &bank().check(&story("[[a 5] [a 5] [b 0]]")),
            &["wrong accounts"],
        );
    }

    #[test]
    fn debts_are_found_unless_allowed() {
        let debt = story("[[a 11] [b -1]]");
        assert_names(&bank().check(&debt), &["negative balance"]);
        assert_valid(&bank().allow_negative().check(&debt));
    }

    #[test]
    fn without_reads_nothing_is_known() {
        assert_eq!(
            bank().check(&History::default()).validity,
            Validity::Unknown
        );
        assert_eq!(bank().check(&story("[a b]")).validity, Validity::Unknown);
    }
}
