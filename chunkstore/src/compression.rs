//! What is done to a chunk's bytes on disk: zstd where it pays, nothing elsewhere. The name of a chunk is
//! that of its plain bytes either way.

use bytes::Bytes;
use thiserror::Error;

/// How the payload of a record is encoded. The numbers are on disk: never change or reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Encoding {
    /// As it is.
    Plain = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Encoding {
    /// The encoding of that number, if there is one.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Plain, Self::Zstd]
            .into_iter()
            .find(|encoding| *encoding as u8 == number)
    }
}

/// When compression is tried and when its result is kept.
#[derive(Debug, Clone)]
pub struct CompressionOptions {
    /// Whether to try at all.
    pub enabled: bool,
    /// zstd's level. 1 writes at several hundred MiB/s a core; higher ones are slower than the disks.
    pub level: i32,
    /// Chunks below this are stored as they are: a record is padded to 64 bytes anyway.
    pub chunk_bytes_min: usize,
    /// The compressed form is kept when it is at most this share of the plain one. Above it, reading
    /// would decompress for nothing.
    pub ratio_max: f64,
}

impl Default for CompressionOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            level: 1,
            chunk_bytes_min: 512,
            ratio_max: 0.9,
        }
    }
}

/// Chunks above this are judged by samples first: photographs, videos and archives do not compress, and
/// trying costs ten times as much as asking.
const SAMPLED_BYTES_MIN: usize = 64 << 10;
/// Size of one sample; there are three: from the first, the middle and the last part of the chunk.
const SAMPLE_BYTES: usize = 4 << 10;

/// A payload as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    pub(crate) encoding: Encoding,
    pub(crate) bytes: Bytes,
}

/// Encodes `plain` for the disk.
pub(crate) fn encode(plain: &Bytes, options: &CompressionOptions) -> Payload {
    let compressed = compress_if_it_pays(plain, options);
    match compressed {
        Some(bytes) => Payload {
            encoding: Encoding::Zstd,
            bytes,
        },
        None => Payload {
            encoding: Encoding::Plain,
            bytes: plain.clone(),
        },
    }
}

fn compress_if_it_pays(plain: &[u8], options: &CompressionOptions) -> Option<Bytes> {
    if !options.enabled || plain.len() < options.chunk_bytes_min.max(1) {
        return None;
    }
    if plain.len() >= SAMPLED_BYTES_MIN && !samples_compress(plain, options) {
        return None;
    }
    let bytes_max = (plain.len() as f64 * options.ratio_max) as usize;
    // A result above the bound does not fit the buffer: zstd gives up early.
    let bytes_max = bytes_max.min(plain.len() - 1);
    let mut compressed = vec![0; bytes_max];
    let bytes = zstd_safe::compress(&mut compressed[..], plain, options.level).ok()?;
    compressed.truncate(bytes);
    compressed.shrink_to_fit();
    Some(compressed.into())
}

/// One call for all samples, since each begins with the cost of setting up a compressor.
fn samples_compress(plain: &[u8], options: &CompressionOptions) -> bool {
    let starts = [0, plain.len() / 2, plain.len() - SAMPLE_BYTES];
    let samples: Vec<u8> = starts
        .iter()
        .flat_map(|start| &plain[*start..start + SAMPLE_BYTES])
        .copied()
        .collect();
    let bytes_max = (samples.len() as f64 * options.ratio_max) as usize;
    let mut compressed = vec![0; bytes_max];
    zstd_safe::compress(&mut compressed[..], &samples, options.level).is_ok()
}

/// A payload that is not what its record says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the stored bytes do not decompress to the length on record")]
pub(crate) struct InvalidPayload;

/// Decodes a stored payload. Allocates `plain_bytes`, whatever the payload claims.
pub(crate) fn decode(
    stored: Bytes,
    encoding: Encoding,
    plain_bytes: usize,
) -> Result<Bytes, InvalidPayload> {
    let plain = match encoding {
        Encoding::Plain => stored,
        Encoding::Zstd => {
            let mut plain = vec![0; plain_bytes];
            let bytes =
                zstd_safe::decompress(&mut plain[..], &stored).map_err(|_| InvalidPayload)?;
            plain.truncate(bytes);
            plain.into()
        }
    };
    if plain.len() == plain_bytes {
        Ok(plain)
    } else {
        Err(InvalidPayload)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngCore, SeedableRng};

    use super::*;

    fn round_trip(plain: Vec<u8>) -> Payload {
        let plain = Bytes::from(plain);
        let payload = encode(&plain, &CompressionOptions::default());
        let decoded = decode(payload.bytes.clone(), payload.encoding, plain.len());
        assert_eq!(decoded, Ok(plain));
        payload
    }

    fn noise(bytes: usize, seed: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        StdRng::seed_from_u64(seed as u64).fill_bytes(&mut noise);
        noise
    }

    #[test]
    fn what_compresses_is_compressed_and_nothing_else() {
        let text = |bytes| {
            b"a line of a log, like so many. "
                .iter()
                .copied()
                .cycle()
                .take(bytes)
                .collect()
        };
        for bytes in [512, 60_000, 1 << 20] {
            let payload = round_trip(text(bytes));
            assert_eq!(payload.encoding, Encoding::Zstd, "{bytes}");
            assert!(payload.bytes.len() < bytes / 4);
        }
        for plain in [
            vec![],
            text(1),
            text(511),
            noise(512, 1),
            noise(60_000, 1),
            noise(1 << 20, 1),
        ] {
            assert_eq!(round_trip(plain).encoding, Encoding::Plain);
        }
        // The samples are noise, the rest is not: not worth a second look.
        let mut mixed = vec![0; 1 << 20];
        for start in [0, mixed.len() / 2, mixed.len() - SAMPLE_BYTES] {
            mixed[start..start + SAMPLE_BYTES].copy_from_slice(&noise(SAMPLE_BYTES, start));
        }
        assert_eq!(round_trip(mixed).encoding, Encoding::Plain);
        let off = CompressionOptions {
            enabled: false,
            ..CompressionOptions::default()
        };
        assert_eq!(encode(&text(9_000).into(), &off).encoding, Encoding::Plain);
    }

    #[test]
    fn payloads_that_lie_are_refused() {
        let plain = Bytes::from(vec![7; 10_000]);
        let payload = encode(&plain, &CompressionOptions::default());
        for wrong in [0, 9_999, 10_001] {
            assert_eq!(
                decode(payload.bytes.clone(), Encoding::Zstd, wrong),
                Err(InvalidPayload)
            );
            assert_eq!(
                decode(plain.clone(), Encoding::Plain, wrong),
                Err(InvalidPayload)
            );
        }
        for garbage in [vec![], noise(100, 1)] {
            assert_eq!(
                decode(garbage.into(), Encoding::Zstd, 100),
                Err(InvalidPayload)
            );
        }
    }
}
