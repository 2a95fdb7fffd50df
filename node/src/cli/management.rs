//! The calling side of the public management protocol.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use yunbase_client::auth::{Credentials, nonce};
use yunbase_client::proto::cluster_client::ClusterClient;
use yunbase_client::proto::{
    CreateEnvironmentRequest, CreateEnvironmentResponse, CreateKeyRequest, CreateKeyResponse,
    DeleteKeyRequest, DeleteKeyResponse, DigestRequest, DigestResponse, JoinTokenRequest,
    JoinTokenResponse, ListEnvironmentsRequest, ListEnvironmentsResponse, ListKeysRequest,
    ListKeysResponse, RecentDenialsRequest, RecentDenialsResponse, RemoveNodeRequest,
    RemoveNodeResponse, StatusRequest, StatusResponse, TransferLeaderRequest,
    TransferLeaderResponse,
};

use super::exit::Exit;
use super::failure::{CliError, conclude};
use super::output::{OutputArgs, Printed};
use super::target::{Target, TargetArgs};

/// Longest that the first connection to a node may take: the next one may be well.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// The flags of every command that manages a cluster.
#[derive(Debug, Args)]
pub struct ManagementArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl ManagementArgs {
    /// Connects, has `carry_out` do the command's work, and prints what it has come to.
    pub async fn run(
        self,
        carry_out: impl AsyncFnOnce(&mut Management) -> Result<Printed, CliError>,
    ) -> Exit {
        conclude(self.try_run(carry_out).await)
    }

    /// Likewise for a command that has something to print also when it ends with an error.
    pub async fn run_to_verdict(
        self,
        carry_out: impl AsyncFnOnce(
            &mut Management,
        ) -> Result<(Printed, Result<(), CliError>), CliError>,
    ) -> Exit {
        conclude(
            async {
                let mut management = Management::of(&self.target.resolve()?).await?;
                let (printed, verdict) = carry_out(&mut management).await?;
                self.output.printed(printed)?;
                verdict
            }
            .await,
        )
    }

    async fn try_run(
        self,
        carry_out: impl AsyncFnOnce(&mut Management) -> Result<Printed, CliError>,
    ) -> Result<(), CliError> {
        let mut management = Management::of(&self.target.resolve()?).await?;
        self.output.printed(carry_out(&mut management).await?)
    }
}

/// A connection to one node's management surface.
pub struct Management {
    client: ClusterClient<Channel>,
    credentials: Credentials,
}

impl Management {
    /// Connects to the first node of `target` that answers.
    pub async fn of(target: &Target) -> Result<Self, CliError> {
        let credentials = target.require_credentials()?;
        let mut last = CliError::new(Exit::NotFound, "the target names no node");
        for url in &target.endpoints {
            match Self::connect(url, credentials.clone(), target.deadline).await {
                Ok(management) => return Ok(management),
                Err(status) => last = status.into(),
            }
        }
        Err(last)
    }

    /// Connects to `url`, for example `http://127.0.0.1:7600`; each answer may take `timeout`.
    pub async fn connect(
        url: &str,
        credentials: Credentials,
        timeout: Duration,
    ) -> Result<Self, Status> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|error| Status::invalid_argument(format!("{url}: {error}")))?
            .connect_timeout(timeout.min(CONNECT_TIMEOUT_MAX))
            .timeout(timeout)
            .tcp_nodelay(true);
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| Status::unavailable(format!("{url} cannot be reached: {error}")))?;
        Ok(Self {
            client: ClusterClient::new(channel),
            credentials,
        })
    }

    fn signed<T>(&self, method: &str, message: T) -> Result<Request<T>, Status> {
        let now_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| elapsed.as_secs());
        let value = self.credentials.authorization(
            &format!("/yunbase.v1.Cluster/{method}"),
            now_s,
            &nonce(),
        );
        let value = value
            .parse()
            .map_err(|_| Status::invalid_argument("the key holds characters that no key has"))?;
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($method:literal): $request:ty => $response:ty;)*) => {
        impl Management {
            $($(#[$doc])*
            pub async fn $name(&mut self, message: $request) -> Result<$response, Status> {
                let request = self.signed($method, message)?;
                self.client.$name(request).await.map(Response::into_inner)
            })*
        }
    };
}

calls! {
    /// How the cluster is.
    status("Status"): StatusRequest => StatusResponse;
    /// The line that lets a new node join.
    join_token("JoinToken"): JoinTokenRequest => JoinTokenResponse;
    /// Creates an environment.
    create_environment("CreateEnvironment"): CreateEnvironmentRequest => CreateEnvironmentResponse;
    /// All environments.
    list_environments("ListEnvironments"): ListEnvironmentsRequest => ListEnvironmentsResponse;
    /// Creates a secret key.
    create_key("CreateKey"): CreateKeyRequest => CreateKeyResponse;
    /// All keys, without their secret halves.
    list_keys("ListKeys"): ListKeysRequest => ListKeysResponse;
    /// Revokes a key.
    delete_key("DeleteKey"): DeleteKeyRequest => DeleteKeyResponse;
    /// Moves a group's leadership.
    transfer_leader("TransferLeader"): TransferLeaderRequest => TransferLeaderResponse;
    /// Takes a node out, or tells how far that has come.
    remove_node("RemoveNode"): RemoveNodeRequest => RemoveNodeResponse;
    /// Digests of a group's replicas.
    digest("Digest"): DigestRequest => DigestResponse;
    /// Refusals by access rules on this node.
    recent_denials("RecentDenials"): RecentDenialsRequest => RecentDenialsResponse;
}
