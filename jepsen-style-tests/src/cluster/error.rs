//! What may go wrong with a cluster under test.

use std::io;

/// Why something could not be done to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The machine refused.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What it said.
        source: io::Error,
    },
    /// A command failed.
    #[error("{what}: {output}")]
    Command {
        /// The command.
        what: String,
        /// The end of what it printed.
        output: String,
    },
    /// A node is not as it must be; the end of its log says why.
    #[error("node {node} {what}; its log ends:\n{log}")]
    Node {
        /// Which, from 1.
        node: usize,
        /// What is wrong.
        what: String,
        /// The end of its log.
        log: String,
    },
    /// The cluster as a whole is not as it must be.
    #[error("the cluster {0}")]
    Cluster(String),
    /// The machine or the way in which the cluster was started lacks something.
    #[error("not available here: {0}")]
    NotAvailable(String),
    /// The harness would have to touch what it did not start.
    #[error("refused: {0}")]
    Refused(String),
}

/// Names what was being done when an I/O error came.
pub(crate) trait While<T> {
    /// Adds it.
    fn during(self, what: impl FnOnce() -> String) -> Result<T, ClusterError>;
}

impl<T> While<T> for io::Result<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, ClusterError> {
        self.map_err(|source| ClusterError::Io {
            what: what(),
            source,
        })
    }
}

impl<T> While<T> for nix::Result<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, ClusterError> {
        self.map_err(io::Error::from).during(what)
    }
}
