//! What the store does, on simulated disks: one thread, no chance.

use super::*;
use crate::error::{CollectError, GetError, PinError};
use crate::pins::UploadId;
use crate::segment::file_name;

const A: UploadId = UploadId(1);

struct Sim {
    disk: SimDisk,
    edges: Arc<TestEdges>,
    store: Store,
}

impl Sim {
    async fn new() -> Self {
        Self::on(SimDisk::new(1, 1), TestEdges::new()).await
    }

    /// A store whose pins of before have expired.
    async fn on(disk: SimDisk, edges: Arc<TestEdges>) -> Self {
        let store = open_sim(std::slice::from_ref(&disk), &edges, small_options())
            .await
            .unwrap();
        edges.advance(LEASE);
        Self { disk, edges, store }
    }

    async fn put(&self, number: u64, bytes: usize) -> ChunkHash {
        let chunk = chunk(number, bytes);
        self.store.put(&chunk).await.unwrap();
        chunk.hash()
    }

    /// Collects as of now.
    async fn collect(&self, hashes: &[ChunkHash]) -> Collected {
        let now = self.edges.unix_ms();
        self.store.collect(hashes, now).await.unwrap()
    }

    async fn has(&self, hash: ChunkHash) -> bool {
        self.store.info(hash).await.unwrap().is_some()
    }

    async fn status(&self) -> DiskStatus {
        self.store.status().await.disks.remove(0)
    }

    /// Opens again, with an index made anew if `rebuilds`.
    async fn reopen(self, rebuilds: bool) -> Self {
        self.store.close().await;
        let options = StoreOptions {
            rebuilds_index: rebuilds,
            ..small_options()
        };
        let disks = [self.disk.clone()];
        let store = open_sim(&disks, &self.edges, options).await.unwrap();
        self.edges.advance(LEASE);
        Self { store, ..self }
    }

    async fn compact_all(&self) -> usize {
        let mut removed = 0;
        loop {
            let step = self.store.compact_step().await;
            removed += step.removed;
            if step.bytes == 0 {
                return removed;
            }
        }
    }
}

#[tokio::test]
async fn chunks_are_stored_once_and_read_back() {
    let sim = Sim::new().await;
    let chunks: Vec<_> = (0..20)
        .map(|number| chunk(number, number as usize * 331))
        .collect();
    for outcome in [PutOutcome::Stored, PutOutcome::Refreshed] {
        for chunk in &chunks {
            // Chunk 0 is empty, and a chunk like any other.
            assert_eq!(sim.store.put(chunk).await.unwrap(), outcome);
            assert_eq!(sim.store.get(chunk.hash()).await.unwrap(), chunk.bytes());
        }
    }
    let status = sim.status().await;
    assert_eq!(status.chunks, 20);
    let plain: usize = chunks.iter().map(|chunk| chunk.bytes().len()).sum();
    assert_eq!(status.plain_bytes, plain as u64);
    assert!(
        status.stored_bytes < status.plain_bytes * 2 / 3,
        "{status:?}"
    );
    assert!(status.segments > 1);

    let last = &chunks[19];
    let range = |range| sim.store.get_range(last.hash(), range);
    assert_eq!(range(5..9).await.unwrap(), last.bytes()[5..9]);
    assert_eq!(range(0..0).await.unwrap(), "");
    let bytes = last.bytes().len() as u64;
    assert_eq!(range(0..bytes).await.unwrap(), last.bytes());
    for wrong in [
        0..bytes + 1,
        std::ops::Range { start: 9, end: 5 },
        u64::MAX..u64::MAX,
    ] {
        assert!(matches!(range(wrong).await, Err(GetError::Range { .. })));
    }

    let mut hashes: Vec<_> = chunks.iter().map(Chunk::hash).collect();
    hashes.sort_unstable();
    let mut listed: Vec<ChunkHash> = Vec::new();
    loop {
        let page = sim.store.list(listed.last().copied(), 7).await.unwrap();
        assert!(page.len() <= 7);
        if page.is_empty() {
            break;
        }
        listed.extend(page.iter().map(|listed| listed.hash));
    }
    assert_eq!(listed, hashes);
    let absent = ChunkHash::from_bytes([7; 32]);
    assert!(matches!(
        sim.store.get(absent).await,
        Err(GetError::NotFound(_))
    ));
}

