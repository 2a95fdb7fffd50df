//! What filters match, operator by operator, and what they refuse.

#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

use bson::{Bson, DateTime, Document, RawDocumentBuf, Regex, doc};

use super::{Filter, FilterContext};
use crate::error::{Error, ErrorCode};

fn parse(filter: &Document) -> Result<Filter, Error> {
    Filter::parse(
        &RawDocumentBuf::try_from(filter).unwrap(),
        &FilterContext { now_ms: 1_000 },
    )
}

/// Checks which documents of `yes` and `no` a filter matches.
fn check(filter: &Document, yes: &[Document], no: &[Document]) {
    let parsed = parse(filter).unwrap();
    for (documents, expected) in [(yes, true), (no, false)] {
        for document in documents {
            let raw = RawDocumentBuf::try_from(document).unwrap();
            assert_eq!(
                parsed.matches(&raw).unwrap(),
                expected,
                "{filter} on {document}"
            );
        }
    }
}

fn refused(filter: &Document, code: ErrorCode, names: &str) {
    let error = parse(filter).unwrap_err();
    assert_eq!(error.code, code, "{filter}: {error}");
    assert!(error.message.contains(names), "{filter}: {error}");
}

fn regex(pattern: &str, options: &str) -> Bson {
    Bson::RegularExpression(Regex {
        pattern: pattern.to_owned().try_into().unwrap(),
        options: options.to_owned().try_into().unwrap(),
    })
}

#[test]
fn a_plain_value_is_equality() {
    check(&doc! {}, &[doc! {}, doc! { "a": 1 }], &[]);
    check(
        &doc! { "a": 1 },
        &[
            doc! { "a": 1 },
            doc! { "a": 1.0 },
            doc! { "a": 1_i64 },
            doc! { "a": [0, 1] },
        ],
        &[
            doc! {},
            doc! { "a": "1" },
            doc! { "a": true },
            doc! { "a": [[1]] },
            doc! { "b": 1 },
        ],
    );
    check(
        &doc! { "a": { "b": 1 } },
        &[doc! { "a": { "b": 1.0 } }, doc! { "a": [{ "b": 1 }] }],
        &[
            doc! { "a": { "b": 1, "c": 2 } },
            doc! { "a": { "c": 2, "b": 1 } },
        ],
    );
    check(
        &doc! { "a": [1, 2] },
        &[doc! { "a": [1, 2] }, doc! { "a": [[1, 2], 3] }],
        &[
            doc! { "a": [2, 1] },
            doc! { "a": [1, 2, 3] },
            doc! { "a": 1 },
        ],
    );
    check(
        &doc! { "a": {} },
        &[doc! { "a": {} }],
        &[doc! {}, doc! { "a": { "b": 1 } }],
    );
}

#[test]
fn null_matches_missing_fields_but_no_missing_elements() {
    check(
        &doc! { "a.b": Bson::Null },
        &[
            doc! {},
            doc! { "a": 4 },
            doc! { "a": {} },
            doc! { "a": { "b": null } },
            doc! { "a": [{ "b": 3 }, {}] },
        ],
        &[
            doc! { "a": [] },
            doc! { "a": [1] },
            doc! { "a": [[]] },
            doc! { "a": [{ "b": 3 }] },
        ],
    );
    check(
        &doc! { "a": { "$ne": Bson::Null } },
        &[doc! { "a": [] }, doc! { "a": 0 }],
        &[doc! {}, doc! { "a": [1, null] }],
    );
    check(
        &doc! { "a": { "$gte": Bson::Null } },
        &[doc! {}, doc! { "a": null }],
        &[doc! { "a": 0 }],
    );
    check(
        &doc! { "a": { "$gt": Bson::Null } },
        &[],
        &[doc! {}, doc! { "a": null }, doc! { "a": 0 }],
    );
    check(
        &doc! { "a": { "$in": [Bson::Null, Bson::Int32(2)] } },
        &[doc! {}, doc! { "a": 2 }],
        &[doc! { "a": 1 }],
    );
}

