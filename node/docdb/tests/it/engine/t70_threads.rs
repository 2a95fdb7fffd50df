//! Reading, applying, flushing and restoring at the same time.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use bson::doc;
use tempfile::tempdir;
use yunbase_docdb::op::{FindOp, Op};

use super::harness::{Db, memory, raw, rocks};

/// Readers must see all documents inserted before they began, while the index that serves them comes
/// and goes and the store is flushed.
fn read_beside_writes(db: &Db) {
    db.create("c");
    let (inserted, is_over) = (AtomicI32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    let before = inserted.load(Ordering::Acquire);
                    let found = db.find("c", doc! { "even": true, "n": { "$gte": 0 } });
                    let counted = db.count("c", doc! { "even": true });
                    assert!(
                        found.len() as i32 >= before.min(1000),
                        "{} < {before}",
                        found.len()
                    );
                    assert!(counted as i32 >= before);
                    assert!(
                        found
                            .iter()
                            .all(|document| document.get_bool("even").unwrap())
                    );
                }
            });
        }
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                db.database.flush().unwrap();
                db.database.stats().unwrap();
                db.database
                    .changes(db.database.last_change().unwrap(), 10, 1000)
                    .unwrap();
            }
        });
        for number in 0..150 {
            if number % 3 == 0 {
                db.index("c", &[("even", false)], false).unwrap();
            }
            let documents = [
                doc! { "_id": 2 * number, "even": true, "n": number },
                doc! { "_id": 2 * number + 1, "even": false, "n": number },
            ];
            db.insert("c", &documents).unwrap();
            inserted.fetch_add(1, Ordering::Release);
            if number % 3 == 2 {
                db.write(Op::DropIndex {
                    collection: "c".into(),
                    name: "even_1".into(),
                })
                .unwrap();
            }
        }
        is_over.store(true, Ordering::Release);
    });
}

#[test]
fn readers_see_what_was_written_before_on_disk() {
    let folder = tempdir().unwrap();
    read_beside_writes(&rocks(folder.path()));
}

#[test]
fn readers_see_what_was_written_before_in_memory() {
    read_beside_writes(&memory());
}

/// Each read sees the state before or after a restore, never parts of both.
#[test]
fn readers_see_one_state_while_others_are_restored() {
    let folder = tempdir().unwrap();
    let (source, target) = (
        rocks(&folder.path().join("a")),
        rocks(&folder.path().join("b")),
    );
    source.create("c");
    target.create("c");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    let find = FindOp {
                        filter: raw(&doc! { "g": { "$gte": 0 } }),
                        ..FindOp::default()
                    };
                    let (found, _) = target.find_op("c", find).unwrap();
                    let generation = found.first().map(|document| document.get_i32("g").unwrap());
                    assert!(
                        found
                            .iter()
                            .all(|document| document.get_i32("g").ok() == generation)
                    );
                    assert!(found.is_empty() || found.len() == 20, "{}", found.len());
                }
            });
        }
        for generation in 0..8 {
            source.remove("c", doc! {}, true);
            let documents: Vec<_> = (0..20)
                .map(|i| doc! { "_id": i, "g": generation })
                .collect();
            source.insert("c", &documents).unwrap();
            let copy = folder.path().join(format!("copy-{generation}"));
            fs::create_dir(&copy).unwrap();
            source.database.checkpoint(&copy).unwrap();
            target.database.restore(&copy).unwrap();
        }
        is_over.store(true, Ordering::Release);
    });
    assert_eq!(
        target.database.digest().unwrap(),
        source.database.digest().unwrap()
    );
}
