//! What a group refuses: too much at once, what the disk has no room for, and strangers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::time::Instant;
use yunbase_consensus::{
    ClusterId, DiskRoom, Group, GroupId, GrpcNetwork, Host, HostOptions, Lane, LogEngine,
    LogOptions, Parties, Peer, PeerError, PeerNetwork, PeerRequest, PeerResponse, ProposeError,
    ReadError, UnknownReason, plain_endpoints,
};

use crate::cluster::{CLUSTER, Cluster, soon};
use crate::kv::Kv;

/// Beyond the limit of what may be under way a proposal is refused at once; what was taken is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overload_is_refused_at_once() {
    let cluster = Cluster::start_with(3, 1, |options| {
        options.proposals.in_flight_max_commands = 10;
        options.proposals.command_max_bytes = 100;
    })
    .await;
    let group = GroupId(0);
    cluster.put(group, "a=1").await;
    let leader = cluster.leader(group).await;
    for node in 1..=3 {
        *cluster.state(node, group).apply_delay.lock().unwrap() = Duration::from_millis(200);
    }
    let leading = cluster.group(leader, group);
    settled(&leading).await;
    let proposals = (0..30).map(|number| {
        let leading = leading.clone();
        async move {
            leading
                .propose(Bytes::from(format!("k{number}=1")), soon())
                .await
        }
    });
    let outcomes = futures::future::join_all(proposals).await;
    let taken = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let refused = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(ProposeError::Overloaded { .. })))
        .count();
    assert_eq!((taken, refused), (10, 20));
    let large = leading.propose(Bytes::from(vec![b'x'; 101]), soon()).await;
    assert_eq!(
        large,
        Err(ProposeError::TooLarge {
            bytes: 101,
            max_bytes: 100
        })
    );
    settled(&leading).await;
}

/// A leader without room refuses commands, serves reads, and hands over when asked; with room it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_is_nearly_full_refuses_commands() {
    let cluster = Cluster::start(3, 1).await;
    let group = GroupId(0);
    cluster.put(group, "a=1").await;
    let leader = cluster.leader(group).await;
    let host = &cluster.nodes[&leader].host;
    let leading = cluster.group(leader, group);
    for room in [DiskRoom::Low, DiskRoom::Full] {
        host.set_disk_room(room);
        let refused = leading.propose(Bytes::from_static(b"b=1"), soon()).await;
        assert_eq!(refused, Err(ProposeError::DiskFull));
        leading.read_barrier(soon()).await.unwrap();
    }
    host.set_disk_room(DiskRoom::Enough);
    let done = leading.propose(Bytes::from_static(b"b=1"), soon()).await;
    assert!(done.is_ok());
    host.set_disk_room(DiskRoom::Low);
    host.hand_over(&[group]).await;
    let next = cluster.leader(group).await;
    assert_ne!(next, leader);
    cluster.put(group, "c=1").await;
    // It follows, and has what the others have.
    assert_eq!(cluster.converge(group).await.len(), 3);
}

/// A follower whose disk is full stores nothing, deposes nobody, and catches up when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_disk_is_full_waits_for_room() {
    let cluster = Cluster::start(3, 1).await;
    let group = GroupId(0);
    cluster.put(group, "a=1").await;
    cluster.converge(group).await;
    let leader = cluster.leader(group).await;
    let term = cluster.group(leader, group).status().leadership.term;
    let follower = 1 + leader % 3;
    let host = &cluster.nodes[&follower].host;
    host.set_disk_room(DiskRoom::Full);
    let following = cluster.group(follower, group);
    let before = following.status().last_log;
    for number in 0..20 {
        cluster.put(group, &format!("k{number}=1")).await;
    }
    // Longer than an election takes.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(following.status().last_log, before);
    let leading = cluster.group(leader, group);
    assert_eq!(leading.status().leadership.term, term);
    host.set_disk_room(DiskRoom::Enough);
    assert_eq!(cluster.converge(group).await.len(), 21);
    assert_eq!(leading.status().leadership.term, term);
}

