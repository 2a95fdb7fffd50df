//! The run second by second: rates by outcome, and percentiles of latency by operation.

use std::collections::BTreeMap;

use super::availability::Counts;
use crate::history::{History, Kind, Operation};

/// Longer runs get wider buckets, so that an hour costs as much memory as a day.
pub const BUCKETS_MAX: u64 = 3_600;

/// Kinds of operations with figures of their own; the rest are one kind.
pub const KINDS_MAX: usize = 8;

const SECOND_NS: u64 = 1_000_000_000;

/// Percentiles of latency, in nanoseconds, by nearest rank.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// Of how many operations.
    pub count: u64,
    /// Half took no longer.
    pub p50: u64,
    /// 95 of 100 took no longer.
    pub p95: u64,
    /// 99 of 100 took no longer.
    pub p99: u64,
    /// None took longer.
    pub max: u64,
}

impl Percentiles {
    /// Of latencies in any order; `None` when there are none.
    pub fn of(latencies: &mut [u64]) -> Option<Self> {
        latencies.sort_unstable();
        let count = latencies.len();
        let rank = |percent: usize| {
            latencies
                .get((count * percent).div_ceil(100).max(1) - 1)
                .copied()
        };
        Some(Self {
            count: count as u64,
            p50: rank(50)?,
            p95: rank(95)?,
            p99: rank(99)?,
            max: rank(100)?,
        })
    }
}

/// Latency of one kind of operation, or of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latency {
    /// `read`, `write`, `txn` ...
    pub f: String,
    /// Over the whole run.
    pub total: Percentiles,
    /// By bucket.
    pub buckets: Vec<Option<Percentiles>>,
}

/// The run by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// The width of a bucket: whole seconds.
    pub bucket_ns: u64,
    /// The run's length.
    pub end_ns: u64,
    /// What came of operations, counted when they ended, or where they began if they never did.
    pub outcomes: Vec<Counts>,
    /// Of all `ok` operations, by when they were invoked.
    pub all: Latency,
    /// The same by kind, the most frequent first.
    pub by_f: Vec<Latency>,
}

impl Timeline {
    /// Of a history.
    pub fn of(history: &History) -> Self {
        let end_ns = history.events.iter().map(|event| event.time).max();
        let end_ns = end_ns.unwrap_or(0).max(1);
        let bucket_ns = end_ns.div_ceil(BUCKETS_MAX).div_ceil(SECOND_NS) * SECOND_NS;
        let buckets = end_ns.div_ceil(bucket_ns) as usize;
        let bucket_of = |time: u64| ((time / bucket_ns) as usize).min(buckets - 1);

        let operations = history.operations();
        let mut outcomes = vec![Counts::default(); buckets];
        for operation in &operations {
            let ended = operation.completion.unwrap_or(operation.invoke).time;
            outcomes[bucket_of(ended)].add(operation.outcome());
        }

        let names = kinds(&operations);
        let mut all = vec![Vec::new(); buckets];
        let mut by_f = vec![vec![Vec::new(); buckets]; names.len()];
        for operation in &operations {
            let Some(latency) = latency_ns(operation) else {
                continue;
            };
            let bucket = bucket_of(operation.invoke.time);
            all[bucket].push(latency);
            by_f[kind_of(&names, &operation.invoke.f)][bucket].push(latency);
        }
        Self {
            bucket_ns,
            end_ns,
            outcomes,
            all: Latency::of("all".to_owned(), all),
            by_f: names
                .into_iter()
                .zip(by_f)
                .map(|(f, buckets)| Latency::of(f, buckets))
                .collect(),
        }
    }

    /// The length of a bucket in seconds; the last is as long as the run goes on in it, but not so short that
    /// a few operations make a peak.
    pub fn seconds(&self, bucket: usize) -> f64 {
        let start_ns = bucket as u64 * self.bucket_ns;
        let length_ns = self.end_ns.saturating_sub(start_ns).min(self.bucket_ns);
        length_ns.max(SECOND_NS / 2) as f64 / SECOND_NS as f64
    }
}

