//! What leaders do in the background: build indexes step by step. And what every node watches: that its groups live.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use yunbase_consensus::Role;

use crate::group_runtime::{Attempt, GroupRuntime};
use crate::router::Router;

/// Pause between looks while nothing is to be done.
const PAUSE: Duration = Duration::from_millis(100);
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs until `stop` says so; reports a group that cannot go on through `failed`.
pub async fn run(
    router: Arc<Router>,
    failed: watch::Sender<Option<String>>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        for group in router.groups() {
            if let Some(reason) = broken(&group) {
                // Storage that failed once is not trusted again: the process ends, and a restart recovers from the log.
                failed.send_replace(Some(format!("group {} has stopped: {reason}", group.id())));
                return;
            }
            if group.is_leader() {
                build_indexes(&group).await;
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
    let pending = match group.database().pending_builds(crate::node::now_ms()) {
        Ok(pending) => pending,
        Err(error) => {
            tracing::warn!(group = %group.id(), %error, "look for indexes to build");
            return;
        }
    };
    for command in pending {
        if let Attempt::Done(Err(failure)) = group
            .propose(command.into(), Instant::now() + STEP_TIMEOUT)
            .await
        {
            tracing::warn!(group = %group.id(), %failure, "build an index");
        }
    }
}
