//! Deletes chunks that nothing names any more.
//!
//! Each node looks after its own store: it takes some of its chunks as candidates, reads every manifest of every environment,
//! crosses out what is named, and has the rest collected. What may go wrong in between, and what closes it:
//!
//! * **A manifest is committed after it was looked for.** Its chunks were stored, or kept, a short time before: the store
//!   collects nothing that was put less than the grace period before the pass began, nor what an upload has pinned.
//! * **A manifest names chunks that were there for long**: a copy of a file, parts that become a file, chunks that an
//!   upload found to be there. Whoever commits one pins all its chunks first, which counts as a put.
//! * **A record moves while it is read**: parts become a file, a file is deleted and can be restored. Collections are read in
//!   the order of such moves, so what has left one is found in the next; and what became a file was pinned.
//! * **A manifest cannot be read**, or an environment does not answer: the pass ends without collecting anything.
//! * **An environment is not known here yet**: it is younger than the grace period, or the cluster map is older; a map that is
//!   that old belongs to a node that is cut off, which cannot read manifests either.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use yunbase_chunkstore::ChunkHash;

use super::Blobs;
use crate::cluster::map::SharedMap;
use crate::gateway::Clock;
use crate::mutant;
use crate::storage::error::{StorageError, StorageResult};
use crate::storage::manifests::Manifests;

/// Chunks that the store lists, or collects, at once.
const STEP: usize = 4096;
/// Pause of the first pass after the start: pins from before it must have ended.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// Finds chunks that nothing names.
pub struct Collector {
    blobs: Blobs,
    manifests: Manifests,
    map: SharedMap,
    clock: Arc<dyn Clock>,
    grace: Duration,
}

/// Chunks that nothing names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unnamed {
    /// Put longer ago than the grace period: the next pass collects them.
    pub past_grace: u64,
    /// Put less long ago; perhaps an upload is under way.
    pub within_grace: u64,
}

impl Collector {
    /// A collector of the chunks of this node, which are kept for `grace` whoever says that nothing names them.
    pub fn new(
        blobs: Blobs,
        manifests: Manifests,
        map: SharedMap,
        clock: Arc<dyn Clock>,
        grace: Duration,
    ) -> Self {
        Self {
            blobs,
            manifests,
            map,
            clock,
            grace,
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.now_unix_ms()).unwrap_or(0)
    }

    /// Collects until the node stops.
    pub async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let work = async {
            tokio::time::sleep(FIRST_PAUSE).await;
            loop {
                match self.pass().await {
                    Ok(0) => {}
                    Ok(deleted) => {
                        tracing::info!(deleted, "chunks that nothing named were deleted");
                    }
                    Err(error) => tracing::info!(%error, "chunks were not collected"),
                }
                tokio::time::sleep(self.blobs.inner.limits.collect_interval).await;
            }
        };
        tokio::select! {
            () = work => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    /// One pass over all chunks of this node; says how many were deleted.
    pub async fn pass(&self) -> StorageResult<u64> {
        let mut deleted = 0;
        let mut after = None;
        loop {
            let began_ms = self.now_ms();
            let (candidates, next) = self.candidates(after, Some(began_ms)).await?;
            if !candidates.is_empty() {
                let unnamed: Vec<ChunkHash> = self.unnamed(candidates).await?.into_iter().collect();
                for part in unnamed.chunks(STEP) {
                    let collected = self.blobs.inner.store.collect(part, began_ms).await;
                    let collected =
                        collected.map_err(|error| StorageError::Unavailable(error.to_string()))?;
                    deleted += collected.deleted as u64;
                }
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(deleted),
            }
        }
    }

    /// Chunks that nothing names at this moment.
    pub async fn count(&self) -> StorageResult<Unnamed> {
        let mut found = Unnamed::default();
        let mut after = None;
        loop {
            let began_ms = self.now_ms();
            let (all, next) = self.candidates(after, None).await?;
            let unnamed = self.unnamed(all).await?;
            let names: Vec<ChunkHash> = unnamed.into_iter().collect();
            for part in names.chunks(STEP) {
                let infos = self.blobs.inner.store.infos(part.to_vec()).await;
                let infos = infos.map_err(|error| StorageError::Unavailable(error.to_string()))?;
                for info in infos.into_iter().flatten() {
                    if self.is_past_grace(info.put_ms, began_ms) {
                        found.past_grace += 1;
                    } else {
                        found.within_grace += 1;
                    }
                }
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(found),
            }
        }
    }

    fn is_past_grace(&self, put_ms: u64, now_ms: u64) -> bool {
        let past = put_ms.saturating_add(self.grace.as_millis() as u64) <= now_ms;
        past || mutant::has("collect-pinned")
    }

    /// Some chunks behind `after`, and where to go on; with a time only those that are past their grace then.
    async fn candidates(
        &self,
        mut after: Option<ChunkHash>,
        past_grace_at_ms: Option<u64>,
    ) -> StorageResult<(HashSet<ChunkHash>, Option<ChunkHash>)> {
        let mut candidates = HashSet::new();
        while candidates.len() < self.blobs.inner.limits.candidates_max {
            let listed = self.blobs.inner.store.list(after, STEP).await;
            let listed = listed.map_err(|error| StorageError::Unavailable(error.to_string()))?;
            let Some(last) = listed.last() else {
                return Ok((candidates, None));
            };
            after = Some(last.hash);
            let old = listed.iter().filter(|listed| {
                past_grace_at_ms.is_none_or(|now_ms| self.is_past_grace(listed.info.put_ms, now_ms))
            });
            candidates.extend(old.map(|listed| listed.hash));
        }
        Ok((candidates, after))
    }

    /// Those of `candidates` that no manifest of any environment names.
    async fn unnamed(
        &self,
        mut candidates: HashSet<ChunkHash>,
    ) -> StorageResult<HashSet<ChunkHash>> {
        if candidates.is_empty() {
            return Ok(candidates);
        }
        let environments: Vec<String> = self.map.get().environments.keys().cloned().collect();
        for env in environments {
            let mut contents = self.manifests.contents(&env);
            while let Some(page) = contents.next().await? {
                for (_, content) in page {
                    let mut parts = self.blobs.parts(&content)?;
                    while let Some((list, pieces)) = parts.next().await? {
                        let named = pieces.iter().map(|piece| piece.hash);
                        for hash in named.chain(list) {
                            candidates.remove(&hash);
                        }
                    }
                }
            }
        }
        Ok(candidates)
    }
}
