//! Power loss: what was written and not synced is gone. SIGKILL alone keeps the page cache and shows nothing of it.

use std::sync::Arc;

use futures::future::BoxFuture;
use rand::rngs::StdRng;

use super::targets::{self, named};
use super::{Fault, Needs, Nemesis, NemesisError, Proof, not_started, prove};
use crate::cluster::Cluster;

/// Takes the power from one node or all.
struct PowerLoss {
    all: bool,
    without_power: Vec<usize>,
}

pub(super) fn all() -> Vec<Box<dyn Nemesis>> {
    [false, true]
        .into_iter()
        .map(|all| {
            Box::new(PowerLoss {
                all,
                without_power: Vec::new(),
            }) as Box<dyn Nemesis>
        })
        .collect()
}

impl Nemesis for PowerLoss {
    fn name(&self) -> &'static str {
        match self.all {
            true => "power-loss-all",
            false => "power-loss",
        }
    }

    fn about(&self) -> &'static str {
        match self.all {
            true => "the power of all nodes goes within a moment; un-synced writes are lost",
            false => {
                "the power of one node goes, often the leader's; its un-synced writes are lost"
            }
        }
    }

    fn needs(&self) -> Needs {
        Needs {
            disk_images: true,
            ..Needs::nodes(1)
        }
    }

    fn start<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
        rng: &'a mut StdRng,
    ) -> BoxFuture<'a, Result<Fault, NemesisError>> {
        Box::pin(async move {
            self.without_power = match self.all {
                true => targets::running(cluster, rng),
                false => vec![targets::leader_or_any(cluster, rng).await?],
            };
            for k in &self.without_power {
                cluster.lose_power(*k)?;
            }
            let what = format!("power of {} lost", named(&self.without_power));
            Ok(Fault::new(self.without_power.clone(), what))
        })
    }

    fn stop<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let targets = std::mem::take(&mut self.without_power);
            if targets.is_empty() {
                return Err(not_started());
            }
            let mut kept = Vec::new();
            for k in &targets {
                if cluster.process(*k).is_some() {
                    // Its power could not be taken.
                    kept.push(*k);
                    continue;
                }
                // Blocks while the journal is replayed; the nodes come back one after the other, as in a machine room.
                if !cluster.restore_power(*k)? {
                    kept.push(*k);
                }
                cluster.start_node(*k)?;
            }
            prove(kept.is_empty(), || {
                format!(
                    "a file that nobody synced is still there on {}",
                    named(&kept)
                )
            })?;
            Ok(Proof::of([format!(
                "a file written and not synced was gone from {}",
                named(&targets)
            )]))
        })
    }
}
