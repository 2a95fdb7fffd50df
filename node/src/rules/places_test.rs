//! End users ask for places and by schemas: what they may not see is neither near nor inside nor of any shape, and
//! rules follow from such queries as from others.

use bson::{Document, doc};
use yunbase_docdb::op::{IndexField, IndexOptions, IndexSpec, Op, OpReply};

use super::testing::{ENV, World, count, find, found, raw, remove, update_all, user};
use crate::call::Failure;

fn point(x: f64) -> Document {
    doc! { "type": "Point", "coordinates": [x, 0.0] }
}

fn near() -> Document {
    doc! { "loc": { "$nearSphere": { "$geometry": point(0.1) } } }
}

fn within() -> Document {
    doc! { "loc": { "$geoWithin": { "$centerSphere": [[0.1, 0.0], 1.0] } } }
}

fn geo_near(query: Document) -> Document {
    doc! { "$geoNear": { "near": point(0.1), "spherical": true, "distanceField": "far", "query": query } }
}

fn aggregate(stages: &[Document]) -> Op {
    Op::Aggregate {
        collection: "c".into(),
        pipeline: stages.iter().map(raw).collect(),
        seed: 0,
    }
}

/// Two documents of mine and one of somebody else's between them.
fn world(access: &Document) -> World {
    let place = |id: i32, owner: &str| doc! { "_id": id, "_openid": owner, "loc": point(f64::from(id)), "n": id };
    let documents = [place(2, "me"), place(1, "you"), place(0, "me")];
    let world = World::with("c", access, &documents);
    world
        .run(Op::CreateIndexWith {
            collection: "c".into(),
            index: IndexSpec {
                name: "places".into(),
                fields: vec![IndexField {
                    path: "loc".into(),
                    descending: false,
                }],
                unique: false,
            },
            options: IndexOptions {
                geo: Some(0),
                ..IndexOptions::default()
            },
        })
        .expect("an index");
    world
}

fn ids(reply: Result<OpReply, Failure>) -> Vec<i32> {
    let documents = found(reply.expect("allowed"));
    let id = |document: &Document| document.get_i32("_id").expect("a number");
    documents.iter().map(id).collect()
}

#[test]
fn owners_find_their_own_places() {
    let world = world(&doc! {});
    let me = user("me");
    let find_as_me = |filter: Document| ids(world.run_as(&me, find("c", filter)));
    assert_eq!(find_as_me(near()), [0, 2]);
    assert_eq!(find_as_me(doc! { "$and": [near(), { "n": 1 }] }), [0; 0]);
    assert_eq!(find_as_me(within()), [0, 2]);
    let reply = world.run_as(&me, count("c", within()));
    assert_eq!(reply, Ok(OpReply::Counted { count: 2 }));
    let schema = doc! { "$jsonSchema": { "properties": { "n": { "minimum": 1 } } } };
    assert_eq!(find_as_me(schema.clone()), [2]);
    let piped = |stages: &[Document]| ids(world.run_as(&me, aggregate(stages)));
    assert_eq!(piped(&[geo_near(doc! {})]), [0, 2]);
    assert_eq!(piped(&[geo_near(schema)]), [2]);
    assert_eq!(piped(&[geo_near(doc! { "_openid": "you" })]), [0; 0]);
    let change = update_all("c", near(), doc! { "$set": { "seen": true } });
    assert!(matches!(
        world.run_as(&me, change),
        Ok(OpReply::Updated { matched: 2, .. })
    ));
    let removed = world.run_as(&me, remove("c", near(), true));
    assert_eq!(removed, Ok(OpReply::Removed { removed: 2 }));
    assert_eq!(world.all("c").len(), 1);
}

#[test]
fn rules_must_follow_from_the_query_beside_the_place() {
    let world = world(&doc! { "mode": "CUSTOM", "rule": { "read": "doc._openid == auth.openid" } });
    let me = user("me");
    let mine = |mut query: Document| {
        query.insert("_openid", "{openid}");
        query
    };
    assert_eq!(ids(world.run_as(&me, find("c", mine(near())))), [0, 2]);
    let own = aggregate(&[geo_near(mine(doc! {}))]);
    assert_eq!(ids(world.run_as(&me, own)), [0, 2]);
    let schema = doc! { "$jsonSchema": { "properties": { "_openid": { "enum": ["me"] } } } };
    // The condition must be among those of the query; a stage behind it, or beside it in BSON, is too late.
    let mut twice = raw(&doc! { "near": point(0.1), "distanceField": "far", "query": {} });
    twice.append(bson::cstr!("query"), raw(&doc! { "_openid": "me" }));
    let mut stage = bson::RawDocumentBuf::new();
    stage.append(bson::cstr!("$geoNear"), twice);
    let doubled = Op::Aggregate {
        collection: "c".into(),
        pipeline: vec![stage],
        seed: 0,
    };
    for op in [
        find("c", near()),
        find("c", schema),
        aggregate(&[geo_near(doc! {})]),
        aggregate(&[geo_near(doc! {}), doc! { "$match": { "_openid": "me" } }]),
        doubled,
    ] {
        let refused = world.run_as(&me, op).expect_err("refused");
        assert_eq!(refused.code, "DATABASE_PERMISSION_DENIED");
    }
}

#[test]
fn the_shape_of_collections_is_for_administrators() {
    let world = world(&doc! { "mode": "READONLY" });
    let me = user("me");
    for op in [
        Op::RenameCollection {
            collection: "c".into(),
            to: "d".into(),
        },
        Op::SetValidator {
            collection: "c".into(),
            schema: raw(&doc! {}),
            level: yunbase_docdb::op::ValidationLevel::Off,
        },
    ] {
        let refused = world.run_as(&me, op).expect_err("refused");
        assert_eq!(refused.code, "DATABASE_PERMISSION_DENIED");
    }
    assert_eq!(world.all("c").len(), 3);
}

/// What was compiled for a collection holds for no other that takes its name.
#[test]
fn a_renamed_collection_takes_its_rules_along() {
    let world = world(&doc! { "mode": "READONLY" });
    let me = user("me");
    let compiled = world.guarded(&me, find("c", doc! {})).expect("allowed");
    let rename = |from: &str, to: &str| {
        world
            .run(Op::RenameCollection {
                collection: from.into(),
                to: to.into(),
            })
            .expect("renamed")
    };
    world.add(
        "closed",
        &doc! { "mode": "ADMINONLY" },
        &[doc! { "_id": 1 }],
    );
    rename("c", "open");
    rename("closed", "c");
    let refused = world.run(compiled).expect_err("refused");
    assert_eq!(refused.code, "ACCESS_CHANGED");
    assert!(world.run_as(&me, find("c", doc! {})).is_err());
    assert_eq!(ids(world.run_as(&me, find("open", doc! {}))).len(), 3);
    let access = world.database.access(ENV, "open").expect("an access");
    assert_eq!(access.document.get_str("mode").expect("a mode"), "READONLY");
}
