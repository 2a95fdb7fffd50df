//! Hand-made registers, random ones against a brute force over all orders, another model, and the bounds.

use std::fmt;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::super::testing::{anomaly, assert_names, assert_valid, history, orders, push, show};
use super::super::{Checker as _, Validity, Verdict};
use super::*;

fn judge(text: &str) -> Verdict {
    registers().check(&history(text))
}

#[test]
fn reads_that_follow_the_writes_are_linearizable() {
    assert_valid(&judge(
        "0 invoke read [7 nil]
         0 ok read [7 nil]
         0 invoke write [7 1]
         1 invoke read [7 nil]
         1 ok read [7 1]
         0 ok write [7 1]
         1 invoke cas [7 [1 2]]
         2 invoke read [7 nil]
         1 ok cas [7 [1 2]]
         2 ok read [7 1]
         2 invoke read [7 nil]
         2 ok read [7 2]",
    ));
}

#[test]
fn a_stale_read_is_told_with_what_stood_open() {
    let verdict = judge(
        "0 invoke write [7 1]
         0 ok write [7 1]
         0 invoke write [7 2]
         0 ok write [7 2]
         1 invoke read [7 nil]
         2 invoke write [7 9]
         1 ok read [7 1]
         2 ok write [7 9]",
    );
    assert_names(&verdict, &["nonlinearizable"]);
    let found = anomaly(&verdict, "nonlinearizable");
    assert!(
        found
            .explanation
            .contains("nothing explains read 1 (events 4 to 6)"),
        "{}",
        found.explanation
    );
    assert!(found.events.starts_with(&[4, 6]), "{:?}", found.events);
}

#[test]
fn keys_are_judged_alone() {
    let verdict = judge(
        "0 invoke write [1 5]
         0 ok write [1 5]
         0 invoke write [2 6]
         0 ok write [2 6]
         0 invoke read [1 nil]
         0 ok read [1 nil]
         0 invoke read [2 nil]
         0 ok read [2 6]",
    );
    assert_eq!(verdict.anomalies.len(), 1);
    assert!(verdict.anomalies[0].explanation.starts_with("key 1:"));
}

#[test]
fn a_write_of_unknown_outcome_may_take_effect_late_or_never_but_not_before_it_began() {
    let with = |reads: &str| {
        judge(&format!(
            "0 invoke write [1 1]
             0 ok write [1 1]
             3 invoke read [1 nil]
             3 ok read [1 {}]
             1 invoke write [1 2]
             1 info write [1 2]
             2 invoke read [1 nil]
             2 ok read [1 {}]
             2 invoke read [1 nil]
             2 ok read [1 {}]
             2 invoke read [1 nil]
             2 ok read [1 {}]",
            &reads[0..1],
            &reads[1..2],
            &reads[2..3],
            &reads[3..4],
        ))
    };
    for fine in ["1111", "1112", "1122", "1222"] {
        assert_valid(&with(fine));
    }
    for wrong in ["2222", "1121", "1212", "1211"] {
        assert_names(&with(wrong), &["nonlinearizable"]);
    }
}

#[test]
fn a_failed_write_is_never_seen_and_an_open_one_may_be() {
    let text = |kind: &str| {
        format!(
            "0 invoke write [1 1]
             {kind}
             1 invoke read [1 nil]
             1 ok read [1 1]"
        )
    };
    assert_names(&judge(&text("0 fail write [1 1]")), &["nonlinearizable"]);
    assert_valid(&judge(&text("")));
}

#[test]
fn two_swaps_of_the_same_value_cannot_both_succeed() {
    assert_names(
        &judge(
            "0 invoke write [1 1]
             0 ok write [1 1]
             0 invoke cas [1 [1 2]]
             1 invoke cas [1 [1 3]]
             0 ok cas [1 [1 2]]
             1 ok cas [1 [1 3]]",
        ),
        &["nonlinearizable"],
    );
}

#[test]
fn what_is_no_register_operation_makes_the_verdict_unknown() {
    for text in [
        "0 invoke read 5",
        "0 invoke pop [1 2]",
        "0 invoke cas [1 2]",
    ] {
        let verdict = judge(text);
        assert_eq!(verdict.validity, Validity::Unknown, "{text}");
    }
}

