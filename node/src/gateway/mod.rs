//! The doors for the official CloudBase packages: actions on `POST /admin` and `POST /web`, and the REST of apps below
//! `/v1/database` and `/v1/storages`.
//!
//! Owns everything between a raw HTTP request and an authenticated [`Call`](crate::call::Call):
//! bounds, signatures, tokens, EJSON, the shapes of actions and answers. It promises that each action is answered with
//! HTTP 200 and one JSON object that carries a request id, and each REST call with its own status and the same, whatever
//! the body was. It must never touch chunks or consensus: all work goes through
//! [`Execute`](crate::call::Execute) and [`FileDoor`], all keys come from [`KeyDirectory`](crate::call::KeyDirectory), all judgement on
//! access tokens from [`TokenVerifier`](crate::call::TokenVerifier).
//!
//! | file | idea |
//! |---|---|
//! | `door` | permits, deadlines, panics, access log around each request |
//! | `aside` | work on large bodies and answers, out of the way of others |
//! | `head`, `body` | bounded headers; bounded reading, depth check, top-level members as raw slices |
//! | `signature`, `bearer` | who asks: TC3-HMAC-SHA256, HMAC-SHA1, API keys, access tokens |
//! | `operator` | operators at the doors, and the gate in front of what administrators do |
//! | `environment` | which environment a request acts on |
//! | `ws_sign` | what a client needs to open a socket for watches |
//! | `admin`, `web`, `rest` | one request of each door, from body to answer |
//! | `ejson` | EJSON text to BSON and back |
//! | `params` | typed access to the members of an action |
//! | `actions` | each action of the database |
//! | `storage` | the actions and the REST of files: addresses to upload to and to read from, deletion, copies |
//! | `envelope` | the one shape of all answers to actions |
//! | `limits` | every bound, with its default |

mod actions;
mod admin;
mod aside;
mod bearer;
mod body;
mod clock;
mod codes;
mod door;
pub mod ejson;
mod envelope;
mod environment;
mod head;
mod ids;
mod large;
mod limits;
mod operator;
mod params;
mod rest;
mod signature;
mod storage;
mod web;
mod ws_sign;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::routing::{any, post};

pub use clock::{Clock, SystemClock};
pub(crate) use ids::{adopt_request_id, document_id, request_id};
pub use large::LargeRequests;
pub use limits::Limits;

use crate::auth::Auth;
use crate::call::{Caller, Execute, Failure, KeyDirectory, TokenVerifier};
use crate::operators::Operators;
use crate::realtime::Tickets;
use crate::storage::FileDoor;
use crate::transactions::Transact;

/// What the gateway needs from the node around it.
#[derive(Clone)]
pub struct GatewayState {
    /// Carries out authenticated calls.
    pub execute: Arc<dyn Execute>,
    /// Knows keys and environments.
    pub keys: Arc<dyn KeyDirectory>,
    /// Judges the access tokens of end users.
    pub tokens: Arc<dyn TokenVerifier>,
    /// End users, for the actions that ask about them; `None` where there is no login.
    pub auth: Option<Arc<Auth>>,
    /// Operators and the audit log; `None` where there is no cluster.
    pub operators: Option<Arc<Operators>>,
    /// Keeps transactions.
    pub transactions: Arc<dyn Transact>,
    /// Files; `None` where there is no cluster.
    pub files: Option<Arc<FileDoor>>,
    /// Gives out tickets for sockets.
    pub tickets: Tickets,
    /// Where requests with a large body run.
    pub large_requests: Arc<LargeRequests>,
    /// Tells the time: signature windows and server dates.
    pub clock: Arc<dyn Clock>,
    /// Every bound of the gateway.
    pub limits: Limits,
}

impl GatewayState {
    /// Refuses an end user whose session has ended, on whatever node that was.
    async fn check_session(
        &self,
        caller: &Caller,
        env: &str,
        request_id: &str,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let (Some(auth), Caller::User(user)) = (&self.auth, caller) else {
            return Ok(());
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let scope = auth.scope(env, request_id, left, None)?;
        Ok(auth.check_session(&scope, user).await?)
    }
}

/// The routes of the doors: `POST /admin`, `POST /web`, and everything below `/v1/database` and `/v1/storages`.
pub fn router(state: GatewayState) -> Router {
    let door = Arc::new(door::Door::new(state));
    Router::new()
        .route("/admin", post(door::admin))
        .route("/web", post(door::web))
        .route("/v1/database/{*path}", any(door::rest))
        .route("/v1/storages/{*path}", any(door::storages))
        .with_state(door)
}

#[cfg(test)]
mod documents_test;
#[cfg(test)]
mod fuzz_test;
#[cfg(test)]
mod rest_test;
#[cfg(test)]
mod router_test;
#[cfg(test)]
mod stand_in;
#[cfg(test)]
mod web_test;
