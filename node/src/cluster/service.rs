//! The management door of the public gRPC surface.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};
use yunbase_client::proto::cluster_server::{Cluster, ClusterServer};
use yunbase_client::proto::{
    CreateEnvironmentRequest, CreateEnvironmentResponse, CreateKeyRequest, CreateKeyResponse,
    DeleteKeyRequest, DeleteKeyResponse, Denial, Environment, JoinTokenRequest, JoinTokenResponse,
    Key, ListEnvironmentsRequest, ListEnvironmentsResponse, ListKeysRequest, ListKeysResponse,
    RecentDenialsRequest, RecentDenialsResponse, StatusRequest, StatusResponse,
    TransferLeaderRequest, TransferLeaderResponse,
};
use yunbase_consensus::{GroupId, MembershipError};

use super::founding;
use super::inspect::assemble;
use super::keys;
use super::map::SharedMap;
use super::records::KEYS;
use super::store::ClusterStore;
use crate::auth::Auth;
use crate::call::{Failure, KeyDirectory};
use crate::data_service::admit;
use crate::surface::peer::PeerCalls;
use crate::tls::JoinToken;

const TRANSFER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest that creating an environment waits for its login.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(5);

/// The `Cluster` service.
pub struct ClusterService {
    store: ClusterStore,
    map: SharedMap,
    keys: Arc<dyn KeyDirectory>,
    peers: Arc<PeerCalls>,
    auth: Arc<Auth>,
    now_ms: fn() -> i64,
}

impl ClusterService {
    /// A service over the cluster's documents.
    pub fn new(
        store: ClusterStore,
        map: SharedMap,
        peers: Arc<PeerCalls>,
        auth: Arc<Auth>,
        now_ms: fn() -> i64,
    ) -> Self {
        let keys: Arc<dyn KeyDirectory> = Arc::new(map.clone());
        Self {
            store,
            map,
            keys,
            peers,
            auth,
            now_ms,
        }
    }

    /// The service as tonic mounts it.
    pub fn into_server(self) -> ClusterServer<Self> {
        ClusterServer::new(self)
    }

    /// Makes the keys of a new environment's login, once this node knows the environment.
    async fn prepare_login(&self, env: &str) -> Result<(), String> {
        let mut changes = self.map.watch();
        let prepared = async {
            while !self.keys.has_env(env) {
                changes.changed().await.map_err(|error| error.to_string())?;
            }
            let request_id = crate::gateway::request_id();
            let scope = self.auth.scope(env, &request_id, PREPARE_TIMEOUT, None);
            let scope = scope.map_err(|error| error.to_string())?;
            let prepared = self.auth.prepare(&scope).await;
            prepared.map_err(|error| error.to_string())
        };
        tokio::time::timeout(PREPARE_TIMEOUT, prepared)
            .await
            .map_err(|_| "not in time".to_owned())?
    }

