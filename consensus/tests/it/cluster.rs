//! Several hosts in one process over loopback gRPC, that can be killed and started again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::server::TcpIncoming;
use yunbase_consensus::{
    ClusterId, Group, GroupId, GrpcNetwork, Host, HostOptions, LogEngine, LogOptions, NodeId, Peer,
    ProposeError, Proposed, RaftOptions, plain_endpoints,
};

use crate::kv::Kv;

pub const CLUSTER: ClusterId = ClusterId([7; 16]);

/// Shorter than in production, so that elections do not dominate the tests, and long enough for a busy machine.
pub fn test_raft() -> RaftOptions {
    RaftOptions {
        heartbeat: Duration::from_millis(100),
        election_min: Duration::from_millis(300),
        election_max: Duration::from_millis(600),
        ..RaftOptions::default()
    }
}

pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

pub struct Node {
    pub host: Host,
    pub log: LogEngine,
    pub states: BTreeMap<GroupId, Arc<Kv>>,
    server: JoinHandle<()>,
}

pub struct Cluster {
    dir: tempfile::TempDir,
    pub groups: Vec<GroupId>,
    pub addresses: BTreeMap<NodeId, SocketAddr>,
    pub nodes: BTreeMap<NodeId, Node>,
    tune: Box<dyn Fn(&mut HostOptions) + Send + Sync>,
}

impl Cluster {
    /// Starts `nodes` hosts with `groups` groups each, all of them members.
    pub async fn start(nodes: NodeId, groups: u32) -> Self {
        Self::start_with(nodes, groups, |_| {}).await
    }

    pub async fn start_with(
        nodes: NodeId,
        groups: u32,
        tune: impl Fn(&mut HostOptions) + Send + Sync + 'static,
    ) -> Self {
        let mut cluster = Self {
            dir: tempfile::tempdir().unwrap(),
            groups: (0..groups).map(GroupId).collect(),
            addresses: BTreeMap::new(),
            nodes: BTreeMap::new(),
            tune: Box::new(tune),
        };
        for node in 1..=nodes {
            cluster.start_node(node).await;
        }
        let members: BTreeMap<NodeId, Peer> =
            (1..=nodes).map(|node| (node, cluster.peer(node))).collect();
        for (number, id) in cluster.groups.iter().enumerate() {
            // Spread the first leaders.
            let node = 1 + number as u64 % nodes;
            cluster
                .group(node, *id)
                .bootstrap(members.clone())
                .await
                .unwrap();
        }
        cluster
    }

    pub fn peer(&self, node: NodeId) -> Peer {
        Peer {
            address: self.addresses[&node].to_string(),
        }
    }

    fn node_dir(&self, node: NodeId) -> PathBuf {
        self.dir.path().join(format!("node{node}"))
    }

    /// Keeps a copy of what a dead node has on disk.
    pub fn back_up(&self, node: NodeId) {
        copy_folder(&self.node_dir(node), &self.backup_dir(node));
    }

    /// Puts that copy in the place of what a dead node has on disk.
    pub fn restore(&self, node: NodeId) {
        std::fs::remove_dir_all(self.node_dir(node)).unwrap();
        copy_folder(&self.backup_dir(node), &self.node_dir(node));
    }

    fn backup_dir(&self, node: NodeId) -> PathBuf {
        self.dir.path().join(format!("backup{node}"))
    }

    /// Starts a node, or starts it again on what it had on disk.
    pub async fn start_node(&mut self, node: NodeId) {
        let address = self
            .addresses
            .get(&node)
            .copied()
            .unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
        let listener = TcpListener::bind(address).await.unwrap();
        self.addresses.insert(node, listener.local_addr().unwrap());
        let dir = self.node_dir(node);
        std::fs::create_dir_all(&dir).unwrap();
        let log = open_log(&dir.join("log")).await;
        let network = Arc::new(GrpcNetwork::new(plain_endpoints()));
        let mut options = HostOptions::new(node, CLUSTER, network, dir.join("snapshots"));
        options.raft = test_raft();
        (self.tune)(&mut options);
        let host = Host::start(options, log.clone()).unwrap();
        let mut states = BTreeMap::new();
        for group in &self.groups {
            let state = Arc::new(Kv::open(&dir.join(format!("state{}", group.0))));
            states.insert(*group, state.clone());
            host.open_group(*group, state).await.unwrap();
        }
        // An answer that waits for a delayed acknowledgement costs 40 ms.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let service = host.peer_service();
        let server = host.runtime().spawn(async move {
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        self.nodes.insert(
            node,
            Node {
                host,
                log,
                states,
                server,
            },
        );
    }

    /// Ends a node without any goodbye: what was not flushed is lost, what was not answered stays open.
    pub async fn kill(&mut self, node: NodeId) {
        let node = self.nodes.remove(&node).unwrap();
        node.server.abort();
        for group in node.host.groups() {
            node.host.close_group(group.id()).await;
        }
        node.log.close().await.unwrap();
    }

    pub fn group(&self, node: NodeId, group: GroupId) -> Group {
        self.nodes[&node].host.group(group).unwrap()
    }

    pub fn state(&self, node: NodeId, group: GroupId) -> Arc<Kv> {
        self.nodes[&node].states[&group].clone()
    }

    /// Waits until the living nodes agree on a leader among them.
    pub async fn leader(&self, group: GroupId) -> NodeId {
        let deadline = soon();
        loop {
            for (node, running) in &self.nodes {
                let leadership = running
                    .host
                    .group(group)
                    .unwrap()
                    .watch_leader()
                    .borrow()
                    .clone();
                if leadership.here {
                    return *node;
                }
            }
            assert!(Instant::now() < deadline, "no leader of {group}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Proposes through the leader; a command that was not taken is tried again.
    pub async fn put(&self, group: GroupId, command: &str) -> Proposed {
        let deadline = soon();
        loop {
            let leader = self.leader(group).await;
            let payload = Bytes::copy_from_slice(command.as_bytes());
            match self.group(leader, group).propose(payload, deadline).await {
                Ok(proposed) => return proposed,
                Err(ProposeError::NotLeader { .. }) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{command}: {error}"),
            }
        }
    }

    /// Waits until all living nodes have applied the same, and returns it.
    pub async fn converge(&self, group: GroupId) -> Vec<String> {
        let deadline = soon();
        loop {
            let leader = self.leader(group).await;
            self.group(leader, group)
                .read_barrier(deadline)
                .await
                .unwrap();
            let expected = self.state(leader, group).content().applied;
            let equal = self
                .nodes
                .keys()
                .all(|node| self.state(*node, group).content().applied == expected);
            if equal {
                return expected;
            }
            assert!(Instant::now() < deadline, "{group} does not converge");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The database of a killed node stays locked until its last task is gone.
async fn open_log(dir: &Path) -> LogEngine {
    let deadline = soon();
    loop {
        let path = dir.to_owned();
        let opened =
            tokio::task::spawn_blocking(move || LogEngine::open(&path, LogOptions::default()))
                .await
                .unwrap();
        match opened {
            Ok(log) => return log,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let to = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy_folder(&item.path(), &to);
        } else {
            std::fs::copy(item.path(), to).unwrap();
        }
    }
}
