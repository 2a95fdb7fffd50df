//! Joining a cluster: the serving side on every member, the asking side on a new node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq as _;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};
use yunbase_consensus::GroupId;

use super::changes::Changes;
use super::digest::{DigestError, ReplicaState};
use super::inspect::Inspect as _;
use super::map::SharedMap;
use super::records::{
    NODES, NodeRecord, REMOVED_NODES, RemovedNode, SETTINGS, SETTINGS_ID, SettingsRecord,
};
use super::standing::WasRemoved;
use super::store::ClusterStore;
use crate::audit::Audit;
use crate::audit::record::{Act, Origin};
use crate::call::{Failure, Retry};
use crate::config::Config;
use crate::identity::{DataDir, Identity, LogLost};
use crate::peer_proto::membership_client::MembershipClient;
use crate::peer_proto::membership_server::Membership;
use crate::peer_proto::{
    DigestRequest, DigestResponse, InspectRequest, InspectResponse, JoinRequest, JoinResponse,
};
use crate::surface::peer::{MemberDoor, PeerCalls};
use crate::tls::{Authority, JoinToken, NewKey, NodeCertificates};

/// Longest that a node tries to join before it gives up with an error.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
const JOIN_PAUSE: Duration = Duration::from_millis(200);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A member does not let this node in; trying again would not help.
#[derive(Debug, thiserror::Error)]
#[error("join through {0}")]
pub struct JoinRefused(String);

/// The `Membership` service of the peer port.
pub struct MembershipService {
    store: ClusterStore,
    map: SharedMap,
    peers: Arc<PeerCalls>,
    door: MemberDoor,
    audit: Arc<Audit>,
    now_ms: fn() -> i64,
}

impl MembershipService {
    /// A service that admits nodes into the cluster of `store`.
    pub fn new(
        store: ClusterStore,
        map: SharedMap,
        peers: Arc<PeerCalls>,
        audit: Arc<Audit>,
        now_ms: fn() -> i64,
    ) -> Self {
        let door = MemberDoor::new(map.clone());
        Self {
            store,
            map,
            peers,
            door,
            audit,
            now_ms,
        }
    }

    /// The record of the node with this disk, made now, with its entry in the audit log, if there is none.
    async fn admit(&self, request: &JoinRequest, from: String) -> Result<NodeRecord, Failure> {
        let by_disk = bson::doc! { "disk_id": &request.disk_id };
        if let Some(known) = self
            .store
            .find::<NodeRecord>(NODES, by_disk)
            .await?
            .into_iter()
            .next()
        {
            return Ok(known);
        }
        // The id is taken before the record is written: a crash between the two wastes an id, never doubles one.
        let next = bson::doc! { "$inc": { "next_node_id": 1_i64 } };
        let settings = self
            .store
            .update::<SettingsRecord>(SETTINGS, SETTINGS_ID, next)
            .await?
            .ok_or_else(|| {
                Failure::new(
                    "RESOURCE_NOT_INITIAL",
                    "the cluster is not founded yet",
                    Retry::Safe,
                )
            })?;
        let record = NodeRecord {
            id: settings.next_node_id - 1,
            disk_id: request.disk_id.clone(),
            peer_address: request.peer_address.clone(),
            http_address: request.http_address.clone(),
            zone: request.zone.clone(),
            joined_at_ms: (self.now_ms)(),
            leaving_since_ms: None,
            storage_weight: None,
            chunk_disks: Vec::new(),
        };
        let origin = Origin {
            by: format!("node:{}", record.id),
            from,
            request_id: crate::gateway::request_id(),
        };
        let act = Act::new("cluster.join", format!("node {}", record.id))
            .with(format!("peers at {}", record.peer_address));
        let mut changes = Changes::default();
        changes.add_numbered(NODES, record.id, &record)?;
        changes.tell(self.audit.entry(&origin, &act)?);
        if self.store.commit(changes).await? {
            return Ok(record);
        }
        Err(Failure::new(
            "SERVER_TIMEOUT",
            "another node has taken this id: try again",
            Retry::Safe,
        ))
    }
}

