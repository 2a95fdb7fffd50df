//! Random operations against a model, with crashes at every moment: what was acknowledged is there, what was
//! deleted stays away, what is pinned or fresh is kept, and no other bytes are ever served.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{BoxFuture, join_all};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::*;
use crate::disk::sim::Faults;
use crate::error::{CollectError, GetError, PinError, PutError};
use crate::pins::UploadId;

const CHUNKS: u64 = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Present,
    Absent,
    /// An operation failed, or the power went before its answer.
    Unknown,
}

#[derive(Debug, Clone)]
struct Known {
    chunk: Chunk,
    presence: Presence,
    /// When it was last put, as far as was acknowledged.
    put_ms: u64,
}

/// What an upload relies on, and until when.
#[derive(Debug, Default)]
struct Pinned {
    expires: Duration,
    hashes: BTreeSet<ChunkHash>,
}

struct Run {
    rng: StdRng,
    edges: Arc<TestEdges>,
    disks: Vec<SimDisk>,
    chunks: BTreeMap<ChunkHash, Known>,
    uploads: BTreeMap<UploadId, Pinned>,
    lease: Duration,
    steps: u64,
    crashes: u64,
    acknowledged: u64,
    deleted: u64,
    removed_segments: u64,
}

/// The results of operations that ran together.
enum Done {
    Put(ChunkHash, Result<PutOutcome, PutError>),
    Pin(UploadId, Vec<ChunkHash>, Result<Vec<bool>, PinError>),
    Collect(Vec<ChunkHash>, u64, Result<Collected, CollectError>),
    Get(ChunkHash, Result<Bytes, GetError>),
    Compact(CompactionStep),
    Scrub(ScrubStep),
}

impl Run {
    fn new(seed: u64, disk_count: u8) -> Self {
        let chunks = (0..CHUNKS).map(|number| {
            let sizes = [0, 1, 63, 64, 65, 700, 1_500, 3_000, 9_000];
            let chunk = chunk(
                number,
                sizes[number as usize % sizes.len()] + number as usize,
            );
            let known = Known {
                presence: Presence::Absent,
                put_ms: 0,
                chunk: chunk.clone(),
            };
            (chunk.hash(), known)
        });
        Self {
            rng: StdRng::seed_from_u64(seed),
            edges: TestEdges::new(),
            disks: (0..disk_count)
                .map(|disk| SimDisk::new(disk, seed + u64::from(disk) * 1_000_003))
                .collect(),
            chunks: chunks.collect(),
            uploads: BTreeMap::new(),
            lease: LEASE,
            steps: 0,
            crashes: 0,
            acknowledged: 0,
            deleted: 0,
            removed_segments: 0,
        }
    }

    fn is_off(&self) -> bool {
        self.disks.iter().any(SimDisk::is_off)
    }

    fn some_hash(&mut self) -> ChunkHash {
        let hashes: Vec<_> = self.chunks.keys().copied().collect();
        *hashes.choose(&mut self.rng).unwrap()
    }

    fn some_hashes(&mut self) -> Vec<ChunkHash> {
        let count = self.rng.random_range(1..8);
        (0..count).map(|_| self.some_hash()).collect()
    }

    /// A life of the store: open, check everything, work until the power goes, a disk fails, or it is closed.
    async fn live(&mut self, with_disk_faults: bool) {
        self.arm(with_disk_faults);
        let mut options = small_options();
        options.rebuilds_index = self.rng.random_bool(0.1);
        if self.rng.random_bool(0.3) {
            options.batch_changes_max = 2;
        }
        self.uploads.clear();
        // A pin must keep a chunk also beyond the grace period.
        self.lease = if self.rng.random_bool(0.3) {
            3 * GRACE
        } else {
            LEASE
        };
        options.pin_lease = self.lease;
        let opened = open_sim(&self.disks, &self.edges, options).await;
        if let Ok(store) = opened {
            if self.rng.random_bool(0.7) {
                self.edges.advance(self.lease);
            }
            let count = self.rng.random_range(10..80);
            for _ in 0..count {
                if self.is_off() {
                    break;
                }
                self.work(&store).await;
            }
            if !self.is_off() && self.rng.random_bool(0.5) {
                // Closed in an orderly way: the power may still go.
                store.close().await;
            }
            for disk in &self.disks {
                disk.power_off();
            }
            store.close().await;
        } else {
            assert!(self.is_off() || with_disk_faults, "{:?}", opened.err());
        }
        let is_killed = self.rng.random_bool(0.3);
        self.crashes += 1;
        for disk in &self.disks {
            if is_killed {
                disk.restart();
            } else {
                disk.crash();
            }
        }
        self.check().await;
    }