    /// Lets in who holds a key for the whole cluster.
    fn admit<T>(&self, request: &Request<T>, method: &str) -> Result<(), Status> {
        let admitted = admit(
            &self.keys,
            request.metadata(),
            &format!("/yunbase.v1.Cluster/{method}"),
        )?;
        match admitted.env {
            None => Ok(()),
            Some(env) => Err(Status::permission_denied(format!(
                "managing the cluster needs a key for all environments; this one opens `{env}` only"
            ))),
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // The shape that `map_err` wants.
fn status_of(failure: Failure) -> Status {
    let text = failure.to_string();
    match failure.code.as_ref() {
        "INVALID_PARAM" => Status::invalid_argument(text),
        "SERVER_TIMEOUT" | "RESOURCE_NOT_INITIAL" => Status::unavailable(text),
        _ => Status::internal(text),
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        self.admit(&request, "Status")?;
        let statements = self.peers.inspect_all().await;
        Ok(Response::new(assemble(&self.map.get(), &statements)))
    }

    async fn join_token(
        &self,
        request: Request<JoinTokenRequest>,
    ) -> Result<Response<JoinTokenResponse>, Status> {
        self.admit(&request, "JoinToken")?;
        let map = self.map.get();
        let settings = map
            .settings
            .as_ref()
            .ok_or_else(|| Status::unavailable("the cluster is not founded yet"))?;
        let token = JoinToken {
            cluster_id: settings.cluster_id.clone(),
            secret: settings.join_secret.clone(),
            authority: settings.authority_certificate.clone(),
        };
        Ok(Response::new(JoinTokenResponse {
            token: token.encode(),
        }))
    }

    async fn create_environment(
        &self,
        request: Request<CreateEnvironmentRequest>,
    ) -> Result<Response<CreateEnvironmentResponse>, Status> {
        self.admit(&request, "CreateEnvironment")?;
        let name = request.into_inner().name;
        let (created, group) = founding::ensure_env(&self.store, &self.map, &name, (self.now_ms)())
            .await
            .map_err(status_of)?;
        if created && let Err(reason) = self.prepare_login(&name).await {
            // The first sign-in makes it then.
            tracing::info!(env = name, reason, "prepare login");
        }
        Ok(Response::new(CreateEnvironmentResponse { created, group }))
    }

    async fn list_environments(
        &self,
        request: Request<ListEnvironmentsRequest>,
    ) -> Result<Response<ListEnvironmentsResponse>, Status> {
        self.admit(&request, "ListEnvironments")?;
        let map = self.map.get();
        let environments = map
            .environments
            .iter()
            .map(|(name, group)| Environment {
                name: name.clone(),
                group: group.0,
            })
            .collect();
        Ok(Response::new(ListEnvironmentsResponse { environments }))
    }

    async fn create_key(
        &self,
        request: Request<CreateKeyRequest>,
    ) -> Result<Response<CreateKeyResponse>, Status> {
        self.admit(&request, "CreateKey")?;
        let CreateKeyRequest {
            env,
            temporary_hours,
        } = request.into_inner();
        let env = Some(env).filter(|env| !env.is_empty());
        if let Some(env) = &env
            && !self.keys.has_env(env)
        {
            return Err(Status::not_found(format!(
                "there is no environment `{env}`"
            )));
        }
        let life =
            (temporary_hours > 0).then(|| Duration::from_secs(u64::from(temporary_hours) * 3600));
        let key = keys::create(&self.store, env, life, (self.now_ms)())
            .await
            .map_err(status_of)?;
        Ok(Response::new(CreateKeyResponse {
            secret_id: key.id,
            secret_key: key.secret,
            session_token: key.session_token.unwrap_or_default(),
            expires_at_ms: key.expires_at_ms.unwrap_or_default(),
        }))
    }

    async fn list_keys(
        &self,
        request: Request<ListKeysRequest>,
    ) -> Result<Response<ListKeysResponse>, Status> {
        self.admit(&request, "ListKeys")?;
        let map = self.map.get();
        let mut keys: Vec<Key> = map
            .keys
            .values()
            .map(|key| Key {
                secret_id: key.id.clone(),
                env: key.env.clone().unwrap_or_default(),
                expires_at_ms: key.expires_at_ms.unwrap_or_default(),
            })
            .collect();
        keys.sort_by(|a, b| a.secret_id.cmp(&b.secret_id));
        Ok(Response::new(ListKeysResponse { keys }))
    }

    async fn delete_key(
        &self,
        request: Request<DeleteKeyRequest>,
    ) -> Result<Response<DeleteKeyResponse>, Status> {
        self.admit(&request, "DeleteKey")?;
        let deleted = self
            .store
            .remove(KEYS, &request.into_inner().secret_id)
            .await
            .map_err(status_of)?;
        Ok(Response::new(DeleteKeyResponse { deleted }))
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Result<Response<TransferLeaderResponse>, Status> {
        self.admit(&request, "TransferLeader")?;
        let TransferLeaderRequest { group, node } = request.into_inner();
        let runtime = self
            .peers
            .router()
            .group(GroupId(group))
            .ok_or_else(|| Status::not_found(format!("there is no group {group}")))?;
        let deadline = tokio::time::Instant::now() + TRANSFER_TIMEOUT;
        match runtime.group().transfer_leader(node, deadline).await {
            Ok(()) => Ok(Response::new(TransferLeaderResponse {})),
            Err(MembershipError::NotLeader { leader }) => {
                Err(Status::failed_precondition(format!(
                    "this node does not lead group {group}; ask {}",
                    leader.map_or("again later".to_owned(), |(id, _)| format!("node {id}"))
                )))
            }
            Err(error @ MembershipError::UnknownMember { .. }) => {
                Err(Status::not_found(error.to_string()))
            }
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }

    async fn recent_denials(
        &self,
        request: Request<RecentDenialsRequest>,
    ) -> Result<Response<RecentDenialsResponse>, Status> {
        self.admit(&request, "RecentDenials")?;
        let RecentDenialsRequest { env, count_max } = request.into_inner();
        let count_max = match count_max {
            0 => usize::MAX,
            count_max => count_max as usize,
        };
        let denials = self
            .peers
            .router()
            .denials()
            .recent(&env, count_max)
            .into_iter()
            .map(|denial| Denial {
                at_ms: denial.at_ms,
                request_id: denial.request_id,
                env: denial.env,
                collection: denial.collection,
                operation: denial.operation.to_owned(),
                uid: denial.uid,
                reason: denial.reason,
            })
            .collect();
        Ok(Response::new(RecentDenialsResponse { denials }))
    }
}
