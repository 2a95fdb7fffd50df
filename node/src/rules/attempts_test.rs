//! What somebody would try who wants more than the rules give.

use bson::{Document, bson, doc};
use futures::executor::block_on;
use yunbase_docdb::op::{FindOp, Op, OpReply};

use super::refusal::DENIED;
use super::testing::{
    NOW_MS, World, count, find, found, insert, raw, remove, set, update, update_all, upsert, user,
};
use super::{Asker, InForce, Rules, enforce};

const OWN: &str = "doc._openid == auth.openid";

fn mine_and_yours(access: &Document) -> World {
    World::with(
        "c",
        access,
        &[
            doc! { "_id": "m", "_openid": "me", "secret": "apple", "n": 1 },
            doc! { "_id": "y", "_openid": "you", "secret": "pear", "n": 2 },
        ],
    )
}

fn code(result: Result<OpReply, crate::call::Failure>) -> String {
    match result {
        Ok(reply) => format!("{reply:?}"),
        Err(failure) => failure.code.into_owned(),
    }
}

fn ids(world: &World, filter: Document) -> Vec<Document> {
    found(world.run_as(&user("me"), find("c", filter)).expect("found"))
}

#[test]
fn operators_in_values_reach_nothing_more() {
    let world = mine_and_yours(&doc! { "mode": "PRIVATE" });
    for filter in [
        doc! {},
        doc! { "_openid": "you" },
        doc! { "_openid": { "$ne": "me" } },
        doc! { "_openid": { "$exists": true } },
        doc! { "_id": "y" },
        doc! { "_id": { "$in": ["y"] } },
        doc! { "_id": { "$gt": "m" } },
        doc! { "$or": [{ "_id": "y" }, { "_openid": "you" }] },
        doc! { "$nor": [{ "_openid": "me" }] },
        doc! { "$and": [{ "$or": [{}, { "_openid": "you" }] }] },
        doc! { "$expr": { "$eq": ["$_openid", "you"] } },
        doc! { "secret": { "$regex": "^p" } },
        doc! { "secret": { "$not": { "$eq": "apple" } } },
    ] {
        for document in ids(&world, filter.clone()) {
            assert_eq!(document.get_str("_openid").ok(), Some("me"), "{filter}");
        }
        let counted = world.run_as(&user("me"), count("c", filter.clone()));
        let Ok(OpReply::Counted { count }) = counted else {
            panic!("{filter}: {counted:?}");
        };
        assert_eq!(count as usize, ids(&world, filter).len());
    }
}

/// A condition that fails on a document must not tell of documents that the user cannot see.
#[test]
fn errors_do_not_tell_of_documents_out_of_sight() {
    let world = mine_and_yours(&doc! { "mode": "PRIVATE" });
    let probe = doc! { "$expr": { "$cond": [
        { "$eq": ["$secret", "pear"] }, { "$divide": [1, 0] }, true,
    ] } };
    assert_eq!(ids(&world, probe.clone()).len(), 1);
    assert!(world.run(find("c", probe)).is_err());
}

/// Under CUSTOM rules a refusal tells that a document exists, but only to who names it, and nothing of its fields.
#[test]
fn refusals_do_not_tell_of_fields() {
    let world = mine_and_yours(&doc! { "mode": "CUSTOM", "rule": { "read": OWN, "write": OWN } });
    let me = user("me");
    assert_eq!(
        code(world.run_as(&me, find("c", doc! { "_id": "y" }))),
        DENIED
    );
    for guess in ["pear", "plum"] {
        let filter = doc! { "_id": "y", "secret": guess };
        assert!(ids(&world, filter.clone()).is_empty(), "{guess}");
        let change = doc! { "$set": { "x": 1 } };
        assert_eq!(
            world
                .run_as(&me, update("c", filter, change))
                .expect("nothing"),
            OpReply::Updated {
                matched: 0,
                modified: 0,
                upserted_id: None,
                document: None
            }
        );
    }
}