/// Waits until nothing is under way: a proposal's place is given back a moment after its answer.
async fn settled(group: &Group) {
    let given_up = soon();
    loop {
        let metrics = group.metrics();
        if (metrics.in_flight_commands, metrics.in_flight_bytes) == (0, 0) {
            return;
        }
        assert!(Instant::now() < given_up, "still under way: {metrics:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A proposal that is not answered in time may have happened, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passed_deadline_leaves_the_outcome_unknown() {
    let cluster = Cluster::start(3, 1).await;
    let group = GroupId(0);
    cluster.put(group, "a=1").await;
    let leader = cluster.leader(group).await;
    *cluster.state(leader, group).apply_delay.lock().unwrap() = Duration::from_millis(300);
    let hasty = Instant::now() + Duration::from_millis(50);
    let outcome = cluster
        .group(leader, group)
        .propose(Bytes::from("b=1"), hasty)
        .await;
    assert_eq!(
        outcome,
        Err(ProposeError::Unknown {
            reason: UnknownReason::Deadline
        })
    );
    assert_eq!(cluster.converge(group).await, ["a=1", "b=1"]);
}

/// The network of a stranger, and how each of its requests ended.
struct Overheard {
    network: GrpcNetwork,
    endings: Arc<Mutex<Vec<Result<(), PeerError>>>>,
}

impl PeerNetwork for Overheard {
    fn call(
        &self,
        parties: Parties,
        address: &str,
        lane: Lane,
        request: PeerRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<PeerResponse, PeerError>> {
        let answer = self.network.call(parties, address, lane, request, timeout);
        let endings = self.endings.clone();
        Box::pin(async move {
            let answer = answer.await;
            let ending = answer.as_ref().map(|_| ()).map_err(Clone::clone);
            endings.lock().unwrap().push(ending);
            answer
        })
    }

    fn run_on(&self, runtime: Handle) {
        self.network.run_on(runtime);
    }
}

/// A node of another cluster, or one that is mistaken for another, gets no word with ours: not one of its requests
/// is answered, it is told why, and our group neither follows it nor holds anything of its.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused() {
    let cluster = Cluster::start(3, 1).await;
    let group = GroupId(0);
    cluster.put(group, "a=1").await;
    let dir = tempfile::tempdir().unwrap();
    // One claims another cluster, one addresses node 1 by the name of node 9.
    let other_cluster = ClusterId([8; 16]);
    for (name, cluster_id, first, reason) in [
        ("cluster", other_cluster, 1, "belongs to cluster"),
        ("node", CLUSTER, 9, "this is node 1, not 9"),
    ] {
        let log = LogEngine::open(&dir.path().join(name), LogOptions::default()).unwrap();
        let endings = Arc::default();
        let network = Arc::new(Overheard {
            network: GrpcNetwork::new(plain_endpoints()),
            endings: Arc::clone(&endings),
        });
        let options = HostOptions::new(
            7,
            cluster_id,
            network,
            dir.path().join(format!("{name}-snapshots")),
        );
        let host = Host::start(options, log).unwrap();
        let state = Arc::new(Kv::open(&dir.path().join(format!("{name}-state"))));
        let stranger = host.open_group(group, state.clone()).await.unwrap();
        let members = [
            (
                7,
                Peer {
                    address: "127.0.0.1:1".to_owned(),
                },
            ),
            (first, cluster.peer(1)),
        ];
        stranger.bootstrap(members.into()).await.unwrap();
        let read = stranger
            .read_barrier(Instant::now() + Duration::from_millis(2500))
            .await;
        assert!(
            matches!(read, Err(ReadError::Unavailable { .. })),
            "{name}: {read:?}"
        );
        assert!(!stranger.watch_leader().borrow().here);
        assert_eq!(state.content().applied, [""; 0], "{name} learned of ours");

        let endings = std::mem::take(&mut *endings.lock().unwrap());
        assert!(
            endings.iter().all(Result::is_err),
            "{name} got a word: {endings:?}"
        );
        // While a pause lasts after a refusal, requests do not leave and name what the refusal said.
        let told = |ending: &Result<(), PeerError>| matches!(ending, Err(error) if error.to_string().contains(reason));
        assert!(
            endings.iter().any(told),
            "{name} was not told why: {endings:?}"
        );
    }
    cluster.put(group, "a=2").await;
    assert_eq!(cluster.converge(group).await, ["a=1", "a=2"]);
    for node in cluster.nodes.keys() {
        let members = cluster.group(*node, group).status().members;
        assert_eq!(members.voters, [1, 2, 3].into(), "node {node}");
    }
}
