//! Access documents and guards, as the database sees them.

use bson::{Document, doc};
use yunbase_docdb::op::{Op, OpReply, UpdateOp};
use yunbase_docdb::{ErrorCode, Guard, Options, Result, SessionSequence};

use super::harness::*;

fn guarded(op: Op, guard: Guard) -> Op {
    Op::Guarded {
        op: Box::new(op),
        guard: Box::new(guard),
    }
}

fn version(db: &Db) -> u64 {
    db.database.access(ENV, "c").unwrap().version
}

fn set_access(db: &Db, access: &Document) -> Result<OpReply> {
    db.write(Op::SetAccess {
        collection: "c".into(),
        access: raw(access),
    })
}

fn many(filter: Document, change: Document) -> Op {
    Op::Update {
        collection: "c".into(),
        update: UpdateOp {
            multi: true,
            ..update(filter, change)
        },
    }
}

fn refused(result: Result<OpReply>) -> ErrorCode {
    result.expect_err("refused").code
}

#[test]
fn each_setting_has_a_version_of_its_own_and_survives() {
    let folder = tempfile::tempdir().unwrap();
    let access = doc! { "mode": "READONLY" };
    let (unset, set) = {
        let db = rocks(folder.path());
        db.create("c");
        db.create("other");
        let unset = version(&db);
        assert_ne!(unset, db.database.access(ENV, "other").unwrap().version);
        set_access(&db, &access).unwrap();
        let first = version(&db);
        set_access(&db, &access).unwrap();
        db.index("c", &[("a", false)], false).unwrap();
        db.finish_builds();
        db.insert("c", &[doc! { "_id": 1, "a": [1] }]).unwrap();
        db.database.flush().unwrap();
        assert!(unset < first && first < version(&db));
        (unset, version(&db))
    };
    let db = rocks(folder.path());
    let read = db.database.access(ENV, "c").unwrap();
    assert_eq!((read.version, &*read.document), (set, &raw(&access)));
    let OpReply::Described { documents } = db.read(&Op::ListCollections).unwrap() else {
        panic!("described");
    };
    let listed: Vec<Document> = documents
        .iter()
        .map(|document| Document::try_from(&**document).unwrap())
        .collect();
    assert_eq!(listed[0].get_document("access").ok(), Some(&access));
    assert!(!listed[1].contains_key("access"));
    db.write(Op::DropCollection {
        collection: "c".into(),
    })
    .unwrap();
    db.create("c");
    assert!(version(&db) > set && set > unset);
    let large = doc! { "rule": "x".repeat(64 * 1024) };
    assert_eq!(refused(set_access(&db, &large)), ErrorCode::ExceedSize);
}

#[test]
fn a_guard_of_another_version_does_nothing_and_is_forgotten() {
    let db = memory();
    db.create("c");
    db.insert("c", &[doc! { "_id": 1 }, doc! { "_id": 2 }])
        .unwrap();
    let old = Guard {
        access_version: version(&db),
        ..Guard::default()
    };
    set_access(&db, &doc! { "mode": "READONLY" }).unwrap();
    let new = Guard {
        access_version: version(&db),
        ..Guard::default()
    };
    let name = Some(SessionSequence {
        session: db.open_session(),
        sequence: 1,
    });
    let op = many(doc! {}, doc! { "$inc": { "n": 1 } });
    let stale = db.write_in(ENV, guarded(op.clone(), old), name);
    assert_eq!(refused(stale), ErrorCode::AccessChanged);
    // The name is still free: the same request, compiled again, takes effect, and once.
    for _ in 0..2 {
        let reply = db
            .write_in(ENV, guarded(op.clone(), new.clone()), name)
            .unwrap();
        assert!(matches!(reply, OpReply::Updated { modified: 2, .. }));
    }
    assert_eq!(
        db.find("c", doc! {}),
        [doc! { "_id": 1, "n": 1 }, doc! { "_id": 2, "n": 1 }]
    );
}

/// Rules that change between two steps of a long write: the rest is held to the new ones, and nothing is done twice.
#[test]
fn a_long_write_goes_on_under_new_rules_where_it_was() {
    use yunbase_docdb::{Step, WritePlan};
    let db = memory();
    db.create("c");
    let documents: Vec<_> = (0..900).map(|id| doc! { "_id": id, "n": 0 }).collect();
    db.insert("c", &documents).unwrap();
    let name = Some(SessionSequence {
        session: db.open_session(),
        sequence: 1,
    });
    let op = many(doc! {}, doc! { "$inc": { "n": 1 } });
    let guard = |visible: Document| Guard {
        access_version: version(&db),
        visible: raw(&visible),
        ..Guard::default()
    };
    let mut plan = WritePlan::new(ENV, guarded(op.clone(), guard(doc! {})), name).unwrap();
    let Step::Propose(first) = db.propose(&mut plan).unwrap() else {
        panic!("a step");
    };
    plan.feed(&db.apply(&[first])[0]).unwrap();
    set_access(&db, &doc! { "mode": "READONLY" }).unwrap();
    let Step::Propose(second) = db.propose(&mut plan).unwrap() else {
        panic!("a step");
    };
    let error = plan.feed(&db.apply(&[second])[0]).unwrap_err();
    assert_eq!(error.code, ErrorCode::AccessChanged);
    let visible = guard(doc! { "_id": { "$lt": 700 } });
    let reply = db.write_in(ENV, guarded(op, visible), name).unwrap();
    assert!(
        matches!(reply, OpReply::Updated { matched: 700, .. }),
        "{reply:?}"
    );
    assert_eq!(db.count("c", doc! { "n": 1 }), 700);
    assert_eq!(db.count("c", doc! { "n": 0 }), 200);
}

