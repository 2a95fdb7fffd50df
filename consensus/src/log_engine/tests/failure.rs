//! After the first failure nothing is written, read or acknowledged.

use openraft::storage::RaftLogStorage;
use openraft::{RaftLogReader, Vote};

use super::*;
use crate::LogError;

fn is_poisoned(error: &std::io::Error) -> bool {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .is_some_and(|e| matches!(e, LogError::Poisoned { .. }))
}

#[tokio::test]
async fn a_failed_sync_poisons_the_engine() {
    let (disk, engine) = pumped(&LogOptions {
        batch_ops_max: 2,
        ..LogOptions::default()
    });
    let mut log = engine.group(G1);
    let mut other = engine.group(G2);
    let first = submit(&mut log, 1, [0]).await;
    engine.pump();
    first.await.unwrap().unwrap();

    let waiting = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.failed().await })
    };
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());

    disk.fail_sync_after(0);
    let in_failing_batch = [
        submit(&mut log, 1, [1]).await,
        submit(&mut other, 1, [0]).await,
    ];
    let in_queue = submit(&mut log, 1, [2]).await;
    let writes_before = disk.unsynced_batches();
    engine.pump();
    for flushed in in_failing_batch.into_iter().chain([in_queue]) {
        assert!(is_poisoned(&flushed.await.unwrap().unwrap_err()));
    }
    assert_eq!(
        disk.unsynced_batches(),
        writes_before + 1,
        "nothing is written after the failure"
    );
    assert!(matches!(engine.failure(), Some(LogError::Poisoned { .. })));
    // Who waited before and who asks afterwards are told.
    assert!(matches!(waiting.await.unwrap(), LogError::Poisoned { .. }));
    assert!(matches!(engine.failed().await, LogError::Poisoned { .. }));

    assert!(is_poisoned(
        &log.append([entry(1, 3, 1)], IOFlushed::noop())
            .await
            .unwrap_err()
    ));
    assert!(is_poisoned(
        &other.save_vote(&Vote::new(1, 1)).await.unwrap_err()
    ));
    assert!(is_poisoned(&log.purge(log_id(1, 0)).await.unwrap_err()));
    assert!(is_poisoned(&log.truncate_after(None).await.unwrap_err()));
    assert!(is_poisoned(&log.save_committed(None).await.unwrap_err()));
    assert!(is_poisoned(&log.try_get_log_entries(..).await.unwrap_err()));
    assert!(is_poisoned(&log.sync().await.unwrap_err()));
    assert!(is_poisoned(&engine.drop_group(G1).await.unwrap_err()));
}

#[tokio::test]
async fn a_hole_is_refused() {
    let (_disk, engine) = pumped(&LogOptions::default());
    let mut log = engine.group(G1);
    submit(&mut log, 1, 0..3).await;
    for wrong in [2, 4] {
        let error = log
            .append([entry(1, wrong, 1)], IOFlushed::noop())
            .await
            .unwrap_err();
        let expected = LogError::NotConsecutive {
            group: G1,
            found: wrong,
            expected: 3,
        };
        assert_eq!(error.get_ref().unwrap().downcast_ref(), Some(&expected));
    }
    assert_eq!(indexes(&mut log).await, [0, 1, 2]);
}

#[tokio::test]
async fn a_dropped_group_refuses_and_its_neighbour_does_not() {
    let disk = Arc::new(MemoryDisk::default());
    let engine = LogEngine::in_memory(disk.clone(), &LogOptions::default()).unwrap();
    let (mut log, mut neighbour) = (engine.group(G1), engine.group(G2));
    append(&mut log, 1, 0..3).await;
    log.save_vote(&Vote::new(1, 1)).await.unwrap();
    append(&mut neighbour, 1, 0..3).await;
    engine.drop_group(G1).await.unwrap();
    assert!(
        log.append([entry(1, 3, 1)], IOFlushed::noop())
            .await
            .is_err()
    );
    assert!(log.try_get_log_entries(..).await.is_err());
    assert_eq!(engine.groups(), [G2]);
    engine.drop_group(GroupId(99)).await.unwrap();

    disk.crash(0);
    let engine = LogEngine::in_memory(disk, &LogOptions::default()).unwrap();
    assert_eq!(engine.groups(), [G2]);
    assert_eq!(indexes(&mut engine.group(G2)).await, [0, 1, 2]);
    let mut again = engine.group(G1);
    assert_eq!(
        (indexes(&mut again).await, again.read_vote().await.unwrap()),
        (vec![], None)
    );
}
