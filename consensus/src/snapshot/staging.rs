//! Receiving a snapshot: parts in any order, each checked before it is written; a transfer that broke
//! off goes on with the parts that are missing, even after a restart of this node.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::data::{FILES_DIR, MANIFEST_FILE, SnapshotData};
use super::files;
use super::manifest::{Manifest, PART_BYTES, PartId, snapshot_id};
use super::{SnapshotError, SnapshotOptions};
use crate::crash_point::{CrashPoint, crash_point};

/// A snapshot being received; clones share it.
#[derive(Clone)]
pub(crate) struct SnapshotStaging {
    inner: Arc<Inner>,
}

struct Inner {
    id: String,
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    path: PathBuf,
    /// Where a complete snapshot waits for its installation.
    staged_path: PathBuf,
    options: SnapshotOptions,
    progress: Mutex<Progress>,
}

struct Progress {
    /// For each file, for each part, whether it is there.
    present: Vec<Vec<bool>>,
    missing: usize,
    ended: bool,
}

impl SnapshotStaging {
    /// Opens the folder `path`, or makes it. What is there already is checked and kept. Blocks.
    pub(super) fn open(
        path: PathBuf,
        staged_path: PathBuf,
        manifest: Manifest,
        manifest_bytes: Vec<u8>,
        options: SnapshotOptions,
    ) -> io::Result<Self> {
        let folder = path.join(FILES_DIR);
        fs::create_dir_all(&folder)?;
        let mut present = Vec::with_capacity(manifest.files.len());
        for file in &manifest.files {
            present.push(open_file(&folder.join(&file.name), file)?);
        }
        files::write_file(&path.join(MANIFEST_FILE), &manifest_bytes)?;
        let missing = present
            .iter()
            .flatten()
            .filter(|present| !**present)
            .count();
        let progress = Mutex::new(Progress {
            present,
            missing,
            ended: false,
        });
        let id = snapshot_id(&manifest_bytes);
        let inner = Inner {
            id,
            manifest,
            manifest_bytes,
            path,
            staged_path,
            options,
            progress,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The identity of the snapshot being received.
    pub(crate) fn id(&self) -> &str {
        &self.inner.id
    }

    /// Up to `count_max` parts that are missing, in order.
    pub(crate) fn missing(&self, count_max: usize) -> Vec<PartId> {
        let progress = self.inner.progress.lock();
        let is_missing = |id: &PartId| !progress.present[id.file as usize][id.part as usize];
        self.inner
            .manifest
            .parts()
            .filter(is_missing)
            .take(count_max)
            .collect()
    }

    /// Checks and writes a part. One that is there already is ignored. Blocks.
    pub(crate) fn write_part(&self, id: PartId, bytes: &[u8]) -> io::Result<()> {
        let (file, _) = self.inner.manifest.part(id)?;
        files::check_part(bytes, file, id.part)?;
        // The lock is held while writing, so that the folder does not go away under the write.
        let mut progress = self.inner.progress.lock();
        if progress.ended {
            return Err(SnapshotError::Ended.into());
        }
        let present = &mut progress.present[id.file as usize][id.part as usize];
        if *present {
            return Ok(());
        }
        let path = self.inner.path.join(FILES_DIR).join(&file.name);
        OpenOptions::new()
            .write(true)
            .open(path)?
            .write_all_at(bytes, u64::from(id.part) * PART_BYTES)?;
        *present = true;
        progress.missing -= 1;
        Ok(())
    }

    /// Makes the complete snapshot durable and ready for installation. Blocks.
    pub(crate) fn finish(&self) -> io::Result<SnapshotData> {
        let inner = &self.inner;
        let mut progress = inner.progress.lock();
        if progress.ended {
            return Err(SnapshotError::Ended.into());
        }
        if progress.missing > 0 {
            return Err(SnapshotError::Incomplete {
                missing: progress.missing,
            }
            .into());
        }
        let folder = inner.path.join(FILES_DIR);
        for (number, file) in inner.manifest.files.iter().enumerate() {
            let path = folder.join(&file.name);
            File::open(&path)?.sync_all()?;
            if let Err(error) = files::check_file(&path, file) {
                progress.missing += progress.present[number].len();
                progress.present[number].fill(false);
                return Err(error);
            }
        }
        files::sync_dir(&folder)?;
        files::sync_dir(&inner.path)?;
        files::remove_dir(&inner.staged_path)?;
        files::rename(&inner.path, &inner.staged_path)?;
        progress.ended = true;
        crash_point(CrashPoint::InstallAfterStaging, true);
        Ok(SnapshotData::new(
            inner.staged_path.clone(),
            inner.manifest.clone(),
            inner.manifest_bytes.clone(),
            false,
            inner.options.clone(),
        ))
    }

    /// Ends the transfer and removes what has arrived.
    pub(super) fn abandon(&self) -> io::Result<()> {
        let mut progress = self.inner.progress.lock();
        if progress.ended {
            return Ok(());
        }
        progress.ended = true;
        files::remove_dir(&self.inner.path)
    }

    /// Whether the transfer is over, one way or the other.
    pub(super) fn has_ended(&self) -> bool {
        self.inner.progress.lock().ended
    }
}

/// Gives a file its length and tells which of its parts are there.
fn open_file(path: &Path, manifest: &super::manifest::FileManifest) -> io::Result<Vec<bool>> {
    let existed = path.exists();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.set_len(manifest.length_bytes)?;
    let parts = 0..u32::try_from(manifest.part_hashes.len()).unwrap_or(u32::MAX);
    Ok(parts
        .map(|part| existed && files::read_part(&file, manifest, part).is_ok())
        .collect())
}