#[test]
fn what_is_not_visible_is_not_there_and_indexes_serve_the_rest() {
    let db = memory();
    db.create("c");
    let documents: Vec<_> = (0..100)
        .map(|id| doc! { "_id": id, "o": if id % 10 == 0 { "me" } else { "you" } })
        .collect();
    db.insert("c", &documents).unwrap();
    db.index("c", &[("o", false)], false).unwrap();
    db.finish_builds();
    let guard = Guard {
        access_version: version(&db),
        visible: raw(&doc! { "o": "me" }),
        ..Guard::default()
    };
    let count = |filter: Document| {
        let op = Op::Count {
            collection: "c".into(),
            filter: raw(&filter),
        };
        match db.read(&guarded(op, guard.clone())).unwrap() {
            OpReply::Counted { count } => count,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(count(doc! {}), 10);
    assert_eq!(count(doc! { "_id": { "$lt": 50 } }), 5);
    assert_eq!(count(doc! { "_id": 1 }), 0);
    for (id, seen) in [(10, 1), (11, 0)] {
        let op = find("c", op_find(doc! { "_id": id }));
        match db.read(&guarded(op, guard.clone())).unwrap() {
            OpReply::Found { documents, .. } => assert_eq!(documents.len(), seen),
            other => panic!("{other:?}"),
        }
    }
    let plan = db.explain(Op::Count {
        collection: "c".into(),
        filter: raw(&doc! { "$and": [{ "o": "me" }, { "a": { "$exists": false } }] }),
    });
    assert_eq!(plan.get_str("stage").ok(), Some("index scan"));
    let reply = db.write(guarded(
        many(doc! {}, doc! { "$set": { "a": 1 } }),
        guard.clone(),
    ));
    assert!(matches!(reply, Ok(OpReply::Updated { matched: 10, .. })));
    let remove = Op::Remove {
        collection: "c".into(),
        filter: raw(&doc! {}),
        multi: true,
    };
    let reply = db.write(guarded(remove, guard));
    assert_eq!(reply, Ok(OpReply::Removed { removed: 10 }));
    assert_eq!(db.count("c", doc! {}), 90);
}

fn op_find(filter: Document) -> yunbase_docdb::op::FindOp {
    yunbase_docdb::op::FindOp {
        filter: raw(&filter),
        ..Default::default()
    }
}

#[test]
fn a_command_that_breaks_its_guard_writes_nothing() {
    let db = open(
        Box::new(yunbase_docdb::memory::MemoryStore::new()),
        Options::default(),
    );
    db.create("c");
    db.insert("c", &[doc! { "_id": 1, "n": 1 }, doc! { "_id": 2, "n": 2 }])
        .unwrap();
    let before = db.find("c", doc! {});
    let guard = |change: fn(&mut Guard)| {
        let mut guard = Guard {
            access_version: version(&db),
            ..Guard::default()
        };
        change(&mut guard);
        guard
    };
    let touch = || many(doc! {}, doc! { "$inc": { "n": 1 } });
    let one = |filter| Op::Update {
        collection: "c".into(),
        update: update(filter, doc! { "$inc": { "n": 1 } }),
    };
    for op in [
        guarded(
            touch(),
            guard(|g| g.after = raw(&doc! { "n": { "$lt": 3 } })),
        ),
        guarded(touch(), guard(|g| g.before = raw(&doc! { "n": 1 }))),
        guarded(
            one(doc! { "_id": 2 }),
            guard(|g| g.before = raw(&doc! { "n": 1 })),
        ),
        guarded(
            find("c", op_find(doc! {})),
            guard(|g| g.before = raw(&doc! { "n": 1 })),
        ),
        guarded(
            find("c", op_find(doc! { "_id": 2 })),
            guard(|g| g.before = raw(&doc! { "n": 1 })),
        ),
        guarded(
            insert("c", &[doc! { "_id": 3, "n": 1 }, doc! { "_id": 4, "n": 2 }]),
            guard(|g| g.inserted = raw(&doc! { "n": 1 })),
        ),
        guarded(
            insert("c", &[doc! { "_id": 3, "o": "you" }]),
            guard(|g| g.stamp = raw(&doc! { "o": "me" })),
        ),
    ] {
        let name = format!("{op:?}");
        let result = if op.is_read() {
            db.read(&op)
        } else {
            db.write(op)
        };
        assert_eq!(refused(result), ErrorCode::PermissionDenied, "{name}");
        assert_eq!(db.find("c", doc! {}), before, "{name}");
    }
    let upsert = Op::Update {
        collection: "c".into(),
        update: UpdateOp {
            replace: true,
            upsert: true,
            ..update(doc! { "_id": 9 }, doc! { "n": 1 })
        },
    };
    let stamped = guard(|g| {
        g.visible = raw(&doc! { "x": 1 });
        g.stamp = raw(&doc! { "o": "me" });
        g.inserted = raw(&doc! { "o": "me" });
    });
    db.write(guarded(upsert, stamped)).unwrap();
    assert_eq!(
        db.find("c", doc! { "_id": 9 }),
        [doc! { "_id": 9, "n": 1, "o": "me" }]
    );
}
