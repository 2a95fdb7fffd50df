//! The management door of the public gRPC surface.

use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};
use yunbase_client::proto::cluster_server::{Cluster, ClusterServer};
use yunbase_client::proto::{
    CreateEnvironmentRequest, CreateEnvironmentResponse, CreateKeyRequest, CreateKeyResponse,
    DeleteKeyRequest, DeleteKeyResponse, Denial, DigestRequest, DigestResponse, Environment,
    JoinTokenRequest, JoinTokenResponse, Key, ListEnvironmentsRequest, ListEnvironmentsResponse,
    ListKeysRequest, ListKeysResponse, RecentDenialsRequest, RecentDenialsResponse,
    RemoveNodeRequest, RemoveNodeResponse, ReplicaDigest, StatusRequest, StatusResponse,
    TransferLeaderRequest, TransferLeaderResponse, remove_node_response,
};
use yunbase_consensus::{GroupId, MembershipError};

use super::digest::ReplicaState;
use super::founding;
use super::inspect::{assemble, best_views};
use super::keys;
use super::map::SharedMap;
use super::records::CLUSTER_ENV;
use super::removal::{self, Removal, RemovalError};
use super::store::ClusterStore;
use crate::audit::record::{Act, Origin};
use crate::audit::{Audit, OK};
use crate::auth::Auth;
use crate::call::{Failure, KeyDirectory};
use crate::operators::access::Access;
use crate::operators::door::Door;
use crate::operators::roles::{Action, Place};
use crate::surface::peer::PeerCalls;
use crate::tls::JoinToken;

/// Key of the metadata of a refusal that say more than its code.
pub const REASON: &str = "yunbase-reason";
/// Refused because it could do damage.
pub const REASON_UNSAFE: &str = "unsafe";

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
    door: Door,
    now_ms: fn() -> i64,
}

