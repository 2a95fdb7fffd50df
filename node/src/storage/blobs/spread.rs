//! Chunks to their holders, each durable on two nodes before anybody is told.
//!
//! A batch of chunks goes to all its holders at once. What is durable on two of them is done; the third goes on by itself
//! within bounds, and is left to repair when it fails. Where holders fail or keep silent, the next nodes of the ranking are
//! asked in their place: readers look there too, and repair brings the chunks home.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use yunbase_chunkstore::{Chunk, ChunkHash, UploadId};

use super::peers::HolderError;
use super::{Blobs, here};
use crate::mutant;
use crate::storage::error::{StorageError, StorageResult};

/// Nodes on which a chunk must be durable before its file is acknowledged, where there are as many.
const ACKNOWLEDGED_ON: usize = 2;
/// A batch of no more bytes is sent at once; a larger one asks first what is there already.
const UNASKED_BYTES_MAX: usize = 64 << 10;

impl Blobs {
    /// Makes chunks durable on as many nodes as a put promises, kept for `upload`.
    pub async fn put(&self, upload: UploadId, chunks: Vec<Chunk>) -> StorageResult<()> {
        let layout = self.inner.layout.get();
        let is_mutant = mutant::has("acknowledge-one-copy");
        let needed = match is_mutant {
            true => 1,
            false => ACKNOWLEDGED_ON.min(layout.copies()),
        };
        if layout.copies() == 0 {
            return Err(StorageError::Unavailable(
                "this node does not know yet where chunks belong: try again shortly".to_owned(),
            ));
        }
        let mut wanted: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut rankings: Vec<std::vec::IntoIter<u64>> = Vec::with_capacity(chunks.len());
        for (number, chunk) in chunks.iter().enumerate() {
            let hash = chunk.hash();
            let first = if is_mutant { 1 } else { layout.copies() };
            for holder in layout.holders(&hash).take(first) {
                wanted.entry(holder).or_default().push(number);
            }
            let rest: Vec<u64> = layout.ranked(&hash).skip(layout.copies()).collect();
            rankings.push(rest.into_iter());
        }
        let mut batch = Batch {
            upload,
            copies: vec![0; chunks.len()],
            needed,
            chunks,
            asked: HashMap::new(),
            sendings: 0,
        };
        let mut sent = FuturesUnordered::new();
        for (holder, numbers) in wanted {
            sent.push(self.send(batch.part(holder, numbers)));
        }
        let mut patience = Box::pin(tokio::time::sleep(self.inner.limits.write_patience));
        let mut is_patient = true;
        let mut failures: Vec<(u64, HolderError)> = Vec::new();
        while !batch.is_done() {
            let failed = tokio::select! {
                outcome = sent.next() => match outcome {
                    Some((id, Ok(()))) => {
                        batch.arrived(id);
                        continue;
                    }
                    Some((id, Err(error))) => {
                        let Some(part) = batch.asked.remove(&id) else {
                            continue;
                        };
                        failures.push((part.holder, error));
                        self.remember(&batch.chunks, &part);
                        part.numbers
                    }
                    None => return Err(unavailable(&failures, needed)),
                },
                () = &mut patience, if is_patient => {
                    is_patient = false;
                    batch.lacking()
                }
            };
            // The next of the ranking, in the place of those that failed.
            let mut instead: HashMap<u64, Vec<usize>> = HashMap::new();
            for number in failed {
                if batch.copies[number] < needed
                    && let Some(next) = rankings[number].next()
                {
                    instead.entry(next).or_default().push(number);
                }
            }
            for (holder, numbers) in instead {
                sent.push(self.send(batch.part(holder, numbers)));
            }
        }
        if !sent.is_empty() {
            self.let_finish(sent, batch);
        }
        Ok(())
    }

    /// Lets the rest of the holders finish by themselves, within the bound for that.
    fn let_finish(&self, mut sent: FuturesUnordered<Sending>, mut batch: Batch) {
        let bytes: usize = batch.chunks.iter().map(|chunk| chunk.bytes().len()).sum();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let stragglers = self.inner.stragglers.clone();
        let permit = stragglers.try_acquire_many_owned(bytes).ok();
        let blobs = self.clone();
        tokio::spawn(async move {
            // Without a permit more would be held than may be: what has not arrived by now is left to repair.
            let patience = match &permit {
                Some(_) => blobs.inner.limits.call_timeout,
                None => Duration::ZERO,
            };
            let late = tokio::time::Instant::now() + patience;
            while let Ok(Some((id, outcome))) = tokio::time::timeout_at(late, sent.next()).await {
                if outcome.is_ok() {
                    batch.arrived(id);
                }
            }
            for part in batch.asked.values() {
                blobs.remember(&batch.chunks, part);
            }
            drop(permit);
        });
    }

    /// Copies that this holder should have and perhaps does not.
    fn remember(&self, chunks: &[Chunk], part: &Part) {
        for number in &part.numbers {
            let hash = chunks[*number].hash();
            self.expect_at(hash, part.holder);
        }
    }

    fn send(&self, (id, upload, holder, chunks): (usize, UploadId, u64, Vec<Chunk>)) -> Sending {
        let blobs = self.clone();
        Box::pin(async move { (id, blobs.send_chunks(holder, upload, &chunks).await) })
    }