#[test]
fn order_operators_stay_within_a_type() {
    check(
        &doc! { "a": { "$lt": 5 } },
        &[
            doc! { "a": 4.9 },
            doc! { "a": [9, 1] },
            doc! { "a": f64::NEG_INFINITY },
        ],
        &[
            doc! { "a": 5 },
            doc! { "a": "3" },
            doc! { "a": null },
            doc! { "a": f64::NAN },
            doc! {},
        ],
    );
    check(
        &doc! { "a": { "$gte": "b" } },
        &[doc! { "a": "b" }, doc! { "a": "é" }],
        &[doc! { "a": "B" }, doc! { "a": 7 }],
    );
    let date = DateTime::from_millis;
    check(
        &doc! { "a": { "$gt": date(5) } },
        &[doc! { "a": date(6) }],
        &[doc! { "a": date(5) }, doc! { "a": 6 }],
    );
    check(
        &doc! { "a": { "$lte": f64::NAN } },
        &[doc! { "a": f64::NAN }],
        &[doc! { "a": 0 }],
    );
    check(
        &doc! { "a": { "$gt": Bson::MinKey } },
        &[doc! { "a": 1 }, doc! {}, doc! { "a": "x" }],
        &[doc! { "a": Bson::MinKey }],
    );
    check(
        &doc! { "a": { "$gt": 1, "$lt": 5 } },
        &[doc! { "a": 3 }, doc! { "a": [0, 9] }],
        &[doc! { "a": [0] }],
    );
    // 2^53 + 1 is not a double.
    check(
        &doc! { "a": { "$gt": 9_007_199_254_740_992.0 } },
        &[doc! { "a": 9_007_199_254_740_993_i64 }],
        &[doc! { "a": 9_007_199_254_740_992_i64 }],
    );
}

#[test]
fn lists_and_their_negation() {
    check(
        &doc! { "a": { "$in": [1, "x"] } },
        &[doc! { "a": 1.0 }, doc! { "a": ["y", "x"] }],
        &[doc! {}, doc! { "a": 2 }],
    );
    check(
        &doc! { "a": { "$in": [regex("^x", "i"), Bson::Int32(1)] } },
        &[doc! { "a": "Xy" }, doc! { "a": 1 }],
        &[doc! { "a": "yx" }],
    );
    check(
        &doc! { "a": { "$nin": [1, 2] } },
        &[doc! {}, doc! { "a": 3 }],
        &[doc! { "a": [3, 1] }],
    );
    check(
        &doc! { "a": { "$in": [[]] } },
        &[doc! { "a": [] }, doc! { "a": [[]] }],
        &[doc! { "a": [1] }],
    );
    check(
        &doc! { "a": { "$ne": 1 } },
        &[doc! {}, doc! { "a": 2 }],
        &[doc! { "a": [1, 2] }],
    );
    check(
        &doc! { "a": { "$all": [1, 2] } },
        &[doc! { "a": [2, 3, 1] }],
        &[doc! { "a": [1] }, doc! { "a": 1 }],
    );
    check(
        &doc! { "a": { "$all": [[1, 2]] } },
        &[doc! { "a": [1, 2] }, doc! { "a": [[1, 2]] }],
        &[doc! { "a": [1] }],
    );
    check(
        &doc! { "a": { "$all": [] } },
        &[],
        &[doc! { "a": [] }, doc! {}],
    );
    check(
        &doc! { "a": { "$all": [{ "$elemMatch": { "b": 1 } }, { "$elemMatch": { "b": 2 } }] } },
        &[doc! { "a": [{ "b": 1 }, { "b": 2 }] }],
        &[doc! { "a": [{ "b": 1 }] }],
    );
}

#[test]
fn arrays_sizes_and_elements() {
    check(
        &doc! { "a": { "$size": 2 } },
        &[doc! { "a": [1, [2]] }],
        &[doc! { "a": [1] }, doc! { "a": 2 }, doc! {}],
    );
    check(
        &doc! { "a": { "$size": 0 } },
        &[doc! { "a": [] }],
        &[doc! {}, doc! { "a": [[]] }],
    );
    check(
        &doc! { "a": { "$elemMatch": { "$gt": 1, "$lt": 5 } } },
        &[doc! { "a": [0, 3] }],
        &[doc! { "a": [0, 9] }, doc! { "a": 3 }],
    );
    check(
        &doc! { "a": { "$elemMatch": { "b": 1, "c": { "$gt": 1 } } } },
        &[doc! { "a": [{ "b": 2, "c": 2 }, { "b": 1, "c": 3 }] }],
        &[
            doc! { "a": [{ "b": 1, "c": 0 }, { "b": 2, "c": 3 }] },
            doc! { "a": { "b": 1, "c": 3 } },
        ],
    );
    check(
        &doc! { "a": { "$elemMatch": {} } },
        &[doc! { "a": [{}] }, doc! { "a": [[]] }],
        &[doc! { "a": [1] }],
    );
    check(
        &doc! { "a": { "$elemMatch": { "$or": [{ "b": 1 }, { "b": 2 }] } } },
        &[doc! { "a": [{ "b": 2 }] }],
        &[doc! { "a": [{ "b": 3 }] }],
    );
}

