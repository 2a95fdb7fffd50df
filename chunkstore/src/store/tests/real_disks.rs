//! The store on the file system and RocksDB, with its threads.

use std::collections::HashSet;

use futures::future::join_all;

use super::*;
use crate::error::{GetError, PutError};

fn dirs(root: &Path, count: usize) -> Vec<PathBuf> {
    (0..count)
        .map(|disk| root.join(format!("disk-{disk}")))
        .collect()
}

fn options() -> StoreOptions {
    StoreOptions {
        segment_bytes: 1 << 20,
        reserve_bytes: 0,
        ..StoreOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_at_once_and_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path(), 2);
    let ids: HashSet<_> = dirs
        .iter()
        .map(|dir| initialize_disk(dir).unwrap())
        .collect();
    assert_eq!(ids.len(), 2);
    let store = Store::open(&dirs, options()).await.unwrap();
    let chunks: Vec<_> = (0..200).map(|n| chunk(n, 200 + n as usize * 97)).collect();
    // Each chunk is put by three callers at once, and stored by one of them.
    let puts = (0..3).flat_map(|_| &chunks).map(|chunk| store.put(chunk));
    let outcomes = join_all(puts).await;
    let stored = outcomes
        .iter()
        .filter(|outcome| **outcome == Ok(PutOutcome::Stored));
    assert_eq!(stored.count(), chunks.len());
    assert!(outcomes.iter().all(Result::is_ok));

    let reads = chunks.iter().map(|chunk| store.get(chunk.hash()));
    for (chunk, read) in chunks.iter().zip(join_all(reads).await) {
        assert_eq!(&read.unwrap(), chunk.bytes());
    }
    let before = store.status().await;
    store.close().await;
    assert_eq!(store.put(&chunks[0]).await, Err(PutError::Closed));
    drop(store);

    let store = Store::open(&dirs, options()).await.unwrap();
    let after = store.status().await;
    let counts = |status: &StoreStatus| -> Vec<_> {
        let disks = status.disks.iter();
        disks
            .map(|disk| (disk.id, disk.chunks, disk.plain_bytes, disk.segments))
            .collect()
    };
    assert_eq!(counts(&before), counts(&after));
    assert_eq!(
        before.disks.iter().map(|disk| disk.chunks).sum::<u64>(),
        200
    );
    let step = store.scrub_step(1 << 30).await;
    assert_eq!(
        (step.chunks, step.corrupt.len(), step.finished.len()),
        (200, 0, 2)
    );
    store.close().await;
    drop(store);

    // Without its indexes, all of it is read from the segments.
    for dir in &dirs {
        std::fs::remove_dir_all(dir.join("index")).unwrap();
    }
    let store = Store::open(&dirs, options()).await.unwrap();
    assert_eq!(counts(&store.status().await), counts(&after));
    for chunk in &chunks {
        assert_eq!(&store.get(chunk.hash()).await.unwrap(), chunk.bytes());
    }
    store.close().await;
}

#[tokio::test]
async fn a_disk_that_is_not_mounted_is_reported_and_not_filled() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path(), 2);
    std::fs::create_dir_all(&dirs[1]).unwrap();
    let refused = Store::open(&dirs, options()).await.err().unwrap();
    assert!(
        matches!(&refused, OpenError::NoDisk(reasons) if reasons.len() == 2),
        "{refused}"
    );
    initialize_disk(&dirs[0]).unwrap();
    assert!(initialize_disk(&dirs[0]).is_err());
    let store = Store::open(&dirs, options()).await.unwrap();
    let status = store.status().await.disks;
    assert_eq!(status[0].state, DiskState::Writable);
    assert!(matches!(&status[1].state, DiskState::Absent { reason } if reason.contains("marker")));
    assert!(std::fs::read_dir(&dirs[1]).unwrap().next().is_none());
    // Two processes on one disk would destroy it.
    let second = Store::open(&dirs[..1], options()).await;
    assert!(matches!(second.err(), Some(OpenError::NoDisk(_))));
    store.close().await;
}

#[tokio::test]
async fn an_index_that_is_damaged_is_made_anew() {
    let root = tempfile::tempdir().unwrap();
    let dirs = dirs(root.path(), 1);
    initialize_disk(&dirs[0]).unwrap();
    let store = Store::open(&dirs, options()).await.unwrap();
    let kept = chunk(1, 1_000);
    store.put(&kept).await.unwrap();
    store.close().await;
    drop(store);
    let index = dirs[0].join("index");
    std::fs::write(index.join("CURRENT"), "MANIFEST-999999\n").unwrap();
    let store = Store::open(&dirs, options()).await.unwrap();
    assert_eq!(store.get(kept.hash()).await.unwrap(), kept.bytes());
    let missing = chunk(3, 10).hash();
    assert!(matches!(
        store.get(missing).await,
        Err(GetError::NotFound(_))
    ));
    store.close().await;
}
