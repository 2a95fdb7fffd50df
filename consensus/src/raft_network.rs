//! Openraft's network traits over [`PeerNetwork`]: what a group's replication says to one follower.
//!
//! Appends are pipelined: up to a bound of them are on their way at once, and their answers are
//! given back in order. An error, a conflict or a partial success ends the stream, and openraft
//! starts another from what it then knows.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RPCTypes};
use parking_lot::RwLock;

use crate::commit_hold::{CommitWanted, hold_commits};
use crate::metrics::GroupCounters;
use crate::peer_network::{ClusterId, Lane, Parties, PeerError, PeerNetwork, PeerRequest};
use crate::snapshot::SnapshotData;
use crate::snapshot_transfer;
use crate::types::{GroupId, NodeId, Peer, TypeConfig};
use crate::wire::{self, Malformed, RequestBody, ResponseBody, proto};
use crate::{RaftOptions, TransferOptions};

type RpcError = RPCError<TypeConfig>;

/// What all groups of a host share to reach their peers.
pub(crate) struct PeerContext {
    pub(crate) cluster: ClusterId,
    pub(crate) node_id: NodeId,
    pub(crate) network: Arc<dyn PeerNetwork>,
    /// Addresses that override those of the membership: for a node that moved.
    pub(crate) addresses: RwLock<HashMap<NodeId, String>>,
    pub(crate) raft: RaftOptions,
    pub(crate) transfer: TransferOptions,
}

/// One member of one group, as seen from here.
#[derive(Clone)]
pub(crate) struct GroupPeer {
    context: Arc<PeerContext>,
    group: GroupId,
    counters: Arc<GroupCounters>,
    target: NodeId,
    /// From the membership; used unless the context knows better.
    address: String,
}

impl GroupPeer {
    pub(crate) fn new(
        context: Arc<PeerContext>,
        group: GroupId,
        counters: Arc<GroupCounters>,
        target: NodeId,
        peer: &Peer,
    ) -> Self {
        Self {
            context,
            group,
            counters,
            target,
            address: peer.address.clone(),
        }
    }

    pub(crate) fn counters(&self) -> &GroupCounters {
        &self.counters
    }

    pub(crate) fn transfer(&self) -> &TransferOptions {
        &self.context.transfer
    }

    /// Sends at once; the future waits for the answer.
    pub(crate) fn call(
        &self,
        lane: Lane,
        body: RequestBody,
        timeout: Duration,
    ) -> impl Future<Output = Result<ResponseBody, PeerError>> + Send + use<> {
        let to = self.target;
        let parties = Parties {
            cluster: self.context.cluster,
            from: self.context.node_id,
            to,
        };
        let request = PeerRequest(proto::Request {
            id: 0,
            group: self.group.0,
            body: Some(body),
        });
        let address = self.context.addresses.read().get(&to).cloned();
        let address = address.as_deref().unwrap_or(&self.address);
        let answer = self
            .context
            .network
            .call(parties, address, lane, request, timeout);
        async move {
            let response = answer.await?;
            response.0.body.ok_or_else(|| PeerError::Unreachable {
                to,
                detail: "the answer is empty".to_owned(),
            })
        }
    }

    fn failed(&self, action: RPCTypes, error: &PeerError) -> RpcError {
        match error {
            PeerError::Timeout { to, after } => RPCError::Timeout(Timeout {
                action,
                id: self.context.node_id,
                target: *to,
                timeout: *after,
            }),
            error => RPCError::Unreachable(Unreachable::new(error)),
        }
    }

    /// Sends an append at once; the future yields the result and whether all of it was stored.
    fn append(
        &self,
        lane: Lane,
        request: &AppendEntriesRequest<TypeConfig>,
        timeout: Duration,
    ) -> impl Future<Output = Result<(StreamAppendResult<TypeConfig>, bool), RpcError>> + Send + use<>
    {
        let previous = request.prev_log_id;
        let last = request
            .entries
            .last()
            .map(|entry| entry.log_id)
            .or(previous);
        let sent = wire::append_to_wire(request)
            .map(|append| self.call(lane, RequestBody::Append(append), timeout));
        let peer = self.clone();
        async move {
            let answer = sent.map_err(malformed)?.await;
            let answer = answer.map_err(|error| peer.failed(RPCTypes::AppendEntries, &error))?;
            let response = match answer {
                ResponseBody::Append(reply) => {
                    wire::append_reply_from_wire(&reply).map_err(malformed)?
                }
                other => return Err(unexpected(&other)),
            };
            let complete = match &response {
                AppendEntriesResponse::Success => true,
                AppendEntriesResponse::PartialSuccess(matched) => *matched == last,
                // A conflict with nothing before the entries cannot be; without this check openraft panics.
                AppendEntriesResponse::Conflict if previous.is_none() => {
                    return Err(malformed(Malformed("a conflict before the first entry")));
                }
                AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => false,
            };
            Ok((response.into_stream_result(previous, last), complete))
        }
    }
}

fn malformed(error: Malformed) -> RpcError {
    RPCError::Unreachable(Unreachable::new(&error))
}

