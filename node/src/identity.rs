//! Who this node is: an id that the cluster gave out once, bound to this disk.
//!
//! A node id is never reused and never tied to an address. Cluster id, node id and disk marker must agree
//! at start: a wiped disk is a new node, and a copied one is refused, because two nodes that answer to
//! one id can split a Raft group.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::durable_file;

/// Longest wait for a data folder that another process holds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(3);
const LOCK_POLL: Duration = Duration::from_millis(10);

/// Names the disk in the folder of the Raft logs.
const LOG_OWNER_FILE: &str = "owner";
/// There once a node has been removed.
const REMOVED_FILE: &str = "removed";
/// In every folder that holds a RocksDB.
const ROCKSDB_POINTER: &str = "CURRENT";
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

/// Why a disk's node cannot run as the one that it was.
#[derive(Debug, thiserror::Error)]
pub enum LogLost {
    /// The logs are gone.
    #[error(
        "{} does not hold the Raft log of this node any more: without it the node has forgotten its votes and must not run as the one that it was; remove it (`yunbase cluster remove`) and let it join as a new one with an empty data folder", folder.display()
    )]
    Lost {
        /// Where they should be.
        folder: PathBuf,
    },
    /// They are those of another disk.
    #[error(
        "{} holds the Raft log of another node; put the right one back, or remove this node (`yunbase cluster remove`) and let it join as a new one with an empty data folder", folder.display()
    )]
    Foreign {
        /// Where they are.
        folder: PathBuf,
    },
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The folder of a node's durable state and the paths in it.
#[derive(Debug, Clone)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Opens (and creates) the folder.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(|error| {
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

    /// Writes down that this disk's node was removed from its cluster.
    pub fn set_removed(&self, node: u64) -> io::Result<()> {
        durable_file::write(&self.0.join(REMOVED_FILE), REMOVED_FILE, VERSION, &node)
    }

    /// The node that was removed, when this disk's was.
    pub fn removed(&self) -> io::Result<Option<u64>> {
        durable_file::read(&self.0.join(REMOVED_FILE), REMOVED_FILE, VERSION)
    }

    /// The marker of this disk in the folder of its Raft logs, drawn and left there when the disk is first used; whoever
    /// comes again with the marker must find the logs that belong to it. Call it before the logs are opened.
    ///
    /// A node that has lost its log has forgotten whom it voted for and what it said it had stored. Taken for the one
    /// that it was, it could help to elect a second leader, or to lose what was acknowledged.
    pub fn claim_log(&self, known: Option<&str>) -> Result<String, LogLost> {
        let folder = self.consensus();
        let path = folder.join(LOG_OWNER_FILE);
        let owner: Option<String> = durable_file::read(&path, LOG_OWNER_FILE, VERSION)?;
        match (known, owner) {
            (None, Some(owner)) => return Ok(owner),
            (Some(known), Some(owner)) if known == owner => return Ok(owner),
            (Some(_), Some(_)) => return Err(LogLost::Foreign { folder }),
            // From before there were owners.
            (Some(_), None) if folder.join(ROCKSDB_POINTER).exists() => {}
            (Some(_), None) => return Err(LogLost::Lost { folder }),
            (None, None) => {}
        }
        let owner = known.map_or_else(random_id, str::to_owned);
        fs::create_dir_all(&folder)?;
        durable_file::write(&path, LOG_OWNER_FILE, VERSION, &owner)?;
        File::open(&self.0)?.sync_all()?;
        Ok(owner)
    }

    /// The same for a disk on which a cluster is founded: it must not hold a log of any other.
    pub fn claim_new_log(&self) -> Result<String, LogLost> {
        let folder = self.consensus();
        match folder.join(ROCKSDB_POINTER).exists() {
            true => Err(LogLost::Foreign { folder }),
            false => self.claim_log(None),
        }
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
        let file = fs::OpenOptions::new()
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
    _file: File,
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

    #[test]
    fn a_disk_whose_log_is_gone_is_not_the_one_that_it_was() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = DataDir::open(folder.path()).expect("open");
        let own = dir.claim_log(None).expect("first use");
        assert_eq!(dir.claim_log(None).expect("before it is known"), own);
        assert_eq!(dir.claim_log(Some(&own)).expect("known"), own);
        assert_eq!(dir.claim_new_log().expect("founding again"), own);
        let foreign = dir.claim_log(Some("another"));
        assert!(matches!(foreign, Err(LogLost::Foreign { .. })));

        fs::remove_dir_all(dir.consensus()).expect("wipe");
        for _ in 0..2 {
            let lost = dir.claim_log(Some(&own));
            assert!(matches!(lost, Err(LogLost::Lost { .. })), "{lost:?}");
        }
        // A log from before disks were named in it.
        fs::create_dir_all(dir.consensus()).expect("folder");
        fs::write(dir.consensus().join(ROCKSDB_POINTER), "MANIFEST-1").expect("log");
        assert_eq!(dir.claim_log(Some(&own)).expect("older"), own);
        assert!(dir.claim_new_log().is_err(), "a second cluster on a log");
    }

    #[test]
    fn that_a_node_was_removed_is_remembered() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = DataDir::open(folder.path()).expect("open");
        assert_eq!(dir.removed().expect("read"), None);
        dir.set_removed(3).expect("write");
        assert_eq!(dir.removed().expect("read"), Some(3));
    }
}
