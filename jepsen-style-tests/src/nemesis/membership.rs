//! Membership: a node joins under load, and stays, up to a bound. How one goes is in `replacement`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use rand::rngs::StdRng;
use tokio::task::JoinHandle;

use super::{Fault, Needs, Nemesis, NemesisError, Proof, not_started, prove};
use crate::cluster::{Cluster, ClusterError};

/// Nodes that may join one cluster: the network has addresses for so many more than five.
const GROWTH_MAX: usize = 3;
/// How long the new member may take to be seen by the others.
const SEEN_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);

/// Lets a node join.
#[derive(Default)]
struct Membership {
    joining: Option<JoinHandle<Result<usize, ClusterError>>>,
}

pub(super) fn all() -> Vec<Box<dyn Nemesis>> {
    vec![Box::new(Membership::default())]
}

impl Nemesis for Membership {
    fn name(&self) -> &'static str {
        "membership"
    }

    fn about(&self) -> &'static str {
        "a node joins by a token, and stays"
    }

    fn needs(&self) -> Needs {
        Needs::nodes(3)
    }

    fn start<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
        _rng: &'a mut StdRng,
    ) -> BoxFuture<'a, Result<Fault, NemesisError>> {
        Box::pin(async move {
            let number = cluster.size() + 1;
            if number > cluster.options().nodes + GROWTH_MAX {
                return Err(NemesisError::NotAvailable(format!(
                    "{GROWTH_MAX} nodes have joined already, and they stay"
                )));
            }
            let cluster = cluster.clone();
            self.joining = Some(tokio::spawn(async move { cluster.join_node().await }));
            Ok(Fault::new([number], format!("node {number} joins")))
        })
    }

    fn stop<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let joining = self.joining.take().ok_or_else(not_started)?;
            let number = joining.await.map_err(std::io::Error::other)??;
            let given_up = Instant::now() + SEEN_MAX;
            loop {
                let status = cluster.status().await?;
                let is_member = status
                    .nodes
                    .iter()
                    .any(|member| member.number == Some(number) && member.reachable);
                if is_member {
                    return Ok(Proof::of([format!(
                        "node {number} is one of {} members, and reachable",
                        status.nodes.len()
                    )]));
                }
                prove(Instant::now() < given_up, || {
                    format!("node {number} is no member: {}", status.sentence)
                })?;
                tokio::time::sleep(POLL).await;
            }
        })
    }
}
