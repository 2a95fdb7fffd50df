//! Realtime watches of the CloudBase clients: a query whose result follows the data.
//!
//! A watch is a query evaluated at a position of its group's change log, and the changes behind that position turned into
//! events. It promises each event once and in order, on whatever node the client is; where
//! that cannot be had (the log was cut, or the query has a limit), a resumed watch gets its whole result anew in one
//! step. Nothing here writes to a database, and nothing that waits is without bound.
//!
//! # The way of an event
//!
//! change log → [`follow`] reads it once for all watches of the group → [`registry`] finds the queries concerned →
//! [`evaluation`] makes events of the change → [`outbox`] queues them for each socket → [`socket`] writes them.
//!
//! | file | idea |
//! |---|---|
//! | `query`, `evaluation`, `window`, `event`, `fields` | the pure core: `(query state, change) -> events` |
//! | `registry` | which queries a change may concern |
//! | `source`, `remote` | results and changes of a group, from this node's replica or from the leader |
//! | `follow`, `replay`, `tasks` | one reader of the log for all watches; resuming many watches in one pass |
//! | `ending` | what ends the watches of end users: new access rules, sign-ins that were ended |
//! | `hub` | opening and resuming |
//! | `session`, `message`, `socket`, `outbox` | one client: its messages, its queue, its socket |
//! | `ticket`, `query_id` | what clients carry from node to node, under the cluster's seal |
//! | `access` | the seam to keys, sessions and rules |
//! | `limits`, `metrics` | bounds and numbers |
//!
//! # Resuming
//!
//! A query id says what is watched and where in the log the first result was read. The events of a query without limit
//! are a function of the log, so any node can count them again and send those that a client has missed. A socket that is
//! too slow loses its queue and resumes the same way.

pub mod access;
pub mod by_rules;
mod ending;
mod evaluation;
mod event;
mod fields;
mod follow;
mod hub;
pub mod limits;
mod message;
pub mod metrics;
mod outbox;
mod query;
mod query_id;
mod registry;
mod remote;
mod replay;
mod session;
mod socket;
mod source;
mod tasks;
mod ticket;
mod window;

#[cfg(test)]
mod bed;
#[cfg(test)]
mod follow_test;
#[cfg(test)]
mod socket_test;

use std::sync::Arc;

use axum::routing::get;
use tokio::sync::watch;

use crate::call::{Caller, Failure, KeyDirectory};
use crate::router::RouterHandle;
use crate::scan_threads::ScanThreads;

pub(crate) use remote::serve;

/// Where the socket is, on every node.
pub const PATH: &str = "/realtime";

/// Realtime of one node.
#[derive(Clone)]
pub struct Realtime(Arc<hub::Hub>);

impl Realtime {
    /// Watches of the data behind `router`, until `stop` says so.
    pub fn new(
        router: RouterHandle,
        access: Arc<dyn access::Access>,
        keys: Arc<dyn KeyDirectory>,
        seal: crate::seal::Seal,
        limits: limits::Limits,
        scan_threads: ScanThreads,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self(hub::Hub::new(
            Arc::new(router),
            access,
            keys,
            seal,
            limits,
            scan_threads,
            stop,
        ))
    }

    /// What this node has counted.
    pub fn counters(&self) -> Arc<metrics::Counters> {
        self.0.counters.clone()
    }

    /// The route of the socket.
    pub fn routes(&self) -> axum::Router {
        axum::Router::new()
            .route(PATH, get(socket::upgrade))
            .with_state(self.0.clone())
    }
}

/// Gives out tickets for sockets.
#[derive(Clone)]
pub struct Tickets {
    seal: crate::seal::Seal,
    life_ms: i64,
}

impl Tickets {
    /// Tickets under `seal`, in force for as long as `limits` say.
    pub fn new(seal: crate::seal::Seal, limits: &limits::Limits) -> Self {
        Self {
            seal,
            life_ms: i64::try_from(limits.ticket_life.as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// A ticket for `caller` in `env`, given out at `now_ms`.
    pub fn issue(&self, env: &str, caller: &Caller, now_ms: i64) -> Result<String, Failure> {
        ticket::issue(&self.seal, env, caller, now_ms.saturating_add(self.life_ms))
    }
}
