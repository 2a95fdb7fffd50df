//! How long clients went without service: over the whole run, through each fault, and after it.
//!
//! Clients have service when an operation of theirs ends with `ok`. They go without it from the last such end, or from the
//! first invocation after it when nobody asked for anything in between: a run that rests is not an outage. Those who look at
//! what is left in the end are no clients: to compare all replicas takes as long as it takes.

use serde::{Deserialize, Serialize};

use super::FaultRecord;
use crate::history::{Event, History, Kind, OBSERVERS, Operation};

/// Service is to be back this long after the end of a single fault.
pub const RECOVERY_LIMIT_NS: u64 = 5_000_000_000;

/// The death of a single leader is to cost clients no more than this.
pub const FAILOVER_LIMIT_NS: u64 = 3_000_000_000;

/// What came of operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// They took effect.
    pub ok: u64,
    /// They certainly took none.
    pub fail: u64,
    /// Nobody knows.
    pub info: u64,
}

impl Counts {
    /// One more.
    pub fn add(&mut self, outcome: Kind) {
        match outcome {
            Kind::Ok => self.ok += 1,
            Kind::Fail => self.fail += 1,
            Kind::Info | Kind::Invoke => self.info += 1,
        }
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.ok + self.fail + self.info
    }
}

/// A time in which clients went without service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Since when.
    pub start_ns: u64,
    /// Until when.
    pub end_ns: u64,
}

impl Gap {
    /// Its length.
    pub fn length_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }
}

/// How long it took from a moment to the end of the first `ok` operation that was invoked after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// So many nanoseconds.
    Took(u64),
    /// There was none in the so many nanoseconds that the history went on for.
    Never(u64),
    /// Nobody asked for anything after it.
    Unseen,
}

impl Wait {
    /// Nanoseconds, if service came.
    pub fn took_ns(self) -> Option<u64> {
        match self {
            Self::Took(nanoseconds) => Some(nanoseconds),
            Self::Never(_) | Self::Unseen => None,
        }
    }

    /// Whether clients certainly waited for longer than `limit_ns`.
    pub fn is_over(self, limit_ns: u64) -> bool {
        match self {
            Self::Took(nanoseconds) | Self::Never(nanoseconds) => nanoseconds > limit_ns,
            Self::Unseen => false,
        }
    }
}

/// What one fault did to the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultAvailability {
    /// The longest gap that touches the fault, counted from the fault's start at the earliest.
    pub longest_gap_ns: u64,
    /// From the fault's start to the next `ok`.
    pub failover: Wait,
    /// From the fault's end to the next `ok`.
    pub recovery: Wait,
    /// Whether it killed one leader, and nothing else.
    pub leader_death: bool,
    /// Whether no other fault was there from its start until service was back: the limits are promises about single faults.
    pub alone: bool,
}

impl FaultAvailability {
    /// What the fault cost clients while it was there: a leader may still answer what is under way when it dies.
    pub fn cost_ns(&self) -> u64 {
        let (Wait::Took(failover) | Wait::Never(failover)) = self.failover else {
            return self.longest_gap_ns;
        };
        self.longest_gap_ns.max(failover)
    }

    /// Whether service came back too late.
    pub fn recovers_late(&self) -> bool {
        self.alone && self.recovery.is_over(RECOVERY_LIMIT_NS)
    }

    /// Whether a leader's death cost too much.
    pub fn fails_over_late(&self) -> bool {
        self.alone && self.leader_death && self.cost_ns() > FAILOVER_LIMIT_NS
    }
}

/// The figures of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Availability {
    /// What came of the operations.
    pub operations: Counts,
    /// The longest time without service, unless there were no operations.
    pub longest_gap: Option<Gap>,
    /// One for each fault of the run, in the same order.
    pub faults: Vec<FaultAvailability>,
}

