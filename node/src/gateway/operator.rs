//! Requests of operators at the doors: an access token of one as bearer, in the place of a signature or a key.

use axum::http::request::Parts;

use super::bearer::Identity;
use super::environment::{self, Named};
use super::{GatewayState, head};
use crate::call::{Caller, Failure};
use crate::operators::access::Access;
use crate::operators::gate::Gate;
use crate::operators::is_access_token;
use crate::surface::client_address::ClientAddress;

/// The operator whose token a request carries, in the environment `named`; `None` when it carries other credentials.
pub(super) async fn identify(
    state: &GatewayState,
    parts: &Parts,
    named: impl FnOnce() -> Result<Named, Failure>,
) -> Result<Option<Identity>, Failure> {
    let token = head::text(&parts.headers, "authorization")
        .and_then(|value| value.strip_prefix("Bearer "))
        .map(str::trim)
        .filter(|token| is_access_token(token));
    let (Some(token), Some(operators)) = (token, &state.operators) else {
        return Ok(None);
    };
    let access = Access::Operator(operators.authenticate(token).await?);
    let env = named()?.settle(state, None)?;
    environment::check(state, &env, None)?;
    Ok(Some(Identity {
        // Behind the doors an operator is an administrator that its gate has let through.
        caller: Caller::Administrator {
            key_id: access.by(),
        },
        env,
        access,
    }))
}

/// The gate for a caller with `access`.
pub(super) fn gate(state: &GatewayState, parts: &Parts, access: Access) -> Gate {
    let address = parts.extensions.get::<ClientAddress>();
    Gate::new(
        state.execute.clone(),
        state.transactions.clone(),
        state.operators.clone(),
        access,
        address.map(|ClientAddress(address)| *address),
    )
}
