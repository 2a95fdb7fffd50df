//! What a disk in memory tells of each write, for the invariants that a simulation checks: entries with
//! the entry before them, votes with the vote before them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

use super::disk::DiskWrite;
use super::keys::{HardKind, LogKey};
use super::memory::Content;
use crate::records;
use crate::types::{GroupId, LogId};

/// The term of an entry or vote and the leader or candidate it names.
pub type Ballot = (u64, u64);

/// One write, in the terms of Raft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskRecord {
    /// An entry of the log.
    Entry {
        /// Whose log.
        group: GroupId,
        /// Its index.
        index: u64,
        /// Term and leader.
        ballot: Ballot,
        /// Those of the entry before it; `None` when the log begins here, or that entry is purged.
        previous: Option<Ballot>,
        /// A hash of the whole entry.
        content: u64,
    },
    /// A vote.
    Vote {
        /// Whose.
        group: GroupId,
        /// Term and candidate, and whether that candidate is known to have won.
        vote: (Ballot, bool),
        /// The vote before.
        before: Option<(Ballot, bool)>,
    },
}

fn ballot(log_id: &LogId) -> Ballot {
    (log_id.leader_id.term, log_id.leader_id.node_id)
}

/// The record of a write that is about to change `content`.
pub(super) fn describe(write: &DiskWrite, content: &Content) -> io::Result<Option<DiskRecord>> {
    match write {
        DiskWrite::PutEntry(key, record) => {
            let entry = records::decode_entry(record)?;
            let before = key.index.checked_sub(1).and_then(|index| {
                let group = key.group;
                content.entries.get(&LogKey { group, index })
            });
            let previous = match before {
                Some(record) => Some(ballot(&records::decode_entry(record)?.log_id)),
                None => None,
            };
            let mut hasher = DefaultHasher::new();
            record.hash(&mut hasher);
            Ok(Some(DiskRecord::Entry {
                group: key.group,
                index: key.index,
                ballot: ballot(&entry.log_id),
                previous,
                content: hasher.finish(),
            }))
        }
        DiskWrite::PutHard(key, record) if key.kind == HardKind::Vote => {
            let decode = |record: &[u8]| {
                let vote = records::decode_vote(record)?;
                let ballot = (vote.leader_id.term, vote.leader_id.node_id);
                Ok::<_, io::Error>((ballot, vote.committed))
            };
            let before = content.hard.get(key).map(|record| decode(record));
            Ok(Some(DiskRecord::Vote {
                group: key.group,
                vote: decode(record)?,
                before: before.transpose()?,
            }))
        }
        _ => Ok(None),
    }
}
