//! Each anomaly by hand, random histories of right and wrong databases, and a brute force over all orders.

use super::super::testing::*;
use super::super::{Validity, Verdict};
use super::*;
use crate::history::{Kind, Value};

fn judge(text: &str) -> Verdict {
    RwRegister::default().check(&history(text))
}

/// Transactions one after the other, each by its own process.
fn in_turn(values: &[&str]) -> Verdict {
    let lines = values.iter().enumerate().map(|(process, value)| {
        format!("{process} invoke txn {value}\n{process} ok txn {value}\n")
    });
    judge(&lines.collect::<String>())
}

/// Transactions all at once.
fn at_once(values: &[&str]) -> Verdict {
    let mut text = String::new();
    for kind in ["invoke", "ok"] {
        for (process, value) in values.iter().enumerate() {
            text += &format!("{process} {kind} txn {value}\n");
        }
    }
    judge(&text)
}

#[test]
fn serial_transactions_are_valid() {
    assert_valid(&in_turn(&[
        "[[:r x nil] [:w x 1]]",
        "[[:r x 1] [:w x 2] [:r x 2] [:w y 1]]",
        "[[:w x 3]]",
        "[[:r x 3] [:r y 1] [:r z nil]]",
    ]));
}

#[test]
fn what_needs_no_graph_is_named() {
    assert_names(&in_turn(&["[[:w x 1] [:r x nil]]"]), &["internal"]);
    assert_names(
        &in_turn(&["[[:w x 1]]", "[[:r x 1] [:r x nil]]"]),
        &["internal"],
    );
    assert_names(&in_turn(&["[[:r x 7]]"]), &["garbage"]);
    assert_names(&at_once(&["[[:w x 1] [:w x 2]]", "[[:r x 1]]"]), &["G1b"]);
    assert_names(
        &judge(
            "0 invoke txn [[:w x 1]]\n0 fail txn [[:w x 1]]\n1 invoke txn [[:r x nil]]\n1 ok txn [[:r x 1]]",
        ),
        &["G1a"],
    );
    let update = at_once(&["[[:r x nil] [:w x 1]]", "[[:r x nil] [:w x 2]]"]);
    assert!(names(&update).contains(&"lost update"), "{update:?}");
}

#[test]
fn cycles_are_named() {
    assert_names(
        &at_once(&["[[:w x 1] [:r y 1]]", "[[:w y 1] [:r x 1]]"]),
        &["G1c"],
    );
    assert_names(
        &at_once(&["[[:w x 1] [:w y 1]]", "[[:r x 1] [:r y nil]]"]),
        &["G-single"],
    );
    assert_names(
        &at_once(&["[[:r x nil] [:w y 1]]", "[[:r y nil] [:w x 1]]"]),
        &["G2-item"],
    );
    let fork = [
        "[[:w x 1]]",
        "[[:w y 1]]",
        "[[:r x 1] [:r y nil]]",
        "[[:r x nil] [:r y 1]]",
    ];
    assert_names(&at_once(&fork), &["G-nonadjacent"]);
}

#[test]
fn stale_reads_break_the_order_in_time_only() {
    let text = "0 invoke txn [[:w x 1]]
                0 ok txn [[:w x 1]]
                0 invoke txn [[:w x 2]]
                0 ok txn [[:w x 2]]
                1 invoke txn [[:r x nil]]
                1 ok txn [[:r x 1]]";
    let verdict = judge(text);
    assert_names(&verdict, &["cyclic versions"]);
    assert!(
        anomaly(&verdict, "cyclic versions")
            .explanation
            .contains("event 3 was done before that of event 5 began")
    );
    assert_valid(&RwRegister::new(Level::Serializable).check(&history(text)));
    assert_names(
        &in_turn(&["[[:w x 1]]", "[[:r x nil]]"]),
        &["cyclic versions"],
    );
}

