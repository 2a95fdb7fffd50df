//! The ordered log of every change, with the document's image before and after it.
//!
//! Realtime watch, triggers and cache invalidation read it from any replica and resume at a position.
//! It is cut into segments; when the log has too many bytes or a segment is too old, whole segments are
//! deleted from its front as part of an apply, so all replicas hold the same changes. A reader that
//! fell behind learns so by a typed error and must read the documents anew.

use std::collections::VecDeque;

use bson::{RawDocument, RawDocumentBuf};
use serde::{Deserialize, Serialize};

use crate::codec::{self, Magic};
use crate::draft::Draft;
use crate::keys::{self, Position};
use crate::kv::{Direction, Family, StorageError, StorageResult, View};
use crate::raw_bson;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeKind {
    /// A document came to be.
    Insert,
    /// A document was changed by operators.
    Update,
    /// A document was replaced as a whole.
    Replace,
    /// A document was removed.
    Remove,
    /// The collection was created.
    CreateCollection,
    /// The collection was dropped with all its documents; they have no changes of their own.
    DropCollection,
    /// The collection's access document was set: what a user may see of it may have changed.
    SetAccess,
    /// The collection got another name, `to` of `after`; who follows either name reads the documents anew.
    RenameCollection,
}

impl ChangeKind {
    /// Whether the change is one of a collection as a whole, and its images are no documents of it.
    pub fn is_of_collection(self) -> bool {
        matches!(
            self,
            Self::CreateCollection
                | Self::DropCollection
                | Self::SetAccess
                | Self::RenameCollection
        )
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// In which environment.
    pub env: String,
    /// In which collection.
    pub collection: String,
    /// When, by the clock of the proposer.
    pub now_ms: i64,
    /// The document before, where there was one.
    #[serde(with = "raw_bson::option")]
    pub before: Option<RawDocumentBuf>,
    /// The document after, where there is one.
    #[serde(with = "raw_bson::option")]
    pub after: Option<RawDocumentBuf>,
}

impl Change {
    /// The `_id` of the document concerned; `None` for changes of a whole collection.
    pub fn id(&self) -> Option<bson::RawBsonRef<'_>> {
        self.after
            .as_ref()
            .or(self.before.as_ref())
            .and_then(|document| document.get("_id").ok().flatten())
    }
}

/// The same as borrowed parts, to write one without copying documents first.
#[derive(Serialize)]
pub(crate) struct ChangeRef<'a> {
    pub(crate) kind: ChangeKind,
    pub(crate) env: &'a str,
    pub(crate) collection: &'a str,
    pub(crate) now_ms: i64,
    before: Option<&'a serde_bytes::Bytes>,
    after: Option<&'a serde_bytes::Bytes>,
}

impl<'a> ChangeRef<'a> {
    pub(crate) fn new(kind: ChangeKind, env: &'a str, collection: &'a str, now_ms: i64) -> Self {
        Self {
            kind,
            env,
            collection,
            now_ms,
            before: None,
            after: None,
        }
    }

    pub(crate) fn images(
        mut self,
        before: Option<&'a RawDocument>,
        after: Option<&'a RawDocument>,
    ) -> Self {
        self.before = before.map(|document| serde_bytes::Bytes::new(document.as_bytes()));
        self.after = after.map(|document| serde_bytes::Bytes::new(document.as_bytes()));
        self
    }

    pub(crate) fn encode(&self) -> StorageResult<Vec<u8>> {
        codec::encode_record(Magic::Change, self)
    }
}

/// How much of the log is kept. Part of what replicas must agree on: equal on all nodes of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Most bytes; the newest segment always stays.
    pub bytes_max: u64,
    /// Greatest age of a segment's newest change.
    pub age_ms_max: i64,
    /// Size at which a segment is closed.
    pub segment_bytes: u64,
}

/// A run of changes that is trimmed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Segment {
    last: Position,
    last_ms: i64,
    bytes: u64,
}

/// The log's shape, as the applying side keeps it in memory.
#[derive(Debug, Default)]
pub(crate) struct ChangeLog {
    /// Start and content of each segment, oldest first.
    segments: VecDeque<(Position, Segment)>,
    /// Segments with an index from here on have changed since they were written.
    first_unsaved: usize,
    bytes: u64,
}

