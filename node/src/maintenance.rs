//! What leaders do in the background: build indexes and remove expired documents, step by step. And what every
//! node watches: that its groups live.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use yunbase_consensus::{LogEngine, Role};

use crate::group_runtime::{Attempt, GroupRuntime};
use crate::router::Router;

/// Pause between looks while nothing is to be done.
const PAUSE: Duration = Duration::from_millis(100);
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between looks for expired documents. Each look takes at most one step of each time-to-live index, so this is
/// also the pace at which a backlog is worked off.
const EXPIRY_PAUSE: Duration = Duration::from_secs(1);
/// How long one look builds indexes, before other groups have their turn.
const BUILD_TURN: Duration = Duration::from_millis(500);
/// Steps of one build that are under way at once: while one is applied, the next is replicated.
const BUILD_STEPS: usize = 2;

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
        let mut builds = false;
        for group in router.groups() {
            if let Some(reason) = broken(&group) {
                // Storage that failed once is not trusted again: the process ends, and a restart recovers from the log.
                failed.send_replace(Some(format!("group {} has stopped: {reason}", group.id())));
                return;
            }
            if group.is_leader() {
                builds |= build_indexes(&group).await;
                if expires {
                    expire_documents(&group, turn).await;
                }
            }
        }
        let pause = if builds { Duration::ZERO } else { PAUSE };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// Reports a log that cannot go on through `failed`, at once.
pub async fn watch_log(log: LogEngine, failed: watch::Sender<Option<String>>) {
    let error = log.failed().await;
    failed.send_replace(Some(error.to_string()));
}

fn broken(group: &GroupRuntime) -> Option<String> {
    let status = group.status();
    (status.role == Role::Stopped).then(|| {
        status
            .failure
            .unwrap_or_else(|| "no reason given".to_owned())
    })
}

/// Builds indexes for a turn; says whether there is more to do. Steps are short and stand in line with requests, so
/// a build takes what time these leave.
async fn build_indexes(group: &GroupRuntime) -> bool {
    let until = Instant::now() + BUILD_TURN;
    let lines = (0..BUILD_STEPS).map(|_| async {
        loop {
            let pending = group.database().pending_builds(crate::node::now_ms());
            if !propose(group, "build an index", pending).await {
                return false;
            }
            if Instant::now() >= until {
                return true;
            }
        }
    });
    futures::future::join_all(lines).await.contains(&true)
}

/// Takes one step of each time-to-live index that has expired documents.
async fn expire_documents(group: &GroupRuntime, turn: usize) {
    let pending = group
        .database()
        .pending_expirations(crate::node::now_ms(), turn);
    propose(group, "remove expired documents", pending).await;
}

/// Proposes commands one after the other; says whether there were any and all were carried out.
async fn propose(
    group: &GroupRuntime,
    what: &str,
    pending: Result<Vec<Vec<u8>>, yunbase_docdb::Error>,
) -> bool {
    let pending = match pending {
        Ok(pending) => pending,
        Err(error) => {
            tracing::warn!(group = %group.id(), %error, "look for work: {what}");
            return false;
        }
    };
    let mut is_done = !pending.is_empty();
    for command in pending {
        match group
            .propose(command.into(), Instant::now() + STEP_TIMEOUT)
            .await
        {
            Attempt::Done(Ok(_)) => {}
            Attempt::Done(Err(failure)) => {
                tracing::warn!(group = %group.id(), %failure, "{what}");
                is_done = false;
            }
            _ => is_done = false,
        }
    }
    is_done
}
