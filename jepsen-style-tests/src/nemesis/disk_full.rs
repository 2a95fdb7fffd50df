//! A disk without a free block. A node that stops itself for it is started again once there is space.

use std::sync::Arc;

use futures::future::BoxFuture;
use rand::rngs::StdRng;

use super::{Fault, Needs, Nemesis, NemesisError, Proof, not_started, prove, targets};
use crate::cluster::Cluster;

/// Fills the disk of one node.
#[derive(Default)]
struct DiskFull {
    full: Option<(usize, u64, bool)>,
}

pub(super) fn all() -> Vec<Box<dyn Nemesis>> {
    vec![Box::new(DiskFull::default())]
}

impl Nemesis for DiskFull {
    fn name(&self) -> &'static str {
        "disk-full"
    }

    fn about(&self) -> &'static str {
        "the disk of one node is full to the last block"
    }

    fn needs(&self) -> Needs {
        Needs {
            disk_images: true,
            ..Needs::nodes(3)
        }
    }

    fn start<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
        rng: &'a mut StdRng,
    ) -> BoxFuture<'a, Result<Fault, NemesisError>> {
        Box::pin(async move {
            let target = targets::leader_or_any(cluster, rng).await?;
            self.full = Some((target, 0, false));
            let bytes = cluster.fill_disk(target)?;
            self.full = Some((target, bytes, cluster.is_disk_full(target)?));
            Ok(Fault::new(
                [target],
                format!("the disk of node {target} is full"),
            ))
        })
    }

    fn stop<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let (target, bytes, was_full) = self.full.take().ok_or_else(not_started)?;
            cluster.empty_disk(target)?;
            let ended = cluster.ended(target);
            cluster.start_node(target)?;
            cluster.look_after(target)?;
            prove(was_full, || {
                format!("{bytes} bytes were taken, and there was still space")
            })?;
            let mut facts = vec![format!(
                "{} MiB were taken, and a write was refused with ENOSPC",
                bytes >> 20
            )];
            facts.extend(ended.map(|status| format!("node {target} stopped itself ({status})")));
            Ok(Proof { facts })
        })
    }
}
