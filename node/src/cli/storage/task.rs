//! What a command does with one file, in words and in deed.

use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::sync::watch;
use yunbase_client::storage::{Condition, NewFile, Storage, StoredFile};

use super::download;
use super::landing::Landing;
use super::meter::Meter;
use crate::cli::failure::CliError;

/// One step of a plan.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Task {
    /// From this machine to the cluster.
    Upload {
        from: PathBuf,
        to: NewFile,
        path: String,
        bytes: u64,
    },
    /// From the cluster to this machine.
    Download { file: StoredFile, to: Landing },
    /// A folder, for a file whose name ends with `/`.
    Folder { path: String, to: Landing },
    /// Within the cluster.
    Copy { file: StoredFile, to: String },
    /// In the cluster; only this version where one is named.
    Delete {
        path: String,
        version: Option<String>,
    },
    /// On this machine.
    DeleteLocal { path: PathBuf },
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Files that were uploaded, downloaded or copied.
    pub(super) files: u64,
    /// Their sizes.
    pub(super) bytes: u64,
    /// What was sent or received for them.
    pub(super) moved_bytes: u64,
    /// Files that were deleted.
    pub(super) deleted: u64,
}

impl std::ops::AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.moved_bytes += other.moved_bytes;
        self.deleted += other.deleted;
    }
}

impl Task {
    /// What moves, for the progress.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Upload { bytes, .. } => *bytes,
            Self::Download { file, .. } => file.bytes,
            _ => 0,
        }
    }

    /// Whether it takes something away.
    pub(super) fn is_deletion(&self) -> bool {
        matches!(self, Self::Delete { .. } | Self::DeleteLocal { .. })
    }

    /// What it would do, as a row.
    pub(super) fn shown(&self) -> Value {
        let place = |path: &PathBuf| path.display().to_string();
        match self {
            Self::Upload {
                from, path, bytes, ..
            } => {
                json!({"would": "upload", "from": place(from), "to": format!(":{path}"), "bytes": bytes})
            }
            Self::Download { file, to } => {
                json!({"would": "download", "from": format!(":{}", file.path), "to": place(&to.path()), "bytes": file.bytes})
            }
            Self::Folder { path, to } => {
                json!({"would": "make folder", "from": format!(":{path}"), "to": place(&to.path())})
            }
            Self::Copy { file, to } => {
                json!({"would": "copy", "from": format!(":{}", file.path), "to": format!(":{to}"), "bytes": file.bytes})
            }
            Self::Delete { path, .. } => json!({"would": "delete", "from": format!(":{path}")}),
            Self::DeleteLocal { path } => json!({"would": "delete", "from": place(path)}),
        }
    }

    /// Does it.
    pub(super) async fn carry_out(
        self,
        storage: &Storage,
        meter: &Meter,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Done, CliError> {
        match self {
            Self::Upload { from, to, .. } => {
                let reader = open(&from).await?;
                send(storage, to, meter.counted(reader), stop).await
            }
            Self::Download { file, to } => {
                let moved_bytes = download::fetch(storage, &file, &to, meter, stop).await?;
                Ok(moved(file.bytes, moved_bytes))
            }
            Self::Folder { to, .. } => {
                to.make_folder()?;
                Ok(Done::default())
            }
            Self::Copy { file, to } => {
                let copied = storage.copy(&file.path, Some(&file.version), to).await?;
                Ok(moved(copied.bytes, 0))
            }
            Self::Delete { path, version } => {
                let condition = version.map_or(Condition::None, Condition::Version);
                let deleted = storage.delete(&path, condition).await?;
                Ok(deletion(deleted))
            }
            Self::DeleteLocal { path } => {
                std::fs::remove_file(&path).map_err(|error| {
                    CliError::failed(format!("cannot delete {}: {error}", path.display()))
                })?;
                Ok(deletion(true))
            }
        }
    }
}

/// Stores what a reader delivers.
pub(super) async fn send(
    storage: &Storage,
    to: NewFile,
    reader: impl tokio::io::AsyncRead + Send + Unpin,
    stop: &mut watch::Receiver<bool>,
) -> Result<Done, CliError> {
    tokio::select! {
        stored = storage.put_file(to, reader) => {
            let stored = stored?;
            Ok(moved(stored.file.bytes, stored.sent_bytes))
        }
        _ = stop.wait_for(|stopping| *stopping) => Err(CliError::failed("interrupted")),
    }
}

/// A file of this machine, to be read.
pub(super) async fn open(path: &std::path::Path) -> Result<tokio::fs::File, CliError> {
    let opened = tokio::fs::File::open(path).await;
    opened.map_err(|error| CliError::failed(format!("cannot read {}: {error}", path.display())))
}

fn moved(bytes: u64, moved_bytes: u64) -> Done {
    Done {
        files: 1,
        bytes,
        moved_bytes,
        deleted: 0,
    }
}

fn deletion(deleted: bool) -> Done {
    Done {
        deleted: u64::from(deleted),
        ..Done::default()
    }
}
