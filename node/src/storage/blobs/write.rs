//! A content becomes chunks, each durable on two nodes before anybody is told.
//!
//! A batch of chunks goes to all its holders at once. What is durable on two of them is done; the third goes on by itself
//! within bounds, and is left to repair when it fails. Where holders fail or keep silent, the next nodes of the ranking are
//! asked in their place: readers look there too, and repair brings the chunks home.

use std::collections::HashMap;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, FuturesUnordered, StreamExt as _};
use md5::{Digest as _, Md5};
use tokio::io::AsyncRead;
use yunbase_chunkstore::{Chunk, ChunkHash, Splitter, UploadId};

use super::peers::HolderError;
use super::{Blobs, SPLIT, here};
use crate::storage::error::{StorageError, StorageResult};
use crate::storage::limits::{INLINE_CHUNKS_MAX, LIST_CHUNKS_MAX};
use crate::storage::record::{Content, Piece};

/// Nodes on which a chunk must be durable before its file is acknowledged, where there are as many.
const ACKNOWLEDGED_ON: usize = 2;
/// A batch of no more bytes is sent at once; a larger one asks first what is there already.
const UNASKED_BYTES_MAX: usize = 64 << 10;

/// What to do with a content beside storing it.
#[derive(Debug, Clone, Copy)]
pub struct WriteOptions {
    /// Most bytes.
    pub bytes_max: u64,
    /// Whether its MD5 is wanted.
    pub md5: bool,
}

/// A content that is durable. Commit a manifest that names it before the guard is dropped.
#[derive(Debug)]
pub struct Written {
    /// Its chunks.
    pub content: Content,
    /// Bytes.
    pub bytes: u64,
    /// Hexadecimal, of its chunks and their order: the same content cut in the same way has the same.
    pub digest: String,
    /// If it was wanted.
    pub md5: Option<[u8; 16]>,
    /// Keeps the chunks.
    pub pinned: PinnedContent,
}

/// Keeps chunks from being collected until it is dropped.
#[derive(Debug)]
pub struct PinnedContent {
    blobs: Blobs,
    upload: UploadId,
}

impl PinnedContent {
    /// The upload under which they are kept.
    pub fn upload(&self) -> UploadId {
        self.upload
    }
}

impl Drop for PinnedContent {
    fn drop(&mut self) {
        // Without a runtime the node is stopping, and the pins end with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (blobs, upload) = (self.blobs.clone(), self.upload);
            runtime.spawn(async move { blobs.release(upload).await });
        }
    }
}

impl std::fmt::Debug for Blobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blobs of node {}", self.inner.node)
    }
}

impl Blobs {
    /// An upload of this node's own, and what keeps its chunks.
    pub fn begin(&self) -> PinnedContent {
        PinnedContent {
            blobs: self.clone(),
            upload: UploadId(rand::random()),
        }
    }

    /// Stores a content.
    pub async fn write(
        &self,
        body: impl AsyncRead + Send + Unpin,
        options: WriteOptions,
    ) -> StorageResult<Written> {
        let pinned = self.begin();
        let upload = pinned.upload;
        let limits = &self.inner.limits;
        let mut splitter =
            Splitter::new(body, SPLIT).map_err(|error| StorageError::Invalid(error.to_string()))?;
        let mut on_their_way: FuturesOrdered<BoxFuture<'_, StorageResult<()>>> =
            FuturesOrdered::new();
        let mut pieces = Pieces::default();
        let mut digest = options.md5.then(Md5::new);
        loop {
            let next = splitter.next_chunks(limits.batch_bytes);
            tokio::pin!(next);
            // Batches go on while the next one arrives.
            let chunks = loop {
                tokio::select! {
                    biased;
                    Some(stored) = on_their_way.next(), if !on_their_way.is_empty() => stored?,
                    chunks = &mut next => break chunks,
                }
            };
            let chunks = chunks.map_err(|error| arrived_badly(&error))?;
            if chunks.is_empty() {
                break;
            }
            for chunk in &chunks {
                pieces.push(chunk);
            }
            if pieces.bytes > options.bytes_max {
                return Err(StorageError::TooLarge {
                    bytes_max: options.bytes_max,
                });
            }
            if let Some(state) = digest.take() {
                digest = Some(digest_on(state, &chunks).await?);
            }
            on_their_way.push_back(Box::pin(self.store(upload, chunks)));
            while on_their_way.len() >= limits.batches_in_flight_max {
                if let Some(stored) = on_their_way.next().await {
                    stored?;
                }
            }
        }
        while let Some(stored) = on_their_way.next().await {
            stored?;
        }
        let (bytes, digest_of_chunks) = (pieces.bytes, pieces.digest());
        let content = self.content_of(upload, pieces.pieces).await?;
        Ok(Written {
            content,
            bytes,
            digest: digest_of_chunks,
            md5: digest.map(|state| state.finalize().into()),
            pinned,
        })
    }

