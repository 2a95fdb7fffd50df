//! Sparse, partial and time-to-live indexes: what is in them, what they enforce, when a query may use them.

use bson::{Bson, DateTime, Document, doc};
use yunbase_docdb::change_log::ChangeKind;
use yunbase_docdb::limits::STEP_DOCUMENTS_MAX;
use yunbase_docdb::op::{FindOp, IndexOptions, Op, OpReply};
use yunbase_docdb::{ErrorCode, Position, Result};

use super::generate::Generator;
use super::harness::{Db, START_MS, find, index_spec, memory, raw, rocks, update};

fn create(
    db: &Db,
    fields: &[(&str, bool)],
    unique: bool,
    options: IndexOptions,
) -> Result<OpReply> {
    db.write(Op::CreateIndexWith {
        collection: "c".into(),
        index: index_spec(fields, unique),
        options,
    })
}

fn sparse() -> IndexOptions {
    IndexOptions {
        sparse: true,
        ..IndexOptions::default()
    }
}

fn partial(filter: Document) -> IndexOptions {
    IndexOptions {
        partial: raw(&filter),
        ..IndexOptions::default()
    }
}

fn ttl(seconds: u32) -> IndexOptions {
    IndexOptions {
        expire_after_seconds: Some(seconds),
        ..IndexOptions::default()
    }
}

fn stage(db: &Db, filter: Document) -> String {
    let plan = db.explain(find(
        "c",
        FindOp {
            filter: raw(&filter),
            ..FindOp::default()
        },
    ));
    plan.get_str("stage").unwrap().to_owned()
}

#[test]
fn a_sparse_index_leaves_out_documents_without_its_fields() {
    let db = memory();
    db.create("c");
    create(&db, &[("k", false)], true, sparse()).unwrap();
    db.insert("c", &[doc! { "_id": 1 }, doc! { "_id": 2 }])
        .unwrap();
    db.insert("c", &[doc! { "_id": 3, "k": "a" }]).unwrap();
    let twice = db.insert("c", &[doc! { "_id": 4, "k": "a" }]).unwrap_err();
    assert_eq!(twice.code, ErrorCode::DuplicateWrite);
    assert_eq!(stage(&db, doc! { "k": "a" }), "index scan");
    assert_eq!(stage(&db, doc! { "k": Bson::Null }), "collection scan");
    assert_eq!(db.find("c", doc! { "k": Bson::Null }).len(), 2);
    assert_eq!(db.count("c", doc! { "k": "a" }), 1);
    db.update(
        "c",
        update(doc! { "_id": 3 }, doc! { "$unset": { "k": "" } }),
    )
    .unwrap();
    db.insert("c", &[doc! { "_id": 4, "k": "a" }]).unwrap();
    // The order of a sparse index is no order of the collection.
    let sorted = FindOp {
        sort: raw(&doc! { "k": 1 }),
        limit: Some(2),
        ..FindOp::default()
    };
    assert_eq!(db.find_op("c", sorted).unwrap().0.len(), 2);
}

#[test]
fn a_partial_index_enforces_and_serves_its_part_only() {
    let db = memory();
    db.create("c");
    let open = || doc! { "state": "open" };
    db.insert(
        "c",
        &[
            doc! { "_id": 1, "k": 1, "state": "shut" },
            doc! { "_id": 2, "k": 1, "state": "shut" },
        ],
    )
    .unwrap();
    create(&db, &[("k", false)], true, partial(open())).unwrap();
    db.insert("c", &[doc! { "_id": 3, "k": 1, "state": "open" }])
        .unwrap();
    let second = db.update(
        "c",
        update(doc! { "_id": 1 }, doc! { "$set": { "state": "open" } }),
    );
    assert_eq!(second.unwrap_err().code, ErrorCode::DuplicateWrite);
    assert_eq!(stage(&db, doc! { "k": 1 }), "collection scan");
    assert_eq!(db.count("c", doc! { "k": 1 }), 3);
    assert_eq!(stage(&db, doc! { "k": 1, "state": "open" }), "index scan");
    assert_eq!(db.count("c", doc! { "k": 1, "state": "open" }), 1);
    db.update(
        "c",
        update(doc! { "_id": 3 }, doc! { "$set": { "state": "shut" } }),
    )
    .unwrap();
    assert_eq!(db.count("c", doc! { "k": 1, "state": "open" }), 0);
    db.update(
        "c",
        update(doc! { "_id": 1 }, doc! { "$set": { "state": "open" } }),
    )
    .unwrap();
    assert_eq!(db.find("c", doc! { "k": 1, "state": "open" }).len(), 1);
}

