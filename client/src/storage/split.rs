//! Where content is cut, and how the pieces are named. The cluster tells the parameters: whoever cut otherwise would share
//! nothing with what is there.

use std::io;

use bytes::{Bytes, BytesMut};
use fastcdc::v2020;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::error::{Error, Result};
use crate::limits::{FILE_BATCH_BYTES, FILE_BATCH_CHUNKS_MAX, FILE_CHUNK_BYTES_MAX};
use crate::proto::StorageParametersResponse;

/// The one algorithm that this client knows.
const ALGORITHM: &str = "fastcdc-2020";

/// How the cluster cuts files, and makes manifests of the pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameters {
    chunk_bytes_min: usize,
    chunk_bytes_average: usize,
    chunk_bytes_max: usize,
    pub(super) small_file_bytes_max: usize,
    inline_pieces_max: usize,
    list_pieces_max: usize,
}

impl Parameters {
    /// Checks what a node has told: the cutter takes no sizes out of its range.
    pub(super) fn of(told: &StorageParametersResponse) -> Result<Self> {
        if told.algorithm != ALGORITHM || told.normalization_level != 1 {
            return Err(Error::malformed(format!(
                "the cluster cuts files by `{}`, which this client does not know: use a newer one",
                told.algorithm
            )));
        }
        let parameters = Self {
            chunk_bytes_min: told.chunk_bytes_min as usize,
            chunk_bytes_average: told.chunk_bytes_average as usize,
            chunk_bytes_max: told.chunk_bytes_max as usize,
            small_file_bytes_max: told.small_file_bytes_max as usize,
            inline_pieces_max: told.inline_pieces_max as usize,
            list_pieces_max: told.list_pieces_max as usize,
        };
        let Self {
            chunk_bytes_min: min,
            chunk_bytes_average: average,
            chunk_bytes_max: max,
            ..
        } = parameters;
        let in_range = (v2020::MINIMUM_MIN..=v2020::MINIMUM_MAX).contains(&min)
            && (v2020::AVERAGE_MIN..=v2020::AVERAGE_MAX).contains(&average)
            && (v2020::MAXIMUM_MIN..=v2020::MAXIMUM_MAX.min(FILE_CHUNK_BYTES_MAX)).contains(&max);
        let in_order = min < average && average < max;
        let even = [min, average, max].iter().all(|bytes| bytes % 2 == 0);
        let has_lists = parameters.list_pieces_max > 0;
        let is_small = parameters.small_file_bytes_max <= FILE_CHUNK_BYTES_MAX;
        if !(in_range && in_order && even && has_lists && is_small) {
            return Err(Error::malformed(format!(
                "the node tells sizes of chunks that cannot be: {told:?}"
            )));
        }
        Ok(parameters)
    }

    /// Where the first chunk of `bytes` ends, which holds at least a largest chunk or the end of the content.
    fn first_cut(&self, bytes: &[u8]) -> usize {
        let (mask_short, mask_long) =
            v2020::select_masks(self.chunk_bytes_average, v2020::Normalization::Level1);
        let (_, end) = v2020::cut(
            bytes,
            self.chunk_bytes_min,
            self.chunk_bytes_average,
            self.chunk_bytes_max,
            mask_short,
            mask_long,
            mask_short << 1,
            mask_long << 1,
        );
        end
    }
}

/// The name and the size of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) hash: [u8; 32],
    pub(super) bytes: u32,
}

impl Piece {
    /// Size of an encoded piece.
    pub(super) const BYTES: usize = 36;

    /// As manifests and the protocol have it.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(&self.bytes.to_le_bytes());
    }
}

/// Pieces, encoded one after the other.
pub(super) fn encoded(pieces: &[Piece]) -> Vec<u8> {
    let mut out = Vec::with_capacity(pieces.len() * Piece::BYTES);
    for piece in pieces {
        piece.encode(&mut out);
    }
    out
}

/// A chunk.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    pub(super) hash: [u8; 32],
    pub(super) bytes: Bytes,
}

impl Chunk {
    pub(super) fn piece(&self) -> Piece {
        Piece {
            hash: self.hash,
            // A chunk has at most 16 MiB.
            bytes: self.bytes.len() as u32,
        }
    }
}

