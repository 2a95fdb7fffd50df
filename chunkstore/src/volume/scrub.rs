//! Scrubbing: every chunk is read from the device and compared with its name, segment by segment, so that
//! damage is found while there are other copies to repair it from. Where it stands survives a restart.

use std::io;

use super::{ReadError, Volume};
use crate::chunk::{CHUNK_BYTES_MAX, ChunkHash};
use crate::index::{IndexWrite, Location, Position, meta_key};
use crate::record::RecordKind;
use crate::segment::{Found, Walk};

/// Under this name: where the next part begins. Losing a few of its updates repeats a little work.
const SCRUB: &str = "scrub";

/// Where a scrub begins.
pub(crate) const START: Position = Position {
    segment: 0,
    offset: 0,
};

/// What one part of a scrub found.
#[derive(Debug, Default)]
pub(crate) struct ScrubPart {
    /// Bytes of segments that were dealt with.
    pub(crate) bytes: u64,
    /// Chunks that were compared.
    pub(crate) chunks: u64,
    /// Chunks that are damaged, with where they are.
    pub(crate) corrupt: Vec<(ChunkHash, Location)>,
    /// Where to go on; `None` when this was the last part.
    pub(crate) next: Option<Position>,
}

impl Volume {
    /// Scrubs about `bytes_max` from where the last part ended.
    pub(crate) fn scrub_part(&self, bytes_max: u64) -> io::Result<ScrubPart> {
        let cursor = self.index.get(&meta_key(SCRUB))?;
        let cursor = cursor.map(|value| Position::decode(&value)).transpose()?;
        let part = self.scrub_from(cursor.unwrap_or(START), bytes_max)?;
        self.index.write(&[IndexWrite {
            key: meta_key(SCRUB),
            value: Some(part.next.unwrap_or(START).encode()),
        }])?;
        Ok(part)
    }

    /// Scrubs about `bytes_max` from `cursor` on.
    pub(crate) fn scrub_from(&self, cursor: Position, bytes_max: u64) -> io::Result<ScrubPart> {
        let mut part = ScrubPart {
            next: Some(cursor),
            ..ScrubPart::default()
        };
        while let Some(cursor) = part.next
            && part.bytes < bytes_max
        {
            part.next = self.scrub_segment(cursor, bytes_max - part.bytes, &mut part)?;
        }
        Ok(part)
    }

    /// Scrubs from `cursor` on in one segment; returns where to go on, `None` behind the last segment.
    fn scrub_segment(
        &self,
        cursor: Position,
        bytes_max: u64,
        part: &mut ScrubPart,
    ) -> io::Result<Option<Position>> {
        let next = {
            let segments = self.segments.read();
            let mut later = segments.range(cursor.segment..);
            later.next().map(|(number, stats)| (*number, *stats))
        };
        let Some((number, stats)) = next else {
            return Ok(None);
        };
        let from = if number == cursor.segment {
            cursor.offset
        } else {
            0
        };
        let segment = match self.segment(number) {
            // Compacted in this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some(after(number)));
            }
            other => other?,
        };
        // What is in memory is not what is to be looked at. The last record may reach beyond the part.
        segment
            .file
            .forget_cache(from, bytes_max.saturating_add(CHUNK_BYTES_MAX as u64))?;
        let mut walk = Walk::new(segment, from, stats.file_bytes);
        let start = walk.offset();
        while let Some(found) = walk.next() {
            match found {
                Found::Record { offset, header } if header.kind == RecordKind::Put => {
                    self.scrub_chunk(number, offset, header.hash, part)?;
                }
                Found::Record { .. } => {}
                Found::Damage { from, to } => self.scrub_damage(number, from, to, part)?,
            }
            if walk.offset() - start >= bytes_max {
                part.bytes += walk.offset() - start;
                return Ok(Some(Position {
                    segment: number,
                    offset: walk.offset(),
                }));
            }
        }
        part.bytes += walk.offset() - start;
        Ok(Some(after(number)))
    }

    fn scrub_chunk(
        &self,
        segment: u64,
        offset: u64,
        hash: ChunkHash,
        part: &mut ScrubPart,
    ) -> io::Result<()> {
        let Some(entry) = self.lookup(&hash)? else {
            return Ok(());
        };
        let at = entry.location;
        if at.segment != segment || at.offset != offset || entry.is_corrupt {
            return Ok(());
        }
        part.chunks += 1;
        match self.read(&hash, &at) {
            Ok(_) | Err(ReadError::Gone) => {}
            Err(ReadError::Corrupt(reason)) => {
                tracing::warn!(disk = self.name(), %hash, reason, "scrub found a corrupt chunk");
                part.corrupt.push((hash, at));
            }
            Err(ReadError::Io(error)) => return Err(error),
        }
        Ok(())
    }

    /// Chunks whose headers are damaged may still be read, but would be lost when the index is made anew:
    /// they count as corrupt, so that they are put again.
    fn scrub_damage(
        &self,
        segment: u64,
        from: u64,
        to: u64,
        part: &mut ScrubPart,
    ) -> io::Result<()> {
        self.for_each_in(segment, |hash, entry| {
            if (from..to).contains(&entry.location.offset) {
                tracing::warn!(disk = self.name(), %hash, "scrub found a damaged record");
                part.chunks += 1;
                part.corrupt.push((hash, entry.location));
            }
            Ok(())
        })
    }
}

fn after(segment: u64) -> Position {
    Position {
        segment: segment.saturating_add(1),
        offset: 0,
    }
}