/// A refusal, or an answer to another question.
fn unexpected(answer: &ResponseBody) -> RpcError {
    let detail = match answer {
        ResponseBody::Refused(refused) => {
            format!("peer refused: {:?} {}", refused.reason(), refused.detail)
        }
        _ => "peer answered another question".to_owned(),
    };
    RPCError::Unreachable(Unreachable::from_string(detail))
}

/// Makes the network clients of one group.
pub(crate) struct NetworkFactory {
    context: Arc<PeerContext>,
    group: GroupId,
    counters: Arc<GroupCounters>,
    commit_wanted: CommitWanted,
}

impl NetworkFactory {
    pub(crate) fn new(
        context: Arc<PeerContext>,
        group: GroupId,
        counters: Arc<GroupCounters>,
        commit_wanted: CommitWanted,
    ) -> Self {
        Self {
            context,
            group,
            counters,
            commit_wanted,
        }
    }

    fn client(&self, target: NodeId, peer: &Peer, append_lane: Lane) -> GroupNetwork {
        let peer = GroupPeer::new(
            self.context.clone(),
            self.group,
            self.counters.clone(),
            target,
            peer,
        );
        GroupNetwork {
            peer,
            append_lane,
            commit_wanted: self.commit_wanted.clone(),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = GroupNetwork;

    async fn new_client(&mut self, target: NodeId, node: &Peer) -> GroupNetwork {
        self.client(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &Peer) -> GroupNetwork {
        self.client(target, node, Lane::Control)
    }
}

/// Openraft's client for one follower of one group.
pub(crate) struct GroupNetwork {
    peer: GroupPeer,
    append_lane: Lane,
    commit_wanted: CommitWanted,
}

impl GroupNetwork {
    fn append_timeout(&self, option: &RPCOption) -> Duration {
        match self.append_lane {
            // A heartbeat that is late is worthless: the next one says the same.
            Lane::Control => option.hard_ttl(),
            Lane::Log | Lane::Snapshot => self.peer.context.raft.append_timeout,
        }
    }
}

impl RaftNetworkV2<TypeConfig> for GroupNetwork {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let append = wire::append_to_wire(&rpc).map_err(malformed)?;
        let timeout = self.append_timeout(&option);
        match self
            .peer
            .call(self.append_lane, RequestBody::Append(append), timeout)
            .await
        {
            Ok(ResponseBody::Append(reply)) => {
                wire::append_reply_from_wire(&reply).map_err(malformed)
            }
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(self.peer.failed(RPCTypes::AppendEntries, &error)),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let timeout = self.append_timeout(&option);
        let peer = self.peer.clone();
        let lane = self.append_lane;
        let depth = self.peer.context.raft.append_pipeline;
        // `buffered` calls the closure, and thereby sends, as it takes requests from the input, and
        // yields the answers in that order.
        let answers = hold_commits(input, self.commit_wanted.clone())
            .map(move |request| peer.append(lane, &request, timeout))
            .buffered(depth);
        let until_failure =
            futures::stream::unfold(Some(Box::pin(answers)), |answers| async move {
                let mut answers = answers?;
                let (result, go_on) = match answers.next().await? {
                    Ok((result, complete)) => (Ok(result), complete),
                    Err(error) => (Err(error), false),
                };
                Some((result, go_on.then_some(answers)))
            });
        let answers: BoxStream<'s, _> = Box::pin(until_failure);
        Box::pin(async move { Ok(answers) })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let body = RequestBody::Vote(wire::vote_request_to_wire(&rpc));
        match self.peer.call(Lane::Control, body, option.soft_ttl()).await {
            Ok(ResponseBody::Vote(reply)) => wire::vote_reply_from_wire(&reply).map_err(malformed),
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(self.peer.failed(RPCTypes::Vote, &error)),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let body = RequestBody::PreVote(wire::vote_request_to_wire(&rpc));
        match self.peer.call(Lane::Control, body, option.soft_ttl()).await {
            Ok(ResponseBody::Vote(reply)) => wire::vote_reply_from_wire(&reply).map_err(malformed),
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(self.peer.failed(RPCTypes::Vote, &error)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = snapshot_transfer::send(&self.peer, vote, snapshot) => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(error) => {
                    tracing::warn!(group = %self.peer.group, to = self.peer.target, %error, "snapshot not delivered");
                    Err(StreamingError::Unreachable(Unreachable::new(&error)))
                }
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let body = RequestBody::TransferLeader(wire::transfer_to_wire(&req));
        match self.peer.call(Lane::Control, body, option.soft_ttl()).await {
            Ok(ResponseBody::TransferLeader(reply)) if reply.accepted => Ok(Ok(())),
            // The reasons differ only in words here: the transfer is off, and the log says why.
            Ok(ResponseBody::TransferLeader(_)) => Ok(Err(TransferLeaderError::LogNotFlushed {
                expected: req.last_log_id().copied(),
                actual: None,
            })),
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(self.peer.failed(RPCTypes::TransferLeader, &error)),
        }
    }
}
