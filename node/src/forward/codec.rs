//! The versioned bytes of a forwarded call. Not public: both ends are nodes of one cluster, which agree on
//! a feature level before a new version may be sent.

use bincode::Options as _;
use bson::RawDocumentBuf;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use yunbase_docdb::change_log::Change;
use yunbase_docdb::op::{FindOp, Op, OpReply};
use yunbase_docdb::{Position, raw_bson};

use crate::call::{Caller, Failure, ReadLevel, Retry, SessionSequence};
use crate::transactions::Step;

const MAGIC: u8 = 0xf0;
const VERSION: u8 = 1;
/// A document of 16 MiB, its update and their frame.
const MESSAGE_BYTES_MAX: u64 = 40 << 20;

/// A call on its way to the leader of its group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForwardRequest {
    /// The environment, or the empty string with `group` for calls to a group itself.
    pub env: String,
    /// The group that the sender takes for the environment's.
    pub group: u32,
    /// What to do there.
    pub body: ForwardBody,
    /// The public half of the caller's key; `None` for the cluster itself.
    pub key_id: Option<String>,
    /// Exactly-once name; always present for calls that change something.
    pub session: Option<(u64, u64)>,
    /// Time left when the sender sent it.
    pub remaining_ms: u64,
    /// For logs and errors.
    pub request_id: String,
}

/// What is forwarded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ForwardBody {
    /// A mutating operation.
    Write(Op),
    /// A new exactly-once session in the group.
    OpenSession,
    /// A read that the sender cannot serve, because it holds no replica of the group or wants the leader's lease.
    Read {
        /// A read operation.
        op: Op,
        /// 0 linearizable, 1 lease, 2 stale.
        level: u8,
    },
    /// A step of a transaction that lives on the node that this is sent to, whatever it leads.
    Transaction {
        /// Its id.
        id: String,
        /// What to do.
        step: Step,
    },
    /// The first result of a watch that the sender serves without a replica.
    Watch {
        /// Where.
        collection: String,
        /// What.
        find: FindOp,
        /// The time that the query sees.
        now_ms: i64,
    },
    /// What such a watch follows.
    Changes {
        /// Changes behind here.
        after: Position,
        /// Most changes.
        count_max: u32,
        /// Most bytes; one change may be larger.
        bytes_max: u32,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ForwardResponse {
    /// Done.
    Replied(OpReply),
    /// A session was opened.
    SessionOpened {
        /// Its id.
        session: u64,
    },
    /// This node does not lead the group; nothing happened.
    NotLeader {
        /// The leader, where known.
        leader: Option<u64>,
    },
    /// It failed.
    Failed {
        /// As the clients spell it.
        code: String,
        /// In words.
        message: String,
        /// 0 never, 1 safe, 2 same sequence.
        retry: u8,
    },
    /// The first result of a watch.
    Watched {
        /// The documents.
        #[serde(with = "raw_bson::vec")]
        documents: Vec<RawDocumentBuf>,
        /// The last change that they reflect.
        position: Position,
    },
    /// Changes in order.
    Changes {
        /// Each with its position.
        changes: Vec<(Position, Change)>,
        /// Resume after this position.
        next: Position,
        /// There are more.
        has_more: bool,
    },
    /// The change log no longer reaches back so far.
    TooOld {
        /// The smallest position that can be resumed after.
        oldest: Position,
    },
}

impl ForwardRequest {
    /// The caller, as the sender's door established it.
    pub fn caller(&self) -> Caller {
        self.key_id
            .clone()
            .map_or(Caller::System, |key_id| Caller::Administrator { key_id })
    }

    /// The exactly-once name.
    pub fn session(&self) -> Option<SessionSequence> {
        self.session
            .map(|(session, sequence)| SessionSequence { session, sequence })
    }
}

impl From<Failure> for ForwardResponse {
    fn from(failure: Failure) -> Self {
        let retry = match failure.retry {
            Retry::Never => 0,
            Retry::Safe => 1,
            Retry::SameSequence => 2,
        };
        Self::Failed {
            code: failure.code.into_owned(),
            message: failure.message,
            retry,
        }
    }
}

/// The failure that `Failed` carries.
pub fn failure(code: String, message: String, retry: u8) -> Failure {
    let retry = match retry {
        0 => Retry::Never,
        1 => Retry::Safe,
        _ => Retry::SameSequence,
    };
    Failure::new(code, message, retry)
}

/// The wire form of a read level.
pub fn level_code(level: ReadLevel) -> u8 {
    match level {
        ReadLevel::Linearizable => 0,
        ReadLevel::Lease => 1,
        ReadLevel::Stale => 2,
    }
}

/// The read level of a wire form; what is unknown counts as the strictest.
pub fn level(code: u8) -> ReadLevel {
    match code {
        1 => ReadLevel::Lease,
        2 => ReadLevel::Stale,
        _ => ReadLevel::Linearizable,
    }
}

fn options() -> impl bincode::Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .reject_trailing_bytes()
        .with_limit(MESSAGE_BYTES_MAX)
}

/// Encodes a message with its envelope.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, String> {
    let mut bytes = vec![MAGIC, VERSION];
    options()
        .serialize_into(&mut bytes, message)
        .map_err(|error| format!("encode a forwarded call: {error}"))?;
    Ok(bytes)
}

/// Decodes a message; refuses other versions, damage and trailing bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bytes {
        [MAGIC, VERSION, body @ ..] => options()
            .deserialize(body)
            .map_err(|error| format!("decode a forwarded call: {error}")),
        [MAGIC, version, ..] => Err(format!(
            "a forwarded call of version {version}; this node speaks {VERSION}"
        )),
        _ => Err("not a forwarded call".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip_and_garbage_is_refused() {
        let request = ForwardRequest {
            env: "demo".into(),
            group: 3,
            body: ForwardBody::Write(Op::CreateCollection {
                collection: "todo".into(),
            }),
            key_id: Some("AK".into()),
            session: Some((7, 9)),
            remaining_ms: 100,
            request_id: "r".into(),
        };
        let bytes = encode(&request).expect("encode");
        assert_eq!(decode::<ForwardRequest>(&bytes).expect("decode"), request);
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(decode::<ForwardRequest>(&longer).is_err());
        assert!(decode::<ForwardRequest>(&bytes[..bytes.len() - 1]).is_err());
        assert!(decode::<ForwardRequest>(&[MAGIC, 99]).is_err());
        assert!(decode::<ForwardRequest>(&[]).is_err());
    }
}
