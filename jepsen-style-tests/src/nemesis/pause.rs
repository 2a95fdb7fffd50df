//! SIGSTOP: a node that stops in the middle of whatever it does, and wakes with stale beliefs.

use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;
use rand::rngs::StdRng;

use super::{Fault, Needs, Nemesis, NemesisError, Proof, not_started, prove, targets};
use crate::cluster::Cluster;

/// Pauses one node.
#[derive(Default)]
struct Pause {
    paused: Option<(usize, Instant)>,
}

pub(super) fn all() -> Vec<Box<dyn Nemesis>> {
    vec![Box::new(Pause::default())]
}

impl Nemesis for Pause {
    fn name(&self) -> &'static str {
        "pause"
    }

    fn about(&self) -> &'static str {
        "SIGSTOP of the leader or any node, SIGCONT at the end"
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
            let target = targets::leader_or_any(cluster, rng).await?;
            self.paused = Some((target, Instant::now()));
            cluster.pause(target)?;
            Ok(Fault::new([target], format!("SIGSTOP of node {target}")))
        })
    }

    fn stop<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let (target, since) = self.paused.take().ok_or_else(not_started)?;
            if cluster.process(target).is_none() {
                // Another fault has killed it meanwhile, and starts it again itself.
                return Ok(Proof::of([format!(
                    "node {target} was stopped, and killed {} ms later",
                    since.elapsed().as_millis()
                )]));
            }
            let state = cluster.state(target)?;
            let lasted = since.elapsed();
            cluster.resume(target)?;
            prove(state == "T", || {
                format!("node {target} was in state {state}")
            })?;
            Ok(Proof::of([format!(
                "State: T of node {target} still after {} ms",
                lasted.as_millis()
            )]))
        })
    }
}
