//! Cuts a stream into chunks where its content says so (FastCDC of 2020), so that an insertion moves the
//! cuts beside it and no others: files that share content share chunks.
//!
//! Memory is bounded: one buffer of at most twice the largest chunk. The cuts depend on the parameters and
//! on nothing else, so what stores a file stores its [`SplitParameters`] too.

use std::io;

use bytes::{Bytes, BytesMut};
use fastcdc::v2020;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::chunk::{CHUNK_BYTES_MAX, Chunk};

/// How a stream is cut. Two streams cut with equal parameters share chunks where they share content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitParameters {
    /// The algorithm; a later one is another variant, and what was cut before keeps its own.
    pub algorithm: SplitAlgorithm,
    /// No chunk but the last is smaller. Even.
    pub chunk_bytes_min: u32,
    /// What chunks of random content are on average. Even.
    pub chunk_bytes_average: u32,
    /// No chunk is larger. Even.
    pub chunk_bytes_max: u32,
}

/// The algorithms that cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SplitAlgorithm {
    /// FastCDC of 2020, normalization level 1, no seed.
    #[serde(rename = "fastcdc-2020")]
    FastCdc2020,
}

/// Files of some MiB and more: few chunks to name, place and ask for, and still a small loss by an edit.
pub const DEFAULT_PARAMETERS: SplitParameters = SplitParameters {
    algorithm: SplitAlgorithm::FastCdc2020,
    chunk_bytes_min: 256 << 10,
    chunk_bytes_average: 1 << 20,
    chunk_bytes_max: 4 << 20,
};

impl Default for SplitParameters {
    fn default() -> Self {
        DEFAULT_PARAMETERS
    }
}

/// Parameters that cannot cut.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot cut with {parameters:?}: {reason}")]
pub struct InvalidParameters {
    parameters: SplitParameters,
    reason: &'static str,
}

impl SplitParameters {
    /// Checks that the sizes are in order and within what the algorithm takes.
    pub fn check(&self) -> Result<(), InvalidParameters> {
        let invalid = |reason| {
            Err(InvalidParameters {
                parameters: *self,
                reason,
            })
        };
        let sizes = [
            self.chunk_bytes_min as usize,
            self.chunk_bytes_average as usize,
            self.chunk_bytes_max as usize,
        ];
        let [smallest, average, largest] = sizes;
        if sizes.iter().any(|bytes| bytes % 2 != 0) {
            return invalid("sizes must be even");
        }
        if smallest >= average || average >= largest {
            return invalid("sizes must ascend");
        }
        if !(v2020::MINIMUM_MIN..=v2020::MINIMUM_MAX).contains(&smallest)
            || !(v2020::AVERAGE_MIN..=v2020::AVERAGE_MAX).contains(&average)
            || !(v2020::MAXIMUM_MIN..=v2020::MAXIMUM_MAX.min(CHUNK_BYTES_MAX)).contains(&largest)
        {
            return invalid("a size is out of the algorithm's range");
        }
        Ok(())
    }

    /// Where the first chunk of `bytes` ends. `bytes` holds at least `chunk_bytes_max` bytes, or the end of
    /// the stream: less would cut where only the buffer ends.
    fn first_cut(&self, bytes: &[u8]) -> usize {
        let SplitAlgorithm::FastCdc2020 = self.algorithm;
        let (mask_short, mask_long) = v2020::select_masks(
            self.chunk_bytes_average as usize,
            v2020::Normalization::Level1,
        );
        let (_, end) = v2020::cut(
            bytes,
            self.chunk_bytes_min as usize,
            self.chunk_bytes_average as usize,
            self.chunk_bytes_max as usize,
            mask_short,
            mask_long,
            mask_short << 1,
            mask_long << 1,
        );
        end
    }
}

/// What is cut and named at once, without a blocking thread: some ten microseconds of work.
const INLINE_BYTES_MAX: usize = 32 << 10;

