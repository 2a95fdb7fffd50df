//! What updates do, operator by operator, and what they refuse.

#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

use bson::{Bson, DateTime, Document, RawDocumentBuf, Timestamp, bson, doc};

use super::{Update, UpdateContext, replace};
use crate::error::{Error, ErrorCode};

const CONTEXT: UpdateContext = UpdateContext {
    now_ms: 1_700_000_000_500,
};

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn try_apply(
    update: &Document,
    before: &Document,
    inserting: bool,
) -> Result<Option<Document>, Error> {
    let after = Update::parse(&raw(update), &CONTEXT)?.apply(&raw(before), inserting)?;
    Ok(after.map(|after| Document::try_from(after).unwrap()))
}

/// The document after the update; the same when nothing changed.
fn apply(update: Document, before: Document) -> Document {
    try_apply(&update, &before, false)
        .unwrap()
        .unwrap_or(before)
}

fn refused(update: Document, before: Document, code: ErrorCode, names: &str) {
    let error = try_apply(&update, &before, false).unwrap_err();
    assert_eq!(error.code, code, "{update} on {before}: {error}");
    assert!(
        error.message.contains(names),
        "{update} on {before}: {error}"
    );
}

#[test]
fn set_and_unset() {
    assert_eq!(apply(doc! { "$set": { "a": 1 } }, doc! {}), doc! { "a": 1 });
    assert_eq!(
        apply(doc! { "$set": { "a.b.c": 1 } }, doc! { "a": { "x": 2 } }),
        doc! { "a": { "x": 2, "b": { "c": 1 } } }
    );
    assert_eq!(
        apply(doc! { "$set": { "a.1": 9 } }, doc! { "a": [1, 2] }),
        doc! { "a": [1, 9] }
    );
    assert_eq!(
        apply(doc! { "$set": { "a.3": 9 } }, doc! { "a": [1] }),
        doc! { "a": [1, null, null, 9] }
    );
    assert_eq!(
        apply(doc! { "$set": { "a.0.b": 9 } }, doc! { "a": [{ "b": 1 }] }),
        doc! { "a": [{ "b": 9 }] }
    );
    assert_eq!(
        apply(doc! { "$set": { "a.2.b": 9 } }, doc! { "a": [] }),
        doc! { "a": [null, null, { "b": 9 }] }
    );
    assert_eq!(
        apply(
            doc! { "$unset": { "a": "", "b.c": 1, "z.y": "" } },
            doc! { "a": 1, "b": { "c": 1 } }
        ),
        doc! { "b": {} }
    );
    assert_eq!(
        apply(doc! { "$unset": { "a.0": "" } }, doc! { "a": [1, 2] }),
        doc! { "a": [null, 2] }
    );
    // New fields come in the order of their paths.
    assert_eq!(
        apply(
            doc! { "$set": { "c": 1, "a": 1 }, "$inc": { "b": 1 } },
            doc! { "z": 0 }
        )
        .keys()
        .collect::<Vec<_>>(),
        ["z", "a", "b", "c"]
    );
    refused(
        doc! { "$set": { "a.b": 1 } },
        doc! { "a": 5 },
        ErrorCode::RequestFailed,
        "'a.b'",
    );
    refused(
        doc! { "$set": { "a.b": 1 } },
        doc! { "a": null },
        ErrorCode::RequestFailed,
        "'a.b'",
    );
    refused(
        doc! { "$set": { "a.b": 1 } },
        doc! { "a": [1] },
        ErrorCode::RequestFailed,
        "array",
    );
    refused(
        doc! { "$set": { "a.999999": 1 } },
        doc! { "a": [1] },
        ErrorCode::RequestFailed,
        "pad",
    );
}