#[test]
fn dotted_paths_enter_arrays_and_select_indexes() {
    check(
        &doc! { "a.b": 1 },
        &[
            doc! { "a": { "b": 1 } },
            doc! { "a": [{ "b": 2 }, { "b": [1] }] },
        ],
        &[doc! { "a": [[{ "b": 1 }]] }, doc! { "a.b": 1 }],
    );
    check(
        &doc! { "a.1": 2 },
        &[
            doc! { "a": [1, 2] },
            doc! { "a": { "1": 2 } },
            doc! { "a": [{ "1": 2 }] },
        ],
        &[doc! { "a": [2, 1] }, doc! { "a": [5, [2, 4]] }],
    );
    check(
        &doc! { "a.0.b": 1 },
        &[doc! { "a": [{ "b": 1 }] }, doc! { "a": [[{ "b": 1 }]] }],
        &[doc! { "a": [0, { "b": 1 }] }],
    );
    check(
        &doc! { "a.01": 2 },
        &[doc! { "a": { "01": 2 } }],
        &[doc! { "a": [1, 2] }],
    );
}

#[test]
fn existence_types_and_remainders() {
    check(
        &doc! { "a": { "$exists": true } },
        &[doc! { "a": null }, doc! { "a": [] }],
        &[doc! {}],
    );
    check(
        &doc! { "a.b": { "$exists": false } },
        &[doc! {}, doc! { "a": [1] }, doc! { "a": 1 }],
        &[doc! { "a": [{}, { "b": 1 }] }],
    );
    check(
        &doc! { "a": { "$exists": 0 } },
        &[doc! {}],
        &[doc! { "a": 1 }],
    );
    check(
        &doc! { "a": { "$type": "string" } },
        &[doc! { "a": "" }, doc! { "a": [1, "x"] }],
        &[doc! { "a": 1 }, doc! {}],
    );
    check(
        &doc! { "a": { "$type": ["number", 10] } },
        &[doc! { "a": 1_i64 }, doc! { "a": null }],
        &[doc! { "a": "x" }],
    );
    check(
        &doc! { "a": { "$type": "array" } },
        &[doc! { "a": [] }, doc! { "a": [[1]] }],
        &[doc! { "a": 1 }],
    );
    check(
        &doc! { "a": { "$mod": [4, 1] } },
        &[doc! { "a": 5 }, doc! { "a": 5.9 }, doc! { "a": [2, 9] }],
        &[doc! { "a": 4 }, doc! { "a": "5" }, doc! { "a": f64::NAN }],
    );
    check(
        &doc! { "a": { "$mod": [-1, 0] } },
        &[doc! { "a": i64::MIN }],
        &[],
    );
}

#[test]
fn boolean_combinations() {
    check(
        &doc! { "$or": [{ "a": 1 }, { "b": 2 }] },
        &[doc! { "a": 1 }, doc! { "b": 2 }],
        &[doc! {}],
    );
    check(
        &doc! { "$and": [{ "a": 1 }, { "a": 2 }] },
        &[doc! { "a": [1, 2] }],
        &[doc! { "a": 1 }],
    );
    check(
        &doc! { "$nor": [{ "a": 1 }, { "b": 2 }] },
        &[doc! {}],
        &[doc! { "a": 1 }, doc! { "b": 2 }],
    );
    check(
        &doc! { "a": { "$not": { "$gt": 3 } } },
        &[doc! {}, doc! { "a": 3 }, doc! { "a": "x" }],
        &[doc! { "a": [1, 4] }],
    );
    check(
        &doc! { "a": { "$not": regex("^x", "") } },
        &[doc! {}, doc! { "a": "y" }],
        &[doc! { "a": "xy" }],
    );
    check(
        &doc! { "$comment": "why", "a": { "$eq": 1, "$comment": "x" } },
        &[doc! { "a": 1 }],
        &[doc! { "a": 2 }],
    );
}

