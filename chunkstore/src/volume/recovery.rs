//! Opening a volume: the index is brought up to what the segments say, or made anew from them.
//!
//! * What follows the index's position is read from the segments. A roll flushes the index, so that is about
//!   one segment.
//! * The last segment may have a tail that was never acknowledged. It is synced first, and then read from the
//!   device instead of memory: after a failed sync, or behind a process that was killed, memory may show what a
//!   loss of power would take away. Of its records those that are whole are taken; behind the last of them the
//!   file is cut. It is never appended to again.
//! * An index that is damaged, or that knows segments which are not there, is made anew from all segments.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use moka::sync::Cache;
use parking_lot::{Mutex, RwLock};

use super::draft::{Draft, POSITION, QUARANTINED};
use super::health::Health;
use super::{Volume, VolumeOptions, Writer};
use crate::disk::Disk;
use crate::edges::Edges;
use crate::index::{
    Index, Position, SegmentStats, decode_count, meta_key, segment_of_key, segments_range,
};
use crate::record::{RecordHeader, RecordKind};
use crate::segment::{FIRST_RECORD, Found, Segment, Walk, file_name, number_of};

/// Chunks that one write of the index is about while reading segments again: bounds memory.
const REPLAY_CHUNKS: usize = 4_096;
/// Segments that one read of the index returns.
const SCAN_COUNT: usize = 1_024;

/// What the index says when it is opened.
struct Known {
    position: Option<Position>,
    segments: BTreeMap<u64, SegmentStats>,
    quarantined: u64,
}

impl Volume {
    /// Opens the chunks of a disk. `rebuilds` makes the index anew, whatever it looks like.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        edges: Arc<dyn Edges>,
        options: VolumeOptions,
        rebuilds: bool,
    ) -> io::Result<Self> {
        let files = list_segments(&*disk)?;
        let (index, known) = match open_index(&*disk, &files, rebuilds)? {
            Some(opened) => opened,
            None => {
                disk.remove_index()?;
                let index = disk.open_index()?;
                let known = read_known(&*index)?;
                (index, known)
            }
        };
        let position = known.position.unwrap_or(Position {
            segment: 0,
            offset: 0,
        });
        let last = files.keys().next_back().copied().unwrap_or(0);
        let volume = Self {
            name: disk.name(),
            id: disk.marker().disk,
            disk,
            index,
            edges,
            health: Health::default(),
            segments: RwLock::new(known.segments),
            open_segments: Cache::new(options.open_segments_max),
            writer: Mutex::new(Writer {
                active: None,
                next_number: 1 + last.max(position.segment),
            }),
            quarantined: AtomicU64::new(known.quarantined),
            stuck: Mutex::default(),
            options,
        };
        volume.catch_up(position, &files)?;
        Ok(volume)
    }

    fn catch_up(&self, position: Position, files: &BTreeMap<u64, u64>) -> io::Result<()> {
        let Some((&last, _)) = files.last_key_value() else {
            return Ok(());
        };
        self.segments
            .write()
            .retain(|number, _| files.contains_key(number));
        for (&number, &file_bytes) in files {
            let mut segments = self.segments.write();
            segments.entry(number).or_default().file_bytes = file_bytes;
        }
        for (&number, &file_bytes) in files.range(position.segment..) {
            let from = if number == position.segment {
                position.offset.max(FIRST_RECORD)
            } else {
                FIRST_RECORD
            };
            if number == last {
                self.read_tail(number, from, file_bytes)?;
            } else {
                self.replay(number, from, file_bytes, false)?;
            }
        }
        self.index.flush()
    }

    /// Reads what may never have been acknowledged, and cuts what is not whole.
    fn read_tail(&self, number: u64, from: u64, file_bytes: u64) -> io::Result<()> {
        if file_bytes <= FIRST_RECORD {
            return self.remove_if_never_used(number);
        }
        let segment = self.segment(number)?;
        if let Err(error) = segment.file.sync() {
            self.fail("sync the last segment", &error);
        }
        segment.file.forget_cache(0, file_bytes)?;
        let end = self.replay(number, from, file_bytes, true)?;
        if end < file_bytes && segment.key.is_some() {
            tracing::warn!(
                disk = self.name,
                segment = number,
                bytes = file_bytes - end,
                "cut the tail of the last segment, which was never acknowledged"
            );
            if let Err(error) = segment
                .file
                .truncate(end)
                .and_then(|()| segment.file.sync())
            {
                self.fail("cut the last segment", &error);
            }
            if let Some(stats) = self.segments.write().get_mut(&number) {
                stats.file_bytes = end;
            }
        }
        Ok(())
    }

    /// A segment is made with a header that is synced before anything else: without one that is right it
    /// was not finished, and nothing was ever in it.
    fn remove_if_never_used(&self, number: u64) -> io::Result<()> {
        let segment = self.segment(number)?;
        if segment.key.is_some() {
            return Ok(());
        }
        self.open_segments.invalidate(&number);
        self.disk.remove(&file_name(number))?;
        self.disk.sync_names()?;
        self.segments.write().remove(&number);
        Ok(())
    }

    /// Carries out the records of a segment from `from` on; returns where the last good one ends.
    fn replay(
        &self,
        number: u64,
        from: u64,
        file_bytes: u64,
        checks_payloads: bool,
    ) -> io::Result<u64> {
        let segment = self.segment(number)?;
        let mut walk = Walk::new(segment.clone(), from, file_bytes);
        let mut end = from.min(file_bytes);
        let mut draft = self.draft();
        while let Some(found) = walk.next() {
            match found {
                Found::Record { offset, header } => {
                    if checks_payloads && !payload_is_whole(&segment, offset, &header) {
                        continue;
                    }
                    draft.apply(&header, number, offset)?;
                    end = (offset + header.record_bytes()).min(file_bytes);
                }
                Found::Damage { from, to } => {
                    tracing::warn!(
                        disk = self.name,
                        segment = number,
                        from,
                        to,
                        "no record can be read here"
                    );
                }
            }
            if draft.len() >= REPLAY_CHUNKS {
                let part = std::mem::replace(&mut draft, self.draft());
                self.write_replayed(part, number, end)?;
                // The numbers of the next part begin with those of this one.
                draft = self.draft();
            }
        }
        self.write_replayed(draft, number, end)?;
        Ok(end)
    }

    fn write_replayed(&self, draft: Draft<'_>, segment: u64, offset: u64) -> io::Result<()> {
        self.write_index(draft, Some(Position { segment, offset }))
    }
}

