//! Compaction: what is still needed of a segment with little of it is written again at the end, and the
//! segment is removed.
//!
//! What is still needed:
//! * a chunk whose record is here, with its latest put time;
//! * a put time that only this segment has, as long as it is within the grace period, since it keeps the
//!   chunk from collection after the index was made anew;
//! * a deletion, as long as an older segment may hold the chunk that it deletes: without it, an index made
//!   anew would bring the chunk back. In the oldest segment no deletion is needed any more.
//!
//! A crash at any moment leaves a record twice at worst, of which the later counts. The segment is removed
//! after everything is synced, and its removal is durable before it counts as gone. Readers that have it
//! open go on reading it; others look the chunk up again.

use std::io;

use bytes::Bytes;

use super::change::Change;
use super::draft::POSITION;
use super::{ReadError, Volume, check};
use crate::chunk::ChunkHash;
use crate::index::{Entry, IndexWrite, Location, Position, meta_key, segment_key};
use crate::record::{RecordHeader, RecordKind};
use crate::segment::{Found, Walk, file_name};

/// Chunks that one look at the index returns.
const SCAN_COUNT: usize = 1_024;

/// A segment on its way out.
pub(crate) struct Compaction {
    walk: Walk,
}

impl Compaction {
    /// Which one.
    pub(crate) fn number(&self) -> u64 {
        self.walk.segment().number
    }
}

/// What is to be written again of a part of a segment.
pub(crate) struct CompactionPart {
    pub(crate) changes: Vec<Change>,
    /// Bytes of the segment that were dealt with.
    pub(crate) bytes: u64,
    /// Whether the whole segment was walked.
    pub(crate) is_last: bool,
}

impl Volume {
    /// The segment that is most worth removing: the one with the least in it, if that is little beside a
    /// full one. Compared with a full one, also short segments of short runs are gathered.
    pub(crate) fn begin_compaction(&self) -> io::Result<Option<Compaction>> {
        if self.is_read_only() {
            return Ok(None);
        }
        let active = self.active_number();
        let live_max =
            (self.options.segment_bytes as f64 * self.options.compaction_live_ratio) as u64;
        let candidate = {
            let stuck = self.stuck.lock();
            let segments = self.segments.read();
            let mut sealed = segments
                .iter()
                .filter(|(number, _)| Some(**number) != active && !stuck.contains(number))
                .filter(|(_, stats)| stats.live_record_bytes <= live_max)
                .map(|(number, stats)| (stats.live_record_bytes, *number, stats.file_bytes))
                .collect::<Vec<_>>();
            sealed.sort_unstable();
            sealed.first().copied()
        };
        let Some((_, number, file_bytes)) = candidate else {
            return Ok(None);
        };
        let segment = self.segment(number)?;
        Ok(Some(Compaction {
            walk: Walk::new(segment, 0, file_bytes),
        }))
    }

    /// What of the next part must be written again; about `bytes_max` of the segment at most.
    pub(crate) fn compact_part(
        &self,
        compaction: &mut Compaction,
        bytes_max: u64,
    ) -> io::Result<CompactionPart> {
        let number = compaction.number();
        let start = compaction.walk.offset();
        let mut changes = Vec::new();
        let mut is_last = true;
        while let Some(found) = compaction.walk.next() {
            if let Found::Record { offset, header } = found
                && let Some(change) = self.still_needed(number, offset, &header)?
            {
                changes.push(change);
            }
            if compaction.walk.offset() - start >= bytes_max {
                is_last = false;
                break;
            }
        }
        Ok(CompactionPart {
            changes,
            bytes: compaction.walk.offset() - start,
            is_last,
        })
    }

    fn still_needed(
        &self,
        number: u64,
        offset: u64,
        header: &RecordHeader,
    ) -> io::Result<Option<Change>> {
        let hash = header.hash;
        let entry = self.lookup(&hash)?;
        let needed = match (header.kind, entry) {
            (RecordKind::Put, Some(entry)) => {
                let is_here = entry.location.segment == number && entry.location.offset == offset;
                if is_here && !entry.is_corrupt {
                    Some(self.move_of(hash, &entry.location)?)
                } else {
                    None
                }
            }
            (RecordKind::Touch, Some(entry)) => {
                let is_only_here = entry.location.segment != number
                    && entry.put_ms <= header.put_ms
                    && !entry.is_corrupt;
                let is_recent =
                    entry.put_ms.saturating_add(self.options.grace_ms) > self.edges.unix_ms();
                (is_only_here && is_recent).then_some(Change::KeepTouch { hash })
            }
            (RecordKind::Tombstone, None) => {
                let is_oldest = self
                    .segments
                    .read()
                    .first_key_value()
                    .is_none_or(|(oldest, _)| *oldest >= number);
                (!is_oldest).then_some(Change::KeepTombstone {
                    hash,
                    deleted_ms: header.put_ms,
                })
            }
            (RecordKind::Put | RecordKind::Touch, None) | (RecordKind::Tombstone, Some(_)) => None,
        };
        Ok(needed)
    }

