//! Commits of transactions: all or nothing, and only if what was read is still so.

use bson::{Document, doc};
use yunbase_docdb::change_log::Retention;
use yunbase_docdb::memory::MemoryStore;
use yunbase_docdb::op::{FindOp, Op, OpReply, UpdateOp};
use yunbase_docdb::transaction::{
    AccessVersion, CheckedTransaction, ReadDocument, ReadQuery, RequiredDocument, Transaction,
    WrittenDocument, fingerprint,
};
use yunbase_docdb::{ErrorCode, Options, Result, SessionSequence, Step, WritePlan};

use super::harness::{self, Db, insert, memory, raw};

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

/// A query as of now, in collection `a`.
fn query(db: &Db, filter: Document) -> ReadQuery {
    let find = Op::Find {
        collection: "a".into(),
        find: FindOp {
            filter: raw(&filter),
            ..FindOp::default()
        },
    };
    match db.read(&Op::Positioned(Box::new(find))).unwrap() {
        OpReply::Positioned { as_of, now_ms, .. } => ReadQuery {
            collection: "a".into(),
            filter: raw(&filter),
            now_ms,
            as_of,
        },
        other => panic!("{other:?}"),
    }
}

/// The commit of a document into collection `b` that depends on queries.
fn depending(queries: Vec<ReadQuery>) -> CheckedTransaction {
    CheckedTransaction {
        transaction: Transaction {
            reads: vec![],
            writes: vec![written("b", 1, Some(doc! { "_id": 1 }))],
        },
        queries,
        ..CheckedTransaction::default()
    }
}

fn checked(transaction: CheckedTransaction) -> Op {
    Op::CommitChecked(Box::new(transaction))
}

fn two_collections() -> Db {
    let db = memory();
    db.create("a");
    db.create("b");
    db.insert("a", &[doc! { "_id": 1, "n": 1 }]).unwrap();
    db
}

fn change(db: &Db, id: i32, n: i32) {
    let update = harness::update(doc! { "_id": id }, doc! { "$set": { "n": n } });
    db.update(
        "a",
        UpdateOp {
            upsert: true,
            upsert_id: "x".into(),
            ..update
        },
    )
    .unwrap();
}

/// A commit on its way: planned, with `meanwhile` between the leader's look and the apply.
fn commit_around(
    db: &Db,
    transaction: CheckedTransaction,
    meanwhile: impl Fn(&Db),
) -> Result<OpReply> {
    let mut plan = WritePlan::new(harness::ENV, checked(transaction), None)?;
    let mut rounds = 0;
    loop {
        match db.propose(&mut plan)? {
            Step::Done(reply) => return Ok(reply),
            Step::Propose(command) => {
                rounds += 1;
                if rounds == 1 {
                    meanwhile(db);
                }
                plan.feed(&db.apply(&[command])[0])?;
            }
        }
    }
}

