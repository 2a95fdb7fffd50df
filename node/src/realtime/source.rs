//! Where results and changes of an environment's group come from: this node's replica, where it holds one.
//!
//! Reading happens on threads for blocking work; only the barrier, which speaks to other nodes, is a future.

use std::sync::Arc;
use std::time::Instant;

use bson::RawDocumentBuf;
use futures::future::BoxFuture;
use tokio::sync::watch;
use yunbase_docdb::change_log::{Changes, ChangesError};
use yunbase_docdb::op::{FindOp, Op, OpReply};
use yunbase_docdb::{Budget, Database, Position};

use super::limits::Limits;
use super::query::WatchQuery;
use crate::call::{Failure, Retry};
use crate::group_runtime::GroupRuntime;
use crate::router::Router;

/// A replica of a group, as watches need it.
pub(crate) trait ChangeSource: Send + Sync + 'static {
    /// Whether this is still where to read; else watches resume at another source.
    fn serves(&self) -> bool;

    /// Waits until the replica reflects every write that was acknowledged before.
    fn barrier(&self, deadline: Instant) -> BoxFuture<'_, Result<(), Failure>>;

    /// Changes whenever the replica has applied something.
    fn news(&self) -> watch::Receiver<u64>;

    /// Blocking. Changes behind `after`.
    fn changes(&self, after: Position, limits: &Limits) -> Result<Changes, ChangesError>;

    /// Blocking. The documents that `find` asks for, and the position whose changes they reflect.
    fn find(
        &self,
        query: &WatchQuery,
        find: FindOp,
        limits: &Limits,
        deadline: Instant,
    ) -> Result<(Vec<RawDocumentBuf>, Position), Failure>;
}

/// Finds the source of an environment.
pub(crate) trait Sources: Send + Sync + 'static {
    /// The group's number and its source here.
    fn of_env(&self, env: &str) -> Result<(u32, Arc<dyn ChangeSource>), Failure>;
}

/// A replica on this node.
pub(crate) struct Replica {
    pub(crate) router: Arc<Router>,
    pub(crate) group: Arc<GroupRuntime>,
}

impl ChangeSource for Replica {
    fn serves(&self) -> bool {
        self.router.lives_here(&self.group)
    }

    fn barrier(&self, deadline: Instant) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.group.caught_up(deadline))
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.group.watch_applied()
    }

    fn changes(&self, after: Position, limits: &Limits) -> Result<Changes, ChangesError> {
        self.group
            .database()
            .changes(after, limits.changes_max, limits.changes_bytes_max)
    }

    fn find(
        &self,
        query: &WatchQuery,
        find: FindOp,
        limits: &Limits,
        deadline: Instant,
    ) -> Result<(Vec<RawDocumentBuf>, Position), Failure> {
        let (env, collection) = (&query.env, &query.collection);
        let database = self.group.database();
        find_in(
            database,
            env,
            collection,
            find,
            query.now_ms,
            limits,
            deadline,
        )
    }
}

/// Reads a result from a database.
pub(crate) fn find_in(
    database: &Database,
    env: &str,
    collection: &str,
    find: FindOp,
    now_ms: i64,
    limits: &Limits,
    deadline: Instant,
) -> Result<(Vec<RawDocumentBuf>, Position), Failure> {
    let expired = || Instant::now() >= deadline;
    let budget = Budget {
        result_documents_max: find.limit.unwrap_or(0),
        // Twice what is allowed: a result that was cut there is larger than what is allowed.
        result_bytes_max: limits.result_bytes_max * 2,
        memory_bytes_max: Budget::new(&expired).memory_bytes_max,
        ..Budget::new(&expired)
    };
    let op = Op::Find {
        collection: collection.to_owned(),
        find,
    };
    let (reply, position) = database.read_with_position(env, &op, &budget, now_ms)?;
    let OpReply::Found { documents, .. } = reply else {
        return Err(Failure::new(
            "SYS_ERR",
            "the database answered with another kind of reply",
            Retry::Never,
        ));
    };
    let bytes: usize = documents
        .iter()
        .map(|document| document.as_bytes().len())
        .sum();
    if bytes > limits.result_bytes_max {
        let bytes_max = limits.result_bytes_max;
        return Err(Failure::new(
            "EXCEED_REQUEST_LIMIT",
            format!("the result of the watch is larger than {bytes_max} bytes; narrow its query"),
            Retry::Never,
        ));
    }
    Ok((documents, position))
}
