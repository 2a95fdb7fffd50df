//! Where rows of JSON begin and end: lines, and the elements of one array.

use std::io::{self, BufRead, Read};

use super::format::BYTE_ORDER_MARK;
use super::rows::{ROW_BYTES_MAX, too_long};

/// Counts what is consumed, which is how far the file has been read.
pub(super) struct Counting<R> {
    pub(super) reader: R,
    pub(super) count: u64,
}

impl<R: BufRead> Counting<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, count: 0 }
    }
}

impl<R: BufRead> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counting<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.count += amount as u64;
        self.reader.consume(amount);
    }
}

/// One line with its end, or false at the end of the file.
pub(super) fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    let bytes_max = ROW_BYTES_MAX as u64 + 1;
    let count = reader.take(bytes_max).read_until(b'\n', line)?;
    if line.len() > ROW_BYTES_MAX {
        return Err(too_long());
    }
    Ok(count > 0)
}

/// What of a line is JSON.
pub(super) fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK)
        .unwrap_or(line)
        .trim_ascii()
}

/// What is next in a sequence of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Value,
    Cut,
    End,
}

/// The next element of a JSON array, by its brackets alone: whether it is good JSON is seen when it is parsed.
/// The array's own brackets and the commas between elements count as white space, so this can begin anywhere
/// between two elements.
pub(super) fn read_element(reader: &mut impl BufRead, element: &mut Vec<u8>) -> io::Result<Next> {
    let mut scan = Scan::default();
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(if element.is_empty() {
                Next::End
            } else {
                Next::Cut
            });
        }
        let from = if element.is_empty() {
            buffer
                .iter()
                .position(|byte| !is_between(*byte))
                .unwrap_or(buffer.len())
        } else {
            0
        };
        let (length, complete) = scan.advance(&buffer[from..]);
        element.extend_from_slice(&buffer[from..from + length]);
        reader.consume(from + length);
        if complete {
            return Ok(Next::Value);
        }
        if element.len() > ROW_BYTES_MAX {
            return Err(too_long());
        }
    }
}

fn is_between(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b",][".contains(&byte) || BYTE_ORDER_MARK.contains(&byte)
}

/// How deep inside an element a scan is.
#[derive(Default)]
struct Scan {
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl Scan {
    /// How much of `bytes` belongs to the element, and whether it ends there.
    fn advance(&mut self, bytes: &[u8]) -> (usize, bool) {
        for (at, byte) in bytes.iter().enumerate() {
            if self.quoted {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.quoted = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.quoted = true,
                b'{' | b'[' => self.depth += 1,
                b'}' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return (at + 1, true);
                    }
                }
                b']' if self.depth > 0 => self.depth -= 1,
                b',' | b']' if self.depth == 0 => return (at, true),
                _ if self.depth == 0 && byte.is_ascii_whitespace() => return (at, true),
                _ => {}
            }
        }
        (bytes.len(), false)
    }
}
