//! Members come and go, one change at a time, each based on the membership its author saw.

use std::collections::BTreeSet;

use yunbase_consensus::{GroupId, MembershipError, Peer};

use crate::cluster::{Cluster, soon};

/// A learner joins, is promoted, and another member is removed; a change based on an old membership
/// is refused and changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_join_are_promoted_and_leave() {
    let mut cluster = Cluster::start(3, 1).await;
    let group = GroupId(0);
    cluster.put(group, "a=1").await;
    cluster.start_node(4).await;
    let leader = cluster.leader(group).await;
    let leading = cluster.group(leader, group);
    let before = leading.status().members;
    assert_eq!(before.voters, BTreeSet::from([1, 2, 3]));

    let joined = leading
        .add_learner(4, cluster.peer(4), before.version, soon())
        .await
        .unwrap();
    assert_eq!(joined.learners, BTreeSet::from([4]));
    let stale = leading.promote([4].into(), before.version, soon()).await;
    assert_eq!(
        stale,
        Err(MembershipError::Conflict {
            expected: before.version,
            found: joined.version
        })
    );
    assert_eq!(leading.status().members, joined);

    let promoted = leading
        .promote([4].into(), joined.version, soon())
        .await
        .unwrap();
    assert_eq!(promoted.voters, BTreeSet::from([1, 2, 3, 4]));
    assert!(!promoted.changing);

    let leaving = 1 + leader % 3;
    let smaller = leading
        .remove(leaving, promoted.version, soon())
        .await
        .unwrap();
    assert!(!smaller.voters.contains(&leaving) && !smaller.peers.contains_key(&leaving));
    cluster.kill(leaving).await;
    cluster.put(group, "a=2").await;
    assert_eq!(cluster.converge(group).await, ["a=1", "a=2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_changes_are_refused() {
    let cluster = Cluster::start(3, 1).await;
    let group = GroupId(0);
    cluster.put(group, "a=1").await;
    let leader = cluster.leader(group).await;
    let leading = cluster.group(leader, group);
    let version = leading.status().members.version;
    let unknown = leading.promote([9].into(), version, soon()).await;
    assert_eq!(unknown, Err(MembershipError::UnknownMember { node: 9 }));
    let again = leading.bootstrap([(1, Peer::default())].into()).await;
    assert_eq!(again, Err(MembershipError::AlreadyBootstrapped));
    let follower = 1 + leader % 3;
    cluster
        .group(follower, group)
        .read_barrier(soon())
        .await
        .unwrap();
    let refused = cluster
        .group(follower, group)
        .remove(leader, version, soon())
        .await;
    assert!(
        matches!(refused, Err(MembershipError::NotLeader { leader: Some((hint, _)) }) if hint == leader)
    );
    assert_eq!(leading.status().members.version, version);
}
