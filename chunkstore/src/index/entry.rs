//! Keys and values of the index, as types. Keys begin with a letter for their kind; numbers in keys are
//! big-endian, so that byte order is number order.

use std::io;

use crate::chunk::ChunkHash;
use crate::compression::Encoding;
use crate::record::record_bytes;

/// The letters of key kinds are on disk: never change or reuse one.
const CHUNK: u8 = b'c';
const META: u8 = b'm';
const SEGMENT: u8 = b's';

const VERSION: u8 = 1;
const FLAG_CORRUPT: u8 = 1;

/// Where a chunk's record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) segment: u64,
    /// Of the record's header.
    pub(crate) offset: u64,
    pub(crate) stored_bytes: u32,
    pub(crate) plain_bytes: u32,
    pub(crate) encoding: Encoding,
}

/// What is known of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) location: Location,
    /// When it was last put.
    pub(crate) put_ms: u64,
    /// The record was found damaged: it is not read again, and the next put replaces it.
    pub(crate) is_corrupt: bool,
}

/// Up to where the segments are in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SegmentStats {
    /// Length of the file.
    pub(crate) file_bytes: u64,
    /// Chunks whose record is here and intact as far as is known.
    pub(crate) live_chunks: u64,
    /// Room that their records take.
    pub(crate) live_record_bytes: u64,
    /// Payload of these records.
    pub(crate) live_stored_bytes: u64,
    /// The same before compression.
    pub(crate) live_plain_bytes: u64,
}

impl SegmentStats {
    /// Counts a record in.
    pub(crate) fn add(&mut self, location: &Location) {
        self.live_chunks += 1;
        self.live_record_bytes += record_bytes(location.stored_bytes);
        self.live_stored_bytes += u64::from(location.stored_bytes);
        self.live_plain_bytes += u64::from(location.plain_bytes);
    }

    /// Counts a record out. What was never counted in is a bug, but numbers for operators are no reason to
    /// stop serving.
    pub(crate) fn subtract(&mut self, location: &Location) {
        self.live_chunks = self.live_chunks.saturating_sub(1);
        let room = record_bytes(location.stored_bytes);
        self.live_record_bytes = self.live_record_bytes.saturating_sub(room);
        let stored = u64::from(location.stored_bytes);
        self.live_stored_bytes = self.live_stored_bytes.saturating_sub(stored);
        let plain = u64::from(location.plain_bytes);
        self.live_plain_bytes = self.live_plain_bytes.saturating_sub(plain);
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let numbers = [
            self.file_bytes,
            self.live_chunks,
            self.live_record_bytes,
            self.live_stored_bytes,
            self.live_plain_bytes,
        ];
        encode_numbers(&numbers)
    }

    pub(crate) fn decode(value: &[u8]) -> io::Result<Self> {
        let [
            file_bytes,
            live_chunks,
            live_record_bytes,
            live_stored_bytes,
            live_plain_bytes,
        ] = decode_numbers(value)?;
        Ok(Self {
            file_bytes,
            live_chunks,
            live_record_bytes,
            live_stored_bytes,
            live_plain_bytes,
        })
    }
}

impl Entry {
    const BYTES: usize = 35;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(Self::BYTES);
        let flags = if self.is_corrupt { FLAG_CORRUPT } else { 0 };
        value.extend([VERSION, flags, self.location.encoding as u8]);
        value.extend(self.location.segment.to_le_bytes());
        value.extend(self.location.offset.to_le_bytes());
        value.extend(self.location.stored_bytes.to_le_bytes());
        value.extend(self.location.plain_bytes.to_le_bytes());
        value.extend(self.put_ms.to_le_bytes());
        value
    }

    pub(crate) fn decode(value: &[u8]) -> io::Result<Self> {
        let invalid = || invalid("chunk", value);
        let value: &[u8; Self::BYTES] = value.try_into().map_err(|_| invalid())?;
        let [VERSION, flags @ (0 | FLAG_CORRUPT), encoding, ..] = *value else {
            return Err(invalid());
        };
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| value[at + i]));
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| value[at + i]));
        Ok(Self {
            location: Location {
                segment: u64_at(3),
                offset: u64_at(11),
                stored_bytes: u32_at(19),
                plain_bytes: u32_at(23),
                encoding: Encoding::from_number(encoding).ok_or_else(invalid)?,
            },
            put_ms: u64_at(27),
            is_corrupt: flags == FLAG_CORRUPT,
        })
    }
}

impl Position {
    pub(crate) fn encode(&self) -> Vec<u8> {
        encode_numbers(&[self.segment, self.offset])
    }

    pub(crate) fn decode(value: &[u8]) -> io::Result<Self> {
        let [segment, offset] = decode_numbers(value)?;
        Ok(Self { segment, offset })
    }
}

/// A number under a name.
pub(crate) fn encode_count(count: u64) -> Vec<u8> {
    encode_numbers(&[count])
}

