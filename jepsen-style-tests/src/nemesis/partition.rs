//! Partitions between nodes; clients reach all of them all the time. A cut link drops frames in silence, as a dead
//! cable does: connections stay open and nobody is told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tokio::task::JoinHandle;

use super::targets::{self, named};
use super::{Fault, Needs, Nemesis, NemesisError, Proof, not_started, prove};
use crate::cluster::{Cluster, Counters, Effect, EffectId, Link};

/// How long each of the partitions of `partition-flapping` lasts, and each time without one.
const FLAP_MS: std::ops::Range<u64> = 150..1500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Halves,
    Leader,
    OneWay,
    Bridge,
    Ring,
    Flapping,
}

/// Cuts links.
struct Partition {
    shape: Shape,
    in_force: Option<InForce>,
}

struct InForce {
    cut: Cut,
    links: Vec<Link>,
    before: Counters,
}

enum Cut {
    Steady(EffectId),
    Flapping(JoinHandle<()>),
}

pub(super) fn all() -> Vec<Box<dyn Nemesis>> {
    use Shape::{Bridge, Flapping, Halves, Leader, OneWay, Ring};
    [Halves, Leader, OneWay, Bridge, Ring, Flapping]
        .into_iter()
        .map(|shape| {
            Box::new(Partition {
                shape,
                in_force: None,
            }) as Box<dyn Nemesis>
        })
        .collect()
}

impl Partition {
    /// Which links are cut, whom that hits, and what to call it.
    async fn plan(
        &self,
        cluster: &Cluster,
        rng: &mut StdRng,
    ) -> Result<(Vec<Link>, Vec<usize>, String), NemesisError> {
        let mut nodes = cluster.numbers();
        nodes.shuffle(rng);
        Ok(match self.shape {
            Shape::Halves | Shape::Flapping => {
                let (small, large) = nodes.split_at(nodes.len() / 2);
                let what = format!("{} cut off from {}", named(small), named(large));
                (between(small, large), small.to_vec(), what)
            }
            Shape::Leader => {
                let leader = targets::leader(cluster).await?;
                nodes.retain(|k| *k != leader);
                let what = format!("the leader, node {leader}, cut off from {}", named(&nodes));
                (between(&[leader], &nodes), vec![leader], what)
            }
            Shape::OneWay => {
                let target = targets::leader_or_any(cluster, rng).await?;
                nodes.retain(|k| *k != target);
                let is_deaf = rng.random::<bool>();
                let links = nodes
                    .iter()
                    .map(|other| {
                        if is_deaf {
                            (*other, target)
                        } else {
                            (target, *other)
                        }
                    })
                    .collect();
                let what = match is_deaf {
                    true => format!("node {target} hears nobody, all hear it"),
                    false => format!("nobody hears node {target}, it hears all"),
                };
                (links, vec![target], what)
            }
            Shape::Bridge => {
                let (bridge, rest) = (nodes[0], &nodes[1..]);
                let (left, right) = rest.split_at(rest.len() / 2);
                let what = format!(
                    "{} cut off from {}; node {bridge} reaches both",
                    named(left),
                    named(right)
                );
                (between(left, right), rest.to_vec(), what)
            }
            Shape::Ring => {
                let what = format!(
                    "a ring of {}: each reaches its two neighbours",
                    named(&nodes)
                );
                (ring(&nodes), nodes, what)
            }
        })
    }
}

/// The links between two sides, both ways.
fn between(one: &[usize], other: &[usize]) -> Vec<Link> {
    one.iter()
        .flat_map(|a| other.iter().flat_map(move |b| [(*a, *b), (*b, *a)]))
        .collect()
}

/// The links that are not between neighbours: with five nodes each sees a majority, and no two the same.
fn ring(nodes: &[usize]) -> Vec<Link> {
    let count = nodes.len();
    let mut links = BTreeSet::new();
    for a in 0..count {
        for b in 0..count {
            let distance = (a + count - b) % count;
            if distance.min(count - distance) > 1 {
                links.insert((nodes[a], nodes[b]));
            }
        }
    }
    links.into_iter().collect()
}

