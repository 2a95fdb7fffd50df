//! A process that works on real files, with RocksDB and all its threads, is killed again and again: what it had
//! acknowledged is there, what it had deleted is not.
//!
//! The child is this test binary itself, started with a folder in the environment. It is started through /proc, since
//! a build may replace its file while the test runs.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::*;
use crate::error::GetError;

/// Tells a process that it is a child, and where to work.
const CHILD_DIR: &str = "YUNBASE_CHUNKSTORE_CRASH_TEST_DIR";
/// Tells a child which chunks to begin with.
const CHILD_START: &str = "YUNBASE_CHUNKSTORE_CRASH_TEST_START";
const ROUNDS: u64 = 4;
const CHUNKS_OF_A_ROUND: u64 = 100_000;
const CALLERS: u64 = 4;
/// What a child does before it is killed.
const LINES_OF_A_ROUND: usize = 300;
const PATIENCE: Duration = Duration::from_secs(60);

/// Chunks may be deleted as soon as they are put, and segments are small: everything happens often.
fn options() -> StoreOptions {
    StoreOptions {
        segment_bytes: 64 << 10,
        reserve_bytes: 0,
        grace: Duration::ZERO,
        pin_lease: Duration::ZERO,
        ..StoreOptions::default()
    }
}

fn content(number: u64) -> Chunk {
    chunk(number, 100 + (number as usize * 61) % 3_000)
}

fn log_of(dir: &Path) -> PathBuf {
    dir.join("log")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work() {
    let Ok(dir) = std::env::var(CHILD_DIR) else {
        return;
    };
    let start: u64 = std::env::var(CHILD_START).unwrap().parse().unwrap();
    let dir = Path::new(&dir);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log_of(dir))
        .unwrap();
    let log = Arc::new(Mutex::new(log));
    let store = Store::open(&[dir.join("disk")], options()).await.unwrap();
    let mut tasks = Vec::new();
    for caller in 0..CALLERS {
        let (store, log) = (store.clone(), log.clone());
        tasks.push(tokio::spawn(async move {
            for number in (start + caller..start + CHUNKS_OF_A_ROUND).step_by(CALLERS as usize) {
                put_and_perhaps_delete(&store, &log, number).await;
            }
        }));
    }
    while store.compact_step().await.bytes < u64::MAX {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A kill keeps what was written to the log, so it needs no sync.
fn note(log: &Mutex<File>, what: &str, number: u64) {
    let line = format!("{what} {number}\n");
    log.lock().write_all(line.as_bytes()).unwrap();
}

async fn put_and_perhaps_delete(store: &Store, log: &Mutex<File>, number: u64) {
    let chunk = content(number);
    store.put(&chunk).await.unwrap();
    note(log, "put", number);
    if number.is_multiple_of(3) {
        note(log, "deleting", number);
        let collected = store.collect(&[chunk.hash()], u64::MAX).await.unwrap();
        assert_eq!(collected.deleted, 1);
        note(log, "deleted", number);
    }
}

#[tokio::test]
async fn a_killed_process_has_lost_nothing_that_it_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    let disk = root.path().join("disk");
    initialize_disk(&disk).unwrap();
    let read_log = || std::fs::read_to_string(log_of(root.path())).unwrap_or_default();
    for round in 0..ROUNDS {
        let mut child = Command::new("/proc/self/exe")
            .args(["--exact", "store::tests::killed_process::work", "--quiet"])
            .env(CHILD_DIR, root.path())
            .env(CHILD_START, (round * CHUNKS_OF_A_ROUND).to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let wanted = read_log().lines().count() + LINES_OF_A_ROUND;
        while read_log().lines().count() < wanted {
            assert!(started.elapsed() < PATIENCE, "the child does nothing");
            assert_eq!(child.try_wait().unwrap(), None, "the child has ended");
            std::thread::sleep(Duration::from_millis(3));
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let options = StoreOptions {
            rebuilds_index: round + 1 == ROUNDS,
            ..options()
        };
        let store = Store::open(std::slice::from_ref(&disk), options)
            .await
            .unwrap();
        check(&store, &read_log()).await;
        store.close().await;
    }
}

async fn check(store: &Store, log: &str) {
    let mut last = BTreeMap::new();
    for line in log.lines() {
        let (what, number) = line.split_once(' ').unwrap();
        last.insert(number.parse::<u64>().unwrap(), what);
    }
    for (number, what) in last {
        let chunk = content(number);
        match (what, store.get(chunk.hash()).await) {
            ("put" | "deleting", Ok(bytes)) => assert_eq!(&bytes, chunk.bytes()),
            ("deleted" | "deleting", Err(GetError::NotFound(_))) => {}
            (what, found) => panic!("chunk {number}: {what}, and then {found:?}"),
        }
    }
}
