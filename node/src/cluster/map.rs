//! What this node knows of the cluster: members, environments and keys, read from its replica of group 0.
//!
//! The map is replaced as a whole whenever group 0 has applied something, and read without a lock. It may lag
//! behind the leader of group 0 by the time that a commit takes to arrive; whoever acts on a stale entry is
//! answered by a node that knows better.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bson::RawDocumentBuf;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use yunbase_consensus::{GroupId, NodeId};

use super::placement::{Candidate, Placement, place};
use super::records::{
    CLUSTER_ENV, EnvRecord, KeyRecord, NodeRecord, PublishedKey, RemovedNode, SettingsRecord,
};
use crate::call::{KeyDirectory, SecretKey};

/// One state of the cluster's metadata.
#[derive(Default)]
pub struct ClusterMap {
    /// Members by id.
    pub nodes: BTreeMap<NodeId, NodeRecord>,
    /// Nodes that were members and are never to be again.
    pub removed: BTreeSet<NodeId>,
    /// Group of each environment.
    pub environments: BTreeMap<String, GroupId>,
    /// When each environment was made, in milliseconds since 1970.
    pub environments_made_at_ms: HashMap<String, i64>,
    /// For each environment the keys that its users' access tokens may be signed with, oldest first.
    pub signing_keys: HashMap<String, Arc<[PublishedKey]>>,
    /// Keys by their public half.
    pub keys: HashMap<String, KeyRecord>,
    /// Cluster-wide settings; `None` until the cluster has been founded.
    pub settings: Option<SettingsRecord>,
    /// Where each group belongs, by group; computed from the members once, since every call asks.
    pub placements: Vec<Placement>,
}

impl ClusterMap {
    /// Builds a map from the documents of the cluster's collections.
    pub fn from_documents(
        nodes: &[RawDocumentBuf],
        removed: &[RawDocumentBuf],
        environments: &[RawDocumentBuf],
        keys: &[RawDocumentBuf],
        settings: &[RawDocumentBuf],
    ) -> Result<Self, String> {
        let environments = records::<EnvRecord>(environments)?;
        let mut map = Self {
            nodes: records::<NodeRecord>(nodes)?
                .into_iter()
                .map(|node| {
                    u64::try_from(node.id)
                        .map(|id| (id, node))
                        .map_err(|_| "negative node id".to_owned())
                })
                .collect::<Result<_, _>>()?,
            removed: records::<RemovedNode>(removed)?
                .into_iter()
                .filter_map(|node| u64::try_from(node.id).ok())
                .collect(),
            signing_keys: environments
                .iter()
                .filter(|env| !env.signing_keys.is_empty())
                .map(|env| {
                    let mut keys = env.signing_keys.clone();
                    keys.sort_by_key(|key| key.number);
                    (env.name.clone(), keys.into())
                })
                .collect(),
            environments_made_at_ms: environments
                .iter()
                .map(|env| (env.name.clone(), env.created_at_ms))
                .collect(),
            environments: environments
                .into_iter()
                .map(|env| {
                    let group = u32::try_from(env.group)
                        .map_err(|_| format!("environment {}: bad group", env.name))?;
                    Ok((env.name, GroupId(group)))
                })
                .collect::<Result<_, String>>()?,
            keys: records::<KeyRecord>(keys)?
                .into_iter()
                .map(|key| (key.id.clone(), key))
                .collect(),
            settings: records::<SettingsRecord>(settings)?.into_iter().next(),
            placements: Vec::new(),
        };
        map.place_groups();
        Ok(map)
    }

    /// Works out where each group belongs, after members or settings have changed.
    pub fn place_groups(&mut self) {
        let Some(settings) = &self.settings else {
            return;
        };
        let replicas = usize::try_from(settings.replicas).unwrap_or(1);
        let groups = u32::try_from(settings.groups).unwrap_or(0);
        let nodes = self.candidates();
        self.placements = (0..=groups)
            .map(|group| place(GroupId(group), &nodes, replicas))
            .collect();
    }

    /// Where a group belongs; `None` before the cluster has been founded.
    pub fn placement(&self, group: GroupId) -> Option<&Placement> {
        self.placements.get(group.0 as usize)
    }

    /// Whether a group belongs on a node. Before the cluster has been founded everything does.
    pub fn belongs(&self, group: GroupId, node: NodeId) -> bool {
        self.placement(group).is_none_or(|placement| {
            placement.voters.contains(&node) || placement.learners.contains(&node)
        })
    }

    /// The group that holds an environment.
    pub fn group_of(&self, env: &str) -> Option<GroupId> {
        if env == CLUSTER_ENV {
            Some(GroupId(0))
        } else {
            self.environments.get(env).copied()
        }
    }

    /// The members that groups are placed on: all but those that are leaving.
    pub fn candidates(&self) -> Vec<Candidate> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.leaving_since_ms.is_none())
            .map(|(id, node)| Candidate {
                id: *id,
                zone: node.zone.clone(),
            })
            .collect()
    }

    /// The data group with the fewest environments, the lowest of equals: where a new environment goes.
    pub fn emptiest_group(&self) -> GroupId {
        let groups = self.settings.as_ref().map_or(1, |settings| {
            u32::try_from(settings.groups).unwrap_or(1).max(1)
        });
        let load = |group: u32| {
            self.environments
                .values()
                .filter(|present| present.0 == group)
                .count()
        };
        GroupId(
            (1..=groups)
                .min_by_key(|group| (load(*group), *group))
                .unwrap_or(1),
        )
    }
}

