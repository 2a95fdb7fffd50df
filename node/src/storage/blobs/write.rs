//! A content becomes chunks, cut where it says so, while earlier ones are on their way to their holders.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt as _};
use md5::{Digest as _, Md5};
use tokio::io::AsyncRead;
use yunbase_chunkstore::{Chunk, Splitter, UploadId};

use super::content::Built;
use super::{Blobs, SPLIT};
use crate::storage::error::{StorageError, StorageResult};
use crate::storage::record::{Content, Piece};

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
        self.blobs.end(self.upload);
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
        let mut content = self.build(upload);
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
                let piece = Piece {
                    hash: chunk.hash(),
                    // A chunk is smaller than its largest size, which fits.
                    bytes: chunk.bytes().len() as u32,
                };
                content.push(piece).await?;
            }
            if content.bytes() > options.bytes_max {
                return Err(StorageError::TooLarge {
                    bytes_max: options.bytes_max,
                });
            }
            if let Some(state) = digest.take() {
                digest = Some(digest_on(state, &chunks).await?);
            }
            on_their_way.push_back(Box::pin(self.put(upload, chunks)));
            while on_their_way.len() >= limits.batches_in_flight_max {
                if let Some(stored) = on_their_way.next().await {
                    stored?;
                }
            }
        }
        while let Some(stored) = on_their_way.next().await {
            stored?;
        }
        let Built {
            content,
            bytes,
            digest: etag,
        } = content.finish().await?;
        Ok(Written {
            content,
            bytes,
            digest: etag,
            md5: digest.map(|state| state.finalize().into()),
            pinned,
        })
    }
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
