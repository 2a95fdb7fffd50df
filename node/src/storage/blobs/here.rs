//! What this node does with its own store, for itself and for others.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use yunbase_chunkstore::{Chunk, ChunkHash, GetError, PutError, Store, UploadId};

use super::peers::HolderError;
use crate::peer_proto::ChunkState;

/// Chunks of one call that are stored at once: enough to share syncs.
const PUTS_AT_ONCE: usize = 64;

/// Keeps chunks for an upload; tells the sizes of those that are here.
pub(super) async fn pin(
    store: &Store,
    upload: UploadId,
    hashes: &[ChunkHash],
) -> Result<Vec<Option<u32>>, HolderError> {
    let refused = |error: &dyn std::fmt::Display| HolderError::Refused(error.to_string());
    let here = store.pin(upload, hashes).await.map_err(|e| refused(&e))?;
    let known = hashes.iter().zip(&here);
    let known = known.filter_map(|(hash, is_here)| is_here.then_some(*hash));
    let infos = store
        .infos(known.collect())
        .await
        .map_err(|e| refused(&e))?;
    let mut infos = infos.into_iter();
    let size = |is_here| match is_here {
        true => infos.next().flatten().map(|info| info.plain_bytes),
        false => None,
    };
    Ok(here.into_iter().map(size).collect())
}

/// Stores chunks, durably, and keeps them for an upload.
pub(super) async fn put(
    store: &Store,
    upload: UploadId,
    chunks: &[Chunk],
) -> Result<(), HolderError> {
    let hashes: Vec<ChunkHash> = chunks.iter().map(Chunk::hash).collect();
    let here = store.pin(upload, &hashes).await;
    let here = here.map_err(|error| HolderError::Refused(error.to_string()))?;
    let missing = chunks
        .iter()
        .zip(here)
        .filter_map(|(chunk, is_here)| (!is_here).then_some(chunk));
    put_unpinned(store, missing).await
}

/// Stores chunks, durably.
pub(super) async fn put_unpinned(
    store: &Store,
    chunks: impl Iterator<Item = &Chunk>,
) -> Result<(), HolderError> {
    let puts = chunks.map(|chunk| store.put(chunk));
    let mut outcomes = stream::iter(puts.collect::<Vec<_>>()).buffer_unordered(PUTS_AT_ONCE);
    let mut failure = None;
    while let Some(outcome) = outcomes.next().await {
        failure = failure.or(outcome.err());
    }
    match failure {
        None => Ok(()),
        Some(PutError::Full) => Err(HolderError::Full),
        Some(error) => Err(HolderError::Refused(error.to_string())),
    }
}

/// What a node has of a chunk that it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Got {
    /// Its bytes, compared with its name.
    Bytes(Bytes),
    /// It is not there.
    Absent,
    /// It is there, and not as it was.
    Damaged,
    /// The disk did not answer.
    Unknown,
}

/// Reads chunks.
pub(super) async fn get(store: &Store, hashes: &[ChunkHash]) -> Vec<Got> {
    join_all(hashes.iter().map(|hash| get_one(store, *hash))).await
}

/// Reads a chunk.
pub(super) async fn get_one(store: &Store, hash: ChunkHash) -> Got {
    match store.get(hash).await {
        Ok(bytes) => Got::Bytes(bytes),
        Err(GetError::NotFound(_)) => Got::Absent,
        Err(GetError::Corrupt { .. }) => Got::Damaged,
        Err(GetError::Range { .. } | GetError::Io { .. }) => Got::Unknown,
    }
}

/// What is known of chunks; with `deep` each is read.
pub(super) async fn have(store: &Store, hashes: Vec<ChunkHash>, deep: bool) -> Vec<ChunkState> {
    if deep {
        let states = hashes.iter().map(|hash| async move {
            match get_one(store, *hash).await {
                Got::Bytes(_) => ChunkState::Intact,
                Got::Absent => ChunkState::Absent,
                Got::Damaged => ChunkState::Damaged,
                Got::Unknown => ChunkState::Unknown,
            }
        });
        return stream::iter(states.collect::<Vec<_>>())
            .buffered(PUTS_AT_ONCE)
            .collect()
            .await;
    }
    let count = hashes.len();
    match store.infos(hashes).await {
        Ok(infos) => infos
            .into_iter()
            .map(|info| match info {
                None => ChunkState::Absent,
                Some(info) if info.is_corrupt => ChunkState::Damaged,
                Some(_) => ChunkState::Intact,
            })
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "look for chunks");
            vec![ChunkState::Unknown; count]
        }
    }
}

/// Paces work by its bytes.
pub(super) struct Throttle {
    bytes_per_second: u64,
    next: tokio::sync::Mutex<tokio::time::Instant>,
}

impl Throttle {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            next: tokio::sync::Mutex::new(tokio::time::Instant::now()),
        }
    }

    /// Waits until `bytes` more may be dealt with.
    pub(super) async fn pass(&self, bytes: u64) {
        let took = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let until = {
            let mut next = self.next.lock().await;
            let begin = (*next).max(tokio::time::Instant::now());
            *next = begin + took;
            begin
        };
        tokio::time::sleep_until(until).await;
    }
}
