//! One file from the cluster to this machine. What has arrived is kept beside the file until all of it is there: an
//! interrupted download goes on where it was, as long as the content in the cluster is still the same.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use yunbase_client::storage::{Storage, StoredFile};

use super::landing::Landing;
use super::meter::Meter;
use crate::cli::failure::CliError;
use crate::cli::json_file;

/// What may arrive before it is made durable and noted as arrived: an interruption costs no more than this.
const CHECKPOINT_BYTES: u64 = 64 << 20;

/// What is known about a part of a file that has arrived.
#[derive(Debug, Serialize, Deserialize)]
struct PartState {
    /// Of the file, so that nothing is put together of two contents.
    etag: String,
    /// Size of the file.
    bytes: u64,
    /// So much from its beginning is durable. What lies behind may be anything after a loss of power.
    arrived: u64,
}

/// A file that arrives.
struct Arriving<'a> {
    landing: &'a Landing,
    file: &'a StoredFile,
    part: tokio::fs::File,
    arrived: u64,
    durable: u64,
}

/// Fetches `file`; returns how much of it had to come.
pub(super) async fn fetch(
    storage: &Storage,
    file: &StoredFile,
    landing: &Landing,
    meter: &Meter,
    stop: &mut watch::Receiver<bool>,
) -> Result<u64, CliError> {
    let mut arriving = Arriving::begin(landing, file)?;
    let first = arriving.arrived;
    meter.count(first);
    match arriving.receive(storage, meter, stop).await {
        Ok(()) => {
            arriving.finish().await?;
            Ok(file.bytes - first)
        }
        Err(error) => {
            // Kept for the next attempt; that it could not be kept only makes that one longer.
            let _ = arriving.checkpoint().await;
            Err(error)
        }
    }
}

/// Writes a file to standard output.
pub(super) async fn print(
    storage: &Storage,
    file: &StoredFile,
    meter: &Meter,
) -> Result<(), CliError> {
    let mut content = storage.get_version(&file.path, &file.version, ..).await?;
    let mut out = tokio::io::stdout();
    while let Some(piece) = content.next().await {
        let piece = piece?;
        if let Err(error) = out.write_all(&piece).await {
            return settled(&error);
        }
        meter.count(piece.len() as u64);
    }
    out.flush().await.or_else(|error| settled(&error))
}

/// A reader that has seen enough is no failure.
fn settled(error: &io::Error) -> Result<(), CliError> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(CliError::failed(format!(
            "cannot write to standard output: {error}"
        ))),
    }
}

fn failed(path: &Path, error: &io::Error) -> CliError {
    CliError::failed(format!("cannot write {}: {error}", path.display()))
}

impl<'a> Arriving<'a> {
    fn begin(landing: &'a Landing, file: &'a StoredFile) -> Result<Self, CliError> {
        landing.make_folders()?;
        let target = landing.path();
        if target.is_dir() {
            return Err(CliError::failed(format!(
                "{} is a folder, where a file would be",
                target.display()
            )));
        }
        let path = landing.part();
        let mut part = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            // A link that another user has put there must not lead what is written elsewhere.
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|error| failed(&path, &error))?;
        // What cannot be read says nothing, which is what a new download knows.
        let state: Option<PartState> = json_file::load(&landing.part_state(), "a download's state")
            .ok()
            .flatten();
        let there = part
            .metadata()
            .map_err(|error| failed(&path, &error))?
            .len();
        let arrived = state
            .filter(|state| state.etag == file.etag && state.bytes == file.bytes)
            .map_or(0, |state| state.arrived.min(there).min(file.bytes));
        // What lies behind the part that is certain is forgotten.
        part.set_len(arrived)
            .and_then(|()| part.seek(SeekFrom::Start(arrived)))
            .map_err(|error| failed(&path, &error))?;
        Ok(Self {
            landing,
            file,
            part: tokio::fs::File::from_std(part),
            arrived,
            durable: arrived,
        })
    }

    async fn receive(
        &mut self,
        storage: &Storage,
        meter: &Meter,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), CliError> {
        if self.arrived == self.file.bytes {
            return Ok(());
        }
        let (path, version) = (&self.file.path, &self.file.version);
        let mut content = storage.get_version(path, version, self.arrived..).await?;
        loop {
            let piece = tokio::select! {
                piece = content.next() => piece,
                _ = stop.wait_for(|stopping| *stopping) => {
                    return Err(CliError::failed("interrupted"));
                }
            };
            let Some(piece) = piece else { break };
            let piece = piece?;
            let written = self.part.write_all(&piece).await;
            written.map_err(|error| failed(&self.landing.part(), &error))?;
            self.arrived += piece.len() as u64;
            meter.count(piece.len() as u64);
            if self.arrived - self.durable >= CHECKPOINT_BYTES {
                self.checkpoint().await?;
            }
        }
        if self.arrived != self.file.bytes {
            return Err(CliError::failed(format!(
                "{} has {} bytes, of which {} came",
                self.file.path, self.file.bytes, self.arrived
            )));
        }
        Ok(())
    }

    /// Makes durable what has arrived, and notes it.
    async fn checkpoint(&mut self) -> Result<(), CliError> {
        if self.arrived == self.durable {
            return Ok(());
        }
        // Only a flush tells of a write that has failed in the background.
        let synced = match self.part.flush().await {
            Ok(()) => self.part.sync_data().await,
            failed => failed,
        };
        synced.map_err(|error| failed(&self.landing.part(), &error))?;
        let state = PartState {
            etag: self.file.etag.clone(),
            bytes: self.file.bytes,
            arrived: self.arrived,
        };
        json_file::save(&self.landing.part_state(), &state)?;
        self.durable = self.arrived;
        Ok(())
    }

    /// Puts the file, which is whole, in its place.
    async fn finish(mut self) -> Result<(), CliError> {
        let (part, target) = (self.landing.part(), self.landing.path());
        let synced = match self.part.flush().await {
            Ok(()) => self.part.sync_all().await,
            failed => failed,
        };
        synced
            .and_then(|()| std::fs::rename(&part, &target))
            .and_then(|()| sync_folder(&target))
            .map_err(|error| failed(&target, &error))?;
        match std::fs::remove_file(self.landing.part_state()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed(&self.landing.part_state(), &error))
            }
            _ => Ok(()),
        }
    }
}

/// Makes durable that a file has its name.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}
