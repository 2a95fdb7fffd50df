//! Operators: the people who run the cluster or build on it, by the command line or the console.
//!
//! They are documents in the cluster's own environment, so every node agrees at each commit on who they are, what they
//! may do and which of their sign-ins are in force: each request of an operator reads both anew. Passwords are argon2id,
//! tokens are random and kept as hashes; neither reaches a log.
//!
//! | file | idea |
//! |---|---|
//! | `roles` | what each role may do: the one table |
//! | `access` | who asks, and the one question whether it may |
//! | `gate` | holds operations on environments to that, and writes down what the audit log wants |
//! | `door` | from the metadata of a call to who asks |
//! | `records`, `limits` | the documents; every lifetime and bound |
//! | `sessions` | sign-in, tokens that are used once, revocation in force at its commit |
//! | `manage` | adding, changing and removing operators; the last owner stays |
//! | `service`, `http` | the gRPC service `Operators`; sign-in over HTTP for the console |
//! | `sweep` | removes what has ended |

pub mod access;
pub mod door;
pub mod gate;
pub mod http;
pub mod limits;
pub mod manage;
pub mod records;
pub mod roles;
pub mod service;
mod sessions;
pub mod sweep;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;

pub use limits::OperatorLimits;
pub use sessions::{SignedIn, is_access_token};

use crate::audit::Audit;
use crate::audit::record::{Act, Origin};
use crate::auth::{Auth, AuthError, AuthResult, Reason, Scope};
use crate::call::Failure;
use crate::cluster::records::CLUSTER_ENV;
use crate::cluster::store::ClusterStore;
use crate::gateway::Clock;
use access::Operator;
use roles::Action;

/// The operators of a cluster, as one node knows them.
pub struct Operators {
    store: ClusterStore,
    auth: Arc<Auth>,
    audit: Arc<Audit>,
    clock: Arc<dyn Clock>,
    limits: OperatorLimits,
    timeout: Duration,
    /// Refused changes that were written down a moment ago.
    refusals: Cache<String, ()>,
}

impl Operators {
    /// Operators whose documents are in `store`; `auth` hashes their passwords and slows down who guesses them. Each
    /// request takes at most `timeout`.
    pub fn new(
        store: ClusterStore,
        auth: Arc<Auth>,
        audit: Arc<Audit>,
        clock: Arc<dyn Clock>,
        limits: OperatorLimits,
        timeout: Duration,
    ) -> Self {
        Self {
            store,
            auth,
            audit,
            clock,
            refusals: Cache::builder()
                .max_capacity(limits.refusals_max)
                .time_to_live(Duration::from_secs(limits.refusal_interval_s))
                .build(),
            limits,
            timeout,
        }
    }

    /// The audit log.
    pub fn audit(&self) -> &Arc<Audit> {
        &self.audit
    }

    /// A scope for the counters of wrong passwords, which are kept where operators are.
    fn scope(&self, request_id: &str, address: Option<IpAddr>) -> Scope {
        Scope {
            env: CLUSTER_ENV.to_owned(),
            deadline: Instant::now() + self.timeout,
            request_id: request_id.to_owned(),
            now_ms: self.clock.now_unix_ms(),
            address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        }
    }

    /// Writes down that an operator was refused a change, once in a while for each kind.
    pub async fn refused(
        &self,
        origin: &Origin,
        operator: &Operator,
        action: Action,
        env: Option<&str>,
        failure: &Failure,
    ) {
        if !action.is_change() {
            return;
        }
        let env = env.unwrap_or(CLUSTER_ENV);
        let key = format!("{}\n{}\n{env}", operator.name, action.name());
        if self.refusals.contains_key(&key) {
            return;
        }
        self.refusals.insert(key, ());
        let act = Act::new("operator.refused", action.name()).with(format!("in {env}"));
        self.audit
            .record(CLUSTER_ENV, origin, act, &failure.code)
            .await;
    }
}

fn unavailable(message: &str) -> AuthError {
    AuthError::new(Reason::Unavailable, message)
}

/// What the clients get for a change that another one came in between of again and again.
fn busy<T>() -> AuthResult<T> {
    Err(unavailable(
        "others change operators at this moment: try again",
    ))
}

#[cfg(test)]
mod manage_test;
#[cfg(test)]
mod matrix_test;
#[cfg(test)]
mod sessions_test;
#[cfg(test)]
pub(crate) mod test_bed;