#[test]
fn a_query_without_the_condition_is_told_which() {
    let world = mine_and_yours(&doc! { "mode": "CUSTOM", "rule": { "read": OWN, "write": OWN } });
    let me = user("me");
    for op in [
        find("c", doc! {}),
        count("c", doc! { "n": 1 }),
        find("c", doc! { "_openid": "you" }),
        update_all("c", doc! {}, doc! { "$set": { "n": 0 } }),
        remove("c", doc! { "n": { "$gt": 0 } }, true),
    ] {
        let failure = world.run_as(&me, op).expect_err("refused");
        assert_eq!(failure.code, DENIED);
        assert!(
            failure.message.contains("`doc._openid == auth.openid`"),
            "{failure}"
        );
    }
    assert_eq!(ids(&world, doc! { "_openid": "{openid}", "n": 1 }).len(), 1);
}

#[test]
fn the_owner_cannot_be_forged_or_taken_away() {
    let world = mine_and_yours(&doc! { "mode": "CUSTOM", "rule": { "read": true, "write": true } });
    let me = user("me");
    let before = world.all("c");
    for change in [
        doc! { "$set": { "_openid": "you" } },
        doc! { "$set": { "_openid.x": "you" } },
        doc! { "$setOnInsert": { "_openid": "you" } },
        doc! { "$unset": { "_openid": 1 } },
        doc! { "$rename": { "_openid": "old" } },
        doc! { "$rename": { "secret": "_openid" } },
        doc! { "$inc": { "_openid": 1 } },
        doc! { "$mul": { "_openid": 1 } },
        doc! { "$min": { "_openid": "a" } },
        doc! { "$max": { "_openid": "z" } },
        doc! { "$bit": { "_openid": { "xor": 1 } } },
        doc! { "$push": { "_openid": "x" } },
        doc! { "$addToSet": { "_openid": "x" } },
        doc! { "$pop": { "_openid": 1 } },
        doc! { "$pull": { "_openid": "x" } },
        doc! { "$pullAll": { "_openid": ["x"] } },
        doc! { "$currentDate": { "_openid": true } },
    ] {
        for filter in [doc! { "_id": "m" }, doc! {}] {
            let refused = world.run_as(&me, update_all("c", filter.clone(), change.clone()));
            assert_eq!(code(refused), DENIED, "{change}");
            let refused = world.run_as(&me, upsert("c", doc! { "_id": "new" }, change.clone()));
            assert_eq!(code(refused), DENIED, "{change}");
        }
    }
    for forged in [
        bson!("you"),
        bson!(null),
        bson!(["me"]),
        bson!({ "$ne": 1 }),
    ] {
        for id in ["m", "new"] {
            let document = doc! { "_openid": forged.clone(), "a": 1 };
            let refused = world.run_as(&me, set("c", doc! { "_id": id }, document.clone()));
            assert_eq!(code(refused), DENIED, "{document}");
            let refused = world.run_as(&me, insert("c", &[document]));
            assert_eq!(code(refused), DENIED);
        }
    }
    for filter in [
        doc! { "_id": "new", "_openid": "you" },
        doc! { "_openid": "nobody" },
        doc! { "_openid.x": 1 },
    ] {
        let refused = world.run_as(
            &me,
            upsert("c", filter.clone(), doc! { "$set": { "a": 1 } }),
        );
        assert_eq!(code(refused), DENIED, "{filter}");
    }
    assert_eq!(world.all("c"), before);
    // What is given back as it was read is no forgery, and without it nothing is lost.
    let same = doc! { "_openid": "you", "a": 1 };
    world
        .run_as(&me, set("c", doc! { "_id": "y" }, same))
        .expect("replaced");
    world
        .run_as(&me, set("c", doc! { "_id": "m" }, doc! { "a": 2 }))
        .expect("replaced");
    assert_eq!(
        world.all("c"),
        [
            doc! { "_id": "m", "a": 2, "_openid": "me" },
            doc! { "_id": "y", "_openid": "you", "a": 1 },
        ]
    );
}

