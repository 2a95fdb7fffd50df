//! The keys of the four families, each built by one function and taken apart by its inverse.
//!
//! All ids are big-endian, so that byte order is numeric order. Golden bytes in the tests fix the
//! layout: a change of it is a change of the on-disk format.
//!
//! | family  | key | value |
//! |---------|-----|-------|
//! | docs    | `[collection u64][_id]` | the document |
//! | index   | `[index u64][field]...[_id]` | empty |
//! | index, unique | `[index u64][field]...` | the encoded `_id` |
//! | changes | `[log index u64][op u32]` | the change |
//! | meta    | `[kind u8]...` | a versioned record |
//!
//! `_id` and fields are in the order-preserving encoding of the `value` module. A unique index leaves
//! `_id` out of its key so that its check is one point read.

use serde::{Deserialize, Serialize};

use crate::kv::KeyRange;

/// Identifies a collection for ever: a collection created again gets another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct CollectionId(pub u64);

/// Identifies an index for ever, in the same number space as collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct IndexId(pub u64);

/// Place of a change in the change log.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// Raft log index of the entry that made the change.
    pub log_index: u64,
    /// Number of the change within that entry, from 0.
    pub op: u32,
}

impl Position {
    /// Behind every change that a log can hold.
    pub const MAX: Self = Self {
        log_index: u64::MAX,
        op: u32::MAX,
    };

    /// The next place in the same entry.
    pub fn next(self) -> Self {
        Self {
            log_index: self.log_index,
            op: self.op.saturating_add(1),
        }
    }
}

/// What a meta key names. The letters are on disk: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum MetaKind {
    /// A collection with its indexes.
    Collection = b'c',
    /// Counters of the whole store.
    Counters = b'n',
    /// Outcome slot of a session.
    Outcome = b'o',
    /// Progress of the consensus layer.
    Progress = b'p',
    /// A session.
    Session = b's',
    /// Document count and size of a collection.
    Tally = b't',
    /// A segment of the change log.
    Segment = b'x',
}

/// `[collection][_id]`
pub(crate) fn document(collection: CollectionId, id: &[u8]) -> Vec<u8> {
    joined(collection.0, id)
}

/// All documents of a collection.
pub(crate) fn documents(collection: CollectionId) -> KeyRange {
    id_range(collection.0)
}

/// Documents with an `_id` behind `id`.
pub(crate) fn documents_after(collection: CollectionId, id: &[u8]) -> KeyRange {
    // The smallest key behind a key is that key with a zero byte added.
    let mut start = document(collection, id);
    start.push(0);
    KeyRange {
        start,
        end: id_range(collection.0).end,
    }
}

/// The encoded `_id` in a document key.
pub(crate) fn document_id(key: &[u8]) -> &[u8] {
    key.get(8..).unwrap_or_default()
}

/// The start of all entries of an index.
pub(crate) fn index_prefix(index: IndexId) -> Vec<u8> {
    index.0.to_be_bytes().to_vec()
}

/// All entries of an index.
pub(crate) fn index_entries(index: IndexId) -> KeyRange {
    id_range(index.0)
}

/// `[log index][op]`
pub(crate) fn change(position: Position) -> Vec<u8> {
    let mut key = Vec::with_capacity(12);
    key.extend_from_slice(&position.log_index.to_be_bytes());
    key.extend_from_slice(&position.op.to_be_bytes());
    key
}

/// Changes from `from` on, before `to`.
pub(crate) fn changes(from: Position, to: Position) -> KeyRange {
    KeyRange {
        start: change(from),
        end: change(to),
    }
}

/// The inverse of [`change`].
pub(crate) fn change_position(key: &[u8]) -> Option<Position> {
    let (log_index, rest) = key.split_first_chunk::<8>()?;
    let op: [u8; 4] = rest.try_into().ok()?;
    Some(Position {
        log_index: u64::from_be_bytes(*log_index),
        op: u32::from_be_bytes(op),
    })
}

/// The one progress record.
pub(crate) fn progress() -> Vec<u8> {
    vec![MetaKind::Progress as u8]
}

/// The one counters record.
pub(crate) fn counters() -> Vec<u8> {
    vec![MetaKind::Counters as u8]
}

/// A collection's catalog record.
pub(crate) fn collection(id: CollectionId) -> Vec<u8> {
    meta(MetaKind::Collection, &id.0.to_be_bytes())
}

/// All catalog records.
pub(crate) fn collections() -> KeyRange {
    KeyRange::prefix(&[MetaKind::Collection as u8])
}

/// A collection's document count and size.
pub(crate) fn tally(id: CollectionId) -> Vec<u8> {
    meta(MetaKind::Tally, &id.0.to_be_bytes())
}

