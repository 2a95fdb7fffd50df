//! The snapshots of one group: which one is current, building the next one, receiving one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use super::data::{self, FILES_DIR, MANIFEST_FILE, SnapshotData};
use super::files;
use super::manifest::{Manifest, snapshot_id};
use super::{SnapshotError, SnapshotOptions, SnapshotStaging};
use crate::crash_point::{CrashPoint, crash_point};
use crate::records::Progress;
use crate::types::{GroupId, LogId};

const BUILDING: &str = "building";
const RESTORING: &str = "restoring";
const COMPLETE: &str = "snap-";
const STAGING: &str = "staging-";
const STAGED: &str = "staged-";

/// See the module.
pub(crate) struct SnapshotStore {
    dir: PathBuf,
    group: GroupId,
    options: SnapshotOptions,
    current: Mutex<Option<SnapshotData>>,
    staging: Mutex<Option<SnapshotStaging>>,
}

/// Links to a snapshot's files, which the state machine may move away; gone when dropped.
pub(crate) struct RestoreFolder {
    path: PathBuf,
}

impl RestoreFolder {
    /// Where the links are.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RestoreFolder {
    fn drop(&mut self) {
        if let Err(error) = files::remove_dir(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a restore folder could not be removed; it goes at the next start");
        }
    }
}

impl SnapshotStore {
    /// Opens the snapshots in `dir` and settles what a crash left there; `applied` is what the state
    /// machine has. Blocks.
    pub(crate) fn open(
        dir: PathBuf,
        group: GroupId,
        applied: Option<LogId>,
        options: SnapshotOptions,
    ) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        files::remove_dir(&dir.join(BUILDING))?;
        files::remove_dir(&dir.join(RESTORING))?;
        settle_received(&dir, applied)?;
        let current = newest_complete(&dir, &options)?;
        files::sync_dir(&dir)?;
        Ok(Self {
            dir,
            group,
            options,
            current: Mutex::new(current),
            staging: Mutex::new(None),
        })
    }

    /// The last snapshot built or installed.
    pub(crate) fn current(&self) -> Option<SnapshotData> {
        self.current.lock().clone()
    }

    /// Whether a build would not have to wait for another group's.
    pub(crate) fn can_build_now(&self) -> bool {
        self.options.builds().available_permits() > 0
    }

    /// Waits for the node's build slot.
    pub(crate) async fn build_permit(&self) -> io::Result<OwnedSemaphorePermit> {
        self.options
            .builds()
            .acquire_owned()
            .await
            .map_err(io::Error::other)
    }

    /// Builds a snapshot and makes it the current one. `checkpoint` writes the state into the folder it
    /// is given and tells the progress of what it wrote. The caller holds the [build
    /// permit](Self::build_permit). Blocks.
    pub(crate) fn build(
        &self,
        checkpoint: impl FnOnce(&Path) -> io::Result<Progress>,
    ) -> io::Result<SnapshotData> {
        let building = self.dir.join(BUILDING);
        files::remove_dir(&building)?;
        let folder = building.join(FILES_DIR);
        fs::create_dir_all(&folder)?;
        let built =
            checkpoint(&folder).and_then(|progress| self.build_from(&building, &folder, progress));
        if built.is_err() {
            files::remove_dir(&building)?;
        }
        built
    }

    fn build_from(
        &self,
        building: &Path,
        folder: &Path,
        progress: Progress,
    ) -> io::Result<SnapshotData> {
        if let Some(current) = self
            .current()
            .filter(|current| current.last_log_id() >= progress.last_applied)
        {
            // Nothing was applied since, or a newer one was installed meanwhile.
            files::remove_dir(building)?;
            return Ok(current);
        }
        let manifest = Manifest {
            group: self.group,
            progress,
            files: files::hash_dir(folder, &self.options)?,
        };
        let bytes = manifest.encode()?;
        crash_point(CrashPoint::BuildBeforeManifest, true);
        files::write_file(&building.join(MANIFEST_FILE), &bytes)?;
        files::sync_dir(folder)?;
        files::sync_dir(building)?;
        crash_point(CrashPoint::BuildBeforeRename, true);
        let path = self.dir.join(format!("{COMPLETE}{}", snapshot_id(&bytes)));
        files::remove_dir(&path)?;
        files::rename(building, &path)?;
        let snapshot = SnapshotData::new(path, manifest, bytes, false, self.options.clone());
        self.make_current(&snapshot)?;
        Ok(snapshot)
    }

    /// Begins or resumes receiving the snapshot that `manifest` describes; a different one that was
    /// being received is abandoned. Blocks.
    pub(crate) fn begin(&self, manifest: &[u8]) -> io::Result<SnapshotStaging> {
        let decoded = Manifest::decode(manifest)?;
        if decoded.group != self.group {
            return Err(SnapshotError::WrongGroup {
                found: decoded.group,
                expected: self.group,
            }
            .into());
        }
        let id = snapshot_id(manifest);
        let mut staging = self.staging.lock();
        if let Some(running) = staging
            .as_ref()
            .filter(|running| running.id() == id && !running.has_ended())
        {
            return Ok(running.clone());
        }
        if let Some(other) = staging.take() {
            other.abandon()?;
        }
        let path = self.dir.join(format!("{STAGING}{id}"));
        remove_others(&self.dir, STAGING, Some(&path))?;
        let staged = self.dir.join(format!("{STAGED}{id}"));
        let begun = SnapshotStaging::open(
            path,
            staged,
            decoded,
            manifest.to_vec(),
            self.options.clone(),
        )?;
        *staging = Some(begun.clone());
        Ok(begun)
    }

    /// Links a snapshot's files into a folder for the state machine to restore from, so that the
    /// snapshot itself stays whole. Blocks.
    pub(crate) fn prepare_restore(&self, snapshot: &SnapshotData) -> io::Result<RestoreFolder> {
        let restoring = RestoreFolder {
            path: self.dir.join(RESTORING),
        };
        files::remove_dir(&restoring.path)?;
        fs::create_dir(&restoring.path)?;
        snapshot.with_path(|path| {
            let folder = path.join(FILES_DIR);
            snapshot.manifest().files.iter().try_for_each(|file| {
                fs::hard_link(folder.join(&file.name), restoring.path.join(&file.name))
            })
        })?;
        files::sync_dir(&restoring.path)?;
        Ok(restoring)
    }

    /// Makes a complete snapshot the current one; the one before goes when nobody reads it. Blocks.
    pub(crate) fn make_current(&self, snapshot: &SnapshotData) -> io::Result<()> {
        let mut current = self.current.lock();
        if current
            .as_ref()
            .is_some_and(|current| current.id() == snapshot.id())
        {
            return Ok(());
        }
        snapshot.move_to(self.dir.join(format!("{COMPLETE}{}", snapshot.id())))?;
        snapshot.set_keep(true);
        if let Some(before) = current.replace(snapshot.clone()) {
            before.set_keep(false);
        }
        Ok(())
    }
}

