//! Purging removes entries from view at once, and from disk only once the state has them durably.

use openraft::storage::RaftLogStorage;

use super::*;
use crate::log_engine::disk::LogDisk;

fn on_disk(disk: &MemoryDisk) -> Vec<u64> {
    disk.read_entries(G1, 0, u64::MAX, usize::MAX)
        .unwrap()
        .iter()
        .map(|entry| entry.index)
        .collect()
}

#[tokio::test]
async fn entries_stay_on_disk_until_the_state_is_flushed() {
    let disk = Arc::new(MemoryDisk::default());
    let engine = LogEngine::in_memory(disk.clone(), &LogOptions::default()).unwrap();
    let mut log = engine.group(G1);
    append(&mut log, 1, 0..10).await;

    log.purge(log_id(1, 7)).await.unwrap();
    assert_eq!(indexes(&mut log).await, [8, 9]);
    assert_eq!(
        log.get_log_state().await.unwrap().last_purged_log_id,
        Some(log_id(1, 7))
    );
    assert_eq!(on_disk(&disk), (0..10).collect::<Vec<_>>());

    log.set_flushed(Some(log_id(1, 4))).unwrap();
    assert_eq!(on_disk(&disk), [5, 6, 7, 8, 9]);
    log.sync().await.unwrap();

    // A crash brings back what was not flushed, and nothing else.
    disk.crash(0);
    let engine = LogEngine::in_memory(disk.clone(), &LogOptions::default()).unwrap();
    let mut log = engine.group(G1);
    assert_eq!(
        log.get_log_state().await.unwrap().last_purged_log_id,
        Some(log_id(1, 4))
    );
    assert_eq!(indexes(&mut log).await, [5, 6, 7, 8, 9]);

    log.set_flushed(Some(log_id(1, 100))).unwrap();
    assert_eq!(
        on_disk(&disk),
        [5, 6, 7, 8, 9],
        "nothing is removed that Raft did not purge"
    );
    log.purge(log_id(1, 9)).await.unwrap();
    assert!(on_disk(&disk).is_empty());
    append(&mut log, 2, [10, 11]).await;
    assert_eq!(indexes(&mut log).await, [10, 11]);
}

/// A snapshot that ends beyond the log replaces it; the snapshot is durable before.
#[tokio::test]
async fn a_purge_beyond_the_end_empties_the_log() {
    let disk = Arc::new(MemoryDisk::default());
    let engine = LogEngine::in_memory(disk.clone(), &LogOptions::default()).unwrap();
    let mut log = engine.group(G1);
    append(&mut log, 1, 0..10).await;
    log.purge(log_id(3, 20)).await.unwrap();
    assert!(on_disk(&disk).is_empty() && indexes(&mut log).await.is_empty());
    assert_eq!(last(&mut log).await, Some(log_id(3, 20)));
    append(&mut log, 3, [21]).await;
    let engine = LogEngine::in_memory(disk, &LogOptions::default()).unwrap();
    let mut log = engine.group(G1);
    assert_eq!(
        (indexes(&mut log).await, last(&mut log).await),
        (vec![21], Some(log_id(3, 21)))
    );
}

#[tokio::test]
async fn purges_on_rocksdb_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let engine = open(dir.path());
        let mut log = engine.group(G1);
        append(&mut log, 1, 0..100).await;
        append(&mut engine.group(G2), 1, 0..3).await;
        log.set_flushed(Some(log_id(1, 99))).unwrap();
        for upto in [10, 11, 50] {
            log.purge(log_id(1, upto)).await.unwrap();
        }
        assert_eq!(
            log.group.lock().unwrap().purged_on_disk(),
            Some(log_id(1, 50))
        );
        engine.close().await.unwrap();
    }
    let engine = open(dir.path());
    assert_eq!(engine.groups(), [G1, G2]);
    assert_eq!(
        indexes(&mut engine.group(G1)).await,
        (51..100).collect::<Vec<_>>()
    );
    assert_eq!(indexes(&mut engine.group(G2)).await, [0, 1, 2]);
}

/// The log's end is older by index and newer by term: superseded all the same.
#[tokio::test]
async fn a_state_ahead_of_the_log_replaces_it() {
    let disk = Arc::new(MemoryDisk::default());
    let engine = LogEngine::in_memory(disk.clone(), &LogOptions::default()).unwrap();
    let mut log = engine.group(G1);
    append(&mut log, 5, 0..=8).await;
    log.catch_up_to(log_id(5, 8)).unwrap();
    assert_eq!(last(&mut log).await, Some(log_id(5, 8)), "not ahead");
    log.catch_up_to(log_id(3, 10)).unwrap();
    let state = log.get_log_state().await.unwrap();
    assert_eq!(
        (state.last_purged_log_id, state.last_log_id),
        (Some(log_id(3, 10)), Some(log_id(3, 10)))
    );
    assert!(on_disk(&disk).is_empty());
}

/// Entries of term 1 were truncated and one of term 3 took the place of the first; the state flushed what
/// came of it, and a loss of power took truncation and entry from the log. Found by simulation, seed 799.
#[tokio::test]
async fn a_log_that_contradicts_the_state_gives_way_to_it() {
    let disk = Arc::new(MemoryDisk::default());
    let engine = LogEngine::in_memory(disk.clone(), &LogOptions::default()).unwrap();
    let mut log = engine.group(G1);
    append(&mut log, 1, 0..=19).await;
    log.purge(log_id(1, 4)).await.unwrap();
    log.catch_up_to(log_id(3, 18)).unwrap();
    let state = log.get_log_state().await.unwrap();
    assert_eq!(
        (state.last_purged_log_id, state.last_log_id),
        (Some(log_id(3, 18)), Some(log_id(3, 18)))
    );
    append(&mut log, 3, 19..=20).await;
    assert_eq!(on_disk(&disk), [19, 20]);
    drop((log, engine));
    disk.crash(0);
    let engine = LogEngine::in_memory(disk, &LogOptions::default()).unwrap();
    assert_eq!(last(&mut engine.group(G1)).await, Some(log_id(3, 20)));
}
