//! The write path of a volume: a batch of changes becomes records in the active segment, one sync, one
//! write of the index; then it is answered. One thread at a time, so records stand in the order of changes.

use std::iter::Peekable;
use std::sync::Arc;
use std::{io, vec};

use super::change::{Change, CommitError, Outcome};
use super::draft::Draft;
use super::{Active, Volume, Writer};
use crate::compression::Encoding;
use crate::disk::{DiskFile, is_full};
use crate::index::{Entry, Position, SegmentStats};
use crate::record::{HEADER_BYTES, RecordHeader, RecordKind, SegmentKey};
use crate::segment::{FIRST_RECORD, Segment, SegmentHeader, file_name};

/// Payloads from this size are written from where they are; smaller ones are gathered, because a system
/// call costs as much as copying so many bytes.
const GATHERED_BYTES_MAX: usize = 64 << 10;
/// Gathered bytes that are written at once.
const GATHER_BYTES: usize = 1 << 20;

type Answer = Result<Outcome, CommitError>;

/// What a change comes to.
enum Decision {
    /// Write this record with this payload.
    Record(RecordHeader, bytes::Bytes, Outcome),
    /// Nothing is to be written.
    Answer(Outcome),
}

impl Volume {
    /// Carries out a batch; answers in its order. Each is durable when this returns.
    pub(crate) fn commit(&self, changes: Vec<Change>) -> Vec<Answer> {
        let mut writer = self.writer.lock();
        let mut answers = Vec::with_capacity(changes.len());
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            let before = answers.len();
            if let Err(error) = self.commit_part(&mut writer, &mut changes, &mut answers) {
                // Nothing of this part, nor of what would have followed, is answered with success.
                answers[before..].fill(Err(error.clone()));
                answers.extend(changes.by_ref().map(|_| Err(error.clone())));
            }
        }
        answers
    }

    /// Carries out as many changes as the active segment takes.
    fn commit_part(
        &self,
        writer: &mut Writer,
        changes: &mut Peekable<vec::IntoIter<Change>>,
        answers: &mut Vec<Answer>,
    ) -> Result<(), CommitError> {
        self.check_failed()?;
        let active = self.active(writer)?;
        let mut draft = self.draft();
        let mut appender = Appender::new(active);
        let mut room = self.room_for_puts();
        let mut rolls = false;
        let staged = loop {
            let Some(change) = changes.peek() else {
                break Ok(());
            };
            let end = appender.end + change.record_bytes_max();
            if end > self.options.segment_bytes && appender.end > FIRST_RECORD {
                rolls = true;
                break Ok(());
            }
            let Some(change) = changes.next() else {
                break Ok(());
            };
            match self.stage(&mut draft, &mut appender, change, &mut room) {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    answers.push(Ok(Outcome::Skipped));
                    break Err(error);
                }
            }
        };
        if let Err(error) = staged.and_then(|()| appender.flush()) {
            return Err(self.write_failed(active, &error));
        }
        if appender.has_written() {
            active
                .segment
                .file
                .sync()
                .map_err(|error| self.fail("sync a segment", &error))?;
            active.bytes = appender.end;
        }
        self.publish(draft, active)?;
        if rolls {
            writer.active = None;
            // Bounds what a start reads again, to about one segment.
            self.index
                .flush()
                .map_err(|error| self.fail("flush the index", &error))?;
        }
        Ok(())
    }

    fn publish(&self, draft: Draft<'_>, active: &Active) -> Result<(), CommitError> {
        if draft.is_empty() {
            return Ok(());
        }
        let position = Position {
            segment: active.segment.number,
            offset: active.bytes,
        };
        self.write_index(draft, Some(position))
            .map_err(|error| self.fail("write the index", &error))
    }

    /// Decides about a change and writes its record. An error fails everything that is staged.
    fn stage(
        &self,
        draft: &mut Draft<'_>,
        appender: &mut Appender,
        change: Change,
        room: &mut u64,
    ) -> io::Result<Answer> {
        let is_put = matches!(change, Change::Put { .. });
        let (header, payload, outcome) = match decide(draft, change)? {
            Decision::Answer(outcome) => return Ok(Ok(outcome)),
            Decision::Record(header, payload, outcome) => (header, payload, outcome),
        };
        if is_put && header.kind == RecordKind::Put {
            match room.checked_sub(header.record_bytes()) {
                Some(rest) => *room = rest,
                None => {
                    self.health.set_full(&self.name, true);
                    return Ok(Err(CommitError::Full));
                }
            }
        }
        let offset = appender.push(&header, &payload)?;
        draft.apply(&header, appender.number, offset)?;
        Ok(Ok(outcome))
    }

    /// Bytes that new chunks may take. The reserve is left to what keeps the disk usable when it is full:
    /// refreshing, deleting and compacting.
    fn room_for_puts(&self) -> u64 {
        match self.disk.space() {
            Ok(space) => {
                let room = space.free_bytes.saturating_sub(self.options.reserve_bytes);
                // Not for the last few bytes: the state would change with every batch.
                if room >= self.options.segment_bytes {
                    self.health.set_full(&self.name, false);
                }
                room
            }
            // The write itself will tell.
            Err(_) => u64::MAX,
        }
    }

    /// The segment to append to; a new one if there is none.
    fn active<'w>(&self, writer: &'w mut Writer) -> Result<&'w mut Active, CommitError> {
        let active = match writer.active.take() {
            Some(active) => active,
            None => self.create_segment(writer)?,
        };
        Ok(writer.active.insert(active))
    }

    fn create_segment(&self, writer: &mut Writer) -> Result<Active, CommitError> {
        let number = writer.next_number;
        writer.next_number += 1;
        let name = file_name(number);
        match self.write_segment_header(number, &name) {
            Ok(segment) => {
                let stats = SegmentStats {
                    file_bytes: FIRST_RECORD,
                    ..SegmentStats::default()
                };
                self.segments.write().insert(number, stats);
                Ok(Active {
                    segment: Arc::new(segment),
                    bytes: FIRST_RECORD,
                })
            }
            Err(error) if is_full(&error) => {
                // The file is empty; when it cannot be removed now, the next start does it.
                let _ = self.disk.remove(&name);
                self.health.set_full(&self.name, true);
                Err(CommitError::Full)
            }
            Err(error) => Err(self.fail("create a segment", &error)),
        }
    }

    fn write_segment_header(&self, number: u64, name: &str) -> io::Result<Segment> {
        let header = SegmentHeader {
            disk: self.id,
            number,
            salt: self.edges.random()?,
        };
        let file = self.disk.create(name)?;
        file.write_at(0, &header.encode())?;
        file.sync()?;
        // A synced record in a file whose name is lost would be lost with it.
        self.disk.sync_names()?;
        Ok(Segment {
            number,
            file,
            key: Some(header.key()),
        })
    }

    /// After a write that failed. Without room the segment is cut back to what it was, and goes on; with
    /// any other failure, or when cutting fails, what the disk holds is unknown.
    fn write_failed(&self, active: &Active, error: &io::Error) -> CommitError {
        let file = &active.segment.file;
        let is_clean = is_full(error)
            && file
                .truncate(active.bytes)
                .and_then(|()| file.sync())
                .is_ok();
        if is_clean {
            self.health.set_full(&self.name, true);
            CommitError::Full
        } else {
            self.fail("write a segment", error)
        }
    }

    /// Makes the index durable, at the end.
    pub(crate) fn finish(&self) {
        let _writer = self.writer.lock();
        if !self.health.has_failed()
            && let Err(error) = self.index.flush()
        {
            self.fail("flush the index", &error);
        }
    }

    pub(super) fn check_failed(&self) -> Result<(), CommitError> {
        if self.health.has_failed() {
            return Err(self.failed());
        }
        Ok(())
    }

    /// Makes the disk read-only.
    pub(super) fn fail(&self, what: &str, error: &io::Error) -> CommitError {
        self.health.fail(&self.name, format!("{what}: {error}"));
        self.failed()
    }
}

