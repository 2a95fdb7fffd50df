//! Partitions and bad networks, simulated in memory. Each case prints its seed on failure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use yunbase_consensus::{
    Barrier, Group, GroupId, Host, HostOptions, LogEngine, LogOptions, NodeId, Peer, ProposeError,
    RaftOptions, RaftRuntime, SimFaults, SimNetwork,
};

use crate::cluster::{CLUSTER, test_raft};
use crate::kv::Kv;

const GROUP: GroupId = GroupId(0);

struct Sim {
    network: SimNetwork,
    groups: BTreeMap<NodeId, Group>,
    states: BTreeMap<NodeId, Arc<Kv>>,
    _hosts: Vec<Host>,
}

impl Sim {
    async fn start(seed: u64, dir: &Path) -> Self {
        let network = SimNetwork::new(seed, SimFaults::default());
        let (mut groups, mut states, mut hosts) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for node in 1..=3 {
            let log = LogEngine::in_memory(Arc::default(), &LogOptions::default()).unwrap();
            let folder = dir.join(node.to_string());
            let mut options = HostOptions::new(
                node,
                CLUSTER,
                Arc::new(network.clone()),
                folder.join("snapshots"),
            );
            options.runtime = RaftRuntime::Current;
            // A lost append is noticed by its time-out only.
            options.raft = RaftOptions {
                append_timeout: Duration::from_millis(200),
                ..test_raft()
            };
            let host = Host::start(options, log).unwrap();
            network.attach(node, host.peer_handler());
            let state = Arc::new(Kv::open(&folder.join("state")));
            groups.insert(node, host.open_group(GROUP, state.clone()).await.unwrap());
            states.insert(node, state);
            hosts.push(host);
        }
        groups[&1]
            .bootstrap((1..=3).map(|node| (node, Peer::default())).collect())
            .await
            .unwrap();
        Self {
            network,
            groups,
            states,
            _hosts: hosts,
        }
    }

    /// A leader among `nodes` that its peers there agree on.
    async fn leader(&self, nodes: &[NodeId]) -> NodeId {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            for node in nodes {
                let leads = self.groups[node].watch_leader().borrow().here;
                let agreed = nodes.iter().all(|other| {
                    let leader = self.groups[other].watch_leader().borrow().leader.clone();
                    leader.is_some_and(|(leader, _)| leader == *node)
                });
                if leads && agreed {
                    return *node;
                }
            }
            assert!(Instant::now() < deadline, "no leader among {nodes:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn propose(
        &self,
        node: NodeId,
        command: &str,
        wait: Duration,
    ) -> Result<(), ProposeError> {
        let payload = Bytes::copy_from_slice(command.as_bytes());
        self.groups[&node]
            .propose(payload, Instant::now() + wait)
            .await
            .map(drop)
    }
}

/// A leader that is cut off neither commits nor serves a read, by quorum or by lease once that has run
/// out; the majority goes on under another leader; after healing all have the same, including what
/// the majority acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_neither_commits_nor_reads() {
    let cases = (1..=3).map(|seed| async move {
        eprintln!("seed {seed}");
        let dir = tempfile::tempdir().unwrap();
        let sim = Sim::start(seed, dir.path()).await;
        // On a busy machine the first leader may be deposed before it has done anything.
        let old = loop {
            let leader = sim.leader(&[1, 2, 3]).await;
            match sim.propose(leader, "a=1", Duration::from_secs(5)).await {
                Ok(_) => break leader,
                Err(ProposeError::NotLeader { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        };

        sim.network.partition(&BTreeSet::from([old]));
        // A lease outlives the cut by its length at most, and grants reads until then.
        let lease = test_raft().election_max;
        let cut = Instant::now();
        let lost = sim.propose(old, "lost=1", 3 * lease);
        let stale = sim.groups[&old].read_barrier_by(Barrier::Quorum, cut + 3 * lease);
        let (lost, stale) = tokio::join!(lost, stale);
        assert!(
            matches!(lost, Err(ProposeError::Unknown { .. })),
            "{lost:?}"
        );
        assert!(stale.is_err(), "{stale:?}");
        let leased = sim.groups[&old]
            .read_barrier_by(Barrier::Lease, Instant::now() + lease)
            .await;
        assert!(leased.is_err(), "{leased:?}");
        let others: Vec<NodeId> = (1..=3).filter(|node| *node != old).collect();
        let new = sim.leader(&others).await;
        sim.propose(new, "b=1", Duration::from_secs(5))
            .await
            .unwrap();

        sim.network.heal();
        sim.leader(&[1, 2, 3]).await;
        let deadline = Instant::now() + Duration::from_secs(20);
        for node in 1..=3 {
            sim.groups[&node].read_barrier(deadline).await.unwrap();
            assert_eq!(
                sim.states[&node].content().applied,
                ["a=1", "b=1"],
                "seed {seed} node {node}"
            );
        }
    });
    futures::future::join_all(cases).await;
}

/// A network that loses, repeats and reorders messages slows the group down but loses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_network_loses_nothing() {
    let cases = (1..=3).map(|seed| async move {
        eprintln!("seed {seed}");
        let dir = tempfile::tempdir().unwrap();
        let sim = Sim::start(seed, dir.path()).await;
        sim.leader(&[1, 2, 3]).await;
        let bad = SimFaults {
            delay_max: Duration::from_millis(30),
            loss: 0.05,
            repeat: 0.1,
            ..SimFaults::default()
        };
        sim.network.set_faults(bad);
        let mut acknowledged = Vec::new();
        for number in 0..40 {
            let command = format!("k{number}={number}");
            for node in 1..=3 {
                if sim
                    .propose(node, &command, Duration::from_secs(5))
                    .await
                    .is_ok()
                {
                    acknowledged.push(command.clone());
                    break;
                }
            }
        }
        sim.network.set_faults(SimFaults::default());
        let deadline = Instant::now() + Duration::from_secs(30);
        assert!(
            acknowledged.len() >= 20,
            "only {} acknowledged",
            acknowledged.len()
        );
        for node in 1..=3 {
            sim.groups[&node].read_barrier(deadline).await.unwrap();
            let applied = sim.states[&node].content().applied;
            for command in &acknowledged {
                assert!(
                    applied.contains(command),
                    "seed {seed}: node {node} lacks {command}"
                );
            }
        }
    });
    futures::future::join_all(cases).await;
}
