//! A healthy cluster: commands reach all members, reads on any member see what was acknowledged.

use bytes::Bytes;
use yunbase_consensus::{GroupId, ProposeError};

use crate::cluster::{Cluster, soon};

/// Every member of every group applies the same commands in the same order, and each command gets
/// its own reply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_reach_all_members_of_several_groups() {
    let cluster = Cluster::start(3, 3).await;
    for group in cluster.groups.clone() {
        let first = cluster.put(group, "a=1").await;
        let second = cluster.put(group, "a=2").await;
        assert_eq!(first.reply, Bytes::new());
        assert_eq!(second.reply, Bytes::from("1"));
        assert!(second.log_index > first.log_index);
        assert_eq!(cluster.converge(group).await, ["a=1", "a=2"]);
    }
}

/// A read on a follower sees a write that was acknowledged before the read began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_on_any_member_sees_every_acknowledged_write() {
    let cluster = Cluster::start(3, 1).await;
    let group = GroupId(0);
    for round in 0..50 {
        let written = cluster.put(group, &format!("k={round}")).await;
        for node in 1..=3 {
            let applied = cluster
                .group(node, group)
                .read_barrier(soon())
                .await
                .unwrap();
            assert!(applied >= written.log_index);
            assert_eq!(
                cluster.state(node, group).get("k"),
                Some(round.to_string()),
                "node {node}"
            );
        }
    }
}

/// A follower takes no commands and names the leader with its address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_refuses_and_names_the_leader() {
    let cluster = Cluster::start(3, 1).await;
    let group = GroupId(0);
    cluster.put(group, "a=1").await;
    let leader = cluster.leader(group).await;
    let follower = 1 + leader % 3;
    cluster
        .group(follower, group)
        .read_barrier(soon())
        .await
        .unwrap();
    let refused = cluster
        .group(follower, group)
        .propose(Bytes::from("b=1"), soon())
        .await;
    assert_eq!(
        refused,
        Err(ProposeError::NotLeader {
            leader: Some((leader, cluster.peer(leader)))
        })
    );
}
