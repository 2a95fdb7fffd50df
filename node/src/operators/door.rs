//! The door of the public gRPC surface: from the metadata of a call to who asks, settled once for each stream.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::{Code, Request, Status};
use yunbase_client::auth::Authorization;

use super::access::Access;
use super::roles::{Action, Place};
use super::{Operators, is_access_token};
use crate::audit::record::Origin;
use crate::auth::{AuthError, Reason};
use crate::call::{Caller, Failure, KeyDirectory};
use crate::data_service::{Admitted, admit, key_id};
use crate::surface::client_address::ClientAddress;

/// Longest that a call with an unknown key waits for this node to catch up with the cluster.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// Lets callers in by key or as operators.
#[derive(Clone)]
pub struct Door {
    keys: Arc<dyn KeyDirectory>,
    operators: Arc<Operators>,
}

impl Door {
    /// A door that knows `keys` and `operators`.
    pub fn new(keys: Arc<dyn KeyDirectory>, operators: Arc<Operators>) -> Self {
        Self { keys, operators }
    }

    /// The operators.
    pub fn operators(&self) -> &Arc<Operators> {
        &self.operators
    }

    /// The keys and environments.
    pub fn keys(&self) -> &Arc<dyn KeyDirectory> {
        &self.keys
    }

    /// Who makes a call of `method`. A key that this node has not heard of yet gets a second look.
    pub async fn admit<T>(&self, request: &Request<T>, method: &str) -> Result<Admitted, Status> {
        let metadata = request.metadata();
        let address = address_of(request);
        if let Some(token) = operator_token(request) {
            let operator = self
                .operators
                .authenticate(token)
                .await
                .map_err(|error| not_admitted(&error))?;
            return Ok(Admitted {
                // Behind the doors an operator is an administrator that its gate has let through.
                caller: Caller::Administrator {
                    key_id: Access::Operator(operator.clone()).by(),
                },
                env: None,
                access: Access::Operator(operator),
                address,
            });
        }
        if key_id(metadata).is_some_and(|id| self.keys.find(id).is_none()) {
            self.keys.catch_up(Instant::now() + CATCH_UP_TIMEOUT).await;
        }
        let admitted = admit(&self.keys, metadata, method)?;
        Ok(Admitted {
            address,
            ..admitted
        })
    }

    /// The caller of a request on a stream that was opened a while ago: an operator whose sign-in has ended since is
    /// refused, and roles are those of this moment.
    pub async fn again(&self, admitted: &mut Admitted) -> Result<(), Failure> {
        if let Access::Operator(operator) = &admitted.access {
            admitted.access = Access::Operator(self.operators.again(operator).await?);
        }
        Ok(())
    }

    /// Who makes a call of `method`, if it may do `action` at `place`; a refused change is written down.
    pub async fn authorize<T>(
        &self,
        request: &Request<T>,
        method: &str,
        action: Action,
        place: Place<'_>,
    ) -> Result<(Admitted, Origin), Status> {
        let admitted = self.admit(request, method).await?;
        let origin = admitted.origin(&crate::gateway::request_id());
        if let Err(failure) = admitted.access.check(action, place) {
            if let Access::Operator(operator) = &admitted.access {
                let env = match place {
                    Place::Environment(env) => Some(env),
                    Place::Cluster | Place::Anywhere => None,
                };
                self.operators
                    .refused(&origin, operator, action, env, &failure)
                    .await;
            }
            return Err(Status::permission_denied(failure.message));
        }
        Ok((admitted, origin))
    }
}

/// The access token of an operator that a call carries.
fn operator_token<T>(request: &Request<T>) -> Option<&str> {
    let value = request.metadata().get("authorization")?.to_str().ok()?;
    match Authorization::parse(value).ok()? {
        Authorization::Bearer(token) if is_access_token(token) => Some(token),
        _ => None,
    }
}

/// Where a call came from.
pub fn address_of<T>(request: &Request<T>) -> Option<IpAddr> {
    let address = request.extensions().get::<ClientAddress>();
    address.map(|ClientAddress(address)| *address)
}

fn not_admitted(error: &AuthError) -> Status {
    let code = match error.reason {
        Reason::Unavailable => Code::Unavailable,
        Reason::Internal => Code::Internal,
        _ => Code::Unauthenticated,
    };
    Status::new(code, error.message.clone())
}
