//! What leaders do in the background: build indexes and remove expired documents, step by step. And what every
//! node watches: that its groups live.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use yunbase_consensus::Role;

use crate::group_runtime::{Attempt, GroupRuntime};
use crate::router::Router;

/// Pause between looks while nothing is to be done.
const PAUSE: Duration = Duration::from_millis(100);
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between looks for expired documents. Each look takes at most one step of each time-to-live index, so this is
/// also the pace at which a backlog is worked off.
const EXPIRY_PAUSE: Duration = Duration::from_secs(1);

/// Runs until `stop` says so; reports a group that cannot go on through `failed`.
pub async fn run(
    router: Arc<Router>,
    failed: watch::Sender<Option<String>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut next_expiry = Instant::now();
    let mut turn = 0_usize;
    loop {
        let expires = Instant::now() >= next_expiry;
        if expires {
            next_expiry = Instant::now() + EXPIRY_PAUSE;
            turn = turn.wrapping_add(1);
        }
        for group in router.groups() {
            if let Some(reason) = broken(&group) {
                // Storage that failed once is not trusted again: the process ends, and a restart recovers from the log.
                failed.send_replace(Some(format!("group {} has stopped: {reason}", group.id())));
                return;
            }
            if group.is_leader() {
                build_indexes(&group).await;
                if expires {
                    expire_documents(&group, turn).await;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = stop.wait_for(|stopping| *stopping) => return,
        }
    }
}

fn broken(group: &GroupRuntime) -> Option<String> {
    let status = group.status();
    (status.role == Role::Stopped).then(|| {
        status
            .failure
            .unwrap_or_else(|| "no reason given".to_owned())
    })
}

/// Takes one step of each index that is being built. One step a look, so that a build leaves room for requests.
async fn build_indexes(group: &GroupRuntime) {
    let pending = group.database().pending_builds(crate::node::now_ms());
    propose(group, "build an index", pending).await;
}

/// Takes one step of each time-to-live index that has expired documents.
async fn expire_documents(group: &GroupRuntime, turn: usize) {
    let pending = group
        .database()
        .pending_expirations(crate::node::now_ms(), turn);
    propose(group, "remove expired documents", pending).await;
}

async fn propose(
    group: &GroupRuntime,
    what: &str,
    pending: Result<Vec<Vec<u8>>, yunbase_docdb::Error>,
) {
    let pending = match pending {
        Ok(pending) => pending,
        Err(error) => {
            tracing::warn!(group = %group.id(), %error, "look for work: {what}");
            return;
        }
    };
    for command in pending {
        if let Attempt::Done(Err(failure)) = group
            .propose(command.into(), Instant::now() + STEP_TIMEOUT)
            .await
        {
            tracing::warn!(group = %group.id(), %failure, "{what}");
        }
    }
}
