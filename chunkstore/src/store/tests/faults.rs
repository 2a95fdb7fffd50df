//! Disks that fill up and fail, and segments that hold anything.

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use super::*;
use crate::disk::sim::Faults;
use crate::error::{GetError, PutError};
use crate::pins::UploadId;
use crate::segment::file_name;

fn in_runtime(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(work);
}

#[tokio::test]
async fn a_full_disk_takes_no_chunks_and_can_still_be_emptied() {
    let edges = TestEdges::new();
    let disk = SimDisk::new(1, 1);
    let disks = [disk.clone()];
    disk.set_capacity(40_000);
    let options = StoreOptions {
        reserve_bytes: 12_000,
        ..small_options()
    };
    let store = open_sim(&disks, &edges, options).await.unwrap();
    let mut hashes = Vec::new();
    let mut numbers = (0..).map(|number| chunk(2 * number + 1, 1_000));
    let refused = loop {
        let chunk = numbers.next().unwrap();
        match store.put(&chunk).await {
            Ok(_) => hashes.push(chunk.hash()),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, PutError::Full);
    let status = store.status().await.disks.remove(0);
    assert_eq!(status.state, DiskState::Full);
    assert!(status.space.free_bytes >= 11_900, "the reserve is kept");
    assert!(hashes.len() > 20);
    // What is there can be relied on.
    let pinned = store.pin(UploadId(1), &hashes[..1]).await.unwrap();
    assert_eq!(pinned, [true]);
    let known = chunk(1, 1_000);
    assert_eq!(store.put(&known).await.unwrap(), PutOutcome::Refreshed);

    edges.advance(GRACE);
    let collected = store.collect(&hashes, edges.unix_ms()).await.unwrap();
    assert_eq!(collected.deleted, hashes.len());
    while store.compact_step().await.bytes > 0 {}
    assert_eq!(
        store.put(&chunk(1_001, 1_000)).await.unwrap(),
        PutOutcome::Stored
    );
    assert_eq!(store.status().await.disks[0].state, DiskState::Writable);
}

/// No room although there should be: what was begun is taken back, and nothing else is harmed.
#[tokio::test]
async fn a_write_without_room_is_taken_back() {
    let edges = TestEdges::new();
    let disk = SimDisk::new(1, 1);
    let disks = [disk.clone()];
    let options = StoreOptions {
        reserve_bytes: 0,
        ..small_options()
    };
    let store = open_sim(&disks, &edges, options.clone()).await.unwrap();
    let first = chunk(1, 1_000);
    store.put(&first).await.unwrap();
    // Enough for the record by its size, not with what else is in the batch.
    let used = disk.content(&file_name(1)).len() as u64;
    disk.set_capacity(used + 1_100);
    let (second, third) = (chunk(3, 1_000), chunk(5, 900));
    let (a, b) = futures::join!(store.put(&second), store.put(&third));
    assert_eq!((a.is_ok(), b), (true, Err(PutError::Full)));
    disk.set_capacity(used + 1_100 + 32);
    // A deletion needs a header's room.
    edges.advance(GRACE);
    let collected = store
        .collect(&[first.hash()], edges.unix_ms())
        .await
        .unwrap();
    assert_eq!((collected.deleted, collected.failed), (0, 1));
    assert_eq!(store.get(first.hash()).await.unwrap(), first.bytes());
    disk.set_capacity(u64::MAX);
    store.put(&third).await.unwrap();
    store.close().await;
    disk.crash();
    let options = StoreOptions {
        rebuilds_index: true,
        ..options
    };
    let store = open_sim(&disks, &edges, options).await.unwrap();
    for chunk in [first, second, third] {
        assert_eq!(store.get(chunk.hash()).await.unwrap(), chunk.bytes());
    }
}

/// After a failed sync the kernel may show what it has not written. It is not served after a restart, since the
/// next loss of power would take it away.
#[tokio::test]
async fn a_failed_sync_is_final_and_what_it_lost_is_not_shown_again() {
    for writes in [false, true] {
        let edges = TestEdges::new();
        let disk = SimDisk::new(1, 1);
        let disks = [disk.clone()];
        let store = open_sim(&disks, &edges, small_options()).await.unwrap();
        let (kept, lost, other) = (chunk(1, 1_000), chunk(3, 1_000), chunk(5, 10));
        store.put(&kept).await.unwrap();
        disk.set_faults(if writes {
            Faults {
                write_error_at: Some(0),
                ..Faults::default()
            }
        } else {
            Faults {
                sync_error_at: Some(0),
                ..Faults::default()
            }
        });
        let refused = store.put(&lost).await;
        assert!(
            matches!(refused, Err(PutError::ReadOnly { .. })),
            "{refused:?}"
        );
        // The disk works again; nobody knows what it lost.
        for chunk in [&lost, &other, &kept] {
            assert!(matches!(
                store.put(chunk).await,
                Err(PutError::ReadOnly { .. })
            ));
        }
        let status = store.status().await.disks.remove(0);
        assert!(matches!(status.state, DiskState::ReadOnly { .. }));
        assert_eq!(store.get(kept.hash()).await.unwrap(), kept.bytes());
        assert!(matches!(
            store.get(lost.hash()).await,
            Err(GetError::NotFound(_))
        ));
        let pinned = store.pin(UploadId(1), &[kept.hash()]).await.unwrap();
        assert_eq!(pinned, [false], "nothing can be noted on this disk");
        store.close().await;
        disk.restart();

        let store = open_sim(&disks, &edges, small_options()).await.unwrap();
        assert_eq!(store.get(kept.hash()).await.unwrap(), kept.bytes());
        let is_there = store.info(lost.hash()).await.unwrap().is_some();
        if !writes {
            assert!(!is_there, "it is in memory only");
        }
        store.put(&other).await.unwrap();
        store.close().await;
        disk.crash();
        let store = open_sim(&disks, &edges, small_options()).await.unwrap();
        for chunk in [&kept, &other] {
            assert_eq!(store.get(chunk.hash()).await.unwrap(), chunk.bytes());
        }
    }
}

#[tokio::test]
async fn other_disks_go_on() {
    let edges = TestEdges::new();
    let disks = [SimDisk::new(1, 1), SimDisk::new(2, 2), SimDisk::new(3, 3)];
    let store = open_sim(&disks, &edges, small_options()).await.unwrap();
    let chunks: Vec<_> = (0..60).map(|number| chunk(number, 500)).collect();
    for chunk in &chunks[..30] {
        store.put(chunk).await.unwrap();
    }
    for status in store.status().await.disks {
        assert!(status.chunks > 2, "chunks are spread: {status:?}");
    }
    disks[1].set_faults(Faults {
        sync_error_at: Some(0),
        ..Faults::default()
    });
    for chunk in &chunks[30..] {
        store.put(chunk).await.unwrap();
    }
    let states: Vec<_> = store.status().await.disks;
    assert!(matches!(states[1].state, DiskState::ReadOnly { .. }));
    assert_eq!(states[0].state, DiskState::Writable);
    for chunk in &chunks {
        assert_eq!(store.get(chunk.hash()).await.unwrap(), chunk.bytes());
    }
    // What only the failed disk has cannot be relied on until it is put again, to another disk.
    let hashes: Vec<_> = chunks.iter().map(Chunk::hash).collect();
    let here = store.pin(UploadId(1), &hashes).await.unwrap();
    assert!(here[30..].iter().all(|here| *here));
    assert!(here[..30].iter().any(|here| !here));
    for chunk in &chunks {
        store.put(chunk).await.unwrap();
    }
    assert!(
        store
            .pin(UploadId(1), &hashes)
            .await
            .unwrap()
            .iter()
            .all(|here| *here)
    );
    assert_eq!(store.list(None, 100).await.unwrap().len(), 60);

    // One disk gone for good: the others open.
    store.close().await;
    let store = open_sim(&disks[2..], &edges, small_options())
        .await
        .unwrap();
    assert!(store.status().await.disks[0].chunks > 10);
    let twice = [disks[0].clone(), disks[0].clone()];
    let refused = open_sim(&twice, &edges, small_options()).await;
    assert!(matches!(refused.err(), Some(OpenError::SameDisk(..))));
}

/// Whatever stands in the segments: no panic, and no bytes but those that a name stands for.
#[test]
fn garbage_in_segments_is_never_served() {
    let mut served = 0;
    for seed in 0..150 {
        in_runtime(async {
            let mut rng = StdRng::seed_from_u64(seed);
            let edges = TestEdges::new();
            let disk = SimDisk::new(1, seed);
            let disks = [disk.clone()];
            let store = open_sim(&disks, &edges, small_options()).await.unwrap();
            let chunks: Vec<_> = (0..24).map(|n| chunk(n, n as usize * 90)).collect();
            for chunk in &chunks {
                store.put(chunk).await.unwrap();
            }
            store.close().await;
            let files = disk.list().unwrap();
            for _ in 0..rng.random_range(1..12) {
                let name = &files[rng.random_range(0..files.len())];
                let mut content = disk.content(name);
                match rng.random_range(0..5) {
                    0 => {
                        let bytes = rng.random_range(0..=content.len());
                        content.truncate(bytes);
                    }
                    1 => rng.fill_bytes(&mut content),
                    2 => content = disk.content(&files[rng.random_range(0..files.len())]),
                    _ => {
                        for _ in 0..rng.random_range(1..9) {
                            if !content.is_empty() {
                                let at = rng.random_range(0..content.len());
                                content[at] ^= 1 << rng.random_range(0..8);
                            }
                        }
                    }
                }
                disk.plant(name, &content);
            }
            let options = StoreOptions {
                rebuilds_index: rng.random_bool(0.5),
                ..small_options()
            };
            let store = open_sim(&disks, &edges, options).await.unwrap();
            for chunk in &chunks {
                if let Ok(bytes) = store.get(chunk.hash()).await {
                    assert_eq!(&bytes, chunk.bytes());
                    served += 1;
                }
            }
            while store.scrub_step(1 << 20).await.finished.is_empty() {}
            while store.compact_step().await.bytes > 0 {}
            // Everything can be put again, and is right then.
            for chunk in &chunks {
                store.put(chunk).await.unwrap();
                assert_eq!(&store.get(chunk.hash()).await.unwrap(), chunk.bytes());
            }
            store.close().await;
            let options = StoreOptions {
                rebuilds_index: true,
                ..small_options()
            };
            let store = open_sim(&disks, &edges, options).await.unwrap();
            for chunk in &chunks {
                assert_eq!(&store.get(chunk.hash()).await.unwrap(), chunk.bytes());
            }
            store.close().await;
        });
    }
    assert!(served > 500, "{served}");
}

/// A process that is killed leaves in memory what it had not synced. Who is told after the next start that a chunk is
/// here must find it after a loss of power too.
#[tokio::test]
async fn what_a_killed_process_left_in_memory_is_durable_before_it_is_relied_on() {
    let mut found = 0;
    for power_off_at in 1..8 {
        for seed in 0..8 {
            let edges = TestEdges::new();
            let disks = [SimDisk::new(1, seed)];
            let store = open_sim(&disks, &edges, small_options()).await.unwrap();
            store.put(&chunk(1, 600)).await.unwrap();
            disks[0].set_faults(Faults {
                power_off_at: Some(disks[0].operations() + power_off_at),
                ..Faults::default()
            });
            let cut_short = chunk(3, 1_500);
            let _ = store.put(&cut_short).await;
            disks[0].power_off();
            store.close().await;
            disks[0].restart();

            let store = open_sim(&disks, &edges, small_options()).await.unwrap();
            let here = store.pin(UploadId(1), &[cut_short.hash()]).await.unwrap();
            disks[0].power_off();
            store.close().await;
            disks[0].crash();

            let store = open_sim(&disks, &edges, small_options()).await.unwrap();
            if here == [true] {
                found += 1;
                let bytes = store.get(cut_short.hash()).await.unwrap();
                assert_eq!(&bytes, cut_short.bytes());
            }
            store.close().await;
        }
    }
    assert!(found > 8, "{found}");
}

/// The name of a segment that was removed may come back when the power goes. The deletions of what is in it must not be
/// gone by then.
#[tokio::test]
async fn a_segment_that_comes_back_brings_nothing_back() {
    for seed in 0..30 {
        let edges = TestEdges::new();
        let disks = [SimDisk::new(1, seed)];
        let store = open_sim(&disks, &edges, small_options()).await.unwrap();
        let mut hashes = Vec::new();
        // Two segments of chunks, whose deletions are in the second and third one.
        for number in 0..14 {
            let chunk = chunk(2 * number + 1, 1_000);
            store.put(&chunk).await.unwrap();
            hashes.push(chunk.hash());
        }
        edges.advance(GRACE);
        let now = edges.unix_ms();
        assert_eq!(store.collect(&hashes, now).await.unwrap().deleted, 14);
        let kept = chunk(1_001, 7_000);
        store.put(&kept).await.unwrap();
        let mut removed = 0;
        loop {
            let step = store.compact_step().await;
            removed += step.removed;
            if step.bytes == 0 {
                break;
            }
        }
        assert!(removed >= 2);
        disks[0].power_off();
        store.close().await;
        disks[0].crash();
        let options = StoreOptions {
            rebuilds_index: true,
            ..small_options()
        };
        let store = open_sim(&disks, &edges, options).await.unwrap();
        let listed = store.list(None, 100).await.unwrap();
        assert_eq!(listed.len(), 1, "seed {seed}");
        assert_eq!(&store.get(kept.hash()).await.unwrap(), kept.bytes());
        store.close().await;
    }
}
