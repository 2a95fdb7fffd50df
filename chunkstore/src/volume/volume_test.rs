//! One disk: what is committed is found again, whatever was cut off or damaged meanwhile.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::compression::{Encoding, Payload};
use crate::disk::Disk;
use crate::disk::sim::{Faults, SimDisk};
use crate::edges::SystemEdges;
use crate::segment::FIRST_RECORD;

fn options() -> VolumeOptions {
    VolumeOptions {
        segment_bytes: 4 << 10,
        reserve_bytes: 0,
        open_segments_max: 4,
        read_errors_max: 4,
        grace_ms: 100,
        compaction_live_ratio: 0.5,
    }
}

fn open(disk: &SimDisk, rebuilds: bool) -> Volume {
    let edges = Arc::new(SystemEdges::default());
    Volume::open(Arc::new(disk.clone()), edges, options(), rebuilds).unwrap()
}

fn put(number: u8, bytes: usize, put_ms: u64) -> Change {
    let payload = Bytes::from(vec![number; bytes]);
    Change::Put {
        hash: ChunkHash::of(&payload),
        payload_crc: crc32fast::hash(&payload),
        plain_bytes: bytes as u32,
        payload: Payload {
            encoding: Encoding::Plain,
            bytes: payload,
        },
        put_ms,
    }
}

fn hash(number: u8, bytes: usize) -> ChunkHash {
    ChunkHash::of(&vec![number; bytes])
}

fn chunks(volume: &Volume) -> Vec<IndexItem> {
    volume.index.scan(b"c", b"d", 1_000).unwrap()
}

#[test]
fn one_sync_serves_a_batch_and_answers_are_in_order() {
    let disk = SimDisk::new(1, 1);
    let volume = open(&disk, false);
    let before = disk.operations();
    let changes = vec![
        put(1, 100, 5),
        put(1, 100, 6),
        Change::Touch {
            hash: hash(9, 9),
            put_ms: 7,
        },
        put(2, 100, 8),
        Change::Delete {
            hash: hash(2, 100),
            put_ms_max: 7,
            now_ms: 9,
        },
        Change::Delete {
            hash: hash(1, 100),
            put_ms_max: 6,
            now_ms: 9,
        },
    ];
    let answers: Vec<_> = volume
        .commit(changes)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    use Outcome::{Done, Refreshed, Skipped};
    assert_eq!(answers, [Done, Refreshed, Skipped, Done, Skipped, Done]);
    // A file with its header, synced, and its name; then one write, one sync and one write of the index.
    assert_eq!(disk.operations() - before, 4 + 3);
    assert_eq!(volume.lookup(&hash(1, 100)).unwrap(), None);
    assert_eq!(volume.lookup(&hash(2, 100)).unwrap().unwrap().put_ms, 8);
}

#[test]
fn reading_segments_again_gives_what_writing_them_gave() {
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = SimDisk::new(1, seed);
        let mut volume = open(&disk, false);
        let mut now_ms = 1;
        for _ in 0..30 {
            let mut changes = Vec::new();
            for _ in 0..rng.random_range(1..12) {
                now_ms += 1;
                let number = rng.random_range(0..12_u8);
                let bytes = 100 * usize::from(number);
                let hash = hash(number, bytes);
                changes.push(match rng.random_range(0..6) {
                    0..3 => put(number, bytes, now_ms),
                    3 => Change::Touch {
                        hash,
                        put_ms: now_ms,
                    },
                    4 => Change::KeepTombstone {
                        hash,
                        deleted_ms: now_ms,
                    },
                    _ => Change::Delete {
                        hash,
                        put_ms_max: now_ms,
                        now_ms,
                    },
                });
            }
            assert!(volume.commit(changes).iter().all(Result::is_ok));
            if rng.random_bool(0.1) {
                drop(volume);
                disk.restart();
                volume = open(&disk, false);
            }
        }
        let written = chunks(&volume);
        let totals = volume.totals();
        assert!(totals.segments > 4 && written.len() > 2);
        drop(volume);
        let volume = open(&disk, true);
        assert_eq!(chunks(&volume), written, "seed {seed}");
        assert_eq!(volume.totals(), totals);
    }
}

#[test]
fn a_torn_tail_is_cut_and_never_served() {
    for power_off_at in 1..12 {
        for seed in 0..8 {
            let disk = SimDisk::new(1, seed);
            let volume = open(&disk, false);
            volume.commit(vec![put(1, 900, 1)]);
            disk.set_faults(Faults {
                power_off_at: Some(disk.operations() + power_off_at),
                ..Faults::default()
            });
            let answers = volume.commit(vec![put(2, 1_000, 2), put(3, 70_000, 2), put(4, 10, 2)]);
            drop(volume);
            disk.crash();
            let volume = open(&disk, false);
            let is_there = |number, bytes| {
                let entry = volume.lookup(&hash(number, bytes)).unwrap();
                entry.map(|entry| volume.read(&hash(number, bytes), &entry.location).unwrap())
            };
            assert!(is_there(1, 900).is_some());
            for (answer, (number, bytes)) in answers.iter().zip([(2, 1_000), (3, 70_000), (4, 10)])
            {
                assert!(is_there(number, bytes).is_some() || answer.is_err());
            }
            // Nothing but whole records is left.
            let total = volume.totals();
            let headers = total.segments * FIRST_RECORD;
            let damage = total.file_bytes - headers - total.live.live_record_bytes;
            assert!(damage < 1_200, "{damage} bytes of {total:?}");
        }
    }
}

#[test]
fn an_index_that_does_not_fit_its_segments_is_made_anew() {
    let disk = SimDisk::new(1, 1);
    let volume = open(&disk, false);
    for number in 0..10 {
        volume.commit(vec![put(number, 1_000, 1)]);
    }
    volume.finish();
    drop(volume);
    // A segment is taken away.
    disk.remove(&file_name(2)).unwrap();
    let volume = open(&disk, false);
    assert_eq!(chunks(&volume).len(), 7);
    let (last, _) = volume
        .segments
        .read()
        .last_key_value()
        .map(|(n, s)| (*n, *s))
        .unwrap();
    drop(volume);
    // What was synced of a segment is gone.
    let content = disk.content(&file_name(last));
    disk.plant(&file_name(last), &content[..100]);
    let volume = open(&disk, false);
    assert_eq!(chunks(&volume).len(), 6);
    // The numbers go on: a name is never used twice.
    volume.commit(vec![put(99, 10, 1)]);
    assert!(*volume.segments.read().last_key_value().unwrap().0 > last);
}