    async fn send_chunks(
        &self,
        holder: u64,
        upload: UploadId,
        chunks: &[Chunk],
    ) -> Result<(), HolderError> {
        let inner = &self.inner;
        if holder == inner.node {
            return here::put(&inner.store, upload, chunks).await;
        }
        let bytes: usize = chunks.iter().map(|chunk| chunk.bytes().len()).sum();
        if bytes <= UNASKED_BYTES_MAX {
            return inner.peers.put(holder, upload, chunks).await;
        }
        let hashes: Vec<ChunkHash> = chunks.iter().map(Chunk::hash).collect();
        let present = inner.peers.pin(holder, upload, &hashes).await?;
        let missing: Vec<Chunk> = chunks
            .iter()
            .zip(present)
            .filter(|(_, size)| size.is_none())
            .map(|(chunk, _)| chunk.clone())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        inner.peers.put(holder, upload, &missing).await
    }

    /// Keeps chunks that are there already for an upload; tells the sizes of those that are durable on as many nodes as a put
    /// promises.
    pub async fn pin(
        &self,
        upload: UploadId,
        hashes: &[ChunkHash],
    ) -> StorageResult<Vec<Option<u32>>> {
        let layout = self.inner.layout.get();
        let needed = ACKNOWLEDGED_ON.min(layout.copies());
        let mut copies: Vec<(usize, u32)> = vec![(0, 0); hashes.len()];
        let mut failures = Vec::new();
        // Those who shall have the chunks first, then whoever may have some in their place.
        for is_first in [true, false] {
            let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
            for (number, hash) in hashes.iter().enumerate() {
                if copies[number].0 >= needed {
                    continue;
                }
                let (skip, take) = match is_first {
                    true => (0, layout.copies()),
                    false => (layout.copies(), usize::MAX),
                };
                for holder in layout.ranked(hash).skip(skip).take(take) {
                    places.entry(holder).or_default().push(number);
                }
            }
            let asked = places
                .into_iter()
                .map(|(holder, numbers)| self.pin_at(holder, upload, hashes, numbers));
            for (found, failure) in futures::future::join_all(asked).await {
                for (number, size) in found {
                    copies[number].0 += 1;
                    copies[number].1 = size;
                }
                failures.extend(failure);
            }
        }
        if failures.len() >= layout.hosts().len() {
            return Err(unavailable(&failures, needed));
        }
        let durable = |(count, size)| (count >= needed).then_some(size);
        Ok(copies.into_iter().map(durable).collect())
    }

    /// Keeps those of `hashes` that `numbers` names at one node; tells the sizes of those that are there.
    async fn pin_at(
        &self,
        holder: u64,
        upload: UploadId,
        hashes: &[ChunkHash],
        numbers: Vec<usize>,
    ) -> (Vec<(usize, u32)>, Option<(u64, HolderError)>) {
        let mut found = Vec::new();
        for part in numbers.chunks(self.inner.limits.hashes_per_call_max) {
            let names: Vec<ChunkHash> = part.iter().map(|number| hashes[*number]).collect();
            let pinned = if holder == self.inner.node {
                here::pin(&self.inner.store, upload, &names).await
            } else {
                self.inner.peers.pin(holder, upload, &names).await
            };
            match pinned {
                Ok(sizes) => {
                    let known = part.iter().zip(sizes);
                    found.extend(known.filter_map(|(number, size)| Some((*number, size?))));
                }
                Err(error) => return (found, Some((holder, error))),
            }
        }
        (found, None)
    }

    /// An upload that a caller has named has ended.
    pub fn end(&self, upload: UploadId) {
        self.inner.store.release(upload);
        self.inner.releases.add(upload);
    }
}

/// Chunks on their way to one holder, by the number of the sending.
type Sending = BoxFuture<'static, (usize, Result<(), HolderError>)>;

/// What goes to one holder.
struct Part {
    holder: u64,
    /// Places in the batch.
    numbers: Vec<usize>,
}

/// Chunks on their way.
struct Batch {
    upload: UploadId,
    chunks: Vec<Chunk>,
    /// On how many nodes each is durable.
    copies: Vec<usize>,
    needed: usize,
    /// What has not been answered yet, by the number of the sending.
    asked: HashMap<usize, Part>,
    sendings: usize,
}

impl Batch {
    /// Notes that a holder is sent some of the chunks.
    fn part(&mut self, holder: u64, numbers: Vec<usize>) -> (usize, UploadId, u64, Vec<Chunk>) {
        let chunks = numbers
            .iter()
            .map(|number| self.chunks[*number].clone())
            .collect();
        self.sendings += 1;
        self.asked.insert(self.sendings, Part { holder, numbers });
        (self.sendings, self.upload, holder, chunks)
    }

    fn arrived(&mut self, id: usize) {
        if let Some(part) = self.asked.remove(&id) {
            for number in part.numbers {
                self.copies[number] += 1;
            }
        }
    }

    fn lacking(&self) -> Vec<usize> {
        (0..self.chunks.len())
            .filter(|number| self.copies[*number] < self.needed)
            .collect()
    }

    fn is_done(&self) -> bool {
        self.copies.iter().all(|copies| *copies >= self.needed)
    }
}

fn unavailable(failures: &[(u64, HolderError)], needed: usize) -> StorageError {
    let told: Vec<String> = failures
        .iter()
        .map(|(node, error)| format!("node {node}: {error}"))
        .collect();
    let text = format!(
        "too few of the nodes that hold files took it; {needed} must: {}",
        told.join("; ")
    );
    if failures
        .iter()
        .any(|(_, error)| *error == HolderError::Full)
    {
        StorageError::Full(text)
    } else {
        StorageError::Unavailable(text)
    }
}
