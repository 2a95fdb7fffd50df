//! What consensus writes to disk, as types of its own: entries, votes, log ids, memberships, progress.
//!
//! openraft is an alpha whose types may change shape between releases; these do not. Each record has
//! one [`Format`] and a golden-bytes test, and conversions to and from openraft's types live here only.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use openraft::EntryPayload;
use serde::{Deserialize, Serialize};

use crate::codec::Format;
use crate::types::{
    Batch, Entry, LeaderId, LogId, Membership, NodeId, Peer, StoredMembership, Vote,
};

/// Largest encoded entry: the proposer bounds a batch far below this.
const ENTRY_BYTES_MAX: u64 = 256 << 20;
/// Largest encoded membership, progress or other small record: thousands of members.
const SMALL_RECORD_BYTES_MAX: u64 = 1 << 20;

const ENTRY: Format = Format {
    what: "log entry",
    magic: 0xE1,
    version: 1,
    body_bytes_max: ENTRY_BYTES_MAX,
};
const VOTE: Format = Format {
    what: "vote",
    magic: 0xE2,
    version: 1,
    body_bytes_max: SMALL_RECORD_BYTES_MAX,
};
const LOG_ID: Format = Format {
    what: "log id",
    magic: 0xE3,
    version: 1,
    body_bytes_max: SMALL_RECORD_BYTES_MAX,
};
const PROGRESS: Format = Format {
    what: "applied progress",
    magic: 0xE4,
    version: 1,
    body_bytes_max: SMALL_RECORD_BYTES_MAX,
};

/// A [`LogId`] on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogIdRecord {
    term: u64,
    node: NodeId,
    index: u64,
}

impl From<&LogId> for LogIdRecord {
    fn from(id: &LogId) -> Self {
        Self {
            term: id.leader_id.term,
            node: id.leader_id.node_id,
            index: id.index,
        }
    }
}

impl From<LogIdRecord> for LogId {
    fn from(record: LogIdRecord) -> Self {
        Self::new(
            LeaderId {
                term: record.term,
                node_id: record.node,
            },
            record.index,
        )
    }
}

/// A [`Vote`] on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct VoteRecord {
    term: u64,
    node: NodeId,
    committed: bool,
}

/// A [`Membership`] on disk: the joint configurations and every member's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MembershipRecord {
    configs: Vec<BTreeSet<NodeId>>,
    peers: BTreeMap<NodeId, Peer>,
}

impl From<&Membership> for MembershipRecord {
    fn from(membership: &Membership) -> Self {
        Self {
            configs: membership.get_joint_config().clone(),
            peers: membership
                .nodes()
                .map(|(id, peer)| (*id, peer.clone()))
                .collect(),
        }
    }
}

impl TryFrom<MembershipRecord> for Membership {
    type Error = io::Error;

    fn try_from(record: MembershipRecord) -> io::Result<Self> {
        if record.configs.is_empty() && record.peers.is_empty() {
            return Ok(Self::default());
        }
        Self::new(record.configs, record.peers).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("membership record: {error}"),
            )
        })
    }
}

/// A [`StoredMembership`] on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredMembershipRecord {
    log_id: Option<LogIdRecord>,
    membership: MembershipRecord,
}

impl From<&StoredMembership> for StoredMembershipRecord {
    fn from(stored: &StoredMembership) -> Self {
        Self {
            log_id: stored.log_id().as_ref().map(Into::into),
            membership: stored.membership().into(),
        }
    }
}

impl TryFrom<StoredMembershipRecord> for StoredMembership {
    type Error = io::Error;

    fn try_from(record: StoredMembershipRecord) -> io::Result<Self> {
        Ok(Self::new(
            record.log_id.map(Into::into),
            record.membership.try_into()?,
        ))
    }
}

/// Borrowed form, so that encoding an entry copies the commands once, straight into the record.
#[derive(Serialize)]
enum PayloadRef<'a> {
    Blank,
    Commands(&'a Batch),
    Membership(MembershipRecord),
}

#[derive(Deserialize)]
enum Payload {
    Blank,
    Commands(Batch),
    Membership(MembershipRecord),
}

/// Encodes a log entry.
pub(crate) fn encode_entry(entry: &Entry) -> io::Result<Vec<u8>> {
    let payload = match &entry.payload {
        EntryPayload::Blank => PayloadRef::Blank,
        EntryPayload::Normal(batch) => PayloadRef::Commands(batch),
        EntryPayload::Membership(membership) => PayloadRef::Membership(membership.into()),
    };
    Ok(ENTRY.encode(&(LogIdRecord::from(&entry.log_id), payload))?)
}

/// Decodes a log entry.
pub(crate) fn decode_entry(record: &[u8]) -> io::Result<Entry> {
    let (log_id, payload): (LogIdRecord, Payload) = ENTRY.decode(record)?;
    let payload = match payload {
        Payload::Blank => EntryPayload::Blank,
        Payload::Commands(batch) => EntryPayload::Normal(batch),
        Payload::Membership(membership) => EntryPayload::Membership(membership.try_into()?),
    };
    Ok(Entry {
        log_id: log_id.into(),
        payload,
    })
}

/// Encodes a vote.
pub(crate) fn encode_vote(vote: &Vote) -> io::Result<Vec<u8>> {
    let record = VoteRecord {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        committed: vote.committed,
    };
    Ok(VOTE.encode(&record)?)
}

/// Decodes a vote.
pub(crate) fn decode_vote(record: &[u8]) -> io::Result<Vote> {
    let VoteRecord {
        term,
        node,
        committed,
    } = VOTE.decode(record)?;
    Ok(Vote {
        leader_id: LeaderId {
            term,
            node_id: node,
        },
        committed,
    })
}

