//! The gRPC service `Operators`, for the command line and the console.

use tonic::{Code, Request, Response, Status};
use yunbase_client::proto;
use yunbase_client::proto::operators_server::{Operators as OperatorsRpc, OperatorsServer};

use super::access::{Access, Operator};
use super::door::{Door, address_of};
use super::records::{OperatorRecord, OperatorSession};
use super::roles::{Action, Grant, Place, Role};
use super::{Operators, SignedIn};
use crate::audit::record::Origin;
use crate::auth::{AuthError, Reason};

/// Largest request: none holds more than a name, a password and some roles.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// The service.
pub struct OperatorsService {
    door: Door,
}

impl OperatorsService {
    /// A service that lets in who `door` does.
    pub fn new(door: Door) -> Self {
        Self { door }
    }

    /// The service as tonic mounts it.
    pub fn into_server(self) -> OperatorsServer<Self> {
        OperatorsServer::new(self).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn operators(&self) -> &Operators {
        self.door.operators()
    }

    /// Lets in who may do `action` to operators.
    async fn manage<T>(
        &self,
        request: &Request<T>,
        method: &str,
        action: Action,
    ) -> Result<Origin, Status> {
        let method = full(method);
        let admitted = self
            .door
            .authorize(request, &method, action, Place::Cluster)
            .await?;
        Ok(admitted.1)
    }

    /// Lets in an operator about itself, and who may do `action` to operators about everybody. Answers with whom the
    /// request is about, and the caller if that is the same.
    async fn about<T>(
        &self,
        request: &Request<T>,
        method: &str,
        name: &str,
        action: Action,
    ) -> Result<(String, Origin, Option<Operator>), Status> {
        let admitted = self.door.admit(request, &full(method)).await?;
        if let Access::Operator(own) = &admitted.access
            && (name.is_empty() || own.name == name.to_lowercase())
        {
            let origin = admitted.origin(&crate::gateway::request_id());
            return Ok((own.name.clone(), origin, Some((**own).clone())));
        }
        let origin = self.manage(request, method, action).await?;
        if name.is_empty() {
            return Err(Status::invalid_argument(
                "name the operator: a key is none itself",
            ));
        }
        Ok((name.to_lowercase(), origin, None))
    }
}

fn full(method: &str) -> String {
    format!("/yunbase.v1.Operators/{method}")
}

/// Somebody who has not proved anything yet.
fn stranger<T>(request: &Request<T>) -> Origin {
    Access::User.origin(address_of(request), &crate::gateway::request_id())
}

#[allow(clippy::needless_pass_by_value)] // The shape that `map_err` wants.
fn status_of(error: AuthError) -> Status {
    let code = match error.reason {
        Reason::InvalidUsernameOrPassword | Reason::InvalidPassword => Code::Unauthenticated,
        reason => Code::from_i32(reason.number()),
    };
    Status::new(code, error.message)
}

fn shown_roles(grants: &[Grant]) -> Vec<proto::Role> {
    let shown = |grant: &Grant| proto::Role {
        role: grant.role.as_str().to_owned(),
        env: grant.env.clone().unwrap_or_default(),
    };
    grants.iter().map(shown).collect()
}

fn shown(operator: OperatorRecord) -> proto::Operator {
    proto::Operator {
        roles: shown_roles(&operator.grants),
        name: operator.name,
        created_at_ms: operator.created_at_ms,
        updated_at_ms: operator.updated_at_ms,
    }
}

fn shown_session(session: OperatorSession) -> proto::OperatorSession {
    proto::OperatorSession {
        id: session.id,
        from: session.from,
        created_at_ms: session.created_at_ms,
        refreshed_at_ms: session.refreshed_at_ms,
        expires_at_ms: session.expires_at_ms,
    }
}

fn signed_in(signed_in: SignedIn) -> Response<proto::SignInResponse> {
    Response::new(proto::SignInResponse {
        roles: shown_roles(&signed_in.operator.grants),
        name: signed_in.operator.name,
        access_token: signed_in.access_token,
        access_until_ms: signed_in.access_until_ms,
        refresh_token: signed_in.refresh_token,
    })
}

#[allow(clippy::result_large_err)] // The error that tonic's services have.
fn grants(roles: Vec<proto::Role>) -> Result<Vec<Grant>, Status> {
    let grant = |role: proto::Role| {
        let known = Role::of(&role.role).ok_or_else(|| {
            Status::invalid_argument("a role is `owner`, `developer` or `viewer`")
        })?;
        Ok(Grant {
            role: known,
            env: Some(role.env).filter(|env| !env.is_empty()),
        })
    };
    roles.into_iter().map(grant).collect()
}

#[tonic::async_trait]
impl OperatorsRpc for OperatorsService {
    async fn sign_in(
        &self,
        request: Request<proto::SignInRequest>,
    ) -> Result<Response<proto::SignInResponse>, Status> {
        let (origin, address) = (stranger(&request), address_of(&request));
        let asked = request.into_inner();
        let outcome = self
            .operators()
            .sign_in(&origin, address, &asked.name, &asked.password)
            .await;
        outcome.map(signed_in).map_err(status_of)
    }

    async fn refresh(
        &self,
        request: Request<proto::RefreshRequest>,
    ) -> Result<Response<proto::SignInResponse>, Status> {
        let origin = stranger(&request);
        let token = request.into_inner().refresh_token;
        let outcome = self.operators().refresh(&origin, &token).await;
        outcome.map(signed_in).map_err(status_of)
    }