/// Folders in `dir` whose names begin with `prefix`, with what follows it.
fn folders(dir: &Path, prefix: &str) -> io::Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for item in fs::read_dir(dir)? {
        let item = item?;
        if let Some(id) = item
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix(prefix))
        {
            found.push((item.path(), id.to_owned()));
        }
    }
    found.sort();
    Ok(found)
}

fn remove_others(dir: &Path, prefix: &str, keep: Option<&Path>) -> io::Result<()> {
    for (path, _) in folders(dir, prefix)? {
        if Some(path.as_path()) != keep {
            files::remove_dir(&path)?;
        }
    }
    Ok(())
}

/// Settles received snapshots: one that was installed becomes complete, one that may still be of use
/// goes back to being received (its parts are verified again), the rest is removed.
fn settle_received(dir: &Path, applied: Option<LogId>) -> io::Result<()> {
    for (path, id) in folders(dir, STAGED)? {
        match data::load(&path, &id) {
            Ok((manifest, _)) if manifest.progress.last_applied == applied && applied.is_some() => {
                let complete = dir.join(format!("{COMPLETE}{id}"));
                files::remove_dir(&complete)?;
                files::rename(&path, &complete)?;
            }
            Ok(_) => {
                let staging = dir.join(format!("{STAGING}{id}"));
                files::remove_dir(&staging)?;
                files::rename(&path, &staging)?;
            }
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "removing a received snapshot that cannot be read");
                files::remove_dir(&path)?;
            }
        }
    }
    let mut useful: Option<(Option<LogId>, PathBuf)> = None;
    for (path, id) in folders(dir, STAGING)? {
        // An interrupted transfer may lack even its manifest; there is nothing to say about that.
        let Ok((manifest, _)) = data::load(&path, &id) else {
            continue;
        };
        let last = manifest.progress.last_applied;
        if last > applied && useful.as_ref().is_none_or(|(best, _)| last > *best) {
            useful = Some((last, path));
        }
    }
    remove_others(
        dir,
        STAGING,
        useful.as_ref().map(|(_, path)| path.as_path()),
    )
}

fn newest_complete(dir: &Path, options: &SnapshotOptions) -> io::Result<Option<SnapshotData>> {
    let mut newest: Option<SnapshotData> = None;
    for (path, id) in folders(dir, COMPLETE)? {
        match data::load(&path, &id) {
            Ok((manifest, bytes)) => {
                // Not kept, so that the older of two goes away with its handle.
                let snapshot = SnapshotData::new(path, manifest, bytes, false, options.clone());
                if newest
                    .as_ref()
                    .is_none_or(|newest| newest.last_log_id() < snapshot.last_log_id())
                {
                    newest = Some(snapshot);
                }
            }
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "removing a snapshot that cannot be read");
                files::remove_dir(&path)?;
            }
        }
    }
    if let Some(newest) = &newest {
        newest.set_keep(true);
    }
    Ok(newest)
}