#[test]
fn an_update_cannot_move_a_document_out_of_the_rule() {
    let rule = "doc.state in ['draft', 'ready'] && doc.n <= 10";
    let world = World::with(
        "c",
        &doc! { "mode": "CUSTOM", "rule": { "read": true, "update": rule } },
        &[
            doc! { "_id": 1, "state": "draft", "n": 9 },
            doc! { "_id": 2, "state": "draft", "n": 10 },
            doc! { "_id": 3, "state": "final", "n": 1 },
        ],
    );
    let me = user("me");
    let before = world.all("c");
    let query = doc! { "state": "draft", "n": { "$lte": 10 } };
    for op in [
        update(
            "c",
            doc! { "_id": 1 },
            doc! { "$set": { "state": "final" } },
        ),
        update(
            "c",
            doc! { "_id": 1 },
            doc! { "$set": { "state": ["draft", "final"] } },
        ),
        update("c", doc! { "_id": 1 }, doc! { "$unset": { "state": 1 } }),
        update(
            "c",
            doc! { "_id": 1 },
            doc! { "$rename": { "state": "was" } },
        ),
        update(
            "c",
            doc! { "_id": 3 },
            doc! { "$set": { "state": "draft" } },
        ),
        // The first of them would stay within the rule: nothing is written all the same.
        update_all("c", query.clone(), doc! { "$inc": { "n": 1 } }),
        set("c", doc! { "_id": 1 }, doc! { "state": "final", "n": 1 }),
        set("c", doc! { "_id": 9 }, doc! { "state": "draft", "n": 1 }),
    ] {
        let name = format!("{op:?}");
        assert_eq!(code(world.run_as(&me, op)), DENIED, "{name}");
        assert_eq!(world.all("c"), before, "{name}");
    }
    world
        .run_as(
            &me,
            update_all("c", query, doc! { "$set": { "state": "ready" } }),
        )
        .expect("within the rule");
    assert_eq!(world.all("c")[1].get_str("state").ok(), Some("ready"));
}

#[test]
fn an_upsert_creates_only_what_may_be_created() {
    let rule = doc! { "read": true, "update": false, "create": "doc.kind == 'note' && doc._openid == auth.openid" };
    let world = World::with(
        "c",
        &doc! { "mode": "CUSTOM", "rule": rule },
        &[doc! { "_id": "old", "kind": "note", "_openid": "me" }],
    );
    let me = user("me");
    for op in [
        upsert(
            "c",
            doc! { "_id": "new" },
            doc! { "$set": { "kind": "order" } },
        ),
        upsert(
            "c",
            doc! { "_id": "new", "kind": ["note"] },
            doc! { "$set": { "a": 1 } },
        ),
        set("c", doc! { "_id": "new" }, doc! { "kind": "order" }),
        set("c", doc! { "_id": "old" }, doc! { "kind": "note" }),
        update("c", doc! { "_id": "old" }, doc! { "$set": { "a": 1 } }),
    ] {
        let name = format!("{op:?}");
        assert_eq!(code(world.run_as(&me, op)), DENIED, "{name}");
    }
    world
        .run_as(
            &me,
            upsert(
                "c",
                doc! { "_id": "new" },
                doc! { "$set": { "kind": "note" } },
            ),
        )
        .expect("created");
    assert_eq!(
        world.all("c")[0],
        doc! { "_id": "new", "kind": "note", "_openid": "me" }
    );
    // The owner condition of a simple mode puts nothing but the owner into the new document.
    let world = World::with("c", &doc! {}, &[]);
    world
        .run_as(
            &me,
            upsert(
                "c",
                doc! { "a": 1, "_openid": "{openid}" },
                doc! { "$set": { "b": 2 } },
            ),
        )
        .expect("created");
    let created = world.all("c").remove(0);
    assert_eq!(
        created,
        doc! { "_id": "made", "a": 1, "_openid": "me", "b": 2 }
    );
}

#[test]
fn request_data_is_what_a_write_brings() {
    let rule = doc! {
        "create": "request.data.price > 0 && request.data.price == doc.price",
        "update": "request.data.price == null && request.data.size.w != 0",
    };
    let world = World::with(
        "c",
        &doc! { "mode": "CUSTOM", "rule": rule },
        &[doc! { "_id": 1, "price": 5 }],
    );
    let me = user("me");
    assert_eq!(
        code(world.run_as(&me, insert("c", &[doc! { "_id": 2, "price": 0 }]))),
        DENIED
    );
    world
        .run_as(&me, insert("c", &[doc! { "_id": 2, "price": 1 }]))
        .expect("created");
    for change in [
        doc! { "$set": { "price": 1 } },
        doc! { "$set": { "size.w": 0 } },
    ] {
        let refused = world.run_as(&me, update("c", doc! { "_id": 1 }, change.clone()));
        assert_eq!(code(refused), DENIED, "{change}");
    }
    let change = doc! { "$set": { "size.w": 3, "size.h": 0 } };
    world
        .run_as(&me, update("c", doc! { "_id": 1 }, change))
        .expect("updated");
}

