//! Taking a node out of the cluster, dead or alive.
//!
//! It is marked as leaving first: placement leaves it out from then on, so that the leader of each group hands its part to
//! others, step by step (`reconcile`). When no group has it for a member any more, the leader of group 0 puts a record in
//! the place of the node's that shuts its id and its disk out for good. Both marks are commits, so that whoever dies in
//! between, it goes on; and only one node leaves at a time, or two planners might take away a majority together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use yunbase_consensus::{GroupId, NodeId};

use super::changes::{Changes, Kept};
use super::inspect::{Statements, best_views, own_views_of_leaders};
use super::map::{ClusterMap, SharedMap};
use super::placement::{Candidate, place, voters_to_be};
use super::records::{NODES, NodeRecord, REMOVED_NODES, RemovedNode};
use super::store::ClusterStore;
use crate::audit::Entry;
use crate::call::Failure;
use crate::router::Router;
use crate::surface::peer::PeerCalls;

/// Pause between looks whether a leaving node has left, on the leader of group 0.
const PAUSE: Duration = Duration::from_millis(300);

/// Why a node is not taken out. Nothing has happened.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// There is no such node.
    #[error("there is no node {node}")]
    Unknown {
        /// The node.
        node: NodeId,
    },
    /// It is the only one.
    #[error("node {node} is the last node: without it there is no cluster")]
    LastNode {
        /// The node.
        node: NodeId,
    },
    /// Another node is being taken out, or the members have changed at this moment.
    #[error("another change of members is under way: {what}; try again when it is done")]
    UnderWay {
        /// The other change.
        what: String,
    },
    /// Too few voters of a group answer, now or then.
    #[error(
        "without node {node} group {group} would lose its quorum: of its voters {voters:?} only {alive:?} answer; start or replace those that do not, first"
    )]
    WouldLoseQuorum {
        /// The node.
        node: NodeId,
        /// The group.
        group: GroupId,
        /// Its voters with the node, or, where these have a majority, without it.
        voters: BTreeSet<NodeId>,
        /// Those of them that answer.
        alive: BTreeSet<NodeId>,
    },
    /// Who would have to take over does not answer.
    #[error(
        "node {substitute} would have to take the place of node {node} in group {group} and does not answer: start it, or remove it first"
    )]
    NoSubstitute {
        /// The node.
        node: NodeId,
        /// The group.
        group: GroupId,
        /// Who would take over.
        substitute: NodeId,
    },
    /// Nobody tells who the members of a group are.
    #[error("group {group} has no leader at this moment; try again later")]
    NoLeader {
        /// The group.
        group: GroupId,
    },
    /// The cluster's documents could not be read or written.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// How far a removal has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// It is possible; nothing has been done.
    Possible,
    /// It goes on: these groups still have the node.
    Leaving(BTreeSet<GroupId>),
    /// It is done.
    Removed,
}

/// Whether a node can be taken out as things are. `nodes` are the cluster's, `statements` what they say now.
pub fn check(
    map: &ClusterMap,
    nodes: &BTreeMap<NodeId, NodeRecord>,
    statements: &Statements,
    node: NodeId,
) -> Result<(), RemovalError> {
    if !nodes.contains_key(&node) {
        return Err(RemovalError::Unknown { node });
    }
    let answers = |id: &NodeId| statements.get(id).is_some_and(Option::is_some);
    let leaving = nodes
        .iter()
        .find(|(id, record)| record.leaving_since_ms.is_some() && **id != node);
    // What a leaving node hands over may wait for a dead one: that one may go too, or neither ever would.
    if let Some((other, _)) = leaving
        && answers(&node)
    {
        let what = format!("node {other} is being removed");
        return Err(RemovalError::UnderWay { what });
    }
    let staying: Vec<Candidate> = nodes
        .iter()
        .filter(|(id, record)| **id != node && record.leaving_since_ms.is_none())
        .map(|(id, record)| Candidate {
            id: *id,
            zone: record.zone.clone(),
        })
        .collect();
    if staying.is_empty() {
        return Err(RemovalError::LastNode { node });
    }
    let replicas = map.settings.as_ref().map_or(1, |settings| {
        usize::try_from(settings.replicas).unwrap_or(1)
    });
    let views = best_views(statements);
    for group in (0..u32::try_from(map.placements.len()).unwrap_or(u32::MAX)).map(GroupId) {
        let Some(view) = views.get(&group.0) else {
            return Err(RemovalError::NoLeader { group });
        };
        let now: BTreeSet<NodeId> = view.voters.iter().copied().collect();
        let then = voters_to_be(&place(group, &staying, replicas), &now);
        // Both majorities must agree to the change.
        for voters in [&now, &then] {
            let alive: BTreeSet<NodeId> = voters.iter().copied().filter(answers).collect();
            if alive.len() * 2 <= voters.len() {
                return Err(RemovalError::WouldLoseQuorum {
                    node,
                    group,
                    voters: voters.clone(),
                    alive,
                });
            }
        }
        if let Some(substitute) = then.difference(&now).find(|id| !answers(id)) {
            return Err(RemovalError::NoSubstitute {
                node,
                group,
                substitute: *substitute,
            });
        }
    }
    Ok(())
}