#[test]
fn a_search_without_end_is_unknown() {
    let mut story = History::default();
    for process in 0..24 {
        let value = Value::ints([1, process as i64]);
        push(&mut story, process, Kind::Invoke, "write", value);
    }
    for process in 0..24 {
        let value = Value::ints([1, process as i64]);
        push(&mut story, process, Kind::Ok, "write", value);
    }
    push(
        &mut story,
        0,
        Kind::Invoke,
        "read",
        Value::List(vec![Value::Int(1), Value::Nil]),
    );
    push(&mut story, 0, Kind::Ok, "read", Value::ints([1, 99]));
    let verdict = registers().with_steps_max(10_000).check(&story);
    assert_eq!(verdict.validity, Validity::Unknown);
    assert!(
        verdict
            .notes
            .iter()
            .any(|note| note.contains("too many steps")),
        "{verdict:?}"
    );
}

/// A queue, to show that other objects fit the trait.
struct Queue;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Items(Vec<i64>);

impl fmt::Display for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[derive(Debug, Clone)]
enum QueueCall {
    Push(i64),
    /// `None`: nobody knows what it took.
    Pop(Option<i64>),
}

impl fmt::Display for QueueCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Model for Queue {
    type State = Items;
    type Call = QueueCall;

    fn initial(&self) -> Items {
        Items(Vec::new())
    }

    fn meaning(&self, f: &str, argument: &Value, result: Option<&Value>) -> Meaning<QueueCall> {
        match (f, argument.as_int()) {
            ("push", Some(value)) => Meaning::Call(QueueCall::Push(value)),
            ("pop", _) => Meaning::Call(QueueCall::Pop(result.and_then(Value::as_int))),
            _ => Meaning::Strange,
        }
    }

    fn step(&self, state: &Items, call: &QueueCall) -> Option<Items> {
        let mut items = state.0.clone();
        match call {
            QueueCall::Push(value) => items.push(*value),
            QueueCall::Pop(expected) => {
                let first = *items.first()?;
                if expected.is_some_and(|expected| expected != first) {
                    return None;
                }
                items.remove(0);
            }
        }
        Some(Items(items))
    }

    fn shape(&self) -> &'static str {
        "a push or pop"
    }
}

#[test]
fn a_queue_keeps_its_order() {
    let text = |first: i64, second: i64| {
        format!(
            "0 invoke push [q 1]
             0 ok push [q 1]
             0 invoke push [q 2]
             0 ok push [q 2]
             0 invoke push [q 3]
             0 ok push [q 3]
             1 invoke pop [q nil]
             1 info pop [q nil]
             0 invoke pop [q nil]
             0 ok pop [q {first}]
             0 invoke pop [q nil]
             0 ok pop [q {second}]"
        )
    };
    for (first, second, fine) in [
        (1, 2, true),
        (2, 3, true),
        (1, 3, true),
        (2, 1, false),
        (3, 1, false),
    ] {
        let verdict = Linearizable::new(Queue).check(&history(&text(first, second)));
        assert_eq!(
            verdict.validity == Validity::Valid,
            fine,
            "{first} {second} {verdict:?}"
        );
    }
}

/// At most `operations` on one register, with results by chance.
fn random_history(random: &mut StdRng, operations: usize) -> History {
    let mut story = History::default();
    let mut open: Vec<(u64, &str, Value)> = Vec::new();
    let mut begun = 0;
    let key = |value: Value| Value::List(vec![Value::Int(1), value]);
    let mut number = {
        let mut other = StdRng::seed_from_u64(random.random());
        move || Value::Int(other.random_range(1..=3))
    };
    while begun < operations || !open.is_empty() {
        if begun < operations && (open.is_empty() || random.random_bool(0.5)) {
            let (f, value) = match random.random_range(0..5) {
                0 | 1 => ("read", Value::Nil),
                2 | 3 => ("write", number()),
                _ => ("cas", Value::List(vec![number(), number()])),
            };
            push(
                &mut story,
                begun as u64,
                Kind::Invoke,
                f,
                key(value.clone()),
            );
            open.push((begun as u64, f, value));
            begun += 1;
        } else {
            let (process, f, value) = open.swap_remove(random.random_range(0..open.len()));
            let kind = match random.random_range(0..10) {
                0 => Kind::Fail,
                1 | 2 => Kind::Info,
                _ => Kind::Ok,
            };
            let value = if f == "read" && kind == Kind::Ok && random.random_bool(0.9) {
                number()
            } else {
                value
            };
            push(&mut story, process, kind, f, key(value));
        }
    }
    story
}