fn payload_is_whole(segment: &Segment, offset: u64, header: &RecordHeader) -> bool {
    header.kind != RecordKind::Put
        || segment
            .read_payload(offset, header.stored_bytes)
            .is_ok_and(|payload| crc32fast::hash(&payload) == header.payload_crc)
}

/// The segments that are there, with their lengths.
fn list_segments(disk: &dyn Disk) -> io::Result<BTreeMap<u64, u64>> {
    let mut files = BTreeMap::new();
    for name in disk.list()? {
        if let Some(number) = number_of(&name) {
            files.insert(number, disk.open(&name)?.bytes()?);
        }
    }
    Ok(files)
}

/// The index, if it can be relied on.
fn open_index(
    disk: &dyn Disk,
    files: &BTreeMap<u64, u64>,
    rebuilds: bool,
) -> io::Result<Option<(Box<dyn Index>, Known)>> {
    if rebuilds {
        return Ok(None);
    }
    let opened = disk
        .open_index()
        .and_then(|index| read_known(&*index).map(|known| (index, known)));
    match opened {
        Ok((index, known)) => match distrust(&known, files) {
            None => Ok(Some((index, known))),
            Some(reason) => {
                tracing::error!(disk = disk.name(), reason, "the index is made anew");
                Ok(None)
            }
        },
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::error!(disk = disk.name(), %error, "the index is damaged and made anew");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn read_known(index: &dyn Index) -> io::Result<Known> {
    let position = index.get(&meta_key(POSITION))?;
    let quarantined = index.get(&meta_key(QUARANTINED))?;
    let mut segments = BTreeMap::new();
    let (mut from, to) = segments_range();
    loop {
        let items = index.scan(&from, &to, SCAN_COUNT)?;
        for (key, value) in &items {
            segments.insert(segment_of_key(key)?, SegmentStats::decode(value)?);
        }
        let Some((key, _)) = items.last() else {
            break;
        };
        from.clone_from(key);
        from.push(0);
    }
    Ok(Known {
        position: position.map(|value| Position::decode(&value)).transpose()?,
        segments,
        quarantined: quarantined.map_or(Ok(0), |value| decode_count(&value))?,
    })
}

/// Why the index does not fit the segments. What it knew of segments that are gone must not stay in it: chunks
/// would be reported that nobody can read.
fn distrust(known: &Known, files: &BTreeMap<u64, u64>) -> Option<&'static str> {
    let is_lost = |(number, stats): (&u64, &SegmentStats)| {
        stats.live_chunks > 0 && !files.contains_key(number)
    };
    if known.segments.iter().any(is_lost) {
        return Some("a segment with chunks is gone");
    }
    let position = known.position?;
    let bytes = files.get(&position.segment).copied().unwrap_or(0);
    (bytes < position.offset).then_some("a segment is shorter than what was synced of it")
}
