//! Whom to ask about a group that does not live on this node: its leader as others named it, else its voters in
//! turn, until one answers or names the leader.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use yunbase_consensus::{GroupId, NodeId};

use crate::cluster::map::ClusterMap;

/// What other nodes said about leaders.
#[derive(Default)]
pub struct LeaderHints {
    named: Mutex<HashMap<GroupId, NodeId>>,
    turn: AtomicUsize,
}

impl LeaderHints {
    /// The node to ask about `group` from node `own`, whose replica takes `known` for the leader.
    ///
    /// A member waits for the election when it knows none. A replica that the group has moved away from is asked, but not
    /// believed: nobody tells it of later leaders, so it would name the one that it last heard of for ever.
    pub fn whom_to_ask(
        &self,
        group: GroupId,
        own: NodeId,
        lives_here: bool,
        known: Option<NodeId>,
        map: &ClusterMap,
    ) -> Option<NodeId> {
        match lives_here {
            true => known.filter(|leader| *leader != own),
            false => self.candidate(group, own, known, map),
        }
    }

    fn candidate(
        &self,
        group: GroupId,
        own: NodeId,
        known: Option<NodeId>,
        map: &ClusterMap,
    ) -> Option<NodeId> {
        let named = self.named.lock().get(&group).copied();
        if let Some(named) = named.filter(|named| *named != own) {
            return Some(named);
        }
        let voters = &map.placement(group)?.voters;
        // While the group moves, those that shall have it may not know of it yet.
        let known = known.filter(|known| !voters.contains(known));
        let others = voters.iter().copied().chain(known);
        let others: Vec<NodeId> = others.filter(|node| *node != own).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        others.get(turn.checked_rem(others.len())?).copied()
    }

    /// Takes note of an answer: the leader that it named, or that the one asked is of no use now.
    pub fn learn(&self, group: GroupId, leader: Option<NodeId>) {
        let mut named = self.named.lock();
        match leader {
            Some(leader) => named.insert(group, leader),
            None => named.remove(&group),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::records::{NodeRecord, SettingsRecord};

    #[test]
    fn voters_are_asked_in_turn_until_one_names_the_leader() {
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
        let settings = SettingsRecord {
            id: "cluster".into(),
            cluster_id: String::new(),
            groups: 1,
            replicas: 3,
            next_node_id: 4,
            join_secret: String::new(),
            authority_certificate: String::new(),
            authority_key: String::new(),
        };
        let mut map = ClusterMap {
            nodes: (1..=3).map(|id| (id as NodeId, node(id))).collect(),
            settings: Some(settings),
            ..ClusterMap::default()
        };
        map.place_groups();
        let hints = LeaderHints::default();
        let asked: Vec<_> = (0..4)
            .filter_map(|_| hints.candidate(GroupId(1), 3, None, &map))
            .collect();
        assert_eq!(asked, [1, 2, 1, 2], "never itself");
        hints.learn(GroupId(1), Some(2));
        assert_eq!(hints.candidate(GroupId(1), 3, None, &map), Some(2));
        hints.learn(GroupId(1), None);
        assert_eq!(hints.candidate(GroupId(1), 3, None, &map), Some(1));
        assert_eq!(
            hints.candidate(GroupId(1), 3, None, &ClusterMap::default()),
            None
        );

        // What the replica of a group that has moved away last heard counts for nothing; a member's does.
        hints.learn(GroupId(1), Some(2));
        let ask = |lives_here, known| hints.whom_to_ask(GroupId(1), 3, lives_here, known, &map);
        assert_eq!(ask(false, Some(1)), Some(2));
        hints.learn(GroupId(1), None);
        let asked: std::collections::BTreeSet<_> = (0..3).map(|_| ask(false, Some(9))).collect();
        assert_eq!(asked, [Some(1), Some(2), Some(9)].into(), "all in turn");
        assert_eq!(ask(true, Some(1)), Some(1));
        assert_eq!(ask(true, None), None, "it waits for the election");
        assert_eq!(ask(true, Some(3)), None);
    }
}
