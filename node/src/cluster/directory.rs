//! Keys and environments as the doors look them up: from this node's map, and, for what the map does not know, from what
//! the whole cluster has acknowledged by then.
//!
//! Without the second look a client that was told by one node that its environment or key exists would be refused by the
//! next node it asks, for as long as the news takes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use yunbase_consensus::GroupId;

use super::map::SharedMap;
use super::refresh;
use crate::call::{KeyDirectory, SecretKey};
use crate::router::Router;

/// The directory of a node.
pub struct Directory {
    map: SharedMap,
    router: Arc<Router>,
}

impl Directory {
    /// Looks up in `map`, and catches up through `router`'s replica of group 0.
    pub fn new(map: SharedMap, router: Arc<Router>) -> Self {
        Self { map, router }
    }
}

impl KeyDirectory for Directory {
    fn find(&self, id: &str) -> Option<SecretKey> {
        self.map.find(id)
    }

    fn has_env(&self, env: &str) -> bool {
        self.map.has_env(env)
    }

    fn only_env(&self) -> Option<String> {
        self.map.only_env()
    }

    fn catch_up(&self, deadline: Instant) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let Some(cluster) = self.router.group(GroupId(0)) else {
                return;
            };
            let late = tokio::time::Instant::from_std(deadline);
            // Without a quorum nothing new can have been acknowledged either, as far as this node can tell.
            if cluster.group().read_barrier(late).await.is_ok() {
                refresh::refresh(cluster.database(), &self.map).await;
            }
        })
    }
}