#[test]
fn regular_expressions() {
    check(
        &doc! { "a": regex("^ab.d$", "i") },
        &[doc! { "a": "ABcD" }, doc! { "a": [1, "abcd"] }],
        &[doc! { "a": "abd" }],
    );
    check(
        &doc! { "a": { "$regex": "b", "$options": "i" } },
        &[doc! { "a": "aB" }],
        &[doc! { "a": 1 }],
    );
    check(
        &doc! { "a": { "$options": "i", "$regex": regex("b", "m") } },
        &[doc! { "a": "aB" }],
        &[doc! { "a": "c" }],
    );
    // As a value: equal to the same expression only.
    check(
        &doc! { "a": { "$eq": regex("b", "") } },
        &[doc! { "a": regex("b", "") }],
        &[doc! { "a": "b" }],
    );
    check(
        &doc! { "a": regex("b", "gi") },
        &[doc! { "a": regex("b", "i") }, doc! { "a": "B" }],
        &[doc! { "a": regex("b", "") }],
    );
}

#[test]
fn an_expression_under_a_field_means_the_expression_alone() {
    for filter in [
        doc! { "$expr": { "$gt": ["$a", "$b"] } },
        doc! { "anything": { "$expr": { "$gt": ["$a", "$b"] } } },
    ] {
        check(
            &filter,
            &[doc! { "a": 2, "b": 1 }],
            &[doc! { "a": 1, "b": 2 }],
        );
    }
    check(
        &doc! { "$expr": { "$eq": ["$$NOW", "$t"] } },
        &[doc! { "t": DateTime::from_millis(1_000) }],
        &[doc! {}],
    );
}

#[test]
fn what_is_unknown_or_unsupported_is_refused_by_name() {
    use ErrorCode::{InvalidOperator, InvalidParam};
    for name in ["$text", "$search", "$where", "$sampleRate"] {
        refused(&doc! { name: 1 }, InvalidOperator, name);
        refused(&doc! { "f": { name: 1 } }, InvalidOperator, name);
    }
    refused(
        &doc! { "f": { "$bitsAllSet": 1 } },
        InvalidOperator,
        "not supported yet",
    );
    refused(
        &doc! { "f": { "$gtt": 1 } },
        InvalidOperator,
        "'$gtt' in field 'f'",
    );
    refused(&doc! { "$gt": 1 }, InvalidOperator, "$gt");
    refused(&doc! { "f": { "$gt": 1, "b": 2 } }, InvalidOperator, "'b'");
    refused(
        &doc! { "f": { "$options": "i" } },
        InvalidOperator,
        "$regex",
    );
    refused(&doc! { "$or": [] }, InvalidParam, "$or");
    refused(&doc! { "$and": [1] }, InvalidParam, "$and");
    refused(&doc! { "f": { "$in": 1 } }, InvalidParam, "'f'");
    refused(
        &doc! { "f": { "$in": [{ "$gt": 1 }] } },
        InvalidOperator,
        "'f'",
    );
    refused(&doc! { "f": { "$size": -1 } }, InvalidParam, "'f'");
    refused(&doc! { "f": { "$size": 1.5 } }, InvalidParam, "'f'");
    refused(&doc! { "f": { "$mod": [0, 1] } }, InvalidParam, "'f'");
    refused(&doc! { "f": { "$mod": [2] } }, InvalidParam, "'f'");
    refused(&doc! { "f": { "$type": "strnig" } }, InvalidParam, "strnig");
    refused(
        &doc! { "f": { "$ne": regex("x", "") } },
        InvalidParam,
        "'f'",
    );
    refused(
        &doc! { "f": { "$gt": regex("x", "") } },
        InvalidParam,
        "'f'",
    );
    refused(&doc! { "f": { "$not": 1 } }, InvalidParam, "'f'");
    refused(&doc! { "f": { "$elemMatch": 1 } }, InvalidParam, "'f'");
    refused(&doc! { "f": { "$regex": "(" } }, InvalidParam, "'f'");
    refused(
        &doc! { "f": { "$regex": "x", "$options": "q" } },
        InvalidParam,
        "'q'",
    );
    refused(&doc! { "$expr": { "$nope": 1 } }, InvalidOperator, "$nope");
}

