//! The calling side of the gRPC service `Auth`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use yunbase_client::auth::{Credentials, nonce};
use yunbase_client::proto::auth_client::AuthClient;
use yunbase_client::proto::{
    CreateTicketKeyRequest, CreateTicketKeyResponse, CreateUserRequest, CreateUserResponse,
    DeleteTicketKeyRequest, DeleteTicketKeyResponse, DeleteUserRequest, DeleteUserResponse,
    ListSessionsRequest, ListSessionsResponse, ListTicketKeysRequest, ListTicketKeysResponse,
    ListUsersRequest, ListUsersResponse, ResetPasswordRequest, ResetPasswordResponse,
    RevokeSessionsRequest, RevokeSessionsResponse, RotateSigningKeyRequest,
    RotateSigningKeyResponse, SetUserDisabledRequest, SetUserDisabledResponse, SetWechatRequest,
    SetWechatResponse,
};

use crate::cli::environment::Environment;
use crate::cli::exit::Exit;
use crate::cli::failure::CliError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to the first node that answers.
pub(super) struct Connection {
    client: AuthClient<Channel>,
    credentials: Credentials,
}

impl Connection {
    pub(super) async fn of(target: &Environment) -> Result<Self, CliError> {
        let credentials = target.credentials().ok_or_else(|| {
            CliError::new(
                Exit::Auth,
                "set YUNBASE_SECRET_ID and YUNBASE_SECRET_KEY to a key that opens the environment",
            )
        })?;
        let mut last = CliError::new(Exit::NotFound, "the target names no node");
        for url in target.endpoints() {
            let endpoint = Endpoint::from_shared(url.clone())
                .map_err(|error| CliError::usage(format!("{url}: {error}")))?
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(target.deadline())
                .tcp_nodelay(true);
            match endpoint.connect().await {
                Ok(channel) => {
                    return Ok(Self {
                        client: AuthClient::new(channel),
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
        let now_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| elapsed.as_secs());
        let method = format!("/yunbase.v1.Auth/{method}");
        let value = self.credentials.authorization(&method, now_s, &nonce());
        let value = value
            .parse()
            .map_err(|_| Status::invalid_argument("the key holds characters that no key has"))?;
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

macro_rules! calls {
    ($($name:ident($method:literal): $request:ty => $response:ty;)*) => {
        impl Connection {
            $(pub(super) async fn $name(&mut self, message: $request) -> Result<$response, CliError> {
                let request = self.signed($method, message)?;
                Ok(self.client.$name(request).await.map(Response::into_inner)?)
            })*
        }
    };
}

calls! {
    list_users("ListUsers"): ListUsersRequest => ListUsersResponse;
    create_user("CreateUser"): CreateUserRequest => CreateUserResponse;
    set_user_disabled("SetUserDisabled"): SetUserDisabledRequest => SetUserDisabledResponse;
    delete_user("DeleteUser"): DeleteUserRequest => DeleteUserResponse;
    reset_password("ResetPassword"): ResetPasswordRequest => ResetPasswordResponse;
    list_sessions("ListSessions"): ListSessionsRequest => ListSessionsResponse;
    revoke_sessions("RevokeSessions"): RevokeSessionsRequest => RevokeSessionsResponse;
    create_ticket_key("CreateTicketKey"): CreateTicketKeyRequest => CreateTicketKeyResponse;
    list_ticket_keys("ListTicketKeys"): ListTicketKeysRequest => ListTicketKeysResponse;
    delete_ticket_key("DeleteTicketKey"): DeleteTicketKeyRequest => DeleteTicketKeyResponse;
    set_wechat("SetWechat"): SetWechatRequest => SetWechatResponse;
    rotate_signing_key("RotateSigningKey"): RotateSigningKeyRequest => RotateSigningKeyResponse;
}