impl ChangeLog {
    pub(crate) fn load(view: &dyn View) -> StorageResult<Self> {
        let mut log = Self::default();
        let mut cursor = view.scan(Family::Meta, &keys::segments(), Direction::Forward);
        while cursor.advance()? {
            let start = keys::segment_start(cursor.key())
                .ok_or_else(|| StorageError::corrupt("a segment's key has a wrong length"))?;
            let segment: Segment = codec::decode_record(Magic::Segment, cursor.value())?;
            log.bytes += segment.bytes;
            log.segments.push_back((start, segment));
        }
        log.first_unsaved = log.segments.len();
        Ok(log)
    }

    /// Bytes of all changes kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds an encoded change at `position`, which is behind all others.
    pub(crate) fn append(
        &mut self,
        draft: &mut Draft<'_>,
        position: Position,
        now_ms: i64,
        change: Vec<u8>,
        retention: Retention,
    ) {
        let bytes = change.len() as u64;
        match self.segments.back_mut() {
            Some((_, open)) if open.bytes < retention.segment_bytes => {
                open.bytes += bytes;
                open.last = position;
                open.last_ms = now_ms;
            }
            _ => self.segments.push_back((
                position,
                Segment {
                    last: position,
                    last_ms: now_ms,
                    bytes,
                },
            )),
        }
        self.first_unsaved = self.first_unsaved.min(self.segments.len() - 1);
        self.bytes += bytes;
        draft.put(Family::Changes, keys::change(position), change);
    }

    /// Deletes what is beyond the retention at `now_ms`. Returns the last change that is gone now.
    pub(crate) fn trim(
        &mut self,
        draft: &mut Draft<'_>,
        now_ms: i64,
        retention: Retention,
    ) -> Option<Position> {
        let mut trimmed = None;
        while self.segments.len() > 1 {
            let (start, oldest) = self.segments[0];
            let is_old = now_ms.saturating_sub(oldest.last_ms) > retention.age_ms_max;
            if !is_old && self.bytes <= retention.bytes_max {
                break;
            }
            self.segments.pop_front();
            self.first_unsaved = self.first_unsaved.saturating_sub(1);
            self.bytes -= oldest.bytes;
            draft.delete(Family::Meta, keys::segment(start));
            draft.delete_range(Family::Changes, keys::changes(start, oldest.last.next()));
            trimmed = Some(oldest.last);
        }
        trimmed
    }

    /// Writes the records of segments that have changed.
    pub(crate) fn save(&mut self, draft: &mut Draft<'_>) -> StorageResult<()> {
        for (start, segment) in self.segments.iter().skip(self.first_unsaved) {
            draft.put(
                Family::Meta,
                keys::segment(*start),
                codec::encode_record(Magic::Segment, segment)?,
            );
        }
        self.first_unsaved = self.segments.len();
        Ok(())
    }
}

/// Why changes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// Changes behind the position are gone. Read the documents anew and resume from [`Changes::next`] of a fresh read.
    #[error(
        "changes behind the position are no longer kept; the oldest position to resume after is {oldest:?}"
    )]
    TooOld {
        /// The smallest position that can be resumed after.
        oldest: Position,
    },
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A run of changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// In order, each with its position.
    pub changes: Vec<(Position, Change)>,
    /// Resume after this position.
    pub next: Position,
    /// More changes were there but for the limits.
    pub has_more: bool,
}

/// Reads changes behind `after`: at most `count_max`, and but for the first at most `bytes_max` bytes.
pub(crate) fn read(
    view: &dyn View,
    after: Position,
    trimmed_to: Position,
    count_max: usize,
    bytes_max: usize,
) -> Result<Changes, ChangesError> {
    if after < trimmed_to {
        return Err(ChangesError::TooOld { oldest: trimmed_to });
    }
    let mut read = Changes {
        changes: Vec::new(),
        next: after,
        has_more: false,
    };
    let mut bytes = 0;
    let mut cursor = view.scan(
        Family::Changes,
        &keys::changes(after.next(), Position::MAX),
        Direction::Forward,
    );
    while cursor.advance()? {
        bytes += cursor.value().len();
        if read.changes.len() >= count_max || (bytes > bytes_max && !read.changes.is_empty()) {
            read.has_more = true;
            break;
        }
        let position = keys::change_position(cursor.key())
            .ok_or_else(|| StorageError::corrupt("a change's key has a wrong length"))?;
        read.changes.push((
            position,
            codec::decode_record(Magic::Change, cursor.value())?,
        ));
        read.next = position;
    }
    Ok(read)
}
