//! Which queries show by themselves that a rule holds.

use std::collections::BTreeMap;

use bson::doc;

use super::*;
use crate::rules::ast::Expression;
use crate::rules::fold::{Fetched, Scope, Subject, fold};
use crate::rules::testing::{NOW_MS, user};

/// `Ok` when the query implies the rule, else the missing part of the rule.
fn implied(query: &Document, rule: &str) -> Result<(), String> {
    let expression = Expression::parse(rule).unwrap_or_else(|error| panic!("{rule}: {error}"));
    let me = user("me");
    let condition = fold(
        &expression,
        &Scope {
            user: &me,
            now_ms: NOW_MS,
            data: None,
            subject: Subject::Fixed(&BTreeMap::new()),
            fetched: &Fetched::new(),
        },
    )
    .unwrap_or_else(|stop| panic!("{rule}: {stop:?}"));
    Facts::of(query)
        .imply(&condition)
        .map_err(|missing| missing.map_or_else(String::new, |test| test.span.of(rule).to_owned()))
}

#[test]
fn queries_that_imply_the_rule_pass() {
    for (query, rule) in [
        (doc! {}, "auth.openid == 'me'"),
        (doc! { "o": "me" }, "doc.o == auth.openid"),
        (
            doc! { "o": { "$eq": "me" }, "x": 1 },
            "auth.openid == doc.o",
        ),
        (
            doc! { "$and": [{ "x": 1 }, { "o": "me" }] },
            "doc.o == auth.openid",
        ),
        (doc! { "o": { "$in": ["me"] } }, "doc.o == auth.openid"),
        (
            doc! { "s": { "$in": ["a", "b"] } },
            "doc.s in ['a', 'b', 'c']",
        ),
        (
            doc! { "s": { "$in": ["a", "b"] } },
            "doc.s == 'a' || doc.s == 'b'",
        ),
        (
            doc! { "$or": [{ "s": "a" }, { "o": "me" }] },
            "doc.o == auth.openid || doc.s == 'a'",
        ),
        (doc! { "n": 5 }, "doc.n > 4 && doc.n <= 5"),
        (doc! { "n": { "$gt": 5 } }, "doc.n >= 5"),
        (
            doc! { "n": { "$gte": 6, "$lt": 8 } },
            "doc.n > 5 && doc.n < 9",
        ),
        (doc! { "n": { "$lte": 7 } }, "doc.n < 8"),
        (doc! { "n": { "$gt": 5 } }, "doc.n != 3"),
        (doc! { "s": "b" }, "doc.s != 'a'"),
        (doc! { "s": { "$ne": "a" } }, "doc.s != 'a'"),
        (
            doc! { "s": { "$nin": ["a", "b"] } },
            "!(doc.s in ['a', 'b'])",
        ),
        (doc! { "m": "me" }, "auth.openid in doc.m"),
        (
            doc! { "m": { "$all": ["you", "me"] } },
            "auth.openid in doc.m",
        ),
        (
            doc! { "m": { "$elemMatch": { "$eq": "me" } } },
            "auth.openid in doc.m",
        ),
        (doc! { "a": 1, "b": 1 }, "doc.a == doc.b"),
        (doc! { "a": 1, "b": 2 }, "doc.a < doc.b"),
        (doc! { "open": true }, "doc.open"),
    ] {
        assert_eq!(implied(&query, rule), Ok(()), "{query} and {rule}");
    }
}

#[test]
fn queries_that_do_not_are_told_what_is_missing() {
    for (query, rule, missing) in [
        (doc! {}, "doc.o == auth.openid", "doc.o == auth.openid"),
        (
            doc! { "o": "you" },
            "doc.o == auth.openid",
            "doc.o == auth.openid",
        ),
        (
            doc! { "o": { "$ne": "you" } },
            "doc.o == auth.openid",
            "doc.o == auth.openid",
        ),
        (
            doc! { "o": { "$gt": "" } },
            "doc.o == auth.openid",
            "doc.o == auth.openid",
        ),
        (
            doc! { "o": { "$in": ["me", "you"] } },
            "doc.o == auth.openid",
            "doc.o == auth.openid",
        ),
        (
            doc! { "o": { "$not": { "$ne": "me" } } },
            "doc.o == auth.openid",
            "doc.o == auth.openid",
        ),
        (
            doc! { "$nor": [{ "o": "you" }] },
            "doc.o == auth.openid",
            "doc.o == auth.openid",
        ),
        (
            doc! { "$or": [{ "o": "me" }, {}] },
            "doc.o == auth.openid",
            "doc.o == auth.openid",
        ),
        (
            doc! { "o": "me" },
            "doc.o == auth.openid && doc.s == 'a'",
            "doc.s == 'a'",
        ),
        (doc! { "n": { "$gte": 5 } }, "doc.n > 5", "doc.n > 5"),
        (doc! { "n": { "$gt": 4 } }, "doc.n > 5", "doc.n > 5"),
        (doc! { "n": { "$lt": 5 } }, "doc.n > 1", "doc.n > 1"),
        (doc! { "n": { "$gt": "a" } }, "doc.n > 1", "doc.n > 1"),
        (
            doc! { "s": { "$in": ["a", "d"] } },
            "doc.s in ['a', 'b']",
            "doc.s in ['a', 'b']",
        ),
        (doc! { "s": { "$ne": "b" } }, "doc.s != 'a'", "doc.s != 'a'"),
        (doc! { "a": 1 }, "doc.a == doc.b", "doc.a == doc.b"),
    ] {
        let told = implied(&query, rule);
        assert_eq!(told, Err(missing.to_owned()), "{query} and {rule}");
    }
}

/// Such a query has no matches, so anything follows from it.
#[test]
fn an_empty_list_implies_everything() {
    assert_eq!(implied(&doc! { "o": { "$in": [] } }, "doc.p == 1"), Ok(()));
}

#[test]
fn cases_are_bounded() {
    let list: Vec<i32> = (0..200).collect();
    let mut query = Document::new();
    for field in ["a", "b", "c", "d"] {
        query.insert(field, doc! { "$in": list.clone() });
    }
    assert!(implied(&query, "doc.a >= 0 && doc.b >= 0 && doc.z == 1").is_err());
    assert_eq!(implied(&query, "doc.a >= 0"), Ok(()));
}
