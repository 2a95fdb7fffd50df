//! The door for the official CloudBase packages: the action protocol on `POST /admin`.
//!
//! Owns everything between a raw HTTP request and an authenticated [`Call`](crate::call::Call):
//! bounds, signatures, EJSON, the shapes of actions and answers. It promises that each protocol
//! request is answered with HTTP 200 and one JSON object that carries a request id, whatever the
//! body was. It must never touch storage or consensus: all work goes through
//! [`Execute`](crate::call::Execute), all keys come from [`KeyDirectory`](crate::call::KeyDirectory).
//!
//! | file | idea |
//! |---|---|
//! | `door` | permits, deadlines, panics, access log around each request |
//! | `body` | bounded reading, depth check, top-level members as raw slices |
//! | `signature` | who asks: TC3-HMAC-SHA256, HMAC-SHA1, API keys |
//! | `admin` | one request from body to answer |
//! | `ejson` | EJSON text to BSON and back |
//! | `params` | typed access to the members of an action |
//! | `actions` | each action of the database |
//! | `envelope` | the one shape of all answers |
//! | `limits` | every bound, with its default |

mod actions;
mod admin;
mod body;
mod clock;
mod codes;
mod door;
pub mod ejson;
mod envelope;
mod ids;
mod limits;
mod params;
mod signature;

use std::sync::Arc;

use axum::Router;
use axum::routing::post;

pub use clock::{Clock, SystemClock};
pub(crate) use ids::{adopt_request_id, document_id, request_id};
pub use limits::Limits;

use crate::auth::Auth;
use crate::call::{Execute, KeyDirectory};

/// What the gateway needs from the node around it.
#[derive(Clone)]
pub struct GatewayState {
    /// Carries out authenticated calls.
    pub execute: Arc<dyn Execute>,
    /// Knows keys and environments.
    pub keys: Arc<dyn KeyDirectory>,
    /// End users, for the actions that ask about them; `None` where there is no login.
    pub auth: Option<Arc<Auth>>,
    /// Tells the time: signature windows and server dates.
    pub clock: Arc<dyn Clock>,
    /// Every bound of the gateway.
    pub limits: Limits,
}

/// The routes of the action protocol: `POST /admin`, and a typed refusal on `POST /web`.
pub fn router(state: GatewayState) -> Router {
    let door = Arc::new(door::Door::new(state));
    Router::new()
        .route("/admin", post(door::admin))
        .route("/web", post(door::web))
        .with_state(door)
}

#[cfg(test)]
mod fuzz_test;
#[cfg(test)]
mod router_test;
#[cfg(test)]
mod stand_in;
