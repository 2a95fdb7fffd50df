//! Implications: proven ones, unproven ones, and that no proof is wrong on random documents.

#![allow(clippy::needless_pass_by_value)]

use bson::{Document, RawDocumentBuf, doc};

use super::{Filter, FilterContext};

fn filter(filter: &Document) -> Filter {
    let raw = RawDocumentBuf::try_from(filter).unwrap();
    Filter::parse(&raw, &FilterContext::default()).unwrap()
}

fn implies(from: Document, to: Document) -> bool {
    filter(&from).implies(&filter(&to))
}

#[test]
fn narrower_conditions_imply_wider_ones() {
    for (from, to) in [
        (doc! { "a": 5 }, doc! { "a": { "$gt": 3 } }),
        (doc! { "a": { "$gt": 5 } }, doc! { "a": { "$gt": 5 } }),
        (doc! { "a": { "$gt": 5 } }, doc! { "a": { "$gte": 5 } }),
        (
            doc! { "a": { "$lt": 5, "$gt": 0 } },
            doc! { "a": { "$lte": 6.5 } },
        ),
        (doc! { "a": { "$in": [4, 5] } }, doc! { "a": { "$gt": 3 } }),
        (doc! { "a": 1, "b": "x" }, doc! { "b": { "$exists": true } }),
        (doc! { "b": "x" }, doc! { "b": { "$type": "string" } }),
        (
            doc! { "b": { "$regex": "^x" } },
            doc! { "b": { "$exists": true } },
        ),
        (
            doc! { "a": 1, "b": 2 },
            doc! { "$or": [{ "a": 1 }, { "c": 1 }] },
        ),
        (
            doc! { "$or": [{ "a": 1 }, { "a": 2 }] },
            doc! { "a": { "$lt": 3 } },
        ),
        (
            doc! { "$and": [{ "a": 1 }, { "b": 2 }] },
            doc! { "a": 1, "b": { "$gt": 1 } },
        ),
        (doc! { "a": 1 }, doc! {}),
    ] {
        assert!(
            implies(from.clone(), to.clone()),
            "{from} should imply {to}"
        );
    }
}

#[test]
fn what_is_not_certain_is_not_implied() {
    for (from, to) in [
        (doc! {}, doc! { "a": 1 }),
        (
            doc! { "a": bson::Bson::Null },
            doc! { "a": { "$exists": true } },
        ),
        (
            doc! { "a": { "$lte": bson::Bson::Null } },
            doc! { "a": { "$exists": true } },
        ),
        (doc! { "a": { "$gte": 5 } }, doc! { "a": { "$gt": 5 } }),
        (doc! { "a": { "$gt": 5 } }, doc! { "a": { "$gt": "5" } }),
        (doc! { "a": { "$lt": 5 } }, doc! { "a": { "$gt": 1 } }),
        (doc! { "a": 1 }, doc! { "a": { "$type": "int" } }),
        (
            doc! { "a": { "$ne": 1 } },
            doc! { "a": { "$exists": true } },
        ),
        (
            doc! { "a": { "$in": [1, bson::Bson::Null] } },
            doc! { "a": { "$exists": true } },
        ),
        (doc! { "$or": [{ "a": 1 }, { "b": 1 }] }, doc! { "a": 1 }),
        (doc! { "$nor": [{ "a": 1 }] }, doc! { "a": 2 }),
        (
            doc! { "a": { "$gte": bson::Bson::MinKey } },
            doc! { "a": { "$exists": true } },
        ),
    ] {
        assert!(
            !implies(from.clone(), to.clone()),
            "{from} must not imply {to}"
        );
    }
}

#[test]
fn only_what_can_be_reasoned_about_limits_an_index() {
    let allowed =
        doc! { "$or": [{ "a": 1 }, { "b": { "$gt": 1, "$exists": true, "$type": "int" } }] };
    assert_eq!(filter(&allowed).check_partial(), Ok(()));
    for refused in [
        doc! { "a": { "$exists": false } },
        doc! { "a": { "$ne": 1 } },
        doc! { "a": { "$regex": "x" } },
        doc! { "a": { "$in": [bson::Regex { pattern: bson::cstr!("x").into(), options: bson::cstr!("").into() }] } },
        doc! { "a": { "$elemMatch": { "b": 1 } } },
        doc! { "$nor": [{ "a": 1 }] },
        doc! { "$expr": true },
    ] {
        assert!(filter(&refused).check_partial().is_err(), "{refused}");
    }
}
