//! Opening what is read: a file or standard input, compressed or not, from its beginning or from a place inside.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::format::{Format, is_gzip, is_gzip_name};

/// What is read from the file at once.
const BUFFER_BYTES: usize = 256 << 10;

/// An open source.
pub(super) struct Source {
    pub(super) reader: Box<dyn BufRead + Send>,
    /// How far the file has been read, if that is not the same as how much came out of it.
    pub(super) position: Option<Position>,
}

/// How far a compressed file has been read.
#[derive(Debug, Clone, Default)]
pub(super) struct Position(Arc<AtomicU64>);

impl Position {
    /// Bytes of the file.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Metered<R> {
    reader: R,
    position: Position,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.position.0.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Opens `path` (`-` is standard input) `offset` bytes behind its beginning; of a compressed file those are bytes of
/// what it holds.
pub(super) fn open(path: &Path, format: Option<Format>, offset: u64) -> io::Result<Source> {
    if path.as_os_str() == "-" {
        return expand(BufReader::with_capacity(BUFFER_BYTES, io::stdin()), None);
    }
    let mut file = File::open(path)?;
    if !is_gzip_name(path) {
        let mut beginning = Vec::new();
        file.by_ref().take(4).read_to_end(&mut beginning)?;
        if format == Some(Format::Bson) || !is_gzip(&beginning) {
            file.seek(SeekFrom::Start(offset))?;
            return Ok(Source {
                reader: Box::new(BufReader::with_capacity(BUFFER_BYTES, file)),
                position: None,
            });
        }
        file.rewind()?;
    }
    let position = Position::default();
    let metered = Metered {
        reader: file,
        position: position.clone(),
    };
    let mut source = expand(
        BufReader::with_capacity(BUFFER_BYTES, metered),
        Some(position),
    )?;
    let skipped = io::copy(&mut (&mut source.reader).take(offset), &mut io::sink())?;
    if skipped < offset {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file is shorter than the part of it that was imported before",
        ));
    }
    Ok(source)
}

/// Takes off gzip where there is some. A name without content is no error: an empty file holds no rows.
fn expand(
    mut reader: impl BufRead + Send + 'static,
    position: Option<Position>,
) -> io::Result<Source> {
    let reader: Box<dyn BufRead + Send> = if is_gzip(reader.fill_buf()?) {
        Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            MultiGzDecoder::new(reader),
        ))
    } else {
        Box::new(reader)
    };
    Ok(Source { reader, position })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn read(path: &Path, format: Option<Format>, offset: u64) -> io::Result<String> {
        let mut text = String::new();
        open(path, format, offset)?
            .reader
            .read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn compressed_or_not_it_goes_on_at_the_same_place() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, named, unnamed) = (
            folder.path().join("a"),
            folder.path().join("a.gz"),
            folder.path().join("b"),
        );
        let two_members = [gzip("hello "), gzip("world")].concat();
        std::fs::write(&plain, "hello world").unwrap();
        std::fs::write(&named, &two_members).unwrap();
        std::fs::write(&unnamed, &two_members).unwrap();
        for path in [&plain, &named, &unnamed] {
            assert_eq!(read(path, None, 0).unwrap(), "hello world");
            assert_eq!(read(path, None, 8).unwrap(), "rld");
        }
        assert!(read(&named, None, 12).is_err());
        let mut source = open(&named, None, 0).unwrap();
        io::copy(&mut source.reader, &mut io::sink()).unwrap();
        assert_eq!(source.position.unwrap().get(), two_members.len() as u64);
    }

    #[test]
    fn the_length_of_a_bson_document_is_not_taken_for_gzip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bson");
        std::fs::write(&path, b"\x1f\x8b\x08\x00rest").unwrap();
        let mut bytes = Vec::new();
        let mut source = open(&path, Some(Format::Bson), 0).unwrap();
        source.reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"\x1f\x8b\x08\x00rest");
        assert!(source.position.is_none());
    }
}
