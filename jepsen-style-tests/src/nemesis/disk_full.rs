//! A disk that fills up to the last block, in steps as disks do: below the node's reserve, where it must stop to write
//! and go on to read, and then, once it has noticed, all of it. It must live through that and go on by itself.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rand::rngs::StdRng;

use super::{Fault, Needs, Nemesis, NemesisError, Proof, not_started, prove, targets};
use crate::cluster::Cluster;

/// What is left at first: less than half of the node's reserve (`disk_reserve_mib`, 256 by default), below which it
/// stores nothing.
const LEFT_BYTES: u64 = 96 << 20;
/// How long the node has to notice: it looks every second, and hands over what it leads.
const NOTICE: Duration = Duration::from_secs(4);

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
        "the disk of one node fills up to the last block"
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
            cluster.fill_disk(target, LEFT_BYTES)?;
            tokio::time::sleep(NOTICE).await;
            let bytes = cluster.fill_disk(target, 0)?;
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
            if let Some(status) = ended {
                let what = format!("node {target} ended for want of space ({status})");
                return Err(NemesisError::Violation(what));
            }
            facts.push(format!("node {target} lived through it"));
            Ok(Proof { facts })
        })
    }
}