#[tonic::async_trait]
impl Membership for MembershipService {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let from = request.remote_addr().map(|from| from.ip().to_string());
        let request = request.into_inner();
        let map = self.map.get();
        let settings = map
            .settings
            .as_ref()
            .ok_or_else(|| Status::unavailable("the cluster is not founded yet"))?;
        if !bool::from(
            settings
                .join_secret
                .as_bytes()
                .ct_eq(request.secret.as_bytes()),
        ) {
            return Err(Status::permission_denied(
                "the join token is not valid for this cluster",
            ));
        }
        let well_formed_id = request.disk_id.len() == 32
            && request.disk_id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !well_formed_id || request.peer_address.is_empty() {
            return Err(Status::invalid_argument(
                "a joining node must name its disk and its peer address",
            ));
        }
        let unavailable = |failure: Failure| Status::unavailable(failure.to_string());
        let removed = bson::doc! { "disk_id": &request.disk_id };
        let removed = self.store.kept::<RemovedNode>(REMOVED_NODES, removed);
        if let Some(removed) = removed.await.map_err(unavailable)?.first() {
            let node = u64::try_from(removed.record.id).unwrap_or(0);
            return Err(Status::permission_denied(WasRemoved(node).to_string()));
        }
        let record = self
            .admit(&request, from.unwrap_or_default())
            .await
            .map_err(unavailable)?;
        let node_id = u64::try_from(record.id)
            .map_err(|_| Status::internal("the cluster holds a negative node id"))?;
        let authority = Authority {
            certificate: settings.authority_certificate.clone(),
            key: settings.authority_key.clone(),
        };
        let certificate = authority
            .sign(&request.certificate_request, &settings.cluster_id, node_id)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        tracing::info!(
            node = node_id,
            peer = request.peer_address,
            "admitted a node"
        );
        Ok(Response::new(JoinResponse {
            cluster_id: settings.cluster_id.clone(),
            node_id,
            certificate,
            groups: u32::try_from(settings.groups).unwrap_or(0) + 1,
        }))
    }

    async fn inspect(
        &self,
        request: Request<InspectRequest>,
    ) -> Result<Response<InspectResponse>, Status> {
        // Only `join` is open to strangers: replicas and versions are nobody else's business.
        self.door.admit(request.extensions())?;
        Ok(Response::new(self.peers.inspect()))
    }

    async fn digest(
        &self,
        request: Request<DigestRequest>,
    ) -> Result<Response<DigestResponse>, Status> {
        self.door.admit(request.extensions())?;
        let group = GroupId(request.into_inner().group);
        match self.peers.own_digest(group).await {
            Ok(ReplicaState { applied, digest }) => {
                Ok(Response::new(DigestResponse { applied, digest }))
            }
            Err(error @ DigestError::NoReplica) => Err(Status::not_found(error.to_string())),
            Err(error @ DigestError::Late) => Err(Status::deadline_exceeded(error.to_string())),
            Err(error) => Err(Status::internal(error.to_string())),
        }
    }
}

/// Joins the cluster that `config` names: on return the identity and the certificates are on disk.
pub async fn join(config: &Config, data: &DataDir) -> anyhow::Result<Identity> {
    let token = JoinToken::decode(config.join_token.as_deref().unwrap_or_default())?;
    let disk_id = disk_id(data)?;
    let key = NewKey::generate()?;
    let request = JoinRequest {
        secret: token.secret.clone(),
        disk_id: disk_id.clone(),
        certificate_request: key.request.clone().into(),
        peer_address: config.peer_advertise.clone(),
        http_address: config.http_advertise.clone(),
        zone: config.zone.clone(),
    };
    let given_up = Instant::now() + JOIN_TIMEOUT;
    let mut last = String::new();
    while Instant::now() < given_up {
        for address in &config.join {
            match ask(address, &token, request.clone()).await {
                Ok(response) => return settle(data, &token, key, response, disk_id),
                Err(status) if status.code() == tonic::Code::PermissionDenied => {
                    return Err(JoinRefused(format!("{address}: {}", status.message())).into());
                }
                Err(status) => last = format!("{address}: {}", status.message()),
            }
        }
        tokio::time::sleep(JOIN_PAUSE).await;
    }
    anyhow::bail!(
        "no member admitted this node within {} s; the last answer was {last}",
        JOIN_TIMEOUT.as_secs()
    )
}

async fn ask(
    address: &str,
    token: &JoinToken,
    request: JoinRequest,
) -> Result<JoinResponse, Status> {
    let endpoint = Endpoint::from_shared(format!("https://{address}"))
        .and_then(|endpoint| endpoint.tls_config(token.client()))
        .map_err(|error| Status::invalid_argument(error.to_string()))?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT);
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| Status::unavailable(format!("{error:?}")))?;
    MembershipClient::new(channel)
        .join(request)
        .await
        .map(Response::into_inner)
}

fn settle(
    data: &DataDir,
    token: &JoinToken,
    key: NewKey,
    response: JoinResponse,
    disk_id: String,
) -> anyhow::Result<Identity> {
    anyhow::ensure!(
        response.cluster_id == token.cluster_id,
        "the member belongs to another cluster than the token"
    );
    let certificates = NodeCertificates {
        authority: token.authority.clone(),
        certificate: response.certificate,
        key: key.key,
    };
    certificates.store(&data.tls())?;
    let identity = Identity {
        cluster_id: response.cluster_id,
        node_id: response.node_id,
        disk_id,
        groups: response.groups,
    };
    // Last: from here on this disk is that node.
    data.set_identity(&identity)?;
    Ok(identity)
}

/// The marker of this disk, drawn at its first use, so that asking twice is recognised as one node: one that still has its
/// log, which the marker is left in first.
fn disk_id(data: &DataDir) -> Result<String, LogLost> {
    let path = data.path().join("disk");
    let known: Option<String> = crate::durable_file::read(&path, "disk", 1)?;
    let id = data.claim_log(known.as_deref())?;
    if known.is_none() {
        crate::durable_file::write(&path, "disk", 1, &id)?;
    }
    Ok(id)
}
