//! Segments: the append-only files that chunks are kept in. A header of 64 bytes, then records.
//!
//! ```text
//!  0  magic    "yunchunk"      16  disk id  16 bytes      56  check  8 bytes
//!  8  version  u32             32  number   u64
//! 12  zero     u32             40  salt     16 bytes
//! ```
//!
//! A segment is written from its beginning to its end by one process and never appended to by another; its
//! number is never used twice. So of two records about a chunk the later one stands further on in the file, or
//! in a file of a higher number.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{DiskFile, DiskId};
use crate::record::{HEADER_BYTES, RecordHeader, SegmentKey};

const MAGIC: &[u8; 8] = b"yunchunk";
const VERSION: u32 = 1;
const CHECK_OFFSET: usize = 56;
const KEY_CONTEXT: &str = "yunbase chunkstore: key of a segment's record checks, version 1";

/// Where the first record begins.
pub(crate) const FIRST_RECORD: u64 = HEADER_BYTES as u64;

/// What a segment's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) disk: DiskId,
    pub(crate) number: u64,
    /// Random, so that nobody who stores chunks can compute checks.
    pub(crate) salt: [u8; 16],
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.disk.0);
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..CHECK_OFFSET].copy_from_slice(&self.salt);
        let hash = blake3::hash(&bytes[..CHECK_OFFSET]);
        bytes[CHECK_OFFSET..].copy_from_slice(&hash.as_bytes()[..8]);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let hash = blake3::hash(&bytes[..CHECK_OFFSET]);
        let is_right = bytes[..8] == *MAGIC
            && bytes[8..12] == VERSION.to_le_bytes()
            && bytes[CHECK_OFFSET..] == hash.as_bytes()[..8];
        is_right.then(|| {
            let mut header = Self {
                disk: DiskId([0; 16]),
                number: 0,
                salt: [0; 16],
            };
            header.disk.0.copy_from_slice(&bytes[16..32]);
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[32..40]);
            header.number = u64::from_le_bytes(number);
            header.salt.copy_from_slice(&bytes[40..CHECK_OFFSET]);
            header
        })
    }

    pub(crate) fn key(&self) -> SegmentKey {
        blake3::derive_key(KEY_CONTEXT, &self.encode())
    }
}

/// The file name of a segment.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:016x}.segment")
}

/// The number in a file name; `None` for files that are no segments.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".segment")?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (file_name(number) == name).then_some(number)
}

/// A segment that is open.
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    /// `None` when the header is damaged: then records cannot be found by walking, but those whose place is
    /// known are still read.
    pub(crate) key: Option<SegmentKey>,
}

impl Segment {
    /// Opens what is in `file`.
    pub(crate) fn open(number: u64, disk: DiskId, file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let mut bytes = [0; HEADER_BYTES];
        let read = file.read_at(0, &mut bytes)?;
        let key = (read == HEADER_BYTES)
            .then(|| SegmentHeader::decode(&bytes))
            .flatten()
            .filter(|header| header.number == number && header.disk == disk)
            .map(|header| header.key());
        Ok(Self { number, file, key })
    }

    /// The payload of the record at `offset`, as it is stored.
    pub(crate) fn read_payload(&self, offset: u64, stored_bytes: u32) -> io::Result<Bytes> {
        let mut payload = vec![0; stored_bytes as usize];
        let read = self
            .file
            .read_at(offset + HEADER_BYTES as u64, &mut payload)?;
        if read < payload.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(payload.into())
    }
}

/// What walking a segment finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A header that is right, with room for its payload; the payload is not looked at.
    Record { offset: u64, header: RecordHeader },
    /// Bytes that are no record, or cannot be read.
    Damage { from: u64, to: u64 },
}

/// Bytes read at once while walking. Headers of small chunks share a read; a large chunk costs one.
const WINDOW_BYTES: usize = 64 << 10;
/// What a device loses at once: around a part that cannot be read, the walk goes on at the next such unit.
const SECTOR_BYTES: u64 = 4 << 10;

/// Walks the records of a segment. Behind damage it goes on at the next header that is right.
pub(crate) struct Walk {
    segment: Arc<Segment>,
    offset: u64,
    end: u64,
    window: Vec<u8>,
    window_offset: u64,
}

impl Walk {
    /// Walks from `offset` on, a multiple of 64, to `end`.
    pub(crate) fn new(segment: Arc<Segment>, offset: u64, end: u64) -> Self {
        Self {
            segment,
            offset: offset.max(FIRST_RECORD),
            end,
            window: Vec::new(),
            window_offset: 0,
        }
    }

    /// Where the walk goes on.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The segment that is walked.
    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// The next thing; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Found> {
        let from = self.offset;
        loop {
            if self.offset >= self.end {
                return (from < self.offset).then_some(Found::Damage {
                    from,
                    to: self.offset,
                });
            }
            match self.header() {
                Ok(header) if from == self.offset => {
                    self.offset += header.record_bytes();
                    return Some(Found::Record {
                        offset: from,
                        header,
                    });
                }
                Ok(_) => {
                    return Some(Found::Damage {
                        from,
                        to: self.offset,
                    });
                }
                Err(skip_to) => self.offset = skip_to,
            }
        }
    }

    /// The header at the present offset, or where to look next.
    fn header(&mut self) -> Result<RecordHeader, u64> {
        let next_unit = self.offset + HEADER_BYTES as u64;
        let Some(key) = self.segment.key else {
            return Err(self.end);
        };
        if next_unit > self.end {
            return Err(self.end);
        }
        let offset = self.offset;
        let bytes = self.window()?;
        let header = RecordHeader::decode(bytes, &key, offset).map_err(|_| next_unit)?;
        // The padding of the last record may be cut off; its payload may not.
        if next_unit + u64::from(header.stored_bytes) > self.end {
            return Err(next_unit);
        }
        Ok(header)
    }

    fn window(&mut self) -> Result<&[u8; HEADER_BYTES], u64> {
        let is_inside = self.offset >= self.window_offset
            && self.offset + HEADER_BYTES as u64 <= self.window_offset + self.window.len() as u64;
        if !is_inside {
            let next_sector = (self.offset + 1).next_multiple_of(SECTOR_BYTES);
            let readable = self.read_window(WINDOW_BYTES).is_ok()
                || self
                    .read_window((next_sector - self.offset) as usize)
                    .is_ok();
            if !readable {
                self.window.clear();
                return Err(next_sector);
            }
        }
        let start = (self.offset - self.window_offset) as usize;
        self.window
            .get(start..)
            .and_then(|rest| rest.first_chunk())
            .ok_or(self.end)
    }

    fn read_window(&mut self, bytes: usize) -> io::Result<()> {
        let bytes = bytes.min((self.end - self.offset) as usize);
        self.window.resize(bytes, 0);
        self.window_offset = self.offset;
        let read = self.segment.file.read_at(self.offset, &mut self.window)?;
        self.window.truncate(read);
        Ok(())
    }
}

#[cfg(test)]
#[path = "segment_test.rs"]
mod tests;
