//! How pipelines are carried out: spilled, planned, rearranged, bounded, and refused.

#![allow(clippy::unwrap_used)]

use bson::{DateTime, Document, bson, doc};

use super::aggregate_test::{Db, people, raw};
use super::{parse, stage::Stage};
use crate::error::ErrorCode;
use crate::expr::Bindings;
use crate::query::Budget;
use crate::spill::MemorySpill;

#[test]
fn what_does_not_fit_is_spilled_and_comes_back_the_same() {
    let mut db = Db::new();
    let documents: Vec<_> = (0..3000_i32)
        .map(|n| doc! { "_id": n, "k": n * 7919 % 1000, "t": "x".repeat((n % 50) as usize), "f": f64::from(n) * 0.1 })
        .collect();
    db.collection("c", &documents);
    let pipelines = [
        vec![
            doc! { "$sort": { "k": -1, "t": 1 } },
            doc! { "$project": { "k": 1 } },
            doc! { "$group": { "_id": null, "ids": { "$push": "$_id" } } },
        ],
        vec![
            doc! { "$sort": { "k": 1 } },
            doc! { "$skip": 500 },
            doc! { "$limit": 900 },
        ],
        vec![
            doc! { "$group": { "_id": { "$mod": ["$_id", 700] }, "n": { "$sum": 1 }, "mean": { "$avg": "$k" }, "s": { "$sum": "$f" },
            "ids": { "$push": "$_id" }, "set": { "$addToSet": "$k" }, "first": { "$first": "$k" },
            "last": { "$last": "$t" }, "least": { "$min": "$t" }, "most": { "$max": "$k" },
            "d": { "$stdDevPop": "$k" }, "m": { "$mergeObjects": { "a": "$k" } } } },
            doc! { "$sort": { "_id": 1 } },
            doc! { "$project": { "d": 0, "s": 0 } },
        ],
        vec![doc! { "$bucketAuto": { "groupBy": "$k", "buckets": 7 } }],
    ];
    let spill = MemorySpill;
    for pipeline in pipelines {
        let expected = db.run("c", &pipeline);
        let small = Budget {
            aggregate_memory_bytes_max: 60_000,
            ..Budget::new(&|| false)
        };
        let refused = db.try_within(&small, "c", &pipeline).unwrap_err();
        assert_eq!(refused.code, ErrorCode::ExceedBudget, "{refused}");
        let spilling = small.with_spill(&spill);
        assert_eq!(db.try_within(&spilling, "c", &pipeline).unwrap(), expected);
        let tight = Budget {
            spill_bytes_max: 1000,
            ..spilling
        };
        let refused = db.try_within(&tight, "c", &pipeline).unwrap_err();
        assert!(refused.message.contains("temporary"), "{refused}");
    }
}

#[test]
fn indexes_serve_leading_stages() {
    let mut db = Db::new();
    let documents: Vec<_> = (0..500_i32)
        .map(|n| doc! { "_id": n, "k": n % 10, "age": (n * 37) % 101 })
        .collect();
    db.collection("c", &documents);
    let pipelines = [
        vec![
            doc! { "$match": { "k": 3 } },
            doc! { "$group": { "_id": null, "n": { "$sum": 1 } } },
        ],
        vec![
            doc! { "$match": { "k": { "$gte": 8 } } },
            doc! { "$limit": 30 },
        ],
        vec![
            doc! { "$sort": { "age": -1 } },
            doc! { "$match": { "k": 3 } },
            doc! { "$limit": 5 },
            doc! { "$project": { "age": 1 } },
        ],
        vec![
            doc! { "$addFields": { "x": 1 } },
            doc! { "$match": { "k": 3, "x": 1 } },
        ],
    ];
    let before: Vec<_> = pipelines
        .iter()
        .map(|pipeline| db.run("c", pipeline))
        .collect();
    db.index("c", "k");
    db.index("c", "age");
    for (pipeline, expected) in pipelines.iter().zip(before) {
        assert_eq!(db.run("c", pipeline), expected);
    }
    let plan = db.explain("c", &pipelines[0]);
    assert_eq!(plan.get_str("index").ok(), Some("k"), "{plan}");
    assert_eq!(plan.get_i64("documentsExamined").ok(), Some(50));
    assert_eq!(
        plan.get_array("stages").unwrap(),
        &[bson!({ "stage": "$group", "documentsIn": 50_i64 })]
    );
    let plan = db.explain("c", &pipelines[3]);
    assert_eq!(plan.get_str("index").ok(), Some("k"), "{plan}");
    let sorted = [doc! { "$sort": { "age": 1 } }, doc! { "$limit": 3 }];
    let plan = db.explain("c", &sorted);
    assert_eq!(plan.get_str("sort").ok(), Some("by index"), "{plan}");
    assert_eq!(plan.get_i64("documentsExamined").ok(), Some(3));
}