/// All tallies.
pub(crate) fn tallies() -> KeyRange {
    KeyRange::prefix(&[MetaKind::Tally as u8])
}

/// A session's record.
pub(crate) fn session(session: u64) -> Vec<u8> {
    meta(MetaKind::Session, &session.to_be_bytes())
}

/// All sessions.
pub(crate) fn sessions() -> KeyRange {
    KeyRange::prefix(&[MetaKind::Session as u8])
}

/// One outcome slot of a session.
pub(crate) fn outcome(session: u64, slot: u16) -> Vec<u8> {
    let mut key = meta(MetaKind::Outcome, &session.to_be_bytes());
    key.extend_from_slice(&slot.to_be_bytes());
    key
}

/// All outcome slots of a session.
pub(crate) fn outcomes(session: u64) -> KeyRange {
    KeyRange::prefix(&meta(MetaKind::Outcome, &session.to_be_bytes()))
}

/// The record of the change log segment that begins at `start`.
pub(crate) fn segment(start: Position) -> Vec<u8> {
    meta(MetaKind::Segment, &change(start))
}

/// All segments, oldest first.
pub(crate) fn segments() -> KeyRange {
    KeyRange::prefix(&[MetaKind::Segment as u8])
}

/// The part of a meta key behind its kind as a number.
pub(crate) fn meta_number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..)?.try_into().ok()?))
}

/// The inverse of [`segment`].
pub(crate) fn segment_start(key: &[u8]) -> Option<Position> {
    change_position(key.get(1..)?)
}

fn meta(kind: MetaKind, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(rest.len() + 3);
    key.push(kind as u8);
    key.extend_from_slice(rest);
    key
}

fn joined(id: u64, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(rest.len() + 8);
    key.extend_from_slice(&id.to_be_bytes());
    key.extend_from_slice(rest);
    key
}

fn id_range(id: u64) -> KeyRange {
    KeyRange {
        start: id.to_be_bytes().to_vec(),
        end: id.saturating_add(1).to_be_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_golden_bytes() {
        let position = Position {
            log_index: 0x0102,
            op: 3,
        };
        assert_eq!(
            document(CollectionId(1), b"x"),
            [0, 0, 0, 0, 0, 0, 0, 1, b'x']
        );
        assert_eq!(
            index_prefix(IndexId(0x1234)),
            [0, 0, 0, 0, 0, 0, 0x12, 0x34]
        );
        assert_eq!(change(position), [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3]);
        assert_eq!(progress(), b"p");
        assert_eq!(counters(), b"n");
        assert_eq!(collection(CollectionId(7)), *b"c\0\0\0\0\0\0\0\x07");
        assert_eq!(tally(CollectionId(7)), *b"t\0\0\0\0\0\0\0\x07");
        assert_eq!(session(7), *b"s\0\0\0\0\0\0\0\x07");
        assert_eq!(outcome(7, 513), *b"o\0\0\0\0\0\0\0\x07\x02\x01");
        assert_eq!(segment(position), *b"x\0\0\0\0\0\0\x01\x02\0\0\0\x03");
    }

    #[test]
    fn inverses_give_back_what_went_in() {
        let position = Position {
            log_index: 77,
            op: 5,
        };
        assert_eq!(change_position(&change(position)), Some(position));
        assert_eq!(segment_start(&segment(position)), Some(position));
        assert_eq!(meta_number(&session(9)), Some(9));
        assert_eq!(document_id(&document(CollectionId(3), b"abc")), b"abc");
        assert_eq!(change_position(b"short"), None);
    }

    #[test]
    fn byte_order_is_the_order_of_ids_and_positions() {
        let positions = [(1, 0), (1, 1), (1, 256), (2, 0), (255, 9), (256, 0)];
        let keys: Vec<_> = positions
            .iter()
            .map(|&(log_index, op)| change(Position { log_index, op }))
            .collect();
        assert!(keys.is_sorted());
        assert!(document(CollectionId(255), b"\xff\xff") < document(CollectionId(256), b""));
    }

    #[test]
    fn ranges_hold_their_own_keys_and_no_neighbours() {
        let range = documents(CollectionId(5));
        assert!(range.contains(&document(CollectionId(5), b"")));
        assert!(range.contains(&document(CollectionId(5), b"\xff\xff\xff")));
        assert!(!range.contains(&document(CollectionId(4), b"\xff")));
        assert!(!range.contains(&document(CollectionId(6), b"")));
        let after = documents_after(CollectionId(5), b"m");
        assert!(!after.contains(&document(CollectionId(5), b"m")));
        assert!(after.contains(&document(CollectionId(5), b"m\0")));
        assert!(outcomes(5).contains(&outcome(5, u16::MAX)));
        assert!(!outcomes(5).contains(&outcome(6, 0)));
    }
}
