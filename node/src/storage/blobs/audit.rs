//! Looks whether every chunk that a manifest names is where it belongs, and has missing copies made.
//!
//! The node that leads an environment's group looks after its files: from time to time, and soon after members or their disks
//! have changed. Within a step, chunks with the fewest copies are repaired first.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use yunbase_chunkstore::ChunkHash;

use super::{Blobs, collect::Collector};
use crate::cluster::map::SharedMap;
use crate::peer_proto::ChunkState;
use crate::router::Router;
use crate::storage::error::StorageResult;
use crate::storage::manifests::Manifests;
use crate::storage::record::Content;

/// Files that are lost of which a report tells the names.
const NAMES_MAX: usize = 100;
/// Chunks that are looked for at once.
const STEP: usize = 4096;
/// Copies that a holder is told to fetch with one call: it does so at the pace of repairs.
const FETCH_STEP: usize = 512;
/// How long members must have been the same before an audit that they caused begins.
const CALM: Duration = Duration::from_secs(2);

/// What an audit has found so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Contents: files, deleted ones that can be restored, and parts of uploads.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Different chunks that they name, as far as they were met in the same step.
    pub chunks: u64,
    /// Copies that were missing.
    pub missing_copies: u64,
    /// Copies that were damaged.
    pub damaged_copies: u64,
    /// Copies that were made meanwhile.
    pub repaired_copies: u64,
    /// Chunks without any intact copy, as far as nodes answered.
    pub lost_chunks: u64,
    /// Files that name such chunks, the first of them.
    pub lost_files: Vec<String>,
    /// Chunks that nodes keep past their grace and that nothing names.
    pub unnamed_chunks: u64,
    /// Nodes that did not answer: what they have is not known.
    pub unreachable: BTreeSet<u64>,
}

impl VerifyReport {
    /// Whether everything is as it should be.
    pub fn is_clean(&self) -> bool {
        self.missing_copies == 0
            && self.damaged_copies == 0
            && self.lost_chunks == 0
            && self.unnamed_chunks == 0
            && self.unreachable.is_empty()
    }
}

/// How the audits of this node stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditStatus {
    /// Audits that have been through since the start.
    pub finished: u64,
    /// Contents that the one under way has looked at.
    pub files: u64,
    /// What the last one found, of all environments.
    pub last: VerifyReport,
}

/// Chunks that are to be looked for, and the files that name them.
type Waiting = HashMap<ChunkHash, Vec<Arc<str>>>;

/// Audits.
pub struct Auditor {
    blobs: Blobs,
    manifests: Manifests,
    map: SharedMap,
    finished: AtomicU64,
    files: AtomicU64,
    last: Mutex<VerifyReport>,
}

impl Auditor {
    /// An auditor of the files of all environments.
    pub fn new(blobs: Blobs, manifests: Manifests, map: SharedMap) -> Self {
        Self {
            blobs,
            manifests,
            map,
            finished: AtomicU64::new(0),
            files: AtomicU64::new(0),
            last: Mutex::default(),
        }
    }

    /// How it stands.
    pub fn status(&self) -> AuditStatus {
        AuditStatus {
            finished: self.finished.load(Ordering::Relaxed),
            files: self.files.load(Ordering::Relaxed),
            last: self.last.lock().clone(),
        }
    }

