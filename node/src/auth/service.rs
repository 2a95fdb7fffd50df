//! The gRPC service `Auth`: managing the end users of an environment, for the command line and the console.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Request, Response, Status};
use yunbase_client::proto;
use yunbase_client::proto::auth_server::{Auth as AuthRpc, AuthServer};

use super::admin::Named;
use super::error::{AuthError, Reason};
use super::records::UserRecord;
use super::sign_in::NewUser;
use super::store::Scope;
use super::{Auth, AuthResult, records};
use crate::audit::OK;
use crate::audit::record::{Act, Origin};
use crate::call::Failure;
use crate::operators::door::Door;
use crate::operators::roles::{Action, Place};

/// Users on a page, unless the request says.
const PAGE_DEFAULT: u32 = 100;
/// Largest request: none holds more than a name, a password or a secret.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// The service.
pub struct AuthService {
    auth: Arc<Auth>,
    door: Door,
    timeout: Duration,
}

impl AuthService {
    /// A service over `auth`; each request is answered within `timeout`.
    pub fn new(auth: Arc<Auth>, door: Door, timeout: Duration) -> Self {
        Self {
            auth,
            door,
            timeout,
        }
    }

    /// The service as tonic mounts it.
    pub fn into_server(self) -> AuthServer<Self> {
        AuthServer::new(self).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Lets in who may do `action` in `env`.
    async fn admit<T>(
        &self,
        request: &Request<T>,
        method: &str,
        action: Action,
        env: &str,
    ) -> Result<Admitted, Status> {
        let method = format!("/yunbase.v1.Auth/{method}");
        let place = Place::Environment(env);
        let (admitted, origin) = self.door.authorize(request, &method, action, place).await?;
        let keys = &**self.door.keys();
        admitted.check_env(keys, env).map_err(refused)?;
        let scope = self
            .auth
            .scope(env, &origin.request_id, self.timeout, None)
            .map_err(status_of)?;
        Ok(Admitted { scope, origin })
    }

    /// Writes down what a change has come to, and answers with it.
    async fn told<T>(
        &self,
        admitted: &Admitted,
        act: Act,
        outcome: AuthResult<T>,
    ) -> Result<T, Status> {
        let code = match &outcome {
            Ok(_) => OK,
            Err(error) => error.reason.action_code(),
        };
        self.door
            .operators()
            .audit()
            .record(&admitted.scope.env, &admitted.origin, act, code)
            .await;
        outcome.map_err(status_of)
    }
}

/// Who was let in.
struct Admitted {
    scope: Scope,
    origin: Origin,
}

/// What the log says of a user: the id where there is one, else the name.
fn target(uid: &str, username: &str) -> String {
    if uid.is_empty() { username } else { uid }.to_owned()
}

#[allow(clippy::needless_pass_by_value)] // The shape that `map_err` wants.
fn refused(failure: Failure) -> Status {
    let code = match failure.code.as_ref() {
        "INVALID_ENV" => Code::NotFound,
        _ => Code::PermissionDenied,
    };
    Status::new(code, failure.to_string())
}

#[allow(clippy::needless_pass_by_value)] // The shape that `map_err` wants.
fn status_of(error: AuthError) -> Status {
    let code = match error.reason {
        // Not how the administrator signed in, but what was asked for.
        Reason::Unauthenticated | Reason::TokenExpired => Code::FailedPrecondition,
        reason => Code::from_i32(reason.number()),
    };
    Status::new(code, error.message)
}

fn shown(user: UserRecord) -> proto::EndUser {
    proto::EndUser {
        uid: user.uid,
        username: user.username.unwrap_or_default(),
        name: user.profile.name.unwrap_or_default(),
        created_from: user.created_from,
        custom_id: user.custom_id.unwrap_or_default(),
        openid: user.openid.unwrap_or_default(),
        unionid: user.unionid.unwrap_or_default(),
        disabled: user.disabled,
        has_password: user.password.is_some(),
        created_at_ms: user.created_at_ms,
        updated_at_ms: user.updated_at_ms,
    }
}

fn shown_session(session: records::SessionRecord) -> proto::Session {
    proto::Session {
        id: session.id,
        login_type: session.login_type,
        created_at_ms: session.created_at_ms,
        refreshed_at_ms: session.refreshed_at_ms,
        expires_at_ms: session.expires_at_ms,
    }
}

#[tonic::async_trait]
impl AuthRpc for AuthService {
    async fn list_users(
        &self,
        request: Request<proto::ListUsersRequest>,
    ) -> Result<Response<proto::ListUsersResponse>, Status> {
        let env = &request.get_ref().env;
        let Admitted { scope, .. } = self
            .admit(&request, "ListUsers", Action::UserView, env)
            .await?;
        let asked = request.into_inner();
        let (users, more) = if asked.username.is_empty() {
            let limit = if asked.limit == 0 {
                PAGE_DEFAULT
            } else {
                asked.limit
            };
            self.auth
                .list_users(&scope, &asked.after, u64::from(limit))
                .await
                .map_err(status_of)?
        } else {
            let named = Named::Username(&asked.username);
            let user = self.auth.named(&scope, named).await.map_err(status_of)?;
            (vec![user], false)
        };
        Ok(Response::new(proto::ListUsersResponse {
            users: users.into_iter().map(shown).collect(),
            more,
        }))
    }