    /// The content that consists of these pieces; where they are many, stores the lists that name them.
    pub async fn content_of(
        &self,
        upload: UploadId,
        pieces: Vec<Piece>,
    ) -> StorageResult<Content> {
        if pieces.len() <= INLINE_CHUNKS_MAX {
            return Ok(Content::of(&pieces, false));
        }
        let mut lists = Vec::new();
        for part in pieces.chunks(LIST_CHUNKS_MAX) {
            let mut encoded = Vec::with_capacity(part.len() * Piece::BYTES);
            part.iter().for_each(|piece| piece.encode(&mut encoded));
            let bytes: u64 = part.iter().map(|piece| u64::from(piece.bytes)).sum();
            let chunk = Chunk::new(encoded.into())
                .map_err(|error| StorageError::Invalid(error.to_string()))?;
            lists.push(Piece {
                hash: chunk.hash(),
                bytes: u32::try_from(bytes).map_err(|_| {
                    StorageError::Invalid("a list of chunks stands for more than 4 GiB".to_owned())
                })?,
            });
            self.store(upload, vec![chunk]).await?;
        }
        if lists.len() > INLINE_CHUNKS_MAX {
            return Err(StorageError::Invalid(
                "the content has more chunks than a manifest can name".to_owned(),
            ));
        }
        Ok(Content::of(&lists, true))
    }

