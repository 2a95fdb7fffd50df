//! A range of a content, from the nearest node that has it, and from the next where that one fails or is slow.
//!
//! Every chunk is compared with its name where it leaves a disk and where it arrives. Slow holders are not waited for: after a
//! while the next one is asked too, and the first to answer wins (hedged requests, after Dean and Barroso, "The Tail at
//! Scale", 2013). A holder that should have a chunk and does not, or has it damaged, is told to repair it.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered, Stream, StreamExt as _};
use yunbase_chunkstore::ChunkHash;

use super::Blobs;
use super::here::{self, Got};
use super::peers::HolderError;
use crate::storage::error::{StorageError, StorageResult};
use crate::storage::record::{Content, Piece};

/// A piece and the part of it that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slice {
    piece: Piece,
    range: Range<u32>,
}

impl Blobs {
    /// The bytes `range` of a content.
    pub fn read(
        &self,
        content: &Content,
        range: Range<u64>,
    ) -> impl Stream<Item = StorageResult<Bytes>> + Send + 'static + use<> {
        let runs = self.clone().runs(content, range);
        let blobs = self.clone();
        let runs_max = self.inner.limits.read_runs;
        runs.map(move |run| {
            let blobs = blobs.clone();
            async move { blobs.fetch_run(run?).await }
        })
        .buffered(runs_max)
        .flat_map(|run| {
            stream::iter(match run {
                Ok(parts) => parts.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        })
    }

    /// The slices of a range in runs, each fetched at once. The first is one chunk, so that the first byte comes soon.
    fn runs(
        self,
        content: &Content,
        range: Range<u64>,
    ) -> impl Stream<Item = StorageResult<Vec<Slice>>> + Send + 'static + use<> {
        let run_bytes = self.inner.limits.read_run_bytes;
        self.slices(content, range)
            .map(move |slices| slices.map(|slices| split_runs(slices, run_bytes)))
            .flat_map(|runs| {
                stream::iter(match runs {
                    Ok(runs) => runs.into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                })
            })
    }

