//! Each anomaly by hand, random histories, mutations, a brute force over all orders, and the time for a long history.

use super::super::testing::*;
use super::super::{Validity, Verdict};
use super::*;
use crate::history::{Kind, Value};

fn judge(text: &str) -> Verdict {
    ListAppend::default().check(&history(text))
}

/// Transactions one after the other, each by its own process.
fn in_turn(values: &[&str]) -> Verdict {
    let mut text = String::new();
    for (process, value) in values.iter().enumerate() {
        text += &format!("{process} invoke txn {value}\n{process} ok txn {value}\n");
    }
    judge(&text)
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
        "[[:append x 1]]",
        "[[:r x [1]] [:append x 2] [:r x [1 2]]]",
        "[[:append x 3] [:append y 1]]",
        "[[:r x [1 2 3]] [:r y [1]] [:r z nil]]",
    ]));
}

#[test]
fn reads_must_agree_with_their_own_transaction() {
    for wrong in [
        "[[:append x 1] [:r x nil]]",
        "[[:r x nil] [:append x 1] [:r x [1 1]]]",
        "[[:append x 1] [:append x 2] [:r x [2 1]]]",
    ] {
        assert!(
            in_turn(&[wrong])
                .anomalies
                .iter()
                .any(|found| found.name == "internal"),
            "{wrong}"
        );
    }
    assert!(names(&in_turn(&["[[:append x 1]]", "[[:r x [1]] [:r x nil]]"])).contains(&"internal"));
}

#[test]
fn failed_middle_doubled_and_foreign_elements_are_named() {
    let failed = judge(
        "0 invoke txn [[:append x 1]]
         0 fail txn [[:append x 1]]
         1 invoke txn [[:r x nil]]
         1 ok txn [[:r x [1]]]",
    );
    assert_names(&failed, &["G1a"]);
    let middle = at_once(&[
        "[[:append x 1] [:append x 2]]",
        "[[:r x [1]]]",
        "[[:r x [1 2]]]",
    ]);
    assert!(names(&middle).contains(&"G1b"), "{middle:?}");
    assert!(
        names(&in_turn(&["[[:append x 1]]", "[[:r x [1 1]]]"])).contains(&"duplicate elements")
    );
    assert_names(
        &in_turn(&["[[:append x 1]]", "[[:r x [1 7]]]"]),
        &["garbage"],
    );
}

#[test]
fn two_orders_of_a_key_are_incompatible() {
    let verdict = at_once(&[
        "[[:append x 1]]",
        "[[:append x 2]]",
        "[[:r x [1 2]]]",
        "[[:r x [2 1]]]",
    ]);
    assert!(
        names(&verdict).contains(&"incompatible order"),
        "{verdict:?}"
    );
    assert!(
        anomaly(&verdict, "incompatible order")
            .explanation
            .contains("from element 0 on")
    );
}

#[test]
fn a_done_append_must_be_in_later_reads() {
    let verdict = in_turn(&["[[:append x 1]]", "[[:append x 2]]", "[[:r x [1]]]"]);
    assert!(names(&verdict).contains(&"lost append"), "{verdict:?}");
    // A read that began before the append was done need not show it.
    assert_valid(&at_once(&[
        "[[:append x 1]]",
        "[[:append x 2]]",
        "[[:r x [1]]]",
    ]));
}

#[test]
fn a_transactions_own_appends_keep_their_order() {
    let appends = "[[:append x 1] [:append y 7] [:append x 2]]";
    assert_valid(&in_turn(&[appends, "[[:r x [1 2]]]"]));
    assert_names(
        &in_turn(&[appends, "[[:r x [2 1]]]"]),
        &["G1b", "reordered appends"],
    );
    // Nobody else stands between, so that no cycle tells of it.
    assert!(names(&at_once(&[appends, "[[:r x [2]]]"])).contains(&"reordered appends"));
}

#[test]
fn cycles_of_writes_are_g0() {
    let verdict = at_once(&[
        "[[:append x 1] [:append y 1]]",
        "[[:append x 2] [:append y 2]]",
        "[[:r x [1 2]]]",
        "[[:r y [2 1]]]",
    ]);
    assert!(names(&verdict).contains(&"G0"), "{verdict:?}");
    let found = anomaly(&verdict, "G0");
    assert_eq!(found.edges.len(), 2);
    assert_eq!(found.edges[0].1, found.edges[1].0);
    assert_eq!(found.edges[1].1, found.edges[0].0);
    assert!(found.edges[0].2.contains("stands before"), "{found:?}");
}

#[test]
fn cycles_with_reads_are_g1c() {
    assert_names(
        &at_once(&["[[:append x 1] [:r y [1]]]", "[[:append y 1] [:r x [1]]]"]),
        &["G1c"],
    );
}

