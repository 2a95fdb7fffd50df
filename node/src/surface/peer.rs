//! The peer port: Raft, forwarding and membership under mutual TLS, and this node's calls to its peers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::Status;
use tonic::service::Interceptor;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::transport::{Channel, Endpoint};
use yunbase_consensus::{GroupId, NodeId};

use crate::cluster::digest::{DIGEST_TIMEOUT, DigestError, Digests, ReplicaState};
use crate::cluster::inspect::{Inspect, Statements};
use crate::cluster::map::SharedMap;
use crate::peer_proto::membership_client::MembershipClient;
use crate::peer_proto::{DigestRequest, DigestResponse, InspectRequest, InspectResponse, Replica};
use crate::router::Router;
use crate::storage::status::StatusBoard;
use crate::tls::{NodeCertificates, node_of};

/// A peer that does not answer a question about itself within this counts as not reachable.
const INSPECT_TIMEOUT: Duration = Duration::from_millis(1500);

/// Lets calls through only from callers with a certificate of the cluster's authority, which TLS has verified by then,
/// and not from nodes that were removed: their certificates stay as good as any.
#[derive(Clone)]
pub struct MemberDoor {
    map: SharedMap,
}

impl MemberDoor {
    /// A door that knows who was removed by `map`.
    pub fn new(map: SharedMap) -> Self {
        Self { map }
    }

    /// Lets the caller of one method of a service in that is not closed as a whole.
    #[allow(clippy::result_large_err)] // The error that tonic's services have.
    pub fn admit(&self, extensions: &tonic::Extensions) -> Result<(), Status> {
        let certificates = extensions
            .get::<TlsConnectInfo<TcpConnectInfo>>()
            .and_then(TlsConnectInfo::peer_certs);
        let node = certificates
            .iter()
            .flat_map(|certificates| certificates.iter())
            .next()
            .and_then(|certificate| node_of(certificate))
            .ok_or_else(|| Status::unauthenticated("this needs a node's certificate"))?;
        self.check(node)
    }

    #[allow(clippy::result_large_err)] // As above.
    fn check(&self, node: NodeId) -> Result<(), Status> {
        match self.map.get().removed.contains(&node) {
            true => Err(Status::permission_denied(format!(
                "node {node} was removed from this cluster"
            ))),
            false => Ok(()),
        }
    }
}

impl Interceptor for MemberDoor {
    fn call(&mut self, request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        self.admit(request.extensions())?;
        Ok(request)
    }
}

/// How this node reaches its peers: by the address in the cluster map, else the one that a group's membership gives,
/// always as the node that is meant.
#[derive(Clone)]
pub struct PeerAddresses {
    certificates: NodeCertificates,
    cluster_id: String,
    map: SharedMap,
}

impl PeerAddresses {
    /// Addresses of the nodes in `map`.
    pub fn new(certificates: NodeCertificates, cluster_id: String, map: SharedMap) -> Self {
        Self {
            certificates,
            cluster_id,
            map,
        }
    }

    /// The endpoint of a node.
    pub fn endpoint(&self, node: NodeId, fallback: Option<&str>) -> Result<Endpoint, String> {
        let map = self.map.get();
        let address = map
            .nodes
            .get(&node)
            .map(|record| record.peer_address.as_str())
            .or(fallback)
            .ok_or_else(|| format!("the address of node {node} is not known yet"))?;
        Endpoint::from_shared(format!("https://{address}"))
            .and_then(|endpoint| {
                endpoint.tls_config(self.certificates.client(&self.cluster_id, node))
            })
            .map_err(|error| format!("{address}: {error}"))
    }
}

/// Questions to peers.
pub struct PeerCalls {
    node_id: NodeId,
    addresses: PeerAddresses,
    map: SharedMap,
    router: Arc<Router>,
    digests: Digests,
    chunks: StatusBoard,
    started: Instant,
}

impl PeerCalls {
    /// Calls from node `node_id`.
    pub fn new(
        node_id: NodeId,
        addresses: PeerAddresses,
        map: SharedMap,
        router: Arc<Router>,
        chunks: StatusBoard,
    ) -> Self {
        Self {
            node_id,
            addresses,
            map,
            router,
            digests: Digests::default(),
            chunks,
            started: Instant::now(),
        }
    }

