//! SIGKILL: of one node, the leader, a minority, a majority, all.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;

use futures::future::BoxFuture;
use nix::sys::signal::Signal;
use rand::rngs::StdRng;

use super::targets::{self, named};
use super::{Fault, Needs, Nemesis, NemesisError, Proof, prove};
use crate::cluster::Cluster;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    One,
    Leader,
    Minority,
    Majority,
    All,
}

/// Kills, and starts again at the end.
struct Kill {
    whom: Whom,
    killed: Vec<usize>,
    facts: Vec<String>,
}

pub(super) fn all() -> Vec<Box<dyn Nemesis>> {
    [
        Whom::One,
        Whom::Leader,
        Whom::Minority,
        Whom::Majority,
        Whom::All,
    ]
    .into_iter()
    .map(|whom| {
        Box::new(Kill {
            whom,
            killed: Vec::new(),
            facts: Vec::new(),
        }) as Box<dyn Nemesis>
    })
    .collect()
}

impl Kill {
    async fn choose(
        &self,
        cluster: &Cluster,
        rng: &mut StdRng,
    ) -> Result<Vec<usize>, NemesisError> {
        let size = cluster.size();
        let mut running = targets::running(cluster, rng);
        let count = match self.whom {
            Whom::Leader => return Ok(vec![targets::leader(cluster).await?]),
            Whom::One => 1,
            Whom::Minority => targets::minority(size),
            Whom::Majority => size / 2 + 1,
            Whom::All => running.len(),
        };
        if running.len() < count || running.is_empty() {
            return Err(NemesisError::NotAvailable(format!(
                "only {} nodes run",
                running.len()
            )));
        }
        running.truncate(count);
        Ok(running)
    }
}

impl Nemesis for Kill {
    fn name(&self) -> &'static str {
        match self.whom {
            Whom::One => "kill-one",
            Whom::Leader => "kill-leader",
            Whom::Minority => "kill-minority",
            Whom::Majority => "kill-majority",
            Whom::All => "kill-all",
        }
    }

    fn about(&self) -> &'static str {
        match self.whom {
            Whom::One => "SIGKILL of a node by chance; it is started again at the end",
            Whom::Leader => "SIGKILL of the leader; it is started again at the end",
            Whom::Minority => "SIGKILL of as many nodes as leave a majority",
            Whom::Majority => {
                "SIGKILL of the smallest majority: nothing is served until they are back"
            }
            Whom::All => "SIGKILL of all nodes within a moment",
        }
    }

    fn needs(&self) -> Needs {
        Needs::nodes(match self.whom {
            Whom::One | Whom::All => 1,
            Whom::Leader | Whom::Minority | Whom::Majority => 3,
        })
    }

    fn start<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
        rng: &'a mut StdRng,
    ) -> BoxFuture<'a, Result<Fault, NemesisError>> {
        Box::pin(async move {
            let chosen = self.choose(cluster, rng).await?;
            self.facts.clear();
            self.killed.clear();
            for k in chosen {
                let pid = cluster.pid(k).unwrap_or_default();
                let Some(status) = cluster.kill(k)? else {
                    continue;
                };
                self.killed.push(k);
                if status.signal() == Some(Signal::SIGKILL as i32) {
                    self.facts
                        .push(format!("process {pid} of node {k} ended by signal 9"));
                }
            }
            Ok(Fault::new(
                self.killed.clone(),
                format!("SIGKILL of {}", named(&self.killed)),
            ))
        })
    }

    fn stop<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let killed = std::mem::take(&mut self.killed);
            for k in &killed {
                cluster.start_node(*k)?;
            }
            let facts = std::mem::take(&mut self.facts);
            prove(!killed.is_empty() && facts.len() == killed.len(), || {
                format!(
                    "of {} only this is known: {}",
                    named(&killed),
                    facts.join("; ")
                )
            })?;
            Ok(Proof { facts })
        })
    }
}