/// Tries all orders, and all choices among the operations of unknown outcome.
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
        let kept = order.iter().enumerate().all(|(place, at)| {
            order[place..]
                .iter()
                .all(|later| end(*later) > operations[*at].invoke.index)
        });
        if !kept {
            return false;
        }
        // The state with all choices so far.
        let mut states = vec![Value::Nil];
        for at in order {
            let operation = &operations[at];
            let argument = &operation.invoke.value.as_list().expect("a pair")[1];
            let seen = &operation.value().as_list().expect("a pair")[1];
            let known = operation.outcome() == Kind::Ok;
            let mut next = Vec::new();
            for state in states {
                match operation.invoke.f.as_str() {
                    "read" if !known || *seen == state => next.push(state.clone()),
                    "write" => next.push(argument.clone()),
                    "cas" if argument.as_list().expect("old and new")[0] == state => {
                        next.push(argument.as_list().expect("old and new")[1].clone());
                    }
                    _ => {}
                }
                if !known {
                    next.push(state);
                }
            }
            states = next;
        }
        !states.is_empty()
    })
}

#[test]
fn verdicts_are_those_of_a_brute_force() {
    let mut random = StdRng::seed_from_u64(7);
    let mut counts = [0; 2];
    for round in 0..3000 {
        let operations = random.random_range(1..=6);
        let story = random_history(&mut random, operations);
        let expected = explainable(&story);
        counts[usize::from(expected)] += 1;
        let verdict = registers().check(&story);
        assert_eq!(
            verdict.validity == Validity::Valid,
            expected,
            "round {round}:\n{}{verdict:#?}",
            show(&story)
        );
        assert_ne!(verdict.validity, Validity::Unknown);
    }
    assert!(
        counts[0] > 300 && counts[1] > 300,
        "both kinds occur: {counts:?}"
    );
}

/// An operation that is open: what it is, its value, and what came of it if that is settled.
type Begun = (&'static str, Value, Option<Kind>);

/// A right register under load: each operation takes effect between its ends; some outcomes are lost.
fn long_history(seed: u64, operations: usize) -> History {
    let mut random = StdRng::seed_from_u64(seed);
    let mut story = History::default();
    let mut state = Value::Nil;
    let mut clients: Vec<(u64, Option<Begun>)> = (0..10).map(|process| (process, None)).collect();
    let mut next_process = 10;
    let mut begun = 0;
    while begun < operations {
        let at = random.random_range(0..clients.len());
        let key = |value: Value| Value::List(vec![Value::Int(1), value]);
        let (process, open) = clients[at].clone();
        clients[at].1 = match open {
            None => {
                begun += 1;
                let value = Value::Int(begun as i64);
                let (f, value) = match random.random_range(0..3) {
                    0 => ("read", Value::Nil),
                    1 => ("write", value),
                    _ => ("cas", Value::List(vec![state.clone(), value])),
                };
                push(&mut story, process, Kind::Invoke, f, key(value.clone()));
                Some((f, value, None))
            }
            Some((f, value, None)) => {
                let lost = random.random_bool(0.03);
                let mut kind = if lost { Kind::Info } else { Kind::Ok };
                let mut value = value;
                if !lost || random.random_bool(0.5) {
                    match f {
                        "read" => value = state.clone(),
                        "write" => state = value.clone(),
                        _ => {
                            let [old, new] = value.as_list().expect("old and new") else {
                                unreachable!()
                            };
                            if *old == state {
                                state = new.clone();
                            } else if !lost {
                                kind = Kind::Fail;
                            }
                        }
                    }
                }
                Some((f, value, Some(kind)))
            }
            Some((f, value, Some(kind))) => {
                push(&mut story, process, kind, f, key(value));
                if kind == Kind::Info {
                    clients[at].0 = next_process;
                    next_process += 1;
                }
                None
            }
        };
    }
    story
}

#[test]
fn long_histories_with_lost_outcomes_are_judged_within_the_bounds() {
    for seed in 0..20 {
        let story = long_history(seed, 2000);
        assert_valid(&registers().check(&story));
        let mut spoiled = story;
        let at = spoiled
            .events
            .iter()
            .rposition(|event| event.kind == Kind::Ok && event.f == "read")
            .expect("a read");
        spoiled.events[at].value = Value::ints([1, 1]);
        assert_names(&registers().check(&spoiled), &["nonlinearizable"]);
    }
}
