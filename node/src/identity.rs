//! Who this node is: an id that the cluster gave out once, bound to this disk.
//!
//! A node id is never reused and never tied to an address. Cluster id, node id and disk marker must agree
//! at start: a wiped disk is a new node, and a copied one is refused, because two nodes that answer to
//! one id can split a Raft group.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::durable_file;

/// Longest wait for a data folder that another process holds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(3);
const LOCK_POLL: Duration = Duration::from_millis(10);

const FILE: &str = "identity";
const KIND: &str = "identity";
const VERSION: u32 = 1;

/// The persisted identity of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster this disk belongs to (32 hex digits).
    pub cluster_id: String,
    /// Given out by the cluster, from 1, never reused.
    pub node_id: u64,
    /// Drawn when the disk was first used (32 hex digits); also kept in the node's document.
    pub disk_id: String,
    /// Number of groups of the cluster, group 0 included.
    pub groups: u32,
}

/// The folder of a node's durable state and the paths in it.
#[derive(Debug, Clone)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Opens (and creates) the folder.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        std::fs::create_dir_all(&path).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("create data folder {}: {error}", path.display()),
            )
        })?;
        Ok(Self(path))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The identity, when this disk has one.
    pub fn identity(&self) -> io::Result<Option<Identity>> {
        durable_file::read(&self.0.join(FILE), KIND, VERSION)
    }

    /// Stores the identity. A disk gets one only once.
    pub fn set_identity(&self, identity: &Identity) -> io::Result<()> {
        if let Some(present) = self.identity()? {
            if present == *identity {
                return Ok(());
            }
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!(
                    "{} belongs to node {} of cluster {}; a node id is never changed: use an empty folder for a new node",
                    self.0.display(),
                    present.node_id,
                    present.cluster_id
                ),
            ));
        }
        durable_file::write(&self.0.join(FILE), KIND, VERSION, identity)
    }

    /// Folder of the Raft logs of all groups.
    pub fn consensus(&self) -> PathBuf {
        self.0.join("consensus")
    }

    /// Folder of the state of one group.
    pub fn state(&self, group: u32) -> PathBuf {
        self.0.join("state").join(group.to_string())
    }

    /// Folder of the groups' snapshots; on the file system of the states, so that files can be linked.
    pub fn snapshots(&self) -> PathBuf {
        self.0.join("snapshots")
    }

    /// Folder of the temporary files of queries.
    pub fn spill(&self) -> PathBuf {
        self.0.join("spill")
    }

    /// Folder of keys and certificates.
    pub fn tls(&self) -> PathBuf {
        self.0.join("tls")
    }

    /// Takes the folder for this process alone, until the guard is dropped. Waits a little: a process that
    /// has been killed holds its locks until the last of its threads is gone.
    pub async fn lock(&self) -> io::Result<DirLock> {
        let path = self.0.join("LOCK");
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        let given_up = Instant::now() + LOCK_TIMEOUT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(DirLock { _file: file }),
                Err(_) if Instant::now() < given_up => tokio::time::sleep(LOCK_POLL).await,
                Err(error) => {
                    return Err(io::Error::new(
                        io::ErrorKind::ResourceBusy,
                        format!(
                            "{} is in use by another yunbase process ({error}); stop it or choose another data_dir",
                            self.0.display()
                        ),
                    ));
                }
            }
        }
    }
}

/// Proof that this process alone uses a data folder.
#[derive(Debug)]
pub struct DirLock {
    _file: std::fs::File,
}

/// 16 random bytes as 32 lower-case hex digits: the shape of ids and request ids everywhere.
pub fn random_id() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_identity_is_given_once_and_a_folder_has_one_user() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = DataDir::open(folder.path()).expect("open");
        let first = Identity {
            cluster_id: random_id(),
            node_id: 1,
            disk_id: random_id(),
            groups: 2,
        };
        dir.set_identity(&first).expect("set");
        dir.set_identity(&first).expect("the same again is fine");
        assert!(
            dir.set_identity(&Identity {
                node_id: 2,
                ..first.clone()
            })
            .is_err()
        );
        assert_eq!(dir.identity().expect("read"), Some(first));

        let held = dir.lock().await.expect("lock");
        assert!(dir.lock().await.is_err());
        drop(held);
        dir.lock().await.expect("free again");
    }
}