#[test]
fn limits_are_refused() {
    let many: Vec<Document> = (0..5_000).map(|i| doc! { "a": i }).collect();
    refused(&doc! { "$or": many }, ErrorCode::InvalidParam, "conditions");
    let values: Vec<i32> = (0..70_000).collect();
    refused(
        &doc! { "a": { "$in": values } },
        ErrorCode::InvalidParam,
        "'a'",
    );
    refused(
        &doc! { "a": { "$regex": "x".repeat(40_000) } },
        ErrorCode::InvalidParam,
        "'a'",
    );
    let patterns: Vec<Bson> = (0..100).map(|i| regex(&i.to_string(), "")).collect();
    refused(
        &doc! { "a": { "$in": patterns } },
        ErrorCode::InvalidParam,
        "regular expressions",
    );
    let slow = parse(&doc! { "a": { "$regex": r"^(a|aa)+(?=b)\1$" } }).unwrap();
    let document = RawDocumentBuf::try_from(&doc! { "a": "a".repeat(200) }).unwrap();
    assert_eq!(
        slow.matches(&document).unwrap_err().code,
        ErrorCode::ExceedBudget
    );
}

#[test]
fn the_only_id_is_found() {
    let id = |filter: Document| {
        parse(&filter)
            .unwrap()
            .id_equality()
            .map(|id| Bson::try_from(id).unwrap())
    };
    assert_eq!(id(doc! { "_id": "x" }), Some(Bson::from("x")));
    assert_eq!(
        id(doc! { "a": 1, "_id": { "$eq": 7 } }),
        Some(Bson::from(7))
    );
    assert_eq!(
        id(doc! { "$and": [{ "a": 1 }, { "_id": "x" }] }),
        Some(Bson::from("x"))
    );
    assert_eq!(id(doc! { "_id": { "$in": ["x"] } }), None);
    assert_eq!(id(doc! { "$or": [{ "_id": "x" }, { "a": 1 }] }), None);
    assert_eq!(id(doc! { "_id": { "$ne": "x" } }), None);
    assert_eq!(id(doc! {}), None);
    assert!(parse(&doc! {}).unwrap().is_empty());
    assert!(!parse(&doc! { "a": 1 }).unwrap().is_empty());
}

#[test]
fn an_upsert_starts_from_the_equalities() {
    let seed = |filter: Document| parse(&filter).unwrap().equality_document();
    assert_eq!(
        seed(doc! { "a": 1, "b.c": { "$eq": "x" }, "d": { "$gt": 1 } }).unwrap(),
        doc! { "a": 1, "b": { "c": "x" } }
    );
    assert_eq!(
        seed(doc! { "$and": [{ "a.b": 1 }, { "a.c": 2 }], "$or": [{ "z": 1 }, { "y": 1 }] })
            .unwrap(),
        doc! { "a": { "b": 1, "c": 2 } }
    );
    assert_eq!(
        seed(doc! { "a": { "$in": [5] }, "b": { "$all": [6] }, "c": { "$in": [1, 2] } }).unwrap(),
        doc! { "a": 5, "b": 6 }
    );
    assert_eq!(seed(doc! { "a": regex("x", "") }).unwrap(), doc! {});
    let conflict = seed(doc! { "a": 1, "a.b": 2 }).unwrap_err();
    assert_eq!(conflict.code, ErrorCode::RequestFailed);
    let mut nested = doc! {};
    for _ in 0..60 {
        nested = doc! { "a": nested };
    }
    assert!(seed(doc! { ["a"; 60].join("."): nested }).is_err());
}

#[test]
fn equalities_are_what_every_match_has() {
    let of = |filter: Document| {
        let parsed = parse(&filter).unwrap();
        let paths = parsed.equalities().into_iter();
        paths.map(|(path, _)| path.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        of(
            doc! { "a": 1, "b": { "$gt": 1 }, "$and": [{ "c.d": { "$eq": "x" } }, { "e": { "$in": [5] } }] }
        ),
        ["a", "c.d", "e"]
    );
    assert!(of(doc! { "$or": [{ "a": 1 }, { "a": 2 }], "b": { "$ne": 1 } }).is_empty());
}