#[test]
fn all_or_none_of_an_insert_is_allowed() {
    let world = World::with(
        "c",
        &doc! { "mode": "CUSTOM", "rule": { "create": "doc.n < 3" } },
        &[],
    );
    let documents: Vec<_> = (1..5).map(|n| doc! { "_id": n, "n": n }).collect();
    let me = user("me");
    assert_eq!(code(world.run_as(&me, insert("c", &documents))), DENIED);
    assert_eq!(world.all("c"), Vec::<Document>::new());
    assert!(world.run_as(&me, insert("c", &documents[..2])).is_ok());
}

#[test]
fn what_is_for_administrators_is_closed() {
    let world = World::with(
        "c",
        &doc! { "mode": "CUSTOM", "rule": { "read": true, "write": true } },
        &[],
    );
    world.add(
        "_sys.users",
        &doc! { "mode": "CUSTOM", "rule": { "read": true, "write": true } },
        &[],
    );
    let me = user("me");
    let c = || "c".to_owned();
    for op in [
        Op::CreateCollection {
            collection: "d".into(),
        },
        Op::DropCollection { collection: c() },
        Op::ListCollections,
        Op::ListIndexes { collection: c() },
        Op::DropIndex {
            collection: c(),
            name: "i".into(),
        },
        Op::SetAccess {
            collection: c(),
            access: raw(&doc! {}),
        },
        Op::GetAccess { collection: c() },
        Op::Explain(Box::new(find("c", doc! {}))),
        Op::Guarded {
            op: Box::new(find("c", doc! {})),
            guard: Box::default(),
        },
        find("_sys.users", doc! {}),
        count("_sys.users", doc! {}),
        insert("_sys.users", &[doc! { "_id": 1 }]),
        update("_sys.users", doc! { "_id": 1 }, doc! { "$set": { "a": 1 } }),
        remove("_sys.users", doc! { "_id": 1 }, false),
    ] {
        let name = format!("{op:?}");
        assert_eq!(code(world.run_as(&me, op)), DENIED, "{name}");
    }
}

#[test]
fn the_placeholder_is_plain_text_for_administrators() {
    let world = World::with(
        "c",
        &doc! {},
        &[
            doc! { "_id": 1, "_openid": "me" },
            doc! { "_id": 2, "_openid": "{openid}" },
        ],
    );
    let filter = doc! { "_openid": "{openid}" };
    assert_eq!(
        found(world.run(find("c", filter.clone())).expect("found"))[0]
            .get_i32("_id")
            .ok(),
        Some(2)
    );
    assert_eq!(ids(&world, filter)[0].get_i32("_id").ok(), Some(1));
}

#[test]
fn projection_sort_and_pages_show_only_what_may_be_seen() {
    let world = mine_and_yours(&doc! {});
    let page = Op::Find {
        collection: "c".into(),
        find: FindOp {
            projection: raw(&doc! { "secret": 1 }),
            sort: raw(&doc! { "secret": -1 }),
            skip: 0,
            limit: Some(1),
            ..FindOp::default()
        },
    };
    let documents = found(world.run_as(&user("me"), page).expect("found"));
    assert_eq!(documents, [doc! { "_id": "m", "secret": "apple" }]);
}

/// A write that was compiled before the rules changed does not happen after it.
#[test]
fn rules_are_in_force_with_their_commit() {
    let world = mine_and_yours(&doc! { "mode": "CUSTOM", "rule": { "read": true, "write": true } });
    let me = user("me");
    let ops = [
        find("c", doc! {}),
        find("c", doc! { "_id": "y" }),
        count("c", doc! {}),
        insert("c", &[doc! { "_id": "z" }]),
        update("c", doc! { "_id": "y" }, doc! { "$set": { "a": 1 } }),
        update_all("c", doc! {}, doc! { "$set": { "a": 1 } }),
        update("c", doc! { "n": 2 }, doc! { "$set": { "a": 1 } }),
        remove("c", doc! {}, true),
    ];
    let compiled: Vec<_> = ops
        .iter()
        .map(|op| world.guarded(&me, op.clone()).expect("allowed"))
        .collect();
    world.set_access("c", &doc! { "mode": "ADMINONLY" });
    let before = world.all("c");
    for op in compiled {
        let name = format!("{op:?}");
        assert_eq!(code(world.run(op)), "ACCESS_CHANGED", "{name}");
    }
    assert_eq!(world.all("c"), before);
    for op in ops {
        assert_eq!(code(world.run_as(&me, op)), DENIED);
    }
    // A collection of the same name that is made anew is another one, although its rules are the default again.
    world.set_access("c", &doc! {});
    let compiled = world.guarded(&me, find("c", doc! {})).expect("allowed");
    world
        .run(Op::DropCollection {
            collection: "c".into(),
        })
        .expect("dropped");
    world
        .run(Op::CreateCollection {
            collection: "c".into(),
        })
        .expect("created");
    assert_eq!(code(world.run(compiled)), "ACCESS_CHANGED");
}

