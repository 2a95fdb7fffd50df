//! Single documents: insert, find, update, replace, upsert, remove, and the refusals around them.

use bson::{Bson, Document, doc};
use yunbase_docdb::ErrorCode;
use yunbase_docdb::op::{FindOp, Op, OpReply, UpdateOp};

use super::harness::{ENV, find, insert, memory, raw, update};

#[test]
fn a_document_is_found_by_id_as_it_was_inserted() {
    let db = memory();
    db.create("c");
    let document = doc! { "_id": "a", "n": 1, "nested": { "list": [1, "x", Bson::Null] } };
    let reply = db.insert("c", std::slice::from_ref(&document)).unwrap();
    assert_eq!(
        reply,
        OpReply::Inserted {
            ids: vec![raw(&doc! { "": "a" })]
        }
    );
    assert_eq!(db.find("c", doc! { "_id": "a" })[0], document);
    assert_eq!(db.find("c", doc! { "_id": "b" }), Vec::<Document>::new());
    assert_eq!(db.find("c", doc! { "nested.list": "x" }), [document]);
    assert_eq!(
        db.explain(find(
            "c",
            FindOp {
                filter: raw(&doc! { "_id": "a" }),
                ..FindOp::default()
            }
        ))["stage"],
        Bson::from("id lookup")
    );
}

#[test]
fn collections_must_exist_and_are_created_once() {
    let db = memory();
    let code = |result: yunbase_docdb::Result<OpReply>| result.unwrap_err().code;
    assert_eq!(
        code(db.insert("c", &[doc! { "_id": 1 }])),
        ErrorCode::CollectionNotExist
    );
    assert_eq!(
        code(db.read(&find("c", FindOp::default()))),
        ErrorCode::CollectionNotExist
    );
    db.create("c");
    assert_eq!(
        code(db.write(Op::CreateCollection {
            collection: "c".into()
        })),
        ErrorCode::CollectionAlreadyExist
    );
    for name in ["", "$x", "a\0b", &"x".repeat(256)] {
        assert_eq!(
            code(db.write(Op::CreateCollection {
                collection: name.into()
            })),
            ErrorCode::InvalidParam,
            "{name}"
        );
    }
    db.create("a.b 集合");
    db.insert("c", &[doc! { "_id": 1 }]).unwrap();
    db.write(Op::DropCollection {
        collection: "c".into(),
    })
    .unwrap();
    assert_eq!(
        code(db.read(&find("c", FindOp::default()))),
        ErrorCode::CollectionNotExist
    );
    db.create("c");
    assert_eq!(db.count("c", doc! {}), 0);
    assert_eq!(db.find("c", doc! {}), Vec::<Document>::new());
}

#[test]
fn environments_do_not_see_each_other() {
    let db = memory();
    db.create("c");
    db.insert("c", &[doc! { "_id": 1 }]).unwrap();
    db.write_in(
        "env-2",
        Op::CreateCollection {
            collection: "c".into(),
        },
        None,
    )
    .unwrap();
    db.write_in(
        "env-2",
        insert("c", &[doc! { "_id": 1, "other": true }]),
        None,
    )
    .unwrap();
    assert_eq!(db.find("c", doc! {}), [doc! { "_id": 1 }]);
    assert_eq!(ENV, "env-1");
}

#[test]
fn an_insert_takes_all_documents_or_none() {
    let db = memory();
    db.create("c");
    db.insert("c", &[doc! { "_id": 2 }]).unwrap();
    let error = db
        .insert(
            "c",
            &[doc! { "_id": 1 }, doc! { "_id": 2.0 }, doc! { "_id": 3 }],
        )
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::DuplicateWrite);
    assert_eq!(db.count("c", doc! {}), 1);
    assert_eq!(db.find("c", doc! {}), [doc! { "_id": 2 }]);
    assert_eq!(
        db.insert("c", &[doc! { "_id": 5 }, doc! { "_id": 5 }])
            .unwrap_err()
            .code,
        ErrorCode::DuplicateWrite
    );
    assert_eq!(
        db.insert("c", &[doc! { "x": 5 }]).unwrap_err().code,
        ErrorCode::InvalidParam
    );
    assert_eq!(
        db.insert("c", &[doc! { "_id": [1] }]).unwrap_err().code,
        ErrorCode::InvalidParam
    );
    assert_eq!(
        db.insert("c", &[]).unwrap_err().code,
        ErrorCode::InvalidParam
    );
}

