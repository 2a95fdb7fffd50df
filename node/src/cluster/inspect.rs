//! What a node says of itself, and the picture of the cluster that these statements make together.

use std::collections::{BTreeMap, BTreeSet};

use yunbase_client::proto::{ChunksStatus, GroupStatus, NodeStatus, ReplicaStatus, StatusResponse};

use super::map::ClusterMap;
use crate::peer_proto::{ChunksReport, InspectResponse, Replica};

/// Whoever knows this node's own state.
pub trait Inspect: Send + Sync + 'static {
    /// This node's statement.
    fn inspect(&self) -> InspectResponse;
}

/// What the nodes say, by node; `None` of one that does not answer.
pub type Statements = BTreeMap<u64, Option<InspectResponse>>;

/// Of each group the statement to believe: that of the latest term, and a leader's own before a follower's.
pub fn best_views(statements: &Statements) -> BTreeMap<u32, &Replica> {
    let best = believed(statements).into_iter();
    best.map(|(group, (_, view))| (group, view)).collect()
}

/// Of each group what its leader itself says, as far as nobody knows of a later term.
pub fn own_views_of_leaders(statements: &Statements) -> BTreeMap<u32, &Replica> {
    let best = believed(statements).into_iter();
    best.filter(|(_, (node, view))| view.leader == *node)
        .map(|(group, (_, view))| (group, view))
        .collect()
}

/// Of each group the statement to believe, and whose it is.
fn believed(statements: &Statements) -> BTreeMap<u32, (u64, &Replica)> {
    let rank = |node: u64, view: &Replica| (view.term, view.leader == node, view.committed);
    let mut best: BTreeMap<u32, (u64, &Replica)> = BTreeMap::new();
    for (node, statement) in statements {
        for replica in statement.iter().flat_map(|statement| &statement.replicas) {
            let known = best.entry(replica.group).or_insert((*node, replica));
            if rank(*node, replica) > rank(known.0, known.1) {
                *known = (*node, replica);
            }
        }
    }
    best
}

/// Puts the statements of all nodes (`None` = not reachable) together.
pub fn assemble(map: &ClusterMap, statements: &Statements) -> StatusResponse {
    let reachable: BTreeSet<u64> = statements
        .iter()
        .filter(|(_, statement)| statement.is_some())
        .map(|(node, _)| *node)
        .collect();
    let mut views: BTreeMap<u32, BTreeMap<u64, &Replica>> = BTreeMap::new();
    for (node, statement) in statements {
        for replica in statement.iter().flat_map(|statement| &statement.replicas) {
            views
                .entry(replica.group)
                .or_default()
                .insert(*node, replica);
        }
    }
    let groups: Vec<GroupStatus> = views
        .iter()
        .map(|(id, views)| group_status(map, *id, views, &reachable))
        .collect();
    let nodes = map.nodes.iter().map(|(id, node)| {
        let statement = statements.get(id).and_then(Option::as_ref);
        NodeStatus {
            id: *id,
            http_address: node.http_address.clone(),
            peer_address: node.peer_address.clone(),
            zone: node.zone.clone(),
            reachable: statement.is_some(),
            version: statement
                .map(|statement| statement.version.clone())
                .unwrap_or_default(),
            uptime_s: statement.map_or(0, |statement| statement.uptime_s),
            resident_bytes: statement.map_or(0, |statement| statement.resident_bytes),
            groups_led: groups.iter().filter(|group| group.leader == *id).count() as u32,
            leaving: node.leaving_since_ms.is_some(),
            chunks: statement
                .and_then(|statement| statement.chunks.clone())
                .map(chunks_status),
        }
    });
    let nodes: Vec<NodeStatus> = nodes.collect();
    let (healthy, sentence) = judge(&nodes, &groups);
    let cluster_id = map
        .settings
        .as_ref()
        .map(|settings| settings.cluster_id.clone())
        .unwrap_or_default();
    StatusResponse {
        cluster_id,
        healthy,
        sentence,
        nodes,
        groups,
    }
}

fn chunks_status(report: ChunksReport) -> ChunksStatus {
    ChunksStatus {
        chunks: report.chunks,
        plain_bytes: report.plain_bytes,
        stored_bytes: report.stored_bytes,
        free_bytes: report.free_bytes,
        total_bytes: report.total_bytes,
        damaged_chunks: report.damaged_chunks,
        missing_copies: report.missing_copies,
        repaired_copies: report.repaired_copies,
        audits: report.audits,
        audited_files: report.audited_files,
        lost_chunks: report.lost_chunks,
        problems: report.problems,
    }
}

fn group_status(
    map: &ClusterMap,
    id: u32,
    views: &BTreeMap<u64, &Replica>,
    reachable: &BTreeSet<u64>,
) -> GroupStatus {
    // The view of the latest term is the one to believe; a leader's own before a follower's.
    let best = views
        .iter()
        .max_by_key(|(node, view)| (view.term, view.leader == **node, view.committed));
    let Some((_, best)) = best else {
        return GroupStatus {
            id,
            ..GroupStatus::default()
        };
    };
    let leader = if reachable.contains(&best.leader) {
        best.leader
    } else {
        0
    };
    let committed = views.values().map(|view| view.committed).max().unwrap_or(0);
    let replica = |node: &u64, voter: bool| {
        let applied = views.get(node).map_or(0, |view| view.applied);
        ReplicaStatus {
            node: *node,
            voter,
            reachable: reachable.contains(node),
            applied,
            lag: committed.saturating_sub(applied),
        }
    };
    let replicas = best
        .voters
        .iter()
        .map(|node| replica(node, true))
        .chain(best.learners.iter().map(|node| replica(node, false)))
        .collect();
    let environments = map
        .environments
        .iter()
        .filter(|(_, group)| group.0 == id)
        .map(|(name, _)| name.clone())
        .collect();
    GroupStatus {
        id,
        leader,
        term: best.term,
        committed,
        replicas,
        environments,
    }
}