    /// The slices of a range; those of a list of chunks together, when the list is needed.
    fn slices(
        self,
        content: &Content,
        range: Range<u64>,
    ) -> impl Stream<Item = StorageResult<Vec<Slice>>> + Send + 'static + use<> {
        let first = content
            .pieces()
            .and_then(|pieces| within(&pieces, range.clone()));
        let are_lists = content.are_lists;
        stream::iter(match first {
            Ok(slices) if are_lists => slices.into_iter().map(Entry::List).map(Ok).collect(),
            Ok(slices) => vec![Ok(Entry::Chunks(slices))],
            Err(error) => vec![Err(error)],
        })
        .then(move |entry: StorageResult<Entry>| {
            let blobs = self.clone();
            async move {
                match entry? {
                    Entry::Chunks(slices) => Ok(slices),
                    Entry::List(list) => {
                        let named = blobs.list(&list.piece).await?;
                        within(
                            &named,
                            u64::from(list.range.start)..u64::from(list.range.end),
                        )
                    }
                }
            }
        })
    }

    /// The chunks that a list names.
    pub(super) async fn list(&self, list: &Piece) -> StorageResult<Vec<Piece>> {
        let bytes = self.fetch(&[list.hash]).await?;
        let bytes = bytes.into_iter().next().unwrap_or_default();
        Piece::decode_all(&bytes)
    }

    async fn fetch_run(&self, run: Vec<Slice>) -> StorageResult<Vec<Bytes>> {
        let hashes: Vec<ChunkHash> = run.iter().map(|slice| slice.piece.hash).collect();
        let chunks = self.fetch(&hashes).await?;
        run.into_iter()
            .zip(chunks)
            .map(|(slice, bytes)| {
                if bytes.len() != slice.piece.bytes as usize {
                    return Err(StorageError::Damaged(
                        "a chunk does not have the size that its manifest says".to_owned(),
                    ));
                }
                Ok(bytes.slice(slice.range.start as usize..slice.range.end as usize))
            })
            .collect()
    }

    /// Chunks, from wherever they are.
    pub async fn fetch(&self, hashes: &[ChunkHash]) -> StorageResult<Vec<Bytes>> {
        let mut found: HashMap<ChunkHash, Bytes> = HashMap::new();
        let mut missing = Vec::new();
        for (hash, got) in hashes
            .iter()
            .zip(here::get(&self.inner.store, hashes).await)
        {
            match got {
                Got::Bytes(bytes) => {
                    found.insert(*hash, bytes);
                    continue;
                }
                Got::Damaged => self.heal(*hash),
                Got::Absent => {
                    if let Some(bytes) = self.inner.cache.get(hash) {
                        found.insert(*hash, bytes);
                        continue;
                    }
                    self.expect_here(*hash);
                }
                Got::Unknown => {}
            }
            missing.push(*hash);
        }
        if !missing.is_empty() {
            self.fetch_elsewhere(missing, &mut found).await?;
        }
        Ok(hashes
            .iter()
            .filter_map(|hash| found.get(hash).cloned())
            .collect())
    }

    /// Gets chunks from other nodes; all of them, or an error.
    async fn fetch_elsewhere(
        &self,
        missing: Vec<ChunkHash>,
        found: &mut HashMap<ChunkHash, Bytes>,
    ) -> StorageResult<()> {
        let inner = &self.inner;
        let mut wanted: HashMap<ChunkHash, VecDeque<u64>> = missing
            .into_iter()
            .map(|hash| (hash, self.sources(&hash)))
            .collect();
        let mut asked: FuturesUnordered<BoxFuture<'_, Answer>> = FuturesUnordered::new();
        let mut failures: Vec<(u64, HolderError)> = Vec::new();
        let mut is_damaged = false;
        loop {
            // Each chunk that nobody is asked for goes to the next of its sources; later on, all that are still wanted.
            let mut next: HashMap<u64, Vec<ChunkHash>> = HashMap::new();
            for (hash, sources) in &mut wanted {
                if let Some(source) = sources.pop_front() {
                    next.entry(source).or_default().push(*hash);
                }
            }
            for (source, hashes) in next {
                asked.push(Box::pin(async move {
                    let got = inner.peers.get(source, &hashes).await;
                    (source, hashes, got)
                }));
            }
            if asked.is_empty() {
                return Err(lost(wanted.len(), &failures, is_damaged));
            }
            let patience = tokio::time::sleep(inner.limits.read_patience);
            tokio::pin!(patience);
            loop {
                let (source, hashes, got) = tokio::select! {
                    Some(answer) = asked.next() => answer,
                    () = &mut patience => break,
                    else => break,
                };
                let mut is_short = false;
                match got {
                    Ok(got) => {
                        for (hash, got) in hashes.into_iter().zip(got) {
                            match got {
                                Got::Bytes(bytes) => {
                                    if wanted.remove(&hash).is_some() {
                                        inner.cache.insert(hash, bytes.clone());
                                        found.insert(hash, bytes);
                                    }
                                }
                                Got::Absent => {
                                    self.expect_at(hash, source);
                                    is_short = true;
                                }
                                Got::Damaged => {
                                    is_damaged = true;
                                    is_short = true;
                                }
                                Got::Unknown => is_short = true,
                            }
                        }
                    }
                    Err(error) => {
                        failures.push((source, error));
                        is_short = true;
                    }
                }
                if wanted.is_empty() {
                    return Ok(());
                }
                if is_short || asked.is_empty() {
                    break;
                }
            }
        }
    }

    /// Other nodes that may have a chunk, the best first: those that failed a moment ago last.
    pub(super) fn sources(&self, hash: &ChunkHash) -> VecDeque<u64> {
        let layout = self.inner.layout.get();
        let others = layout.ranked(hash).filter(|node| *node != self.inner.node);
        let (suspects, good): (Vec<u64>, Vec<u64>) =
            others.partition(|node| self.inner.peers.is_suspect(*node));
        good.into_iter().chain(suspects).collect()
    }

    /// This node should have the chunk, if it is one of its holders.
    fn expect_here(&self, hash: ChunkHash) {
        self.expect_at(hash, self.inner.node);
    }

    /// A holder that should have a chunk, and does not, is told to get it.
    pub(super) fn expect_at(&self, hash: ChunkHash, holder: u64) {
        if self.inner.layout.get().holds(holder, &hash) {
            self.inner.repairs.add(hash, holder);
        }
    }

    /// This node has the chunk damaged: it is fetched from another one.
    pub fn heal(&self, hash: ChunkHash) {
        self.inner.repairs.add(hash, self.inner.node);
    }
}

