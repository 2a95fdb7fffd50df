//! One sync for all who wait, completions in order, and what does not deserve a sync of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use openraft::storage::RaftLogStorage;
use openraft::{RaftLogReader, Vote};
use parking_lot::Mutex;

use super::*;

#[tokio::test]
async fn one_sync_serves_all_groups() {
    let (disk, engine) = pumped(&LogOptions::default());
    let mut flushed = Vec::new();
    for group in 0..64 {
        let mut log = engine.group(GroupId(group));
        flushed.push(submit(&mut log, 1, 0..3).await);
        assert_eq!(
            indexes(&mut log).await,
            [0, 1, 2],
            "readable before it is written"
        );
    }
    assert!(
        flushed
            .iter_mut()
            .all(|flushed| flushed.try_recv().is_err()),
        "acknowledged before it is durable"
    );
    assert_eq!(disk.syncs(), 0);
    assert_eq!(engine.pump(), 1);
    assert_eq!(disk.syncs(), 1);
    for flushed in flushed {
        flushed.await.unwrap().unwrap();
    }
    let stats = engine.stats();
    assert_eq!((stats.syncs, stats.operations, stats.entries), (1, 64, 192));
}

/// A waker that notes the order in which receivers are woken; a oneshot wakes at the moment it is sent.
struct Noting {
    number: usize,
    order: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Noting {
    fn wake(self: Arc<Self>) {
        self.order.lock().push(self.number);
    }
}

#[tokio::test]
async fn callbacks_complete_in_the_order_of_submission() {
    let (_disk, engine) = pumped(&LogOptions {
        batch_ops_max: 7,
        ..LogOptions::default()
    });
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting: Vec<Flushed> = Vec::new();
    for number in 0..50 {
        // Three groups in turn, so that batches mix them.
        let mut log = engine.group(GroupId(number % 3));
        let mut flushed = submit(&mut log, 1, [u64::from(number / 3)]).await;
        let waker = Waker::from(Arc::new(Noting {
            number: number as usize,
            order: order.clone(),
        }));
        assert!(matches!(
            Pin::new(&mut flushed).poll(&mut Context::from_waker(&waker)),
            Poll::Pending
        ));
        waiting.push(flushed);
    }
    assert_eq!(engine.pump(), 8, "fifty operations in batches of seven");
    assert_eq!(*order.lock(), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_vote_is_durable_and_visible_when_saved_and_not_before() {
    let (disk, engine) = pumped(&LogOptions::default());
    let mut log = engine.group(G1);
    let mut saver = log.clone();
    let vote = Vote::new(3, 1);
    let saving = tokio::spawn(async move { saver.save_vote(&vote).await });
    tokio::task::yield_now().await;
    assert_eq!(log.read_vote().await.unwrap(), None);
    engine.pump();
    saving.await.unwrap().unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(vote));
    assert_eq!((disk.syncs(), disk.unsynced_batches()), (1, 0));
}

#[tokio::test]
async fn committed_truncate_and_purge_do_not_force_a_sync() {
    let (disk, engine) = pumped(&LogOptions::default());
    let mut log = engine.group(G1);
    let flushed = submit(&mut log, 1, 0..10).await;
    engine.pump();
    flushed.await.unwrap().unwrap();
    log.save_committed(Some(log_id(1, 7))).await.unwrap();
    log.set_flushed(Some(log_id(1, 7))).unwrap();
    log.purge(log_id(1, 4)).await.unwrap();
    log.truncate_after(Some(log_id(1, 8))).await.unwrap();
    engine.pump();
    assert_eq!((disk.syncs(), disk.unsynced_batches()), (1, 1));
    // The next append's sync carries them.
    let flushed = submit(&mut log, 2, [9]).await;
    engine.pump();
    flushed.await.unwrap().unwrap();
    assert_eq!((disk.syncs(), disk.unsynced_batches()), (2, 0));
}

#[tokio::test]
async fn a_full_queue_makes_appends_wait() {
    let (_disk, engine) = pumped(&LogOptions {
        queue_ops_max: 2,
        ..LogOptions::default()
    });
    let mut log = engine.group(G1);
    submit(&mut log, 1, [0]).await;
    submit(&mut log, 1, [1]).await;
    let mut waiting = log.clone();
    let third = tokio::spawn(async move {
        let flushed = submit(&mut waiting, 1, [2]).await;
        flushed.await
    });
    tokio::task::yield_now().await;
    assert!(!third.is_finished());
    engine.pump();
    // The append gets its place in the queue only now; its sync comes with the next round.
    while !third.is_finished() {
        tokio::task::yield_now().await;
        engine.pump();
    }
    third.await.unwrap().unwrap().unwrap();
    assert_eq!(indexes(&mut log).await, [0, 1, 2]);
}

/// The real thing: many groups on the writer thread share syncs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rocksdb_shares_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let tasks = (0..32).map(|group| {
        let mut log = engine.group(GroupId(group));
        tokio::spawn(async move {
            for index in 0..20 {
                append(&mut log, 1, [index]).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let stats = engine.stats();
    assert_eq!(stats.entries, 640);
    assert!(stats.syncs < 600, "{stats:?}");
    assert_eq!(stats.sync_latency.iter().sum::<u64>(), stats.syncs);
    engine.close().await.unwrap();
    assert!(matches!(
        engine.group(G1).append([entry(1, 20, 1)], IOFlushed::noop()).await,
        Err(error) if error.get_ref().unwrap().downcast_ref() == Some(&crate::LogError::Closed)
    ));
}
