//! The calling side of the gRPC services `Operators` and `Audit`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use yunbase_client::auth::{Credentials, nonce};
use yunbase_client::proto::audit_client::AuditClient;
use yunbase_client::proto::operators_client::OperatorsClient;
use yunbase_client::proto::{
    AddOperatorRequest, AddOperatorResponse, ListOperatorSessionsRequest,
    ListOperatorSessionsResponse, ListOperatorsRequest, ListOperatorsResponse, NoteMovementRequest,
    NoteMovementResponse, ReadAuditRequest, ReadAuditResponse, RefreshRequest,
    RemoveOperatorRequest, RemoveOperatorResponse, RevokeOperatorSessionsRequest,
    RevokeOperatorSessionsResponse, SetOperatorPasswordRequest, SetOperatorPasswordResponse,
    SetOperatorRolesRequest, SetOperatorRolesResponse, SignInRequest, SignInResponse,
    SignOutRequest, SignOutResponse, WhoAmIRequest, WhoAmIResponse,
};

use crate::cli::exit::Exit;
use crate::cli::failure::CliError;
use crate::cli::target::Target;

/// Longest that the first connection to a node may take: the next one may be well.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// A connection to the first node that answers.
pub(in crate::cli) struct Connection {
    operators: OperatorsClient<Channel>,
    audit: AuditClient<Channel>,
    credentials: Option<Credentials>,
}

impl Connection {
    /// One that proves who asks.
    pub(in crate::cli) async fn of(target: &Target) -> Result<Self, CliError> {
        let credentials = target.require_credentials()?;
        let endpoints = &target.endpoints;
        Self::to(endpoints, target.deadline, Some(credentials)).await
    }

    /// One with `credentials`, or without any, which is enough to sign in.
    pub(in crate::cli) async fn to(
        endpoints: &[String],
        timeout: Duration,
        credentials: Option<Credentials>,
    ) -> Result<Self, CliError> {
        let mut last = CliError::new(Exit::NotFound, "the target names no node");
        for url in endpoints {
            let endpoint = Endpoint::from_shared(url.clone())
                .map_err(|error| CliError::usage(format!("{url}: {error}")))?
                .connect_timeout(timeout.min(CONNECT_TIMEOUT_MAX))
                .timeout(timeout)
                .tcp_nodelay(true);
            match endpoint.connect().await {
                Ok(channel) => {
                    return Ok(Self {
                        operators: OperatorsClient::new(channel.clone()),
                        audit: AuditClient::new(channel),
                        credentials,
                    });
                }
                Err(error) => {
                    let message = format!("{url} cannot be reached: {error}");
                    last = CliError::new(Exit::Unavailable, message);
                }
            }
        }
        Err(last)
    }

    fn signed<T>(&self, method: &str, message: T) -> Result<Request<T>, Status> {
        let mut request = Request::new(message);
        if let Some(credentials) = &self.credentials {
            let now_s = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |elapsed| elapsed.as_secs());
            let value = credentials.authorization(method, now_s, &nonce());
            let value = value.parse().map_err(|_| {
                Status::invalid_argument("the key holds characters that no key has")
            })?;
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

macro_rules! calls {
    ($($service:ident $name:ident($method:literal): $request:ty => $response:ty;)*) => {
        impl Connection {
            $(pub(super) async fn $name(&mut self, message: $request) -> Result<$response, CliError> {
                let request = self.signed($method, message)?;
                Ok(self.$service.$name(request).await.map(Response::into_inner)?)
            })*
        }
    };
}

calls! {
    operators sign_in("/yunbase.v1.Operators/SignIn"): SignInRequest => SignInResponse;
    operators refresh("/yunbase.v1.Operators/Refresh"): RefreshRequest => SignInResponse;
    operators sign_out("/yunbase.v1.Operators/SignOut"): SignOutRequest => SignOutResponse;
    operators who_am_i("/yunbase.v1.Operators/WhoAmI"): WhoAmIRequest => WhoAmIResponse;
    operators list_operators("/yunbase.v1.Operators/ListOperators"): ListOperatorsRequest => ListOperatorsResponse;
    operators add_operator("/yunbase.v1.Operators/AddOperator"): AddOperatorRequest => AddOperatorResponse;
    operators set_operator_roles("/yunbase.v1.Operators/SetOperatorRoles"): SetOperatorRolesRequest => SetOperatorRolesResponse;
    operators set_operator_password("/yunbase.v1.Operators/SetOperatorPassword"): SetOperatorPasswordRequest => SetOperatorPasswordResponse;
    operators remove_operator("/yunbase.v1.Operators/RemoveOperator"): RemoveOperatorRequest => RemoveOperatorResponse;
    operators list_operator_sessions("/yunbase.v1.Operators/ListOperatorSessions"): ListOperatorSessionsRequest => ListOperatorSessionsResponse;
    operators revoke_operator_sessions("/yunbase.v1.Operators/RevokeOperatorSessions"): RevokeOperatorSessionsRequest => RevokeOperatorSessionsResponse;
    audit read_audit("/yunbase.v1.Audit/ReadAudit"): ReadAuditRequest => ReadAuditResponse;
    audit note_movement("/yunbase.v1.Audit/NoteMovement"): NoteMovementRequest => NoteMovementResponse;
}