    /// Makes chunks durable on as many nodes as a put promises, kept for `upload`.
    pub async fn store(&self, upload: UploadId, chunks: Vec<Chunk>) -> StorageResult<()> {
        let layout = self.inner.layout.get();
        let needed = ACKNOWLEDGED_ON.min(layout.copies());
        if needed == 0 {
            return Err(StorageError::Unavailable(
                "this node does not know yet where chunks belong: try again shortly".to_owned(),
            ));
        }
        let mut wanted: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut rankings: Vec<std::vec::IntoIter<u64>> = Vec::with_capacity(chunks.len());
        for (number, chunk) in chunks.iter().enumerate() {
            let hash = chunk.hash();
            for holder in layout.holders(&hash) {
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
        };
        let mut sent = FuturesUnordered::new();
        for (holder, numbers) in wanted {
            sent.push(self.send(holder, batch.part(numbers)));
        }
        let mut patience = Box::pin(tokio::time::sleep(self.inner.limits.write_patience));
        let mut is_patient = true;
        let mut failures: Vec<(u64, HolderError)> = Vec::new();
        while !batch.is_done() {
            let failed = tokio::select! {
                outcome = sent.next() => match outcome {
                    Some((part, Ok(()))) => {
                        batch.count(&part);
                        continue;
                    }
                    Some((part, Err(error))) => {
                        failures.push((part.holder, error));
                        self.remember(&part);
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
                sent.push(self.send(holder, batch.part(numbers)));
            }
        }
        if !sent.is_empty() {
            self.let_finish(sent, &batch);
        }
        Ok(())
    }

    /// Lets the rest of the holders finish by themselves, within the bound for that.
    fn let_finish(
        &self,
        mut sent: FuturesUnordered<BoxFuture<'static, (Part, Result<(), HolderError>)>>,
        batch: &Batch,
    ) {
        let bytes: usize = batch.chunks.iter().map(|chunk| chunk.bytes().len()).sum();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let stragglers = self.inner.stragglers.clone();
        let permit = stragglers.try_acquire_many_owned(bytes).ok();
        let blobs = self.clone();
        tokio::spawn(async move {
            // Without a permit it would hold more than it may: what has not arrived by now is left to repair.
            let patience = match &permit {
                Some(_) => blobs.inner.limits.call_timeout,
                None => std::time::Duration::ZERO,
            };
            let late = tokio::time::Instant::now() + patience;
            while let Ok(Some((part, outcome))) = tokio::time::timeout_at(late, sent.next()).await {
                if outcome.is_err() {
                    blobs.remember(&part);
                }
            }
            drop(permit);
        });
    }

    /// A copy that this holder should have and perhaps does not.
    fn remember(&self, part: &Part) {
        for chunk in &part.chunks {
            self.inner.repairs.add(chunk.hash(), part.holder);
        }
    }

    fn send(
        &self,
        holder: u64,
        part: (UploadId, Vec<usize>, Vec<Chunk>),
    ) -> BoxFuture<'static, (Part, Result<(), HolderError>)> {
        let (upload, numbers, chunks) = part;
        let blobs = self.clone();
        Box::pin(async move {
            let outcome = blobs.send_chunks(holder, upload, &chunks).await;
            let part = Part {
                holder,
                numbers,
                chunks,
            };
            (part, outcome)
        })
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
            .filter_map(|(chunk, is_there)| (!is_there).then(|| chunk.clone()))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        inner.peers.put(holder, upload, &missing).await
    }

    /// Keeps chunks that are there already for an upload; tells which are durable on as many nodes as a put promises.
    pub async fn pin(&self, upload: UploadId, hashes: &[ChunkHash]) -> StorageResult<Vec<bool>> {
        let layout = self.inner.layout.get();
        let needed = ACKNOWLEDGED_ON.min(layout.copies());
        let mut copies = vec![0; hashes.len()];
        let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
        for (number, hash) in hashes.iter().enumerate() {
            for holder in layout.ranked(hash) {
                places.entry(holder).or_default().push(number);
            }
        }
        let asked = places.into_iter().map(|(holder, numbers)| async move {
            let mut found = Vec::new();
            let mut failure = None;
            for part in numbers.chunks(self.inner.limits.hashes_per_call_max) {
                let names: Vec<ChunkHash> = part.iter().map(|number| hashes[*number]).collect();
                let pinned = if holder == self.inner.node {
                    here::pin(&self.inner.store, upload, &names).await
                } else {
                    self.inner.peers.pin(holder, upload, &names).await
                };
                match pinned {
                    Ok(present) => found.extend(
                        part.iter()
                            .zip(present)
                            .filter_map(|(number, is_there)| is_there.then_some(*number)),
                    ),
                    Err(error) => failure = Some((holder, error)),
                }
            }
            (found, failure)
        });
        let mut failures = Vec::new();
        for (found, failure) in futures::future::join_all(asked).await {
            for number in found {
                copies[number] += 1;
            }
            failures.extend(failure);
        }
        if failures.len() >= layout.hosts().len() {
            return Err(unavailable(&failures, needed));
        }
        Ok(copies.into_iter().map(|count| count >= needed).collect())
    }

    /// Ends an upload on every node.
    async fn release(&self, upload: UploadId) {
        let layout = self.inner.layout.get();
        let released = layout.hosts().iter().map(|host| async move {
            if host.id == self.inner.node {
                self.inner.store.release(upload);
            } else if !self.inner.peers.is_suspect(host.id) {
                // One that does not hear of it forgets the pins when their lease ends.
                let _ = self.inner.peers.release(host.id, upload).await;
            }
        });
        futures::future::join_all(released).await;
    }
}

/// What goes to one holder.
struct Part {
    holder: u64,
    /// Places in the batch.
    numbers: Vec<usize>,
    chunks: Vec<Chunk>,
}

/// Chunks on their way.
struct Batch {
    upload: UploadId,
    chunks: Vec<Chunk>,
    /// On how many nodes each is durable.
    copies: Vec<usize>,
    needed: usize,
}

impl Batch {
    fn part(&self, numbers: Vec<usize>) -> (UploadId, Vec<usize>, Vec<Chunk>) {
        let chunks = numbers
            .iter()
            .map(|number| self.chunks[*number].clone())
            .collect();
        (self.upload, numbers, chunks)
    }

    fn count(&mut self, part: &Part) {
        for number in &part.numbers {
            self.copies[*number] += 1;
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

/// The pieces of a content as it is cut.
#[derive(Default)]
struct Pieces {
    pieces: Vec<Piece>,
    bytes: u64,
    hasher: blake3::Hasher,
}

impl Pieces {
    fn push(&mut self, chunk: &Chunk) {
        // A chunk is smaller than its largest size, which fits.
        let bytes = chunk.bytes().len() as u32;
        self.bytes += u64::from(bytes);
        self.hasher.update(chunk.hash().as_bytes());
        self.pieces.push(Piece {
            hash: chunk.hash(),
            bytes,
        });
    }

    fn digest(&self) -> String {
        digest_text(&self.hasher)
    }
}

/// Sixteen bytes are enough to tell contents apart.
fn digest_text(hasher: &blake3::Hasher) -> String {
    hex::encode(&hasher.finalize().as_bytes()[..16])
}

/// The digest of a content that consists of these pieces.
pub fn digest_of(pieces: &[Piece]) -> String {
    let mut hasher = blake3::Hasher::new();
    for piece in pieces {
        hasher.update(piece.hash.as_bytes());
    }
    digest_text(&hasher)
}

async fn digest_on(mut state: Md5, chunks: &[Chunk]) -> StorageResult<Md5> {
    let parts: Vec<Bytes> = chunks.iter().map(|chunk| chunk.bytes().clone()).collect();
    let updated = tokio::task::spawn_blocking(move || {
        for part in parts {
            state.update(&part);
        }
        state
    });
    updated
        .await
        .map_err(|error| StorageError::Aborted(format!("the content was not read: {error}")))
}

fn arrived_badly(error: &std::io::Error) -> StorageError {
    // Readers of bodies wrap what they know better.
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(known) => StorageError::clone(known),
        None => StorageError::Aborted(format!("the content did not arrive: {error}")),
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