/// A change and what it does to the result.
type Named = (&'static str, fn(&Db));

#[test]
fn nothing_may_appear_in_disappear_from_or_change_in_what_a_query_found() {
    let changes: [Named; 6] = [
        ("appears", |db| change(db, 2, 5)),
        ("appears by insert", |db| {
            db.insert("a", &[doc! { "_id": 3, "n": 5 }]).unwrap();
        }),
        ("changes", |db| change(db, 1, 2)),
        ("leaves", |db| change(db, 1, -1)),
        ("goes", |db| {
            db.remove("a", doc! { "_id": 1 }, false);
        }),
        ("all go", |db| {
            db.write(Op::DropCollection {
                collection: "a".into(),
            })
            .unwrap();
            db.create("a");
        }),
    ];
    for (name, change) in changes {
        for early in [true, false] {
            let db = two_collections();
            let transaction = depending(vec![query(&db, doc! { "n": { "$gt": 0 } })]);
            if early {
                change(&db);
            }
            let late = |db: &Db| {
                if !early {
                    change(db);
                }
            };
            let refused = commit_around(&db, transaction, late).unwrap_err();
            assert_eq!(
                refused.code,
                ErrorCode::TransactionConflict,
                "{name} {early}"
            );
            assert_eq!(db.count("b", doc! {}), 0);
        }
    }
    // What it would not have found, in another collection, or back to where it was not.
    let db = two_collections();
    change(&db, 2, -1);
    let transaction = depending(vec![query(&db, doc! { "n": { "$gt": 0 } })]);
    change(&db, 2, -2);
    let others = |db: &Db| {
        change(db, 2, -3);
        db.insert("b", &[doc! { "_id": 9, "n": 9 }]).unwrap();
    };
    assert_eq!(commit_around(&db, transaction, others), Ok(OpReply::Done));
    assert_eq!(db.count("b", doc! {}), 2);
}

#[test]
fn a_filter_that_fails_on_what_appeared_counts_as_noticing_it() {
    let db = two_collections();
    let failing = doc! { "$expr": { "$eq": [{ "$divide": [1, "$n"] }, 1] } };
    let transaction = depending(vec![query(&db, failing)]);
    change(&db, 2, 0);
    let refused = db.write(checked(transaction)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::TransactionConflict);
}

#[test]
fn an_apply_looks_at_few_changes_and_asks_the_leader_for_more() {
    let db = two_collections();
    let transaction = || depending(vec![query(&db, doc! { "n": 77 })]);
    // More than one apply looks at, harmless: the leader looks again, and the commit goes through.
    let many = |db: &Db| {
        let documents: Vec<_> = (100..700).map(|id| doc! { "_id": id, "n": 0 }).collect();
        db.insert("a", &documents).unwrap();
    };
    assert_eq!(commit_around(&db, transaction(), many), Ok(OpReply::Done));
    // The leader finds the harm behind them.
    let harm = |db: &Db| {
        let documents: Vec<_> = (1000..1600).map(|id| doc! { "_id": id, "n": 0 }).collect();
        db.insert("a", &documents).unwrap();
        change(db, 1, 77);
    };
    let refused = commit_around(&db, transaction(), harm).unwrap_err();
    assert_eq!(refused.code, ErrorCode::TransactionConflict);
}

#[test]
fn commands_of_one_entry_see_each_other() {
    let db = two_collections();
    let transaction = depending(vec![query(&db, doc! { "n": 5 })]);
    let command = |op: Op| {
        let mut plan = WritePlan::new(harness::ENV, op, None).unwrap();
        match db.propose(&mut plan).unwrap() {
            Step::Propose(command) => command,
            Step::Done(_) => panic!("done"),
        }
    };
    let commands = [
        command(insert("a", &[doc! { "_id": 2, "n": 5 }])),
        command(checked(transaction)),
    ];
    let replies = db.apply(&commands);
    let refused = yunbase_docdb::command::decode_reply(&replies[1]).unwrap_err();
    assert_eq!(refused.code, ErrorCode::TransactionConflict);
}

#[test]
fn what_is_no_longer_in_the_log_is_a_conflict() {
    let retention = Retention {
        bytes_max: 2000,
        age_ms_max: i64::MAX,
        segment_bytes: 500,
    };
    let db = harness::open(Box::new(MemoryStore::new()), Options { retention });
    db.create("a");
    db.create("b");
    let transaction = depending(vec![query(&db, doc! { "n": 5 })]);
    for id in 0..40 {
        db.insert("b", &[doc! { "_id": id + 10, "s": "x".repeat(100) }])
            .unwrap();
    }
    let refused = db.write(checked(transaction)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::TransactionConflict);
}

/// Its own writes do not stand in the way of a retry.
#[test]
fn a_commit_that_is_tried_again_has_its_first_outcome() {
    let db = two_collections();
    let mut transaction = depending(vec![query(&db, doc! { "n": { "$gt": 0 } })]);
    transaction.transaction.writes = vec![written("a", 2, Some(doc! { "_id": 2, "n": 2 }))];
    let name = SessionSequence {
        session: db.open_session(),
        sequence: 1,
    };
    for _ in 0..3 {
        let op = checked(transaction.clone());
        assert_eq!(db.write_in(harness::ENV, op, Some(name)), Ok(OpReply::Done));
    }
    assert_eq!(db.count("a", doc! {}), 2);
    let anew = db.write(checked(transaction)).unwrap_err();
    assert_eq!(anew.code, ErrorCode::TransactionConflict);
}

#[test]
fn rules_that_are_in_force_and_documents_that_are_there_are_conditions() {
    let db = two_collections();
    let with = |version: Option<u64>, required: Option<(i32, Document)>| {
        let access = version.map(|version| AccessVersion {
            collection: "a".into(),
            version,
        });
        let required = required.map(|(id, filter)| RequiredDocument {
            collection: "a".into(),
            id: raw(&doc! { "": id }),
            filter: raw(&filter),
        });
        let transaction = CheckedTransaction {
            access: access.into_iter().collect(),
            required: required.into_iter().collect(),
            ..depending(vec![])
        };
        db.write(checked(transaction)).map_err(|error| error.code)
    };
    let lost = Err(ErrorCode::TransactionConflict);
    let version = db.database.access(harness::ENV, "a").unwrap().version;
    assert_eq!(with(Some(version + 1), None), lost);
    assert_eq!(with(None, Some((1, doc! { "n": 2 }))), lost);
    assert_eq!(with(None, Some((2, doc! {}))), lost);
    assert_eq!(db.count("b", doc! {}), 0);
    assert_eq!(
        with(Some(version), Some((1, doc! { "n": 1 }))),
        Ok(OpReply::Done)
    );
    db.write(Op::SetAccess {
        collection: "a".into(),
        access: raw(&doc! { "mode": "READONLY" }),
    })
    .unwrap();
    assert_eq!(with(Some(version), None), lost);
}

#[test]
fn too_many_queries_are_refused() {
    let db = two_collections();
    let many = (0..300).map(|n| query(&db, doc! { "n": n })).collect();
    let refused = db.write(checked(depending(many))).unwrap_err();
    assert_eq!(refused.code, ErrorCode::ExceedSize);
    let nonsense = ReadQuery {
        filter: raw(&doc! { "$nonsense": 1 }),
        ..query(&db, doc! {})
    };
    assert!(db.write(checked(depending(vec![nonsense]))).is_err());
}
