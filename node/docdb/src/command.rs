//! What goes through the replicated log: a write in the form in which every replica carries it out,
//! and what carrying it out answered.
//!
//! Everything that could differ between replicas (time, generated ids, which documents a query found)
//! was settled by the proposer and travels inside. Members and variants are only ever appended.

use bson::RawDocumentBuf;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::codec::{self, Magic};
use crate::error::{Error, Result};
use crate::guard::Guard;
use crate::keys::{CollectionId, IndexId};
use crate::op::{IndexOptions, IndexSpec, OpReply, ValidationLevel};
use crate::raw_bson;
use crate::transaction::{CheckedTransaction, Transaction};

/// Names a mutating request for exactly-once: a retry carries the same pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSequence {
    /// The session, as [`CommandReply::SessionOpened`] gave it out.
    pub session: u64,
    /// Grows by one with each new mutating request of the session.
    pub sequence: u64,
}

/// One replicated write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Command {
    pub(crate) env: String,
    pub(crate) session: Option<SessionSequence>,
    /// Stamped by the proposer; the only clock of an apply.
    pub(crate) now_ms: i64,
    pub(crate) op: WriteOp,
}

impl Command {
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        codec::encode(Magic::Command, self).map_err(|problem| {
            Error::new(
                crate::error::ErrorCode::ExceedSize,
                format!("the request cannot be replicated: {problem}"),
            )
        })
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode(Magic::Command, bytes)
            .map_err(|error| Error::internal(format!("undecodable command: {error}")))
    }
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum WriteOp {
    OpenSession,
    CreateCollection {
        collection: String,
    },
    DropCollection {
        collection: String,
    },
    Insert {
        collection: String,
        #[serde(with = "raw_bson::vec")]
        documents: Vec<RawDocumentBuf>,
    },
    WriteOne(WriteOne),
    WriteStep(WriteStep),
    CreateIndex {
        collection: String,
        index: IndexSpec,
    },
    DropIndex {
        collection: String,
        name: String,
    },
    /// Enters the next documents behind `cursor` into a building index. Does nothing when the index is
    /// no longer building or its cursor has moved. No longer proposed: the next step had to wait for this one.
    BuildIndex {
        collection: CollectionId,
        index: IndexId,
        cursor: ByteBuf,
    },
    SetAccess {
        collection: String,
        #[serde(with = "raw_bson")]
        access: RawDocumentBuf,
    },
    /// A write to documents on behalf of an end user.
    Guarded {
        guard: Box<Guard>,
        op: Box<WriteOp>,
    },
    Commit(Box<Transaction>),
    CommitChecked(Box<CheckedTransaction>),
    CreateIndexWith {
        collection: String,
        index: IndexSpec,
        options: IndexOptions,
    },
    /// Removes those of the documents that a time-to-live index says are past their time. Proposing it twice is
    /// harmless.
    Expire {
        collection: CollectionId,
        index: IndexId,
        /// Encoded `_id`s, ascending.
        ids: Vec<ByteBuf>,
    },
    SetValidator {
        collection: String,
        #[serde(with = "raw_bson")]
        schema: RawDocumentBuf,
        level: ValidationLevel,
    },
    RenameCollection {
        collection: String,
        to: String,
    },
    /// Enters the next documents into a building index, wherever the build stands, so several may be under way.
    /// Does nothing when the index is no longer building.
    ContinueBuild {
        collection: CollectionId,
        index: IndexId,
        documents_max: u32,
    },
}

impl WriteOp {
    /// The write itself and what it is held to.
    pub(crate) fn parts(&self) -> (&Self, Option<&Guard>) {
        match self {
            Self::Guarded { guard, op } => (op, Some(guard)),
            op => (op, None),
        }
    }

    /// How many documents it carries as they shall be.
    pub(crate) fn whole_documents(&self) -> usize {
        match self {
            Self::Guarded { op, .. } => op.whole_documents(),
            Self::Insert { documents, .. } => documents.len(),
            Self::Commit(transaction) => transaction.writes.len(),
            Self::CommitChecked(checked) => checked.transaction.writes.len(),
            _ => 0,
        }
    }
}

