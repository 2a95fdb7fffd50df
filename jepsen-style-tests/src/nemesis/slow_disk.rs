//! Disks that take their time: each sync waits, or for a while nothing is written at all.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::task::JoinHandle;

use super::{Fault, Needs, Nemesis, NemesisError, Proof, not_started, prove, targets};
use crate::cluster::{Calls, Cluster, Freeze};

/// A frozen disk thaws by itself after this, also when the harness is gone.
const FROZEN_MAX: Duration = Duration::from_secs(30);
/// What a write must have waited for to show that the disk was stuck.
const STUCK_MIN: Duration = Duration::from_millis(100);

/// Slows the syncs of one node.
#[derive(Default)]
struct SlowDisk {
    slow: Option<(usize, u64)>,
}

/// Freezes the file system of one node.
#[derive(Default)]
struct StuckDisk {
    stuck: Option<(usize, Freeze, JoinHandle<std::io::Result<Duration>>)>,
}

pub(super) fn all() -> Vec<Box<dyn Nemesis>> {
    vec![
        Box::new(SlowDisk::default()),
        Box::new(StuckDisk::default()),
    ]
}

impl Nemesis for SlowDisk {
    fn name(&self) -> &'static str {
        "slow-disk"
    }

    fn about(&self) -> &'static str {
        "each sync of one node takes 20 to 500 ms longer"
    }

    fn needs(&self) -> Needs {
        Needs {
            shim: true,
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
            let delay_ms = rng.random_range(20..=500);
            let shim = cluster.shim(target)?;
            self.slow = Some((target, shim.delayed(Calls::Sync)?));
            shim.set_delay(Calls::Sync, Duration::from_millis(delay_ms))?;
            Ok(Fault::new(
                [target],
                format!("each sync of node {target} takes {delay_ms} ms longer"),
            ))
        })
    }

    fn stop<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let (target, before) = self.slow.take().ok_or_else(not_started)?;
            let shim = cluster.shim(target)?;
            shim.set_delay(Calls::Sync, Duration::ZERO)?;
            let delayed = shim.delayed(Calls::Sync)? - before;
            // A node may give up a disk that is this slow.
            let ended = cluster.ended(target);
            cluster.start_node(target)?;
            cluster.look_after(target)?;
            prove(delayed > 0, || format!("node {target} never synced"))?;
            let mut facts = vec![format!("{delayed} syncs of node {target} were delayed")];
            facts.extend(ended.map(|status| format!("it stopped itself ({status})")));
            Ok(Proof { facts })
        })
    }
}

/// Writes and syncs a file; tells how long that took.
fn probe(folder: &Path) -> std::io::Result<Duration> {
    let path = folder.join("chaos-stuck-probe");
    let began = Instant::now();
    std::fs::write(&path, b"stuck?")
        .and_then(|()| std::fs::File::open(&path))
        .and_then(|file| file.sync_all())?;
    let took = began.elapsed();
    std::fs::remove_file(path)?;
    Ok(took)
}

impl Nemesis for StuckDisk {
    fn name(&self) -> &'static str {
        "stuck-disk"
    }

    fn about(&self) -> &'static str {
        "nothing can be written to the disk of one node until the end"
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
            let data = cluster.data_dir(target)?;
            let folder = data.parent().unwrap_or(&data).to_owned();
            let freeze = cluster.freeze_disk(target, FROZEN_MAX)?;
            let probe = tokio::task::spawn_blocking(move || probe(&folder));
            self.stuck = Some((target, freeze, probe));
            Ok(Fault::new(
                [target],
                format!("the disk of node {target} is stuck"),
            ))
        })
    }

    fn stop<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let (target, freeze, probe) = self.stuck.take().ok_or_else(not_started)?;
            let thawed = cluster.thaw_disk(freeze);
            let waited = probe.await.map_err(std::io::Error::other)??;
            let ended = cluster.ended(target);
            cluster.start_node(target)?;
            cluster.look_after(target)?;
            thawed?;
            prove(waited >= STUCK_MIN, || {
                format!("a write took only {} ms", waited.as_millis())
            })?;
            let mut facts = vec![format!("a write waited for {} ms", waited.as_millis())];
            facts.extend(ended.map(|status| format!("node {target} stopped itself ({status})")));
            Ok(Proof { facts })
        })
    }
}
