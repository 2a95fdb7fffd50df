//! A group without a replica on this node: its leader is asked for results and changes.
//!
//! Instead of being told of news, this node looks for them a few times a second, as long as somebody here watches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::RawDocumentBuf;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::watch;
use yunbase_consensus::GroupId;
use yunbase_docdb::Position;
use yunbase_docdb::change_log::{Changes, ChangesError};
use yunbase_docdb::kv::StorageError;
use yunbase_docdb::op::FindOp;

use super::limits::Limits;
use super::query::WatchQuery;
use super::source::{ChangeSource, Replica, Sources, find_in};
use crate::call::{Failure, Retry};
use crate::forward::codec::{ForwardBody, ForwardResponse};
use crate::group_runtime::GroupRuntime;
use crate::router::{Router, RouterHandle};

/// Pause between looks for news.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Longest wait for a leader's changes; then the watches resume, which waits anew.
const CHANGES_TIMEOUT: Duration = Duration::from_secs(8);

struct Remote {
    router: Arc<Router>,
    group: GroupId,
    /// What leaders are asked through, from threads for blocking work.
    runtime: Handle,
}

impl Sources for RouterHandle {
    fn of_env(&self, env: &str) -> Result<(u32, Arc<dyn ChangeSource>), Failure> {
        let router = self.0.clone();
        let id = router.group_of(env)?;
        let group = router.local(id)?;
        if router.lives_here(&group) {
            return Ok((id.0, Arc::new(Replica { router, group })));
        }
        let runtime = Handle::current();
        Ok((
            id.0,
            Arc::new(Remote {
                router,
                group: id,
                runtime,
            }),
        ))
    }
}

impl ChangeSource for Remote {
    fn serves(&self) -> bool {
        self.router
            .local(self.group)
            .is_ok_and(|local| !self.router.lives_here(&local))
    }

    fn barrier(&self, _deadline: Instant) -> BoxFuture<'_, Result<(), Failure>> {
        // The leader takes one for each answer.
        Box::pin(std::future::ready(Ok(())))
    }

    fn news(&self) -> watch::Receiver<u64> {
        let (news, receiver) = watch::channel(0);
        self.runtime.spawn(async move {
            while tokio::time::timeout(POLL_INTERVAL, news.closed())
                .await
                .is_err()
            {
                news.send_modify(|looks| *looks += 1);
            }
        });
        receiver
    }

    fn changes(&self, after: Position, limits: &Limits) -> Result<Changes, ChangesError> {
        let body = ForwardBody::Changes {
            after,
            count_max: u32::try_from(limits.changes_max).unwrap_or(u32::MAX),
            bytes_max: u32::try_from(limits.changes_bytes_max).unwrap_or(u32::MAX),
        };
        let late = Instant::now() + CHANGES_TIMEOUT;
        let asked = self.router.ask_leader(self.group, "", body, late);
        let unread = |reason: String| {
            ChangesError::Storage(StorageError::io(
                "read the changes of another node",
                std::io::Error::other(reason),
            ))
        };
        match self.runtime.block_on(asked) {
            Ok(ForwardResponse::Changes {
                changes,
                next,
                has_more,
            }) => Ok(Changes {
                changes,
                next,
                has_more,
            }),
            Ok(ForwardResponse::TooOld { oldest }) => Err(ChangesError::TooOld { oldest }),
            Ok(_) => Err(unread("the leader answered something else".to_owned())),
            Err(failure) => Err(unread(failure.to_string())),
        }
    }

    fn find(
        &self,
        query: &WatchQuery,
        find: FindOp,
        _limits: &Limits,
        deadline: Instant,
    ) -> Result<(Vec<RawDocumentBuf>, Position), Failure> {
        let body = ForwardBody::Watch {
            collection: query.collection.clone(),
            find,
            now_ms: query.now_ms,
        };
        let asked = self
            .router
            .ask_leader(self.group, &query.env, body, deadline);
        match self.runtime.block_on(asked)? {
            ForwardResponse::Watched {
                documents,
                position,
            } => Ok((documents, position)),
            _ => Err(Failure::new(
                "SYS_ERR",
                "the leader answered something else",
                Retry::Never,
            )),
        }
    }
}

/// Answers another node that watches a group which this node leads.
pub(crate) async fn serve(
    group: &Arc<GroupRuntime>,
    env: String,
    body: ForwardBody,
    deadline: Instant,
) -> ForwardResponse {
    if let Err(failure) = group.caught_up(deadline).await {
        return failure.into();
    }
    let (group, threads) = (group.clone(), group.scan_threads());
    let read = threads
        .run(move || read(&group, &env, body, deadline))
        .await;
    read.unwrap_or_else(|error| Failure::from(error).into())
}

fn read(group: &GroupRuntime, env: &str, body: ForwardBody, deadline: Instant) -> ForwardResponse {
    let database = group.database();
    match body {
        ForwardBody::Watch {
            collection,
            find,
            now_ms,
        } => {
            let limits = Limits::default();
            match find_in(database, env, &collection, find, now_ms, &limits, deadline) {
                Ok((documents, position)) => ForwardResponse::Watched {
                    documents,
                    position,
                },
                Err(failure) => failure.into(),
            }
        }
        ForwardBody::Changes {
            after,
            count_max,
            bytes_max,
        } => match database.changes(after, count_max as usize, bytes_max as usize) {
            Ok(Changes {
                changes,
                next,
                has_more,
            }) => ForwardResponse::Changes {
                changes,
                next,
                has_more,
            },
            Err(ChangesError::TooOld { oldest }) => ForwardResponse::TooOld { oldest },
            Err(ChangesError::Storage(error)) => {
                Failure::from(yunbase_docdb::Error::from(error)).into()
            }
        },
        _ => Failure::new("SYS_ERR", "not a read of a watch", Retry::Never).into(),
    }
}
