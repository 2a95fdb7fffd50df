//! Wrong wall clocks, by the shim: monotonic clocks go on as they do, as on any machine whose time is set.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::task::JoinHandle;

use super::targets::{self, named};
use super::{Fault, Needs, Nemesis, NemesisError, Proof, not_started, prove};
use crate::cluster::Cluster;

/// Farthest a clock is wrong, either way: an hour is what a wrong time zone makes of it.
const OFFSET_MAX_MS: i64 = 3_600_000;
/// Time between two jumps of `clock-jump`.
const JUMP_MS: std::ops::Range<u64> = 100..1000;

fn needs() -> Needs {
    Needs {
        shim: true,
        ..Needs::nodes(1)
    }
}

/// Every node has a wrong clock of its own.
#[derive(Default)]
struct Skew {
    /// Node, and how often it had been told a shifted time before.
    skewed: Vec<(usize, u64)>,
}

/// The clock of one node jumps back and forth.
#[derive(Default)]
struct Jump {
    jumping: Option<(usize, u64, JoinHandle<()>)>,
}

pub(super) fn all() -> Vec<Box<dyn Nemesis>> {
    vec![Box::new(Skew::default()), Box::new(Jump::default())]
}

/// As often a little as a lot: both kinds find bugs.
fn offset_ms(rng: &mut StdRng) -> i64 {
    let magnitude = 10_i64.pow(rng.random_range(2..7)).min(OFFSET_MAX_MS);
    rng.random_range(-magnitude..=magnitude)
}

/// What shows that the node was told shifted times; resets its clock.
fn end(cluster: &Cluster, k: usize, before: u64) -> Result<u64, NemesisError> {
    let shim = cluster.shim(k)?;
    shim.set_clock_offset_ns(0)?;
    Ok(shim.clock_shifted()? - before)
}

impl Nemesis for Skew {
    fn name(&self) -> &'static str {
        "clock-skew"
    }

    fn about(&self) -> &'static str {
        "the wall clock of each node is wrong by milliseconds to an hour"
    }

    fn needs(&self) -> Needs {
        needs()
    }

    fn start<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
        rng: &'a mut StdRng,
    ) -> BoxFuture<'a, Result<Fault, NemesisError>> {
        Box::pin(async move {
            let targets = targets::running(cluster, rng);
            let mut words = Vec::new();
            for k in &targets {
                let shim = cluster.shim(*k)?;
                let offset_ms = offset_ms(rng);
                self.skewed.push((*k, shim.clock_shifted()?));
                shim.set_clock_offset_ns(offset_ms * 1_000_000)?;
                words.push(format!("node {k} {offset_ms:+} ms"));
            }
            Ok(Fault::new(targets, format!("clocks: {}", words.join(", "))))
        })
    }

    fn stop<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let mut facts = Vec::new();
            let mut unaware = Vec::new();
            for (k, before) in std::mem::take(&mut self.skewed) {
                let shifted = end(cluster, k, before)?;
                facts.push(format!("node {k} was told {shifted} shifted times"));
                if shifted == 0 {
                    unaware.push(k);
                }
            }
            prove(!facts.is_empty() && unaware.is_empty(), || {
                format!("{} never asked for the time", named(&unaware))
            })?;
            Ok(Proof { facts })
        })
    }
}

impl Nemesis for Jump {
    fn name(&self) -> &'static str {
        "clock-jump"
    }

    fn about(&self) -> &'static str {
        "the wall clock of one node jumps back and forth, up to an hour"
    }

    fn needs(&self) -> Needs {
        needs()
    }

    fn start<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
        rng: &'a mut StdRng,
    ) -> BoxFuture<'a, Result<Fault, NemesisError>> {
        Box::pin(async move {
            let target = targets::leader_or_any(cluster, rng).await?;
            let before = cluster.shim(target)?.clock_shifted()?;
            let chance = StdRng::seed_from_u64(rng.random());
            let task = tokio::spawn(jump(cluster.clone(), target, chance));
            self.jumping = Some((target, before, task));
            Ok(Fault::new(
                [target],
                format!("the clock of node {target} jumps back and forth"),
            ))
        })
    }

    fn stop<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let (target, before, task) = self.jumping.take().ok_or_else(not_started)?;
            task.abort();
            // Only once the task is gone can it not set the clock once more.
            let _ = task.await;
            let shifted = end(cluster, target, before)?;
            prove(shifted > 0, || {
                format!("node {target} never asked for the time")
            })?;
            Ok(Proof::of([format!(
                "node {target} was told {shifted} shifted times"
            )]))
        })
    }
}

async fn jump(cluster: Arc<Cluster>, target: usize, mut rng: StdRng) {
    loop {
        let offset_ns = offset_ms(&mut rng) * 1_000_000;
        let is_set = cluster
            .shim(target)
            .is_ok_and(|shim| shim.set_clock_offset_ns(offset_ns).is_ok());
        if !is_set {
            return;
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(JUMP_MS))).await;
    }
}
