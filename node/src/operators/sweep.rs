//! Removes sign-ins of operators that have ended, and old counters of wrong passwords: the node that leads the cluster's
//! own group does so. Everything that is swept is refused by its own time anyway.

use std::sync::Arc;
use std::time::Duration;

use bson::doc;
use tokio::sync::watch;
use yunbase_consensus::GroupId;

use super::Operators;
use super::records::{OPERATOR_SESSIONS, OperatorSession};
use crate::auth::AuthResult;
use crate::router::Router;

/// How often.
const INTERVAL: Duration = Duration::from_secs(600);

/// Runs until `stop` says so.
pub async fn run(operators: Arc<Operators>, router: Arc<Router>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stop.wait_for(|stopping| *stopping) => return,
        }
        let leads = router
            .group(GroupId(0))
            .is_some_and(|group| group.is_leader());
        if leads && let Err(error) = operators.sweep().await {
            tracing::warn!(%error, "remove ended sign-ins of operators");
        }
    }
}

impl Operators {
    /// Removes what has ended.
    pub(super) async fn sweep(&self) -> AuthResult<()> {
        let now_ms = self.clock.now_unix_ms();
        let ended = doc! { "expires_at_ms": { "$lte": now_ms } };
        // Asked for first: the collection comes to be with the first sign-in.
        let any = self
            .store
            .kept::<OperatorSession>(OPERATOR_SESSIONS, ended.clone())
            .await?;
        if !any.is_empty() {
            self.store.remove_all(OPERATOR_SESSIONS, ended).await?;
        }
        self.auth.sweep(&self.scope("sweep", None)).await
    }
}
