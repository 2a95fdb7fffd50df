//! Commits of transactions: all or nothing, and only if what was read is still so.

use bson::{Document, doc};
use yunbase_docdb::ErrorCode;
use yunbase_docdb::op::{Op, OpReply};
use yunbase_docdb::transaction::{ReadDocument, Transaction, WrittenDocument, fingerprint};

use super::harness::{memory, raw};

fn read(collection: &str, id: i32, found: Option<Document>) -> ReadDocument {
    ReadDocument {
        collection: collection.into(),
        id: raw(&doc! { "": id }),
        fingerprint: found.map(|found| fingerprint(&raw(&found))),
    }
}

fn written(collection: &str, id: i32, document: Option<Document>) -> WrittenDocument {
    WrittenDocument {
        collection: collection.into(),
        id: raw(&doc! { "": id }),
        document: document.as_ref().map(raw),
        is_replacement: false,
    }
}

fn commit(reads: Vec<ReadDocument>, writes: Vec<WrittenDocument>) -> Op {
    Op::Commit(Box::new(Transaction { reads, writes }))
}

#[test]
fn a_commit_changes_several_collections_with_their_indexes_and_counts() {
    let db = memory();
    for collection in ["a", "b"] {
        db.create(collection);
        db.index(collection, &[("n", false)], false).unwrap();
    }
    db.finish_builds();
    let before = doc! { "_id": 1, "n": 1 };
    db.insert("a", &[before.clone(), doc! { "_id": 2, "n": 2 }])
        .unwrap();
    let after = doc! { "_id": 1, "n": 7 };
    let reply = db.write(commit(
        vec![read("a", 1, Some(before)), read("b", 9, None)],
        vec![
            written("a", 1, Some(after.clone())),
            written("b", 9, Some(doc! { "_id": 9, "n": 9 })),
            written("a", 2, None),
        ],
    ));
    assert_eq!(reply, Ok(OpReply::Done));
    assert_eq!(db.find("a", doc! { "n": { "$gt": 0 } }), [after]);
    assert_eq!(db.find("b", doc! { "n": 9 }), [doc! { "_id": 9, "n": 9 }]);
    assert_eq!((db.count("a", doc! {}), db.count("b", doc! {})), (1, 1));
}

#[test]
fn what_was_read_and_is_no_longer_so_is_a_conflict_and_leaves_no_trace() {
    let db = memory();
    db.create("a");
    db.create("b");
    let old = doc! { "_id": 1, "n": 1 };
    db.insert("a", &[doc! { "_id": 1, "n": 2 }]).unwrap();
    let writes = || vec![written("b", 1, Some(doc! { "_id": 1 }))];
    for reads in [
        vec![read("a", 1, Some(old))],
        vec![read("a", 1, None)],
        vec![read("a", 2, Some(doc! { "_id": 2 }))],
    ] {
        let refused = db.write(commit(reads, writes())).unwrap_err();
        assert_eq!(refused.code, ErrorCode::TransactionConflict);
    }
    assert_eq!(db.count("b", doc! {}), 0);
}

#[test]
fn a_refusal_in_the_last_collection_takes_back_the_first() {
    let db = memory();
    db.create("a");
    db.create("b");
    db.index("b", &[("u", false)], true).unwrap();
    db.finish_builds();
    db.insert("b", &[doc! { "_id": 1, "u": "taken" }]).unwrap();
    let digest = db.count("a", doc! {});
    let refused = db.write(commit(
        vec![],
        vec![
            written("a", 1, Some(doc! { "_id": 1 })),
            written("b", 2, Some(doc! { "_id": 2, "u": "taken" })),
        ],
    ));
    assert_eq!(refused.unwrap_err().code, ErrorCode::DuplicateWrite);
    assert_eq!(db.count("a", doc! {}), digest);
    assert_eq!(db.find("a", doc! {}), Vec::<Document>::new());
    // Counts in memory and in the store agree afterwards.
    db.insert("a", &[doc! { "_id": 5 }]).unwrap();
    assert_eq!(db.count("a", doc! {}), 1);
}

#[test]
fn unknown_collections_and_oversized_commits_are_refused() {
    let db = memory();
    db.create("a");
    let code = |op: Op| db.write(op).unwrap_err().code;
    assert_eq!(
        code(commit(vec![read("no", 1, None)], vec![])),
        ErrorCode::CollectionNotExist
    );
    assert_eq!(
        code(commit(vec![], vec![written("no", 1, None)])),
        ErrorCode::CollectionNotExist
    );
    let many = (0..3000).map(|id| read("a", id, None)).collect();
    assert_eq!(code(commit(many, vec![])), ErrorCode::ExceedSize);
}