impl ClusterService {
    /// A service over the cluster's documents.
    pub fn new(
        store: ClusterStore,
        map: SharedMap,
        peers: Arc<PeerCalls>,
        auth: Arc<Auth>,
        door: Door,
        now_ms: fn() -> i64,
    ) -> Self {
        let keys: Arc<dyn KeyDirectory> = Arc::new(map.clone());
        Self {
            store,
            map,
            keys,
            peers,
            auth,
            door,
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

    /// Lets in who may do `action` to the cluster.
    async fn admit<T>(
        &self,
        request: &Request<T>,
        method: &str,
        action: Action,
    ) -> Result<Origin, Status> {
        let admitted = self
            .authorize(request, method, action, Place::Cluster)
            .await?;
        Ok(admitted.1)
    }

    /// Lets in who may see some of it.
    async fn admit_to_see<T>(
        &self,
        request: &Request<T>,
        method: &str,
        action: Action,
    ) -> Result<Access, Status> {
        let admitted = self
            .authorize(request, method, action, Place::Anywhere)
            .await?;
        Ok(admitted.0)
    }

    async fn authorize<T>(
        &self,
        request: &Request<T>,
        method: &str,
        action: Action,
        place: Place<'_>,
    ) -> Result<(Access, Origin), Status> {
        let method = format!("/yunbase.v1.Cluster/{method}");
        let (admitted, origin) = self.door.authorize(request, &method, action, place).await?;
        Ok((admitted.access, origin))
    }

    fn audit(&self) -> &Audit {
        self.door.operators().audit()
    }
}

/// Whether a caller may know of an environment.
fn sees(access: &Access, env: &str) -> bool {
    access.allows(Action::ClusterView, Place::Environment(env))
}

#[allow(clippy::needless_pass_by_value)] // The shape that `map_err` wants.
fn status_of(failure: Failure) -> Status {
    let text = failure.to_string();
    match failure.code.as_ref() {
        "INVALID_PARAM" => Status::invalid_argument(text),
        "SERVER_TIMEOUT" | "RESOURCE_NOT_INITIAL" | "RESOURCE_INSUFFICIENT" => {
            Status::unavailable(text)
        }
        _ => Status::internal(text),
    }
}

/// What the command line makes the exit code of a refusal for safety from.
fn not_removed(error: RemovalError) -> Status {
    let text = error.to_string();
    match error {
        RemovalError::Unknown { .. } => Status::not_found(text),
        RemovalError::UnderWay { .. } => Status::aborted(text),
        RemovalError::LastNode { .. }
        | RemovalError::WouldLoseQuorum { .. }
        | RemovalError::NoSubstitute { .. } => {
            let mut refused = Status::failed_precondition(text);
            let unsafe_now = MetadataValue::from_static(REASON_UNSAFE);
            refused.metadata_mut().insert(REASON, unsafe_now);
            refused
        }
        RemovalError::NoLeader { .. } => Status::unavailable(text),
        RemovalError::Failed(failure) => status_of(failure),
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let access = self
            .admit_to_see(&request, "Status", Action::ClusterView)
            .await?;
        let statements = self.peers.inspect_all().await;
        let mut status = assemble(&self.map.get(), &statements);
        for group in &mut status.groups {
            group.environments.retain(|env| sees(&access, env));
        }
        Ok(Response::new(status))
    }

    async fn join_token(
        &self,
        request: Request<JoinTokenRequest>,
    ) -> Result<Response<JoinTokenResponse>, Status> {
        let origin = self
            .admit(&request, "JoinToken", Action::ClusterChange)
            .await?;
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
        // Whoever has it can make a machine of its own a member.
        let act = Act::new("cluster.join_token", "");
        self.audit().record(CLUSTER_ENV, &origin, act, OK).await;
        Ok(Response::new(JoinTokenResponse {
            token: token.encode(),
        }))
    }

    async fn create_environment(
        &self,
        request: Request<CreateEnvironmentRequest>,
    ) -> Result<Response<CreateEnvironmentResponse>, Status> {
        let origin = self
            .admit(&request, "CreateEnvironment", Action::EnvironmentChange)
            .await?;
        let name = request.into_inner().name;
        let entry = self
            .audit()
            .entry(&origin, &Act::new("env.create", &name))
            .map_err(status_of)?;
        let (created, group) =
            founding::ensure_env(&self.store, &self.map, &name, (self.now_ms)(), Some(entry))
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
        let access = self
            .admit_to_see(&request, "ListEnvironments", Action::ClusterView)
            .await?;
        let map = self.map.get();
        let environments = map
            .environments
            .iter()
            .filter(|(name, _)| sees(&access, name))
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
        let origin = self.admit(&request, "CreateKey", Action::KeyChange).await?;
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
        let key = keys::create(
            &self.store,
            self.audit(),
            &origin,
            env,
            life,
            (self.now_ms)(),
        )
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
        let access = self
            .admit_to_see(&request, "ListKeys", Action::KeyView)
            .await?;
        let place = |env: &Option<String>| match env {
            Some(env) => access.allows(Action::KeyView, Place::Environment(env)),
            None => access.allows(Action::KeyView, Place::Cluster),
        };
        let map = self.map.get();
        let mut keys: Vec<Key> = map
            .keys
            .values()
            .filter(|key| place(&key.env))
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
        let origin = self.admit(&request, "DeleteKey", Action::KeyChange).await?;
        let id = request.into_inner().secret_id;
        let deleted = keys::delete(&self.store, self.audit(), &origin, &id)
            .await
            .map_err(status_of)?;
        Ok(Response::new(DeleteKeyResponse { deleted }))
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Result<Response<TransferLeaderResponse>, Status> {
        let origin = self
            .admit(&request, "TransferLeader", Action::ClusterChange)
            .await?;
        let TransferLeaderRequest { group, node } = request.into_inner();
        let runtime = self
            .peers
            .router()
            .group(GroupId(group))
            .ok_or_else(|| Status::not_found(format!("there is no group {group}")))?;
        let deadline = tokio::time::Instant::now() + TRANSFER_TIMEOUT;
        let outcome = runtime.group().transfer_leader(node, deadline).await;
        let act = Act::new("cluster.transfer_leader", format!("group {group}"))
            .with(format!("to node {node}"));
        let code = if outcome.is_ok() {
            OK
        } else {
            "OPERATION_FAIL"
        };
        self.audit().record(CLUSTER_ENV, &origin, act, code).await;
        match outcome {
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

    async fn remove_node(
        &self,
        request: Request<RemoveNodeRequest>,
    ) -> Result<Response<RemoveNodeResponse>, Status> {
        let origin = self
            .admit(&request, "RemoveNode", Action::ClusterChange)
            .await?;
        let RemoveNodeRequest { node, dry_run } = request.into_inner();
        let entry = match dry_run {
            true => None,
            false => {
                let act = Act::new("cluster.remove", format!("node {node}"));
                Some(self.audit().entry(&origin, &act).map_err(status_of)?)
            }
        };
        let (map, now_ms) = (self.map.get(), (self.now_ms)());
        let (state, groups) =
            match removal::remove(&self.store, &map, &self.peers, node, now_ms, entry).await {
                Ok(Removal::Possible) => (remove_node_response::State::Possible, Vec::new()),
                Ok(Removal::Leaving(groups)) => (
                    remove_node_response::State::Leaving,
                    groups.into_iter().map(|group| group.0).collect(),
                ),
                Ok(Removal::Removed) => (remove_node_response::State::Removed, Vec::new()),
                Err(error) => return Err(not_removed(error)),
            };
        Ok(Response::new(RemoveNodeResponse {
            state: state.into(),
            groups,
        }))
    }

    async fn digest(
        &self,
        request: Request<DigestRequest>,
    ) -> Result<Response<DigestResponse>, Status> {
        self.admit(&request, "Digest", Action::ClusterView).await?;
        let group = request.into_inner().group;
        let statements = self.peers.inspect_all().await;
        let members: Vec<u64> = match best_views(&statements).get(&group) {
            Some(view) => view.voters.iter().chain(&view.learners).copied().collect(),
            None => return Err(Status::not_found(format!("there is no group {group}"))),
        };
        let asked = members.into_iter().map(|node| async move {
            let state = self.peers.digest_of(node, GroupId(group)).await;
            match state {
                Ok(ReplicaState { applied, digest }) => ReplicaDigest {
                    node,
                    applied,
                    digest,
                    problem: String::new(),
                },
                Err(problem) => ReplicaDigest {
                    node,
                    problem,
                    ..ReplicaDigest::default()
                },
            }
        });
        Ok(Response::new(DigestResponse {
            replicas: futures::future::join_all(asked).await,
        }))
    }

    async fn recent_denials(
        &self,
        request: Request<RecentDenialsRequest>,
    ) -> Result<Response<RecentDenialsResponse>, Status> {
        let access = self
            .admit_to_see(&request, "RecentDenials", Action::UserView)
            .await?;
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
            .filter(|denial| access.allows(Action::UserView, Place::Environment(&denial.env)))
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