impl Availability {
    /// Measures a run.
    pub fn measure(history: &History, faults: &[FaultRecord]) -> Self {
        let mut operations = history.operations();
        let mut counts = Counts::default();
        for operation in &operations {
            counts.add(operation.outcome());
        }
        operations.retain(|operation| of_a_client(operation.invoke));
        let gaps = gaps(history);
        let last = history.events.iter().rfind(|event| of_a_client(event));
        let end_ns = last.map_or(0, |event| event.time);
        Self {
            operations: counts,
            longest_gap: gaps.iter().copied().max_by_key(Gap::length_ns),
            faults: (0..faults.len())
                .map(|at| measure_fault(at, faults, &operations, &gaps, end_ns))
                .collect(),
        }
    }

    /// The slowest recovery from a single fault, of those that were seen to end.
    pub fn slowest_recovery_ns(&self) -> Option<u64> {
        self.faults
            .iter()
            .filter(|fault| fault.alone)
            .filter_map(|fault| fault.recovery.took_ns())
            .max()
    }

    /// The most that the death of a single leader cost.
    pub fn slowest_failover_ns(&self) -> Option<u64> {
        self.faults
            .iter()
            .filter(|fault| fault.alone && fault.leader_death)
            .map(FaultAvailability::cost_ns)
            .max()
    }

    /// How many faults broke one of the two limits.
    pub fn late(&self) -> usize {
        self.faults
            .iter()
            .filter(|fault| fault.recovers_late() || fault.fails_over_late())
            .count()
    }
}

fn of_a_client(event: &Event) -> bool {
    event.process < OBSERVERS
}

