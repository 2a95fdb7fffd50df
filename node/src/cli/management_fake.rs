//! A stand-in for the management surface of a node: a little state, and a count of what was changed.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use yunbase_client::auth::Credentials;
use yunbase_client::proto::cluster_server::{Cluster, ClusterServer};
use yunbase_client::proto::{
    CreateEnvironmentRequest, CreateEnvironmentResponse, CreateKeyRequest, CreateKeyResponse,
    DeleteKeyRequest, DeleteKeyResponse, DigestRequest, DigestResponse, Environment, GroupStatus,
    JoinTokenRequest, JoinTokenResponse, Key, ListEnvironmentsRequest, ListEnvironmentsResponse,
    ListKeysRequest, ListKeysResponse, RecentDenialsRequest, RecentDenialsResponse,
    RemoveNodeRequest, RemoveNodeResponse, ReplicaDigest, ReplicaStatus, StatusRequest,
    StatusResponse, TransferLeaderRequest, TransferLeaderResponse, remove_node_response,
};

use super::management::Management;
use crate::cluster::service::{REASON, REASON_UNSAFE};

#[derive(Default)]
struct State {
    environments: Vec<Environment>,
    keys: Vec<Key>,
    keys_made: u64,
    changes: u64,
    leaving: bool,
    digests: Vec<Vec<ReplicaDigest>>,
}

/// A running stand-in.
#[derive(Clone)]
pub(super) struct Fake {
    state: Arc<Mutex<State>>,
    url: String,
}

impl Fake {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            state: Arc::default(),
            url: format!("http://{}", listener.local_addr().unwrap()),
        };
        let server = tonic::transport::Server::builder()
            .add_service(ClusterServer::new(fake.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        fake
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A connection to it.
    pub(super) async fn management(&self) -> Management {
        let credentials = Credentials::ApiKey("k".into());
        Management::connect(&self.url, credentials, Duration::from_secs(10))
            .await
            .unwrap()
    }

    /// Adds an environment without counting it as a change.
    pub(super) fn add_env(&self, name: &str) {
        self.state().environments.push(Environment {
            name: name.into(),
            group: 1,
        });
    }

    /// What replicas will say of their states, one answer after the other: node, applied index, digest.
    pub(super) fn prepare_digests(&self, answers: &[&[(u64, u64, &'static str)]]) {
        let replica = |&(node, applied, digest): &(u64, u64, &'static str)| ReplicaDigest {
            node,
            applied,
            digest: digest.into(),
            problem: if digest.is_empty() { "dead" } else { "" }.into(),
        };
        let answers = answers
            .iter()
            .map(|answer| answer.iter().map(replica).collect());
        self.state().digests = answers.collect();
    }

    /// How many requests changed something, or moved a leader.
    pub(super) fn changes(&self) -> u64 {
        self.state().changes
    }
}

#[tonic::async_trait]
impl Cluster for Fake {
    /// One group, led by node 1, with voters 1 and 2.
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let replica = |node| ReplicaStatus {
            node,
            voter: true,
            ..ReplicaStatus::default()
        };
        let group = GroupStatus {
            id: 1,
            leader: 1,
            replicas: vec![replica(1), replica(2)],
            ..GroupStatus::default()
        };
        Ok(Response::new(StatusResponse {
            groups: vec![group],
            ..StatusResponse::default()
        }))
    }

    async fn join_token(
        &self,
        _: Request<JoinTokenRequest>,
    ) -> Result<Response<JoinTokenResponse>, Status> {
        let token = "yb1.token".into();
        Ok(Response::new(JoinTokenResponse { token }))
    }

    async fn create_environment(
        &self,
        request: Request<CreateEnvironmentRequest>,
    ) -> Result<Response<CreateEnvironmentResponse>, Status> {
        let name = request.into_inner().name;
        let created = !self.state().environments.iter().any(|env| env.name == name);
        if created {
            self.add_env(&name);
            self.state().changes += 1;
        }
        Ok(Response::new(CreateEnvironmentResponse {
            created,
            group: 1,
        }))
    }

    async fn list_environments(
        &self,
        _: Request<ListEnvironmentsRequest>,
    ) -> Result<Response<ListEnvironmentsResponse>, Status> {
        let environments = self.state().environments.clone();
        Ok(Response::new(ListEnvironmentsResponse { environments }))
    }

    async fn create_key(
        &self,
        request: Request<CreateKeyRequest>,
    ) -> Result<Response<CreateKeyResponse>, Status> {
        let mut state = self.state();
        state.changes += 1;
        state.keys_made += 1;
        let secret_id = format!("AKID{}", state.keys_made);
        state.keys.push(Key {
            secret_id: secret_id.clone(),
            env: request.into_inner().env,
            ..Key::default()
        });
        Ok(Response::new(CreateKeyResponse {
            secret_id,
            secret_key: "secret".into(),
            ..CreateKeyResponse::default()
        }))
    }

    async fn recent_denials(
        &self,
        _: Request<RecentDenialsRequest>,
    ) -> Result<Response<RecentDenialsResponse>, Status> {
        Ok(Response::new(RecentDenialsResponse::default()))
    }

    async fn list_keys(
        &self,
        _: Request<ListKeysRequest>,
    ) -> Result<Response<ListKeysResponse>, Status> {
        let keys = self.state().keys.clone();
        Ok(Response::new(ListKeysResponse { keys }))
    }

    async fn delete_key(
        &self,
        request: Request<DeleteKeyRequest>,
    ) -> Result<Response<DeleteKeyResponse>, Status> {
        let id = request.into_inner().secret_id;
        let mut state = self.state();
        let before = state.keys.len();
        state.keys.retain(|key| key.secret_id != id);
        let deleted = state.keys.len() < before;
        state.changes += u64::from(deleted);
        Ok(Response::new(DeleteKeyResponse { deleted }))
    }

    /// Node 3 leaves when it is asked to, and has left when it is asked again; the others must stay.
    async fn remove_node(
        &self,
        request: Request<RemoveNodeRequest>,
    ) -> Result<Response<RemoveNodeResponse>, Status> {
        let RemoveNodeRequest { node, dry_run } = request.into_inner();
        if node != 3 {
            let mut refused = Status::failed_precondition("group g1 would lose its quorum");
            let reason = REASON_UNSAFE.parse().unwrap();
            refused.metadata_mut().insert(REASON, reason);
            return Err(refused);
        }
        let mut state = self.state();
        let reached = match (dry_run, state.leaving) {
            (true, _) => remove_node_response::State::Possible,
            (false, false) => remove_node_response::State::Leaving,
            (false, true) => remove_node_response::State::Removed,
        };
        state.changes += u64::from(!dry_run && !state.leaving);
        state.leaving |= !dry_run;
        Ok(Response::new(RemoveNodeResponse {
            state: reached.into(),
            groups: vec![1],
        }))
    }

    /// The answers that were prepared, the last of them again and again.
    async fn digest(&self, _: Request<DigestRequest>) -> Result<Response<DigestResponse>, Status> {
        let mut state = self.state();
        let replicas = match state.digests.len() {
            0 => Vec::new(),
            1 => state.digests[0].clone(),
            _ => state.digests.remove(0),
        };
        Ok(Response::new(DigestResponse { replicas }))
    }

    async fn transfer_leader(
        &self,
        _: Request<TransferLeaderRequest>,
    ) -> Result<Response<TransferLeaderResponse>, Status> {
        self.state().changes += 1;
        Ok(Response::new(TransferLeaderResponse {}))
    }
}
