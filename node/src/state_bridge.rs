//! The small bridge between a Raft group and the database that it replicates.
//!
//! It also tells the node that the group has applied something, which is how the cluster map and, later,
//! every consumer of the change log learn that there is news.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use yunbase_consensus::{Command, StateMachine};
use yunbase_docdb::{Database, Entry};

/// A database as the state machine of a group.
pub struct DatabaseState {
    database: Arc<Database>,
    applied: watch::Sender<u64>,
}

impl DatabaseState {
    /// Bridges `database`.
    pub fn new(database: Arc<Database>) -> Self {
        Self {
            database,
            applied: watch::Sender::new(0),
        }
    }

    /// Changes whenever something has been applied or restored.
    pub fn watch_applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }
}

impl StateMachine for DatabaseState {
    fn progress(&self) -> io::Result<Option<Vec<u8>>> {
        self.database.progress().map_err(io::Error::other)
    }

    fn apply(&self, commands: &[Command], progress: &[u8]) -> io::Result<Vec<Bytes>> {
        let entries: Vec<Entry<'_>> = commands
            .iter()
            .map(|command| Entry {
                log_index: command.log_index,
                position: command.position,
                payload: &command.payload,
            })
            .collect();
        let replies = self
            .database
            .apply(&entries, progress)
            .map_err(io::Error::other)?;
        if !entries.is_empty() {
            self.applied.send_modify(|version| *version += 1);
        }
        Ok(replies.into_iter().map(Bytes::from).collect())
    }

    fn flush(&self) -> io::Result<()> {
        self.database.flush().map_err(io::Error::other)
    }

    fn checkpoint(&self, into: &Path) -> io::Result<()> {
        self.database.checkpoint(into).map_err(io::Error::other)
    }

    fn checkpoint_progress(&self, checkpoint: &Path) -> io::Result<Option<Vec<u8>>> {
        self.database
            .checkpoint_progress(checkpoint)
            .map_err(io::Error::other)
    }

    fn restore(&self, from: &Path) -> io::Result<()> {
        self.database.restore(from).map_err(io::Error::other)?;
        self.applied.send_modify(|version| *version += 1);
        Ok(())
    }
}
