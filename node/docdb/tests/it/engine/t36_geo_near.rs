//! `$geoNear`: pipelines that begin with the nearest documents.

use bson::{Document, doc};
use yunbase_docdb::op::{IndexOptions, Op, OpReply};
use yunbase_docdb::{ErrorCode, Guard, Result};

use super::harness::{Db, index_spec, memory, raw, update};

fn point(x: f64, y: f64) -> Document {
    doc! { "type": "Point", "coordinates": [x, y] }
}

fn geo_index(db: &Db, path: &str) {
    db.write(Op::CreateIndexWith {
        collection: "c".into(),
        index: index_spec(&[(path, false)], false),
        options: IndexOptions {
            geo: Some(0),
            ..IndexOptions::default()
        },
    })
    .unwrap();
}

/// On the equator, a degree apart; the last has two places.
fn row() -> Db {
    let db = memory();
    db.create("c");
    let documents: Vec<_> = (0..5)
        .map(|n| doc! { "_id": n, "loc": point(f64::from(n), 0.0), "odd": n % 2 })
        .collect();
    db.insert("c", &documents).unwrap();
    db.insert(
        "c",
        &[doc! { "_id": 9, "loc": [point(30., 0.), point(9., 0.)], "odd": 1 }],
    )
    .unwrap();
    geo_index(&db, "loc");
    db
}

fn pipeline(stages: &[Document]) -> Op {
    Op::Aggregate {
        collection: "c".into(),
        pipeline: stages.iter().map(raw).collect(),
        seed: 1,
    }
}

fn run(db: &Db, op: &Op) -> Result<Vec<Document>> {
    match db.read(op)? {
        OpReply::Found { documents, .. } => Ok(documents
            .iter()
            .map(|one| Document::try_from(&**one).unwrap())
            .collect()),
        other => panic!("{other:?}"),
    }
}

fn near(more: Document) -> Document {
    let mut spec =
        doc! { "near": point(0.2, 0.0), "spherical": true, "distanceField": "far.metres" };
    spec.extend(more);
    doc! { "$geoNear": spec }
}

fn ids(documents: &[Document]) -> Vec<i32> {
    documents
        .iter()
        .map(|one| one.get_i32("_id").unwrap())
        .collect()
}

const DEGREE_METRES: f64 = 6_378_100.0 * std::f64::consts::PI / 180.0;

#[test]
fn the_nearest_come_with_their_distance() {
    let db = row();
    let all = run(&db, &pipeline(&[near(doc! { "includeLocs": "place" })])).unwrap();
    assert_eq!(ids(&all), [0, 1, 2, 3, 4, 9]);
    for (document, degrees) in all.iter().zip([0.2, 0.8, 1.8, 2.8, 3.8, 8.8]) {
        let metres = document
            .get_document("far")
            .unwrap()
            .get_f64("metres")
            .unwrap();
        assert!(
            (metres - degrees * DEGREE_METRES).abs() < 0.001,
            "{document}"
        );
    }
    assert_eq!(all[5].get_document("place").unwrap(), &point(9., 0.));
    let some = near(doc! {
        "query": { "odd": 1 }, "limit": 2, "distanceMultiplier": 0.001, "maxDistance": 5.0 * DEGREE_METRES,
        "minDistance": DEGREE_METRES / 2.0, "key": "loc",
    });
    let found = run(&db, &pipeline(&[some, doc! { "$project": { "far": 1 } }])).unwrap();
    assert_eq!(ids(&found), [1, 3]);
    let kilometres = found[0].get_document("far").unwrap().get_f64("metres");
    assert!((kilometres.unwrap() - 0.8 * DEGREE_METRES / 1000.0).abs() < 0.001);
}

#[test]
fn stages_behind_it_see_the_distance() {
    let db = row();
    let farther = doc! { "$match": { "far.metres": { "$gt": 2.5 * DEGREE_METRES } } };
    let backwards = doc! { "$sort": { "far.metres": -1 } };
    let stages = [near(doc! {}), farther, backwards, doc! { "$limit": 2 }];
    assert_eq!(ids(&run(&db, &pipeline(&stages)).unwrap()), [9, 4]);
    let counted = [near(doc! { "query": { "odd": 0 } }), doc! { "$count": "n" }];
    assert_eq!(run(&db, &pipeline(&counted)).unwrap(), [doc! { "n": 3 }]);
    let plan = db.explain(pipeline(&[near(doc! {}), doc! { "$limit": 2 }]));
    assert_eq!(plan.get_str("stage").unwrap(), "near");
    // Neither the other places nor the documents at them are looked at.
    assert_eq!(plan.get_i64("documentsExamined").unwrap(), 2);
}

