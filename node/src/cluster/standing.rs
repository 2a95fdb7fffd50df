//! Whether this node still belongs to its cluster.
//!
//! A node that was removed need not hear of it through its replicas: it is no member of any group when that is done, or
//! was dead. So it asks the others whenever it has reason to doubt, and they refuse its certificate if it was removed. It
//! then writes that down, says so, and ends: it serves nothing, and would answer with what it had when it went.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use yunbase_consensus::{GroupId, NodeId};

use super::map::SharedMap;
use crate::identity::DataDir;
use crate::router::Router;
use crate::surface::peer::PeerCalls;

/// Pause between looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs until `stop` says so, or this node was removed: then it tells through `failed`.
pub async fn run(
    node: NodeId,
    data: DataDir,
    map: SharedMap,
    router: Arc<Router>,
    peers: Arc<PeerCalls>,
    failed: watch::Sender<Option<String>>,
    mut stop: watch::Receiver<bool>,
) {
    // After a start nothing is known yet.
    let mut doubts = true;
    loop {
        if doubts && peers.was_removed().await {
            if let Err(error) = data.set_removed(node) {
                tracing::error!(%error, "write down that this node was removed");
            }
            let reason = WasRemoved(node).to_string();
            tracing::error!(node, "{reason}");
            failed.send_replace(Some(reason));
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = stop.wait_for(|stopping| *stopping) => return,
        }
        let known = map.get();
        let stays = known
            .nodes
            .get(&node)
            .is_some_and(|record| record.leaving_since_ms.is_none());
        let is_led = router
            .group(GroupId(0))
            .is_some_and(|group| group.leader().is_some());
        doubts = !stays || !is_led;
    }
}

/// What a removed node says.
#[derive(Debug, thiserror::Error)]
#[error(
    "node {0} was removed from its cluster and is not let in again: to use this machine, give it an empty data folder and let it join as a new node"
)]
pub struct WasRemoved(pub NodeId);