/// Cuts what a reader delivers. Holds one batch.
pub(super) struct Cutter<R> {
    source: R,
    parameters: Parameters,
    buffer: BytesMut,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Cutter<R> {
    pub(super) fn new(source: R, parameters: Parameters) -> Self {
        Self {
            source,
            parameters,
            buffer: BytesMut::new(),
            ended: false,
        }
    }

    /// All content, where that is no more than `bytes_max`; what was read beyond is kept for the cuts.
    pub(super) async fn whole(&mut self, bytes_max: usize) -> io::Result<Option<Bytes>> {
        self.fill(bytes_max + 1).await?;
        if self.buffer.len() > bytes_max {
            return Ok(None);
        }
        Ok(Some(std::mem::take(&mut self.buffer).freeze()))
    }

    /// Chunks that are asked about together; none at the end. After an error the cutter is of no more use.
    pub(super) async fn next_batch(&mut self) -> io::Result<Option<Vec<Chunk>>> {
        let largest = self.parameters.chunk_bytes_max;
        self.fill(FILE_BATCH_BYTES.max(largest)).await?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let (parameters, ended) = (self.parameters.clone(), self.ended);
        // Cutting and hashing take milliseconds, which no other task of this thread must wait for.
        let cut = move || {
            let mut batch = Vec::new();
            // Where the content goes on, less than a largest chunk would be cut where only the buffer ends.
            while batch.len() < FILE_BATCH_CHUNKS_MAX
                && (buffer.len() >= largest || (ended && !buffer.is_empty()))
            {
                let end = parameters.first_cut(&buffer);
                let bytes = buffer.split_to(end).freeze();
                let hash = *blake3::hash(&bytes).as_bytes();
                batch.push(Chunk { hash, bytes });
            }
            (batch, buffer)
        };
        let (batch, rest) = tokio::task::spawn_blocking(cut).await?;
        self.buffer = rest;
        Ok(Some(batch))
    }

    /// Reads until the buffer holds `wanted` bytes, or the content ends.
    async fn fill(&mut self, wanted: usize) -> io::Result<()> {
        while !self.ended && self.buffer.len() < wanted {
            // Reserving exactly what is missing bounds the buffer; the source may be asked for less.
            self.buffer.reserve(wanted - self.buffer.len());
            self.ended = self.source.read_buf(&mut self.buffer).await? == 0;
        }
        Ok(())
    }
}

/// What content that is not in the cluster would be there: two with equal fingerprints have equal content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Size.
    pub bytes: u64,
    /// BLAKE3 of what a manifest would say of the chunks, as [`StoredFile::content_hash`](super::StoredFile) has it. Files
    /// whose content was cut in another way, such as in parts, have another one although their content is the same.
    pub content_hash: [u8; 32],
}

impl Fingerprint {
    /// Reads and cuts `source`.
    pub(super) async fn of<R: AsyncRead + Unpin>(
        source: R,
        parameters: Parameters,
    ) -> io::Result<Self> {
        let mut cutter = Cutter::new(source, parameters.clone());
        let mut pieces = Vec::new();
        let mut bytes = 0;
        while let Some(batch) = cutter.next_batch().await? {
            bytes += batch
                .iter()
                .map(|chunk| chunk.bytes.len() as u64)
                .sum::<u64>();
            pieces.extend(batch.iter().map(Chunk::piece));
        }
        Ok(Self {
            bytes,
            content_hash: content_hash(&pieces, &parameters),
        })
    }
}