#[test]
fn a_torn_read_is_g_single() {
    assert_names(
        &at_once(&[
            "[[:append x 1] [:append y 1]]",
            "[[:r x [1]] [:r y nil]]",
            "[[:r y [1]]]",
        ]),
        &["G-single"],
    );
}

#[test]
fn a_lost_update_has_its_own_name() {
    let verdict = at_once(&[
        "[[:r x nil] [:append x 1]]",
        "[[:r x nil] [:append x 2]]",
        "[[:r x [1 2]]]",
    ]);
    assert_names(&verdict, &["G-single", "lost update"]);
    let update = anomaly(&verdict, "lost update");
    assert_eq!(update.events.len(), 2);
}

#[test]
fn a_long_fork_is_g_nonadjacent_and_write_skew_is_g2() {
    let fork = at_once(&[
        "[[:append x 1]]",
        "[[:append y 1]]",
        "[[:r x [1]] [:r y nil]]",
        "[[:r x nil] [:r y [1]]]",
    ]);
    assert_names(&fork, &["G-nonadjacent"]);
    let skew = [
        "[[:r x nil] [:r y nil] [:append x 1]]",
        "[[:r x nil] [:r y nil] [:append y 1]]",
    ];
    assert_names(
        &at_once(&[skew[0], skew[1], "[[:r x [1]] [:r y [1]]]"]),
        &["G2-item"],
    );
    let text = format!(
        "0 invoke txn {0}\n1 invoke txn {1}\n0 ok txn {0}\n1 ok txn {1}",
        skew[0], skew[1]
    );
    assert_valid(&ListAppend::new(Level::SnapshotIsolation).check(&history(&text)));
}

#[test]
fn stale_reads_break_only_the_order_in_time() {
    let stale = ["[[:append x 1]]", "[[:r x nil]]", "[[:r x [1]]]"];
    assert_names(&in_turn(&stale), &["G-single-realtime"]);
    let text = "0 invoke txn [[:append x 1]]
                0 ok txn [[:append x 1]]
                0 invoke txn [[:r x nil]]
                0 ok txn [[:r x nil]]
                1 invoke txn [[:r x nil]]
                1 ok txn [[:r x [1]]]";
    assert!(names(&judge(text)).contains(&"G-single-process"));
    assert_valid(&ListAppend::new(Level::Serializable).check(&history(text)));
}

#[test]
fn half_of_a_transaction_of_unknown_outcome_is_found() {
    let text = |y: &str| {
        format!(
            "0 invoke txn [[:append x 1] [:append y 1]]
             0 info txn [[:append x 1] [:append y 1]]
             1 invoke txn [[:r x nil] [:r y nil]]
             1 ok txn [[:r x [1]] [:r y {y}]]"
        )
    };
    assert_names(&judge(&text("nil")), &["G-single"]);
    assert_valid(&judge(&text("[1]")));
}

#[test]
fn repeated_elements_and_strange_values_are_unknown() {
    assert_eq!(
        in_turn(&["[[:append x 1]]", "[[:append x 1]]"]).validity,
        Validity::Unknown
    );
    assert_eq!(
        judge("0 invoke txn [[:pop x 1]]").validity,
        Validity::Unknown
    );
    assert_eq!(
        judge("0 invoke read [[:r x nil]]").validity,
        Validity::Unknown
    );
}

#[test]
fn a_right_database_is_valid() {
    for seed in 0..300 {
        let verdict = ListAppend::default().check(&Load::lists(seed, 200).run());
        assert_eq!(
            verdict.validity,
            Validity::Valid,
            "seed {seed}: {verdict:#?}"
        );
    }
}

#[test]
fn wrong_databases_are_found() {
    for isolation in [Isolation::Stale, Isolation::Torn] {
        for seed in 0..50 {
            let load = Load {
                isolation,
                ..Load::lists(seed, 200)
            };
            let verdict = ListAppend::default().check(&load.run());
            assert_eq!(verdict.validity, Validity::Invalid, "{isolation:?} {seed}");
            for found in verdict
                .anomalies
                .iter()
                .filter(|found| !found.edges.is_empty())
            {
                for (edge, next) in found.edges.iter().zip(found.edges.iter().cycle().skip(1)) {
                    assert_eq!(edge.1, next.0, "a cycle closes: {found:?}");
                }
            }
        }
    }
}

