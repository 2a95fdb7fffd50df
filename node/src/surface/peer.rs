//! The peer port: Raft, forwarding and membership under mutual TLS, and this node's calls to its peers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::Status;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::transport::{Channel, Endpoint};
use yunbase_consensus::NodeId;

use crate::cluster::inspect::Inspect;
use crate::cluster::map::SharedMap;
use crate::peer_proto::membership_client::MembershipClient;
use crate::peer_proto::{InspectRequest, InspectResponse, Replica};
use crate::router::Router;
use crate::tls::NodeCertificates;

/// A peer that does not answer a question about itself within this counts as not reachable.
const INSPECT_TIMEOUT: Duration = Duration::from_millis(1500);

/// Lets a call through only from a caller with a certificate of the cluster's authority, which TLS has
/// verified by then.
#[allow(clippy::result_large_err)] // The shape that tonic's interceptors have.
pub fn require_member(request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
    require_certificate(request.extensions())?;
    Ok(request)
}

/// The same for one method of a service that is not closed as a whole.
#[allow(clippy::result_large_err)] // The error that tonic's services have.
pub fn require_certificate(extensions: &tonic::Extensions) -> Result<(), Status> {
    let certified = extensions
        .get::<TlsConnectInfo<TcpConnectInfo>>()
        .and_then(TlsConnectInfo::peer_certs)
        .is_some_and(|certificates| !certificates.is_empty());
    if certified {
        Ok(())
    } else {
        Err(Status::unauthenticated("this needs a node's certificate"))
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
    started: Instant,
}

impl PeerCalls {
    /// Calls from node `node_id`.
    pub fn new(
        node_id: NodeId,
        addresses: PeerAddresses,
        map: SharedMap,
        router: Arc<Router>,
    ) -> Self {
        Self {
            node_id,
            addresses,
            map,
            router,
            started: Instant::now(),
        }
    }

    /// The router of this node.
    pub fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// What every member says of itself; `None` for those that do not answer.
    pub async fn inspect_all(&self) -> BTreeMap<u64, Option<InspectResponse>> {
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
        let endpoint = self.addresses.endpoint(node, None).ok()?;
        let channel: Channel = endpoint.connect().await.ok()?;
        MembershipClient::new(channel)
            .inspect(InspectRequest {})
            .await
            .ok()
            .map(tonic::Response::into_inner)
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
