//! Founding a cluster as an operator does: the first node bootstraps, the others join with a token of it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use rand::SeedableRng as _;
use rand::distr::{Alphanumeric, SampleString as _};
use rand::rngs::StdRng;

use super::error::{ClusterError, While as _};
use super::namespace::{CLIENT, NODES_MAX, Namespace};
use super::node::Node;
use super::options::{ClusterOptions, Mode};
use super::switch::{CLIENTS, Switch};
use super::undo::Undo;
use super::{Cluster, shim};

/// The environment of every cluster here.
pub(super) const ENV: &str = "demo";
/// Public half of its key.
pub(super) const SECRET_ID: &str = "AKIDchaos";
/// Longest a node may take to be ready for the first time, on a busy machine.
const READY_MAX: Duration = Duration::from_secs(90);
/// Longest the replicas may take to be where they belong.
const PLACED_MAX: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(25);

impl Cluster {
    /// Starts a cluster and waits until all of it is ready.
    pub async fn start(options: ClusterOptions) -> Result<Arc<Self>, ClusterError> {
        check(&options)?;
        let undo = Undo::begin(&options.run_id).during(|| "begin the undo table".to_owned())?;
        std::fs::create_dir_all(&options.folder)
            .during(|| format!("create {}", options.folder.display()))?;
        let shim = match options.shim {
            true => Some(shim::compile(&options.folder)?),
            false => None,
        };
        let (switch, clients) = match options.mode {
            Mode::Namespaces => {
                let (switch, clients) = network(options.seed)?;
                (Some(switch), Some(Arc::new(clients)))
            }
            Mode::Loopback => (None, None),
        };
        let cluster = Arc::new(Self {
            secret_key: Alphanumeric.sample_string(&mut StdRng::from_os_rng(), 24),
            options,
            nodes: RwLock::default(),
            clients,
            switch,
            shim,
            undo,
        });
        cluster.found().await?;
        Ok(cluster)
    }

    async fn found(&self) -> Result<(), ClusterError> {
        let more = format!(
            "bootstrap = true\nbootstrap_env = {ENV:?}\nbootstrap_secret_id = {SECRET_ID:?}\n\
             bootstrap_secret_key = {:?}\nreplicas = {}\n{}",
            self.secret_key, self.options.nodes, self.options.configuration
        );
        self.create_node(&more)?;
        self.wait_ready(1, READY_MAX).await?;
        for _ in 1..self.options.nodes {
            self.join_node().await?;
        }
        for k in self.numbers() {
            self.wait_ready(k, READY_MAX).await?;
        }
        self.wait_placed().await
    }

    /// Adds a node that joins by a token of the cluster, and waits until it is a member; returns its number.
    pub async fn join_node(&self) -> Result<usize, ClusterError> {
        let more = self.to_join().await?;
        let node = self.create_node(&more)?;
        self.joined(&node).await?;
        Ok(node.number)
    }

    /// Lets host `k`, whose node is dead and shall be no more, join as a new node with an empty disk.
    pub async fn rejoin(&self, k: usize) -> Result<(), ClusterError> {
        let node = self.node(k)?;
        if node.process(&self.undo).is_some() {
            return Err(ClusterError::Refused(format!(
                "node {k} runs on the disk that is to be wiped"
            )));
        }
        let data = node.data();
        if data.exists() {
            std::fs::remove_dir_all(&data).during(|| format!("wipe {}", data.display()))?;
        }
        let more = self.to_join().await?;
        node.configure(&more)?;
        node.start(&self.options, &self.undo)?;
        self.joined(&node).await
    }

    /// The lines of a configuration file that let a node join.
    async fn to_join(&self) -> Result<String, ClusterError> {
        let through = self
            .leader()
            .await
            .or_else(|| self.numbers().into_iter().find(|k| self.is_running(*k)))
            .ok_or_else(|| ClusterError::Cluster("has no running node to join".to_owned()))?;
        let token = self.operate(through, &["cluster", "token"]).await?;
        Ok(format!(
            "bootstrap = false\njoin = \"{}\"\njoin_token = {token:?}\n{}",
            self.node(through)?.peer,
            self.options.configuration
        ))
    }

    async fn joined(&self, node: &Node) -> Result<(), ClusterError> {
        // Ids are given in the order of joining: the next may only come when this one has its own.
        let identity = node.data().join("identity");
        let given_up = Instant::now() + READY_MAX;
        while !identity.exists() {
            if node.process(&self.undo).is_none() || Instant::now() > given_up {
                return Err(node.error("did not join the cluster"));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn create_node(&self, configuration: &str) -> Result<Arc<Node>, ClusterError> {
        let mut nodes = self.nodes.write();
        let number = nodes.len() + 1;
        if number > NODES_MAX {
            return Err(ClusterError::Refused(format!(
                "a cluster here has at most {NODES_MAX} nodes"
            )));
        }
        let node = Node::create(
            number,
            &self.options.folder,
            self.options.mode,
            self.options.disk_images,
            self.shim.as_deref(),
            self.switch.as_ref(),
            &self.undo,
        )?;
        node.configure(configuration)?;
        node.start(&self.options, &self.undo)?;
        nodes.push(node.clone());
        Ok(node)
    }

    /// Waits until every group has a voter on every node, and a leader.
    async fn wait_placed(&self) -> Result<(), ClusterError> {
        let given_up = Instant::now() + PLACED_MAX;
        loop {
            let placed = self.status().await.and_then(|status| {
                let is_placed = |group: &super::Group| {
                    group.leader.is_some() && group.voters().len() == self.options.nodes
                };
                match status.healthy && status.groups.iter().all(is_placed) {
                    true => Ok(()),
                    false => Err(ClusterError::Cluster(format!(
                        "has not placed its replicas after {PLACED_MAX:?}: {}",
                        status.sentence
                    ))),
                }
            });
            match placed {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > given_up => return Err(error),
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }
}

/// Refuses what cannot work, and what is not ours.
fn check(options: &ClusterOptions) -> Result<(), ClusterError> {
    let refuse = |why: String| Err(ClusterError::Refused(why));
    if ![1, 3, 5].contains(&options.nodes) {
        return refuse(format!("{} nodes; start 1, 3 or 5", options.nodes));
    }
    if !options.binary.is_file() {
        return refuse(format!("{} is not a program", options.binary.display()));
    }
    let is_plain = |character: char| character.is_ascii_alphanumeric() || character == '-';
    if options.run_id.is_empty() || !options.run_id.chars().all(is_plain) {
        return refuse("a run's id has letters, digits and `-`".to_owned());
    }
    if !options.folder.is_absolute() {
        return refuse("name the folder by its full path".to_owned());
    }
    if has_nodes(&options.folder) {
        return refuse(format!(
            "{} holds a cluster already; choose an empty folder",
            options.folder.display()
        ));
    }
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root && (options.mode == Mode::Namespaces || options.disk_images) {
        return Err(ClusterError::NotAvailable(
            "network namespaces and disk images need root".to_owned(),
        ));
    }
    Ok(())
}

fn has_nodes(folder: &Path) -> bool {
    (1..=NODES_MAX).any(|k| folder.join(format!("node{k}")).exists())
}

/// The switch, and the clients' host plugged into it.
fn network(seed: u64) -> Result<(Switch, Namespace), ClusterError> {
    let switch = Switch::start(seed).during(|| "start the switch".to_owned())?;
    let clients = Namespace::create().during(|| "make a network namespace".to_owned())?;
    let tap = clients
        .connect(CLIENT)
        .during(|| "connect the clients' host".to_owned())?;
    switch.plug(CLIENTS, tap);
    Ok((switch, clients))
}
