//! The identifiers and the one openraft type configuration that the whole crate shares.

use std::fmt;
use std::io::Cursor;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// A Raft group: 0 is the cluster's own, 1..N hold environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub u32);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}", self.0)
    }
}

/// A node's identity: given out once by the cluster, persisted, never reused, not tied to an address.
pub type NodeId = u64;

/// Where a member of a group is reached by its peers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// `host:port` of the peer gRPC surface.
    pub address: String,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// The commands that one log entry carries, packed into a single buffer, so that an entry is cloned
/// by reference count and written to log and wire without another encoding.
///
/// Layout: for each command its length as u32 little-endian and its bytes.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Batch {
    count: u32,
    packed: Bytes,
}

impl Batch {
    /// Packs `commands` in order.
    pub fn pack<'a>(commands: impl IntoIterator<Item = &'a Bytes> + Clone) -> Self {
        let size = commands.clone().into_iter().map(|c| c.len() + 4).sum();
        let mut packed = BytesMut::with_capacity(size);
        let mut count = 0;
        for command in commands {
            packed.put_u32_le(
                u32::try_from(command.len()).expect("a command is bounded far below 4 GiB"),
            );
            packed.extend_from_slice(command);
            count += 1;
        }
        Self {
            count,
            packed: packed.freeze(),
        }
    }

    /// Takes over a packed buffer that came from a log or a peer; `None` when it does not hold
    /// exactly `count` commands.
    pub(crate) fn from_packed(count: u32, packed: Bytes) -> Option<Self> {
        let mut rest: &[u8] = &packed;
        for _ in 0..count {
            let (length, after) = rest.split_first_chunk::<4>()?;
            rest = after.get(u32::from_le_bytes(*length) as usize..)?;
        }
        rest.is_empty().then_some(Self { count, packed })
    }

    /// The packed buffer that [`Self::from_packed`] takes.
    pub(crate) fn packed(&self) -> &Bytes {
        &self.packed
    }

    /// Number of commands.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether the batch carries no command.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Packed size in bytes.
    pub fn size_bytes(&self) -> usize {
        self.packed.len()
    }

    /// The commands in order, each a slice of the shared buffer; `None` marks a malformed remainder.
    pub fn commands(&self) -> impl Iterator<Item = Option<Bytes>> + '_ {
        let mut cursor = Cursor::new(&self.packed);
        let mut left = self.count;
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            left -= 1;
            if cursor.remaining() < 4 {
                left = 0;
                return Some(None);
            }
            let length = cursor.get_u32_le() as usize;
            if cursor.remaining() < length {
                left = 0;
                return Some(None);
            }
            let start = cursor.position() as usize;
            cursor.advance(length);
            Some(Some(self.packed.slice(start..start + length)))
        })
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} ({} bytes)", self.count, self.packed.len())
    }
}

/// One reply for each command of the entry, in order; empty for blank and membership entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replies(pub Vec<Bytes>);

impl fmt::Display for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} replies", self.0.len())
    }
}

/// Takes the result of one entry where Raft has it, instead of waking a task that waits for it.
/// Dropped without a result when Raft stops.
pub struct Responder<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Responder<T> {
    /// Calls `then` with the result, on a thread that must not be held up.
    pub(crate) fn new(then: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(then))
    }
}

impl<T: Send + 'static> openraft::raft::responder::Responder<TypeConfig, T> for Responder<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

/// The one type configuration of this crate. Nothing outside `consensus` names openraft.
///
/// Written out because `declare_raft_types!` takes no responder of one's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Batch;
    type R = Replies;
    type NodeId = NodeId;
    type Node = Peer;
    type Term = u64;
    type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, NodeId>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Batch, NodeId, Peer>;
    type Entry =
        openraft::Entry<<Self::LeaderId as openraft::vote::RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = crate::executor::Executor;
    type Responder<T>
        = Responder<T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// `(term, node, index)` of an entry.
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
/// Who leads a term; a log id names the leader that proposed it.
pub(crate) type LeaderId = openraft::alias::LeaderIdOf<TypeConfig>;
/// A vote, given or committed.
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
/// One entry of the log.
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
/// Voters and learners of a group.
pub(crate) type Membership = openraft::Membership<NodeId, Peer>;
/// A membership with the log id that brought it.
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