fn stages_of(pipeline: &[Document]) -> String {
    let texts: Vec<_> = pipeline.iter().map(raw).collect();
    let mut stages = parse::Parser::new(Bindings::default())
        .pipeline(&texts)
        .unwrap();
    super::optimize::optimize(&mut stages);
    let names = stages.iter().map(|stage| match stage {
        Stage::Sort(_, Some(limit)) => format!("$sort({limit})"),
        Stage::Limit(limit) => format!("$limit({limit})"),
        Stage::Skip(count) => format!("$skip({count})"),
        other => other.name().to_owned(),
    });
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn filters_and_limits_move_only_where_that_is_sound() {
    let check = |pipeline: &[Document], expected: &str| assert_eq!(stages_of(pipeline), expected);
    let sort = doc! { "$sort": { "a": 1 } };
    let on_a = doc! { "$match": { "a": 1 } };
    check(&[sort.clone(), on_a.clone()], "$match $sort");
    check(
        &[sort.clone(), doc! { "$limit": 5 }, on_a.clone()],
        "$sort(5) $match",
    );
    check(
        &[
            sort.clone(),
            doc! { "$project": { "a": 1 } },
            doc! { "$skip": 2 },
            doc! { "$limit": 3 },
        ],
        "$sort(5) $skip(2) $project",
    );
    check(
        &[
            doc! { "$addFields": { "a.b": 1 } },
            doc! { "$match": { "a.c": 1, "b": 2 } },
        ],
        "$match $addFields $match",
    );
    check(
        &[doc! { "$project": { "b": 1 } }, on_a.clone()],
        "$project $match",
    );
    check(
        &[doc! { "$project": { "a": 1 } }, on_a.clone()],
        "$match $project",
    );
    check(&[doc! { "$unwind": "$a" }, on_a.clone()], "$unwind $match");
    check(
        &[doc! { "$unwind": "$b" }, on_a.clone(), on_a.clone()],
        "$match $unwind",
    );
    check(
        &[
            doc! { "$addFields": { "b": 1 } },
            doc! { "$match": { "$expr": { "$eq": ["$$ROOT", 1] } } },
        ],
        "$addFields $match",
    );
    // An expression must not meet documents that it did not meet before.
    let expression = doc! { "$match": { "$expr": { "$divide": [1, "$a"] } } };
    check(
        &[doc! { "$unwind": "$b" }, expression.clone()],
        "$unwind $match",
    );
    check(
        &[
            doc! { "$unwind": "$b" },
            doc! { "$match": { "b": 1 } },
            expression.clone(),
            on_a.clone(),
        ],
        "$match $unwind $match",
    );
    check(&[sort.clone(), expression], "$match $sort");
    check(
        &[doc! { "$group": { "_id": "$a" } }, on_a.clone()],
        "$group $match",
    );
    check(
        &[
            doc! { "$limit": 7 },
            doc! { "$limit": 5 },
            doc! { "$skip": 1 },
            doc! { "$skip": 2 },
        ],
        "$limit(5) $skip(3)",
    );
    check(
        &[doc! { "$unwind": "$b" }, doc! { "$limit": 7 }],
        "$unwind $limit(7)",
    );
}

#[test]
fn refusals_name_what_is_wrong() {
    let db = people();
    let refused = |stage: Document, code: ErrorCode, names: &str| {
        let error = db
            .try_run("people", std::slice::from_ref(&stage))
            .unwrap_err();
        assert_eq!(error.code, code, "{stage}: {error}");
        assert!(error.message.contains(names), "{stage}: {error}");
    };
    use ErrorCode::{InvalidOperator, InvalidParam};
    refused(doc! { "$out": "x" }, InvalidOperator, "$out");
    refused(
        doc! { "$merge": { "into": "x" } },
        InvalidOperator,
        "$merge",
    );
    refused(doc! { "$geoNear": {} }, InvalidParam, "distanceField");
    refused(doc! { "$collStats": {} }, InvalidOperator, "$collStats");
    refused(doc! { "$what": 1 }, InvalidOperator, "$what");
    refused(doc! { "$match": 1 }, InvalidParam, "$match");
    refused(doc! { "$limit": 0 }, InvalidParam, "$limit");
    refused(doc! { "$skip": -1 }, InvalidParam, "$skip");
    refused(doc! { "$sort": {} }, InvalidParam, "$sort");
    refused(
        doc! { "$sort": { "a": { "$meta": "textScore" } } },
        InvalidOperator,
        "$meta",
    );
    refused(
        doc! { "$group": { "n": { "$sum": 1 } } },
        InvalidParam,
        "_id",
    );
    refused(
        doc! { "$group": { "_id": 1, "n": { "$what": 1 } } },
        InvalidOperator,
        "$what",
    );
    refused(
        doc! { "$group": { "_id": 1, "n": { "$topN": 1 } } },
        InvalidOperator,
        "$topN",
    );
    refused(
        doc! { "$group": { "_id": 1, "n": { "$sum": ["$a"] } } },
        InvalidParam,
        "$sum",
    );
    refused(doc! { "$project": { "a": 1, "b": 0 } }, InvalidParam, "'b'");
    refused(
        doc! { "$project": { "a": 1, "a.b": 1 } },
        InvalidParam,
        "a.b",
    );
    refused(doc! { "$unwind": "tags" }, InvalidParam, "dollar");
    refused(
        doc! { "$lookup": { "from": "x", "as": "y" } },
        InvalidParam,
        "pipeline",
    );
    refused(
        doc! { "$facet": { "a": [{ "$facet": { "b": [] } }] } },
        InvalidParam,
        "$facet",
    );
    refused(doc! { "$count": "$a" }, InvalidParam, "$count");
    refused(
        doc! { "$bucket": { "groupBy": "$a", "boundaries": [1] } },
        InvalidParam,
        "boundaries",
    );
    refused(
        doc! { "$graphLookup": { "from": "people", "startWith": 1, "connectFromField": "a", "connectToField": "b", "as": "c",
        "maxDepth": 100_000 } },
        InvalidParam,
        "maxDepth",
    );
    refused(doc! { "a": 1, "b": 2 }, InvalidParam, "one member");
    refused(
        doc! { "$project": { "x": { "$meta": "textScore" } } },
        InvalidOperator,
        "$meta",
    );
    let many = vec![doc! { "$skip": 0 }; 201];
    assert!(db.try_run("people", &many).is_err());
    let mut deep = bson!([]);
    for _ in 0..12 {
        deep = bson!([{ "$unionWith": { "coll": "people", "pipeline": deep } }]);
    }
    let stage = deep.as_array().unwrap()[0].as_document().unwrap().clone();
    refused(stage, InvalidParam, "nest");
    assert_eq!(
        db.try_run("nowhere", &[]).unwrap_err().code,
        ErrorCode::CollectionNotExist
    );
}

#[test]
fn results_and_time_are_bounded() {
    let mut db = Db::new();
    let documents: Vec<_> = (0..1200)
        .map(|n| doc! { "_id": n, "t": "x".repeat(100) })
        .collect();
    db.collection("c", &documents);
    let error = db.try_run("c", &[]).unwrap_err();
    assert!(error.message.contains("$limit"), "{error}");
    assert_eq!(db.run("c", &[doc! { "$limit": 1000 }]).len(), 1000);
    let narrow = Budget {
        documents_examined_max: 1000,
        ..Budget::new(&|| false)
    };
    let grouped = [doc! { "$group": { "_id": 1 } }];
    assert!(db.try_within(&narrow, "c", &grouped).is_err());
    let late = Budget::new(&|| true);
    assert!(db.try_within(&late, "c", &grouped).is_err());
    let joined = [
        doc! { "$limit": 2 },
        doc! { "$lookup": { "from": "c", "as": "all", "pipeline": [
        { "$match": { "$expr": { "$gt": ["$_id", "$$k"] } } }, { "$limit": 1 }], "let": { "k": "$_id" } } },
    ];
    assert_eq!(db.run("c", &joined).len(), 2);
    let dates = doc! { "$project": { "d": { "$dateToString": { "date": DateTime::from_millis(0), "timezone": "Asia/Shanghai", "format": "%H:%M %z" } } } };
    assert_eq!(
        db.run("c", &[doc! { "$limit": 1 }, dates])[0]
            .get_str("d")
            .ok(),
        Some("08:00 +0800")
    );
}