#[test]
fn definitions_with_options_are_checked_and_shown() {
    let db = memory();
    db.create("c");
    let code = |result: Result<OpReply>| result.unwrap_err().code;
    let both = IndexOptions {
        sparse: true,
        ..partial(doc! { "a": 1 })
    };
    assert_eq!(
        code(create(&db, &[("a", false)], false, both)),
        ErrorCode::InvalidParam
    );
    assert_eq!(
        code(create(
            &db,
            &[("a", false)],
            false,
            partial(doc! { "a": { "$ne": 1 } })
        )),
        ErrorCode::InvalidOperator
    );
    assert_eq!(
        code(create(&db, &[("a", false), ("b", false)], false, ttl(1))),
        ErrorCode::InvalidParam
    );
    assert_eq!(
        code(create(&db, &[("_id", false)], false, ttl(1))),
        ErrorCode::InvalidParam
    );
    create(&db, &[("a", false)], false, ttl(5)).unwrap();
    create(&db, &[("a", false)], false, ttl(5)).unwrap();
    assert_eq!(
        code(create(&db, &[("a", false)], false, ttl(6))),
        ErrorCode::IndexConflict
    );
    let OpReply::Described { documents } = db
        .read(&Op::ListIndexes {
            collection: "c".into(),
        })
        .unwrap()
    else {
        panic!()
    };
    assert_eq!(
        Document::try_from(&*documents[0])
            .unwrap()
            .get_i64("expireAfterSeconds")
            .unwrap(),
        5
    );
}

/// The same documents, with and without such indexes, must answer every query the same.
#[test]
fn indexes_of_a_part_give_the_result_of_a_scan() {
    for seed in 0..30 {
        let mut generator = Generator::new(seed);
        let (plain, indexed) = (memory(), memory());
        plain.create("c");
        indexed.create("c");
        let parts = [
            doc! { "a": { "$gt": 2 } },
            doc! { "b": { "$exists": true } },
            doc! { "$or": [{ "a": { "$lte": 3 } }, { "e": { "$type": "string" } }] },
        ];
        for number in 0..5 {
            let (fields, _) = generator.index();
            let options = match parts.get(number) {
                Some(part) => partial(part.clone()),
                None => sparse(),
            };
            // The same fields drawn twice: the second is another definition of the first.
            drop(create(&indexed, &fields, false, options));
        }
        for _ in 0..150 {
            let document = generator.document();
            if indexed.insert("c", std::slice::from_ref(&document)).is_ok() {
                plain.insert("c", &[document]).unwrap();
            }
        }
        for _ in 0..150 {
            let filter = generator.filter();
            let ids = |db: &Db| {
                let mut ids: Vec<_> = db
                    .find("c", filter.clone())
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                ids.sort();
                ids
            };
            assert_eq!(ids(&indexed), ids(&plain), "seed {seed}, filter {filter}");
            assert_eq!(
                indexed.count("c", filter.clone()),
                plain.count("c", filter.clone()),
                "seed {seed}, filter {filter}"
            );
        }
    }
}

fn date(ms: i64) -> Bson {
    Bson::DateTime(DateTime::from_millis(ms))
}

/// Takes steps until nothing is left to expire; returns how many steps there were.
fn expire(db: &Db) -> usize {
    let mut steps = 0;
    loop {
        let commands = db.database.pending_expirations(db.now(), steps).unwrap();
        if commands.is_empty() {
            return steps;
        }
        steps += commands.len();
        db.apply(&commands);
    }
}

