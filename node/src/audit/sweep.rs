//! Removes entries that are older than the retention: of each log the node that leads its group.

use std::sync::Arc;
use std::time::Instant;

use bson::rawdoc;
use tokio::sync::watch;
use yunbase_consensus::GroupId;
use yunbase_docdb::op::{Op, OpReply};

use super::limits::{SWEEP_INTERVAL, SWEEP_TIMEOUT, days_ms};
use super::record::collection_of;
use super::{Audit, is_missing};
use crate::call::{Call, Caller, Failure, ReadLevel};
use crate::cluster::map::SharedMap;
use crate::cluster::records::CLUSTER_ENV;
use crate::router::Router;

/// Keeps entries for `days`; runs until `stop` says so.
pub async fn run(
    audit: Arc<Audit>,
    router: Arc<Router>,
    map: SharedMap,
    days: i64,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_INTERVAL) => {}
            _ = stop.wait_for(|stopping| *stopping) => return,
        }
        let environments = map.get().environments.clone();
        let all = environments
            .into_iter()
            .chain([(CLUSTER_ENV.to_owned(), GroupId(0))]);
        for (env, group) in all {
            if *stop.borrow() {
                return;
            }
            let leads = router.group(group).is_some_and(|group| group.is_leader());
            if !leads {
                continue;
            }
            match audit.remove_older(&env, days).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(env, removed, "old entries of the audit log removed"),
                Err(failure) => {
                    tracing::warn!(env, %failure, "remove old entries of the audit log");
                }
            }
        }
    }
}

impl Audit {
    /// Removes the entries of `env` that are older than `days`; says how many.
    pub async fn remove_older(&self, env: &str, days: i64) -> Result<u64, Failure> {
        let before = self.clock.now_unix_ms() - days_ms(days);
        let call = Call {
            caller: Caller::System,
            env: env.to_owned(),
            op: Op::Remove {
                collection: collection_of(env).to_owned(),
                filter: rawdoc! { "at_ms": { "$lt": before } },
                multi: true,
            },
            session: None,
            read_level: ReadLevel::Linearizable,
            deadline: Instant::now() + SWEEP_TIMEOUT,
            request_id: "sweep".to_owned(),
        };
        match self.execute.execute(call).await {
            Ok(OpReply::Removed { removed }) => Ok(removed),
            Ok(_) => Ok(0),
            Err(failure) if is_missing(&failure) => Ok(0),
            Err(failure) => Err(failure),
        }
    }
}