/// What is to be written for a change, by what the index says when its turn comes.
fn decide(draft: &mut Draft<'_>, change: Change) -> io::Result<Decision> {
    let is_healthy = |entry: &Entry| !entry.is_corrupt;
    let bare = |kind, hash, put_ms, outcome| {
        let header = RecordHeader::bare(kind, hash, put_ms);
        Ok(Decision::Record(header, bytes::Bytes::new(), outcome))
    };
    match change {
        Change::Put {
            hash,
            payload,
            plain_bytes,
            payload_crc,
            put_ms,
        } => {
            if draft.entry(&hash)?.is_some_and(|entry| is_healthy(&entry)) {
                return bare(RecordKind::Touch, hash, put_ms, Outcome::Refreshed);
            }
            let header = put_header(
                hash,
                payload.encoding,
                &payload.bytes,
                plain_bytes,
                payload_crc,
                put_ms,
            );
            Ok(Decision::Record(header, payload.bytes, Outcome::Done))
        }
        Change::Touch { hash, put_ms } => match draft.entry(&hash)?.filter(is_healthy) {
            Some(_) => bare(RecordKind::Touch, hash, put_ms, Outcome::Done),
            None => Ok(Decision::Answer(Outcome::Skipped)),
        },
        Change::Delete {
            hash,
            put_ms_max,
            now_ms,
        } => match draft.entry(&hash)? {
            Some(entry) if entry.put_ms <= put_ms_max => {
                bare(RecordKind::Tombstone, hash, now_ms, Outcome::Done)
            }
            _ => Ok(Decision::Answer(Outcome::Skipped)),
        },
        Change::Move {
            hash,
            from,
            payload,
            payload_crc,
        } => match draft.entry(&hash)?.filter(is_healthy) {
            Some(entry) if entry.location == from => {
                let header = put_header(
                    hash,
                    from.encoding,
                    &payload,
                    from.plain_bytes,
                    payload_crc,
                    entry.put_ms,
                );
                Ok(Decision::Record(header, payload, Outcome::Done))
            }
            _ => Ok(Decision::Answer(Outcome::Skipped)),
        },
        Change::KeepTouch { hash } => match draft.entry(&hash)?.filter(is_healthy) {
            Some(entry) => bare(RecordKind::Touch, hash, entry.put_ms, Outcome::Done),
            None => Ok(Decision::Answer(Outcome::Skipped)),
        },
        Change::KeepTombstone { hash, deleted_ms } => match draft.entry(&hash)? {
            None => bare(RecordKind::Tombstone, hash, deleted_ms, Outcome::Done),
            // It was put again: the later record is what counts.
            Some(_) => Ok(Decision::Answer(Outcome::Skipped)),
        },
        Change::MarkCorrupt { hash, at } => {
            let is_marked = draft.mark_corrupt(hash, &at)?;
            Ok(Decision::Answer(if is_marked {
                Outcome::Done
            } else {
                Outcome::Skipped
            }))
        }
    }
}

