//! The record: what a segment is made of. A header of 64 bytes, the payload, zeros up to the next multiple
//! of 64.
//!
//! ```text
//!  0  magic       u16      8  plain bytes u32     24  name of the chunk  32 bytes
//!  2  kind        u8      12  payload CRC u32     56  check              8 bytes
//!  3  encoding    u8      16  put time ms u64
//!  4  stored bytes u32
//! ```
//!
//! Numbers are little-endian. The check is a BLAKE3 keyed with a random key of the segment, over the record's
//! offset and the header: content that happens to look like a record, or is made to, is never taken for one,
//! nor is one that stands elsewhere than where it was written.

use thiserror::Error;

use crate::chunk::{CHUNK_BYTES_MAX, ChunkHash};
use crate::compression::Encoding;

/// Size of a header, and the unit in which records take room.
pub(crate) const HEADER_BYTES: usize = 64;

const MAGIC: [u8; 2] = [0xc4, 0x5e];
const CHECK_OFFSET: usize = 56;

/// The key of a segment's checks.
pub(crate) type SegmentKey = [u8; 32];

/// What a record says. The numbers are on disk: never change or reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordKind {
    /// The chunk's bytes follow.
    Put = 1,
    /// The chunk was put again: its put time is this.
    Touch = 2,
    /// The chunk is deleted.
    Tombstone = 3,
}

/// A header without its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) kind: RecordKind,
    pub(crate) encoding: Encoding,
    /// Bytes of payload.
    pub(crate) stored_bytes: u32,
    /// Bytes of the chunk.
    pub(crate) plain_bytes: u32,
    /// CRC-32 of the payload: tells a torn write without decoding anything.
    pub(crate) payload_crc: u32,
    pub(crate) put_ms: u64,
    pub(crate) hash: ChunkHash,
}

/// Why 64 bytes are not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum BadHeader {
    #[error("no record begins here")]
    Magic,
    #[error("checksum mismatch")]
    Check,
    #[error("kind, encoding or lengths that no release writes")]
    Content,
}

impl RecordHeader {
    /// A record without payload.
    pub(crate) fn bare(kind: RecordKind, hash: ChunkHash, put_ms: u64) -> Self {
        Self {
            kind,
            encoding: Encoding::Plain,
            stored_bytes: 0,
            plain_bytes: 0,
            payload_crc: 0,
            put_ms,
            hash,
        }
    }

    /// The header of a record at `offset`.
    pub(crate) fn encode(&self, key: &SegmentKey, offset: u64) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..2].copy_from_slice(&MAGIC);
        bytes[2] = self.kind as u8;
        bytes[3] = self.encoding as u8;
        bytes[4..8].copy_from_slice(&self.stored_bytes.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.plain_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.put_ms.to_le_bytes());
        bytes[24..CHECK_OFFSET].copy_from_slice(self.hash.as_bytes());
        let check = check(&bytes, key, offset);
        bytes[CHECK_OFFSET..].copy_from_slice(&check);
        bytes
    }

    /// Reads the header of a record at `offset`. Whatever it returns may be trusted as far as its lengths
    /// go; the payload has its own checksum, and the chunk its name.
    pub(crate) fn decode(
        bytes: &[u8; HEADER_BYTES],
        key: &SegmentKey,
        offset: u64,
    ) -> Result<Self, BadHeader> {
        if bytes[..2] != MAGIC {
            return Err(BadHeader::Magic);
        }
        if bytes[CHECK_OFFSET..] != check(bytes, key, offset) {
            return Err(BadHeader::Check);
        }
        let kind = match bytes[2] {
            1 => RecordKind::Put,
            2 => RecordKind::Touch,
            3 => RecordKind::Tombstone,
            _ => return Err(BadHeader::Content),
        };
        let mut hash = [0; ChunkHash::BYTES];
        hash.copy_from_slice(&bytes[24..CHECK_OFFSET]);
        let header = Self {
            kind,
            encoding: Encoding::from_number(bytes[3]).ok_or(BadHeader::Content)?,
            stored_bytes: u32_at(bytes, 4),
            plain_bytes: u32_at(bytes, 8),
            payload_crc: u32_at(bytes, 12),
            put_ms: u64_at(bytes, 16),
            hash: ChunkHash::from_bytes(hash),
        };
        if header.lengths_are_right() {
            Ok(header)
        } else {
            Err(BadHeader::Content)
        }
    }

    fn lengths_are_right(&self) -> bool {
        let lengths = (self.stored_bytes, self.plain_bytes);
        match (self.kind, self.encoding) {
            (RecordKind::Put, Encoding::Plain) => {
                lengths.0 == lengths.1 && lengths.1 as usize <= CHUNK_BYTES_MAX
            }
            (RecordKind::Put, Encoding::Zstd) => {
                lengths.0 < lengths.1 && lengths.1 as usize <= CHUNK_BYTES_MAX
            }
            (RecordKind::Touch | RecordKind::Tombstone, Encoding::Plain) => lengths == (0, 0),
            (RecordKind::Touch | RecordKind::Tombstone, Encoding::Zstd) => false,
        }
    }

    /// The room that the record takes, padding included.
    pub(crate) fn record_bytes(&self) -> u64 {
        record_bytes(self.stored_bytes)
    }
}

