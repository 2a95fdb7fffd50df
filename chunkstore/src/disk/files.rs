//! A disk in the file system: `yunbase-chunks` (the marker), `segments/` and `index/` below one directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::statvfs::statvfs;

use super::{Disk, DiskFile, DiskSpace, Marker, MarkerError};
use crate::index::{Index, IndexShared, RocksIndex};

const SEGMENTS: &str = "segments";
const INDEX: &str = "index";

pub(crate) struct FileDisk {
    dir: PathBuf,
    marker: Marker,
    shared: IndexShared,
}

impl FileDisk {
    /// Opens the disk in `dir`, which must have a marker.
    pub(crate) fn open(dir: &Path, shared: IndexShared) -> Result<Self, MarkerError> {
        let marker = Marker::read(dir)?;
        fs::create_dir_all(dir.join(SEGMENTS))
            .and_then(|()| File::open(dir)?.sync_all())
            .map_err(|source| MarkerError::Io {
                path: dir.display().to_string(),
                source,
            })?;
        Ok(Self {
            dir: dir.to_owned(),
            marker,
            shared,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(SEGMENTS).join(name)
    }
}

impl Disk for FileDisk {
    fn name(&self) -> String {
        self.dir.display().to_string()
    }

    fn marker(&self) -> &Marker {
        &self.marker
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for item in fs::read_dir(self.dir.join(SEGMENTS))? {
            names.push(item?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.path(name))?;
        Ok(Arc::new(PlainFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path(name))?;
        Ok(Arc::new(PlainFile(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(self.dir.join(SEGMENTS))?.sync_all()
    }

    fn space(&self) -> io::Result<DiskSpace> {
        let stat = statvfs(&self.dir)?;
        let unit = stat.fragment_size();
        Ok(DiskSpace {
            free_bytes: stat.blocks_available().saturating_mul(unit),
            total_bytes: stat.blocks().saturating_mul(unit),
        })
    }

    fn open_index(&self) -> io::Result<Box<dyn Index>> {
        let index = RocksIndex::open(&self.dir.join(INDEX), &self.shared)?;
        Ok(Box::new(index))
    }

    fn remove_index(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.dir.join(INDEX)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

struct PlainFile(File);

impl DiskFile for PlainFile {
    fn read_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<usize> {
        let mut bytes = 0;
        while !buffer.is_empty() {
            match self.0.read_at(buffer, offset) {
                Ok(0) => break,
                Ok(read) => {
                    bytes += read;
                    offset += read as u64;
                    buffer = &mut buffer[read..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn forget_cache(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let (offset, bytes) = (offset as i64, bytes.min(i64::MAX as u64) as i64);
        posix_fadvise(
            &self.0,
            offset,
            bytes,
            PosixFadviseAdvice::POSIX_FADV_DONTNEED,
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::DiskId;
    use super::*;

    #[test]
    fn files_and_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let shared = IndexShared::default();
        assert!(matches!(
            FileDisk::open(&path, shared.clone()),
            Err(MarkerError::Missing { .. })
        ));
        let marker = Marker {
            disk: DiskId([1; 16]),
        };
        marker.write(&path).unwrap();
        let disk = FileDisk::open(&path, shared).unwrap();
        assert_eq!(disk.marker(), &marker);

        let file = disk.create("one").unwrap();
        assert!(disk.create("one").is_err());
        file.write_at(10, b"abc").unwrap();
        file.sync().unwrap();
        file.forget_cache(0, 13).unwrap();
        let mut buffer = [9; 8];
        assert_eq!(file.read_at(8, &mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"\0\0abc");
        file.truncate(11).unwrap();
        assert_eq!(disk.open("one").unwrap().bytes().unwrap(), 11);
        assert_eq!(disk.list().unwrap(), ["one"]);
        disk.remove("one").unwrap();
        disk.sync_names().unwrap();
        assert_eq!(file.read_at(10, &mut buffer).unwrap(), 1);
        assert!(disk.open("one").is_err());

        let space = disk.space().unwrap();
        assert!(space.free_bytes > 0 && space.free_bytes <= space.total_bytes);
        drop(disk.open_index().unwrap());
        disk.remove_index().unwrap();
        disk.remove_index().unwrap();
    }
}