#[test]
fn no_change_is_reported() {
    for update in [
        doc! {},
        doc! { "$set": {} },
        doc! { "$set": { "a": 1 } },
        doc! { "$inc": { "a": 0 } },
        doc! { "$min": { "a": 5 } },
        doc! { "$unset": { "x": "" } },
        doc! { "$pull": { "l": 9 } },
        doc! { "$pop": { "missing": 1 } },
        doc! { "$addToSet": { "l": 1 } },
        doc! { "$setOnInsert": { "a": 7 } },
        doc! { "$rename": { "x": "y" } },
    ] {
        assert_eq!(
            try_apply(&update, &doc! { "a": 1, "l": [1] }, false).unwrap(),
            None,
            "{update}"
        );
    }
    // The type of a number is part of the document.
    assert!(
        try_apply(&doc! { "$set": { "a": 1.0 } }, &doc! { "a": 1 }, false)
            .unwrap()
            .is_some()
    );
}

#[test]
fn arithmetic_keeps_and_widens_types() {
    let inc = |before: Bson, by: Bson| {
        apply(doc! { "$inc": { "n": by } }, doc! { "n": before })
            .remove("n")
            .unwrap()
    };
    assert_eq!(inc(Bson::Int32(1), Bson::Int32(2)), Bson::Int32(3));
    assert_eq!(
        inc(Bson::Int32(i32::MAX), Bson::Int32(1)),
        Bson::Int64(1 << 31)
    );
    assert_eq!(inc(Bson::Int64(1), Bson::Int32(1)), Bson::Int64(2));
    assert_eq!(inc(Bson::Int32(1), Bson::Double(0.5)), Bson::Double(1.5));
    assert_eq!(
        apply(doc! { "$inc": { "n.m": 5 } }, doc! {}),
        doc! { "n": { "m": 5 } }
    );
    assert_eq!(
        apply(doc! { "$mul": { "n": 3 } }, doc! { "n": 7 }),
        doc! { "n": 21 }
    );
    assert_eq!(
        apply(doc! { "$mul": { "n": 3_i64 } }, doc! {}),
        doc! { "n": 0_i64 }
    );
    refused(
        doc! { "$inc": { "n": 1 } },
        doc! { "n": "x" },
        ErrorCode::RequestFailed,
        "'n'",
    );
    refused(
        doc! { "$inc": { "n": 1 } },
        doc! { "n": null },
        ErrorCode::RequestFailed,
        "'n'",
    );
    refused(
        doc! { "$inc": { "n": 1 } },
        doc! { "n": i64::MAX },
        ErrorCode::RequestFailed,
        "64 bits",
    );
    refused(
        doc! { "$inc": { "n": "1" } },
        doc! {},
        ErrorCode::InvalidParam,
        "'n'",
    );
}

#[test]
fn bounds_and_bits() {
    assert_eq!(
        apply(doc! { "$min": { "n": 3 } }, doc! { "n": 5 }),
        doc! { "n": 3 }
    );
    assert_eq!(
        apply(doc! { "$max": { "n": "a" } }, doc! { "n": 5 }),
        doc! { "n": "a" }
    );
    assert_eq!(apply(doc! { "$max": { "n": 5 } }, doc! {}), doc! { "n": 5 });
    assert_eq!(
        apply(doc! { "$bit": { "n": { "and": 6 } } }, doc! { "n": 13 }),
        doc! { "n": 4 }
    );
    assert_eq!(
        apply(doc! { "$bit": { "n": { "or": 6_i64 } } }, doc! { "n": 9 }),
        doc! { "n": 15_i64 }
    );
    assert_eq!(
        apply(doc! { "$bit": { "n": { "xor": 5 } } }, doc! {}),
        doc! { "n": 5 }
    );
    refused(
        doc! { "$bit": { "n": { "or": 1 } } },
        doc! { "n": 1.5 },
        ErrorCode::RequestFailed,
        "'n'",
    );
    refused(
        doc! { "$bit": { "n": { "not": 1 } } },
        doc! {},
        ErrorCode::InvalidParam,
        "'n'",
    );
}

