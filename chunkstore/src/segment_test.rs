//! Segment files: what their headers and records say, and that nothing else is ever taken for one.

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use super::*;
use crate::chunk::ChunkHash;
use crate::compression::Encoding;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::record::{RecordHeader, RecordKind};

const HEADER: SegmentHeader = SegmentHeader {
    disk: DiskId([1; 16]),
    number: 7,
    salt: [9; 16],
};

/// A segment of chunks of these sizes, with the offsets of their records.
fn segment(sizes: &[usize]) -> (Vec<u8>, Vec<u64>) {
    let mut content = HEADER.encode().to_vec();
    let mut offsets = Vec::new();
    for (number, size) in sizes.iter().enumerate() {
        let payload = vec![number as u8; *size];
        let header = RecordHeader {
            kind: RecordKind::Put,
            encoding: Encoding::Plain,
            stored_bytes: *size as u32,
            plain_bytes: *size as u32,
            payload_crc: crc32fast::hash(&payload),
            put_ms: 5,
            hash: ChunkHash::of(&payload),
        };
        offsets.push(content.len() as u64);
        content.extend(header.encode(&HEADER.key(), content.len() as u64));
        content.extend(payload);
        content.resize(content.len().next_multiple_of(HEADER_BYTES), 0);
    }
    (content, offsets)
}

fn walk(disk: &SimDisk) -> Vec<Found> {
    let file = disk.open("s").unwrap();
    let bytes = file.bytes().unwrap();
    let segment = Arc::new(Segment::open(7, DiskId([1; 16]), file).unwrap());
    let mut walk = Walk::new(segment, 0, bytes);
    let mut found = Vec::new();
    let mut at = FIRST_RECORD;
    while let Some(next) = walk.next() {
        // Nothing is skipped and nothing seen twice.
        let (from, to) = match next {
            Found::Record { offset, header } => (offset, offset + header.record_bytes()),
            Found::Damage { from, to } => (from, to),
        };
        assert_eq!(from, at);
        assert!(to > from);
        at = to;
        found.push(next);
    }
    assert!(at >= bytes.max(FIRST_RECORD));
    found
}

fn disk_with(content: &[u8]) -> SimDisk {
    let disk = SimDisk::new(1, 0);
    disk.plant("s", content);
    disk
}

fn offsets_of(found: &[Found]) -> Vec<u64> {
    let offset = |found: &Found| match found {
        Found::Record { offset, .. } => Some(*offset),
        Found::Damage { .. } => None,
    };
    found.iter().filter_map(offset).collect()
}

#[test]
fn headers_and_names_survive() {
    let bytes = HEADER.encode();
    assert_eq!(SegmentHeader::decode(&bytes), Some(HEADER));
    for bit in 0..8 * bytes.len() {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(SegmentHeader::decode(&flipped), None, "{bit}");
    }
    let other = SegmentHeader {
        number: 8,
        ..HEADER
    };
    assert_ne!(other.key(), HEADER.key());
    assert_eq!(hex::encode(&HEADER.key()[..8]), GOLDEN_KEY);
    assert_eq!(file_name(0x1f), "000000000000001f.segment");
    assert_eq!(number_of("000000000000001f.segment"), Some(0x1f));
    for name in [
        "1f.segment",
        "000000000000001F.segment",
        "000000000000001f",
        "x",
    ] {
        assert_eq!(number_of(name), None);
    }
}

const GOLDEN_KEY: &str = "4bc75df962228829";

#[test]
fn a_walk_finds_every_record_also_behind_damage() {
    let (content, offsets) = segment(&[0, 1, 64, 200_000, 65, 3]);
    assert_eq!(offsets_of(&walk(&disk_with(&content))), offsets);

    // A damaged header costs its own record only.
    for (number, offset) in offsets.iter().enumerate() {
        let disk = disk_with(&content);
        disk.damage("s", *offset as usize + 20, 4);
        let found = walk(&disk);
        let mut others = offsets.clone();
        others.remove(number);
        assert_eq!(offsets_of(&found), others);
        let end = offsets
            .get(number + 1)
            .copied()
            .unwrap_or(content.len() as u64);
        assert!(found.contains(&Found::Damage {
            from: *offset,
            to: end
        }));
    }

    // Sectors that cannot be read cost the headers in them.
    let disk = disk_with(&content);
    let in_payload = offsets[3] as usize + 100_000;
    disk.break_sector("s", in_payload..in_payload + 1);
    assert_eq!(offsets_of(&walk(&disk)), offsets);
    let disk = disk_with(&content);
    let header = offsets[4] as usize;
    disk.break_sector("s", header..header + 1);
    assert!(offsets_of(&walk(&disk)).starts_with(&offsets[..4]));
}

#[test]
fn a_record_that_is_cut_short_is_none() {
    let (content, offsets) = segment(&[100, 100]);
    for bytes in FIRST_RECORD as usize..content.len() {
        let found = offsets_of(&walk(&disk_with(&content[..bytes])));
        // The padding does not matter.
        let whole = offsets
            .iter()
            .filter(|offset| **offset as usize + 164 <= bytes);
        assert_eq!(found.len(), whole.count(), "{bytes}");
    }
}

/// Whoever stores a chunk chooses its content. A record in it must not be taken for one, not even where a walk
/// looks for the next record behind damage.
#[test]
fn content_that_looks_like_records_is_not_taken_for_one() {
    let (inner, _) = segment(&[1, 2, 3]);
    let mut content = HEADER.encode().to_vec();
    content.extend([0xff; 64]);
    content.extend(&inner[FIRST_RECORD as usize..]);
    assert!(offsets_of(&walk(&disk_with(&content))).is_empty());

    // The same records where they belong, but with the key of another segment.
    let mut content = inner;
    let other = SegmentHeader {
        salt: [8; 16],
        ..HEADER
    };
    content[..HEADER_BYTES].copy_from_slice(&other.encode());
    assert!(offsets_of(&walk(&disk_with(&content))).is_empty());
}

#[test]
fn garbage_is_walked_to_its_end() {
    let (right, _) = segment(&[10, 1_000, 70_000, 0, 64]);
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut content = if seed % 3 == 0 {
            let mut noise = vec![0; rng.random_range(0..5_000)];
            rng.fill_bytes(&mut noise);
            noise
        } else {
            right.clone()
        };
        for _ in 0..rng.random_range(0..20) {
            if !content.is_empty() {
                let at = rng.random_range(0..content.len());
                content[at] = rng.random();
            }
        }
        content.truncate(rng.random_range(0..=content.len()));
        let disk = disk_with(&content);
        for found in walk(&disk) {
            if let Found::Record { offset, header } = found {
                let file = disk.open("s").unwrap();
                let segment = Segment::open(7, DiskId([1; 16]), file).unwrap();
                let payload = segment.read_payload(offset, header.stored_bytes);
                assert_eq!(payload.unwrap().len(), header.stored_bytes as usize);
            }
        }
    }
}
