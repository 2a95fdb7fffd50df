//! Bodies in chunks of S3's own (`aws-chunked`), on their way to `s3s`, which holds a chunk in memory until it has all of
//! it, whatever its size.
//!
//! Signed chunks must be held, so theirs is bounded. Unsigned ones, which some clients make as large as the object, are
//! cut into as many small ones as they come in pieces: their frames are in no signature.

use std::collections::VecDeque;

use bytes::Bytes;

use super::limits::SIGNED_CHUNK_BYTES_MAX;

/// Why chunks are not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadChunk {
    /// A signed chunk is larger than allowed.
    TooLarge,
    /// What should be the size of a chunk, or its end, is something else.
    Malformed,
}

/// Most digits of the size of a chunk: it has 32 bits.
const SIZE_DIGITS_MAX: u8 = 8;

/// Where in a body in chunks we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the hexadecimal size of a chunk.
    Size { size: u32, digits: u8 },
    /// In what follows the size on its line.
    Line { size: u32 },
    /// In the content.
    Content { left: u32 },
    /// In the end of line after the content.
    End { seen: u8 },
    /// After the last chunk.
    Trailers,
}

const START: At = At::Size { size: 0, digits: 0 };

/// Follows a body in chunks.
#[derive(Debug)]
pub(super) struct Chunks {
    at: At,
    signed: bool,
    out: VecDeque<Bytes>,
}

impl Chunks {
    /// At the start of a body whose `x-amz-content-sha256` is this; `None` = it is not in chunks.
    pub(super) fn of(content_sha256: &str) -> Option<Self> {
        let rest = content_sha256.strip_prefix("STREAMING-")?;
        Some(Self {
            at: START,
            signed: !rest.starts_with("UNSIGNED-"),
            out: VecDeque::new(),
        })
    }

    /// The next piece to pass on.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    /// Takes in what has arrived.
    pub(super) fn push(&mut self, mut bytes: Bytes) -> Result<(), BadChunk> {
        if self.signed {
            self.out.push_back(bytes.clone());
        }
        while !bytes.is_empty() {
            match self.at {
                At::Content { left } => {
                    let here = bytes.len().min(left as usize);
                    self.content(bytes.split_to(here));
                    self.at = match left - here as u32 {
                        0 => At::End { seen: 0 },
                        left => At::Content { left },
                    };
                }
                At::Trailers => {
                    if !self.signed {
                        self.out.push_back(bytes);
                    }
                    return Ok(());
                }
                _ => self.step(bytes.split_to(1)[0])?,
            }
        }
        Ok(())
    }

    /// One byte of what is around the contents.
    fn step(&mut self, byte: u8) -> Result<(), BadChunk> {
        self.at = match (self.at, byte) {
            (At::Size { digits, size }, b';' | b'\r') if digits > 0 => {
                if self.signed && size > SIGNED_CHUNK_BYTES_MAX {
                    return Err(BadChunk::TooLarge);
                }
                At::Line { size }
            }
            (At::Size { size, digits }, _) if digits < SIZE_DIGITS_MAX => {
                let digit = char::from(byte).to_digit(16).ok_or(BadChunk::Malformed)?;
                At::Size {
                    size: (size << 4) | digit,
                    digits: digits + 1,
                }
            }
            (At::Line { size: 0 }, b'\n') => {
                if !self.signed {
                    self.out.push_back(Bytes::from_static(b"0\r\n"));
                }
                At::Trailers
            }
            (At::Line { size }, b'\n') => At::Content { left: size },
            (At::Line { size }, _) => At::Line { size },
            (At::End { seen: 0 }, b'\r') => At::End { seen: 1 },
            (At::End { seen: 1 }, b'\n') => START,
            _ => return Err(BadChunk::Malformed),
        };
        Ok(())
    }

    fn content(&mut self, piece: Bytes) {
        if self.signed || piece.is_empty() {
            return;
        }
        self.out
            .push_back(Bytes::from(format!("{:x}\r\n", piece.len())));
        self.out.push_back(piece);
        self.out.push_back(Bytes::from_static(b"\r\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
    const UNSIGNED: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

    /// What is passed on of `body` when it arrives in pieces of `size` bytes.
    fn passed(form: &str, body: &[u8], size: usize) -> Result<Vec<u8>, BadChunk> {
        let mut chunks = Chunks::of(form).expect("in chunks");
        let mut out = Vec::new();
        for piece in body.chunks(size) {
            chunks.push(Bytes::copy_from_slice(piece))?;
            while let Some(piece) = chunks.pop() {
                out.extend_from_slice(&piece);
            }
        }
        Ok(out)
    }

    #[test]
    fn signed_chunks_pass_unchanged() {
        let body = b"3;chunk-signature=00\r\nabc\r\n0;chunk-signature=11\r\nx-amz-checksum-crc32:AA==\r\n\r\n";
        for size in [1, 2, 7, 100] {
            assert_eq!(passed(SIGNED, body, size).expect("good"), body);
        }
    }

    #[test]
    fn signed_chunks_are_bounded() {
        let at_most = format!("{SIGNED_CHUNK_BYTES_MAX:x};chunk-signature=00\r\n");
        assert!(passed(SIGNED, at_most.as_bytes(), 100).is_ok());
        let over = format!("{:X};chunk-signature=00\r\n", SIGNED_CHUNK_BYTES_MAX + 1);
        assert_eq!(passed(SIGNED, over.as_bytes(), 3), Err(BadChunk::TooLarge));
        assert!(passed(UNSIGNED, b"ffffffff\r\nabc", 3).is_ok());
    }

    #[test]
    fn unsigned_chunks_are_cut_as_they_come() {
        let body = b"6\r\nabcdef\r\n0\r\nx-amz-checksum-crc32:AA==\r\n\r\n";
        let whole = passed(UNSIGNED, body, 100).expect("good");
        assert_eq!(whole, body);
        let text =
            |size| String::from_utf8(passed(UNSIGNED, body, size).expect("good")).expect("text");
        assert_eq!(
            text(7),
            "4\r\nabcd\r\n2\r\nef\r\n0\r\nx-amz-checksum-crc32:AA==\r\n\r\n"
        );
        assert!(text(1).starts_with("1\r\na\r\n1\r\nb\r\n"));
        assert!(text(1).ends_with("f\r\n0\r\nx-amz-checksum-crc32:AA==\r\n\r\n"));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for bad in [
            "\r\n",
            ";\r\n",
            "x\r\n",
            "123456789\r\n",
            "1\r\nab\r\n",
            "1\r\na\rb",
            "-1\r\n",
            " 1\r\n",
        ] {
            for form in [SIGNED, UNSIGNED] {
                assert_eq!(
                    passed(form, bad.as_bytes(), 2),
                    Err(BadChunk::Malformed),
                    "{bad:?}"
                );
            }
        }
        assert!(Chunks::of("UNSIGNED-PAYLOAD").is_none());
        assert!(
            Chunks::of("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
                .is_none()
        );
    }
}