/// Begins to take a node out, or tells how far that has come: asking again is how to follow it. Nothing is done on a
/// dry run. `entry` goes into the audit log by the same commit.
pub async fn remove(
    store: &ClusterStore,
    map: &ClusterMap,
    peers: &PeerCalls,
    node: NodeId,
    now_ms: i64,
    entry: Option<Entry>,
) -> Result<Removal, RemovalError> {
    let id = i64::try_from(node).map_err(|_| RemovalError::Unknown { node })?;
    let gone = store.kept::<RemovedNode>(REMOVED_NODES, bson::doc! { "_id": id });
    if !gone.await?.is_empty() {
        return Ok(Removal::Removed);
    }
    let records: Vec<Kept<NodeRecord>> = store.kept(NODES, bson::doc! {}).await?;
    let nodes: BTreeMap<NodeId, NodeRecord> = records
        .iter()
        .filter_map(|kept| Some((u64::try_from(kept.record.id).ok()?, kept.record.clone())))
        .collect();
    let statements = peers.inspect_all().await;
    let mut record = match nodes.get(&node) {
        Some(record) if record.leaving_since_ms.is_some() => {
            return Ok(Removal::Leaving(remaining(map, &statements, node)));
        }
        Some(record) => record.clone(),
        None => return Err(RemovalError::Unknown { node }),
    };
    check(map, &nodes, &statements, node)?;
    let Some(entry) = entry else {
        return Ok(Removal::Possible);
    };
    record.leaving_since_ms = Some(now_ms);
    let mut changes = Changes::default();
    for kept in &records {
        // A node that joins, moves or leaves meanwhile makes the judgement above void.
        changes.expect(NODES, kept)?;
    }
    changes.put_numbered(NODES, id, &record)?;
    changes.tell(entry);
    if !store.commit(changes).await? {
        let what = "the nodes have changed at this moment".to_owned();
        return Err(RemovalError::UnderWay { what });
    }
    tracing::info!(node, "a node is being removed from the cluster");
    Ok(Removal::Leaving(remaining(map, &statements, node)))
}

/// The groups that still have a node, or of which no leader says that they have not.
fn remaining(map: &ClusterMap, statements: &Statements, node: NodeId) -> BTreeSet<GroupId> {
    let views = own_views_of_leaders(statements);
    (0..u32::try_from(map.placements.len()).unwrap_or(u32::MAX))
        .filter(|group| {
            views
                .get(group)
                .is_none_or(|view| view.voters.contains(&node) || view.learners.contains(&node))
        })
        .map(GroupId)
        .collect()
}

/// Ends removals, on the leader of group 0, until `stop` says so.
pub async fn run(
    router: Arc<Router>,
    map: SharedMap,
    peers: Arc<PeerCalls>,
    store: ClusterStore,
    now_ms: fn() -> i64,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = stop.wait_for(|stopping| *stopping) => return,
        }
        let current = map.get();
        let leaving: Vec<NodeId> = current
            .nodes
            .iter()
            .filter(|(_, record)| record.leaving_since_ms.is_some())
            .map(|(id, _)| *id)
            .collect();
        let leads = router
            .group(GroupId(0))
            .is_some_and(|group| group.is_leader());
        if leaving.is_empty() || current.placements.is_empty() || !leads {
            continue;
        }
        let statements = peers.inspect_all().await;
        for node in leaving {
            if !remaining(&current, &statements, node).is_empty() {
                continue;
            }
            match finish(&store, node, now_ms()).await {
                Ok(true) => tracing::info!(node, "a node was removed from the cluster"),
                // Another leader was faster, or will be.
                Ok(false) => {}
                Err(failure) => tracing::debug!(node, %failure, "end a removal"),
            }
        }
    }
}

async fn finish(store: &ClusterStore, node: NodeId, now_ms: i64) -> Result<bool, Failure> {
    let Ok(id) = i64::try_from(node) else {
        return Ok(false);
    };
    let found: Vec<Kept<NodeRecord>> = store.kept(NODES, bson::doc! { "_id": id }).await?;
    let Some(kept) = found.first() else {
        return Ok(false);
    };
    let removed = RemovedNode {
        id,
        disk_id: kept.record.disk_id.clone(),
        removed_at_ms: now_ms,
    };
    let mut changes = Changes::default();
    changes.expect(NODES, kept)?;
    changes.remove_numbered(NODES, id);
    changes.add_numbered(REMOVED_NODES, id, &removed)?;
    store.commit(changes).await
}

#[cfg(test)]
#[path = "removal_test.rs"]
mod tests;