    fn arm(&mut self, with_disk_faults: bool) {
        for disk in &self.disks {
            let mut faults = Faults::default();
            let mut at = |p| {
                let is_due = self.rng.random_bool(p);
                is_due.then(|| disk.operations() + self.rng.random_range(1..400))
            };
            faults.power_off_at = at(0.7);
            if with_disk_faults {
                faults.sync_error_at = at(0.3);
                faults.write_error_at = at(0.1);
            }
            disk.set_faults(faults);
        }
    }

    /// After a start nothing is missing, nothing has come back, and every byte is right.
    async fn check(&mut self) {
        let store = open_sim(&self.disks, &self.edges, small_options())
            .await
            .unwrap();
        for (hash, known) in &mut self.chunks {
            match (known.presence, store.get(*hash).await) {
                (Presence::Present | Presence::Unknown, Ok(bytes)) => {
                    assert_eq!(&bytes, known.chunk.bytes());
                    known.presence = Presence::Present;
                }
                (Presence::Absent | Presence::Unknown, Err(GetError::NotFound(_))) => {
                    known.presence = Presence::Absent;
                }
                (presence, found) => panic!("{hash:?} was {presence:?}, is {found:?}"),
            }
            if let Some(info) = store.info(*hash).await.unwrap() {
                // Beyond the grace period the time of a put does not matter any more.
                let is_old = known.put_ms + GRACE.as_millis() as u64 <= self.edges.unix_ms();
                assert!(
                    info.put_ms >= known.put_ms || is_old,
                    "{hash:?} has become older"
                );
                known.put_ms = info.put_ms;
            }
        }
        let listed = store.list(None, 1_000).await.unwrap();
        let listed: BTreeSet<_> = listed.iter().map(|listed| listed.hash).collect();
        let present = self
            .chunks
            .iter()
            .filter(|(_, k)| k.presence == Presence::Present);
        assert_eq!(listed, present.map(|(hash, _)| *hash).collect());
        for disk in store.status().await.disks {
            assert_eq!(disk.state, DiskState::Writable);
            assert_eq!(disk.corrupt_chunks, 0);
        }
        store.close().await;
    }

    /// A few operations at once.
    async fn work(&mut self, store: &Store) {
        if self.rng.random_bool(0.15) {
            let seconds = *[1, 5, 60, 200].choose(&mut self.rng).unwrap();
            self.edges.advance(Duration::from_secs(seconds));
        }
        let before_ms = self.edges.unix_ms();
        let count = self.rng.random_range(1..6);
        let operations: Vec<_> = (0..count).map(|_| self.operation(store)).collect();
        self.steps += operations.len() as u64;
        let done = join_all(operations).await;
        self.learn(store, &done, before_ms).await;
    }

