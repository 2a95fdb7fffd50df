//! Which index ranges filters imply.

#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

use bson::{Bson, Document, RawBson, RawDocumentBuf, doc};

use super::{Filter, FilterContext, Interval};
use crate::value::encode_value;

fn constraints(filter: &Document, path: &str, multikey: bool) -> Vec<Interval> {
    let raw = RawDocumentBuf::try_from(filter).unwrap();
    Filter::parse(&raw, &FilterContext::default())
        .unwrap()
        .constraints(path, multikey)
}

/// Whether the index entry of `value` is inside.
fn holds(intervals: &[Interval], value: impl Into<Bson>) -> bool {
    let mut key = Vec::new();
    let value = RawBson::try_from(value.into()).unwrap();
    encode_value(value.as_raw_bson_ref(), false, &mut key).unwrap();
    intervals
        .iter()
        .any(|i| key >= i.start && i.end.as_ref().is_none_or(|end| key < *end))
}

#[test]
fn equality_is_one_point() {
    let found = constraints(&doc! { "a": 5, "b": 1 }, "a", false);
    assert!(matches!(&found[..], [only] if only.point));
    assert!(holds(&found, 5.0) && !holds(&found, 6));
    assert!(constraints(&doc! { "b": 1 }, "a", false)[0].is_all());
    assert!(holds(
        &constraints(&doc! { "a": Bson::Null }, "a", false),
        Bson::Null
    ));
}

#[test]
fn ranges_stay_within_a_type_and_intersect_without_arrays() {
    let filter = doc! { "a": { "$gt": 1, "$lte": 5 } };
    let found = constraints(&filter, "a", false);
    assert_eq!(found.len(), 1);
    assert!(holds(&found, 5) && holds(&found, 1.5));
    for outside in [
        Bson::Int32(1),
        Bson::Double(5.1),
        Bson::from("x"),
        Bson::Null,
        Bson::Double(f64::NAN),
    ] {
        assert!(!holds(&found, outside));
    }
    // With arrays 1 < x and x <= 5 may hold for different elements.
    let found = constraints(&filter, "a", true);
    assert!(holds(&found, 0) || holds(&found, 9));
    let inside = constraints(
        &doc! { "a": { "$elemMatch": { "$gt": 1, "$lte": 5 } } },
        "a",
        true,
    );
    assert!(!holds(&inside, 0) && !holds(&inside, 9) && holds(&inside, 3));
    assert!(constraints(&doc! { "a": { "$gt": 5, "$lt": 1 } }, "a", false).is_empty());
}

#[test]
fn lists_alternatives_and_prefixes() {
    let found = constraints(&doc! { "a": { "$in": [3, 1, 1.0, "x"] } }, "a", true);
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|interval| interval.point));
    let found = constraints(
        &doc! { "$or": [{ "a": 1 }, { "a": { "$gt": 7 } }] },
        "a",
        true,
    );
    assert!(holds(&found, 1) && holds(&found, 8) && !holds(&found, 5));
    assert!(constraints(&doc! { "$or": [{ "a": 1 }, { "b": 1 }] }, "a", false)[0].is_all());
    let found = constraints(&doc! { "a": { "$regex": "^ab" } }, "a", false);
    assert!(
        holds(&found, "ab")
            && holds(&found, "abz")
            && !holds(&found, "ac")
            && !holds(&found, "aaz")
    );
    let found = constraints(
        &doc! { "a": { "$regex": "^ab", "$options": "i" } },
        "a",
        false,
    );
    assert!(holds(&found, "AB") && !holds(&found, 1));
}

#[test]
fn arrays_are_found_by_their_first_element_or_as_an_element() {
    let found = constraints(&doc! { "a": [7, 8] }, "a", true);
    assert!(holds(&found, 7) && holds(&found, bson::bson!([7, 8])) && !holds(&found, 8));
    assert!(holds(
        &constraints(&doc! { "a": [] }, "a", true),
        Bson::Undefined
    ));
}

#[test]
fn negations_say_nothing() {
    for filter in [
        doc! { "a": { "$ne": 1 } },
        doc! { "a": { "$not": { "$gt": 1 } } },
        doc! { "$nor": [{ "a": 1 }] },
    ] {
        assert!(constraints(&filter, "a", false)[0].is_all(), "{filter}");
    }
}

#[test]
fn conditions_in_elem_match_reach_inner_paths() {
    let found = constraints(
        &doc! { "a": { "$elemMatch": { "b": 5, "c": 1 } } },
        "a.b",
        true,
    );
    assert!(matches!(&found[..], [only] if only.point));
    // An array among the elements has no field b, so it counts as null and is not indexed.
    assert!(
        constraints(
            &doc! { "a": { "$elemMatch": { "b": Bson::Null } } },
            "a.b",
            true
        )[0]
        .is_all()
    );
}

#[test]
fn descending_intervals_hold_the_same_values() {
    for filter in [
        doc! { "a": 5 },
        doc! { "a": { "$gt": 5 } },
        doc! { "a": { "$lte": "m" } },
        doc! { "a": { "$regex": "^m" } },
    ] {
        let ascending = constraints(&filter, "a", false);
        let descending: Vec<Interval> = ascending.iter().map(Interval::descending).collect();
        for value in [
            Bson::Int32(4),
            Bson::Int32(5),
            Bson::Int32(6),
            Bson::from("a"),
            Bson::from("m"),
            Bson::from("mz"),
        ] {
            let mut key = Vec::new();
            encode_value(
                RawBson::try_from(value.clone()).unwrap().as_raw_bson_ref(),
                true,
                &mut key,
            )
            .unwrap();
            let inside = descending
                .iter()
                .any(|i| key >= i.start && i.end.as_ref().is_none_or(|end| key < *end));
            assert_eq!(inside, holds(&ascending, value.clone()), "{filter} {value}");
        }
    }
}
