//! Durability and copies: crashes without a flush, checkpoints beside writes, restores, leftovers.

use std::fs;
use std::path::Path;

use bson::doc;
use tempfile::tempdir;
use yunbase_docdb::kv::{Family, Store, WriteBatch};
use yunbase_docdb::memory::MemoryStore;
use yunbase_docdb::rocks::RocksStore;
use yunbase_docdb::rocks_options::RocksShared;
use yunbase_docdb::{Database, Options};

use super::harness::{self, Db, crash_image, memory, rocks, shared};

fn fill(db: &Db, from: i32, to: i32) {
    for id in from..to {
        db.insert("c", &[doc! { "_id": id, "n": id, "text": "x".repeat(50) }])
            .unwrap();
    }
}

fn prepared(db: Db) -> Db {
    db.create("c");
    db.index("c", &[("n", false)], false).unwrap();
    db
}

/// Documents, index, counts and changes all stem from the entries up to the progress.
fn assert_consistent(db: &Db) -> u64 {
    let log_index = db.log_index.load(std::sync::atomic::Ordering::Relaxed);
    let expected = log_index.saturating_sub(2);
    assert_eq!(db.count("c", doc! {}), expected);
    assert_eq!(
        db.find("c", doc! { "n": { "$gte": 0 } }).len() as u64,
        expected
    );
    assert_eq!(
        db.count("c", doc! { "text": { "$exists": true } }),
        expected
    );
    assert_eq!(
        db.database.last_change().unwrap().log_index,
        if expected == 0 { 1 } else { log_index }
    );
    log_index
}

#[test]
fn a_crash_leaves_an_earlier_state_and_after_a_flush_exactly_that_one() {
    let folder = tempdir().unwrap();
    let (live, crashed) = (folder.path().join("live"), folder.path().join("crashed"));
    let db = prepared(rocks(&live));
    fill(&db, 0, 100);
    db.database.flush().unwrap();
    crash_image(&live, &crashed);
    assert_eq!(assert_consistent(&rocks(&crashed)), 102);
    fs::remove_dir_all(&crashed).unwrap();
    fill(&db, 100, 250);
    crash_image(&live, &crashed);
    let reopened = rocks(&crashed);
    assert!((102..=252).contains(&assert_consistent(&reopened)));
    // Replaying from there gives the live state again.
    let from = reopened
        .log_index
        .load(std::sync::atomic::Ordering::Relaxed) as i32
        - 2;
    fill(&reopened, from, 250);
    assert_eq!(
        reopened.database.digest().unwrap(),
        db.database.digest().unwrap()
    );
}

/// Buffers that fill up are flushed without being asked; that too must cut all families at one point.
#[test]
fn automatic_flushes_keep_buffers_bounded_and_leave_one_moment() {
    let folder = tempdir().unwrap();
    let shared = RocksShared::new(8 << 20, 4 << 20);
    let open = |path: &Path| {
        let store = RocksStore::open(path, shared.clone()).unwrap();
        harness::open(Box::new(store), Options::default())
    };
    let databases = [folder.path().join("a"), folder.path().join("b")];
    let open_databases: Vec<_> = databases.iter().map(|path| prepared(open(path))).collect();
    for id in 0..400 {
        for db in &open_databases {
            let document = doc! { "_id": id, "n": id, "text": "x".repeat(20_000) };
            db.insert("c", &[document]).unwrap();
        }
        assert!(shared.write_buffer_used_bytes() < 16 << 20);
    }
    for (number, path) in databases.iter().enumerate() {
        let crashed = folder.path().join(format!("crashed-{number}"));
        crash_image(path, &crashed);
        let log_index = assert_consistent(&open(&crashed));
        assert!((1..=402).contains(&log_index), "{log_index}");
    }
}

#[test]
fn a_closed_database_opens_as_it_was() {
    let folder = tempdir().unwrap();
    let db = prepared(rocks(folder.path()));
    let session = db.open_session();
    fill(&db, 0, 20);
    db.database.flush().unwrap();
    let (digest, stats) = (db.database.digest().unwrap(), db.database.stats().unwrap());
    drop(db);
    let db = rocks(folder.path());
    assert_eq!(db.database.digest().unwrap(), digest);
    let again = db.database.stats().unwrap();
    assert_eq!(
        (again.documents, again.document_bytes, again.last_change),
        (20, stats.document_bytes, stats.last_change)
    );
    assert_eq!(
        (again.sessions, again.change_log_bytes),
        (1, stats.change_log_bytes)
    );
    assert!(db.open_session() > session);
}

fn checkpoint_and_restore(source: &Db, target: &Db, folder: &Path) {
    fill(source, 0, 50);
    let digest = source.database.digest().unwrap();
    let copy = folder.join("checkpoint");
    fs::create_dir(&copy).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| fill(source, 50, 150));
        source.database.checkpoint(&copy).unwrap();
        writer.join().unwrap();
    });
    assert!(
        fs::read_dir(&copy)
            .unwrap()
            .all(|entry| entry.unwrap().file_type().unwrap().is_file())
    );
    target.create("other");
    target.database.restore(&copy).unwrap();
    let progress = target.database.progress().unwrap().unwrap();
    let log_index = u64::from_le_bytes(progress.try_into().unwrap());
    target
        .log_index
        .store(log_index, std::sync::atomic::Ordering::Relaxed);
    assert!(log_index >= 52);
    let documents = log_index as i32 - 2;
    assert_eq!(target.count("c", doc! {}), documents as u64);
    assert_eq!(target.database.digest().unwrap() == digest, documents == 50);
    fill(target, documents, 150);
    assert_eq!(
        target.database.digest().unwrap(),
        source.database.digest().unwrap()
    );
}

