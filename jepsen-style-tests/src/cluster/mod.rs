//! A cluster under test: real `yunbase serve` processes, each a host of its own, with everything that is needed to break
//! them and to put things right again.
//!
//! | what | file |
//! |---|---|
//! | how it shall be | `options` |
//! | founding it, adding nodes | `founding` |
//! | killing, pausing, restarting nodes | `control` |
//! | asking it how it is | `asking`, `status`, `http` |
//! | one node, its process | `node`, `process` |
//! | its network: namespaces and the switch between them | `namespace`, `switch` |
//! | its disks | `disks` |
//! | I/O errors and clocks | `shim` |
//! | its control group | `memory` |
//! | cleaning up, whatever happens | `undo` |
//!
//! Nodes are numbered from 1, in the order in which their hosts joined. A host keeps its number when its node is replaced
//! by another, of another id.

mod asking;
mod control;
mod disks;
mod error;
mod founding;
mod http;
mod memory;
mod namespace;
#[cfg(test)]
mod network_test;
mod node;
mod options;
mod process;
mod shim;
mod status;
mod switch;
mod sys;
mod undo;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;

pub use control::{Freeze, ShimOf};
pub use error::ClusterError;
pub(crate) use error::While;
pub use memory::{MemoryGroup, memory_groups};
pub use options::{ClusterOptions, Mode};
pub use shim::{Calls, Shim};
pub use status::{Group, Member, Replica, ReplicaDigest, Status};
pub use switch::{CLIENTS, Counters, Effect, EffectId, Link, Links};
pub use undo::{Action, ProcessId, Ticket, Undo};

use namespace::Namespace;
use node::Node;
use switch::Switch;

/// A running cluster. Dropped, it ends and cleans up after itself; its files stay.
#[derive(Debug)]
pub struct Cluster {
    options: ClusterOptions,
    nodes: RwLock<Vec<Arc<Node>>>,
    /// Where the clients are, if they are a host of their own.
    clients: Option<Arc<Namespace>>,
    switch: Option<Switch>,
    shim: Option<PathBuf>,
    secret_key: String,
    undo: Arc<Undo>,
}

impl Cluster {
    /// How it was started.
    pub fn options(&self) -> &ClusterOptions {
        &self.options
    }

    /// How many nodes there are, dead ones included.
    pub fn size(&self) -> usize {
        self.nodes.read().len()
    }

    /// The numbers of all nodes.
    pub fn numbers(&self) -> Vec<usize> {
        (1..=self.size()).collect()
    }

    /// Where node `k` serves clients.
    pub fn url(&self, k: usize) -> Result<String, ClusterError> {
        Ok(format!("http://{}", self.node(k)?.http))
    }

    /// Where all nodes do, in order.
    pub fn urls(&self) -> Vec<String> {
        let nodes = self.nodes.read();
        nodes
            .iter()
            .map(|node| format!("http://{}", node.http))
            .collect()
    }

    /// The environment to use.
    pub fn env(&self) -> &'static str {
        founding::ENV
    }

    /// Public half of the key to use.
    pub fn secret_id(&self) -> &'static str {
        founding::SECRET_ID
    }

    /// Secret half of it.
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// The durable state of node `k`.
    pub fn data_dir(&self, k: usize) -> Result<PathBuf, ClusterError> {
        Ok(self.node(k)?.data())
    }

    /// What node `k` prints.
    pub fn log(&self, k: usize) -> Result<PathBuf, ClusterError> {
        Ok(self.node(k)?.log())
    }

    /// The network between the hosts.
    pub fn links(&self) -> Result<&Links, ClusterError> {
        match &self.switch {
            Some(switch) => Ok(switch.links()),
            None => Err(ClusterError::NotAvailable(
                "there is no network of its own in loopback mode; run as root".to_owned(),
            )),
        }
    }

    /// TCP segments with a wrong checksum that node `k` has received, by its kernel's count.
    pub fn checksum_errors(&self, k: usize) -> Result<u64, ClusterError> {
        match &self.node(k)?.namespace {
            Some(namespace) => namespace
                .checksum_errors()
                .during(|| format!("read the network counters of node {k}")),
            None => Err(ClusterError::NotAvailable(
                "the node has no network of its own".to_owned(),
            )),
        }
    }

    /// What has to be undone at the end: a fault writes itself down here first.
    pub fn undo(&self) -> &Undo {
        &self.undo
    }

    /// A runtime whose threads are on the clients' host: everything that speaks to nodes has to run on it. What
    /// `block_on` is given runs on the calling thread, which is not one of them: spawn inside.
    pub fn client_runtime(&self) -> io::Result<tokio::runtime::Runtime> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.enable_all().thread_name("client");
        if let Some(clients) = self.clients.clone() {
            builder.on_thread_start(move || {
                // A client on the wrong host would speak to nobody; better none at all.
                clients.enter().expect("enter the clients' namespace");
            });
        }
        builder.build()
    }

    fn node(&self, k: usize) -> Result<Arc<Node>, ClusterError> {
        let nodes = self.nodes.read();
        k.checked_sub(1)
            .and_then(|index| nodes.get(index))
            .cloned()
            .ok_or_else(|| ClusterError::Refused(format!("there is no node {k}")))
    }

    fn all(&self) -> Vec<Arc<Node>> {
        self.nodes.read().clone()
    }

    /// Does something that blocks on a thread of the clients' host.
    async fn on_clients<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<R> + Send + 'static,
    ) -> io::Result<R> {
        let clients = self.clients.clone();
        tokio::task::spawn_blocking(move || match clients {
            Some(clients) => clients.run(work),
            None => work(),
        })
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Paused and frozen processes too: the table ends freezes before it kills.
        self.undo.run_all();
        // They are gone; this takes away the zombies.
        for node in self.all() {
            let _ = node.with_process(&self.undo, |process| {
                process.wait(control::DEATH_MAX, &self.undo)
            });
        }
    }
}
