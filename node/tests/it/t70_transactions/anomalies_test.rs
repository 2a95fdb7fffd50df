//! Histories made by hand: the checker must name what is wrong with each, and nothing else.

use super::*;

fn a(key: Key, value: Value) -> Step {
    Step::Append(key, value)
}

fn r(key: Key, list: &[Value]) -> Step {
    Step::Read(key, list.to_vec())
}

fn with(outcome: Outcome, ms: (u64, u64), steps: &[Step]) -> Transaction {
    Transaction {
        steps: steps.to_vec(),
        outcome,
        invoked: Duration::from_millis(ms.0),
        answered: Duration::from_millis(ms.1),
    }
}

/// A committed transaction that was under way with all others.
fn t(steps: &[Step]) -> Transaction {
    with(Outcome::Committed, (0, 1000), steps)
}

fn check(history: &[Transaction], expected: &[Anomaly]) {
    let found: Vec<_> = anomalies(history).into_iter().collect();
    assert_eq!(found, expected, "{history:?}");
}

#[test]
fn good_histories_have_no_anomalies() {
    check(&[], &[]);
    check(
        &[
            t(&[a(1, 1), a(2, 1), r(1, &[1])]),
            t(&[r(1, &[1]), a(1, 2), a(1, 3), r(1, &[1, 2, 3])]),
            t(&[r(1, &[1, 2, 3]), r(2, &[1])]),
        ],
        &[],
    );
    // What is unknown may have happened or not, late or early, and what it read counts for nothing.
    check(
        &[
            with(Outcome::Unknown, (0, 1), &[r(1, &[9, 9]), a(1, 1)]),
            with(Outcome::Unknown, (0, 1), &[a(1, 7)]),
            with(Outcome::Committed, (2, 3), &[r(1, &[])]),
            with(Outcome::Committed, (4, 5), &[r(1, &[1])]),
        ],
        &[],
    );
}

#[test]
fn what_single_reads_show() {
    check(&[t(&[a(1, 1)]), t(&[r(1, &[1, 1])])], &[Anomaly::Duplicate]);
    check(&[t(&[r(1, &[5])])], &[Anomaly::Garbage]);
    check(
        &[
            t(&[a(1, 1)]),
            t(&[a(1, 2)]),
            t(&[r(1, &[1, 2])]),
            t(&[r(1, &[2])]),
        ],
        &[Anomaly::IncompatibleOrder],
    );
    check(
        &[with(Outcome::Failed, (0, 1), &[a(1, 1)]), t(&[r(1, &[1])])],
        &[Anomaly::G1a],
    );
    check(
        &[
            t(&[a(1, 1), a(1, 2)]),
            t(&[r(1, &[1])]),
            t(&[r(1, &[1, 2])]),
        ],
        &[Anomaly::G1b, Anomaly::GSingle],
    );
    check(
        &[t(&[a(1, 1), r(1, &[])]), t(&[r(1, &[1])])],
        &[Anomaly::Internal],
    );
    check(
        &[t(&[a(1, 1)]), t(&[r(1, &[1]), r(1, &[])])],
        &[Anomaly::Internal],
    );
}

#[test]
fn what_writes_show() {
    check(&[t(&[a(1, 1)]), t(&[r(1, &[])])], &[Anomaly::LostWrite]);
    // Both read the empty list and appended to it: one of them did not see the other.
    check(
        &[
            t(&[r(1, &[]), a(1, 1)]),
            t(&[r(1, &[]), a(1, 2)]),
            t(&[r(1, &[1, 2])]),
        ],
        &[Anomaly::LostUpdate, Anomaly::GSingle],
    );
}

#[test]
fn cycles_have_their_names() {
    check(
        &[
            t(&[a(1, 1), a(2, 1)]),
            t(&[a(1, 2), a(2, 2)]),
            t(&[r(1, &[1, 2]), r(2, &[2, 1])]),
        ],
        &[Anomaly::G0],
    );
    check(
        &[t(&[a(1, 1), r(2, &[1])]), t(&[a(2, 1), r(1, &[1])])],
        &[Anomaly::G1c],
    );
    // Read skew: the first sees half of the second.
    check(
        &[
            t(&[r(1, &[]), r(2, &[1])]),
            t(&[a(1, 1), a(2, 1)]),
            t(&[r(1, &[1])]),
        ],
        &[Anomaly::GSingle],
    );
    // Write skew: each read what the other wrote, as it was before.
    check(
        &[
            t(&[r(1, &[]), a(2, 1)]),
            t(&[r(2, &[]), a(1, 1)]),
            t(&[r(1, &[1]), r(2, &[1])]),
        ],
        &[Anomaly::G2],
    );
}

#[test]
fn time_counts() {
    let stale = |read_ms| {
        [
            with(Outcome::Committed, (0, 10), &[a(1, 1)]),
            with(Outcome::Committed, read_ms, &[r(1, &[])]),
            with(Outcome::Committed, (40, 50), &[r(1, &[1])]),
        ]
    };
    check(&stale((20, 30)), &[Anomaly::Realtime]);
    check(&stale((5, 30)), &[]);
}
