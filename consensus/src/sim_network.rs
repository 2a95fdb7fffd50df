//! A network in memory that delays, loses, repeats and cuts off, all by one seed: for tests under a
//! paused clock and for simulation. It promises no order, as a network that reconnects does not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::peer_network::{
    Lane, Parties, PeerError, PeerHandler, PeerNetwork, PeerRequest, PeerResponse,
};
use crate::types::NodeId;

/// What the simulated network does to messages.
#[derive(Debug, Clone)]
pub struct SimFaults {
    /// Shortest time one way.
    pub delay_min: Duration,
    /// Longest time one way. Unequal delays change the order.
    pub delay_max: Duration,
    /// Chance of each message to be lost, requests and answers alike.
    pub loss: f64,
    /// Chance of a request to arrive twice.
    pub repeat: f64,
}

impl Default for SimFaults {
    fn default() -> Self {
        Self {
            delay_min: Duration::from_micros(100),
            delay_max: Duration::from_millis(2),
            loss: 0.0,
            repeat: 0.0,
        }
    }
}

/// The network that all simulated hosts share. Clones are the same network.
#[derive(Clone)]
pub struct SimNetwork {
    inner: Arc<Mutex<Sim>>,
}

struct Sim {
    random: StdRng,
    faults: SimFaults,
    hosts: BTreeMap<NodeId, Arc<dyn PeerHandler>>,
    /// Directed pairs between which nothing passes.
    cut: BTreeSet<(NodeId, NodeId)>,
}

impl SimNetwork {
    /// A network whose every decision follows from `seed` and the order of messages.
    pub fn new(seed: u64, faults: SimFaults) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self {
            inner: Arc::new(Mutex::new(Sim {
                random,
                faults,
                hosts: BTreeMap::new(),
                cut: BTreeSet::new(),
            })),
        }
    }

    /// Lets a host hear.
    pub fn attach(&self, node: NodeId, handler: Arc<dyn PeerHandler>) {
        self.inner.lock().hosts.insert(node, handler);
    }

    /// Makes a host deaf, as if its process had ended.
    pub fn detach(&self, node: NodeId) {
        self.inner.lock().hosts.remove(&node);
    }

    /// Changes what happens to messages from now on.
    pub fn set_faults(&self, faults: SimFaults) {
        self.inner.lock().faults = faults;
    }

    /// Cuts the nodes of `side` off from all others, both ways, until [`Self::heal`].
    pub fn partition(&self, side: &BTreeSet<NodeId>) {
        let mut sim = self.inner.lock();
        let others: Vec<NodeId> = sim
            .hosts
            .keys()
            .copied()
            .filter(|node| !side.contains(node))
            .collect();
        for inside in side {
            for outside in &others {
                sim.cut.insert((*inside, *outside));
                sim.cut.insert((*outside, *inside));
            }
        }
    }

    /// Cuts one direction between two nodes.
    pub fn cut_one_way(&self, from: NodeId, to: NodeId) {
        self.inner.lock().cut.insert((from, to));
    }

    /// Lets everything pass again.
    pub fn heal(&self) {
        self.inner.lock().cut.clear();
    }

    /// When a message from `from` arrives at `to`; `None` when it does not.
    fn flight(&self, from: NodeId, to: NodeId) -> Option<Duration> {
        let mut sim = self.inner.lock();
        let (min, max, loss) = (sim.faults.delay_min, sim.faults.delay_max, sim.faults.loss);
        let delay = sim.random.random_range(min..=max);
        let lost = sim.random.random_bool(loss);
        (!lost && !sim.cut.contains(&(from, to))).then_some(delay)
    }

    async fn deliver(
        self,
        parties: Parties,
        request: PeerRequest,
        delay: Duration,
    ) -> Result<PeerResponse, PeerError> {
        let Parties { from, to, .. } = parties;
        tokio::time::sleep(delay).await;
        let handler = self.inner.lock().hosts.get(&to).cloned();
        let handler = handler.ok_or_else(|| PeerError::Unreachable {
            to,
            detail: "nothing listens there".to_owned(),
        })?;
        handler
            .admit(parties)
            .map_err(|detail| PeerError::Refused { to, detail })?;
        let response = handler.handle(from, request).await;
        match self.flight(to, from) {
            Some(delay) => tokio::time::sleep(delay).await,
            None => std::future::pending().await,
        }
        Ok(response)
    }
}

impl PeerNetwork for SimNetwork {
    fn call(
        &self,
        parties: Parties,
        _address: &str,
        _lane: Lane,
        request: PeerRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<PeerResponse, PeerError>> {
        let Parties { from, to, .. } = parties;
        let repeated = {
            let mut sim = self.inner.lock();
            let chance = sim.faults.repeat;
            sim.random.random_bool(chance)
        };
        if repeated && let Some(delay) = self.flight(from, to) {
            tokio::spawn(self.clone().deliver(parties, request.clone(), delay));
        }
        let answer = self
            .flight(from, to)
            .map(|delay| tokio::spawn(self.clone().deliver(parties, request, delay)));
        async move {
            let answer = async {
                match answer {
                    Some(answer) => answer.await.unwrap_or_else(|_| {
                        Err(PeerError::Unreachable {
                            to,
                            detail: "the receiver ended".to_owned(),
                        })
                    }),
                    None => std::future::pending().await,
                }
            };
            tokio::time::timeout(timeout, answer)
                .await
                .unwrap_or(Err(PeerError::Timeout { to, after: timeout }))
        }
        .boxed()
    }
}