pub(crate) fn decode_count(value: &[u8]) -> io::Result<u64> {
    let [count] = decode_numbers(value)?;
    Ok(count)
}

fn encode_numbers(numbers: &[u64]) -> Vec<u8> {
    let mut value = vec![VERSION];
    value.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    value
}

fn decode_numbers<const N: usize>(value: &[u8]) -> io::Result<[u64; N]> {
    let numbers = match value {
        [VERSION, numbers @ ..] if numbers.len() == 8 * N => numbers,
        _ => return Err(invalid("number", value)),
    };
    Ok(std::array::from_fn(|n| {
        u64::from_le_bytes(std::array::from_fn(|i| numbers[8 * n + i]))
    }))
}

fn invalid(what: &str, value: &[u8]) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("index has a {what} record that no release writes: {value:02x?}"),
    )
}

/// Key of a chunk.
pub(crate) fn chunk_key(hash: &ChunkHash) -> Vec<u8> {
    let mut key = vec![CHUNK];
    key.extend(hash.as_bytes());
    key
}

/// The chunk of a key.
pub(crate) fn chunk_of_key(key: &[u8]) -> io::Result<ChunkHash> {
    match key.split_first() {
        Some((&CHUNK, hash)) => hash.try_into().map(ChunkHash::from_bytes).ok(),
        _ => None,
    }
    .ok_or_else(|| invalid("key", key))
}

/// The smallest key after those of all chunks.
pub(crate) fn chunks_end() -> Vec<u8> {
    vec![CHUNK + 1]
}

/// Key of something that there is once.
pub(crate) fn meta_key(name: &str) -> Vec<u8> {
    let mut key = vec![META];
    key.extend(name.as_bytes());
    key
}

/// Key of a segment.
pub(crate) fn segment_key(number: u64) -> Vec<u8> {
    let mut key = vec![SEGMENT];
    key.extend(number.to_be_bytes());
    key
}

/// The segment of a key.
pub(crate) fn segment_of_key(key: &[u8]) -> io::Result<u64> {
    match key.split_first() {
        Some((&SEGMENT, number)) => number.try_into().map(u64::from_be_bytes).ok(),
        _ => None,
    }
    .ok_or_else(|| invalid("key", key))
}

/// From the first segment's key to after the last.
pub(crate) fn segments_range() -> (Vec<u8>, Vec<u8>) {
    (vec![SEGMENT], vec![SEGMENT + 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Entry = Entry {
        location: Location {
            segment: 0x0102_0304,
            offset: 0x0506,
            stored_bytes: 7,
            plain_bytes: 8,
            encoding: Encoding::Zstd,
        },
        put_ms: 9,
        is_corrupt: true,
    };

    #[test]
    fn values_survive_and_keep_their_bytes() {
        let bytes = ENTRY.encode();
        assert_eq!(
            hex::encode(&bytes),
            "010101040302010000000006050000000000000700000008000000\
             0900000000000000"
        );
        assert_eq!(Entry::decode(&bytes).unwrap(), ENTRY);
        let stats = SegmentStats {
            file_bytes: 1,
            live_chunks: 2,
            live_record_bytes: 3,
            live_stored_bytes: 4,
            live_plain_bytes: 5,
        };
        assert_eq!(SegmentStats::decode(&stats.encode()).unwrap(), stats);
        let position = Position {
            segment: 1,
            offset: u64::MAX,
        };
        assert_eq!(Position::decode(&position.encode()).unwrap(), position);
        assert_eq!(decode_count(&encode_count(77)).unwrap(), 77);
    }

    #[test]
    fn foreign_values_are_refused() {
        let bytes = ENTRY.encode();
        for length in 0..bytes.len() {
            assert!(Entry::decode(&bytes[..length]).is_err());
        }
        for (position, wrong) in [(0, 2), (1, 2), (2, 9)] {
            let mut changed = bytes.clone();
            changed[position] = wrong;
            assert!(Entry::decode(&changed).is_err());
        }
        assert!(Position::decode(&encode_count(1)).is_err());
        assert!(chunk_of_key(&segment_key(1)).is_err());
        assert!(segment_of_key(&meta_key("12345678")).is_err());
    }

    #[test]
    fn keys_are_in_order() {
        let low = ChunkHash::from_bytes([0; 32]);
        let high = ChunkHash::from_bytes([0xff; 32]);
        assert!(chunk_key(&low) < chunk_key(&high) && chunk_key(&high) < chunks_end());
        assert_eq!(chunk_of_key(&chunk_key(&high)).unwrap(), high);
        let (from, to) = segments_range();
        assert!(from <= segment_key(0) && segment_key(0xff) < segment_key(0x100));
        assert!(segment_key(u64::MAX) < to);
        assert_eq!(segment_of_key(&segment_key(0x1234)).unwrap(), 0x1234);
    }
}