fn cut(links: &[Link]) -> Vec<(Link, Effect)> {
    let effect = Effect {
        cut: true,
        ..Effect::default()
    };
    links.iter().map(|link| (*link, effect)).collect()
}

/// Cuts and heals until it is aborted; never leaves a cut behind.
async fn flap(cluster: Arc<Cluster>, links: Vec<Link>, mut rng: StdRng) {
    struct Healed<'c>(&'c Cluster, EffectId);
    impl Drop for Healed<'_> {
        fn drop(&mut self) {
            if let Ok(links) = self.0.links() {
                links.remove(self.1);
            }
        }
    }
    loop {
        let mut a_while = || Duration::from_millis(rng.random_range(FLAP_MS));
        let (torn, whole) = (a_while(), a_while());
        let Ok(network) = cluster.links() else {
            return;
        };
        let healed = Healed(&cluster, network.add(cut(&links)));
        tokio::time::sleep(torn).await;
        drop(healed);
        tokio::time::sleep(whole).await;
    }
}

impl Nemesis for Partition {
    fn name(&self) -> &'static str {
        match self.shape {
            Shape::Halves => "partition-halves",
            Shape::Leader => "partition-leader",
            Shape::OneWay => "partition-one-way",
            Shape::Bridge => "partition-bridge",
            Shape::Ring => "partition-ring",
            Shape::Flapping => "partition-flapping",
        }
    }

    fn about(&self) -> &'static str {
        match self.shape {
            Shape::Halves => "the nodes fall into two halves, one a majority",
            Shape::Leader => "the leader is cut off from all others, but not from clients",
            Shape::OneWay => "one node hears nobody, or nobody hears it",
            Shape::Bridge => "two halves that only one node connects",
            Shape::Ring => "each node reaches a majority, and no two the same",
            Shape::Flapping => "two halves that come and go",
        }
    }

    fn needs(&self) -> Needs {
        Needs {
            namespaces: true,
            ..Needs::nodes(match self.shape {
                // With three nodes all are neighbours.
                Shape::Ring => 5,
                _ => 3,
            })
        }
    }

    fn start<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
        rng: &'a mut StdRng,
    ) -> BoxFuture<'a, Result<Fault, NemesisError>> {
        Box::pin(async move {
            let (links, targets, what) = self.plan(cluster, rng).await?;
            let network = cluster.links()?;
            let before = network.counters(links.iter().copied());
            let cut = match self.shape {
                Shape::Flapping => Cut::Flapping(tokio::spawn(flap(
                    cluster.clone(),
                    links.clone(),
                    StdRng::seed_from_u64(rng.random()),
                ))),
                _ => Cut::Steady(network.add(cut(&links))),
            };
            self.in_force = Some(InForce { cut, links, before });
            Ok(Fault::new(targets, what))
        })
    }

    fn stop<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let in_force = self.in_force.take().ok_or_else(not_started)?;
            let network = cluster.links()?;
            match in_force.cut {
                Cut::Steady(id) => network.remove(id),
                Cut::Flapping(task) => {
                    task.abort();
                    // The cut is healed when the task is gone, which is only so when it has been waited for.
                    let _ = task.await;
                }
            }
            let frames = network.counters(in_force.links) - in_force.before;
            prove(frames.cut > 0, || "no frame was dropped".to_owned())?;
            Ok(Proof::of([format!(
                "{} frames dropped at the cut",
                frames.cut
            )]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_ring_of_five_each_reaches_two_others() {
        let nodes = [3, 1, 5, 2, 4];
        let cut = ring(&nodes);
        for a in nodes {
            let reached: Vec<usize> = nodes
                .into_iter()
                .filter(|b| *b != a && !cut.contains(&(a, *b)))
                .collect();
            assert_eq!(reached.len(), 2, "{a}: {reached:?}");
        }
        assert!(cut.iter().all(|(a, b)| cut.contains(&(*b, *a))));
    }

    #[test]
    fn halves_are_cut_both_ways_and_stay_whole_inside() {
        let cut = between(&[1, 2], &[3]);
        assert_eq!(cut, [(1, 3), (3, 1), (2, 3), (3, 2)]);
    }
}