fn records<T: DeserializeOwned>(documents: &[RawDocumentBuf]) -> Result<Vec<T>, String> {
    documents
        .iter()
        .map(|document| {
            bson::deserialize_from_slice(document.as_bytes())
                .map_err(|error| format!("a document of the cluster cannot be read: {error}"))
        })
        .collect()
}

/// The current map, shared by everything in the node.
#[derive(Clone)]
pub struct SharedMap {
    current: Arc<ArcSwap<ClusterMap>>,
    changes: watch::Sender<u64>,
    refreshes: Arc<Refreshes>,
}

/// Readings of the map: one at a time, so that an older one never replaces a newer one.
#[derive(Default)]
struct Refreshes {
    begun: AtomicU64,
    alone: Arc<tokio::sync::Mutex<()>>,
}

impl Default for SharedMap {
    fn default() -> Self {
        Self {
            current: Arc::new(ArcSwap::default()),
            changes: watch::Sender::new(0),
            refreshes: Arc::default(),
        }
    }
}

impl SharedMap {
    /// The map of this moment.
    pub fn get(&self) -> Arc<ClusterMap> {
        self.current.load_full()
    }

    /// Replaces the map.
    pub fn set(&self, map: ClusterMap) {
        self.current.store(Arc::new(map));
        self.changes.send_modify(|version| *version += 1);
    }

    /// Waits until the map may be read anew; `None` when that was done meanwhile, by one that began after the call.
    pub async fn begin_refresh(&self) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        let under_way = self.refreshes.begun.load(Ordering::Acquire);
        let alone = self.refreshes.alone.clone().lock_owned().await;
        if self.refreshes.begun.load(Ordering::Acquire) > under_way {
            return None;
        }
        self.refreshes.begun.fetch_add(1, Ordering::AcqRel);
        Some(alone)
    }

    /// Wakes up whenever the map has been replaced.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl KeyDirectory for SharedMap {
    fn find(&self, id: &str) -> Option<SecretKey> {
        let map = self.current.load();
        map.keys.get(id).map(|key| SecretKey {
            id: key.id.clone(),
            secret: key.secret.clone(),
            env: key.env.clone(),
            session_token: key.session_token.clone(),
            expires_at_ms: key.expires_at_ms,
        })
    }

    fn has_env(&self, env: &str) -> bool {
        self.current.load().group_of(env).is_some()
    }

    fn only_env(&self) -> Option<String> {
        let map = self.current.load();
        let mut names = map.environments.keys();
        match (names.next(), names.next()) {
            (Some(only), None) => Some(only.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_environment_goes_where_there_are_fewest() {
        let mut map = ClusterMap {
            settings: Some(SettingsRecord {
                id: "cluster".into(),
                cluster_id: "c".into(),
                groups: 3,
                replicas: 3,
                next_node_id: 2,
                join_secret: "s".into(),
                authority_certificate: String::new(),
                authority_key: String::new(),
            }),
            ..ClusterMap::default()
        };
        assert_eq!(map.emptiest_group(), GroupId(1));
        map.environments.insert("a".into(), GroupId(1));
        map.environments.insert("b".into(), GroupId(2));
        assert_eq!(map.emptiest_group(), GroupId(3));
        assert_eq!(map.group_of("b"), Some(GroupId(2)));
        assert_eq!(map.group_of(CLUSTER_ENV), Some(GroupId(0)));
        assert_eq!(map.group_of("nowhere"), None);
    }

    #[test]
    fn a_request_without_environment_means_the_only_one() {
        let shared = SharedMap::default();
        assert_eq!(shared.only_env(), None);
        for (name, only) in [("a", Some("a")), ("b", None)] {
            let mut environments = shared.get().environments.clone();
            environments.insert(name.into(), GroupId(1));
            shared.set(ClusterMap {
                environments,
                ..ClusterMap::default()
            });
            assert_eq!(shared.only_env().as_deref(), only);
        }
    }

    #[test]
    fn keys_are_permanent_unless_their_record_says_otherwise() {
        let permanent =
            bson::rawdoc! { "_id": "p", "secret": "s", "env": null, "created_at_ms": 0_i64 };
        let temporary = bson::rawdoc! { "_id": "t", "secret": "s", "env": "demo", "created_at_ms": 0_i64, "session_token": "x", "expires_at_ms": 5_i64 };
        let shared = SharedMap::default();
        shared.set(
            ClusterMap::from_documents(&[], &[], &[], &[permanent, temporary], &[])
                .expect("readable"),
        );
        let found = |id| {
            shared
                .find(id)
                .map(|key| (key.session_token, key.expires_at_ms))
        };
        assert_eq!(found("p"), Some((None, None)));
        assert_eq!(found("t"), Some((Some("x".to_owned()), Some(5))));
    }

    #[test]
    fn records_come_from_documents_and_damage_is_an_error() {
        let env = bson::rawdoc! { "_id": "demo", "group": 2_i64, "created_at_ms": 0_i64 };
        let map = ClusterMap::from_documents(&[], &[], &[env], &[], &[]).expect("readable");
        assert_eq!(map.group_of("demo"), Some(GroupId(2)));
        let damaged = bson::rawdoc! { "_id": "demo" };
        assert!(ClusterMap::from_documents(&[], &[], &[damaged], &[], &[]).is_err());
    }
}
