//! Judges whether there was enough to judge: a run in which nothing was read, nothing overlapped, or nothing happened
//! while a fault was on, proves nothing, however valid it is.

use super::findings::Findings;
use super::{Checker, Verdict};
use crate::history::{Event, History, Kind, Value};

/// The judge, with the least that it asks for.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Done reads that saw data.
    pub reads_min: u64,
    /// Pairs of operations that overlapped.
    pub concurrent_pairs_min: u64,
    /// Operations that overlap each window.
    pub in_window_min: u64,
    /// When a fault was on: begin and end, on the history's clock.
    pub windows: Vec<(u64, u64)>,
}

impl Default for Evidence {
    /// Little enough for the shortest useful run, a few seconds with a few clients; some workloads look but in the end.
    fn default() -> Self {
        Self {
            reads_min: 1,
            concurrent_pairs_min: 20,
            in_window_min: 1,
            windows: Vec::new(),
        }
    }
}

impl Evidence {
    /// With windows in which faults were on.
    #[must_use]
    pub fn with_windows(mut self, windows: Vec<(u64, u64)>) -> Self {
        self.windows = windows;
        self
    }
}

impl Checker for Evidence {
    fn check(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let done = history.events.iter().filter(|event| event.kind == Kind::Ok);
        let reads = done.filter(|event| saw_data(event)).count() as u64;
        let pairs = concurrent_pairs(history);
        findings.note(format!(
            "evidence: {reads} reads saw data, {pairs} pairs of operations overlapped"
        ));
        if reads < self.reads_min {
            findings.unknown(format!(
                "too little evidence: {reads} reads saw data, at least {} are needed",
                self.reads_min
            ));
        }
        if pairs < self.concurrent_pairs_min {
            let min = self.concurrent_pairs_min;
            findings.unknown(format!("too little evidence: {pairs} pairs of operations overlapped, at least {min} are needed"));
        }
        let operations = history.operations();
        for (begin, end) in &self.windows {
            let inside = operations.iter().filter(|one| {
                one.invoke.time <= *end
                    && one
                        .completion
                        .is_none_or(|completion| completion.time >= *begin)
            });
            let count = inside.count() as u64;
            if count < self.in_window_min {
                findings.unknown(format!(
                    "too little evidence: {count} operations while the fault from {begin} to {end} ns was on, at least {} are needed",
                    self.in_window_min
                ));
            }
        }
        findings.verdict()
    }
}

/// Operations that only show what is there.
const READS: [&str; 7] = [
    "read",
    "final-read",
    "find",
    "check",
    "watch",
    "digest",
    "generate",
];

fn saw_data(event: &Event) -> bool {
    match event.f.as_str() {
        "txn" => event.value.as_list().unwrap_or_default().iter().any(|step| {
            matches!(step.as_list(), Some([f, _, seen]) if f.as_word() == Some("r") && is_data(seen))
        }),
        f if READS.contains(&f) => match event.value.as_list() {
            // Keyed reads: the key is not data.
            Some([_, seen]) if f == "read" => is_data(seen),
            _ => is_data(&event.value),
        },
        _ => false,
    }
}

fn is_data(value: &Value) -> bool {
    match value {
        Value::Nil => false,
        Value::List(values) => !values.is_empty(),
        Value::Map(members) => members.iter().any(|(_, value)| is_data(value)),
        _ => true,
    }
}

fn concurrent_pairs(history: &History) -> u64 {
    let mut open = 0_u64;
    let mut pairs = 0;
    for event in &history.events {
        match event.kind {
            Kind::Invoke => {
                pairs += open;
                open += 1;
            }
            _ => open = open.saturating_sub(1),
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::super::Validity;
    use super::super::testing::history;
    use super::*;

    const STORY: &str = "0 invoke read [k nil]
        1 invoke txn [[:r x nil] [:append x 1]]
        0 ok read [k 5]
        1 ok txn [[:r x [3]] [:append x 1]]
        0 invoke read [k nil]
        0 ok read [k nil]
        1 invoke txn [[:r x nil]]
        1 ok txn [[:r x nil]]
        2 invoke write [k 1]
        2 ok write [k 1]";

    fn judge(reads_min: u64, concurrent_pairs_min: u64, windows: &[(u64, u64)]) -> Validity {
        let evidence = Evidence {
            reads_min,
            concurrent_pairs_min,
            in_window_min: 2,
            windows: windows.to_vec(),
        };
        evidence.check(&history(STORY)).validity
    }

    #[test]
    fn empty_reads_and_lonely_operations_do_not_count() {
        assert_eq!(judge(2, 1, &[]), Validity::Valid);
        assert_eq!(judge(3, 1, &[]), Validity::Unknown);
        assert_eq!(judge(2, 2, &[]), Validity::Unknown);
    }

    #[test]
    fn every_fault_needs_operations_beside_it() {
        assert_eq!(judge(0, 0, &[(0, 3000)]), Validity::Valid);
        assert_eq!(judge(0, 0, &[(0, 3000), (3500, 3600)]), Validity::Unknown);
        assert_eq!(judge(0, 0, &[(4000, 8000)]), Validity::Valid);
    }

    #[test]
    fn nothing_proves_nothing() {
        assert_eq!(
            Evidence::default().check(&History::default()).validity,
            Validity::Unknown
        );
    }
}
