//! Which nodes hold which chunks, worked out from the members of the cluster: each node computes the same.

use std::sync::Arc;

use arc_swap::ArcSwap;
use yunbase_chunkstore::placement::{Layout, StorageHost};

use crate::cluster::map::{ClusterMap, SharedMap};

/// Weight of all nodes while one has not told its room yet: it would seem tiny beside the others.
const WEIGHT_UNKNOWN: u32 = 1;

/// The layout of this moment. Ranking thousands of groups takes some milliseconds, so it is done when members change only.
#[derive(Clone)]
pub struct SharedLayout {
    map: SharedMap,
    current: Arc<ArcSwap<Known>>,
}

#[derive(Default)]
struct Known {
    /// The map that it was last found to be right for.
    map: Arc<ClusterMap>,
    copies: usize,
    hosts: Vec<StorageHost>,
    layout: Arc<Layout>,
}

impl SharedLayout {
    /// The layout of the cluster whose map this is.
    pub fn new(map: SharedMap) -> Self {
        Self {
            map,
            current: Arc::default(),
        }
    }

    /// The layout of the map as it is.
    pub fn get(&self) -> Arc<Layout> {
        let map = self.map.get();
        let known = self.current.load();
        if Arc::ptr_eq(&known.map, &map) {
            return known.layout.clone();
        }
        let (copies, hosts) = hosts_of(&map);
        let layout = if known.hosts == hosts && known.copies == copies {
            known.layout.clone()
        } else {
            Arc::new(Layout::new(copies, hosts.clone()).unwrap_or_else(|error| {
                tracing::error!(%error, "no layout of chunks");
                Layout::default()
            }))
        };
        // Two that work it out at once come to the same, unless the map changed in between: then the next call sees to it.
        self.current.store(Arc::new(Known {
            map,
            copies,
            hosts,
            layout: layout.clone(),
        }));
        layout
    }

    /// Wakes up whenever the map has been replaced.
    pub fn watch(&self) -> tokio::sync::watch::Receiver<u64> {
        self.map.watch()
    }
}

/// The members as hosts. One that is leaving shall hold nothing, and is still asked.
fn hosts_of(map: &ClusterMap) -> (usize, Vec<StorageHost>) {
    let copies = map.settings.as_ref().map_or(1, |settings| {
        usize::try_from(settings.replicas).unwrap_or(1).max(1)
    });
    let all_told = map.nodes.values().all(|node| node.storage_weight.is_some());
    let hosts = map
        .nodes
        .iter()
        .map(|(id, node)| StorageHost {
            id: *id,
            zone: node.zone.clone(),
            weight: match node.leaving_since_ms {
                Some(_) => 0,
                None if !all_told => WEIGHT_UNKNOWN,
                None => node
                    .storage_weight
                    .and_then(|weight| u32::try_from(weight).ok())
                    .unwrap_or(WEIGHT_UNKNOWN),
            },
        })
        .collect();
    (copies, hosts)
}

#[cfg(test)]
mod tests {
    use yunbase_chunkstore::ChunkHash;

    use super::*;
    use crate::cluster::records::{NodeRecord, SettingsRecord};

    fn map(nodes: &[(i64, Option<i64>)]) -> ClusterMap {
        ClusterMap {
            nodes: nodes
                .iter()
                .map(|(id, leaving_since_ms)| {
                    let record = NodeRecord {
                        id: *id,
                        disk_id: String::new(),
                        peer_address: String::new(),
                        http_address: String::new(),
                        zone: String::new(),
                        joined_at_ms: 0,
                        leaving_since_ms: *leaving_since_ms,
                        storage_weight: None,
                        chunk_disks: Vec::new(),
                    };
                    (id.unsigned_abs(), record)
                })
                .collect(),
            settings: Some(SettingsRecord {
                id: "cluster".into(),
                cluster_id: "c".into(),
                groups: 1,
                replicas: 3,
                next_node_id: 9,
                join_secret: "s".into(),
                authority_certificate: String::new(),
                authority_key: String::new(),
            }),
            ..ClusterMap::default()
        }
    }

    #[test]
    fn the_layout_follows_the_map() {
        let shared = SharedMap::default();
        let layout = SharedLayout::new(shared.clone());
        assert_eq!(layout.get().copies(), 0);
        shared.set(map(&[(1, None), (2, None), (3, None), (4, None)]));
        let first = layout.get();
        assert_eq!((first.copies(), first.hosts().len()), (3, 4));
        shared.set(map(&[(1, None), (2, None), (3, None), (4, None)]));
        assert!(Arc::ptr_eq(&first, &layout.get()), "nothing to work out");
        shared.set(map(&[(1, None), (2, Some(5)), (3, None), (4, None)]));
        let name = ChunkHash::of(b"x");
        let next = layout.get();
        assert!(next.holders(&name).all(|host| host != 2));
        assert_eq!(next.ranked(&name).last(), Some(2), "still asked");
    }
}