    async fn sign_out(
        &self,
        request: Request<proto::SignOutRequest>,
    ) -> Result<Response<proto::SignOutResponse>, Status> {
        let admitted = self.door.admit(&request, &full("SignOut")).await?;
        let operator = admitted
            .access
            .operator()
            .ok_or_else(|| Status::failed_precondition("a key does not sign out: revoke it"))?;
        let origin = admitted.origin(&crate::gateway::request_id());
        self.operators()
            .sign_out(&origin, operator)
            .await
            .map_err(status_of)?;
        Ok(Response::new(proto::SignOutResponse {}))
    }

    async fn who_am_i(
        &self,
        request: Request<proto::WhoAmIRequest>,
    ) -> Result<Response<proto::WhoAmIResponse>, Status> {
        let admitted = self.door.admit(&request, &full("WhoAmI")).await?;
        Ok(Response::new(match admitted.access {
            Access::Operator(operator) => proto::WhoAmIResponse {
                operator: operator.name.clone(),
                roles: shown_roles(&operator.grants),
                session: operator.session.clone(),
                ..proto::WhoAmIResponse::default()
            },
            Access::Key { id, env } => proto::WhoAmIResponse {
                secret_id: id,
                env: env.unwrap_or_default(),
                ..proto::WhoAmIResponse::default()
            },
            Access::User => proto::WhoAmIResponse::default(),
        }))
    }

    async fn list_operators(
        &self,
        request: Request<proto::ListOperatorsRequest>,
    ) -> Result<Response<proto::ListOperatorsResponse>, Status> {
        self.manage(&request, "ListOperators", Action::OperatorView)
            .await?;
        let operators = self.operators().list().await.map_err(status_of)?;
        Ok(Response::new(proto::ListOperatorsResponse {
            operators: operators.into_iter().map(shown).collect(),
        }))
    }

    async fn add_operator(
        &self,
        request: Request<proto::AddOperatorRequest>,
    ) -> Result<Response<proto::AddOperatorResponse>, Status> {
        let origin = self
            .manage(&request, "AddOperator", Action::OperatorChange)
            .await?;
        let asked = request.into_inner();
        let grants = grants(asked.roles)?;
        let keys = &**self.door.keys();
        let operator = self
            .operators()
            .add(&origin, keys, &asked.name, &asked.password, grants)
            .await
            .map_err(status_of)?;
        Ok(Response::new(proto::AddOperatorResponse {
            operator: Some(shown(operator)),
        }))
    }

    async fn set_operator_roles(
        &self,
        request: Request<proto::SetOperatorRolesRequest>,
    ) -> Result<Response<proto::SetOperatorRolesResponse>, Status> {
        let origin = self
            .manage(&request, "SetOperatorRoles", Action::OperatorChange)
            .await?;
        let asked = request.into_inner();
        let grants = grants(asked.roles)?;
        let keys = &**self.door.keys();
        let operator = self
            .operators()
            .set_grants(&origin, keys, &asked.name, grants)
            .await
            .map_err(status_of)?;
        Ok(Response::new(proto::SetOperatorRolesResponse {
            operator: Some(shown(operator)),
        }))
    }

    async fn set_operator_password(
        &self,
        request: Request<proto::SetOperatorPasswordRequest>,
    ) -> Result<Response<proto::SetOperatorPasswordResponse>, Status> {
        let named = &request.get_ref().name;
        let (name, origin, itself) = self
            .about(
                &request,
                "SetOperatorPassword",
                named,
                Action::OperatorChange,
            )
            .await?;
        let asked = request.into_inner();
        // Whoever finds a terminal that is signed in must not be able to keep what it finds.
        if itself.is_some() {
            self.operators()
                .prove_password(&origin, &name, &asked.present_password)
                .await
                .map_err(status_of)?;
        }
        self.operators()
            .set_password(&origin, &name, &asked.password)
            .await
            .map_err(status_of)?;
        Ok(Response::new(proto::SetOperatorPasswordResponse {}))
    }

    async fn remove_operator(
        &self,
        request: Request<proto::RemoveOperatorRequest>,
    ) -> Result<Response<proto::RemoveOperatorResponse>, Status> {
        let origin = self
            .manage(&request, "RemoveOperator", Action::OperatorChange)
            .await?;
        let name = request.into_inner().name;
        self.operators()
            .remove(&origin, &name)
            .await
            .map_err(status_of)?;
        Ok(Response::new(proto::RemoveOperatorResponse {}))
    }

    async fn list_operator_sessions(
        &self,
        request: Request<proto::ListOperatorSessionsRequest>,
    ) -> Result<Response<proto::ListOperatorSessionsResponse>, Status> {
        let named = &request.get_ref().name;
        let (name, _, itself) = self
            .about(
                &request,
                "ListOperatorSessions",
                named,
                Action::OperatorView,
            )
            .await?;
        let operators = self.operators();
        if itself.is_none() {
            operators.get(&name).await.map_err(status_of)?;
        }
        let sessions = operators.sessions(&name).await.map_err(status_of)?;
        Ok(Response::new(proto::ListOperatorSessionsResponse {
            sessions: sessions.into_iter().map(shown_session).collect(),
        }))
    }

    async fn revoke_operator_sessions(
        &self,
        request: Request<proto::RevokeOperatorSessionsRequest>,
    ) -> Result<Response<proto::RevokeOperatorSessionsResponse>, Status> {
        let named = &request.get_ref().name;
        let (name, origin, itself) = self
            .about(
                &request,
                "RevokeOperatorSessions",
                named,
                Action::OperatorChange,
            )
            .await?;
        let operators = self.operators();
        if itself.is_none() {
            operators.get(&name).await.map_err(status_of)?;
        }
        let session = request.into_inner().session;
        let one = Some(session.as_str()).filter(|id| !id.is_empty());
        let revoked = operators
            .revoke(&origin, &name, one)
            .await
            .map_err(status_of)?;
        Ok(Response::new(proto::RevokeOperatorSessionsResponse {
            revoked,
        }))
    }
}