#[tokio::test]
async fn collection_respects_grace_pins_and_the_time_of_the_pass() {
    let sim = Sim::new().await;
    let hash = sim.put(1, 100).await;
    let put_ms = sim.edges.unix_ms();
    let one = |collected: Collected| (collected.deleted, collected.pinned, collected.fresh);
    sim.edges.advance(GRACE - Duration::from_millis(1));
    assert_eq!(one(sim.collect(&[hash]).await), (0, 0, 1));
    sim.edges.advance(Duration::from_millis(1));

    // The caller looked before the chunk was old enough.
    let early = put_ms + GRACE.as_millis() as u64 - 1;
    let collected = sim.store.collect(&[hash], early).await.unwrap();
    assert_eq!(one(collected), (0, 0, 1));
    let collected = sim.store.collect(&[hash], 5).await.unwrap();
    assert_eq!(one(collected), (0, 0, 1));

    // Being told that it is here counts as a put.
    assert_eq!(sim.store.pin(A, &[hash]).await.unwrap(), [true]);
    assert_eq!(one(sim.collect(&[hash]).await), (0, 1, 0));
    sim.edges.advance(LEASE);
    assert_eq!(one(sim.collect(&[hash]).await), (0, 0, 1));
    sim.edges.advance(GRACE);

    // A pin of a chunk that is not here holds too.
    let absent = chunk(2, 10);
    assert_eq!(
        sim.store.pin(A, &[absent.hash(), hash]).await.unwrap(),
        [false, true]
    );
    for _ in 0..30 {
        sim.edges.advance(LEASE / 2);
        assert!(sim.store.renew(A));
    }
    sim.store.put(&absent).await.unwrap();
    assert_eq!(one(sim.collect(&[hash, absent.hash()]).await), (0, 2, 0));
    sim.store.release(A);
    assert!(!sim.store.renew(A));
    let future = sim.edges.unix_ms() + 1_000_000;
    let collected = sim
        .store
        .collect(&[hash, absent.hash(), hash], future)
        .await
        .unwrap();
    assert_eq!(one(collected), (1, 0, 1));
    assert!(!sim.has(hash).await && sim.has(absent.hash()).await);
    assert!(matches!(
        sim.store.get(hash).await,
        Err(GetError::NotFound(_))
    ));
    assert_eq!(sim.collect(&[hash]).await.absent, 1);
}

#[tokio::test]
async fn nothing_is_collected_while_pins_from_before_the_start_may_hold() {
    let sim = Sim::new().await;
    let hash = sim.put(1, 100).await;
    sim.edges.advance(GRACE);
    sim.store.close().await;
    let options = small_options();
    let store = open_sim(std::slice::from_ref(&sim.disk), &sim.edges, options)
        .await
        .unwrap();
    let now = sim.edges.unix_ms();
    let refused = store.collect(&[hash], now).await;
    assert_eq!(refused, Err(CollectError::TooEarly { wait_ms: 10_000 }));
    sim.edges.advance(LEASE);
    assert_eq!(store.collect(&[hash], now).await.unwrap().deleted, 1);
}

#[tokio::test]
async fn calls_are_bounded() {
    let edges = TestEdges::new();
    let options = StoreOptions {
        hashes_per_call_max: 2,
        pins_max: 3,
        ..small_options()
    };
    let store = open_sim(&[SimDisk::new(1, 1)], &edges, options)
        .await
        .unwrap();
    let hashes: Vec<_> = (0..4).map(|n| chunk(n, 9).hash()).collect();
    let refused = store.pin(A, &hashes[..3]).await;
    assert!(matches!(
        refused,
        Err(PinError::TooManyHashes { count: 3, .. })
    ));
    let refused = store.collect(&hashes[..3], 0).await;
    assert!(matches!(refused, Err(CollectError::TooManyHashes { .. })));
    store.pin(A, &hashes[..2]).await.unwrap();
    let refused = store.pin(A, &hashes[2..]).await;
    assert!(matches!(refused, Err(PinError::TooManyPins { .. })));
    assert_eq!(store.status().await.pins, 2);
}

