//! What goes on by itself: compaction and scrubbing at a pace that nobody feels.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::chunk::ChunkHash;
use crate::store::Store;

/// How fast background work goes.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Bytes of segments dealt with, on all disks together.
    pub bytes_per_second: u64,
    /// How long to wait when there is nothing to do, or all of it is done.
    pub idle: Duration,
}

impl Pace {
    /// For compaction: room comes back within minutes, and writers keep most of a disk.
    pub const COMPACTION: Self = Self {
        bytes_per_second: 32 << 20,
        idle: Duration::from_secs(60),
    };

    /// For scrubbing: 4 TB in 12 days, so that damage is found long before a second copy gets it too.
    pub const SCRUB: Self = Self {
        bytes_per_second: 4 << 20,
        idle: Duration::from_secs(24 * 3600),
    };
}

/// Bytes that one step of a scrub deals with on each disk: what is read in a burst.
const SCRUB_STEP_BYTES: u64 = 8 << 20;

/// Compacts until `stop` is done.
pub async fn compact(store: &Store, pace: &Pace, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    loop {
        let started = Instant::now();
        let step = tokio::select! {
            biased;
            () = &mut stop => return,
            step = store.compact_step() => step,
        };
        if !pause(pace, step.bytes, started.elapsed(), stop.as_mut()).await {
            return;
        }
    }
}

/// Scrubs until `stop` is done, and reports each damaged chunk to `corrupt`. When nobody listens any more it
/// goes on: damaged chunks are set aside all the same, and [`Store::list`] names them.
pub async fn scrub(
    store: &Store,
    pace: &Pace,
    corrupt: &mpsc::Sender<ChunkHash>,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let status = store.status().await;
    let disks = status.disks.iter().filter(|disk| disk.id.is_some()).count();
    let mut finished = 0;
    loop {
        let started = Instant::now();
        let step = tokio::select! {
            biased;
            () = &mut stop => return,
            step = store.scrub_step(SCRUB_STEP_BYTES) => step,
        };
        for hash in step.corrupt {
            tokio::select! {
                biased;
                () = &mut stop => return,
                _ = corrupt.send(hash) => {}
            }
        }
        finished += step.finished.len();
        // A disk that is through begins anew at once while others are not; on the whole each is scrubbed as
        // often as the others.
        let bytes = if finished >= disks { 0 } else { step.bytes };
        if bytes == 0 {
            finished = 0;
        }
        if !pause(pace, bytes, started.elapsed(), stop.as_mut()).await {
            return;
        }
    }
}

/// Waits for as long as the work should have taken; `false` when `stop` is done.
async fn pause(
    pace: &Pace,
    bytes: u64,
    took: Duration,
    stop: std::pin::Pin<&mut impl Future<Output = ()>>,
) -> bool {
    tokio::select! {
        biased;
        () = stop => false,
        () = tokio::time::sleep(pause_after(pace, bytes, took)) => true,
    }
}

fn pause_after(pace: &Pace, bytes: u64, took: Duration) -> Duration {
    if bytes == 0 {
        return pace.idle;
    }
    let due = Duration::from_secs_f64(bytes as f64 / pace.bytes_per_second.max(1) as f64);
    due.saturating_sub(took)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use rand::rngs::StdRng;
    use rand::{RngCore, SeedableRng};

    use super::*;
    use crate::{Chunk, StoreOptions, initialize_disk};

    const FAST: Pace = Pace {
        bytes_per_second: 1 << 30,
        idle: Duration::from_millis(5),
    };

    async fn store(dir: &Path) -> Store {
        initialize_disk(dir).unwrap();
        let options = StoreOptions {
            segment_bytes: 256 << 10,
            reserve_bytes: 0,
            grace: Duration::ZERO,
            pin_lease: Duration::ZERO,
            ..StoreOptions::default()
        };
        Store::open(&[dir.to_owned()], options).await.unwrap()
    }

    async fn put(store: &Store, count: u64) -> Vec<ChunkHash> {
        let mut hashes = Vec::new();
        for seed in 0..count {
            let mut bytes = vec![0; 20_000];
            StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
            let chunk = Chunk::new(Bytes::from(bytes)).unwrap();
            store.put(&chunk).await.unwrap();
            hashes.push(chunk.hash());
        }
        hashes
    }

    async fn dead_bytes(store: &Store) -> u64 {
        store.status().await.disks[0].dead_bytes
    }

    #[tokio::test]
    async fn room_comes_back_by_itself_until_it_is_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir.path().join("disk")).await;
        let hashes = put(&store, 40).await;
        let (kept, dropped) = hashes.split_at(8);
        tokio::time::sleep(Duration::from_millis(5)).await;
        store.collect(dropped, u64::MAX).await.unwrap();
        let before = dead_bytes(&store).await;
        assert!(before > 500_000, "{before}");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let compacted = store.clone();
        let work = tokio::spawn(async move {
            compact(&compacted, &FAST, async { drop(stopped.await) }).await;
        });
        let given_up = Instant::now() + Duration::from_secs(20);
        // The segment that is written to stays as it is.
        while dead_bytes(&store).await > 256 << 10 {
            assert!(Instant::now() < given_up, "nothing comes back");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.send(()).unwrap();
        work.await.unwrap();
        for hash in kept {
            assert_eq!(store.get(*hash).await.unwrap().len(), 20_000);
        }
        store.close().await;
    }

    #[tokio::test]
    async fn damage_is_reported_by_itself_until_it_is_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        let store = store(&disk).await;
        // Some segments, since the one that is written to is left alone.
        let hashes = put(&store, 40).await;
        for entry in std::fs::read_dir(disk.join("segments")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "segment") {
                let mut bytes = std::fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(&path, bytes).unwrap();
            }
        }
        let (corrupt, mut found) = mpsc::channel(8);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let scrubbed = store.clone();
        let work = tokio::spawn(async move {
            scrub(&scrubbed, &FAST, &corrupt, async { drop(stopped.await) }).await;
        });
        let reported = tokio::time::timeout(Duration::from_secs(20), found.recv()).await;
        let reported = reported.expect("in time").expect("reported");
        assert!(hashes.contains(&reported));
        assert!(store.get(reported).await.is_err(), "it is not served");
        stop.send(()).unwrap();
        work.await.unwrap();
        store.close().await;
    }

    #[test]
    fn work_takes_the_time_that_it_should() {
        let pace = Pace {
            bytes_per_second: 1_000,
            idle: Duration::from_secs(60),
        };
        let pause = |bytes, ms| pause_after(&pace, bytes, Duration::from_millis(ms));
        assert_eq!(pause(500, 0), Duration::from_millis(500));
        assert_eq!(pause(500, 200), Duration::from_millis(300));
        assert_eq!(pause(500, 900), Duration::ZERO);
        assert_eq!(pause(0, 900), pace.idle);
    }
}
