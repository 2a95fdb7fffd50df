//! Bad networks: frames between nodes vanish, come late, out of order, twice, or damaged, or the links are slow.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::{Fault, Needs, Nemesis, NemesisError, Proof, not_started, prove, targets};
use crate::cluster::{Cluster, Counters, Effect, EffectId, Link};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Loss,
    Delay,
    Reorder,
    Duplicate,
    Corrupt,
    Slow,
}

/// Disturbs the links between all nodes; `slow-link` those of one node.
struct Packets {
    kind: Kind,
    in_force: Option<InForce>,
}

struct InForce {
    id: EffectId,
    links: Vec<Link>,
    before: Counters,
    /// Wrong checksums that each node had received before.
    checksum_errors: Vec<u64>,
}

pub(super) fn all() -> Vec<Box<dyn Nemesis>> {
    use Kind::{Corrupt, Delay, Duplicate, Loss, Reorder, Slow};
    [Loss, Delay, Reorder, Duplicate, Corrupt, Slow]
        .into_iter()
        .map(|kind| {
            Box::new(Packets {
                kind,
                in_force: None,
            }) as Box<dyn Nemesis>
        })
        .collect()
}

impl Packets {
    /// How bad, and that in words.
    fn effect(&self, rng: &mut StdRng) -> (Effect, String) {
        let percent = rng.random_range(5..=25);
        let share = f64::from(percent) / 100.0;
        let none = Effect::default();
        match self.kind {
            Kind::Loss => (
                Effect {
                    loss: share,
                    ..none
                },
                format!("{percent} % of frames between nodes lost"),
            ),
            Kind::Delay => {
                let (delay, jitter) = (rng.random_range(20..=150), rng.random_range(0..=100));
                (
                    Effect {
                        delay: Duration::from_millis(delay),
                        jitter: Duration::from_millis(jitter),
                        ..none
                    },
                    format!("frames between nodes {delay} to {} ms late", delay + jitter),
                )
            }
            Kind::Reorder => (
                Effect {
                    reordering: share,
                    ..none
                },
                format!("{percent} % of frames between nodes held back until others overtake them"),
            ),
            Kind::Duplicate => (
                Effect {
                    duplication: share,
                    ..none
                },
                format!("{percent} % of frames between nodes come twice"),
            ),
            Kind::Corrupt => (
                Effect {
                    corruption: share,
                    ..none
                },
                format!("{percent} % of frames between nodes with a bit flipped"),
            ),
            Kind::Slow => {
                let kilobytes = rng.random_range(16..=64);
                (
                    Effect {
                        bytes_per_second: Some(kilobytes * 1000),
                        ..none
                    },
                    format!("{kilobytes} kB/s on each link"),
                )
            }
        }
    }

    /// The counter that shows the fault.
    fn hits(&self, frames: &Counters) -> u64 {
        match self.kind {
            Kind::Loss => frames.lost,
            Kind::Delay => frames.delayed,
            Kind::Reorder => frames.reordered,
            Kind::Duplicate => frames.duplicated,
            Kind::Corrupt => frames.corrupted,
            Kind::Slow => frames.throttled,
        }
    }
}

fn checksum_errors(cluster: &Cluster) -> Result<Vec<u64>, NemesisError> {
    let errors: Result<Vec<u64>, _> = cluster
        .numbers()
        .into_iter()
        .map(|k| cluster.checksum_errors(k))
        .collect();
    Ok(errors?)
}

impl Nemesis for Packets {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Loss => "packet-loss",
            Kind::Delay => "packet-delay",
            Kind::Reorder => "packet-reorder",
            Kind::Duplicate => "packet-duplicate",
            Kind::Corrupt => "packet-corrupt",
            Kind::Slow => "slow-link",
        }
    }

    fn about(&self) -> &'static str {
        match self.kind {
            Kind::Loss => "5 to 25 % of frames between nodes vanish",
            Kind::Delay => "frames between nodes are 20 to 250 ms late",
            Kind::Reorder => "5 to 25 % of frames between nodes are overtaken by later ones",
            Kind::Duplicate => "5 to 25 % of frames between nodes come twice",
            Kind::Corrupt => "5 to 25 % of frames between nodes have a bit flipped",
            Kind::Slow => "the links of one node carry 16 to 64 kB/s",
        }
    }

    fn needs(&self) -> Needs {
        Needs {
            namespaces: true,
            ..Needs::nodes(3)
        }
    }

    fn start<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
        rng: &'a mut StdRng,
    ) -> BoxFuture<'a, Result<Fault, NemesisError>> {
        Box::pin(async move {
            let (effect, mut what) = self.effect(rng);
            let mut nodes = cluster.numbers();
            let mut links: Vec<Link> = nodes
                .iter()
                .flat_map(|a| nodes.iter().map(move |b| (*a, *b)))
                .filter(|(a, b)| a != b)
                .collect();
            if self.kind == Kind::Slow {
                let target = targets::leader_or_any(cluster, rng).await?;
                links.retain(|(a, b)| *a == target || *b == target);
                nodes = vec![target];
                what = format!("{what} of node {target}");
            }
            let network = cluster.links()?;
            let before = network.counters(links.iter().copied());
            let checksum_errors = checksum_errors(cluster)?;
            let id = network.add(links.iter().map(|link| (*link, effect)).collect());
            self.in_force = Some(InForce {
                id,
                links,
                before,
                checksum_errors,
            });
            Ok(Fault::new(nodes, what))
        })
    }

    fn stop<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let in_force = self.in_force.take().ok_or_else(not_started)?;
            let network = cluster.links()?;
            network.remove(in_force.id);
            let frames = network.counters(in_force.links) - in_force.before;
            let hits = self.hits(&frames);
            prove(hits > 0, || "no frame was hit".to_owned())?;
            let mut facts = vec![format!("{hits} frames hit, {} passed", frames.passed)];
            if self.kind == Kind::Corrupt {
                let seen: u64 = checksum_errors(cluster)?
                    .iter()
                    .zip(&in_force.checksum_errors)
                    .map(|(now, before)| now - before)
                    .sum();
                prove(seen > 0, || {
                    "no kernel has seen a wrong checksum".to_owned()
                })?;
                facts.push(format!("{seen} wrong checksums seen by the nodes' kernels"));
            }
            Ok(Proof { facts })
        })
    }
}