#[test]
fn single_updates_change_one_document() {
    let db = memory();
    db.create("c");
    db.insert("c", &[doc! { "_id": 1, "n": 1 }, doc! { "_id": 2, "n": 1 }])
        .unwrap();
    assert_eq!(
        db.update("c", update(doc! { "_id": 2 }, doc! { "$inc": { "n": 5 } }))
            .unwrap(),
        (1, 1)
    );
    assert_eq!(
        db.update("c", update(doc! { "n": 1 }, doc! { "$set": { "n": 1 } }))
            .unwrap(),
        (1, 0)
    );
    assert_eq!(
        db.update("c", update(doc! { "_id": 9 }, doc! { "$set": { "n": 1 } }))
            .unwrap(),
        (0, 0)
    );
    let last = UpdateOp {
        sort: raw(&doc! { "n": -1 }),
        return_document: true,
        ..update(doc! {}, doc! { "$set": { "last": true } })
    };
    let reply = db
        .write(Op::Update {
            collection: "c".into(),
            update: last,
        })
        .unwrap();
    let OpReply::Updated {
        document: Some(document),
        ..
    } = reply
    else {
        panic!("{reply:?}")
    };
    assert_eq!(
        Document::try_from(&*document).unwrap(),
        doc! { "_id": 2, "n": 6, "last": true }
    );
    let replace = UpdateOp {
        replace: true,
        ..update(doc! { "n": 1 }, doc! { "whole": 1 })
    };
    assert_eq!(db.update("c", replace).unwrap(), (1, 1));
    assert_eq!(
        db.find("c", doc! { "_id": 1 }),
        [doc! { "_id": 1, "whole": 1 }]
    );
}

#[test]
fn upserts_insert_what_filter_and_update_say() {
    let db = memory();
    db.create("c");
    let by_id = UpdateOp {
        upsert: true,
        ..update(doc! { "_id": "k", "a": 1 }, doc! { "$set": { "b": 2 } })
    };
    let reply = db
        .write(Op::Update {
            collection: "c".into(),
            update: by_id.clone(),
        })
        .unwrap();
    let OpReply::Updated {
        matched: 0,
        upserted_id: Some(id),
        ..
    } = reply
    else {
        panic!("{reply:?}")
    };
    assert_eq!(id, raw(&doc! { "": "k" }));
    assert_eq!(db.find("c", doc! {}), [doc! { "_id": "k", "a": 1, "b": 2 }]);
    assert_eq!(db.update("c", by_id).unwrap(), (1, 0));
    let by_field = UpdateOp {
        upsert: true,
        upsert_id: "new".into(),
        ..update(doc! { "x": 7 }, doc! { "$inc": { "n": 1 } })
    };
    db.update("c", by_field.clone()).unwrap();
    db.update("c", by_field).unwrap();
    assert_eq!(
        db.find("c", doc! { "x": 7 }),
        [doc! { "_id": "new", "x": 7, "n": 2 }]
    );
    let many = UpdateOp {
        upsert: true,
        multi: true,
        upsert_id: "m".into(),
        ..update(doc! { "y": 1 }, doc! { "$set": { "z": 1 } })
    };
    db.update("c", many.clone()).unwrap();
    assert_eq!(db.update("c", many).unwrap(), (1, 0));
    let whole = UpdateOp {
        upsert: true,
        replace: true,
        upsert_id: "w".into(),
        ..update(doc! { "w": 1 }, doc! { "v": 1 })
    };
    db.update("c", whole).unwrap();
    assert_eq!(db.find("c", doc! { "v": 1 }), [doc! { "_id": "w", "v": 1 }]);
}

#[test]
fn removes_take_the_first_match_or_all() {
    let db = memory();
    db.create("c");
    let documents: Vec<_> = (0..10)
        .map(|i| doc! { "_id": i, "even": i % 2 == 0 })
        .collect();
    db.insert("c", &documents).unwrap();
    assert_eq!(db.remove("c", doc! { "even": true }, false), 1);
    assert_eq!(db.find("c", doc! { "_id": 0 }), Vec::<Document>::new());
    assert_eq!(db.remove("c", doc! { "even": true }, true), 4);
    assert_eq!(db.remove("c", doc! { "_id": 1 }, true), 1);
    assert_eq!(db.count("c", doc! {}), 4);
}

#[test]
fn pages_continue_where_the_last_ended() {
    let db = memory();
    db.create("c");
    let documents: Vec<_> = (0..25).map(|i| doc! { "_id": i, "g": i % 2 }).collect();
    db.insert("c", &documents).unwrap();
    db.index("c", &[("g", false)], false).unwrap();
    for filter in [
        doc! {},
        doc! { "g": 1 },
        doc! { "g": { "$gte": 0 } },
        doc! { "_id": { "$gt": 3 } },
    ] {
        let whole = db.find("c", filter.clone());
        let (mut pages, mut after) = (Vec::new(), Vec::new());
        loop {
            let page = FindOp {
                filter: raw(&filter),
                limit: Some(4),
                after,
                ..FindOp::default()
            };
            let (documents, next) = db.find_op("c", page).unwrap();
            pages.extend(documents);
            if next.is_empty() {
                break;
            }
            after = next;
        }
        assert_eq!(pages, whole, "{filter}");
    }
}

#[test]
fn a_database_is_shared_and_a_plan_moves_between_threads() {
    fn shared<T: Send + Sync>() {}
    fn moved<T: Send>() {}
    shared::<yunbase_docdb::Database>();
    moved::<yunbase_docdb::WritePlan>();
}