#[test]
fn documents_expire_when_their_time_has_come_and_not_before() {
    for descending in [false, true] {
        let db = memory();
        db.create("c");
        create(&db, &[("at", descending)], false, ttl(60)).unwrap();
        db.insert(
            "c",
            &[
                doc! { "_id": "past", "at": date(START_MS - 60_000) },
                doc! { "_id": "soon", "at": date(START_MS - 59_999) },
                doc! { "_id": "old", "at": date(-5) },
                doc! { "_id": "number", "at": 5 },
                doc! { "_id": "none" },
                doc! { "_id": "several", "at": [date(START_MS), date(START_MS - 99_000)] },
            ],
        )
        .unwrap();
        let before = db.database.last_change().unwrap();
        assert_eq!(expire(&db), 1);
        let left: Vec<_> = db
            .find("c", doc! {})
            .iter()
            .map(|d| d.get_str("_id").unwrap().to_owned())
            .collect();
        assert_eq!(left, ["none", "number", "soon"]);
        let changes = db.database.changes(before, 10, usize::MAX).unwrap().changes;
        assert!(
            changes
                .iter()
                .all(|(_, change)| change.kind == ChangeKind::Remove && change.before.is_some())
        );
        assert_eq!(changes.len(), 3);
        assert_eq!(db.database.applied_effects().expired_documents, 3);
        db.advance_ms(1);
        assert_eq!(expire(&db), 1);
        assert_eq!(db.count("c", doc! {}), 2);
    }
}

#[test]
fn a_document_whose_date_moved_after_the_look_stays() {
    let db = memory();
    db.create("c");
    create(&db, &[("at", false)], false, ttl(0)).unwrap();
    db.insert(
        "c",
        &[
            doc! { "_id": 1, "at": date(0) },
            doc! { "_id": 2, "at": date(0) },
        ],
    )
    .unwrap();
    let commands = db.database.pending_expirations(db.now(), 0).unwrap();
    db.update(
        "c",
        update(
            doc! { "_id": 1 },
            doc! { "$set": { "at": date(START_MS + 1) } },
        ),
    )
    .unwrap();
    db.apply(&commands);
    db.apply(&commands);
    assert_eq!(db.find("c", doc! {}).len(), 1);
    db.write(Op::DropIndex {
        collection: "c".into(),
        name: "at_1".into(),
    })
    .unwrap();
    db.advance_ms(10);
    db.apply(&commands);
    assert_eq!(db.find("c", doc! {}).len(), 1);
}

#[test]
fn a_backlog_expires_in_bounded_steps_and_all_stores_agree() {
    let folder = tempfile::tempdir().unwrap();
    let (db, other) = (memory(), rocks(folder.path()));
    let mut log = Vec::new();
    let count = 2 * STEP_DOCUMENTS_MAX + 10;
    for db in [&db, &other] {
        db.create("c");
        create(
            db,
            &[("at", false)],
            false,
            IndexOptions {
                partial: raw(&doc! { "keep": false }),
                ..ttl(1)
            },
        )
        .unwrap();
        for part in (0..count as i32).collect::<Vec<_>>().chunks(500) {
            let documents: Vec<_> = part
                .iter()
                .map(|i| doc! { "_id": i, "at": date(i64::from(*i)), "keep": i % 10 == 0 })
                .collect();
            db.insert("c", &documents).unwrap();
        }
    }
    loop {
        let commands = db.database.pending_expirations(db.now(), 0).unwrap();
        let Some(command) = commands.into_iter().next() else {
            break;
        };
        db.apply(std::slice::from_ref(&command));
        log.push(command);
    }
    assert_eq!(log.len(), 2);
    assert_eq!(db.count("c", doc! {}), count as u64 / 10);
    for command in &log {
        other.apply(std::slice::from_ref(command));
    }
    assert_eq!(
        db.database.digest().unwrap(),
        other.database.digest().unwrap()
    );
    let changes = db
        .database
        .changes(Position::default(), 5, usize::MAX)
        .unwrap();
    assert!(changes.has_more);
}