#[test]
fn the_other_collection_of_a_lookup_can_be_asked_for_the_nearest() {
    let db = row();
    db.create("d");
    db.insert("d", &[doc! { "_id": 1 }]).unwrap();
    let lookup = doc! { "$lookup": { "from": "c", "pipeline": [near(doc! { "limit": 1 })], "as": "nearest" } };
    let op = Op::Aggregate {
        collection: "d".into(),
        pipeline: vec![raw(&lookup)],
        seed: 1,
    };
    let nearest = run(&db, &op).unwrap().remove(0);
    let nearest = nearest.get_array("nearest").unwrap()[0]
        .as_document()
        .unwrap()
        .clone();
    assert_eq!(ids(&[nearest]), [0]);
}

#[test]
fn it_needs_one_index_and_the_first_place() {
    let db = row();
    let refused = |stages: &[Document], code: ErrorCode, names: &str| {
        let error = run(&db, &pipeline(stages)).unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(names), "{error}");
    };
    use ErrorCode::{InvalidOperator, InvalidParam, RequestFailed};
    let limit = doc! { "$limit": 1 };
    refused(&[limit.clone(), near(doc! {})], InvalidParam, "the first");
    let facet = doc! { "$facet": { "a": [near(doc! {})] } };
    refused(&[facet], InvalidParam, "$facet");
    refused(&[near(doc! { "num": 3 })], InvalidParam, "'num'");
    refused(&[near(doc! { "near": [1, 2] })], InvalidParam, "GeoJSON");
    refused(&[near(doc! { "limit": 0 })], InvalidParam, "$geoNear");
    refused(
        &[near(doc! { "distanceMultiplier": -1 })],
        InvalidParam,
        "distanceMultiplier",
    );
    refused(
        &[near(doc! { "key": "elsewhere" })],
        RequestFailed,
        "2dsphere index on 'elsewhere'",
    );
    let by_distance = doc! { "loc": { "$nearSphere": { "$geometry": point(0., 0.) } } };
    refused(
        &[doc! { "$match": by_distance.clone() }],
        InvalidOperator,
        "begin the pipeline with '$geoNear'",
    );
    refused(
        &[near(doc! { "query": by_distance.clone() })],
        InvalidOperator,
        "'query' of stage '$geoNear'",
    );
    let explore = doc! { "$graphLookup": {
        "from": "c", "startWith": "$_id", "connectFromField": "_id", "connectToField": "odd", "as": "x",
        "restrictSearchWithMatch": by_distance.clone(),
    } };
    refused(&[explore], InvalidOperator, "restrictSearchWithMatch");
    geo_index(&db, "other");
    refused(&[near(doc! {})], RequestFailed, "'key'");
    assert_eq!(
        run(&db, &pipeline(&[near(doc! { "key": "loc", "limit": 1 })]))
            .unwrap()
            .len(),
        1
    );
    let pull = update(doc! { "_id": 1 }, doc! { "$pull": by_distance });
    assert_eq!(db.update("c", pull).unwrap_err().code, InvalidOperator);
}

#[test]
fn what_is_not_visible_is_not_near() {
    let db = row();
    let OpReply::Described { documents } = db
        .read(&Op::GetAccess {
            collection: "c".into(),
        })
        .unwrap()
    else {
        panic!("no access")
    };
    let guard = Guard {
        access_version: documents[0].get_i64("version").unwrap() as u64,
        visible: raw(&doc! { "odd": 1 }),
        ..Guard::default()
    };
    let guarded = |stages: &[Document]| Op::Guarded {
        op: Box::new(pipeline(stages)),
        guard: Box::new(guard.clone()),
    };
    let seen = |stages: &[Document]| ids(&run(&db, &guarded(stages)).unwrap());
    assert_eq!(seen(&[near(doc! { "limit": 2 })]), [1, 3]);
    assert_eq!(seen(&[near(doc! { "query": { "odd": 0 } })]), [0; 0]);
    assert_eq!(seen(&[doc! { "$sort": { "_id": -1 } }]), [9, 3, 1]);
    let counted = run(&db, &guarded(&[doc! { "$count": "n" }])).unwrap();
    assert_eq!(counted, [doc! { "n": 3 }]);
    // A condition that fails on a document tells nothing of one that is not seen.
    let fails = doc! { "$match": { "$expr": { "$divide": [1, "$odd"] } } };
    assert_eq!(seen(&[fails]), [1, 3, 9]);
}