fn judge(nodes: &[NodeStatus], groups: &[GroupStatus]) -> (bool, String) {
    let down: Vec<String> = nodes
        .iter()
        .filter(|node| !node.reachable)
        .map(|node| node.id.to_string())
        .collect();
    let without_quorum: Vec<String> = groups
        .iter()
        .filter(|group| {
            let voters: Vec<_> = group
                .replicas
                .iter()
                .filter(|replica| replica.voter)
                .collect();
            voters.iter().filter(|replica| replica.reachable).count() * 2 <= voters.len()
        })
        .map(|group| group.id.to_string())
        .collect();
    let leaderless = groups.iter().filter(|group| group.leader == 0).count();
    let sentence = if !without_quorum.is_empty() {
        format!(
            "unavailable: groups {} have lost their quorum; start nodes {}",
            without_quorum.join(", "),
            down.join(", ")
        )
    } else if leaderless > 0 {
        format!(
            "electing: {leaderless} of {} groups have no leader at this moment",
            groups.len()
        )
    } else if !down.is_empty() {
        format!(
            "degraded: nodes {} are not reachable; all groups serve, with fewer copies",
            down.join(", ")
        )
    } else if let Some(sentence) = judge_chunks(nodes) {
        sentence
    } else {
        format!(
            "healthy: {} nodes, {} groups, all with a leader",
            nodes.len(),
            groups.len()
        )
    };
    (without_quorum.is_empty() && leaderless == 0, sentence)
}

/// What is wrong with files although all nodes are there.
fn judge_chunks(nodes: &[NodeStatus]) -> Option<String> {
    let with = |wrong: fn(&ChunksStatus) -> bool| -> Vec<String> {
        nodes
            .iter()
            .filter(|node| node.chunks.as_ref().is_some_and(wrong))
            .map(|node| node.id.to_string())
            .collect()
    };
    let lost = nodes.iter().filter_map(|node| node.chunks.as_ref());
    let lost: u64 = lost.map(|chunks| chunks.lost_chunks).sum();
    let failed = with(|chunks| !chunks.problems.is_empty());
    let missing = with(|chunks| chunks.missing_copies > 0 || chunks.damaged_chunks > 0);
    if lost > 0 {
        return Some(format!(
            "damaged: {lost} chunks of files have no intact copy; `yunbase storage verify` names the files"
        ));
    }
    if !failed.is_empty() {
        return Some(format!(
            "degraded: disks for files of nodes {} take nothing new; all groups serve",
            failed.join(", ")
        ));
    }
    if !missing.is_empty() {
        return Some(
            "repairing: some chunks of files have fewer copies than they should; all groups serve"
                .to_owned(),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::records::NodeRecord;

    fn statement(leader: u64) -> InspectResponse {
        let replica = Replica {
            group: 1,
            term: 3,
            leader,
            committed: 9,
            applied: 7,
            voters: vec![1, 2, 3],
            learners: vec![],
        };
        InspectResponse {
            version: "0".into(),
            uptime_s: 1,
            resident_bytes: 1,
            replicas: vec![replica],
            chunks: None,
        }
    }

    fn map() -> ClusterMap {
        let node = |id: i64| NodeRecord {
            id,
            disk_id: String::new(),
            peer_address: String::new(),
            http_address: String::new(),
            zone: String::new(),
            joined_at_ms: 0,
            leaving_since_ms: None,
            storage_weight: None,
            chunk_disks: Vec::new(),
        };
        ClusterMap {
            nodes: (1..=3).map(|id| (id as u64, node(id))).collect(),
            ..ClusterMap::default()
        }
    }

    #[test]
    fn the_sentence_says_how_it_is() {
        let all = BTreeMap::from([
            (1, Some(statement(1))),
            (2, Some(statement(1))),
            (3, Some(statement(1))),
        ]);
        let status = assemble(&map(), &all);
        assert!(
            status.healthy && status.sentence.starts_with("healthy"),
            "{}",
            status.sentence
        );
        assert_eq!(status.groups[0].replicas[0].lag, 2);

        let one_down =
            BTreeMap::from([(1, Some(statement(1))), (2, Some(statement(1))), (3, None)]);
        let status = assemble(&map(), &one_down);
        assert!(
            status.healthy && status.sentence.starts_with("degraded: nodes 3"),
            "{}",
            status.sentence
        );

        let leader_down =
            BTreeMap::from([(1, None), (2, Some(statement(1))), (3, Some(statement(1)))]);
        assert!(
            assemble(&map(), &leader_down)
                .sentence
                .starts_with("electing")
        );

        let two_down = BTreeMap::from([(1, Some(statement(1))), (2, None), (3, None)]);
        let status = assemble(&map(), &two_down);
        assert!(
            !status.healthy && status.sentence.starts_with("unavailable"),
            "{}",
            status.sentence
        );
    }
}