    async fn create_user(
        &self,
        request: Request<proto::CreateUserRequest>,
    ) -> Result<Response<proto::CreateUserResponse>, Status> {
        let env = &request.get_ref().env;
        let admitted = self
            .admit(&request, "CreateUser", Action::UserChange, env)
            .await?;
        let scope = &admitted.scope;
        let asked = request.into_inner();
        let act = Act::new("user.create", &asked.username);
        let new = NewUser {
            username: asked.username,
            password: Some(asked.password).filter(|password| !password.is_empty()),
            profile: records::Profile {
                name: Some(asked.name).filter(|name| !name.is_empty()),
                ..records::Profile::default()
            },
        };
        let outcome = self.auth.create_user(scope, new).await;
        let user = self.told(&admitted, act, outcome).await?;
        Ok(Response::new(proto::CreateUserResponse {
            user: Some(shown(user)),
        }))
    }

    async fn set_user_disabled(
        &self,
        request: Request<proto::SetUserDisabledRequest>,
    ) -> Result<Response<proto::SetUserDisabledResponse>, Status> {
        let env = &request.get_ref().env;
        let admitted = self
            .admit(&request, "SetUserDisabled", Action::UserChange, env)
            .await?;
        let scope = &admitted.scope;
        let asked = request.into_inner();
        let work = async {
            let named = Named::of(&asked.uid, &asked.username)?;
            let user = self.auth.named(scope, named).await?;
            self.auth
                .set_disabled(scope, &user.uid, asked.disabled)
                .await
        };
        let action = if asked.disabled {
            "user.disable"
        } else {
            "user.enable"
        };
        let act = Act::new(action, target(&asked.uid, &asked.username));
        let user = self.told(&admitted, act, work.await).await?;
        Ok(Response::new(proto::SetUserDisabledResponse {
            user: Some(shown(user)),
        }))
    }

    async fn delete_user(
        &self,
        request: Request<proto::DeleteUserRequest>,
    ) -> Result<Response<proto::DeleteUserResponse>, Status> {
        let env = &request.get_ref().env;
        let admitted = self
            .admit(&request, "DeleteUser", Action::UserChange, env)
            .await?;
        let scope = &admitted.scope;
        let asked = request.into_inner();
        let work = async {
            let named = Named::of(&asked.uid, &asked.username)?;
            let user = self.auth.named(scope, named).await?;
            self.auth.delete_user(scope, &user.uid).await?;
            Ok(user.uid)
        };
        let act = Act::new("user.delete", target(&asked.uid, &asked.username));
        let uid = self.told(&admitted, act, work.await).await?;
        Ok(Response::new(proto::DeleteUserResponse { uid }))
    }

    async fn reset_password(
        &self,
        request: Request<proto::ResetPasswordRequest>,
    ) -> Result<Response<proto::ResetPasswordResponse>, Status> {
        let env = &request.get_ref().env;
        let admitted = self
            .admit(&request, "ResetPassword", Action::UserChange, env)
            .await?;
        let scope = &admitted.scope;
        let asked = request.into_inner();
        let work = async {
            let named = Named::of(&asked.uid, &asked.username)?;
            let user = self.auth.named(scope, named).await?;
            self.auth
                .reset_password(scope, &user, &asked.password)
                .await?;
            Ok(user.uid)
        };
        let act = Act::new("user.reset_password", target(&asked.uid, &asked.username));
        let uid = self.told(&admitted, act, work.await).await?;
        Ok(Response::new(proto::ResetPasswordResponse { uid }))
    }

    async fn list_sessions(
        &self,
        request: Request<proto::ListSessionsRequest>,
    ) -> Result<Response<proto::ListSessionsResponse>, Status> {
        let env = &request.get_ref().env;
        let Admitted { scope, .. } = self
            .admit(&request, "ListSessions", Action::UserView, env)
            .await?;
        let asked = request.into_inner();
        let work = async {
            let named = Named::of(&asked.uid, &asked.username)?;
            let user = self.auth.named(&scope, named).await?;
            let sessions = self.auth.sessions(&scope, &user.uid).await?;
            Ok((user.uid, sessions))
        };
        let (uid, sessions) = work.await.map_err(status_of)?;
        Ok(Response::new(proto::ListSessionsResponse {
            uid,
            sessions: sessions.into_iter().map(shown_session).collect(),
        }))
    }

