//! The change log: every change in order with its images, readable from a position, bounded.

use bson::{Document, doc};
use yunbase_docdb::change_log::{ChangeKind, ChangesError, Retention};
use yunbase_docdb::memory::MemoryStore;
use yunbase_docdb::op::{FindOp, Op, OpReply, UpdateOp};
use yunbase_docdb::{Budget, Options, Position};

use super::harness::{self, Db, memory, raw, update};

const EVERYTHING: (usize, usize) = (usize::MAX, usize::MAX);

fn kinds(db: &Db, after: Position) -> Vec<ChangeKind> {
    let read = db
        .database
        .changes(after, EVERYTHING.0, EVERYTHING.1)
        .unwrap();
    assert!(read.changes.is_sorted_by(|(a, _), (b, _)| a < b));
    read.changes
        .into_iter()
        .map(|(_, change)| change.kind)
        .collect()
}

#[test]
fn every_change_is_logged_in_order_with_both_images() {
    let db = memory();
    db.create("c");
    db.insert("c", &[doc! { "_id": 1, "n": 1 }, doc! { "_id": 2, "n": 1 }])
        .unwrap();
    let middle = db.database.last_change().unwrap();
    db.update(
        "c",
        UpdateOp {
            multi: true,
            ..update(doc! { "n": 1 }, doc! { "$inc": { "n": 1 } })
        },
    )
    .unwrap();
    db.update("c", update(doc! { "_id": 1 }, doc! { "$set": { "n": 2 } }))
        .unwrap();
    db.update(
        "c",
        UpdateOp {
            replace: true,
            ..update(doc! { "_id": 1 }, doc! { "m": 1 })
        },
    )
    .unwrap();
    db.remove("c", doc! { "_id": 2 }, false);
    db.insert("c", &[doc! { "_id": 3 }, doc! { "_id": 1 }])
        .unwrap_err();
    db.write(Op::DropCollection {
        collection: "c".into(),
    })
    .unwrap();
    use ChangeKind as K;
    let all = [
        K::CreateCollection,
        K::Insert,
        K::Insert,
        K::Update,
        K::Update,
        K::Replace,
        K::Remove,
        K::DropCollection,
    ];
    assert_eq!(kinds(&db, Position::default()), all);
    assert_eq!(kinds(&db, middle), all[3..]);
    let read = db.database.changes(middle, 1, 1).unwrap();
    assert!(read.has_more);
    let (position, change) = &read.changes[0];
    assert_eq!(*position, read.next);
    assert_eq!(change.before, Some(raw(&doc! { "_id": 1, "n": 1 })));
    assert_eq!(change.after, Some(raw(&doc! { "_id": 1, "n": 2 })));
    assert_eq!(change.id(), Some(bson::RawBsonRef::Int32(1)));
    assert_eq!(
        (
            change.env.as_str(),
            change.collection.as_str(),
            change.now_ms
        ),
        ("env-1", "c", db.now())
    );
    assert_eq!(
        db.database
            .changes(read.next, EVERYTHING.0, EVERYTHING.1)
            .unwrap()
            .changes
            .len(),
        4
    );
}

#[test]
fn one_entry_numbers_the_changes_of_all_its_commands_even_when_applied_in_parts() {
    let db = memory();
    db.create("c");
    let after = db.database.last_change().unwrap();
    let commands: Vec<_> = (0..3)
        .map(|i| {
            let op = harness::insert("c", &[doc! { "_id": i }, doc! { "_id": i + 10 }]);
            let mut plan = yunbase_docdb::WritePlan::new("env-1", op, None).unwrap();
            let yunbase_docdb::Step::Propose(command) = db.propose(&mut plan).unwrap() else {
                panic!()
            };
            command
        })
        .collect();
    for (position, payload) in commands.iter().enumerate() {
        let entry = yunbase_docdb::Entry {
            log_index: 9,
            position: position as u32,
            payload,
        };
        db.database.apply(&[entry], b"p").unwrap();
    }
    let changes = db
        .database
        .changes(after, EVERYTHING.0, EVERYTHING.1)
        .unwrap()
        .changes;
    let positions: Vec<_> = changes
        .iter()
        .map(|(position, _)| (position.log_index, position.op))
        .collect();
    assert_eq!(positions, [(9, 0), (9, 1), (9, 2), (9, 3), (9, 4), (9, 5)]);
}

fn bounded(bytes_max: u64, age_ms_max: i64) -> Db {
    let retention = Retention {
        bytes_max,
        age_ms_max,
        segment_bytes: 1000,
    };
    let db = harness::open(Box::new(MemoryStore::new()), Options { retention });
    db.create("c");
    db
}

fn fill(db: &Db, ids: std::ops::Range<i32>) {
    for id in ids {
        db.insert("c", &[doc! { "_id": id, "text": "x".repeat(100) }])
            .unwrap();
    }
}

#[test]
fn old_changes_are_trimmed_by_bytes_and_a_late_reader_is_told() {
    let db = bounded(5000, i64::MAX);
    fill(&db, 0..200);
    let stats = db.database.stats().unwrap();
    assert!((2000..=7000).contains(&stats.change_log_bytes), "{stats:?}");
    let oldest = match db.database.changes(Position::default(), 10, 10_000) {
        Err(ChangesError::TooOld { oldest }) => oldest,
        other => panic!("{other:?}"),
    };
    let kept = db
        .database
        .changes(oldest, EVERYTHING.0, EVERYTHING.1)
        .unwrap();
    let newest: Vec<_> = kept
        .changes
        .iter()
        .map(|(_, change)| image(change.after.as_ref()))
        .collect();
    assert_eq!(newest.last().unwrap().get_i32("_id").unwrap(), 199);
    assert_eq!(newest[0].get_i32("_id").unwrap(), 200 - newest.len() as i32);
}

fn image(document: Option<&bson::RawDocumentBuf>) -> Document {
    Document::try_from(&**document.unwrap()).unwrap()
}

#[test]
fn old_changes_are_trimmed_by_age_at_the_next_write() {
    let db = bounded(u64::MAX, 1000);
    fill(&db, 0..50);
    assert_eq!(kinds(&db, Position::default()).len(), 51);
    let newest = db.database.last_change().unwrap();
    db.advance_ms(2000);
    fill(&db, 50..80);
    assert!(matches!(
        db.database.changes(Position::default(), 1, 1),
        Err(ChangesError::TooOld { .. })
    ));
    assert_eq!(kinds(&db, newest).len(), 30);
}

#[test]
fn a_read_with_its_position_and_the_changes_behind_it_make_the_whole() {
    let db = memory();
    db.create("c");
    db.insert("c", &[doc! { "_id": 1 }]).unwrap();
    let op = harness::find("c", FindOp::default());
    let budget = Budget::new(&|| false);
    let read = || {
        let read = db
            .database
            .read_with_position(harness::ENV, &op, &budget, db.now());
        let (OpReply::Found { documents, .. }, position) = read.unwrap() else {
            panic!("another reply");
        };
        (documents.len(), position)
    };
    let (count, position) = read();
    assert_eq!((count, position), (1, db.database.last_change().unwrap()));
    db.insert("c", &[doc! { "_id": 2 }]).unwrap();
    assert_eq!(kinds(&db, position), [ChangeKind::Insert]);
    assert!(kinds(&db, read().1).is_empty());
}
