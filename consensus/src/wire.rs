//! The peer protocol's messages and their conversion from and to openraft's types.
//!
//! A batch of commands crosses as the very buffer the log stores, without decoding it. Everything
//! that comes in is checked here: a malformed message is an error, never a panic.

use bincode::Options;
use openraft::alias::{CommittedLeaderIdOf, EntryOf, LogIdOf, VoteOf};
use openraft::entry::RaftEntry;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::{EntryPayload, Membership};

use crate::types::{Batch, NodeId, Peer, TypeConfig};

#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic
)]
pub(crate) mod proto {
    tonic::include_proto!("yunbase.peer.v1");
}

pub(crate) use proto::refused::Reason;
pub(crate) use proto::request::Body as RequestBody;
pub(crate) use proto::response::Body as ResponseBody;

/// Version of the conversation between nodes; nodes with different versions do not talk.
pub(crate) const PROTOCOL: u32 = 1;

/// Upper bound for an encoded membership: a group has a handful of members with short addresses.
const MEMBERSHIP_MAX_BYTES: u64 = 64 * 1024;

type LogId = LogIdOf<TypeConfig>;
type Vote = VoteOf<TypeConfig>;
type Entry = EntryOf<TypeConfig>;
type LeaderId = CommittedLeaderIdOf<TypeConfig>;

/// A message from a peer that does not say what the protocol demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed peer message: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

pub(crate) fn log_id_to_wire(log_id: &LogId) -> proto::LogId {
    proto::LogId {
        term: log_id.leader_id.term,
        leader: log_id.leader_id.node_id,
        index: log_id.index,
    }
}

pub(crate) fn log_id_from_wire(log_id: &proto::LogId) -> LogId {
    LogId::new(
        LeaderId {
            term: log_id.term,
            node_id: log_id.leader,
        },
        log_id.index,
    )
}

