//! The marker file: says that a directory is a disk of a chunk store, and which. A disk that was not
//! mounted is an empty directory; without the marker it is refused instead of filled.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use thiserror::Error;

/// The identity of a disk, given once and never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskId(pub [u8; 16]);

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the marker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) disk: DiskId,
}

/// Why a directory is not taken as a disk.
#[derive(Debug, Error)]
pub enum MarkerError {
    /// There is no marker.
    #[error("{path} has no marker file: not a disk of a chunk store, or not mounted")]
    Missing {
        /// The directory.
        path: String,
    },
    /// The directory has a marker already, or other files.
    #[error("{path} is not empty")]
    NotEmpty {
        /// The directory.
        path: String,
    },
    /// The marker cannot be read.
    #[error("marker file of {path}: {reason}")]
    Invalid {
        /// The directory.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The file system refused.
    #[error("marker file of {path}")]
    Io {
        /// The directory.
        path: String,
        /// The refusal.
        #[source]
        source: io::Error,
    },
}

pub(crate) const MARKER_FILE: &str = "yunbase-chunks";
const PARTIAL_FILE: &str = "yunbase-chunks.partial";
const MAGIC: &str = "yunbase chunk disk";
const FORMAT: &str = "1";
const MARKER_BYTES_MAX: u64 = 1 << 10;

impl Marker {
    /// One line of text, so that people can read it: magic, format, id, checksum.
    pub(crate) fn encode(&self) -> String {
        let body = format!("{MAGIC} {FORMAT} {}", self.disk);
        let check = checksum(&body);
        format!("{body} {check}\n")
    }

    pub(crate) fn decode(text: &str) -> Result<Self, &'static str> {
        let line = text.strip_suffix('\n').ok_or("cut short")?;
        let (body, check) = line.rsplit_once(' ').ok_or("not a marker")?;
        let fields = body
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or("not a marker")?;
        if checksum(body) != check {
            return Err("checksum mismatch");
        }
        let (format, id) = fields.split_once(' ').ok_or("not a marker")?;
        if format != FORMAT {
            return Err("written by a later release");
        }
        let mut disk = [0; 16];
        hex::decode_to_slice(id, &mut disk).map_err(|_| "not an id")?;
        Ok(Self { disk: DiskId(disk) })
    }

    /// Reads the marker of a directory.
    pub(crate) fn read(dir: &Path) -> Result<Self, MarkerError> {
        let path = || dir.display().to_string();
        let mut text = String::new();
        let read = File::open(dir.join(MARKER_FILE))
            .and_then(|file| file.take(MARKER_BYTES_MAX).read_to_string(&mut text));
        match read {
            Ok(_) => Self::decode(&text).map_err(|reason| MarkerError::Invalid {
                path: path(),
                reason,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(MarkerError::Missing { path: path() })
            }
            Err(source) => Err(MarkerError::Io {
                path: path(),
                source,
            }),
        }
    }

    /// Writes the marker into a directory, which is made if need be and must be empty.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), MarkerError> {
        let path = || dir.display().to_string();
        let io = |source| MarkerError::Io {
            path: path(),
            source,
        };
        fs::create_dir_all(dir).map_err(io)?;
        for item in fs::read_dir(dir).map_err(io)? {
            let name = item.map_err(io)?.file_name();
            // A fresh ext4 has the second; the first is left by an initialization that was cut short.
            if name != PARTIAL_FILE && name != "lost+found" {
                return Err(MarkerError::NotEmpty { path: path() });
            }
        }
        self.write_file(dir).map_err(io)
    }

    fn write_file(&self, dir: &Path) -> io::Result<()> {
        let partial = dir.join(PARTIAL_FILE);
        let mut file = File::create(&partial)?;
        file.write_all(self.encode().as_bytes())?;
        file.sync_all()?;
        fs::rename(partial, dir.join(MARKER_FILE))?;
        File::open(dir)?.sync_all()?;
        // The directory may be new itself.
        dir.parent().map_or(Ok(()), |parent| {
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            File::open(parent)?.sync_all()
        })
    }
}

fn checksum(body: &str) -> String {
    hex::encode(&blake3::hash(body.as_bytes()).as_bytes()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_written_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        assert!(matches!(
            Marker::read(&path),
            Err(MarkerError::Missing { .. })
        ));
        let marker = Marker {
            disk: DiskId([0xa5; 16]),
        };
        marker.write(&path).unwrap();
        assert_eq!(Marker::read(&path).unwrap(), marker);
        assert!(matches!(
            marker.write(&path),
            Err(MarkerError::NotEmpty { .. })
        ));
        fs::write(path.join(MARKER_FILE), "nonsense\n").unwrap();
        assert!(matches!(
            Marker::read(&path),
            Err(MarkerError::Invalid { .. })
        ));
    }

    #[test]
    fn every_change_of_a_marker_is_noticed() {
        let text = Marker {
            disk: DiskId([0xa5; 16]),
        }
        .encode();
        assert!(text.starts_with("yunbase chunk disk 1 a5a5a5a5"));
        for position in 0..text.len() {
            assert!(Marker::decode(&text[..position]).is_err());
            let mut changed = text.clone().into_bytes();
            changed[position] ^= 1;
            let changed = String::from_utf8(changed).unwrap();
            assert!(Marker::decode(&changed).is_err(), "{changed}");
        }
    }
}