    /// Audits until the node stops.
    pub async fn run(self: Arc<Self>, router: Arc<Router>, mut stopping: watch::Receiver<bool>) {
        let work = async {
            let mut members = self.members();
            loop {
                self.audit_led(&router).await;
                let interval = self.blobs.inner.limits.audit_interval;
                let _ = tokio::time::timeout(interval, self.changed(&members)).await;
                members = self.members();
            }
        };
        tokio::select! {
            () = work => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    /// Who holds chunks, and on which disks.
    fn members(&self) -> Vec<(u64, bool, Vec<String>)> {
        let map = self.map.get();
        let nodes = map.nodes.iter();
        nodes
            .map(|(id, node)| {
                let leaves = node.leaving_since_ms.is_some();
                (*id, leaves, node.chunk_disks.clone())
            })
            .collect()
    }

    /// Returns when members have changed, and then not for a while.
    async fn changed(&self, known: &[(u64, bool, Vec<String>)]) {
        let mut maps = self.map.watch();
        while self.members() == known {
            if maps.changed().await.is_err() {
                return;
            }
        }
        while let Ok(Ok(())) = tokio::time::timeout(CALM, maps.changed()).await {}
    }

    /// One audit of the environments whose groups this node leads.
    async fn audit_led(&self, router: &Router) {
        self.files.store(0, Ordering::Relaxed);
        let mut total = VerifyReport::default();
        let environments = self.map.get().environments.clone();
        for (env, group) in environments {
            if !router.group(group).is_some_and(|group| group.is_leader()) {
                continue;
            }
            let before = total.files;
            let progress = |report: &VerifyReport| {
                self.files.store(before + report.files, Ordering::Relaxed);
            };
            match self.verify(&env, false, progress).await {
                Ok(report) => add(&mut total, report),
                Err(error) => {
                    tracing::debug!(env, %error, "the audit of files did not get through");
                }
            }
        }
        if total.missing_copies + total.damaged_copies > 0 {
            tracing::info!(
                missing = total.missing_copies,
                damaged = total.damaged_copies,
                repaired = total.repaired_copies,
                "copies of chunks were missing"
            );
        }
        if total.lost_chunks > 0 {
            tracing::error!(
                chunks = total.lost_chunks,
                files = ?total.lost_files,
                "no intact copy of chunks can be found"
            );
        }
        *self.last.lock() = total;
        self.finished.fetch_add(1, Ordering::Relaxed);
    }

    /// Looks at every content of an environment, and has what is missing repaired; with `deep` every copy is read.
    pub async fn verify(
        &self,
        env: &str,
        deep: bool,
        mut progress: impl FnMut(&VerifyReport) + Send,
    ) -> StorageResult<VerifyReport> {
        let mut report = VerifyReport::default();
        let mut contents = self.manifests.contents(env);
        let mut waiting: Waiting = HashMap::new();
        while let Some(page) = contents.next().await? {
            for (name, content) in page {
                report.files += 1;
                report.bytes += bytes_of(&content)?;
                let name: Arc<str> = name.into();
                let mut parts = self.blobs.parts(&content)?;
                loop {
                    match parts.next().await {
                        Ok(None) => break,
                        Ok(Some((list, pieces))) => {
                            let named = pieces.iter().map(|piece| piece.hash);
                            for hash in named.chain(list) {
                                let names = waiting.entry(hash).or_default();
                                if names.last() != Some(&name) {
                                    names.push(name.clone());
                                }
                            }
                        }
                        // A list of its chunks cannot be read: as bad as if they were lost. The next one perhaps can.
                        Err(error) => {
                            tracing::warn!(env, file = &*name, %error, "the chunks of a file are not known");
                            report.lost_chunks += 1;
                            tell(&mut report.lost_files, &name);
                        }
                    }
                    if waiting.len() >= STEP {
                        let step = std::mem::take(&mut waiting);
                        self.step(step, deep, &mut report).await;
                        progress(&report);
                    }
                }
            }
        }
        self.step(waiting, deep, &mut report).await;
        progress(&report);
        Ok(report)
    }

    /// Looks for chunks at all their holders.
    async fn step(&self, named: Waiting, deep: bool, report: &mut VerifyReport) {
        let hashes: Vec<ChunkHash> = named.keys().copied().collect();
        report.chunks += hashes.len() as u64;
        let (states, unreachable) = self.blobs.states(&hashes, deep).await;
        report.unreachable.extend(unreachable.iter().copied());
        let mut missing: Vec<(usize, ChunkHash, u64)> = Vec::new();
        for hash in &hashes {
            let of_chunk = states.get(hash);
            let copies = of_chunk.map_or(0, |states| {
                let intact = states
                    .values()
                    .filter(|state| **state == ChunkState::Intact);
                intact.count()
            });
            let layout = self.blobs.inner.layout.get();
            for holder in layout.holders(hash) {
                match of_chunk.and_then(|states| states.get(&holder)) {
                    Some(ChunkState::Absent) => report.missing_copies += 1,
                    Some(ChunkState::Damaged) => report.damaged_copies += 1,
                    Some(ChunkState::Intact | ChunkState::Unknown) | None => continue,
                }
                missing.push((copies, *hash, holder));
            }
            if copies == 0 && unreachable.is_empty() && !self.is_elsewhere(hash).await {
                report.lost_chunks += 1;
                for name in named.get(hash).into_iter().flatten() {
                    tell(&mut report.lost_files, name);
                }
            }
        }
        missing.sort_by_key(|(copies, hash, _)| (*copies, *hash));
        let mut by_holder: HashMap<u64, Vec<ChunkHash>> = HashMap::new();
        for (_, hash, holder) in missing {
            by_holder.entry(holder).or_default().push(hash);
        }
        for (holder, hashes) in by_holder {
            for part in hashes.chunks(FETCH_STEP) {
                if let Ok(states) = self.blobs.fetch_at(holder, part).await {
                    let made = states.iter().filter(|state| **state == ChunkState::Intact);
                    let made = made.count() as u64;
                    report.repaired_copies += made;
                    self.blobs.inner.repairs.count_repaired(made);
                }
            }
        }
    }

    /// Whether any node at all has a chunk.
    async fn is_elsewhere(&self, hash: &ChunkHash) -> bool {
        self.blobs.fetch(&[*hash]).await.is_ok()
    }

    /// Adds what nodes keep and nothing names.
    pub async fn count_unnamed(&self, collector: &Collector, report: &mut VerifyReport) {
        let layout = self.blobs.inner.layout.get();
        for host in layout.hosts() {
            let found = if host.id == self.blobs.inner.node {
                collector.count().await.map(|found| found.past_grace).ok()
            } else {
                let found = self.blobs.inner.peers.unnamed(host.id).await;
                found.map(|found| found.past_grace).ok()
            };
            match found {
                Some(count) => report.unnamed_chunks += count,
                None => {
                    report.unreachable.insert(host.id);
                }
            }
        }
    }
}

impl Blobs {
    /// What the holders of chunks have of them, and which nodes did not answer.
    pub(super) async fn states(
        &self,
        hashes: &[ChunkHash],
        deep: bool,
    ) -> (HashMap<ChunkHash, HashMap<u64, ChunkState>>, HashSet<u64>) {
        let layout = self.inner.layout.get();
        let mut by_holder: HashMap<u64, Vec<ChunkHash>> = HashMap::new();
        for hash in hashes {
            for holder in layout.holders(hash) {
                by_holder.entry(holder).or_default().push(*hash);
            }
        }
        let asked = by_holder.into_iter().map(|(holder, hashes)| async move {
            let mut found = Vec::new();
            for part in hashes.chunks(self.inner.limits.hashes_per_call_max) {
                let states = if holder == self.inner.node {
                    Ok(self.states_here(part.to_vec(), deep).await)
                } else {
                    self.inner.peers.have(holder, part, deep).await
                };
                match states {
                    Ok(states) => found.extend(part.iter().copied().zip(states)),
                    Err(_) => return (holder, found, true),
                }
            }
            (holder, found, false)
        });
        let mut states: HashMap<ChunkHash, HashMap<u64, ChunkState>> = HashMap::new();
        let mut unreachable = HashSet::new();
        for (holder, found, failed) in futures::future::join_all(asked).await {
            for (hash, state) in found {
                states.entry(hash).or_default().insert(holder, state);
            }
            if failed {
                unreachable.insert(holder);
            }
        }
        (states, unreachable)
    }

    /// How many intact copies each chunk has at its holders, and who they are.
    pub async fn copies(&self, hashes: &[ChunkHash]) -> HashMap<ChunkHash, Vec<u64>> {
        let (states, _) = self.states(hashes, false).await;
        states
            .into_iter()
            .map(|(hash, states)| {
                let intact = states
                    .into_iter()
                    .filter_map(|(holder, state)| (state == ChunkState::Intact).then_some(holder));
                (hash, intact.collect())
            })
            .collect()
    }
}

fn bytes_of(content: &Content) -> StorageResult<u64> {
    let pieces = content.pieces()?;
    Ok(pieces.iter().map(|piece| u64::from(piece.bytes)).sum())
}

fn tell(names: &mut Vec<String>, name: &str) {
    if names.len() < NAMES_MAX && !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}

fn add(total: &mut VerifyReport, report: VerifyReport) {
    total.files += report.files;
    total.bytes += report.bytes;
    total.chunks += report.chunks;
    total.missing_copies += report.missing_copies;
    total.damaged_copies += report.damaged_copies;
    total.repaired_copies += report.repaired_copies;
    total.lost_chunks += report.lost_chunks;
    total.unnamed_chunks += report.unnamed_chunks;
    total.unreachable.extend(report.unreachable);
    for name in &report.lost_files {
        tell(&mut total.lost_files, name);
    }
}