type Answer = (u64, Vec<ChunkHash>, Result<Vec<Got>, HolderError>);

/// What a content names.
enum Entry {
    Chunks(Vec<Slice>),
    List(Slice),
}

fn lost(count: usize, failures: &[(u64, HolderError)], is_damaged: bool) -> StorageError {
    if failures.is_empty() {
        let what = if is_damaged { "intact " } else { "" };
        return StorageError::Damaged(format!(
            "no node has an {what}copy of {count} chunks of the file"
        ));
    }
    let told: Vec<String> = failures
        .iter()
        .map(|(node, error)| format!("node {node}: {error}"))
        .collect();
    StorageError::Unavailable(format!(
        "the nodes that have this part of the file do not answer: {}",
        told.join("; ")
    ))
}

/// The parts of `pieces` that lie within `range`.
fn within(pieces: &[Piece], range: Range<u64>) -> StorageResult<Vec<Slice>> {
    let mut slices = Vec::new();
    let mut at = 0_u64;
    for piece in pieces {
        let end = at + u64::from(piece.bytes);
        if end > range.start && at < range.end {
            // Both lie within the piece, whose size fits.
            let from = range.start.saturating_sub(at) as u32;
            let to = (range.end.min(end) - at) as u32;
            slices.push(Slice {
                piece: *piece,
                range: from..to,
            });
        }
        at = end;
    }
    if range.end > at {
        return Err(StorageError::Damaged(
            "the manifest names less than the size that it tells".to_owned(),
        ));
    }
    Ok(slices)
}

fn split_runs(slices: Vec<Slice>, run_bytes: usize) -> Vec<Vec<Slice>> {
    let mut runs: Vec<Vec<Slice>> = Vec::new();
    let mut bytes = usize::MAX;
    for slice in slices {
        let size = slice.piece.bytes as usize;
        let is_first = runs.len() == 1;
        match runs.last_mut() {
            Some(run) if !is_first && bytes + size <= run_bytes => {
                run.push(slice);
                bytes += size;
            }
            _ => {
                runs.push(vec![slice]);
                bytes = size;
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(sizes: &[u32]) -> Vec<Piece> {
        sizes
            .iter()
            .enumerate()
            .map(|(number, bytes)| Piece {
                hash: ChunkHash::of(&[number as u8]),
                bytes: *bytes,
            })
            .collect()
    }

    #[test]
    fn ranges_are_cut_at_their_bytes() {
        let pieces = pieces(&[10, 1, 20]);
        for start in 0..=31_u64 {
            for end in start..=31 {
                let slices = within(&pieces, start..end).expect("within");
                let bytes: u64 = slices
                    .iter()
                    .map(|slice| u64::from(slice.range.end - slice.range.start))
                    .sum();
                assert_eq!(bytes, end - start, "{start}..{end}");
                assert!(slices.iter().all(|s| s.range.end <= s.piece.bytes));
            }
        }
        let middle = within(&pieces, 9..12).expect("within");
        let ranges: Vec<_> = middle.iter().map(|slice| slice.range.clone()).collect();
        assert_eq!(ranges, [9..10, 0..1, 0..1]);
        assert!(within(&pieces, 0..32).is_err(), "more than there is");
    }

    #[test]
    fn the_first_run_is_one_chunk_and_others_are_bounded() {
        let slices = within(&pieces(&[10; 20]), 0..200).expect("within");
        let runs = split_runs(slices.clone(), 45);
        let lengths: Vec<usize> = runs.iter().map(Vec::len).collect();
        assert_eq!(lengths, [1, 4, 4, 4, 4, 3]);
        assert_eq!(runs.concat(), slices);
        // A chunk that is larger than a run is one by itself.
        let slices = within(&pieces(&[100; 3]), 0..300).expect("within");
        assert_eq!(split_runs(slices, 45).len(), 3);
    }
}