    async fn revoke_sessions(
        &self,
        request: Request<proto::RevokeSessionsRequest>,
    ) -> Result<Response<proto::RevokeSessionsResponse>, Status> {
        let env = &request.get_ref().env;
        let admitted = self
            .admit(&request, "RevokeSessions", Action::UserChange, env)
            .await?;
        let scope = &admitted.scope;
        let asked = request.into_inner();
        let work = async {
            let named = Named::of(&asked.uid, &asked.username)?;
            let user = self.auth.named(scope, named).await?;
            let one = Some(asked.session.as_str()).filter(|id| !id.is_empty());
            self.auth.revoke_sessions(scope, &user.uid, one).await
        };
        let act = Act::new("user.revoke_sessions", target(&asked.uid, &asked.username));
        let revoked = self.told(&admitted, act, work.await).await?;
        Ok(Response::new(proto::RevokeSessionsResponse { revoked }))
    }

    async fn create_ticket_key(
        &self,
        request: Request<proto::CreateTicketKeyRequest>,
    ) -> Result<Response<proto::CreateTicketKeyResponse>, Status> {
        let env = &request.get_ref().env;
        let admitted = self
            .admit(&request, "CreateTicketKey", Action::LoginChange, env)
            .await?;
        let scope = &admitted.scope;
        let outcome = self.auth.create_ticket_key(scope).await;
        let id = outcome.as_ref().map_or("", |key| key.id.as_str());
        let act = Act::new("login.create_ticket_key", id);
        let key = self.told(&admitted, act, outcome).await?;
        Ok(Response::new(proto::CreateTicketKeyResponse {
            private_key_id: key.id,
            private_key: key.private_key,
        }))
    }

    async fn list_ticket_keys(
        &self,
        request: Request<proto::ListTicketKeysRequest>,
    ) -> Result<Response<proto::ListTicketKeysResponse>, Status> {
        let env = &request.get_ref().env;
        let Admitted { scope, .. } = self
            .admit(&request, "ListTicketKeys", Action::UserView, env)
            .await?;
        let keys = self.auth.ticket_keys(&scope).await.map_err(status_of)?;
        let keys = keys.into_iter().map(|key| proto::TicketKey {
            private_key_id: key.id,
            created_at_ms: key.created_at_ms,
        });
        Ok(Response::new(proto::ListTicketKeysResponse {
            keys: keys.collect(),
        }))
    }

    async fn delete_ticket_key(
        &self,
        request: Request<proto::DeleteTicketKeyRequest>,
    ) -> Result<Response<proto::DeleteTicketKeyResponse>, Status> {
        let env = &request.get_ref().env;
        let admitted = self
            .admit(&request, "DeleteTicketKey", Action::LoginChange, env)
            .await?;
        let scope = &admitted.scope;
        let id = request.into_inner().private_key_id;
        let outcome = self.auth.delete_ticket_key(scope, &id).await;
        let act = Act::new("login.delete_ticket_key", id);
        let deleted = self.told(&admitted, act, outcome).await?;
        Ok(Response::new(proto::DeleteTicketKeyResponse { deleted }))
    }

    async fn set_wechat(
        &self,
        request: Request<proto::SetWechatRequest>,
    ) -> Result<Response<proto::SetWechatResponse>, Status> {
        let env = &request.get_ref().env;
        let admitted = self
            .admit(&request, "SetWechat", Action::LoginChange, env)
            .await?;
        let scope = &admitted.scope;
        let asked = request.into_inner();
        let outcome = self
            .auth
            .set_wechat(scope, &asked.appid, &asked.secret, &asked.base_url)
            .await;
        let act = Act::new("login.set_wechat", &asked.appid);
        self.told(&admitted, act, outcome).await?;
        Ok(Response::new(proto::SetWechatResponse {}))
    }

    async fn rotate_signing_key(
        &self,
        request: Request<proto::RotateSigningKeyRequest>,
    ) -> Result<Response<proto::RotateSigningKeyResponse>, Status> {
        let env = &request.get_ref().env;
        let admitted = self
            .admit(&request, "RotateSigningKey", Action::LoginChange, env)
            .await?;
        let scope = &admitted.scope;
        let outcome = self.auth.rotate_signing_key(scope).await;
        let kid = outcome.as_ref().map_or("", String::as_str);
        let act = Act::new("login.rotate_signing_key", kid);
        let kid = self.told(&admitted, act, outcome).await?;
        Ok(Response::new(proto::RotateSigningKeyResponse { kid }))
    }
}