#[tokio::test]
async fn compaction_gives_room_back_and_keeps_what_is_needed() {
    let mut sim = Sim::new().await;
    let mut hashes = Vec::new();
    for number in 0..40 {
        hashes.push(sim.put(2 * number + 1, 1_000).await);
    }
    sim.edges.advance(GRACE);
    let (kept, deleted): (Vec<_>, Vec<_>) = hashes
        .iter()
        .copied()
        .partition(|hash| hash.as_bytes()[0] < 60);
    assert!(kept.len() > 3 && deleted.len() > 20);
    assert_eq!(sim.collect(&deleted).await.deleted, deleted.len());
    // The time of this put must outlive the segment in which it stands.
    assert_eq!(sim.store.pin(A, &kept[..1]).await.unwrap(), [true]);
    let touched_ms = sim.edges.unix_ms();
    let before = sim.status().await;
    assert!(sim.compact_all().await > 3);
    let after = sim.status().await;
    assert_eq!(
        (after.chunks, after.plain_bytes),
        (before.chunks, before.plain_bytes)
    );
    assert!(
        after.dead_bytes < before.dead_bytes / 4,
        "{before:?} {after:?}"
    );

    // Twice: the first run after the start seals the segment that was written to.
    for rebuilds in [false, true, true] {
        sim = sim.reopen(rebuilds).await;
        sim.compact_all().await;
        for hash in &hashes {
            assert_eq!(sim.has(*hash).await, kept.contains(hash), "{rebuilds}");
        }
        for hash in &kept {
            sim.store.get(*hash).await.unwrap();
        }
        let info = sim.store.info(kept[0]).await.unwrap().unwrap();
        assert_eq!(info.put_ms, touched_ms);
        assert_eq!(sim.status().await.chunks, kept.len() as u64);
    }
}

/// A deletion whose segment is compacted before that of the chunk must stay known.
#[tokio::test]
async fn deletions_survive_their_segment() {
    let mut sim = Sim::new().await;
    // One segment that stays, since most of it is needed, with one chunk that is deleted.
    let doomed = sim.put(1, 1_000).await;
    for number in 1..7 {
        sim.put(2 * number + 1, 1_000).await;
    }
    sim.edges.advance(GRACE);
    let mut filler = Vec::new();
    for number in 100..107 {
        filler.push(sim.put(2 * number + 1, 1_000).await);
    }
    assert_eq!(sim.collect(&[doomed]).await.deleted, 1);
    for number in 200..207 {
        filler.push(sim.put(2 * number + 1, 1_000).await);
    }
    sim.edges.advance(GRACE);
    assert_eq!(sim.collect(&filler).await.deleted, filler.len());
    assert!(sim.compact_all().await > 0);
    sim = sim.reopen(true).await;
    sim.compact_all().await;
    sim = sim.reopen(true).await;
    assert!(!sim.has(doomed).await, "a deleted chunk came back");
    assert_eq!(sim.status().await.chunks, 6);
}

/// The place of a chunk's first record in the first segment of a fresh disk.
const FIRST: usize = 64;

#[tokio::test]
async fn damage_is_noticed_set_aside_and_repaired_by_a_put() {
    for (number, offset) in [(1, FIRST + 64 + 500), (2, FIRST + 64 + 3)] {
        let sim = Sim::on(SimDisk::new(1, 1), TestEdges::new()).await;
        let hash = sim.put(number, 1_000).await;
        sim.disk.damage(&file_name(1), offset, 0x10);
        let error = sim.store.get(hash).await.unwrap_err();
        assert!(matches!(error, GetError::Corrupt { .. }), "{error}");
        // Now it is known, without reading.
        assert!(matches!(
            sim.store.get(hash).await,
            Err(GetError::Corrupt { .. })
        ));
        assert!(sim.store.info(hash).await.unwrap().unwrap().is_corrupt);
        let status = sim.status().await;
        assert_eq!((status.chunks, status.corrupt_chunks), (0, 1));
        // It is not here for those who would rely on it.
        assert_eq!(sim.store.pin(A, &[hash]).await.unwrap(), [false]);
        let outcome = sim.store.put(&chunk(number, 1_000)).await.unwrap();
        assert_eq!(outcome, PutOutcome::Stored);
        assert_eq!(
            sim.store.get(hash).await.unwrap(),
            chunk(number, 1_000).bytes()
        );
        let status = sim.status().await;
        assert_eq!((status.chunks, status.corrupt_chunks), (1, 0));
        let sim = sim.reopen(true).await;
        assert_eq!(
            sim.store.get(hash).await.unwrap(),
            chunk(number, 1_000).bytes()
        );
    }
}

