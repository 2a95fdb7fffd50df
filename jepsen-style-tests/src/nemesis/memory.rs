//! Memory pressure: what a node may have shrinks to little more than what it has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use rand::rngs::StdRng;

use super::{Fault, Needs, Nemesis, NemesisError, Proof, not_started, prove, targets};
use crate::cluster::{Cluster, MemoryGroup};

/// What the node may get from now on; what it has already is not counted. The page cache of its own writes fills it.
const LIMIT_BYTES: u64 = 512 << 10;

/// How much longer the bound stays for a node that has not run into it yet.
const LONGER_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// Bounds the memory of the leader, which needs most.
#[derive(Default)]
struct MemoryPressure {
    pressed: Option<(usize, MemoryGroup)>,
    count: u64,
}

pub(super) fn all() -> Vec<Box<dyn Nemesis>> {
    vec![Box::new(MemoryPressure::default())]
}

impl Nemesis for MemoryPressure {
    fn name(&self) -> &'static str {
        "memory-pressure"
    }

    fn about(&self) -> &'static str {
        "the leader may take only 512 KiB of memory more, page cache included; the kernel may kill it"
    }

    fn needs(&self) -> Needs {
        Needs {
            memory_groups: true,
            ..Needs::nodes(3)
        }
    }

    fn start<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
        _rng: &'a mut StdRng,
    ) -> BoxFuture<'a, Result<Fault, NemesisError>> {
        Box::pin(async move {
            let target = targets::leader(cluster).await?;
            let process = cluster
                .process(target)
                .ok_or_else(|| NemesisError::NotAvailable(format!("node {target} does not run")))?;
            self.count += 1;
            let name = format!(
                "yunbase-{}-{}-{target}-{}",
                cluster.options().run_id,
                std::process::id(),
                self.count
            );
            let group = MemoryGroup::create(&name, process, cluster.undo())?;
            let (_, group) = self.pressed.insert((target, group));
            group.set_limit(LIMIT_BYTES)?;
            Ok(Fault::new(
                [target],
                format!("node {target} may take {} KiB more", LIMIT_BYTES >> 10),
            ))
        })
    }

    fn stop<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let (target, group) = self.pressed.take().ok_or_else(not_started)?;
            let given_up = Instant::now() + LONGER_MAX;
            while group.hits()? == 0 && Instant::now() < given_up {
                tokio::time::sleep(POLL).await;
            }
            let (hits, kills) = (group.hits()?, group.kills()?);
            group.remove(cluster.undo())?;
            let ended = cluster.ended(target);
            cluster.start_node(target)?;
            cluster.look_after(target)?;
            prove(hits > 0, || {
                format!("node {target} never ran into the bound")
            })?;
            let mut facts = vec![format!(
                "node {target} ran into the bound {hits} times, {kills} kills by the kernel"
            )];
            facts.extend(ended.map(|status| format!("it ended ({status})")));
            Ok(Proof { facts })
        })
    }
}
