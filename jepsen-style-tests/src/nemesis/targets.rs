//! Choosing whom a fault hits: by role where a role is what breaks, else by chance.

use rand::rngs::StdRng;
use rand::seq::{IteratorRandom as _, SliceRandom as _};

use super::NemesisError;
use crate::cluster::Cluster;

/// The nodes that run, in an order of chance.
pub(super) fn running(cluster: &Cluster, rng: &mut StdRng) -> Vec<usize> {
    let mut running: Vec<usize> = cluster
        .numbers()
        .into_iter()
        .filter(|k| cluster.is_running(*k))
        .collect();
    running.shuffle(rng);
    running
}

/// One node that runs.
pub(super) fn any(cluster: &Cluster, rng: &mut StdRng) -> Result<usize, NemesisError> {
    running(cluster, rng)
        .into_iter()
        .next()
        .ok_or_else(|| NemesisError::NotAvailable("no node runs".to_owned()))
}

/// The leader of the environment's group, which must run.
pub(super) async fn leader(cluster: &Cluster) -> Result<usize, NemesisError> {
    match cluster.leader().await {
        Some(leader) if cluster.is_running(leader) => Ok(leader),
        _ => Err(NemesisError::NotAvailable(
            "there is no leader at this moment".to_owned(),
        )),
    }
}

/// The leader as often as not: most of what goes wrong goes wrong there.
pub(super) async fn leader_or_any(
    cluster: &Cluster,
    rng: &mut StdRng,
) -> Result<usize, NemesisError> {
    let wants_leader = [true, false].into_iter().choose(rng) == Some(true);
    match leader(cluster).await {
        Ok(leader) if wants_leader => Ok(leader),
        _ => any(cluster, rng),
    }
}

/// The largest number of nodes that leaves a majority.
pub(super) fn minority(size: usize) -> usize {
    size.saturating_sub(1) / 2
}

/// For messages: `node 2`, `nodes 1, 3`.
pub(super) fn named(targets: &[usize]) -> String {
    let numbers: Vec<String> = targets.iter().map(usize::to_string).collect();
    let plural = if targets.len() == 1 { "" } else { "s" };
    format!("node{plural} {}", numbers.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minority_leaves_a_majority() {
        let sizes: Vec<usize> = [1, 2, 3, 4, 5].into_iter().map(minority).collect();
        assert_eq!(sizes, [0, 0, 1, 1, 2]);
    }
}