/// Cuts what a reader delivers.
#[derive(Debug)]
pub struct Splitter<R> {
    source: R,
    parameters: SplitParameters,
    buffer: BytesMut,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Splitter<R> {
    /// A splitter of `source`.
    pub fn new(source: R, parameters: SplitParameters) -> Result<Self, InvalidParameters> {
        parameters.check()?;
        Ok(Self {
            source,
            parameters,
            buffer: BytesMut::new(),
            ended: false,
        })
    }

    /// The next chunk; `None` at the end. An empty stream has no chunks. Cutting and hashing run on the
    /// runtime's blocking threads. After an error the splitter is of no more use.
    pub async fn next_chunk(&mut self) -> io::Result<Option<Chunk>> {
        self.fill(self.parameters.chunk_bytes_max as usize).await?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let parameters = self.parameters;
        let cut = move || {
            let end = parameters.first_cut(&buffer);
            let chunk = Chunk::new(buffer.split_to(end).freeze());
            (chunk, buffer)
        };
        let (chunk, rest) = tokio::task::spawn_blocking(cut).await?;
        self.buffer = rest;
        chunk.map(Some).map_err(io::Error::other)
    }

    /// The next chunks, about `bytes` of them but at least one; none at the end. Much cheaper than one after the other
    /// where chunks are small, and memory is bounded by twice the sum of `bytes` and the largest chunk.
    pub async fn next_chunks(&mut self, bytes: usize) -> io::Result<Vec<Chunk>> {
        let largest = self.parameters.chunk_bytes_max as usize;
        self.fill(bytes.max(largest)).await?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let (parameters, ended) = (self.parameters, self.ended);
        let is_small = buffer.len() <= INLINE_BYTES_MAX;
        let cut = move || {
            let mut chunks = Vec::new();
            // With less than a largest chunk it would be cut where only the buffer ends.
            while buffer.len() >= largest || (ended && !buffer.is_empty()) {
                let end = parameters.first_cut(&buffer);
                chunks.push(Chunk::new(buffer.split_to(end).freeze()));
            }
            (chunks, buffer)
        };
        let (chunks, rest) = if is_small {
            cut()
        } else {
            tokio::task::spawn_blocking(cut).await?
        };
        self.buffer = rest;
        let chunks: Result<Vec<Chunk>, _> = chunks.into_iter().collect();
        chunks.map_err(io::Error::other)
    }

    /// Reads until the buffer holds `wanted` bytes, or the stream ends.
    async fn fill(&mut self, wanted: usize) -> io::Result<()> {
        while !self.ended && self.buffer.len() < wanted {
            // Reserving exactly what is missing bounds the buffer; the source may be asked for less.
            self.buffer.reserve(wanted - self.buffer.len());
            self.ended = self.source.read_buf(&mut self.buffer).await? == 0;
        }
        Ok(())
    }
}

/// Cuts bytes that are in memory.
pub fn split_bytes(
    mut bytes: Bytes,
    parameters: SplitParameters,
) -> Result<Vec<Chunk>, InvalidParameters> {
    parameters.check()?;
    let mut chunks = Vec::new();
    while !bytes.is_empty() {
        let chunk = Chunk::new(bytes.split_to(parameters.first_cut(&bytes)));
        chunks.push(chunk.expect("`check` bounds the size of a chunk"));
    }
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use rand::rngs::StdRng;
    use rand::{Rng, RngCore, SeedableRng};
    use tokio::io::ReadBuf;

    use super::*;

    const SMALL: SplitParameters = SplitParameters {
        algorithm: SplitAlgorithm::FastCdc2020,
        chunk_bytes_min: 1 << 10,
        chunk_bytes_average: 4 << 10,
        chunk_bytes_max: 16 << 10,
    };

    fn noise(bytes: usize, seed: u64) -> Vec<u8> {
        let mut content = vec![0; bytes];
        StdRng::seed_from_u64(seed).fill_bytes(&mut content);
        content
    }

    /// Delivers what it holds in pieces of random size.
    struct Dribble(Bytes, StdRng);

    impl AsyncRead for Dribble {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            out: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let most = out.remaining().min(self.0.len());
            let piece = if most < 2 {
                most
            } else {
                self.1.random_range(1..=most)
            };
            out.put_slice(&self.0.split_to(piece));
            Poll::Ready(Ok(()))
        }
    }

    async fn split(content: &Bytes, seed: u64) -> Vec<Chunk> {
        let source = Dribble(content.clone(), StdRng::seed_from_u64(seed));
        let mut splitter = Splitter::new(source, SMALL).unwrap();
        let mut chunks = Vec::new();
        while let Some(chunk) = splitter.next_chunk().await.unwrap() {
            assert!(splitter.buffer.capacity() <= 2 * SMALL.chunk_bytes_max as usize);
            chunks.push(chunk);
        }
        chunks
    }

