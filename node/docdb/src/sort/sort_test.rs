//! Orders of documents.

#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

use bson::{Bson, Document, RawDocumentBuf, doc};

use super::Sort;
use crate::error::ErrorCode;

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

/// Checks that documents given in order sort in that order.
fn check(sort: &Document, documents: &[Document]) {
    let sort = Sort::parse(&raw(sort)).unwrap();
    let keys: Vec<Vec<u8>> = documents
        .iter()
        .map(|document| sort.key(&raw(document)).unwrap())
        .collect();
    for (i, pair) in keys.windows(2).enumerate() {
        assert!(
            pair[0] < pair[1],
            "{} before {}",
            documents[i],
            documents[i + 1]
        );
    }
}

#[test]
fn types_have_an_order() {
    let ascending = [
        doc! { "a": Bson::MinKey },
        doc! { "a": [] },
        doc! {},
        doc! { "a": f64::NAN },
        doc! { "a": -1 },
        doc! { "a": 0.5 },
        doc! { "a": "" },
        doc! { "a": "b" },
        doc! { "a": { "x": 1 } },
        doc! { "a": [[1]] },
        doc! { "a": false },
        doc! { "a": true },
        doc! { "a": bson::DateTime::from_millis(-5) },
        doc! { "a": Bson::MaxKey },
    ];
    check(&doc! { "a": 1 }, &ascending);
    let descending: Vec<Document> = ascending.into_iter().rev().collect();
    check(&doc! { "a": -1 }, &descending);
}

#[test]
fn arrays_sort_by_their_smallest_or_largest() {
    check(
        &doc! { "a": 1 },
        &[doc! { "a": [9, 1] }, doc! { "a": 2 }, doc! { "a": [3, 4] }],
    );
    check(
        &doc! { "a": -1 },
        &[doc! { "a": [9, 1] }, doc! { "a": [3, 4] }, doc! { "a": 2 }],
    );
    check(
        &doc! { "a.b": 1 },
        &[
            doc! {},
            doc! { "a": [{ "b": 3 }, { "b": 1 }] },
            doc! { "a": { "b": 2 } },
        ],
    );
}

#[test]
fn later_fields_break_ties() {
    check(
        &doc! { "a": 1, "b": -1 },
        &[
            doc! { "a": "x", "b": 2 },
            doc! { "a": "x", "b": 1 },
            doc! { "a": "xa", "b": 3 },
        ],
    );
    let sort = Sort::parse(&raw(&doc! { "a.b": 1, "c": -1 })).unwrap();
    assert!(sort.touches("a") && sort.touches("a.b.c") && sort.touches("c") && !sort.touches("ab"));
    assert_eq!(sort.fields().len(), 2);
}

#[test]
fn impossible_sorts_are_refused() {
    for sort in [
        doc! { "a": 2 },
        doc! { "a": "asc" },
        doc! { "": 1 },
        doc! { "a..b": 1 },
        doc! { "a": { "$meta": "x" } },
    ] {
        assert_eq!(
            Sort::parse(&raw(&sort)).unwrap_err().code,
            ErrorCode::InvalidParam,
            "{sort}"
        );
    }
    let many: Document = (0..40).map(|i| (format!("f{i}"), Bson::Int32(1))).collect();
    assert!(Sort::parse(&raw(&many)).is_err());
}