#[test]
fn certain_mutations_are_always_found() {
    for seed in 0..200 {
        let story = Load::lists(seed, 60).run();
        for mutation in [Mutation::SwapInRead, Mutation::DuplicateInRead] {
            let Some(changed) = mutate(&story, mutation, seed) else {
                continue;
            };
            let verdict = ListAppend::default().check(&changed);
            assert_eq!(verdict.validity, Validity::Invalid, "{mutation:?} {seed}");
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
    let unknown: Vec<usize> = (0..operations.len())
        .filter(|at| operations[*at].outcome() != Kind::Ok)
        .collect();
    orders(operations.len()).into_iter().any(|order| {
        let in_time = (0..order.len()).all(|place| {
            order[place..]
                .iter()
                .all(|later| end(*later) > operations[order[place]].invoke.index)
        });
        in_time
            && (0..1_u32 << unknown.len()).any(|choice| {
                let skipped = |at: usize| {
                    unknown
                        .iter()
                        .position(|one| *one == at)
                        .is_some_and(|bit| choice & (1 << bit) == 0)
                };
                let mut state: std::collections::BTreeMap<&Value, Vec<&Value>> =
                    std::collections::BTreeMap::new();
                order.iter().filter(|at| !skipped(**at)).all(|at| {
                    let known = operations[*at].outcome() == Kind::Ok;
                    operations[*at]
                        .value()
                        .as_list()
                        .expect("steps")
                        .iter()
                        .all(|step| {
                            let [f, key, value] = step.as_list().expect("a step") else {
                                unreachable!()
                            };
                            let list = state.entry(key).or_default();
                            if f.as_word() == Some("append") {
                                list.push(value);
                                return true;
                            }
                            !known
                                || value
                                    .as_list()
                                    .unwrap_or_default()
                                    .iter()
                                    .eq(list.iter().copied())
                        })
                })
            })
    })
}

#[test]
fn verdicts_are_those_of_a_brute_force() {
    let mut counts = [0; 2];
    let mut compare = |story: &History, what: &str| {
        let expected = explainable(story);
        let verdict = ListAppend::default().check(story);
        assert_eq!(
            verdict.validity == Validity::Valid,
            expected,
            "{what}:\n{}{verdict:#?}",
            show(story)
        );
        counts[usize::from(expected)] += 1;
    };
    for seed in 0..150 {
        for isolation in [Isolation::Serial, Isolation::Stale, Isolation::Torn] {
            let load = Load {
                isolation,
                keys: 2,
                processes: 3,
                info_percent: 15,
                ..Load::lists(seed, 5)
            };
            let story = load.run();
            compare(&story, &format!("{isolation:?} {seed}"));
            for mutation in MUTATIONS {
                if let Some(changed) = mutate(&story, mutation, seed) {
                    compare(&changed, &format!("{isolation:?} {mutation:?} {seed}"));
                }
            }
        }
    }
    assert!(
        counts[0] > 300 && counts[1] > 300,
        "both kinds occur: {counts:?}"
    );
}

#[test]
fn a_hundred_thousand_transactions_are_judged_in_seconds() {
    let load = Load {
        processes: 20,
        keys: 1000,
        steps_max: 4,
        ..Load::lists(1, 100_000)
    };
    let story = rotating(load);
    let begun = computed();
    let verdict = ListAppend::default().check(&story);
    let taken = computed() - begun;
    println!(
        "{} events judged in {taken:?}: {:?}",
        story.events.len(),
        verdict.notes
    );
    assert_valid(&verdict);
    assert!(taken.as_secs() < 10, "{taken:?}");
}

#[test]
fn a_long_history_without_any_isolation_is_judged_in_bounded_time() {
    let load = Load {
        isolation: Isolation::Stale,
        processes: 20,
        keys: 1000,
        ..Load::lists(2, 20_000)
    };
    let story = rotating(load);
    let begun = computed();
    let verdict = ListAppend::default().check(&story);
    let taken = computed() - begun;
    println!(
        "{} events judged in {taken:?}: {:?}",
        story.events.len(),
        names(&verdict)
    );
    assert_eq!(verdict.validity, Validity::Invalid);
    assert!(taken.as_secs() < 10, "{taken:?}");
}

/// Keys in use change as the run goes on, as in the real workload, so that lists stay short.
fn rotating(load: Load) -> History {
    let mut story = History::default();
    for part in 0..50 {
        let rows = Load {
            seed: load.seed + part,
            transactions: load.transactions / 50,
            keys: load.keys / 50,
            ..load
        }
        .run();
        for mut event in rows.events {
            let Value::List(steps) = &mut event.value else {
                continue;
            };
            for step in steps {
                if let Value::List(step) = step
                    && let Value::Int(key) = &mut step[1]
                {
                    *key += part as i64 * load.keys;
                }
            }
            event.process += part * 100_000;
            story.push(event);
        }
    }
    story
}