    fn operation<'s>(&mut self, store: &'s Store) -> BoxFuture<'s, Done> {
        let hash = self.some_hash();
        match self.rng.random_range(0..20) {
            0..8 => {
                let chunk = self.chunks[&hash].chunk.clone();
                Box::pin(async move { Done::Put(hash, store.put(&chunk).await) })
            }
            8..11 => {
                let hashes = self.some_hashes();
                let upload = UploadId(self.rng.random_range(0..3));
                Box::pin(async move {
                    let result = store.pin(upload, &hashes).await;
                    Done::Pin(upload, hashes, result)
                })
            }
            11..15 => {
                let hashes = self.some_hashes();
                let late = Duration::from_secs(self.rng.random_range(0..30)).as_millis() as u64;
                let as_of_ms = self.edges.unix_ms() - late;
                Box::pin(async move {
                    let result = store.collect(&hashes, as_of_ms).await;
                    Done::Collect(hashes, as_of_ms, result)
                })
            }
            15..17 => Box::pin(async move { Done::Get(hash, store.get(hash).await) }),
            17..19 => Box::pin(async move { Done::Compact(store.compact_step().await) }),
            _ => Box::pin(async move { Done::Scrub(store.scrub_step(4 << 10).await) }),
        }
    }

    /// Compares what came of operations with the model, and brings the model up to date.
    async fn learn(&mut self, store: &Store, done: &[Done], now_ms: u64) {
        let status = store.status().await;
        let is_writable = |disk: &DiskStatus| disk.state == DiskState::Writable;
        let has_failed = self.is_off() || !status.disks.iter().all(is_writable);
        let now = self.edges.monotonic();
        self.uploads.retain(|_, pinned| pinned.expires > now);
        let mut seen = Seen::default();
        // Which of them came first is not known. What a collection may have deleted is judged by the pins of
        // before; what was pinned or put beside it with success is there whichever came first.
        let is_collection = |done: &&Done| matches!(done, Done::Collect(..));
        let (collections, others): (Vec<_>, Vec<_>) = done.iter().partition(is_collection);
        for done in collections.into_iter().chain(others) {
            self.look_at(done, has_failed, &mut seen);
        }
        self.acknowledged += seen.acknowledged.len() as u64;
        for (hash, known) in &mut self.chunks {
            let was = known.presence;
            let is_attempted = seen.attempted.contains(hash);
            let is_collectable = seen.collectable.contains(hash);
            if seen.acknowledged.contains(hash) {
                let may_be_there = was != Presence::Absent || is_attempted;
                assert!(may_be_there, "{hash:?} is said to be here and was deleted");
                known.presence = Presence::Present;
                known.put_ms = now_ms;
            } else if is_collectable && !is_attempted && !has_failed {
                known.presence = Presence::Absent;
            } else if is_collectable || (is_attempted && was == Presence::Absent) {
                known.presence = Presence::Unknown;
            }
            if seen.found.contains(hash) {
                assert!(
                    was != Presence::Absent || is_attempted,
                    "{hash:?} came back"
                );
            }
            if seen.missed.contains(hash) {
                assert!(
                    was != Presence::Present || is_collectable,
                    "{hash:?} was lost"
                );
            }
            if has_failed {
                continue;
            }
            let is_here = store.info(*hash).await.unwrap().is_some();
            match known.presence {
                Presence::Present => assert!(is_here, "{hash:?} was lost"),
                Presence::Absent => assert!(!is_here, "{hash:?} was not deleted, or came back"),
                Presence::Unknown => {}
            }
        }
    }

    fn look_at(&mut self, done: &Done, has_failed: bool, seen: &mut Seen) {
        let now = self.edges.monotonic();
        match done {
            Done::Put(hash, result) => {
                seen.attempted.insert(*hash);
                assert!(result.is_ok() || has_failed, "{result:?}");
                if result.is_ok() {
                    seen.acknowledged.insert(*hash);
                }
            }
            Done::Pin(upload, hashes, result) => {
                let pinned = self.uploads.entry(*upload).or_default();
                pinned.expires = now + self.lease;
                pinned.hashes.extend(hashes);
                for (hash, is_here) in hashes.iter().zip(result.as_ref().unwrap()) {
                    if *is_here {
                        seen.acknowledged.insert(*hash);
                    }
                }
            }
            Done::Collect(hashes, as_of_ms, Ok(collected)) => {
                assert!(collected.failed == 0 || has_failed);
                self.deleted += collected.deleted as u64;
                for hash in hashes {
                    let known = &self.chunks[hash];
                    let is_old = known.put_ms + GRACE.as_millis() as u64 <= *as_of_ms;
                    let is_pinned = self.uploads.values().any(|u| u.hashes.contains(hash));
                    if is_old && !is_pinned {
                        seen.collectable.insert(*hash);
                    }
                }
            }
            Done::Collect(_, _, Err(error)) => {
                assert!(matches!(error, CollectError::TooEarly { .. }));
            }
            Done::Get(hash, Ok(bytes)) => {
                assert_eq!(bytes, self.chunks[hash].chunk.bytes());
                seen.found.insert(*hash);
            }
            Done::Get(hash, Err(GetError::NotFound(_))) => {
                seen.missed.insert(*hash);
            }
            Done::Get(_, Err(error)) => assert!(self.is_off(), "{error}"),
            Done::Compact(step) => self.removed_segments += step.removed as u64,
            Done::Scrub(step) => assert!(step.corrupt.is_empty() || self.is_off()),
        }
    }
}

/// What operations that ran together came to.
#[derive(Default)]
struct Seen {
    /// Put or pinned with success.
    acknowledged: BTreeSet<ChunkHash>,
    /// Put, with or without success.
    attempted: BTreeSet<ChunkHash>,
    /// May be deleted, and must be unless something fails.
    collectable: BTreeSet<ChunkHash>,
    found: BTreeSet<ChunkHash>,
    missed: BTreeSet<ChunkHash>,
}

fn run_seeds(seeds: std::ops::Range<u64>, disks: u8, with_disk_faults: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut totals = [0; 5];
    for seed in seeds {
        println!("seed {seed}");
        let mut run = Run::new(seed, disks);
        runtime.block_on(async {
            for _ in 0..8 {
                run.live(with_disk_faults).await;
            }
        });
        let counts = [
            run.steps,
            run.crashes,
            run.acknowledged,
            run.deleted,
            run.removed_segments,
        ];
        for (total, count) in totals.iter_mut().zip(counts) {
            *total += count;
        }
    }
    println!("steps, crashes, acknowledged, deleted, segments removed: {totals:?}");
    // A run in which nothing happens shows nothing.
    assert!(totals.iter().all(|total| *total > 20), "{totals:?}");
}

#[test]
fn crashes_of_one_disk() {
    run_seeds(0..60, 1, false);
}

#[test]
fn crashes_of_two_disks() {
    run_seeds(1_000..1_030, 2, false);
}

#[test]
fn crashes_and_disks_that_fail() {
    run_seeds(2_000..2_060, 1, true);
    run_seeds(3_000..3_040, 2, true);
}