/// Steps: the same content has the same digest in both stores and names its place; it can be broken off.
#[test]
fn a_digest_belongs_to_a_place_and_can_be_broken_off() {
    let folder = tempdir().unwrap();
    let db = prepared(rocks(folder.path()));
    fill(&db, 0, 20);
    let (digest, progress) = db.database.digest_while(&mut || true).unwrap().unwrap();
    assert_eq!(digest, db.database.digest().unwrap());
    assert_eq!(progress, db.database.progress().unwrap());
    assert!(progress.is_some());

    let large = "x".repeat(200_000);
    for n in 0..12 {
        db.insert("c", &[doc! { "_id": format!("large{n}"), "text": &large }])
            .unwrap();
    }
    let mut asked = 0;
    let broken_off = db.database.digest_while(&mut || {
        asked += 1;
        false
    });
    assert_eq!((broken_off.unwrap(), asked), (None, 1));
}

#[test]
fn a_checkpoint_taken_beside_writes_restores_one_moment() {
    let folder = tempdir().unwrap();
    let source = prepared(rocks(&folder.path().join("source")));
    let target = rocks(&folder.path().join("target"));
    checkpoint_and_restore(&source, &target, folder.path());
    let digest = target.database.digest().unwrap();
    target.database.flush().unwrap();
    drop(target);
    assert_eq!(
        rocks(&folder.path().join("target"))
            .database
            .digest()
            .unwrap(),
        digest
    );
    let states = fs::read_dir(folder.path().join("target")).unwrap().count();
    assert_eq!(states, 2, "one state folder and the pointer");
}

#[test]
fn a_checkpoint_of_memory_restores_one_moment() {
    let folder = tempdir().unwrap();
    checkpoint_and_restore(&prepared(memory()), &memory(), folder.path());
}

#[test]
fn a_damaged_checkpoint_is_refused_and_the_old_state_stays_on_disk() {
    let folder = tempdir().unwrap();
    let db = prepared(rocks(&folder.path().join("db")));
    fill(&db, 0, 5);
    db.database.flush().unwrap();
    let digest = db.database.digest().unwrap();
    let copy = folder.path().join("damaged");
    fs::create_dir(&copy).unwrap();
    fs::write(copy.join("CURRENT"), "MANIFEST-000099\n").unwrap();
    assert!(db.database.restore(&copy).is_err());
    assert!(
        db.database.apply(&[], b"x").is_err(),
        "closed until it is opened again"
    );
    drop(db);
    assert_eq!(
        rocks(&folder.path().join("db")).database.digest().unwrap(),
        digest
    );
    let memory_copy = folder.path().join("memory");
    fs::create_dir(&memory_copy).unwrap();
    fs::write(memory_copy.join("memory.kv"), [7; 100]).unwrap();
    assert!(MemoryStore::new().restore(&memory_copy).is_err());
}

#[test]
fn remains_of_an_interrupted_restore_are_removed_at_open() {
    let folder = tempdir().unwrap();
    drop(prepared(rocks(folder.path())));
    let leftover = folder.path().join("state-000002");
    fs::create_dir(&leftover).unwrap();
    fs::write(leftover.join("junk"), "junk").unwrap();
    drop(rocks(folder.path()));
    assert!(!leftover.exists());
    fs::write(folder.path().join("CURRENT_STATE"), "nonsense").unwrap();
    assert!(RocksStore::open(folder.path(), shared()).is_err());
}

/// Some keys are in files, some in memory, some gone again; those of another family do not count.
#[test]
fn both_stores_tell_the_same_keys_absent() {
    let folder = tempdir().unwrap();
    let stores: [Box<dyn Store>; 2] = [
        Box::new(MemoryStore::new()),
        Box::new(RocksStore::open(folder.path(), shared()).unwrap()),
    ];
    let key = |number: u32| format!("{number:03}").into_bytes();
    for store in stores {
        let mut batch = WriteBatch::default();
        (0..300).for_each(|number| batch.put(Family::Docs, key(number), b"v".to_vec()));
        batch.put(Family::Index, key(400), b"v".to_vec());
        store.write(&batch).unwrap();
        store.flush().unwrap();
        let mut batch = WriteBatch::default();
        batch.changes[Family::Docs as usize].insert(key(7), None);
        batch.put(Family::Docs, key(350), Vec::new());
        store.write(&batch).unwrap();
        let asked = (0..500)
            .rev()
            .step_by(7)
            .chain([7, 350, 7])
            .map(key)
            .collect();
        let mut absent = store.absent(Family::Docs, asked).unwrap();
        absent.sort();
        let mut expected: Vec<_> = (300..500)
            .filter(|number| number % 7 == 499 % 7)
            .chain([7, 7])
            .map(key)
            .collect();
        expected.sort();
        assert_eq!(absent, expected);
    }
}

#[test]
fn nine_idle_databases_stay_small() {
    let folder = tempdir().unwrap();
    let shared = shared();
    let databases: Vec<_> = (0..9)
        .map(|number| {
            let store =
                RocksStore::open(&folder.path().join(number.to_string()), shared.clone()).unwrap();
            Database::open(Box::new(store), Options::default()).unwrap()
        })
        .collect();
    let buffers: u64 = databases
        .iter()
        .map(|database| database.stats().unwrap().store.buffer_bytes)
        .sum();
    assert!(buffers < 1 << 20, "{buffers} bytes");
    assert!(shared.cache_used_bytes() + shared.write_buffer_used_bytes() < 4 << 20);
}
