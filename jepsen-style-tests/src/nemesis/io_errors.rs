//! Disks that answer with errors. A node that stops itself for it, as it should when a sync fails, is started again at
//! the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::{Fault, Needs, Nemesis, NemesisError, Proof, not_started, prove, targets};
use crate::cluster::{Calls, Cluster};

/// How long a node may take to stop itself after an error: it hands over what it leads, or tries to.
const STOPPING_MAX: Duration = Duration::from_secs(15);

/// How much longer calls fail for a node that has made none yet: one that starts on a busy machine takes its time.
const LONGER_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// Lets calls of one node fail.
struct IoErrors {
    calls: Calls,
    failing: Option<(usize, u64)>,
}

pub(super) fn all() -> Vec<Box<dyn Nemesis>> {
    [Calls::Sync, Calls::Write, Calls::Read]
        .into_iter()
        .map(|calls| {
            Box::new(IoErrors {
                calls,
                failing: None,
            }) as Box<dyn Nemesis>
        })
        .collect()
}

impl Nemesis for IoErrors {
    fn name(&self) -> &'static str {
        match self.calls {
            Calls::Sync => "io-error-fsync",
            Calls::Write => "io-error-write",
            Calls::Read => "io-error-read",
        }
    }

    fn about(&self) -> &'static str {
        match self.calls {
            Calls::Sync => "syncs of one node fail with EIO, one in ten to all",
            Calls::Write => "writes of one node to its files fail with EIO, one in ten to all",
            Calls::Read => {
                "reads of one node from its files fail with EIO, half to all; it is restarted, so that it reads"
            }
        }
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
            // A node reads few files when it starts, and one that met no error proves nothing.
            let least = if self.calls == Calls::Read { 5 } else { 1 };
            let permille = rng.random_range(least..=10) * 100;
            let shim = cluster.shim(target)?;
            self.failing = Some((target, shim.errors(self.calls)?));
            shim.set_errors(self.calls, permille)?;
            if self.calls == Calls::Read {
                // What a node needs it has in memory while it runs; it reads its files when it starts.
                cluster.kill(target)?;
                cluster.start_node(target)?;
            }
            Ok(Fault::new(
                [target],
                format!(
                    "{} % of {} of node {target} fail with EIO",
                    permille / 10,
                    match self.calls {
                        Calls::Sync => "syncs",
                        Calls::Write => "writes",
                        Calls::Read => "reads",
                    }
                ),
            ))
        })
    }

    fn stop<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let (target, before) = self.failing.take().ok_or_else(not_started)?;
            let shim = cluster.shim(target)?;
            let given_up = Instant::now() + LONGER_MAX;
            while shim.errors(self.calls)? == before && Instant::now() < given_up {
                tokio::time::sleep(POLL).await;
            }
            shim.set_errors(self.calls, 0)?;
            let errors = shim.errors(self.calls)? - before;
            let began = Instant::now();
            let ended = match errors {
                0 => cluster.ended(target),
                // A node that trusts its disk no more may be on its way out: to find it running means nothing yet.
                _ => cluster.wait_ended(target, STOPPING_MAX).await,
            };
            let took = began.elapsed();
            cluster.start_node(target)?;
            prove(errors > 0, || format!("no call of node {target} failed"))?;
            let mut facts = vec![format!("{errors} calls of node {target} failed with EIO")];
            facts.push(match ended {
                Some(status) => format!(
                    "it stopped itself ({status}), {} ms after the last",
                    took.as_millis()
                ),
                None => "it goes on".to_owned(),
            });
            Ok(Proof { facts })
        })
    }
}
