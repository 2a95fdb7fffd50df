//! When a node may be taken out, and when not.

use super::super::records::SettingsRecord;
use super::*;
use crate::peer_proto::{InspectResponse, Replica};

/// Nodes 1 to `count`, one data group beside group 0, three copies; all members of all groups up to the fifth.
struct Picture {
    map: ClusterMap,
    statements: Statements,
}

fn picture(count: u64, voters: &[u64]) -> Picture {
    let record = |id: u64| NodeRecord {
        id: id as i64,
        disk_id: String::new(),
        peer_address: String::new(),
        http_address: String::new(),
        zone: String::new(),
        joined_at_ms: 0,
        leaving_since_ms: None,
        storage_weight: None,
        chunk_disks: Vec::new(),
    };
    let mut map = ClusterMap {
        nodes: (1..=count).map(|id| (id, record(id))).collect(),
        settings: Some(SettingsRecord {
            id: "cluster".into(),
            cluster_id: "c".into(),
            groups: 1,
            replicas: 3,
            next_node_id: count as i64 + 1,
            join_secret: "s".into(),
            authority_certificate: String::new(),
            authority_key: String::new(),
        }),
        ..ClusterMap::default()
    };
    map.place_groups();
    let replica = |group| Replica {
        group,
        term: 3,
        leader: voters[0],
        committed: 9,
        applied: 9,
        voters: voters.to_vec(),
        learners: (1..=count).filter(|id| !voters.contains(id)).collect(),
    };
    let statement = || InspectResponse {
        replicas: vec![replica(0), replica(1)],
        ..InspectResponse::default()
    };
    let statements = (1..=count).map(|id| (id, Some(statement()))).collect();
    Picture { map, statements }
}

impl Picture {
    fn without(mut self, dead: &[u64]) -> Self {
        for node in dead {
            self.statements.insert(*node, None);
        }
        self
    }

    fn leaving(mut self, node: u64) -> Self {
        self.map.nodes.get_mut(&node).unwrap().leaving_since_ms = Some(1);
        self
    }

    fn check(&self, node: u64) -> Result<(), RemovalError> {
        check(&self.map, &self.map.nodes, &self.statements, node)
    }
}

#[test]
fn any_node_of_a_well_cluster_may_go_and_the_last_may_not() {
    for (count, voters) in [(2, &[1, 2][..]), (3, &[1, 2, 3]), (5, &[1, 2, 3, 4, 5])] {
        for node in 1..=count {
            let checked = picture(count, voters).check(node);
            assert!(checked.is_ok(), "{node} of {count}: {checked:?}");
        }
    }
    let last = picture(1, &[1]).check(1);
    assert!(matches!(last, Err(RemovalError::LastNode { node: 1 })));
    let unknown = picture(3, &[1, 2, 3]).check(7);
    assert!(matches!(unknown, Err(RemovalError::Unknown { node: 7 })));
}

#[test]
fn a_dead_node_may_go_and_a_living_one_that_its_group_needs_may_not() {
    let one_down = || picture(3, &[1, 2, 3]).without(&[2]);
    assert!(one_down().check(2).is_ok());
    for node in [1, 3] {
        let refused = one_down().check(node);
        assert!(
            matches!(refused, Err(RemovalError::WouldLoseQuorum { .. })),
            "{refused:?}"
        );
    }
    // Without a majority nothing can be changed any more, whoever is to go.
    for node in 1..=3 {
        let refused = picture(3, &[1, 2, 3]).without(&[2, 3]).check(node);
        assert!(
            matches!(refused, Err(RemovalError::WouldLoseQuorum { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn a_dead_node_cannot_take_over() {
    // With node 3 gone, three of four stay, and all of them have to vote.
    let refused = picture(4, &[1, 2, 3]).without(&[4]).check(3);
    assert!(
        matches!(
            refused,
            Err(RemovalError::NoSubstitute { substitute: 4, .. })
        ),
        "{refused:?}"
    );
    assert!(picture(4, &[1, 2, 3]).without(&[4]).check(4).is_ok());
}

#[test]
fn one_leaves_at_a_time_unless_the_other_is_dead() {
    let busy = || picture(5, &[1, 2, 3]).leaving(3);
    let refused = busy().check(5);
    assert!(
        matches!(refused, Err(RemovalError::UnderWay { .. })),
        "{refused:?}"
    );
    let dead = busy().without(&[5]).check(5);
    assert!(dead.is_ok(), "{dead:?}");
}

#[test]
fn it_has_left_when_every_leader_says_so() {
    let mut picture = picture(3, &[1, 2]);
    let of = |picture: &Picture, node| remaining(&picture.map, &picture.statements, node).len();
    assert_eq!(of(&picture, 3), 2);
    for statement in picture.statements.values_mut().flatten() {
        for replica in &mut statement.replicas {
            replica.learners.clear();
        }
    }
    assert_eq!(of(&picture, 3), 0);
    let picture = picture.without(&[1]);
    assert_eq!(of(&picture, 3), 2, "nobody but the leader knows");
}