#[test]
fn renames() {
    assert_eq!(
        apply(doc! { "$rename": { "a": "b" } }, doc! { "a": 1, "c": 2 }),
        doc! { "c": 2, "b": 1 }
    );
    assert_eq!(
        apply(doc! { "$rename": { "b": "a" } }, doc! { "b": 1, "a": 2 }),
        doc! { "a": 1 }
    );
    assert_eq!(
        apply(
            doc! { "$rename": { "a.b": "c.d" } },
            doc! { "a": { "b": 1 } }
        ),
        doc! { "a": {}, "c": { "d": 1 } }
    );
    refused(
        doc! { "$rename": { "a": "a" } },
        doc! {},
        ErrorCode::RequestFailed,
        "'a'",
    );
    refused(
        doc! { "$rename": { "a.0": "b" } },
        doc! { "a": [1] },
        ErrorCode::RequestFailed,
        "array",
    );
    refused(
        doc! { "$rename": { "a": 1 } },
        doc! {},
        ErrorCode::InvalidParam,
        "'a'",
    );
}

#[test]
fn pushing() {
    let push = |operand: Bson, list: Bson| {
        apply(doc! { "$push": { "l": operand } }, doc! { "l": list })
            .remove("l")
            .unwrap()
    };
    assert_eq!(push(bson!(3), bson!([1])), bson!([1, 3]));
    assert_eq!(push(bson!([3]), bson!([1])), bson!([1, [3]]));
    assert_eq!(
        push(bson!({ "$each": [3, 4], "$position": 0 }), bson!([1])),
        bson!([3, 4, 1])
    );
    assert_eq!(
        push(bson!({ "$each": [9], "$position": -1 }), bson!([1, 2])),
        bson!([1, 9, 2])
    );
    assert_eq!(
        push(bson!({ "$each": [3, 4], "$slice": -2 }), bson!([1])),
        bson!([3, 4])
    );
    assert_eq!(
        push(
            bson!({ "$each": [3], "$sort": -1, "$slice": 2 }),
            bson!([1, 5])
        ),
        bson!([5, 3])
    );
    assert_eq!(
        push(bson!({ "$each": [], "$slice": 0 }), bson!([1, 5])),
        bson!([])
    );
    assert_eq!(
        push(
            bson!({ "$each": [{ "s": 2 }], "$sort": { "s": 1 } }),
            bson!([{ "s": 3 }, { "s": 1 }])
        ),
        bson!([{ "s": 1 }, { "s": 2 }, { "s": 3 }])
    );
    assert_eq!(
        apply(
            doc! { "$push": { "l": { "$each": [2, 1], "$sort": 1 } } },
            doc! {}
        ),
        doc! { "l": [1, 2] }
    );
    refused(
        doc! { "$push": { "l": 1 } },
        doc! { "l": 5 },
        ErrorCode::RequestFailed,
        "'l'",
    );
    refused(
        doc! { "$push": { "l": { "$position": 1 } } },
        doc! {},
        ErrorCode::InvalidOperator,
        "$each",
    );
    refused(
        doc! { "$push": { "l": { "$each": [1], "$foo": 1 } } },
        doc! {},
        ErrorCode::InvalidOperator,
        "$foo",
    );
    refused(
        doc! { "$push": { "l": { "$each": 1 } } },
        doc! {},
        ErrorCode::InvalidParam,
        "'l'",
    );
}

#[test]
fn sets_and_ends_of_arrays() {
    let l = |update: Document, list: Bson| apply(update, doc! { "l": list }).remove("l").unwrap();
    assert_eq!(
        l(doc! { "$addToSet": { "l": 2 } }, bson!([1, 1])),
        bson!([1, 1, 2])
    );
    assert_eq!(
        l(doc! { "$addToSet": { "l": [1] } }, bson!([1])),
        bson!([1, [1]])
    );
    assert_eq!(
        l(
            doc! { "$addToSet": { "l": { "$each": [1.0, 2, 2] } } },
            bson!([1])
        ),
        bson!([1, 2])
    );
    assert_eq!(
        l(doc! { "$pop": { "l": 1 } }, bson!([1, 2, 3])),
        bson!([1, 2])
    );
    assert_eq!(
        l(doc! { "$pop": { "l": -1 } }, bson!([1, 2, 3])),
        bson!([2, 3])
    );
    assert_eq!(l(doc! { "$pop": { "l": 1 } }, bson!([])), bson!([]));
    let long: Vec<i32> = (0..100_000).collect();
    let twice: Vec<i32> = long.iter().rev().chain(&long).copied().collect();
    let added = l(
        doc! { "$addToSet": { "l": { "$each": twice.clone() } } },
        bson!([7]),
    );
    assert_eq!(added.as_array().unwrap().len(), 100_000);
    assert_eq!(
        l(doc! { "$pullAll": { "l": twice } }, Bson::from(long)),
        bson!([])
    );
    refused(
        doc! { "$pop": { "l": 2 } },
        doc! {},
        ErrorCode::InvalidParam,
        "'l'",
    );
    refused(
        doc! { "$pop": { "l": 1 } },
        doc! { "l": 1 },
        ErrorCode::RequestFailed,
        "'l'",
    );
    refused(
        doc! { "$addToSet": { "l": 1 } },
        doc! { "l": {} },
        ErrorCode::RequestFailed,
        "'l'",
    );
}

