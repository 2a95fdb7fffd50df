//! The file that an export writes: under another name until it is complete, compressed if asked for, and cut at
//! places from which a later run can go on.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// What is written to the file at once.
const BUFFER_BYTES: usize = 256 << 10;

/// An open file or standard output.
pub(super) struct Output {
    target: Option<Target>,
    sink: Sink,
}

struct Target {
    file: File,
    partial: PathBuf,
    path: PathBuf,
}

type Inner = BufWriter<Box<dyn Write + Send>>;

enum Sink {
    Plain(Inner),
    Gzip(GzEncoder<Inner>),
    /// Between two members of gzip; seen from outside only after a failure.
    Closed,
}

impl Output {
    /// Standard output.
    pub(super) fn stdout(gzip: bool) -> Self {
        Self {
            target: None,
            sink: Sink::new(buffered(Box::new(io::stdout())), gzip),
        }
    }

    /// A file that will be `path`; the first `keep` bytes of what an earlier run has written stay.
    pub(super) fn file(path: &Path, gzip: bool, keep: u64) -> io::Result<Self> {
        let partial = path.with_added_extension("partial");
        let mut options = File::options();
        options.write(true).create(keep == 0);
        let mut file = options.open(&partial)?;
        if file.metadata()?.len() < keep {
            return Err(io::Error::other(format!(
                "{} is shorter than the checkpoint says",
                partial.display()
            )));
        }
        file.set_len(keep)?;
        file.seek(SeekFrom::End(0))?;
        let sink = Sink::new(buffered(Box::new(file.try_clone()?)), gzip);
        let path = path.to_owned();
        Ok(Self {
            target: Some(Target {
                file,
                partial,
                path,
            }),
            sink,
        })
    }

    /// Has all on the disk and gives the size of the file: what is behind that may be thrown away.
    pub(super) fn cut(&mut self) -> io::Result<u64> {
        self.sink = match std::mem::replace(&mut self.sink, Sink::Closed) {
            Sink::Plain(mut out) => {
                out.flush()?;
                Sink::Plain(out)
            }
            // Gzip can go on only behind the end of a member; a file of several is as good as one of one.
            Sink::Gzip(encoder) => {
                let mut out = encoder.finish()?;
                out.flush()?;
                Sink::new(out, true)
            }
            Sink::Closed => return Err(closed()),
        };
        let Some(target) = &self.target else {
            return Ok(0);
        };
        target.file.sync_data()?;
        Ok(target.file.metadata()?.len())
    }

    /// Completes the file and gives it its name.
    pub(super) fn finish(mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.sink, Sink::Closed) {
            Sink::Plain(mut out) => out.flush()?,
            Sink::Gzip(encoder) => encoder.finish()?.flush()?,
            Sink::Closed => return Err(closed()),
        }
        if let Some(target) = &self.target {
            target.file.sync_all()?;
            std::fs::rename(&target.partial, &target.path)?;
        }
        Ok(())
    }
}

fn buffered(out: Box<dyn Write + Send>) -> Inner {
    BufWriter::with_capacity(BUFFER_BYTES, out)
}

fn closed() -> io::Error {
    io::Error::other("the file was closed by an earlier failure")
}

impl Sink {
    fn new(out: Inner, gzip: bool) -> Self {
        if gzip {
            Self::Gzip(GzEncoder::new(out, Compression::fast()))
        } else {
            Self::Plain(out)
        }
    }
}

impl Write for Output {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match &mut self.sink {
            Sink::Plain(out) => out.write(buffer),
            Sink::Gzip(out) => out.write(buffer),
            Sink::Closed => Err(closed()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Plain(out) => out.flush(),
            Sink::Gzip(out) => out.flush(),
            Sink::Closed => Err(closed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::MultiGzDecoder;

    use super::*;

    #[test]
    fn a_file_goes_on_where_it_was_cut_and_has_its_name_when_complete() {
        for gzip in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("f");
            let mut out = Output::file(&path, gzip, 0).unwrap();
            out.write_all(b"kept ").unwrap();
            let kept = out.cut().unwrap();
            out.write_all(b"lost").unwrap();
            out.flush().unwrap();
            drop(out);
            assert!(!path.exists());
            let mut out = Output::file(&path, gzip, kept).unwrap();
            out.write_all(b"and more").unwrap();
            out.finish().unwrap();
            let bytes = std::fs::read(&path).unwrap();
            let mut text = String::new();
            if gzip {
                MultiGzDecoder::new(bytes.as_slice())
                    .read_to_string(&mut text)
                    .unwrap();
            } else {
                text = String::from_utf8(bytes).unwrap();
            }
            assert_eq!(text, "kept and more");
            assert!(Output::file(&folder.path().join("g"), gzip, 5).is_err());
        }
    }
}
