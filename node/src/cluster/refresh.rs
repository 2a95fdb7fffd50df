//! Rebuilds the cluster map from this node's replica of group 0: whenever that has applied something, and when a caller
//! needs to know what was acknowledged a moment ago on another node.

use std::sync::Arc;

use tokio::sync::watch;
use yunbase_docdb::op::{FindOp, Op, OpReply};
use yunbase_docdb::{Budget, Database, ErrorCode};

use super::map::{ClusterMap, SharedMap};
use super::records::{CLUSTER_ENV, ENVIRONMENTS, KEYS, NODES, REMOVED_NODES, SETTINGS};

/// Runs until `stop` says so or group 0 has closed.
pub async fn run(
    database: Arc<Database>,
    map: SharedMap,
    mut applied: watch::Receiver<u64>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        refresh(&database, &map).await;
        tokio::select! {
            changed = applied.changed() => if changed.is_err() { return },
            _ = stop.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// Reads the map anew. Those who ask while it is read share the next reading, which begins after they asked.
pub async fn refresh(database: &Arc<Database>, map: &SharedMap) {
    let Some(_alone) = map.begin_refresh().await else {
        return;
    };
    let database = database.clone();
    match tokio::task::spawn_blocking(move || load(&database)).await {
        Ok(Ok(loaded)) => map.set(loaded),
        Ok(Err(reason)) => tracing::warn!(reason, "read the cluster map"),
        Err(error) => tracing::warn!(%error, "read the cluster map"),
    }
}

/// Reads the map from a replica of group 0.
pub(crate) fn load(database: &Database) -> Result<ClusterMap, String> {
    let all = |collection: &str| {
        let mut documents = Vec::new();
        let mut after = Vec::new();
        loop {
            let op = Op::Find {
                collection: collection.to_owned(),
                find: FindOp {
                    after,
                    ..FindOp::default()
                },
            };
            match database.read(CLUSTER_ENV, &op, &Budget::new(&|| false), 0) {
                Ok(OpReply::Found {
                    documents: page,
                    next,
                }) => {
                    documents.extend(page);
                    if next.is_empty() {
                        return Ok(documents);
                    }
                    after = next;
                }
                Ok(other) => {
                    return Err(format!("the database answered something else: {other:?}"));
                }
                // Before the founder has created it.
                Err(error) if error.code == ErrorCode::CollectionNotExist => return Ok(documents),
                Err(error) => return Err(error.to_string()),
            }
        }
    };
    ClusterMap::from_documents(
        &all(NODES)?,
        &all(REMOVED_NODES)?,
        &all(ENVIRONMENTS)?,
        &all(KEYS)?,
        &all(SETTINGS)?,
    )
}