#[test]
fn pulling() {
    let pull = |operand: Bson, list: Bson| {
        apply(doc! { "$pull": { "l": operand } }, doc! { "l": list })
            .remove("l")
            .unwrap()
    };
    assert_eq!(pull(bson!(1), bson!([1, 2, 1.0])), bson!([2]));
    assert_eq!(pull(bson!({ "$gte": 2 }), bson!([1, 2, 3])), bson!([1]));
    assert_eq!(
        pull(bson!({ "$in": ["a", 1] }), bson!(["a", 1, 2])),
        bson!([2])
    );
    assert_eq!(
        pull(bson!({ "$gt": 2 }), bson!([[1, 5], [1], 4])),
        bson!([[1]])
    );
    assert_eq!(
        pull(
            bson!({ "b": 2 }),
            bson!([{ "b": 2, "c": 1 }, { "b": 3 }, 2])
        ),
        bson!([{ "b": 3 }, 2])
    );
    assert_eq!(
        pull(
            bson!({ "b": { "$gt": 2 } }),
            bson!([{ "b": 3 }, { "b": 1 }])
        ),
        bson!([{ "b": 1 }])
    );
    assert_eq!(pull(bson!([1]), bson!([[1], 1])), bson!([1]));
    assert_eq!(
        apply(
            doc! { "$pullAll": { "l": [1, "x"] } },
            doc! { "l": [1, 2, "x", 1] }
        ),
        doc! { "l": [2] }
    );
    refused(
        doc! { "$pull": { "l": 1 } },
        doc! { "l": 1 },
        ErrorCode::RequestFailed,
        "'l'",
    );
    refused(
        doc! { "$pullAll": { "l": 1 } },
        doc! {},
        ErrorCode::InvalidParam,
        "'l'",
    );
    refused(
        doc! { "$pull": { "l": { "$foo": 1 } } },
        doc! {},
        ErrorCode::InvalidOperator,
        "$foo",
    );
}

#[test]
fn dates_and_inserts() {
    let date = Bson::DateTime(DateTime::from_millis(CONTEXT.now_ms));
    assert_eq!(
        apply(
            doc! { "$currentDate": { "a": true, "b": { "$type": "timestamp" } } },
            doc! {}
        ),
        doc! { "a": date, "b": Timestamp { time: 1_700_000_000, increment: 1 } }
    );
    refused(
        doc! { "$currentDate": { "a": 1 } },
        doc! {},
        ErrorCode::InvalidParam,
        "'a'",
    );
    let update = doc! { "$setOnInsert": { "a": 1 }, "$set": { "b": 2 } };
    assert_eq!(
        try_apply(&update, &doc! { "_id": 1 }, true).unwrap(),
        Some(doc! { "_id": 1, "a": 1, "b": 2 })
    );
    assert_eq!(
        try_apply(&update, &doc! { "_id": 1 }, false).unwrap(),
        Some(doc! { "_id": 1, "b": 2 })
    );
    assert_eq!(
        try_apply(&doc! { "$setOnInsert": { "_id": 1 } }, &doc! {}, true).unwrap(),
        Some(doc! { "_id": 1 })
    );
}

