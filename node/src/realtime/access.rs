//! The seam to whoever decides what a caller may watch.

use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf};
use futures::future::BoxFuture;

use crate::call::{Caller, Failure, KeyDirectory, Retry};
use crate::node::now_ms;

/// Collections whose names begin so belong to the system.
const SYSTEM_PREFIXES: [&str; 2] = ["_sys.", "_cluster."];

/// What a caller may see of a collection.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grant {
    /// Readable are the documents that match this filter; empty = all. Watches of callers with equal restrictions
    /// share one evaluation.
    pub restriction: RawDocumentBuf,
    /// Changes when the answer might: compared by [`Access::standing`].
    pub version: u64,
}

/// Whether a caller may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// As before.
    Good,
    /// The session or key has ended: its sockets close.
    Ended,
}

/// Decides what callers may watch. Asked when a watch opens or resumes, and every few seconds.
pub trait Access: Send + Sync + 'static {
    /// What `caller` may read of `collection` by `query`, or a refusal with `COLLECTION_PERMISSION_DENIED`.
    fn admit<'a>(
        &'a self,
        caller: &'a Caller,
        env: &'a str,
        collection: &'a str,
        query: &'a RawDocument,
    ) -> BoxFuture<'a, Result<Grant, Failure>>;

    /// A query with the caller's own placeholders filled in.
    fn fill(&self, caller: &Caller, query: RawDocumentBuf) -> Result<RawDocumentBuf, Failure> {
        let _ = caller;
        Ok(query)
    }

    /// Whether a grant is still what [`Self::admit`] would answer. If not, the watch ends with
    /// `QUERYID_INVALID_ERROR` and its client asks anew.
    fn holds<'a>(
        &'a self,
        caller: &'a Caller,
        env: &'a str,
        collection: &'a str,
        grant: &'a Grant,
    ) -> BoxFuture<'a, bool>;

    /// Whether the caller's session or key still opens anything.
    fn standing<'a>(&'a self, caller: &'a Caller, env: &'a str) -> BoxFuture<'a, Standing>;
}

/// Administrators see everything as long as their key is in force; end users nothing.
pub struct KeysOnly(pub Arc<dyn KeyDirectory>);

impl Access for KeysOnly {
    fn admit<'a>(
        &'a self,
        caller: &'a Caller,
        _env: &'a str,
        collection: &'a str,
        _query: &'a RawDocument,
    ) -> BoxFuture<'a, Result<Grant, Failure>> {
        let system = SYSTEM_PREFIXES
            .iter()
            .any(|prefix| collection.starts_with(prefix));
        let outcome = match caller {
            Caller::User(_) => Err(denied(
                "this version has no access rules: end users may not watch",
            )),
            Caller::Administrator { .. } if system => Err(denied(
                "collections whose names begin with `_sys.` or `_cluster.` belong to the system",
            )),
            Caller::Administrator { .. } | Caller::System => Ok(Grant::default()),
        };
        Box::pin(std::future::ready(outcome))
    }

    fn holds<'a>(
        &'a self,
        _caller: &'a Caller,
        _env: &'a str,
        _collection: &'a str,
        _grant: &'a Grant,
    ) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(true))
    }

    fn standing<'a>(&'a self, caller: &'a Caller, env: &'a str) -> BoxFuture<'a, Standing> {
        let good = match caller {
            Caller::Administrator { key_id } => self.0.find(key_id).is_some_and(|key| {
                key.in_force(now_ms()) && key.env.as_deref().is_none_or(|own| own == env)
            }),
            Caller::User(_) => false,
            Caller::System => true,
        };
        let standing = if good {
            Standing::Good
        } else {
            Standing::Ended
        };
        Box::pin(std::future::ready(standing))
    }
}

fn denied(message: &str) -> Failure {
    Failure::new("COLLECTION_PERMISSION_DENIED", message, Retry::Never)
}
