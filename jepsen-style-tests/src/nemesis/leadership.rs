//! Orderly disturbance: leadership handed over, and nodes restarted one after the other, under load.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::{IteratorRandom as _, SliceRandom as _};
use tokio::task::JoinHandle;

use super::targets::{self, named};
use super::{Fault, Needs, Nemesis, NemesisError, Proof, not_started, prove};
use crate::cluster::{Cluster, ClusterError};

/// How long the new leader may take to be seen.
const SEEN_MAX: Duration = Duration::from_secs(5);
/// How long all restarts together may take: a node on a disk that another fault has taken is never ready.
const RESTARTS_MAX: Duration = Duration::from_secs(40);
/// How long a node that another fault has taken is waited for.
const FREE_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// Hands over the leadership of the environment's group.
#[derive(Default)]
struct LeaderTransfer {
    facts: Vec<String>,
}

/// Restarts all nodes in turn, by SIGTERM or SIGKILL.
#[derive(Default)]
struct RollingRestart {
    task: Option<JoinHandle<Result<Vec<String>, ClusterError>>>,
}

pub(super) fn all() -> Vec<Box<dyn Nemesis>> {
    vec![
        Box::new(LeaderTransfer::default()),
        Box::new(RollingRestart::default()),
    ]
}

impl Nemesis for LeaderTransfer {
    fn name(&self) -> &'static str {
        "leader-transfer"
    }

    fn about(&self) -> &'static str {
        "the leader hands over to another node, by `yunbase cluster transfer`"
    }

    fn needs(&self) -> Needs {
        Needs::nodes(3)
    }

    fn start<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
        rng: &'a mut StdRng,
    ) -> BoxFuture<'a, Result<Fault, NemesisError>> {
        Box::pin(async move {
            self.facts.clear();
            let leader = targets::leader(cluster).await?;
            let before = cluster.group().await?;
            let target = cluster
                .followers()
                .await?
                .into_iter()
                .filter(|k| cluster.is_running(*k))
                .choose(rng)
                .ok_or_else(|| NemesisError::NotAvailable("no follower runs".to_owned()))?;
            let id =
                cluster.status().await?.id_of(target).ok_or_else(|| {
                    NemesisError::NotAvailable(format!("node {target} is no member"))
                })?;
            let (group, node) = (before.id.to_string(), id.to_string());
            cluster
                .operate(leader, &["cluster", "transfer", &group, &node])
                .await?;
            let given_up = Instant::now() + SEEN_MAX;
            loop {
                let now = cluster.group().await?;
                if now.leader == Some(target) && now.term > before.term {
                    self.facts.push(format!(
                        "node {target} leads group {group} in term {}, node {leader} did in term {}",
                        now.term, before.term
                    ));
                    break;
                }
                if Instant::now() > given_up {
                    break;
                }
                tokio::time::sleep(POLL).await;
            }
            Ok(Fault::new(
                [leader, target],
                format!("leadership handed from node {leader} to node {target}"),
            ))
        })
    }

    fn stop<'a>(
        &'a mut self,
        _cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let facts = std::mem::take(&mut self.facts);
            prove(!facts.is_empty(), || {
                "the node asked to lead does not lead in a later term".to_owned()
            })?;
            Ok(Proof { facts })
        })
    }
}

impl Nemesis for RollingRestart {
    fn name(&self) -> &'static str {
        "rolling-restart"
    }

    fn about(&self) -> &'static str {
        "all nodes are restarted one after the other, by SIGTERM or SIGKILL, each when the last is ready"
    }

    fn needs(&self) -> Needs {
        Needs::nodes(3)
    }

    fn start<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
        rng: &'a mut StdRng,
    ) -> BoxFuture<'a, Result<Fault, NemesisError>> {
        Box::pin(async move {
            let mut order = cluster.numbers();
            order.shuffle(rng);
            let is_graceful = rng.random::<bool>();
            let signal = if is_graceful { "SIGTERM" } else { "SIGKILL" };
            self.task = Some(tokio::spawn(restart(
                cluster.clone(),
                order.clone(),
                is_graceful,
            )));
            let what = format!("{} restarted in this order by {signal}", named(&order));
            Ok(Fault::new(order, what))
        })
    }

    fn stop<'a>(
        &'a mut self,
        _cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let task = self.task.take().ok_or_else(not_started)?;
            let facts = task.await.map_err(std::io::Error::other)??;
            prove(!facts.is_empty(), || "no node was restarted".to_owned())?;
            Ok(Proof { facts })
        })
    }
}

async fn restart(
    cluster: Arc<Cluster>,
    order: Vec<usize>,
    is_graceful: bool,
) -> Result<Vec<String>, ClusterError> {
    let mut facts = Vec::new();
    let given_up = Instant::now() + RESTARTS_MAX;
    for k in order {
        // Another fault may have taken the node, or take it at any moment: it is that one's then, and there are others.
        let left = given_up.saturating_duration_since(Instant::now());
        if cluster.wait_ready(k, FREE_MAX.min(left)).await.is_err() {
            continue;
        }
        let old = cluster.pid(k).unwrap_or_default();
        let ended = tokio::task::spawn_blocking({
            let cluster = cluster.clone();
            move || match is_graceful {
                true => cluster.terminate(k),
                false => cluster.kill(k),
            }
        })
        .await
        .map_err(|error| ClusterError::Cluster(error.to_string()))?;
        // Whatever came of it, the node must run again.
        let left = given_up.saturating_duration_since(Instant::now());
        let runs = cluster.start_node(k).is_ok() && cluster.wait_ready(k, left).await.is_ok();
        if let (Ok(Some(status)), true) = (ended, runs) {
            facts.push(format!(
                "node {k}: process {old} ended ({status}), {} runs",
                cluster.pid(k).unwrap_or_default()
            ));
        }
    }
    Ok(facts)
}