    /// Reads a chunk to write it again. A damaged one is left behind: written again, its damage would get
    /// a checksum that is right.
    fn move_of(&self, hash: ChunkHash, from: &Location) -> io::Result<Change> {
        let stored = match self.read_stored(from) {
            Ok(stored) => stored,
            Err(ReadError::Io(error)) => return Err(error),
            Err(_) => return Ok(Change::MarkCorrupt { hash, at: *from }),
        };
        let payload: Bytes = stored.clone();
        Ok(match check(&hash, from, stored) {
            Ok(_) => Change::Move {
                hash,
                from: *from,
                payload_crc: crc32fast::hash(&payload),
                payload,
            },
            Err(_) => Change::MarkCorrupt { hash, at: *from },
        })
    }

    /// Chunks that the index has in a segment whose walk did not find them, because their headers are
    /// damaged. Looks at the whole index, which damage alone makes necessary.
    pub(crate) fn stragglers(&self, number: u64) -> io::Result<Vec<Change>> {
        let mut changes = Vec::new();
        self.for_each_in(number, |hash, entry| {
            changes.push(self.move_of(hash, &entry.location)?);
            Ok(())
        })?;
        Ok(changes)
    }

    /// Calls `visit` for each intact chunk that the index has in a segment.
    pub(super) fn for_each_in(
        &self,
        number: u64,
        mut visit: impl FnMut(ChunkHash, Entry) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut after = None;
        loop {
            let items = self.list(after.as_ref(), SCAN_COUNT)?;
            for (hash, entry) in &items {
                if entry.location.segment == number && !entry.is_corrupt {
                    visit(*hash, *entry)?;
                }
            }
            let Some((hash, _)) = items.last() else {
                return Ok(());
            };
            after = Some(*hash);
        }
    }

    /// Whether the index has no chunk in a segment any more.
    pub(crate) fn is_emptied(&self, number: u64) -> bool {
        let segments = self.segments.read();
        segments
            .get(&number)
            .is_some_and(|stats| stats.live_chunks == 0)
    }

    /// Removes a segment that nothing needs any more; `false` if something does.
    pub(crate) fn remove_segment(&self, number: u64) -> io::Result<bool> {
        let _writer = self.writer.lock();
        if self.is_read_only() || !self.is_emptied(number) {
            self.stuck.lock().push(number);
            return Ok(false);
        }
        let removed = self
            .forget_in_index(number)
            .and_then(|()| self.disk.remove(&file_name(number)))
            .and_then(|()| self.disk.sync_names());
        match removed {
            Ok(()) => {
                // Not before: until then a crash may bring the file back, and the deletions of what is in it
                // are needed.
                self.segments.write().remove(&number);
                self.open_segments.invalidate(&number);
                Ok(true)
            }
            Err(error) => {
                self.fail("remove a segment", &error);
                Err(error)
            }
        }
    }

    /// Removes what the index knows of a segment, and flushes everything before it: with the file, the place to
    /// read the index again from goes.
    fn forget_in_index(&self, number: u64) -> io::Result<()> {
        let mut writes = vec![IndexWrite {
            key: segment_key(number),
            value: None,
        }];
        let position = self.index.get(&meta_key(POSITION))?;
        let position = position.map(|value| Position::decode(&value)).transpose()?;
        if position.is_some_and(|position| position.segment == number) {
            // Everything up to here is in the index, and here is nothing any more.
            let next = Position {
                segment: number + 1,
                offset: 0,
            };
            writes.push(IndexWrite {
                key: meta_key(POSITION),
                value: Some(next.encode()),
            });
        }
        self.index.write(&writes)?;
        self.index.flush()
    }

    /// The segment that is appended to.
    pub(super) fn active_number(&self) -> Option<u64> {
        let writer = self.writer.lock();
        writer.active.as_ref().map(|active| active.segment.number)
    }
}