pub(crate) fn vote_to_wire(vote: &Vote) -> proto::Ballot {
    proto::Ballot {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

pub(crate) fn vote_from_wire(ballot: Option<&proto::Ballot>) -> Result<Vote, Malformed> {
    let ballot = ballot.ok_or(Malformed("ballot is missing"))?;
    Ok(if ballot.committed {
        Vote::new_committed(ballot.term, ballot.node)
    } else {
        Vote::new(ballot.term, ballot.node)
    })
}

fn membership_options() -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .reject_trailing_bytes()
        .with_limit(MEMBERSHIP_MAX_BYTES)
}

fn entry_to_wire(entry: &Entry) -> Result<proto::Entry, Malformed> {
    let payload = match &entry.payload {
        EntryPayload::Blank => None,
        EntryPayload::Normal(batch) => Some(proto::entry::Payload::Commands(proto::Commands {
            count: u32::try_from(batch.len())
                .map_err(|_| Malformed("too many commands in an entry"))?,
            packed: batch.packed().clone(),
        })),
        EntryPayload::Membership(membership) => Some(proto::entry::Payload::Membership(
            membership_options()
                .serialize(membership)
                .map_err(|_| Malformed("membership exceeds its size limit"))?
                .into(),
        )),
    };
    Ok(proto::Entry {
        log_id: Some(log_id_to_wire(&entry.log_id)),
        payload,
    })
}

fn entry_from_wire(entry: proto::Entry) -> Result<Entry, Malformed> {
    let log_id = log_id_from_wire(&entry.log_id.ok_or(Malformed("an entry has no log id"))?);
    let payload = match entry.payload {
        None => EntryPayload::Blank,
        Some(proto::entry::Payload::Commands(commands)) => {
            EntryPayload::Normal(Batch::from_packed(commands.count, commands.packed).ok_or(
                Malformed("the commands of an entry do not match their count"),
            )?)
        }
        Some(proto::entry::Payload::Membership(bytes)) => {
            let membership: Membership<NodeId, Peer> = membership_options()
                .deserialize(&bytes)
                .map_err(|_| Malformed("a membership cannot be decoded"))?;
            EntryPayload::Membership(membership)
        }
    };
    Ok(Entry::new(log_id, payload))
}

pub(crate) fn append_to_wire(
    request: &AppendEntriesRequest<TypeConfig>,
) -> Result<proto::Append, Malformed> {
    Ok(proto::Append {
        ballot: Some(vote_to_wire(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id_to_wire),
        leader_commit: request.leader_commit.as_ref().map(log_id_to_wire),
        entries: request
            .entries
            .iter()
            .map(entry_to_wire)
            .collect::<Result<_, _>>()?,
    })
}

pub(crate) fn append_from_wire(
    append: proto::Append,
) -> Result<AppendEntriesRequest<TypeConfig>, Malformed> {
    let prev_log_id = append.previous.as_ref().map(log_id_from_wire);
    let mut next_index = prev_log_id.map_or(0, |id| id.index + 1);
    let mut entries = Vec::with_capacity(append.entries.len());
    for entry in append.entries {
        let entry = entry_from_wire(entry)?;
        if entry.log_id.index != next_index {
            return Err(Malformed("the entries of an append are not consecutive"));
        }
        next_index = next_index
            .checked_add(1)
            .ok_or(Malformed("log index overflows"))?;
        entries.push(entry);
    }
    Ok(AppendEntriesRequest {
        vote: vote_from_wire(append.ballot.as_ref())?,
        prev_log_id,
        entries,
        leader_commit: append.leader_commit.as_ref().map(log_id_from_wire),
    })
}

pub(crate) fn append_reply_to_wire(
    response: &AppendEntriesResponse<TypeConfig>,
) -> proto::AppendReply {
    use proto::append_reply::Outcome;
    let outcome = match response {
        AppendEntriesResponse::Success => Some(Outcome::Success(true)),
        AppendEntriesResponse::Conflict => Some(Outcome::Conflict(true)),
        AppendEntriesResponse::HigherVote(vote) => Some(Outcome::HigherBallot(vote_to_wire(vote))),
        AppendEntriesResponse::PartialSuccess(matched) => {
            matched.as_ref().map(log_id_to_wire).map(Outcome::Partial)
        }
    };
    proto::AppendReply { outcome }
}

pub(crate) fn append_reply_from_wire(
    reply: &proto::AppendReply,
) -> Result<AppendEntriesResponse<TypeConfig>, Malformed> {
    use proto::append_reply::Outcome;
    Ok(match &reply.outcome {
        Some(Outcome::Success(_)) => AppendEntriesResponse::Success,
        Some(Outcome::Conflict(_)) => AppendEntriesResponse::Conflict,
        Some(Outcome::HigherBallot(ballot)) => {
            AppendEntriesResponse::HigherVote(vote_from_wire(Some(ballot))?)
        }
        Some(Outcome::Partial(matched)) => {
            AppendEntriesResponse::PartialSuccess(Some(log_id_from_wire(matched)))
        }
        None => AppendEntriesResponse::PartialSuccess(None),
    })
}

pub(crate) fn vote_request_to_wire(request: &VoteRequest<TypeConfig>) -> proto::Vote {
    proto::Vote {
        ballot: Some(vote_to_wire(&request.vote)),
        last_log: request.last_log_id.as_ref().map(log_id_to_wire),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn vote_request_from_wire(
    vote: &proto::Vote,
) -> Result<VoteRequest<TypeConfig>, Malformed> {
    let ballot = vote_from_wire(vote.ballot.as_ref())?;
    let mut request = VoteRequest::new(ballot, vote.last_log.as_ref().map(log_id_from_wire));
    request.leadership_transfer = vote.leadership_transfer;
    Ok(request)
}

pub(crate) fn vote_reply_to_wire(response: &VoteResponse<TypeConfig>) -> proto::VoteReply {
    proto::VoteReply {
        ballot: Some(vote_to_wire(&response.vote)),
        granted: response.vote_granted,
        last_log: response.last_log_id.as_ref().map(log_id_to_wire),
    }
}

pub(crate) fn vote_reply_from_wire(
    reply: &proto::VoteReply,
) -> Result<VoteResponse<TypeConfig>, Malformed> {
    Ok(VoteResponse::new(
        vote_from_wire(reply.ballot.as_ref())?,
        reply.last_log.as_ref().map(log_id_from_wire),
        reply.granted,
    ))
}

pub(crate) fn transfer_to_wire(
    request: &TransferLeaderRequest<TypeConfig>,
) -> proto::TransferLeader {
    proto::TransferLeader {
        from_leader: Some(vote_to_wire(request.from_leader())),
        to: *request.to_node_id(),
        last_log: request.last_log_id().map(log_id_to_wire),
    }
}

pub(crate) fn transfer_from_wire(
    transfer: &proto::TransferLeader,
) -> Result<TransferLeaderRequest<TypeConfig>, Malformed> {
    Ok(TransferLeaderRequest::new(
        vote_from_wire(transfer.from_leader.as_ref())?,
        transfer.to,
        transfer.last_log.as_ref().map(log_id_from_wire),
    ))
}

/// A refusal as the answer to any request.
pub(crate) fn refused(reason: Reason, detail: impl Into<String>) -> ResponseBody {
    ResponseBody::Refused(proto::Refused {
        reason: reason.into(),
        detail: detail.into(),
        leader: 0,
    })
}