/// What happens to a document that a write found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Change {
    Update(#[serde(with = "raw_bson")] RawDocumentBuf),
    Replace(#[serde(with = "raw_bson")] RawDocumentBuf),
    Remove,
}

/// Which documents a write is about and what it does with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) collection: String,
    #[serde(with = "raw_bson")]
    pub(crate) filter: RawDocumentBuf,
    pub(crate) change: Change,
    /// Insert when nothing matches, under this `_id` unless filter or change name one.
    pub(crate) upsert: bool,
    pub(crate) upsert_id: String,
}

/// A write to at most one document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WriteOne {
    pub(crate) target: Target,
    /// Encoded `_id`s in the order in which to try them.
    pub(crate) candidates: Vec<ByteBuf>,
    /// No document beyond the candidates can match (the filter fixes `_id`), so none matching is an answer.
    pub(crate) complete: bool,
    pub(crate) return_document: bool,
}

/// A bounded part of a write to many documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WriteStep {
    pub(crate) target: Target,
    /// Encoded `_id`s, ascending. Each is checked against the filter again.
    pub(crate) ids: Vec<ByteBuf>,
    /// Nothing is left to do after this step.
    pub(crate) last: bool,
    /// What earlier steps did, as the proposer knows it; a session's own memory overrides it.
    pub(crate) earlier: StepCounts,
}

/// Totals of the steps of one write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCounts {
    /// Documents that matched (and, for a removal, are gone).
    pub matched: u64,
    /// Documents that really changed.
    pub modified: u64,
}

/// What a command answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CommandReply {
    /// The answer to an operation.
    Op(OpReply),
    /// A session to use from now on.
    SessionOpened {
        /// Its id.
        session: u64,
        /// Requests with the last that many sequence numbers can be retried.
        window: u16,
    },
    /// One step of a longer write is done.
    StepDone {
        /// Documents up to this encoded `_id` need no further step.
        #[serde(with = "serde_bytes")]
        done_to: Vec<u8>,
        /// Totals so far.
        counts: StepCounts,
    },
}

/// The command that opens a session for exactly-once writes. Its reply is [`CommandReply::SessionOpened`].
pub fn open_session(now_ms: i64) -> Result<Vec<u8>> {
    Command {
        env: String::new(),
        session: None,
        now_ms,
        op: WriteOp::OpenSession,
    }
    .encode()
}

/// Reads the reply of a command as `Database::apply` returned it.
pub fn decode_reply(bytes: &[u8]) -> Result<CommandReply> {
    codec::decode::<Result<CommandReply>>(Magic::Reply, bytes)
        .map_err(|error| Error::internal(format!("undecodable reply: {error}")))?
}

pub(crate) fn encode_reply(reply: &Result<CommandReply>) -> std::result::Result<Vec<u8>, String> {
    codec::encode(Magic::Reply, reply)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    /// A change of these bytes is a change of what is in every log: it needs a new version.
    #[test]
    fn commands_and_replies_have_their_golden_bytes() {
        let command = Command {
            env: "e".into(),
            session: Some(SessionSequence {
                session: 2,
                sequence: 3,
            }),
            now_ms: 4,
            op: WriteOp::Insert {
                collection: "c".into(),
                documents: vec![rawdoc! { "_id": 5 }],
            },
        };
        let bytes = command.encode().unwrap();
        let golden = concat!(
            "c101",               // magic, version
            "010000000000000065", // env
            "01",
            "0200000000000000",
            "0300000000000000",   // session
            "0400000000000000",   // now
            "03000000",           // insert
            "010000000000000063", // collection
            "0100000000000000",   // one document
            "0e00000000000000",
            "0e000000105f6964000500000000",
        );
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
        assert_eq!(Command::decode(&bytes), Ok(command));

        let refused = Err(Error::invalid("no"));
        let bytes = encode_reply(&refused).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            concat!("c201", "01000000", "00000000", "02000000000000006e6f")
        );
        assert_eq!(decode_reply(&bytes), refused);
    }
}