impl Latency {
    fn of(f: String, mut buckets: Vec<Vec<u64>>) -> Self {
        Self {
            f,
            buckets: buckets
                .iter_mut()
                .map(|latencies| Percentiles::of(latencies))
                .collect(),
            total: Percentiles::of(&mut buckets.concat()).unwrap_or_default(),
        }
    }
}

/// How long an `ok` operation took.
pub fn latency_ns(operation: &Operation<'_>) -> Option<u64> {
    let completion = operation.completion?;
    (completion.kind == Kind::Ok).then(|| completion.time.saturating_sub(operation.invoke.time))
}

/// The names of kinds, the most frequent first; the last stands for all others when there are too many.
pub fn kinds(operations: &[Operation<'_>]) -> Vec<String> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for operation in operations {
        *counts.entry(&operation.invoke.f).or_default() += 1;
    }
    let mut names: Vec<(&str, u64)> = counts.into_iter().collect();
    names.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let others = names.len() > KINDS_MAX;
    names.truncate(if others { KINDS_MAX - 1 } else { KINDS_MAX });
    let mut names: Vec<String> = names.into_iter().map(|(f, _)| f.to_owned()).collect();
    if others {
        names.push("others".to_owned());
    }
    names
}

/// The place of a kind among `names`.
pub fn kind_of(names: &[String], f: &str) -> usize {
    names
        .iter()
        .position(|name| name == f)
        .unwrap_or(names.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{completed, history};

    const MILLISECOND: u64 = 1_000_000;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut latencies: Vec<u64> = (1..=200).rev().collect();
        let percentiles = Percentiles::of(&mut latencies).unwrap();
        assert_eq!(
            percentiles,
            Percentiles {
                count: 200,
                p50: 100,
                p95: 190,
                p99: 198,
                max: 200
            }
        );
        assert_eq!(Percentiles::of(&mut [7]).unwrap().p99, 7);
        assert_eq!(Percentiles::of(&mut []), None);
    }

    #[test]
    fn outcomes_count_at_their_ends_and_latencies_at_their_beginnings() {
        let mut history = history([
            (0, 1500 * MILLISECOND, Kind::Ok, "write"),
            (10 * MILLISECOND, 20 * MILLISECOND, Kind::Ok, "read"),
            (11 * MILLISECOND, 21 * MILLISECOND, Kind::Fail, "read"),
            (1200 * MILLISECOND, 2900 * MILLISECOND, Kind::Info, "read"),
        ]);
        history.push(completed(77, 2950 * MILLISECOND, Kind::Invoke, "read"));
        let timeline = Timeline::of(&history);
        assert_eq!(timeline.bucket_ns, SECOND_NS);
        let counts = |ok, fail, info| Counts { ok, fail, info };
        assert_eq!(
            timeline.outcomes,
            [counts(1, 1, 0), counts(1, 0, 0), counts(0, 0, 2)]
        );
        assert_eq!(timeline.by_f[0].f, "read");
        assert_eq!(timeline.by_f[0].total.max, 10 * MILLISECOND);
        assert_eq!(timeline.by_f[1].buckets[0].unwrap().p50, 1500 * MILLISECOND);
        assert_eq!(timeline.all.buckets[0].unwrap().count, 2);
        assert_eq!(timeline.all.buckets[1], None);
        assert!((timeline.seconds(2) - 0.95).abs() < 1e-9);
    }

    #[test]
    fn buckets_and_kinds_are_bounded() {
        let day = 86_400 * SECOND_NS;
        let names: Vec<String> = (0..30).map(|number| format!("f{number}")).collect();
        let history = history(
            names
                .iter()
                .enumerate()
                .map(|(at, f)| (at as u64, day + at as u64, Kind::Ok, f.as_str())),
        );
        let timeline = Timeline::of(&history);
        assert!(timeline.outcomes.len() as u64 <= BUCKETS_MAX);
        assert_eq!(timeline.bucket_ns, 25 * SECOND_NS);
        assert_eq!(timeline.by_f.len(), KINDS_MAX);
        assert_eq!(timeline.by_f[KINDS_MAX - 1].total.count, 30 - 7);
        assert_eq!(Timeline::of(&History::default()).outcomes.len(), 1);
    }
}