#[test]
fn conflicts_and_misuse_are_refused() {
    use ErrorCode::{InvalidOperator, InvalidParam, RequestFailed};
    refused(
        doc! { "$set": { "a": 1 }, "$inc": { "a": 1 } },
        doc! {},
        RequestFailed,
        "'a'",
    );
    refused(
        doc! { "$set": { "a.b": 1, "a": 1 } },
        doc! {},
        RequestFailed,
        "'a.b'",
    );
    refused(
        doc! { "$set": { "a": 1, "a.b.c": 1, "ab": 1 } },
        doc! {},
        RequestFailed,
        "'a.b.c'",
    );
    refused(
        doc! { "$rename": { "a": "b" }, "$set": { "b": 1 } },
        doc! {},
        RequestFailed,
        "'b'",
    );
    refused(
        doc! { "$set": { "_id": 2 } },
        doc! { "_id": 1 },
        RequestFailed,
        "_id",
    );
    refused(
        doc! { "$unset": { "_id": "" } },
        doc! { "_id": 1 },
        RequestFailed,
        "_id",
    );
    assert_eq!(
        apply(doc! { "$set": { "_id": 1, "a": 2 } }, doc! { "_id": 1 }),
        doc! { "_id": 1, "a": 2 }
    );
    refused(doc! { "a": 1 }, doc! {}, InvalidOperator, "'a'");
    refused(
        doc! { "$foo": { "a": 1 } },
        doc! {},
        InvalidOperator,
        "$foo",
    );
    refused(doc! { "$set": 1 }, doc! {}, InvalidParam, "$set");
    refused(
        doc! { "$set": { "a.$": 1 } },
        doc! {},
        InvalidOperator,
        "'a.$'",
    );
    refused(
        doc! { "$set": { "a.$[].b": 1 } },
        doc! {},
        InvalidOperator,
        "positional",
    );
    refused(
        doc! { "$set": { "a..b": 1 } },
        doc! {},
        InvalidParam,
        "'a..b'",
    );
    refused(doc! { "$set": { "": 1 } }, doc! {}, InvalidParam, "$set");
}

#[test]
fn results_stay_within_the_limits_of_documents() {
    let big = "x".repeat(9 * 1024 * 1024);
    refused(
        doc! { "$set": { "b": &big } },
        doc! { "a": &big },
        ErrorCode::ExceedSize,
        "bytes",
    );
    let path = vec!["a"; 60].join(".");
    let mut nested = doc! {};
    for _ in 0..60 {
        nested = doc! { "a": nested };
    }
    refused(
        doc! { "$set": { path: nested } },
        doc! {},
        ErrorCode::InvalidParam,
        "levels",
    );
}

#[test]
fn touched_paths_are_told() {
    let update = Update::parse(
        &raw(&doc! { "$set": { "a.b": 1 }, "$rename": { "c": "d" } }),
        &CONTEXT,
    )
    .unwrap();
    for path in ["a", "a.b", "a.b.c", "c", "d"] {
        assert!(update.touches(path), "{path}");
    }
    for path in ["ab", "a.c", "a.bc", "e"] {
        assert!(!update.touches(path), "{path}");
    }
    assert!(Update::parse(&raw(&doc! {}), &CONTEXT).unwrap().is_empty());
}

#[test]
fn replacements_keep_the_id() {
    let replaced = |before: Option<Document>, new: Document| {
        replace(before.map(|before| raw(&before)).as_deref(), &raw(&new))
            .map(|after| Document::try_from(after).unwrap())
    };
    assert_eq!(
        replaced(Some(doc! { "_id": 1, "a": 2 }), doc! { "b": 3 }).unwrap(),
        doc! { "_id": 1, "b": 3 }
    );
    assert_eq!(
        replaced(Some(doc! { "_id": 1 }), doc! { "b": 3, "_id": 1.0 }).unwrap(),
        doc! { "_id": 1, "b": 3 }
    );
    assert_eq!(replaced(None, doc! { "b": 3 }).unwrap(), doc! { "b": 3 });
    assert_eq!(
        replaced(Some(doc! { "_id": 1 }), doc! { "_id": 2 })
            .unwrap_err()
            .code,
        ErrorCode::RequestFailed
    );
    assert_eq!(
        replaced(None, doc! { "$set": { "a": 1 } })
            .unwrap_err()
            .code,
        ErrorCode::InvalidOperator
    );
}
