//! Runs made by hand, for the tests of the report.

use super::availability::Availability;
use super::{FaultRecord, Run};
use crate::check::{Anomaly, Verdict};
use crate::history::{Event, History, Kind, Value};

const SECOND: u64 = 1_000_000_000;

/// Text that would break a page that did not escape it.
pub(super) const HOSTILE: &str = "<script>alert('x')</script>\"&amp;<img src=x onerror=alert(1)>";

/// A fault with a proof.
pub(super) fn fault(name: &str, targets: &[&str], start_ns: u64, end_ns: u64) -> FaultRecord {
    FaultRecord {
        name: name.to_owned(),
        targets: targets.iter().map(|&target| target.to_owned()).collect(),
        what: format!("{name} of {}", targets.join(" and ")),
        start_ns,
        end_ns,
        proof: "218 packets dropped".to_owned(),
    }
}

/// An event without a value.
pub(super) fn completed(process: u64, time: u64, kind: Kind, f: &str) -> Event {
    Event {
        index: 0,
        time,
        kind,
        process,
        f: f.to_owned(),
        value: Value::Nil,
        error: None,
    }
}

/// A history of operations (from, to, outcome, kind), each by a process of its own.
pub(super) fn history<'f>(
    operations: impl IntoIterator<Item = (u64, u64, Kind, &'f str)>,
) -> History {
    let mut events = Vec::new();
    for (process, (start, end, outcome, f)) in (0..).zip(operations) {
        events.push(completed(process, start, Kind::Invoke, f));
        events.push(completed(process, end, outcome, f));
    }
    of_events(events)
}

fn of_events(mut events: Vec<Event>) -> History {
    events.sort_by_key(|event| event.time);
    let mut history = History::default();
    for event in events {
        history.push(event);
    }
    history
}

/// Numbers that look random and are the same each time (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// A run of 60 seconds with about so many events, two faults and two anomalies.
pub(super) fn run(events: u64) -> Run {
    let faults = vec![
        FaultRecord {
            what: "SIGKILL of the node that led all groups; started again after the fault"
                .to_owned(),
            proof: "exit by signal 9, process 4242 gone".to_owned(),
            ..fault("kill-leader", &["n2 (leader)"], 12 * SECOND, 22 * SECOND)
        },
        FaultRecord {
            what: format!("cut n1 and n3 from the others {HOSTILE}"),
            ..fault(
                "partition-majorities-ring",
                &["n1", "n3"],
                34 * SECOND,
                46 * SECOND,
            )
        },
    ];
    let mut history = load(events * 3 / 5);
    let verdict = Verdict {
        notes: vec!["1,204 transactions in the graph, 18 keys".to_owned()],
        ..Verdict::of(anomalies(&history))
    };
    let shown = verdict.anomalies[1].events[0] as usize;
    history.events[shown].value = Value::Text(HOSTILE.to_owned());
    history.events[shown].error = Some(HOSTILE.to_owned());
    Run {
        workload: "list-append".to_owned(),
        nemeses: vec!["kill-leader".to_owned(), "partition-majorities-ring".to_owned()],
        seed: 8_301_442,
        nodes: (1..=5).map(|node| format!("n{node}")).collect(),
        mode: "network namespaces".to_owned(),
        started_unix_ms: 1_764_200_000_000,
        duration_ns: 61 * SECOND,
        command: "cargo run --release -p jepsen-style-tests -- run --workload list-append --nemesis kill-leader,partition-majorities-ring --nodes 5 --time 60 --seed 8301442 --out chaos-out".to_owned(),
        availability: Availability::measure(&history, &faults),
        history,
        verdict,
        faults,
        notes: vec![
            "Not available here: corruption of packets (needs the user-space switch).".to_owned(),
            format!("A note that came from outside: {HOSTILE}"),
        ],
        logs: vec!["logs/n1.log".to_owned(), "logs/n 2<b>.log".to_owned()],
    }
}

/// Ten clients; nothing is answered for a while after each fault begins, and some things take long.
fn load(operations: u64) -> History {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut events = Vec::new();
    let clients = 10;
    let pace = 60 * SECOND * clients / operations.max(1);
    for client in 0..clients {
        let mut now = client * pace / clients;
        let mut process = client;
        while now < 60 * SECOND {
            let second = now / SECOND;
            let outage = (12..14).contains(&second) || (34..41).contains(&second);
            let slow = (14..22).contains(&second) || (41..46).contains(&second);
            let (f, value) = operation(&mut numbers);
            let (kind, latency, error) = match (outage, numbers.next(100)) {
                (true, 0..40) => (
                    Kind::Info,
                    900_000_000 + numbers.next(200_000_000),
                    "timed out",
                ),
                (true, _) => (
                    Kind::Fail,
                    1_000_000 + numbers.next(90_000_000),
                    "no leader",
                ),
                (false, 0..2) => (Kind::Fail, 2_000_000 + numbers.next(4_000_000), "conflict"),
                (false, _) => {
                    let spread = 1_200_000 + numbers.next(3_000_000) * (1 + numbers.next(3));
                    let factor = if slow { 6 } else { 1 } * if f == "txn" { 2 } else { 1 };
                    (Kind::Ok, spread * factor, "")
                }
            };
            let event = |kind, time| Event {
                value: value.clone(),
                ..completed(process, time, kind, f)
            };
            events.push(event(Kind::Invoke, now));
            events.push(Event {
                error: (kind != Kind::Ok).then(|| error.to_owned()),
                ..event(kind, now + latency)
            });
            if kind == Kind::Info {
                process += clients;
            }
            now += latency.max(pace);
        }
    }
    of_events(events)
}

fn operation(numbers: &mut Numbers) -> (&'static str, Value) {
    let key = Value::Int(numbers.next(18) as i64);
    let append = Value::List(vec![
        Value::keyword("append"),
        key.clone(),
        Value::Int(numbers.next(500) as i64),
    ]);
    let read = Value::List(vec![Value::keyword("r"), key, Value::ints([4, 9, 12])]);
    match numbers.next(10) {
        0..4 => ("read", Value::List(vec![read])),
        4..7 => ("append", Value::List(vec![append])),
        _ => ("txn", Value::List(vec![append, read])),
    }
}

fn anomalies(history: &History) -> Vec<Anomaly> {
    let ok: Vec<u64> = history
        .operations()
        .iter()
        .filter(|operation| operation.outcome() == Kind::Ok)
        .filter_map(|operation| Some(operation.completion?.index))
        .collect();
    let middle = ok.len() / 2;
    let [a, b, c] = [ok[middle], ok[middle + 3], ok[middle + 7]];
    vec![
        Anomaly {
            name: "G-single".to_owned(),
            explanation: "A transaction saw half of another: it read key 5 before the other's append and key 7 after it.".to_owned(),
            events: vec![a, b, c],
            edges: vec![
                (a, b, "wr: the second read 12 of key 5, which the first appended".to_owned()),
                (b, c, "realtime: the second had ended before the third began".to_owned()),
                (c, a, format!("rw: the third did not see what the first appended to key 7 {HOSTILE}")),
            ],
        },
        Anomaly {
            name: format!("lost update {HOSTILE}"),
            explanation: "Two transactions read the same list of key 3 and both appended to it; one append is gone.".to_owned(),
            events: vec![ok[middle + 20], ok[middle + 25], 99_999_999],
            edges: vec![
                (ok[middle + 20], ok[middle + 25], "rw".to_owned()),
                (ok[middle + 25], ok[middle + 20], "ww".to_owned()),
            ],
        },
    ]
}