#[test]
fn half_of_a_transaction_of_unknown_outcome_is_found() {
    let text = |y: &str| {
        format!(
            "0 invoke txn [[:w x 1] [:w y 1]]\n0 info txn [[:w x 1] [:w y 1]]\n1 invoke txn [[:r x nil] [:r y nil]]\n1 ok txn [[:r x 1] [:r y {y}]]"
        )
    };
    assert_names(&judge(&text("nil")), &["G-single"]);
    assert_valid(&judge(&text("1")));
}

#[test]
fn repeated_and_strange_values_are_unknown() {
    assert_eq!(
        in_turn(&["[[:w x 1]]", "[[:w x 1]]"]).validity,
        Validity::Unknown
    );
    assert_eq!(
        judge("0 invoke txn [[:w x nil]]").validity,
        Validity::Unknown
    );
    assert_eq!(
        judge("0 invoke txn [[:append x 1]]").validity,
        Validity::Unknown
    );
}

fn load(seed: u64, transactions: usize, isolation: Isolation) -> Load {
    Load {
        registers: true,
        isolation,
        ..Load::lists(seed, transactions)
    }
}

#[test]
fn right_databases_are_valid_and_wrong_ones_are_found() {
    for seed in 0..200 {
        let verdict = RwRegister::default().check(&load(seed, 200, Isolation::Serial).run());
        assert_eq!(
            verdict.validity,
            Validity::Valid,
            "seed {seed}: {verdict:#?}"
        );
    }
    for isolation in [Isolation::Stale, Isolation::Torn] {
        for seed in 0..30 {
            let verdict = RwRegister::default().check(&load(seed, 300, isolation).run());
            assert_eq!(verdict.validity, Validity::Invalid, "{isolation:?} {seed}");
        }
    }
}

/// Whether some order of the transactions explains all reads and keeps to real time.
fn explainable(story: &History) -> bool {
    let operations: Vec<_> = story
        .operations()
        .into_iter()
        .filter(|one| one.outcome() != Kind::Fail)
        .collect();
    let end = |at: usize| match operations[at].outcome() {
        Kind::Ok => operations[at]
            .completion
            .map_or(u64::MAX, |event| event.index),
        _ => u64::MAX,
    };
    orders(operations.len()).into_iter().any(|order| {
        let mut state: std::collections::BTreeMap<&Value, &Value> =
            std::collections::BTreeMap::new();
        (0..order.len()).all(|place| {
            let operation = &operations[order[place]];
            order[place..]
                .iter()
                .all(|later| end(*later) > operation.invoke.index)
                && operation
                    .value()
                    .as_list()
                    .expect("steps")
                    .iter()
                    .all(|step| {
                        let [f, key, value] = step.as_list().expect("a step") else {
                            unreachable!()
                        };
                        if f.as_word() == Some("w") {
                            state.insert(key, value);
                            return true;
                        }
                        state.get(key).copied().unwrap_or(&Value::Nil) == value
                    })
        })
    })
}

#[test]
fn what_a_brute_force_explains_is_valid_and_most_else_is_found() {
    let (mut valid, mut found, mut missed) = (0, 0, 0);
    for seed in 0..400 {
        for isolation in [Isolation::Serial, Isolation::Stale, Isolation::Torn] {
            let load = Load {
                keys: 2,
                processes: 3,
                info_percent: 0,
                fail_percent: 10,
                ..load(seed, 5, isolation)
            };
            let story = load.run();
            let verdict = RwRegister::default().check(&story);
            match (explainable(&story), verdict.validity) {
                (true, Validity::Valid) => valid += 1,
                (false, Validity::Invalid) => found += 1,
                // A register does not show all of its past.
                (false, Validity::Valid) => missed += 1,
                (expected, _) => panic!(
                    "{isolation:?} {seed}: {expected}\n{}{verdict:#?}",
                    show(&story)
                ),
            }
        }
    }
    println!("{valid} valid, {found} found, {missed} missed");
    assert!(
        valid > 300 && found > 100 && missed * 5 < found,
        "{valid} valid, {found} found, {missed} missed"
    );
}