#[test]
fn pipelines_begin_with_what_may_be_seen() {
    let world = World::default();
    let me = user("me");
    let asker = Asker {
        user: &me,
        now_ms: NOW_MS,
    };
    let judge = |access: Document, collection: &str, pipeline: &[Document]| {
        let rules = Rules::parse(&raw(&access)).expect("rules");
        let op = Op::Aggregate {
            collection: collection.into(),
            pipeline: pipeline.iter().map(raw).collect(),
            seed: 0,
        };
        let in_force = InForce {
            rules: &rules,
            version: 1,
        };
        match block_on(enforce(op, asker, in_force, &world)) {
            Ok(Op::Guarded { guard, .. }) => Ok(guard.visible),
            Ok(other) => panic!("{other:?} is not guarded"),
            Err(failure) => Err(failure.message),
        }
    };
    let own = raw(&doc! { "_openid": "me" });
    assert_eq!(judge(doc! {}, "c", &[]), Ok(own.clone()));
    let group = doc! { "$group": { "_id": "$a" } };
    assert_eq!(judge(doc! {}, "c", std::slice::from_ref(&group)), Ok(own));
    let everybody = doc! { "mode": "READONLY" };
    assert_eq!(
        judge(everybody.clone(), "c", std::slice::from_ref(&group)),
        Ok(raw(&doc! {}))
    );
    assert!(judge(doc! { "mode": "ADMINONLY" }, "c", &[]).is_err());
    for collection in ["_sys.users", "_sys"] {
        assert!(judge(everybody.clone(), collection, &[]).is_err());
    }
    let custom = doc! { "mode": "CUSTOM", "rule": { "read": OWN } };
    let condition = raw(&doc! { "_openid": { "$eq": "me", "$not": { "$type": "array" } } });
    for pipeline in [vec![group], vec![doc! { "$match": { "a": 1 } }], vec![]] {
        let refused = judge(custom.clone(), "c", &pipeline).expect_err("refused");
        assert!(refused.contains(OWN), "{refused}");
    }
    for filter in [doc! { "_openid": "{openid}" }, doc! { "_id": 1 }] {
        let pipeline = [doc! { "$match": filter }];
        assert_eq!(judge(custom.clone(), "c", &pipeline), Ok(condition.clone()));
    }
}

/// Joined collections: `mine` (PRIVATE), `open` (READONLY), `closed` (ADMINONLY), `team` (CUSTOM).
fn joinable() -> World {
    let both = [
        doc! { "_id": "m", "_openid": "me", "key": 1 },
        doc! { "_id": "y", "_openid": "you", "key": 1, "secret": "pear", "up": "m" },
    ];
    let world = World::with(
        "root",
        &doc! { "mode": "READONLY" },
        &[doc! { "_id": 1, "key": 1 }],
    );
    let team = doc! { "mode": "CUSTOM", "rule": { "read": "doc._openid == auth.openid" } };
    for (name, access) in [
        ("mine", doc! {}),
        ("open", doc! { "mode": "READONLY" }),
        ("closed", doc! { "mode": "ADMINONLY" }),
        ("team", team),
    ] {
        world.add(name, &access, &both);
    }
    world
}

fn aggregate(stages: &[Document]) -> Op {
    Op::Aggregate {
        collection: "root".into(),
        pipeline: stages.iter().map(raw).collect(),
        seed: 0,
    }
}