fn put_header(
    hash: crate::chunk::ChunkHash,
    encoding: Encoding,
    payload: &bytes::Bytes,
    plain_bytes: u32,
    payload_crc: u32,
    put_ms: u64,
) -> RecordHeader {
    RecordHeader {
        kind: RecordKind::Put,
        encoding,
        stored_bytes: payload.len() as u32,
        plain_bytes,
        payload_crc,
        put_ms,
        hash,
    }
}

/// Puts records behind each other, in few writes.
struct Appender {
    file: Arc<dyn DiskFile>,
    number: u64,
    key: SegmentKey,
    start: u64,
    /// Where the next record begins.
    end: u64,
    gathered: Vec<u8>,
    /// Where what is gathered begins.
    gathered_offset: u64,
}

impl Appender {
    fn new(active: &Active) -> Self {
        Self {
            file: active.segment.file.clone(),
            number: active.segment.number,
            key: active
                .segment
                .key
                .expect("the active segment was made by this process, with a key"),
            start: active.bytes,
            end: active.bytes,
            gathered: Vec::new(),
            gathered_offset: active.bytes,
        }
    }

    fn has_written(&self) -> bool {
        self.end > self.start
    }

    /// Adds a record; returns where it stands.
    fn push(&mut self, header: &RecordHeader, payload: &[u8]) -> io::Result<u64> {
        let offset = self.end;
        self.gathered.extend(header.encode(&self.key, offset));
        if payload.len() < GATHERED_BYTES_MAX {
            self.gathered.extend(payload);
        } else {
            self.flush()?;
            self.file.write_at(self.gathered_offset, payload)?;
            self.gathered_offset += payload.len() as u64;
        }
        self.end += header.record_bytes();
        let padded = (self.end - self.gathered_offset) as usize;
        debug_assert!(padded - self.gathered.len() < HEADER_BYTES);
        self.gathered.resize(padded, 0);
        if self.gathered.len() >= GATHER_BYTES {
            self.flush()?;
        }
        Ok(offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.gathered.is_empty() {
            self.file.write_at(self.gathered_offset, &self.gathered)?;
            self.gathered_offset += self.gathered.len() as u64;
            self.gathered.clear();
        }
        Ok(())
    }
}
