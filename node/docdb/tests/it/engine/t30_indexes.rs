//! Indexes: unique, compound, over arrays; built at once or beside other writes; failed and dropped.

use bson::{Bson, Document, doc};
use yunbase_docdb::limits::{
    INDEX_STEP_DOCUMENTS_MAX, INDEXES_PER_COLLECTION_MAX, STEP_DOCUMENTS_MAX,
};
use yunbase_docdb::op::{FindOp, IndexSpec, Op, OpReply, UpdateOp};
use yunbase_docdb::{ErrorCode, Result};

use super::harness::{Db, find, index_spec, memory, raw, update};

fn filled(documents: &[Document]) -> Db {
    let db = memory();
    db.create("c");
    for part in documents.chunks(500) {
        db.insert("c", part).unwrap();
    }
    db
}

fn code(result: Result<OpReply>) -> ErrorCode {
    result.unwrap_err().code
}

fn described(db: &Db) -> Vec<Document> {
    match db
        .read(&Op::ListIndexes {
            collection: "c".into(),
        })
        .unwrap()
    {
        OpReply::Described { documents } => documents
            .iter()
            .map(|d| Document::try_from(&**d).unwrap())
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn many(count: i32) -> Vec<Document> {
    (0..count)
        .map(|i| doc! { "_id": i, "n": i % 100, "u": i })
        .collect()
}

#[test]
fn a_unique_index_refuses_a_second_value_and_counts_missing_as_null() {
    let db = filled(&[doc! { "_id": 1, "k": "a" }]);
    db.index("c", &[("k", false)], true).unwrap();
    assert_eq!(
        code(db.insert("c", &[doc! { "_id": 2, "k": "a" }])),
        ErrorCode::DuplicateWrite
    );
    db.insert("c", &[doc! { "_id": 3 }]).unwrap();
    assert_eq!(
        code(db.insert("c", &[doc! { "_id": 4, "k": Bson::Null }])),
        ErrorCode::DuplicateWrite
    );
    db.insert("c", &[doc! { "_id": 5, "k": ["x", "y", "x"] }])
        .unwrap();
    assert_eq!(
        code(db.insert("c", &[doc! { "_id": 6, "k": "y" }])),
        ErrorCode::DuplicateWrite
    );
    let error = db
        .update(
            "c",
            update(doc! { "_id": 3 }, doc! { "$set": { "k": "a" } }),
        )
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::DuplicateWrite);
    assert!(error.message.contains("k_1"), "{error}");
    db.update(
        "c",
        update(doc! { "_id": 1 }, doc! { "$set": { "k": "b" } }),
    )
    .unwrap();
    db.insert("c", &[doc! { "_id": 2, "k": "a" }]).unwrap();
    db.remove("c", doc! { "_id": 5 }, false);
    db.insert("c", &[doc! { "_id": 6, "k": "y" }]).unwrap();
    assert_eq!(
        db.find("c", doc! { "k": "y" }),
        [doc! { "_id": 6, "k": "y" }]
    );
    assert_eq!(db.find("c", doc! { "k": Bson::Null }), [doc! { "_id": 3 }]);
}

#[test]
fn parallel_arrays_are_refused_and_arrays_of_documents_are_not() {
    let db = filled(&[]);
    db.index("c", &[("a", false), ("b", false)], false).unwrap();
    assert_eq!(
        code(db.insert("c", &[doc! { "_id": 1, "a": [1], "b": [1] }])),
        ErrorCode::RequestFailed
    );
    db.insert(
        "c",
        &[
            doc! { "_id": 1, "a": [1, 2], "b": 3 },
            doc! { "_id": 2, "a": 1, "b": [3, 4] },
        ],
    )
    .unwrap();
    assert_eq!(db.find("c", doc! { "a": 1, "b": 3 }).len(), 2);
    db.index("c", &[("l.x", false), ("l.y", true)], false)
        .unwrap();
    db.insert(
        "c",
        &[doc! { "_id": 3, "l": [{ "x": 1, "y": 2 }, { "x": 3, "y": 4 }] }],
    )
    .unwrap();
    assert_eq!(db.find("c", doc! { "l.x": 3, "l.y": 2 }).len(), 1);
    assert_eq!(
        db.find("c", doc! { "l": { "$elemMatch": { "x": 3, "y": 2 } } })
            .len(),
        0
    );
}

#[test]
fn definitions_are_checked() {
    let db = filled(&[]);
    let create = |index: IndexSpec| {
        db.write(Op::CreateIndex {
            collection: "c".into(),
            index,
        })
    };
    create(index_spec(&[("a", false)], false)).unwrap();
    create(index_spec(&[("a", false)], false)).unwrap();
    assert_eq!(
        code(create(index_spec(&[("a", false)], true))),
        ErrorCode::IndexConflict
    );
    for bad in [
        vec![],
        vec![("", false)],
        vec![("a..b", false)],
        vec![("$x", false)],
        vec![("a", false), ("a", true)],
    ] {
        let index = IndexSpec {
            name: "bad".into(),
            ..index_spec(&bad, false)
        };
        assert_eq!(code(create(index)), ErrorCode::InvalidParam, "{bad:?}");
    }
    for number in 1..INDEXES_PER_COLLECTION_MAX {
        create(index_spec(&[(&format!("f{number}"), false)], false)).unwrap();
    }
    assert_eq!(
        code(create(index_spec(&[("one too many", false)], false))),
        ErrorCode::CollectionExceedLimit
    );
    create(index_spec(&[("a", false)], false)).unwrap();
    let drop = |name: &str| {
        db.write(Op::DropIndex {
            collection: "c".into(),
            name: name.into(),
        })
    };
    drop("a_1").unwrap();
    assert_eq!(code(drop("a_1")), ErrorCode::IndexConflict);
}

#[test]
fn a_small_collection_is_indexed_at_once_or_the_index_refused() {
    let db = filled(&many(200));
    db.index("c", &[("u", false)], true).unwrap();
    assert_eq!(described(&db)[0].get_str("state").unwrap(), "ready");
    assert_eq!(
        code(db.index("c", &[("n", false)], true)),
        ErrorCode::DuplicateWrite
    );
    assert_eq!(described(&db).len(), 1);
}

#[test]
fn a_large_collection_is_indexed_beside_writes() {
    let size = (STEP_DOCUMENTS_MAX + 5 * INDEX_STEP_DOCUMENTS_MAX) as i32;
    let db = filled(&many(size));
    db.index("c", &[("n", false)], false).unwrap();
    assert_eq!(described(&db)[0].get_str("state").unwrap(), "building");
    let by_index = find(
        "c",
        FindOp {
            filter: raw(&doc! { "n": 7 }),
            ..FindOp::default()
        },
    );
    assert_eq!(
        db.explain(by_index.clone()).get_str("stage").unwrap(),
        "collection scan"
    );
    let mut round = 0;
    loop {
        let commands = db.database.pending_builds(db.now()).unwrap();
        let Some(command) = commands.first() else {
            break;
        };
        // Before and behind the cursor: changed, removed, added. Two steps are under way at once.
        for id in [round, size - 1 - round] {
            db.update(
                "c",
                update(doc! { "_id": id }, doc! { "$set": { "n": 7777 } }),
            )
            .unwrap();
        }
        db.remove(
            "c",
            doc! { "_id": { "$in": [round + 100, size - 100 - round] } },
            true,
        );
        db.insert(
            "c",
            &[
                doc! { "_id": -1 - round, "n": 7777 },
                doc! { "_id": size + round, "n": 7777 },
            ],
        )
        .unwrap();
        db.apply(&[command.clone(), command.clone()]);
        round += 1;
    }
    assert!(round >= 2);
    assert_eq!(described(&db)[0].get_str("state").unwrap(), "ready");
    let found = db.find("c", doc! { "n": 7777 });
    assert_eq!(db.explain(by_index).get_str("stage").unwrap(), "index scan");
    assert_eq!(found.len() as i32, 4 * round);
    let by_index = db.count("c", doc! { "n": { "$gte": 0 } });
    assert_eq!(by_index, db.count("c", doc! {}));
}

#[test]
fn a_duplicate_found_late_fails_the_build_and_says_why() {
    let mut documents = many(2 * STEP_DOCUMENTS_MAX as i32);
    documents.last_mut().unwrap().insert("u", 0);
    let db = filled(&documents);
    db.index("c", &[("u", false)], true).unwrap();
    db.finish_builds();
    let index = described(&db).remove(0);
    assert_eq!(index.get_str("state").unwrap(), "failed");
    assert!(
        index.get_str("error").unwrap().contains("unique index"),
        "{index}"
    );
    db.insert("c", &[doc! { "_id": "new", "u": 0 }]).unwrap();
    assert_eq!(
        code(db.index("c", &[("u", false)], true)),
        ErrorCode::IndexConflict
    );
    db.write(Op::DropIndex {
        collection: "c".into(),
        name: "u_1".into(),
    })
    .unwrap();
    db.remove("c", doc! { "u": 0 }, true);
    db.index("c", &[("u", false)], true).unwrap();
    db.finish_builds();
    assert_eq!(described(&db)[0].get_str("state").unwrap(), "ready");
}

#[test]
fn an_index_remembers_arrays_after_they_are_gone() {
    let db = filled(&[doc! { "_id": 1, "a": [1, 9] }]);
    db.index("c", &[("a", false)], false).unwrap();
    assert!(described(&db)[0].get_bool("multikey").unwrap());
    assert_eq!(db.find("c", doc! { "a": { "$gt": 5, "$lt": 3 } }).len(), 1);
    let replace = UpdateOp {
        replace: true,
        ..update(doc! { "_id": 1 }, doc! { "a": 4 })
    };
    db.update("c", replace).unwrap();
    assert!(described(&db)[0].get_bool("multikey").unwrap());
    assert_eq!(db.find("c", doc! { "a": 4 }).len(), 1);
    assert_eq!(db.find("c", doc! { "a": 1 }).len(), 0);
}

#[test]
fn list_collections_counts_and_describes() {
    let db = filled(&many(3));
    db.index("c", &[("n", true)], false).unwrap();
    let OpReply::Described { documents } = db.read(&Op::ListCollections).unwrap() else {
        panic!()
    };
    let collection = Document::try_from(&*documents[0]).unwrap();
    assert_eq!(collection.get_str("name").unwrap(), "c");
    assert_eq!(collection.get_i64("count").unwrap(), 3);
    assert!(collection.get_i64("size").unwrap() > 0);
    let index = collection.get_array("indexes").unwrap()[0]
        .as_document()
        .unwrap();
    assert_eq!(
        index.get_array("fields").unwrap()[0],
        Bson::from(doc! { "path": "n", "direction": -1 })
    );
}
