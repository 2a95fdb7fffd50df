//! A leader that dies or hands over: service comes back, and nothing acknowledged is lost.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use yunbase_consensus::{GroupId, ProposeError};

use crate::cluster::{Cluster, soon};

/// Writers go on while the leader is killed, twice. Every acknowledged command is there afterwards on
/// all living members, each once, and those of one writer in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_leaders_die() {
    let mut cluster = Cluster::start(3, 2).await;
    let group = GroupId(1);
    let mut acknowledged = Vec::new();
    for round in 0..2 {
        let leader = cluster.leader(group).await;
        let leading = cluster.group(leader, group);
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let leading = leading.clone();
                tokio::spawn(async move {
                    let mut acknowledged = Vec::new();
                    for number in 0.. {
                        let command = format!("{round}-{writer}-{number}={number}");
                        match leading.propose(Bytes::from(command.clone()), soon()).await {
                            Ok(_) => acknowledged.push(command),
                            Err(ProposeError::Overloaded { .. }) => {}
                            Err(_) => break,
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(150)).await;
        cluster.kill(leader).await;
        for writer in writers {
            acknowledged.extend(writer.await.unwrap());
        }
        drop(leading);
        let began = Instant::now();
        cluster.put(group, &format!("after-{round}=1")).await;
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "back after {:?}",
            began.elapsed()
        );
        cluster.start_node(leader).await;
    }
    let applied = cluster.converge(group).await;
    assert!(
        acknowledged.len() > 100,
        "only {} commands were acknowledged",
        acknowledged.len()
    );
    for command in &acknowledged {
        let times = applied.iter().filter(|applied| *applied == command).count();
        assert_eq!(
            times,
            1,
            "{command} of {} applied {times} times",
            acknowledged.len()
        );
    }
}

/// Leadership moves to the member that is asked for, and writes go on there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_on_request() {
    let cluster = Cluster::start(3, 1).await;
    let group = GroupId(0);
    cluster.put(group, "a=1").await;
    let leader = cluster.leader(group).await;
    let next = 1 + leader % 3;
    cluster
        .group(leader, group)
        .transfer_leader(next, soon())
        .await
        .unwrap();
    let mut leadership = cluster.group(next, group).watch_leader();
    tokio::time::timeout_at(soon(), leadership.wait_for(|now| now.here))
        .await
        .unwrap()
        .unwrap();
    cluster.put(group, "a=2").await;
    assert_eq!(cluster.converge(group).await, ["a=1", "a=2"]);
}

/// A host that shuts down hands over first, so the group is without a leader for a moment only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_hands_leadership_over() {
    let mut cluster = Cluster::start(3, 3).await;
    for group in cluster.groups.clone() {
        cluster.put(group, "a=1").await;
    }
    let leaving = cluster.leader(GroupId(0)).await;
    let node = cluster.nodes.remove(&leaving).unwrap();
    node.host.shutdown().await.unwrap();
    let began = Instant::now();
    for group in cluster.groups.clone() {
        cluster.put(group, "a=2").await;
    }
    assert!(
        began.elapsed() < Duration::from_millis(900),
        "back after {:?}",
        began.elapsed()
    );
}