fn measure_fault(
    at: usize,
    faults: &[FaultRecord],
    operations: &[Operation<'_>],
    gaps: &[Gap],
    end_ns: u64,
) -> FaultAvailability {
    let fault = &faults[at];
    let recovery = wait(operations, fault.end_ns, end_ns);
    let back_ns = match recovery {
        Wait::Took(waited) | Wait::Never(waited) => fault.end_ns.saturating_add(waited),
        Wait::Unseen => fault.end_ns,
    };
    let first = gaps.partition_point(|gap| gap.end_ns <= fault.start_ns);
    FaultAvailability {
        longest_gap_ns: gaps[first..]
            .iter()
            .take_while(|gap| gap.start_ns < fault.end_ns)
            .map(|gap| gap.end_ns.saturating_sub(gap.start_ns.max(fault.start_ns)))
            .max()
            .unwrap_or(0),
        failover: wait(operations, fault.start_ns, end_ns),
        recovery,
        leader_death: fault.kills_a_leader(),
        alone: faults.iter().enumerate().all(|(other, record)| {
            other == at || record.end_ns < fault.start_ns || record.start_ns > back_ns
        }),
    }
}

/// From `from_ns` to the end of the first `ok` operation that was invoked at that time or later.
fn wait(operations: &[Operation<'_>], from_ns: u64, end_ns: u64) -> Wait {
    let first = operations.partition_point(|operation| operation.invoke.time < from_ns);
    let mut back_ns = u64::MAX;
    for operation in &operations[first..] {
        if operation.invoke.time >= back_ns {
            break;
        }
        if let Some(completion) = operation.completion
            && completion.kind == Kind::Ok
        {
            back_ns = back_ns.min(completion.time);
        }
    }
    match (back_ns, first == operations.len()) {
        (u64::MAX, true) => Wait::Unseen,
        (u64::MAX, false) => Wait::Never(end_ns.saturating_sub(from_ns)),
        (back_ns, _) => Wait::Took(back_ns.saturating_sub(from_ns)),
    }
}

/// All gaps, in their order; they do not overlap.
fn gaps(history: &History) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut open = 0_u64;
    let mut waiting_since = None;
    let mut last_ns = 0;
    for event in history.events.iter().filter(|event| of_a_client(event)) {
        last_ns = event.time;
        if event.kind == Kind::Invoke {
            open += 1;
            waiting_since.get_or_insert(event.time);
            continue;
        }
        open = open.saturating_sub(1);
        if event.kind != Kind::Ok {
            // Clients that were refused come again: only an answer ends the wait.
            continue;
        }
        let start_ns = waiting_since.unwrap_or(event.time);
        gaps.push(Gap {
            start_ns,
            end_ns: event.time.max(start_ns),
        });
        waiting_since = (open > 0).then_some(event.time);
    }
    if let Some(start_ns) = waiting_since {
        gaps.push(Gap {
            start_ns,
            end_ns: last_ns.max(start_ns),
        });
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{completed, fault, history};

    const SECOND: u64 = 1_000_000_000;

    /// One operation a tenth of a second from `from` to `to` (in tenths), each by a process of its own.
    fn steady(
        from: u64,
        to: u64,
        outcome: Kind,
    ) -> impl Iterator<Item = (u64, u64, Kind, &'static str)> {
        (from..to).map(move |tenth| {
            let start = tenth * SECOND / 10;
            (start, start + SECOND / 100, outcome, "write")
        })
    }

    #[test]
    fn a_steady_run_has_short_gaps() {
        let history = history(steady(0, 100, Kind::Ok));
        let figures = Availability::measure(&history, &[]);
        assert_eq!(
            figures.operations,
            Counts {
                ok: 100,
                fail: 0,
                info: 0
            }
        );
        assert_eq!(figures.longest_gap.unwrap().length_ns(), SECOND / 100);
    }

    #[test]
    fn an_outage_is_measured_from_the_last_ok_to_the_next() {
        let history = history(
            steady(0, 20, Kind::Ok)
                .chain(steady(20, 40, Kind::Info))
                .chain(steady(40, 60, Kind::Ok)),
        );
        let faults = [fault("partition-halves", &["n1", "n2"], SECOND, 3 * SECOND)];
        let figures = Availability::measure(&history, &faults);
        assert_eq!(
            figures.longest_gap,
            Some(Gap {
                start_ns: 2 * SECOND,
                end_ns: 4 * SECOND + SECOND / 100
            })
        );
        let fault = &figures.faults[0];
        assert_eq!(fault.longest_gap_ns, 2 * SECOND + SECOND / 100);
        assert_eq!(fault.failover, Wait::Took(SECOND / 100));
        assert_eq!(fault.recovery, Wait::Took(SECOND + SECOND / 100));
        assert!(fault.alone && !fault.leader_death && !fault.recovers_late());
        assert_eq!(figures.operations.info, 20);
    }

    #[test]
    fn answers_to_operations_from_before_are_no_recovery() {
        let history = history([
            // Invoked before the fault's end, answered after it.
            (SECOND, 3 * SECOND, Kind::Ok, "write"),
            (4 * SECOND, 9 * SECOND, Kind::Ok, "write"),
            (5 * SECOND, 8 * SECOND, Kind::Ok, "write"),
        ]);
        let faults = [fault("pause", &["n1"], SECOND, 2 * SECOND)];
        let figures = Availability::measure(&history, &faults);
        assert_eq!(figures.faults[0].recovery, Wait::Took(6 * SECOND));
        assert!(figures.faults[0].recovers_late());
        assert_eq!(figures.late(), 1);
        assert_eq!(figures.slowest_recovery_ns(), Some(6 * SECOND));
    }

    #[test]
    fn a_leaders_death_is_measured_from_its_start() {
        let outage = |until: u64| {
            let history = history(
                steady(0, 10, Kind::Ok)
                    // The dying leader's last answer.
                    .chain([(SECOND, SECOND + 1, Kind::Ok, "write")])
                    .chain(steady(11, until, Kind::Fail))
                    .chain(steady(until, 80, Kind::Ok)),
            );
            let faults = [fault("kill-leader", &["n2"], SECOND, SECOND + SECOND / 2)];
            Availability::measure(&history, &faults)
        };
        let quick = outage(30);
        assert!(quick.faults[0].leader_death);
        assert!(!quick.faults[0].fails_over_late());
        let slow = outage(50);
        assert_eq!(slow.faults[0].failover, Wait::Took(1));
        // The next client asks at 1.1 s; the answer comes at 5.01 s.
        assert_eq!(
            slow.slowest_failover_ns(),
            Some(5 * SECOND + SECOND / 100 - (SECOND + SECOND / 10))
        );
        assert!(slow.faults[0].fails_over_late());
        assert_eq!(slow.late(), 1);
    }

    #[test]
    fn the_limits_hold_for_single_faults_only() {
        let history = history(
            steady(0, 10, Kind::Ok)
                .chain(steady(10, 80, Kind::Info))
                .chain(steady(80, 90, Kind::Ok)),
        );
        let faults = [
            fault("kill-leader", &["n1"], SECOND, 2 * SECOND),
            fault("partition-halves", &["n2"], 4 * SECOND, 7 * SECOND),
        ];
        let figures = Availability::measure(&history, &faults);
        // The second began before service was back from the first.
        assert!(!figures.faults[0].alone && !figures.faults[0].recovers_late());
        assert!(figures.faults[0].recovery.is_over(RECOVERY_LIMIT_NS));
        assert!(figures.faults[1].alone);
        assert_eq!(figures.late(), 0);
    }

    #[test]
    fn service_that_does_not_return_is_late_and_nobody_asking_is_not() {
        let lost = history(steady(0, 10, Kind::Ok).chain(steady(10, 90, Kind::Info)));
        let faults = [fault("disk-full", &["n1"], SECOND, 2 * SECOND)];
        let figures = Availability::measure(&lost, &faults);
        assert!(matches!(figures.faults[0].recovery, Wait::Never(waited) if waited > 6 * SECOND));
        assert!(figures.faults[0].recovers_late());
        // The wait from the last answer to the end of the history counts too.
        assert!(figures.longest_gap.unwrap().length_ns() > 7 * SECOND);

        let quiet = history(steady(0, 10, Kind::Ok));
        let figures = Availability::measure(&quiet, &faults);
        assert_eq!(figures.faults[0].recovery, Wait::Unseen);
        assert_eq!(figures.late(), 0);
    }

    #[test]
    fn a_rest_of_the_clients_is_no_gap() {
        let history = history(steady(0, 10, Kind::Ok).chain(steady(200, 210, Kind::Ok)));
        let figures = Availability::measure(&history, &[]);
        assert_eq!(figures.longest_gap.unwrap().length_ns(), SECOND / 100);
    }

    #[test]
    fn to_look_at_what_is_left_is_no_gap() {
        let mut history = history(steady(0, 10, Kind::Ok));
        history.push(completed(OBSERVERS * 2, 2 * SECOND, Kind::Invoke, "digest"));
        history.push(completed(OBSERVERS * 2, 9 * SECOND, Kind::Ok, "digest"));
        let faults = [fault("disk-full", &["n1"], SECOND, 2 * SECOND)];
        let figures = Availability::measure(&history, &faults);
        assert_eq!(figures.longest_gap.unwrap().length_ns(), SECOND / 100);
        assert_eq!(figures.faults[0].recovery, Wait::Unseen);
        assert_eq!(figures.operations.ok, 11);
    }

    #[test]
    fn operations_without_an_end_are_unknown() {
        let mut history = history(steady(0, 2, Kind::Ok));
        history.push(completed(9, 5 * SECOND, Kind::Invoke, "read"));
        history.push(completed(8, 9 * SECOND, Kind::Invoke, "read"));
        let figures = Availability::measure(&history, &[]);
        assert_eq!(figures.operations.info, 2);
        assert_eq!(figures.longest_gap.unwrap().length_ns(), 4 * SECOND);
        assert_eq!(
            Availability::measure(&History::default(), &[]).longest_gap,
            None
        );
    }
}