    #[tokio::test]
    async fn chunks_in_batches_are_the_same() {
        for (bytes, batch) in [
            (0, 1),
            (1, 1),
            (40_000, 1),
            (300_000, 20_000),
            (300_000, 1 << 20),
        ] {
            let content = Bytes::from(noise(bytes, 11));
            let source = Dribble(content.clone(), StdRng::seed_from_u64(5));
            let mut splitter = Splitter::new(source, SMALL).unwrap();
            let mut chunks = Vec::new();
            loop {
                let next = splitter.next_chunks(batch).await.unwrap();
                if next.is_empty() {
                    break;
                }
                chunks.extend(next);
            }
            assert_eq!(
                chunks,
                split_bytes(content, SMALL).unwrap(),
                "{bytes} {batch}"
            );
        }
    }

    #[tokio::test]
    async fn cuts_do_not_depend_on_how_the_stream_arrives() {
        for bytes in [0, 1, 1_000, 1_024, 16_384, 16_385, 300_000] {
            let content = Bytes::from(noise(bytes, 7));
            let chunks = split(&content, bytes as u64).await;
            assert_eq!(chunks, split_bytes(content.clone(), SMALL).unwrap());
            let joined: Vec<u8> = chunks.iter().flat_map(|c| c.bytes().to_vec()).collect();
            assert_eq!(joined, content);
            for (number, chunk) in chunks.iter().enumerate() {
                let is_last = number + 1 == chunks.len();
                assert!(is_last || chunk.bytes().len() >= SMALL.chunk_bytes_min as usize);
                assert!(chunk.bytes().len() <= SMALL.chunk_bytes_max as usize);
            }
        }
    }

    /// What is cut is stored under these names for good: a release that cuts elsewhere must not pass.
    #[test]
    fn cuts_of_today_are_those_of_yesterday() {
        // A generator of our own, so that no other crate decides what is cut.
        let mut state = 1_u64;
        let mut content = Vec::new();
        for _ in 0..40_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            content.push((state >> 56) as u8);
        }
        let chunks = split_bytes(Bytes::from(content), SMALL).unwrap();
        let lengths: Vec<_> = chunks.iter().map(|chunk| chunk.bytes().len()).collect();
        assert_eq!(lengths, GOLDEN_LENGTHS);
    }

    const GOLDEN_LENGTHS: &[usize] = &[4227, 4701, 5549, 4315, 9218, 3039, 8755, 196];

    #[test]
    fn an_insertion_leaves_most_chunks_alone() {
        let before = noise(1 << 20, 3);
        let mut after = before.clone();
        after.splice(500_000..500_000, noise(100, 4));
        let known: HashSet<_> = split_bytes(before.into(), SMALL)
            .unwrap()
            .iter()
            .map(Chunk::hash)
            .collect();
        let new = split_bytes(after.into(), SMALL)
            .unwrap()
            .into_iter()
            .filter(|chunk| !known.contains(&chunk.hash()))
            .count();
        assert!(
            (1..=4).contains(&new),
            "{new} new chunks of {}",
            known.len()
        );
    }

    #[test]
    fn parameters_that_cannot_cut_are_refused() {
        DEFAULT_PARAMETERS.check().unwrap();
        let wrong = [
            SplitParameters {
                chunk_bytes_min: 0,
                ..SMALL
            },
            SplitParameters {
                chunk_bytes_min: 1_025,
                ..SMALL
            },
            SplitParameters {
                chunk_bytes_average: 1_024,
                ..SMALL
            },
            SplitParameters {
                chunk_bytes_max: 4_096,
                ..SMALL
            },
            SplitParameters {
                chunk_bytes_max: 32 << 20,
                ..SMALL
            },
        ];
        for parameters in wrong {
            assert!(parameters.check().is_err(), "{parameters:?}");
            assert!(Splitter::new(io::Cursor::new(b""), parameters).is_err());
        }
        let stored = serde_json::to_string(&DEFAULT_PARAMETERS).unwrap();
        assert_eq!(
            stored,
            r#"{"algorithm":"fastcdc-2020","chunk_bytes_min":262144,"chunk_bytes_average":1048576,"chunk_bytes_max":4194304}"#
        );
        assert_eq!(
            serde_json::from_str::<SplitParameters>(&stored).unwrap(),
            DEFAULT_PARAMETERS
        );
    }
}