/// Encodes an optional log id; `None` is a record too, so that a log can be emptied by a write.
pub(crate) fn encode_log_id(log_id: Option<&LogId>) -> io::Result<Vec<u8>> {
    Ok(LOG_ID.encode(&log_id.map(LogIdRecord::from))?)
}

/// Decodes an optional log id.
pub(crate) fn decode_log_id(record: &[u8]) -> io::Result<Option<LogId>> {
    Ok(LOG_ID
        .decode::<Option<LogIdRecord>>(record)?
        .map(Into::into))
}

/// How far a state machine has applied its log; stored by the state machine with every batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The last entry applied.
    pub(crate) last_applied: Option<LogId>,
    /// The last membership applied.
    pub(crate) membership: StoredMembership,
}

impl Progress {
    /// The bytes that the state machine keeps.
    pub(crate) fn encode(&self) -> io::Result<Vec<u8>> {
        let last_applied = self.last_applied.as_ref().map(LogIdRecord::from);
        Ok(PROGRESS.encode(&(last_applied, StoredMembershipRecord::from(&self.membership)))?)
    }

    /// Reads what [`encode`](Self::encode) wrote; an empty state machine has the default progress.
    pub(crate) fn decode(record: Option<&[u8]>) -> io::Result<Self> {
        let Some(record) = record else {
            return Ok(Self::default());
        };
        let (last_applied, membership): (Option<LogIdRecord>, StoredMembershipRecord) =
            PROGRESS.decode(record)?;
        Ok(Self {
            last_applied: last_applied.map(Into::into),
            membership: membership.try_into()?,
        })
    }
}

/// The log index that a state machine's `progress` names as the last one that its state reflects.
pub fn applied_index(progress: Option<&[u8]>) -> io::Result<Option<u64>> {
    Ok(Progress::decode(progress)?.last_applied.map(|id| id.index))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn log_id(term: u64, node: u64, index: u64) -> LogId {
        LogId::new(
            LeaderId {
                term,
                node_id: node,
            },
            index,
        )
    }

    fn membership() -> Membership {
        let peers = BTreeMap::from([
            (
                1,
                Peer {
                    address: "a:1".into(),
                },
            ),
            (
                2,
                Peer {
                    address: "b:2".into(),
                },
            ),
        ]);
        Membership::new(vec![BTreeSet::from([1])], peers).unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The bytes on disk are a promise to every later release.
    #[test]
    fn records_have_golden_bytes() {
        let batch = Batch::pack([Bytes::from_static(b"hi")].iter());
        let entry = Entry {
            log_id: log_id(1, 2, 3),
            payload: EntryPayload::Normal(batch),
        };
        let log_id_hex = "010000000000000002000000000000000300000000000000";
        assert_eq!(
            hex(&encode_entry(&entry).unwrap()),
            format!(
                "e101{log_id_hex}010000000100000006000000000000000200000068{:02x}",
                b'i'
            )
        );
        let blank = Entry {
            log_id: log_id(1, 2, 3),
            payload: EntryPayload::Blank,
        };
        assert_eq!(
            hex(&encode_entry(&blank).unwrap()),
            format!("e101{log_id_hex}00000000")
        );
        let vote = Vote {
            leader_id: LeaderId {
                term: 1,
                node_id: 2,
            },
            committed: true,
        };
        assert_eq!(
            hex(&encode_vote(&vote).unwrap()),
            "e2010100000000000000020000000000000001"
        );
        assert_eq!(
            hex(&encode_log_id(Some(&log_id(1, 2, 3))).unwrap()),
            format!("e30101{log_id_hex}")
        );
        assert_eq!(hex(&encode_log_id(None).unwrap()), "e30100");
        let progress = Progress {
            last_applied: Some(log_id(1, 2, 3)),
            membership: StoredMembership::new(Some(log_id(1, 2, 3)), membership()),
        };
        assert_eq!(
            hex(&progress.encode().unwrap()),
            format!(
                "e40101{log_id_hex}01{log_id_hex}{}{}{}",
                "010000000000000001000000000000000100000000000000",
                "0200000000000000010000000000000003000000000000006 13a31".replace(' ', ""),
                "02000000000000000300000000000000623a32"
            )
        );
    }

    #[test]
    fn records_round_trip() {
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Batch::pack([Bytes::from_static(b"a"), Bytes::new()].iter())),
            EntryPayload::Membership(membership()),
        ];
        for payload in payloads {
            let entry = Entry {
                log_id: log_id(7, 8, 9),
                payload,
            };
            assert_eq!(decode_entry(&encode_entry(&entry).unwrap()).unwrap(), entry);
        }
        for vote in [Vote::new(3, 4), Vote::new_committed(5, 6)] {
            assert_eq!(decode_vote(&encode_vote(&vote).unwrap()).unwrap(), vote);
        }
        for id in [None, Some(log_id(1, 2, u64::MAX))] {
            assert_eq!(
                decode_log_id(&encode_log_id(id.as_ref()).unwrap()).unwrap(),
                id
            );
        }
        for membership in [Membership::default(), membership()] {
            let progress = Progress {
                last_applied: Some(log_id(2, 1, 5)),
                membership: StoredMembership::new(None, membership),
            };
            assert_eq!(
                Progress::decode(Some(&progress.encode().unwrap())).unwrap(),
                progress
            );
        }
        assert_eq!(Progress::decode(None).unwrap(), Progress::default());
        assert_eq!(applied_index(None).unwrap(), None);
        let progress = Progress {
            last_applied: Some(log_id(2, 1, 5)),
            ..Progress::default()
        };
        let encoded = progress.encode().unwrap();
        assert_eq!(applied_index(Some(&encoded)).unwrap(), Some(5));
    }
}