#[tokio::test]
async fn places_that_cannot_be_read_are_damage_and_many_make_a_disk_read_only() {
    let sim = Sim::new().await;
    let hash = sim.put(1, 1_000).await;
    sim.disk
        .break_sector(&file_name(1), FIRST + 100..FIRST + 200);
    assert!(matches!(
        sim.store.get(hash).await,
        Err(GetError::Corrupt { .. })
    ));
    assert_eq!(sim.status().await.read_errors, 1);
    assert_eq!(sim.status().await.state, DiskState::Writable);
    for _ in 0..small_options().read_errors_max {
        // Put behind the broken place, which the next one breaks.
        sim.put(1, 1_000).await;
        let (number, bytes) = newest_segment(&sim.disk);
        sim.disk
            .break_sector(&file_name(number), bytes - 500..bytes - 400);
        assert!(sim.store.get(hash).await.is_err());
    }
    assert!(matches!(
        sim.status().await.state,
        DiskState::ReadOnly { .. }
    ));
}

fn newest_segment(disk: &SimDisk) -> (u64, usize) {
    let number = (1..1_000)
        .take_while(|number| !disk.content(&file_name(*number)).is_empty())
        .last()
        .unwrap();
    (number, disk.content(&file_name(number)).len())
}

#[tokio::test]
async fn a_scrub_finds_damage_and_goes_on_where_it_was() {
    let mut sim = Sim::new().await;
    let mut hashes = Vec::new();
    for number in 0..30 {
        hashes.push(sim.put(2 * number + 1, 1_000).await);
    }
    // One damaged payload, one damaged header; in the cache both chunks are right.
    for hash in &hashes {
        sim.store.get(*hash).await.unwrap();
    }
    sim.disk.damage(&file_name(2), FIRST + 64 + 7, 1);
    sim.disk.damage(&file_name(3), FIRST + 40, 1);
    let mut corrupt = Vec::new();
    let mut chunks = 0;
    let mut steps = 0;
    loop {
        let step = sim.store.scrub_step(3_000).await;
        corrupt.extend(step.corrupt);
        chunks += step.chunks;
        steps += 1;
        if !step.finished.is_empty() {
            break;
        }
        assert!(step.bytes >= 3_000);
        if steps % 3 == 0 {
            sim = sim.reopen(false).await;
        }
    }
    assert!(steps > 8);
    assert_eq!(chunks, 30);
    corrupt.sort_unstable();
    let mut expected = vec![hashes[7], hashes[14]];
    expected.sort_unstable();
    assert_eq!(corrupt, expected);
    for hash in expected {
        assert!(matches!(
            sim.store.get(hash).await,
            Err(GetError::Corrupt { .. })
        ));
    }
    // What is known to be damaged is not found again.
    let step = sim.store.scrub_step(1 << 20).await;
    assert_eq!(
        (step.corrupt.len(), step.chunks, step.finished.len()),
        (0, 28, 1)
    );
}

/// Also compaction reads what it writes again: damage must not get a checksum that is right.
#[tokio::test]
async fn compaction_leaves_damage_behind_and_saves_chunks_with_damaged_headers() {
    let sim = Sim::new().await;
    let mut hashes = Vec::new();
    for number in 0..7 {
        hashes.push(sim.put(2 * number + 1, 1_000).await);
    }
    sim.put(99, 1_000).await;
    sim.edges.advance(GRACE);
    assert_eq!(sim.collect(&hashes[3..]).await.deleted, 4);
    let record = 64 + 1_024;
    sim.disk.damage(&file_name(1), FIRST + 64 + 7, 1);
    sim.disk.damage(&file_name(1), FIRST + record + 40, 1);
    assert_eq!(sim.compact_all().await, 1);
    assert!(matches!(
        sim.store.get(hashes[0]).await,
        Err(GetError::Corrupt { .. })
    ));
    let sim = sim.reopen(true).await;
    assert!(!sim.has(hashes[0]).await);
    for (number, hash) in [(1, hashes[1]), (2, hashes[2])] {
        assert_eq!(
            sim.store.get(hash).await.unwrap(),
            chunk(2 * number + 1, 1_000).bytes()
        );
    }
}