/// The room that a record with so much payload takes.
pub(crate) fn record_bytes(stored_bytes: u32) -> u64 {
    (HEADER_BYTES as u64 + u64::from(stored_bytes)).next_multiple_of(HEADER_BYTES as u64)
}

fn check(header: &[u8; HEADER_BYTES], key: &SegmentKey, offset: u64) -> [u8; 8] {
    let mut input = [0; 8 + CHECK_OFFSET];
    input[..8].copy_from_slice(&offset.to_le_bytes());
    input[8..].copy_from_slice(&header[..CHECK_OFFSET]);
    let hash = blake3::keyed_hash(key, &input);
    let mut check = [0; 8];
    check.copy_from_slice(&hash.as_bytes()[..8]);
    check
}

fn u32_at(bytes: &[u8; HEADER_BYTES], offset: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8; HEADER_BYTES], offset: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SegmentKey = [3; 32];

    fn put(encoding: Encoding, stored_bytes: u32, plain_bytes: u32) -> RecordHeader {
        RecordHeader {
            kind: RecordKind::Put,
            encoding,
            stored_bytes,
            plain_bytes,
            payload_crc: 0x0102_0304,
            put_ms: 1_700_000_000_000,
            hash: ChunkHash::from_bytes([0xaa; 32]),
        }
    }

    #[test]
    fn headers_survive_and_keep_their_bytes() {
        let hash = ChunkHash::from_bytes([0xaa; 32]);
        let headers = [
            put(Encoding::Plain, 5, 5),
            put(Encoding::Plain, 0, 0),
            put(Encoding::Zstd, 5, CHUNK_BYTES_MAX as u32),
            RecordHeader::bare(RecordKind::Touch, hash, 1),
            RecordHeader::bare(RecordKind::Tombstone, hash, u64::MAX),
        ];
        for header in headers {
            let bytes = header.encode(&KEY, 640);
            assert_eq!(RecordHeader::decode(&bytes, &KEY, 640), Ok(header));
        }
        let bytes = put(Encoding::Zstd, 5, 9).encode(&KEY, 640);
        let golden = "c45e01010500000009000000040302010068e5cf8b010000";
        assert_eq!(hex::encode(&bytes[..24]), golden);
        assert_eq!(hex::encode(&bytes[CHECK_OFFSET..]), GOLDEN_CHECK);
    }

    const GOLDEN_CHECK: &str = "d04e770973a5fa6b";

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = put(Encoding::Zstd, 5, 9).encode(&KEY, 640);
        for bit in 0..8 * HEADER_BYTES {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(RecordHeader::decode(&flipped, &KEY, 640).is_err(), "{bit}");
        }
        assert_eq!(
            RecordHeader::decode(&bytes, &KEY, 704),
            Err(BadHeader::Check)
        );
        assert_eq!(
            RecordHeader::decode(&bytes, &[4; 32], 640),
            Err(BadHeader::Check)
        );
    }

    #[test]
    fn lengths_that_no_release_writes_are_refused() {
        let wrong = [
            put(Encoding::Plain, 5, 6),
            put(
                Encoding::Plain,
                1 + CHUNK_BYTES_MAX as u32,
                1 + CHUNK_BYTES_MAX as u32,
            ),
            put(Encoding::Zstd, 9, 9),
            put(Encoding::Zstd, 5, 1 + CHUNK_BYTES_MAX as u32),
            RecordHeader {
                kind: RecordKind::Touch,
                ..put(Encoding::Plain, 5, 5)
            },
            RecordHeader {
                kind: RecordKind::Tombstone,
                ..put(Encoding::Zstd, 0, 0)
            },
        ];
        for header in wrong {
            let bytes = header.encode(&KEY, 0);
            assert_eq!(
                RecordHeader::decode(&bytes, &KEY, 0),
                Err(BadHeader::Content)
            );
        }
    }

    #[test]
    fn records_take_whole_units() {
        for (stored, room) in [
            (0, 64),
            (1, 128),
            (64, 128),
            (65, 192),
            (u32::MAX, (1 << 32) + 64),
        ] {
            assert_eq!(record_bytes(stored), room);
        }
    }
}