/// The hash of a manifest's pieces: chunks, or lists of them when there are many.
fn content_hash(pieces: &[Piece], parameters: &Parameters) -> [u8; 32] {
    let inline = if pieces.len() <= parameters.inline_pieces_max {
        encoded(pieces)
    } else {
        let list = |listed: &[Piece]| Piece {
            hash: *blake3::hash(&encoded(listed)).as_bytes(),
            bytes: listed
                .iter()
                .fold(0_u32, |sum, piece| sum.wrapping_add(piece.bytes)),
        };
        let lists: Vec<Piece> = pieces
            .chunks(parameters.list_pieces_max)
            .map(list)
            .collect();
        encoded(&lists)
    };
    *blake3::hash(&inline).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> StorageParametersResponse {
        StorageParametersResponse {
            algorithm: ALGORITHM.into(),
            chunk_bytes_min: 1 << 10,
            chunk_bytes_average: 4 << 10,
            chunk_bytes_max: 16 << 10,
            normalization_level: 1,
            small_file_bytes_max: 1 << 10,
            inline_pieces_max: 4096,
            list_pieces_max: 16_384,
        }
    }

    /// The content of the chunk store's own test.
    fn content() -> Vec<u8> {
        let mut state = 1_u64;
        let byte = |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        (0..40_000).map(byte).collect()
    }

    async fn chunks(content: &[u8]) -> Vec<Chunk> {
        let parameters = Parameters::of(&told()).unwrap();
        let mut cutter = Cutter::new(content, parameters);
        let mut all = Vec::new();
        while let Some(batch) = cutter.next_batch().await.unwrap() {
            all.extend(batch);
        }
        all
    }

    #[tokio::test]
    async fn cuts_are_those_of_the_chunk_store() {
        let content = content();
        let chunks = chunks(&content).await;
        let lengths: Vec<usize> = chunks.iter().map(|chunk| chunk.bytes.len()).collect();
        assert_eq!(lengths, [4227, 4701, 5549, 4315, 9218, 3039, 8755, 196]);
        let joined: Vec<u8> = chunks
            .iter()
            .flat_map(|chunk| chunk.bytes.to_vec())
            .collect();
        assert_eq!(joined, content);
        assert!(
            chunks
                .iter()
                .all(|chunk| chunk.hash == *blake3::hash(&chunk.bytes).as_bytes())
        );
    }

    #[tokio::test]
    async fn small_content_is_taken_whole_and_larger_content_loses_nothing() {
        let parameters = Parameters::of(&told()).unwrap();
        let content = content();
        for (bytes, is_small) in [(0, true), (1024, true), (1025, false), (40_000, false)] {
            let mut cutter = Cutter::new(&content[..bytes], parameters.clone());
            let whole = cutter.whole(parameters.small_file_bytes_max).await.unwrap();
            assert_eq!(whole.is_some(), is_small);
            let mut rest = 0;
            while let Some(batch) = cutter.next_batch().await.unwrap() {
                rest += batch.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
            }
            assert_eq!(whole.map_or(0, |whole| whole.len()) + rest, bytes);
        }
    }

    #[tokio::test]
    async fn fingerprints_tell_contents_apart() {
        let parameters = Parameters::of(&told()).unwrap();
        let of = async |content: &[u8]| Fingerprint::of(content, parameters.clone()).await.unwrap();
        let content = content();
        let whole = of(&content).await;
        assert_eq!(whole.bytes, 40_000);
        assert_eq!(of(&content).await, whole);
        assert_ne!(
            of(&content[..39_999]).await.content_hash,
            whole.content_hash
        );
        let pieces: Vec<Piece> = chunks(&content).await.iter().map(Chunk::piece).collect();
        assert_eq!(
            whole.content_hash,
            *blake3::hash(&encoded(&pieces)).as_bytes()
        );
        let lists = Parameters {
            inline_pieces_max: 3,
            list_pieces_max: 5,
            ..parameters.clone()
        };
        assert_ne!(content_hash(&pieces, &lists), whole.content_hash);
    }

    #[test]
    fn parameters_that_cannot_cut_are_refused() {
        type Change = fn(&mut StorageParametersResponse);
        let changes: [Change; 6] = [
            |told| told.algorithm = "rabin".into(),
            |told| told.normalization_level = 2,
            |told| told.chunk_bytes_min = 0,
            |told| told.chunk_bytes_average = 1 << 10,
            |told| told.chunk_bytes_max = 64 << 20,
            |told| told.list_pieces_max = 0,
        ];
        for change in changes {
            let mut wrong = told();
            change(&mut wrong);
            assert!(Parameters::of(&wrong).is_err(), "{wrong:?}");
        }
    }
}
