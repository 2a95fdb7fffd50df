//! A handle of a complete snapshot. Holding it is the proof that the files stay on disk.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::files;
use super::manifest::{Manifest, PartId, snapshot_id};
use super::{SnapshotError, SnapshotOptions};
use crate::blocking_thread::run_blocking;
use crate::types::{LogId, TypeConfig};

/// Name of the manifest in a snapshot's folder.
pub(super) const MANIFEST_FILE: &str = "manifest";
/// Name of the folder of files in a snapshot's folder.
pub(super) const FILES_DIR: &str = "files";

/// A complete snapshot on disk; clones share it. Its folder is removed when the last handle of a
/// snapshot that is not the current one goes away.
#[derive(Clone)]
pub(crate) struct SnapshotData {
    folder: Arc<Folder>,
}

struct Folder {
    id: String,
    manifest: Manifest,
    manifest_bytes: Bytes,
    /// Changes when a received snapshot becomes the current one.
    path: RwLock<PathBuf>,
    /// Keeps the folder of the current snapshot.
    keep: AtomicBool,
    options: SnapshotOptions,
    /// The file that was read last: parts of a file are asked for one after another.
    open: Mutex<Option<(u32, Arc<File>)>>,
}

impl SnapshotData {
    pub(super) fn new(
        path: PathBuf,
        manifest: Manifest,
        bytes: Vec<u8>,
        keep: bool,
        options: SnapshotOptions,
    ) -> Self {
        let folder = Folder {
            id: snapshot_id(&bytes),
            manifest,
            manifest_bytes: Bytes::from(bytes),
            path: RwLock::new(path),
            keep: AtomicBool::new(keep),
            options,
            open: Mutex::new(None),
        };
        Self {
            folder: Arc::new(folder),
        }
    }

    /// The snapshot's identity.
    pub(crate) fn id(&self) -> &str {
        &self.folder.id
    }

    /// What the snapshot consists of.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.folder.manifest
    }

    /// The manifest as it is sent.
    pub(crate) fn manifest_bytes(&self) -> Bytes {
        self.folder.manifest_bytes.clone()
    }

    /// The last log id that the snapshot's state reflects.
    pub(crate) fn last_log_id(&self) -> Option<LogId> {
        self.folder.manifest.progress.last_applied
    }

    /// What openraft needs to know of it.
    pub(crate) fn meta(&self) -> openraft::alias::SnapshotMetaOf<TypeConfig> {
        let progress = &self.folder.manifest.progress;
        openraft::SnapshotMeta {
            last_log_id: progress.last_applied,
            last_membership: progress.membership.clone(),
        }
    }

    /// Reads a part, within the node's read budget, and checks its hash, so that a damaged disk is
    /// noticed here and not by the receiver.
    pub(crate) async fn read_part(&self, id: PartId) -> io::Result<Bytes> {
        let snapshot = self.clone();
        run_blocking(move || snapshot.read_part_blocking(id)).await?
    }

    fn read_part_blocking(&self, id: PartId) -> io::Result<Bytes> {
        let (manifest, _) = self.folder.manifest.part(id)?;
        self.folder
            .options
            .wait_to_read(manifest.part_length_bytes(id.part));
        let file = self.open(id.file, &manifest.name)?;
        Ok(Bytes::from(files::read_part(&file, manifest, id.part)?))
    }

    fn open(&self, number: u32, name: &str) -> io::Result<Arc<File>> {
        let mut open = self.folder.open.lock();
        if let Some((current, file)) = &*open
            && *current == number
        {
            return Ok(file.clone());
        }
        // The lock is held while the file is opened, so that the folder is not renamed in between.
        let path = self.folder.path.read();
        let file = Arc::new(File::open(path.join(FILES_DIR).join(name))?);
        *open = Some((number, file.clone()));
        Ok(file)
    }

    /// Calls `work` with the folder's path, which does not change meanwhile.
    pub(super) fn with_path<T>(&self, work: impl FnOnce(&Path) -> T) -> T {
        work(&self.folder.path.read())
    }

    /// Moves the folder to `to`.
    pub(super) fn move_to(&self, to: PathBuf) -> io::Result<()> {
        let mut path = self.folder.path.write();
        if *path != to {
            files::rename(&path, &to)?;
            *path = to;
        }
        Ok(())
    }

    /// Says whether the folder outlives its last handle.
    pub(super) fn set_keep(&self, keep: bool) {
        self.folder.keep.store(keep, Ordering::Release);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep.load(Ordering::Acquire) {
            return;
        }
        let path = self.path.get_mut();
        if let Err(error) = files::remove_dir(path) {
            tracing::warn!(%error, path = %path.display(), "an old snapshot could not be removed; it goes at the next start");
        }
    }
}

impl std::fmt::Debug for SnapshotData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "snapshot {}", self.folder.id)
    }
}

/// Reads a snapshot's folder; `expected_id` comes from the folder's name.
pub(super) fn load(path: &Path, expected_id: &str) -> io::Result<(Manifest, Vec<u8>)> {
    let bytes = files::read_file(&path.join(MANIFEST_FILE), super::MANIFEST_BYTES_MAX + 16)?;
    if snapshot_id(&bytes) != expected_id {
        return Err(SnapshotError::CorruptedFile {
            name: MANIFEST_FILE.into(),
        }
        .into());
    }
    Ok((Manifest::decode(&bytes)?, bytes))
}
