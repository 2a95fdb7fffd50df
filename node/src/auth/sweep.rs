//! Removes what has ended: sessions, provider tokens and counters whose time has passed.
//!
//! Everything that is swept is refused by its own time anyway, so a sweep that comes late changes nothing but the room
//! that is taken. The node that leads an environment's group sweeps it.

use std::sync::Arc;
use std::time::Duration;

use bson::doc;
use tokio::sync::watch;

use super::Auth;
use super::error::AuthResult;
use super::records::{GRANTS, SESSIONS, THROTTLE};
use super::store::Scope;
use crate::router::Router;

/// Longest that one environment may take.
const ENV_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs until `stop` says so.
pub async fn run(auth: Arc<Auth>, router: Arc<Router>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(auth.limits.sweep_interval) => {}
            _ = stop.wait_for(|stopping| *stopping) => return,
        }
        let environments = auth.map.get().environments.clone();
        for (env, group) in environments {
            if *stop.borrow() {
                return;
            }
            let leads = router.group(group).is_some_and(|group| group.is_leader());
            if !leads {
                continue;
            }
            let Ok(scope) = auth.scope(&env, "sweep", ENV_TIMEOUT, None) else {
                continue;
            };
            if let Err(error) = auth.sweep(&scope).await {
                tracing::warn!(env, %error, "remove ended sessions");
            }
        }
    }
}

impl Auth {
    /// Removes what has ended in one environment.
    pub(crate) async fn sweep(&self, scope: &Scope) -> AuthResult<()> {
        let ended = doc! { "expires_at_ms": { "$lte": scope.now_ms } };
        self.store
            .remove(scope, SESSIONS, ended.clone(), true)
            .await?;
        self.store.remove(scope, GRANTS, ended, true).await?;
        let forgotten = scope.now_ms - self.limits.throttle_memory_ms;
        let old = doc! { "last_ms": { "$lt": forgotten } };
        self.store.remove(scope, THROTTLE, old, true).await?;
        Ok(())
    }
}
