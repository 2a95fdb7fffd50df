//! A second judge: the crate `adya`, an independent port of Elle's method, must say the same of random histories.

use super::super::Validity;
use super::super::testing::{Isolation, Load, MUTATIONS, mutate, names};
use super::*;

fn second_opinion(story: &History) -> adya::Report {
    let lines: Vec<String> = story
        .events
        .iter()
        .map(|event| event.to_value().to_json().to_string())
        .collect();
    let parsed = adya::History::from_json(&lines.join("\n")).expect("adya reads our histories");
    adya::check(&parsed, adya::Workload::ListAppend, &adya::Opts::default())
}

#[test]
fn verdicts_are_those_of_adya() {
    let mut counts = [0; 2];
    let mut compare = |story: &History, what: &str| {
        let ours = ListAppend::default().check(story);
        let theirs = second_opinion(story);
        let expected = match theirs.valid {
            adya::Valid::True => Validity::Valid,
            adya::Valid::False => Validity::Invalid,
            adya::Valid::Unknown => Validity::Unknown,
        };
        if theirs.valid == adya::Valid::True && names(&ours) == ["reordered appends"] {
            // It does not look at the order of a transaction's own appends; the brute force does.
            return;
        }
        assert_eq!(
            ours.validity, expected,
            "{what}: {ours:#?} and {:?}",
            theirs.anomaly_types
        );
        counts[usize::from(expected == Validity::Valid)] += 1;
    };
    for seed in 0..60 {
        for isolation in [Isolation::Serial, Isolation::Stale, Isolation::Torn] {
            let load = Load {
                isolation,
                ..Load::lists(
                    1000 + seed,
                    if isolation == Isolation::Serial {
                        60
                    } else {
                        12
                    },
                )
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
        counts[0] > 100 && counts[1] > 100,
        "both kinds occur: {counts:?}"
    );
}
