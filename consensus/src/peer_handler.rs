//! What a group answers to its peers.

use openraft::errors::RaftError;

use crate::disk_room::DiskRoom;
use crate::group::Group;
use crate::types::{NodeId, TypeConfig};
use crate::wire::{self, Malformed, Reason, RequestBody, ResponseBody, proto, refused};

/// Answers one request. The first poll hands it to Raft, which fixes its place in the order.
pub(crate) async fn answer(group: &Group, from: NodeId, body: Option<RequestBody>) -> ResponseBody {
    let result = match body {
        Some(RequestBody::Append(append)) => append_entries(group, append).await,
        Some(RequestBody::Vote(vote)) => self::vote(group, &vote, false).await,
        Some(RequestBody::PreVote(vote)) => self::vote(group, &vote, true).await,
        Some(RequestBody::ReadIndex(read)) => {
            Ok(group.reads().index_for_follower(read.lease).await)
        }
        Some(RequestBody::TransferLeader(transfer)) => transfer_leader(group, &transfer).await,
        Some(RequestBody::SnapshotOffer(_)) if group.inner.room.get() != DiskRoom::Enough => {
            Err(no_room())
        }
        Some(RequestBody::SnapshotOffer(offer)) => {
            group.inner.receiver.offered(group, from, offer).await
        }
        Some(RequestBody::SnapshotPart(part)) => group.inner.receiver.part(group, part).await,
        Some(RequestBody::SnapshotInstall(install)) => {
            group.inner.receiver.install(group, install).await
        }
        Some(RequestBody::Hello(_)) | None => {
            Err(Malformed("the request says nothing this node knows").into())
        }
    };
    result.unwrap_or_else(|refusal| refused(refusal.reason, refusal.detail))
}

/// Why a request was not answered as asked.
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) detail: String,
}

impl From<Malformed> for Refusal {
    fn from(error: Malformed) -> Self {
        Self {
            reason: Reason::Invalid,
            detail: error.to_string(),
        }
    }
}

impl From<RaftError<TypeConfig>> for Refusal {
    fn from(error: RaftError<TypeConfig>) -> Self {
        Self {
            reason: Reason::Stopped,
            detail: error.to_string(),
        }
    }
}

pub(crate) type Answer = Result<ResponseBody, Refusal>;

async fn append_entries(group: &Group, append: proto::Append) -> Answer {
    let request = wire::append_from_wire(append)?;
    // A heartbeat has no entries, and goes on to tell who leads.
    if !request.entries.is_empty() && group.inner.room.get() == DiskRoom::Full {
        return Err(no_room());
    }
    let response = group.inner.raft.append_entries(request).await?;
    Ok(ResponseBody::Append(wire::append_reply_to_wire(&response)))
}

fn no_room() -> Refusal {
    Refusal {
        reason: Reason::Storage,
        detail: "the disk of this node is nearly full".to_owned(),
    }
}

async fn vote(group: &Group, vote: &proto::Vote, only_asking: bool) -> Answer {
    let request = wire::vote_request_from_wire(vote)?;
    let response = if only_asking {
        group.inner.raft.pre_vote(request).await?
    } else {
        group.inner.raft.vote(request).await?
    };
    Ok(ResponseBody::Vote(wire::vote_reply_to_wire(&response)))
}

async fn transfer_leader(group: &Group, transfer: &proto::TransferLeader) -> Answer {
    let request = wire::transfer_from_wire(transfer)?;
    let reply = match group.inner.raft.handle_transfer_leader(request).await {
        Ok(Ok(())) => proto::TransferLeaderReply {
            accepted: true,
            detail: String::new(),
        },
        Ok(Err(error)) => proto::TransferLeaderReply {
            accepted: false,
            detail: error.to_string(),
        },
        Err(fatal) => {
            return Err(Refusal {
                reason: Reason::Stopped,
                detail: fatal.to_string(),
            });
        }
    };
    Ok(ResponseBody::TransferLeader(reply))
}
