//! A member that was away comes back to the same state, from the log or from a snapshot.

use yunbase_consensus::GroupId;

use crate::cluster::{Cluster, soon};

/// What was written while a follower was dead reaches it from the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_catches_up_from_the_log() {
    let mut cluster = Cluster::start(3, 1).await;
    let group = GroupId(0);
    cluster.put(group, "before=1").await;
    let follower = 1 + cluster.leader(group).await % 3;
    cluster.kill(follower).await;
    for number in 0..100 {
        cluster.put(group, &format!("k{number}={number}")).await;
    }
    cluster.start_node(follower).await;
    assert_eq!(cluster.converge(group).await.len(), 101);
    assert_eq!(
        cluster
            .group(follower, group)
            .metrics()
            .snapshot_bytes_received,
        0
    );
}

/// A follower that comes back with an older log than its leader knows it to have had is sent what it
/// lacks, by the same leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_log_went_back_catches_up_again() {
    let mut cluster = Cluster::start(3, 1).await;
    let group = GroupId(0);
    cluster.put(group, "before=1").await;
    let leader = cluster.leader(group).await;
    let follower = 1 + leader % 3;
    cluster.kill(follower).await;
    cluster.back_up(follower);
    cluster.start_node(follower).await;
    for number in 0..100 {
        cluster.put(group, &format!("k{number}={number}")).await;
    }
    assert_eq!(cluster.converge(group).await.len(), 101);
    let leading = cluster.group(leader, group);
    let last = leading.status().last_log;
    until(|| leading.status().followers[&follower].matched == last).await;

    cluster.kill(follower).await;
    cluster.restore(follower);
    cluster.start_node(follower).await;
    assert_eq!(cluster.converge(group).await.len(), 101);
    cluster.put(group, "after=1").await;
    assert_eq!(cluster.converge(group).await.len(), 102);
    assert_eq!(cluster.leader(group).await, leader);
}

/// When the log it lacks is purged, it gets a snapshot and goes on from there; a restart after that
/// keeps what it got.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_catches_up_from_a_snapshot() {
    let mut cluster = Cluster::start(3, 1).await;
    let group = GroupId(0);
    cluster.put(group, "before=1").await;
    let leader = cluster.leader(group).await;
    let follower = 1 + leader % 3;
    cluster.kill(follower).await;
    let large = "x".repeat(200_000);
    for number in 0..20 {
        cluster
            .put(group, &format!("k{number}={number}{large}"))
            .await;
    }
    let leading = cluster.group(leader, group);
    let applied = leading.read_barrier(soon()).await.unwrap();
    leading.trigger_snapshot().await.unwrap();
    until(|| leading.status().snapshot == Some(applied)).await;
    leading.purge_log(applied).await.unwrap();
    until(|| leading.status().purged == Some(applied)).await;

    cluster.start_node(follower).await;
    cluster.put(group, "after=1").await;
    assert_eq!(cluster.converge(group).await.len(), 22);
    assert!(
        cluster
            .group(follower, group)
            .metrics()
            .snapshot_bytes_received
            > 4_000_000
    );

    cluster.kill(follower).await;
    cluster.start_node(follower).await;
    cluster.put(group, "again=1").await;
    assert_eq!(cluster.converge(group).await.len(), 23);
    assert_eq!(
        cluster
            .group(follower, group)
            .metrics()
            .snapshot_bytes_received,
        0
    );
}

/// All members at once, without a goodbye: what was acknowledged is in the synced logs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_cluster_comes_back_from_its_logs() {
    let mut cluster = Cluster::start(3, 2).await;
    for group in cluster.groups.clone() {
        for number in 0..20 {
            cluster.put(group, &format!("k{number}={number}")).await;
        }
    }
    for node in 1..=3 {
        cluster.kill(node).await;
    }
    for node in 1..=3 {
        cluster.start_node(node).await;
    }
    for group in cluster.groups.clone() {
        assert_eq!(cluster.converge(group).await.len(), 20);
    }
}

async fn until(mut reached: impl FnMut() -> bool) {
    let deadline = soon();
    while !reached() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not reached in time"
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