    /// The router of this node.
    pub fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// What every member says of itself; `None` for those that do not answer.
    pub async fn inspect_all(&self) -> Statements {
        let members: Vec<NodeId> = self.map.get().nodes.keys().copied().collect();
        let asked = members.into_iter().map(|node| async move {
            if node == self.node_id {
                return (node, Some(self.inspect()));
            }
            let answer = tokio::time::timeout(INSPECT_TIMEOUT, self.ask(node)).await;
            (node, answer.ok().flatten())
        });
        futures::future::join_all(asked).await.into_iter().collect()
    }

    async fn ask(&self, node: NodeId) -> Option<InspectResponse> {
        let mut client = self.client(node).await.ok()?;
        let answer = client.inspect(InspectRequest {}).await.ok()?;
        Some(answer.into_inner())
    }

    async fn client(&self, node: NodeId) -> Result<MembershipClient<Channel>, String> {
        let endpoint = self.addresses.endpoint(node, None)?;
        let connected = tokio::time::timeout(INSPECT_TIMEOUT, endpoint.connect()).await;
        match connected {
            Ok(Ok(channel)) => Ok(MembershipClient::new(channel)),
            Ok(Err(error)) => Err(format!("node {node} does not answer: {error}")),
            Err(_) => Err(format!("node {node} does not answer")),
        }
    }

    /// Whether any member says that this node was removed.
    pub async fn was_removed(&self) -> bool {
        let map = self.map.get();
        if map.removed.contains(&self.node_id) {
            return true;
        }
        let others = map.nodes.keys().copied().filter(|id| *id != self.node_id);
        let asked = others.map(|node| async move {
            let answer = tokio::time::timeout(INSPECT_TIMEOUT, async {
                let mut client = self.client(node).await.ok()?;
                Some(client.inspect(InspectRequest {}).await)
            });
            // Nothing but the door of a member refuses like this, and TLS says that it is one.
            matches!(answer.await, Ok(Some(Err(status))) if status.code() == tonic::Code::PermissionDenied)
        });
        futures::future::join_all(asked).await.contains(&true)
    }

    /// The digest of this node's replica of a group.
    pub async fn own_digest(&self, group: GroupId) -> Result<ReplicaState, DigestError> {
        let group = self.router.group(group).ok_or(DigestError::NoReplica)?;
        self.digests.of(&group).await
    }

    /// The digest that another node has of a group.
    pub async fn digest_of(&self, node: NodeId, group: GroupId) -> Result<ReplicaState, String> {
        if node == self.node_id {
            let own = self.own_digest(group).await;
            return own.map_err(|error| error.to_string());
        }
        let mut client = self.client(node).await?;
        let answer = client.digest(DigestRequest { group: group.0 });
        match tokio::time::timeout(DIGEST_TIMEOUT, answer).await {
            Ok(Ok(response)) => {
                let DigestResponse { applied, digest } = response.into_inner();
                Ok(ReplicaState { applied, digest })
            }
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err(format!("node {node} gives no digest in time")),
        }
    }
}

impl Inspect for PeerCalls {
    fn inspect(&self) -> InspectResponse {
        let replicas = self
            .router
            .groups()
            .iter()
            .map(|group| group.status())
            .filter(|status| !status.members.voters.is_empty())
            .map(|status| Replica {
                group: status.group.0,
                term: status.leadership.term,
                leader: status
                    .leadership
                    .leader
                    .as_ref()
                    .map_or(0, |(node, _)| *node),
                committed: status.committed.unwrap_or(0),
                applied: status.applied.unwrap_or(0),
                voters: status.members.voters.iter().copied().collect(),
                learners: status.members.learners.iter().copied().collect(),
            })
            .collect();
        InspectResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.started.elapsed().as_secs(),
            resident_bytes: resident_bytes(),
            replicas,
            chunks: Some(self.chunks.get()),
        }
    }
}

/// Resident memory of this process.
pub fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok())
        .map_or(0, |pages| pages * PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::map::ClusterMap;

    #[test]
    fn a_removed_node_is_not_let_in_and_a_stranger_is_neither() {
        let map = SharedMap::default();
        let door = MemberDoor::new(map.clone());
        assert!(door.check(3).is_ok());
        map.set(ClusterMap {
            removed: [3].into(),
            ..ClusterMap::default()
        });
        let refused = door.check(3).expect_err("removed");
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);
        assert!(door.check(4).is_ok());
        let stranger = door.admit(&tonic::Extensions::new());
        let refused = stranger.expect_err("no certificate");
        assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    }
}