/// All forms of a join with `from`, each giving the joined `_id`s as `ids` of one document.
fn joins(from: &str) -> Vec<Vec<Document>> {
    let ids = doc! { "$project": { "_id": 0, "ids": "$found._id" } };
    let by_fields =
        doc! { "from": from, "localField": "key", "foreignField": "key", "as": "found" };
    let all = doc! { "from": from, "pipeline": [], "as": "found" };
    let mut both = by_fields.clone();
    both.insert("pipeline", vec![doc! { "$match": { "key": 1 } }]);
    let graph = doc! {
        "from": from, "startWith": "$key", "connectFromField": "up", "connectToField": "key", "as": "found",
    };
    let inner = doc! { "from": "open", "pipeline": [
        { "$limit": 1 }, { "$lookup": all.clone() }, { "$unwind": "$found" }, { "$replaceWith": "$found" },
    ], "as": "found" };
    let gathered = doc! { "$group": { "_id": null, "ids": { "$push": "$_id" } } };
    let united = |spec: Document| {
        vec![
            doc! { "$match": { "key": 2 } },
            doc! { "$unionWith": spec },
            gathered.clone(),
            doc! { "$project": { "_id": 0 } },
        ]
    };
    vec![
        vec![doc! { "$lookup": by_fields.clone() }, ids.clone()],
        vec![doc! { "$lookup": all }, ids.clone()],
        vec![doc! { "$lookup": both }, ids.clone()],
        vec![doc! { "$lookup": inner }, ids.clone()],
        vec![doc! { "$graphLookup": graph }, ids.clone()],
        united(doc! { "coll": from }),
        united(doc! { "coll": from, "pipeline": [{ "$sort": { "_id": 1 } }] }),
        vec![
            doc! { "$facet": { "one": [{ "$lookup": by_fields }, ids] } },
            doc! { "$unwind": "$one" },
            doc! { "$replaceWith": "$one" },
        ],
    ]
}

#[test]
fn a_join_sees_what_the_rules_of_its_collection_show() {
    let world = joinable();
    let me = user("me");
    let mut checked = 0;
    for (from, expected) in [
        ("open", vec!["m", "y"]),
        ("mine", vec!["m"]),
        ("team", vec!["m"]),
    ] {
        for join in joins(from) {
            let reply = world.run_as(&me, aggregate(&join)).expect("joined");
            let mut seen: Vec<String> = found(reply)
                .iter()
                .flat_map(|document| document.get_array("ids").expect("ids"))
                .map(|id| id.as_str().expect("text").to_owned())
                .collect();
            seen.sort();
            assert_eq!(seen, expected, "{join:?}");
            checked += 1;
        }
    }
    assert_eq!(checked, 24);
}

#[test]
fn a_join_with_a_closed_collection_is_refused_in_every_form() {
    let world = joinable();
    let me = user("me");
    for from in ["closed", "_sys.users", "_sys.sessions", "_cluster.keys"] {
        for join in joins(from) {
            assert_eq!(
                code(world.run_as(&me, aggregate(&join))),
                DENIED,
                "{join:?}"
            );
        }
    }
    // What the join would tell by failing on a document out of sight.
    let probe = doc! { "$lookup": { "from": "mine", "as": "x", "pipeline": [{ "$match": { "$expr": { "$cond": [
        { "$eq": ["$secret", "pear"] }, { "$divide": [1, 0] }, true,
    ] } } }] } };
    world
        .run_as(&me, aggregate(std::slice::from_ref(&probe)))
        .expect("joined");
    assert!(world.run(aggregate(&[probe])).is_err());
    // Rules of a joined collection that have changed since count at once.
    let join = &joins("open")[0];
    let guarded = world.guarded(&me, aggregate(join)).expect("allowed");
    world.set_access("open", &doc! { "mode": "ADMINONLY" });
    assert_eq!(code(world.run(guarded)), "ACCESS_CHANGED");
    assert_eq!(code(world.run_as(&me, aggregate(join))), DENIED);
    // The database joins nothing that it was not told of.
    let Ok(Op::Guarded { guard, .. }) = world.guarded(&me, aggregate(&[])) else {
        panic!("guarded")
    };
    for join in joins("mine") {
        let forged = Op::Guarded {
            op: Box::new(aggregate(&join)),
            guard: guard.clone(),
        };
        assert_eq!(code(world.run(forged)), DENIED, "{join:?}");
    }
}
