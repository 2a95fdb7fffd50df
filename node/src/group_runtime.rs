//! One group on this node: carries out calls on its database, through its Raft group.
//!
//! Reads take a barrier first and then read this node's own replica. Writes are planned here, on the leader,
//! and proposed as one or more commands; the state machine recognises a command that it has seen before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{RawBsonRef, RawDocument};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use yunbase_consensus::{
    Barrier, Group, GroupId, GroupStatus, Leadership, NodeId, ProposeError, ReadError,
};
use yunbase_docdb::command::{
    CommandReply, SessionSequence as StateSequence, decode_reply, open_session,
};
use yunbase_docdb::op::{Op, OpReply};
use yunbase_docdb::{Budget, Database, Step, WritePlan, limits};

use crate::call::{Failure, ReadLevel, Retry, SessionSequence};
use crate::scan_threads::{ScanError, ScanThreads};
use crate::spill::SpillFolder;

/// Queries that scan run beside each other at most this many a group.
const SCANS_MAX: usize = 4;

/// Pause between attempts at a barrier while there is no leader; a new one cuts it short.
const BARRIER_PAUSE: Duration = Duration::from_millis(100);

/// Code of what ended for want of time.
const TIMEOUT: &str = "SERVER_TIMEOUT";

/// Code of a write that the disk has no room for.
pub const RESOURCE_INSUFFICIENT: &str = "RESOURCE_INSUFFICIENT";

/// What came of one attempt at a call.
#[derive(Debug)]
pub enum Attempt<T> {
    /// It is settled, one way or the other.
    Done(Result<T, Failure>),
    /// Nothing happened: another node leads, perhaps this one.
    NotLeader(Option<NodeId>),
    /// It may have happened.
    Unknown(String),
}

/// A write under its exactly-once name.
pub struct WriteRequest {
    /// The environment.
    pub env: String,
    /// The operation.
    pub op: Op,
    /// The name.
    pub session: SessionSequence,
    /// When its caller stops waiting.
    pub deadline: Instant,
}

/// A group and its database on this node.
pub struct GroupRuntime {
    group: Group,
    database: Arc<Database>,
    leadership: watch::Receiver<Leadership>,
    applied: watch::Receiver<u64>,
    scans: Arc<Semaphore>,
    /// One at a time.
    pattern_writes: Arc<Semaphore>,
    scan_threads: ScanThreads,
    spill: SpillFolder,
    now_ms: fn() -> i64,
}

impl GroupRuntime {
    /// Puts group and database together; `applied` changes with the database, large queries use `scan_threads` and `spill`, and
    /// `now_ms` is what commands are stamped with.
    pub fn new(
        group: Group,
        database: Arc<Database>,
        applied: watch::Receiver<u64>,
        scan_threads: ScanThreads,
        spill: SpillFolder,
        now_ms: fn() -> i64,
    ) -> Arc<Self> {
        let leadership = group.watch_leader();
        Arc::new(Self {
            group,
            database,
            leadership,
            applied,
            scans: Arc::new(Semaphore::new(SCANS_MAX)),
            pattern_writes: Arc::new(Semaphore::new(1)),
            scan_threads,
            spill,
            now_ms,
        })
    }

    /// The group's id.
    pub fn id(&self) -> GroupId {
        self.group.id()
    }

    /// The Raft group.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// The database.
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// The group as seen from here.
    pub fn status(&self) -> GroupStatus {
        self.group.status()
    }

    /// Unanswered writes that a session may have.
    pub fn session_window(&self) -> u32 {
        u32::from(limits::SESSION_WINDOW)
    }

    /// Where reads run that may take long.
    pub fn scan_threads(&self) -> &ScanThreads {
        &self.scan_threads
    }

    /// Changes whenever the database has applied or restored something.
    pub fn watch_applied(&self) -> watch::Receiver<u64> {
        self.applied.clone()
    }

    /// Waits until this replica reflects every write acknowledged before the call, through elections.
    pub async fn caught_up(&self, deadline: Instant) -> Result<(), Failure> {
        let late = tokio::time::Instant::from_std(deadline);
        loop {
            let error = match self.group.read_barrier(late).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            match self.no_barrier(error) {
                Attempt::Done(outcome) => return outcome.map(drop),
                Attempt::NotLeader(_) | Attempt::Unknown(_) => {}
            }
            if Instant::now() >= deadline {
                return Err(Failure::new(
                    TIMEOUT,
                    format!("group {} had no leader in time; try again", self.id()),
                    Retry::Safe,
                ));
            }
            self.leader_changed(BARRIER_PAUSE).await;
        }
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.leadership
            .borrow()
            .leader
            .as_ref()
            .map(|(node, _)| *node)
    }

    /// Whether this node leads.
    pub fn is_leader(&self) -> bool {
        self.leadership.borrow().here
    }

    /// Whether this node holds a replica that can serve reads.
    pub fn is_replica(&self) -> bool {
        let status = self.group.status();
        status.members.voters.contains(&status.node)
            || status.members.learners.contains(&status.node)
    }

    /// Returns when the leader has changed, at the latest after `pause`.
    pub async fn leader_changed(&self, pause: Duration) {
        let mut leadership = self.leadership.clone();
        leadership.mark_unchanged();
        // Either way the caller looks again.
        let _ = tokio::time::timeout(pause, leadership.changed()).await;
    }

    /// Returns once this node knows a leader other than `node`.
    pub async fn led_by_another(&self, node: NodeId) {
        let mut leadership = self.leadership.clone();
        let is_another = |now: &Leadership| now.leader.as_ref().is_some_and(|(id, _)| *id != node);
        if leadership.wait_for(is_another).await.is_err() {
            // The group has ended here; whatever waits for more than this ends otherwise.
            std::future::pending::<()>().await;
        }
    }

    /// Carries out a read on this node's replica.
    pub async fn read(
        &self,
        env: &str,
        op: Arc<Op>,
        level: ReadLevel,
        deadline: Instant,
    ) -> Attempt<OpReply> {
        let late = tokio::time::Instant::from_std(deadline);
        let barrier = match level {
            ReadLevel::Stale => None,
            ReadLevel::Lease => Some(Barrier::Lease),
            ReadLevel::Linearizable => Some(Barrier::Quorum),
        };
        if let Some(barrier) = barrier
            && let Err(error) = self.group.read_barrier_by(barrier, late).await
        {
            return self.no_barrier(error);
        }
        let now_ms = (self.now_ms)();
        if is_cheap(&op) {
            let outcome = self
                .database
                .read(env, &op, &Budget::new(&|| false), now_ms);
            return Attempt::Done(outcome.map_err(Failure::from));
        }
        let permit = match self.scan_turn(deadline).await {
            Ok(permit) => permit,
            Err(failure) => return Attempt::Done(Err(failure)),
        };
        let (database, env) = (self.database.clone(), env.to_owned());
        let (spill, threads) = (self.spill.clone(), self.scan_threads.clone());
        let scan = self.scan_threads.run(move || {
            let _permit = permit;
            let expired = || threads.is_stopping() || Instant::now() >= deadline;
            let budget = Budget::new(&expired).with_spill(&spill);
            database.read(&env, &op, &budget, now_ms)
        });
        Attempt::Done(match scan.await {
            Ok(outcome) => outcome.map_err(Failure::from),
            Err(error) => Err(error.into()),
        })
    }

    /// What a missing read barrier means for a call of which nothing has happened yet.
    fn no_barrier(&self, error: ReadError) -> Attempt<OpReply> {
        match error {
            ReadError::Unavailable { reason } => {
                tracing::debug!(group = %self.id(), reason, "no read barrier");
                Attempt::NotLeader(None)
            }
            ReadError::Overloaded => {
                Attempt::Done(Err(overloaded("too many reads wait for this group")))
            }
            ReadError::Stopped => Attempt::Done(Err(stopped(self.id()))),
        }
    }

    /// Carries out a write: plans it here and proposes it, step by step.
    pub async fn write(&self, request: WriteRequest) -> Attempt<OpReply> {
        let session = StateSequence {
            session: request.session.session,
            sequence: request.session.sequence,
        };
        let plan = match WritePlan::new(&request.env, request.op, Some(session)) {
            Ok(plan) => plan,
            Err(error) => return Attempt::Done(Err(error.into())),
        };
        let (cheap, has_patterns) = (!plan.looks_up(), plan.has_patterns());
        let mut plan = Some(plan);
        if !cheap {
            // The plan looks documents up here, so this replica must be as new as a read would demand.
            let late = tokio::time::Instant::from_std(request.deadline);
            if let Err(error) = self.group.read_barrier(late).await {
                return self.no_barrier(error);
            }
        }
        // Once a step was proposed, a failure for want of time must not read as "nothing happened".
        let mut has_begun = false;
        let late = |failure: Failure, has_begun: bool| match has_begun {
            true if failure.code == TIMEOUT => Attempt::Unknown(failure.message),
            _ => Attempt::Done(Err(failure)),
        };
        loop {
            let step = match self.next_step(&mut plan, cheap, request.deadline).await {
                Ok(step) => step,
                Err(failure) => return late(failure, has_begun),
            };
            let command = match step {
                Step::Done(reply) => return Attempt::Done(Ok(reply)),
                Step::Propose(command) => command,
            };
            // Those of others find at most one of these before them in the log.
            let turn = match has_patterns {
                true => match turn(self.pattern_writes.clone(), request.deadline).await {
                    Some(turn) => Some(turn),
                    None => {
                        let failure = too_late(self.id(), "writes with regular expressions");
                        return late(failure, has_begun);
                    }
                },
                false => None,
            };
            has_begun = true;
            let proposed = self.propose(command.into(), request.deadline).await;
            drop(turn);
            let reply = match proposed {
                Attempt::Done(Ok(reply)) => reply,
                Attempt::Done(Err(failure)) => return Attempt::Done(Err(failure)),
                Attempt::NotLeader(leader) => return Attempt::NotLeader(leader),
                Attempt::Unknown(reason) => return Attempt::Unknown(reason),
            };
            if let Some(Err(error)) = plan.as_mut().map(|plan| plan.feed(&reply)) {
                return Attempt::Done(Err(error.into()));
            }
        }
    }

    /// A place among the scans of this group, if one is free before the deadline.
    async fn scan_turn(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Failure> {
        turn(self.scans.clone(), deadline)
            .await
            .ok_or_else(|| too_late(self.id(), "queries"))
    }

    /// The plan's next command. Finding documents may scan, which is not for the threads that serve everybody.
    async fn next_step(
        &self,
        plan: &mut Option<WritePlan>,
        cheap: bool,
        deadline: Instant,
    ) -> Result<Step, Failure> {
        let now_ms = (self.now_ms)();
        let mut moved = plan.take().ok_or(ScanError::Broken)?;
        if cheap {
            let step = moved
                .next(&self.database, now_ms, &|| false)
                .map_err(Failure::from);
            *plan = Some(moved);
            return step;
        }
        let permit = self.scan_turn(deadline).await?;
        let (database, threads) = (self.database.clone(), self.scan_threads.clone());
        let scan = self.scan_threads.run(move || {
            let _permit = permit;
            let expired = || threads.is_stopping() || Instant::now() >= deadline;
            let step = moved.next(&database, now_ms, &expired);
            (moved, step)
        });
        let (moved, step) = scan.await?;
        *plan = Some(moved);
        step.map_err(Failure::from)
    }

    /// Opens an exactly-once session in the group.
    pub async fn open_session(&self, deadline: Instant) -> Attempt<u64> {
        let command = match open_session((self.now_ms)()) {
            Ok(command) => command,
            Err(error) => return Attempt::Done(Err(error.into())),
        };
        match self.propose(command.into(), deadline).await {
            Attempt::Done(Ok(reply)) => Attempt::Done(match decode_reply(&reply) {
                Ok(CommandReply::SessionOpened { session, .. }) => Ok(session),
                Ok(_) => Err(Failure::new(
                    "SYS_ERR",
                    "the group answered something else than a session",
                    Retry::Never,
                )),
                Err(error) => Err(error.into()),
            }),
            Attempt::Done(Err(failure)) => Attempt::Done(Err(failure)),
            Attempt::NotLeader(leader) => Attempt::NotLeader(leader),
            Attempt::Unknown(reason) => Attempt::Unknown(reason),
        }
    }

    /// Has one command committed and applied.
    pub async fn propose(&self, command: Bytes, deadline: Instant) -> Attempt<Bytes> {
        match self
            .group
            .propose(command, tokio::time::Instant::from_std(deadline))
            .await
        {
            Ok(proposed) => Attempt::Done(Ok(proposed.reply)),
            Err(ProposeError::NotLeader { leader }) => {
                Attempt::NotLeader(leader.map(|(node, _)| node))
            }
            Err(ProposeError::Unknown { reason }) => Attempt::Unknown(reason.to_string()),
            Err(error @ ProposeError::Overloaded { .. }) => {
                Attempt::Done(Err(overloaded(&error.to_string())))
            }
            Err(error @ ProposeError::TooLarge { .. }) => Attempt::Done(Err(Failure::new(
                "EXCEED_REQUEST_SIZE_LIMIT",
                error.to_string(),
                Retry::Never,
            ))),
            Err(ProposeError::DiskFull) => Attempt::Done(Err(disk_full())),
            Err(ProposeError::Stopped) => Attempt::Done(Err(stopped(self.id()))),
        }
    }
}

/// Whether a read touches so little that it may run on the threads that serve everybody: it names its document by `_id`.
fn is_cheap(op: &Op) -> bool {
    match op {
        Op::Find { find, .. } => names_one(&find.filter),
        Op::Count { filter, .. } => names_one(filter),
        Op::GetAccess { .. } => true,
        Op::Guarded { op, .. } | Op::Positioned(op) => is_cheap(op),
        _ => false,
    }
}

/// How deep a filter is looked into before it is taken for one that is not quick.
const QUICK_DEPTH_MAX: usize = 8;

/// Whether a filter fixes `_id` to one value, and says nothing else that may take long on that document.
fn names_one(filter: &RawDocument) -> bool {
    fixes_id(filter) && is_quick(filter, QUICK_DEPTH_MAX)
}

/// Anything else a filter says can only narrow that down.
fn fixes_id(filter: &RawDocument) -> bool {
    filter.into_iter().flatten().any(|(name, value)| {
        name == "_id"
            && match value {
                RawBsonRef::String(_)
                | RawBsonRef::Int32(_)
                | RawBsonRef::Int64(_)
                | RawBsonRef::Double(_) => true,
                RawBsonRef::Document(inner) => inner
                    .into_iter()
                    .flatten()
                    .any(|(operator, _)| operator == "$eq"),
                _ => false,
            }
    })
}

/// Whether it has neither a regular expression nor an expression, each of which may be tried on many elements.
fn is_quick(filter: &RawDocument, depth: usize) -> bool {
    filter.into_iter().flatten().all(|(name, value)| {
        !matches!(name.as_str(), "$regex" | "$expr")
            && match value {
                RawBsonRef::RegularExpression(_) => false,
                RawBsonRef::Document(inner) => depth > 0 && is_quick(inner, depth - 1),
                RawBsonRef::Array(inner) => {
                    depth > 0
                        && inner.into_iter().flatten().all(|element| match element {
                            RawBsonRef::RegularExpression(_) => false,
                            RawBsonRef::Document(inner) => is_quick(inner, depth - 1),
                            // An array in an array is a value and no condition.
                            _ => true,
                        })
                }
                _ => true,
            }
    })
}

impl From<ScanError> for Failure {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Broken => Self::new("SYS_ERR", error.to_string(), Retry::Never),
            ScanError::NoThread => overloaded(&error.to_string()),
        }
    }
}

/// A place behind `semaphore`, if one is free before the deadline.
async fn turn(semaphore: Arc<Semaphore>, deadline: Instant) -> Option<OwnedSemaphorePermit> {
    // None of them is ever closed, so that only time can run out.
    tokio::time::timeout_at(deadline.into(), semaphore.acquire_owned())
        .await
        .ok()?
        .ok()
}

fn too_late(group: GroupId, others: &str) -> Failure {
    Failure::new(
        TIMEOUT,
        format!("too many {others} were before this one in group {group}; try again after a pause"),
        Retry::Safe,
    )
}

fn overloaded(reason: &str) -> Failure {
    Failure::new(
        "EXCEED_CONCURRENT_REQUEST_LIMIT",
        format!("{reason}; try again after a pause"),
        Retry::Safe,
    )
}

/// Nothing happened, and reads go on; whether a retry helps is for the operator.
fn disk_full() -> Failure {
    Failure::new(
        RESOURCE_INSUFFICIENT,
        "the disk of the node that leads is nearly full, and writes are refused until there is space: free some, or set a smaller `disk_reserve_mib`; reads go on",
        Retry::Safe,
    )
}

fn stopped(group: GroupId) -> Failure {
    Failure::new(
        "RESOURCE_NOT_INITIAL",
        format!("group {group} does not run on this node; ask another"),
        Retry::Safe,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    #[tokio::test]
    async fn nobody_waits_for_a_turn_beyond_the_deadline() {
        let semaphore = Arc::new(Semaphore::new(1));
        let soon = || Instant::now() + Duration::from_millis(20);
        let held = turn(semaphore.clone(), soon()).await;
        assert!(held.is_some());
        let began = Instant::now();
        assert!(turn(semaphore.clone(), soon()).await.is_none());
        assert!(began.elapsed() >= Duration::from_millis(20));
        drop(held);
        // Also one whose time is over has a turn that is free.
        assert!(turn(semaphore, Instant::now()).await.is_some());
        let failure = too_late(GroupId(3), "queries");
        assert_eq!(
            (failure.code.as_ref(), failure.retry),
            (TIMEOUT, Retry::Safe)
        );
    }

    #[test]
    fn only_what_names_its_document_is_cheap() {
        assert!(names_one(&rawdoc! { "_id": "a" }));
        assert!(names_one(&rawdoc! { "n": 1, "_id": { "$eq": 5 } }));
        assert!(!names_one(&rawdoc! { "_id": { "$gt": 5 } }));
        assert!(!names_one(&rawdoc! { "$or": [{ "_id": 1 }] }));
        assert!(!names_one(&rawdoc! {}));
        assert!(names_one(
            &rawdoc! { "_id": 1, "o": { "a": [1, [2]] }, "$or": [{ "n": 1 }] }
        ));
        let pattern = || bson::Regex {
            pattern: bson::raw::cstr!("a").into(),
            options: bson::raw::cstr!("").into(),
        };
        for slow in [
            rawdoc! { "_id": 1, "s": { "$regex": "(a|aa)+$" } },
            rawdoc! { "_id": 1, "s": { "$not": { "$regex": "a" } } },
            rawdoc! { "_id": 1, "s": pattern() },
            rawdoc! { "_id": 1, "s": { "$in": [pattern()] } },
            rawdoc! { "_id": 1, "$and": [{ "s": { "$elemMatch": { "t": pattern() } } }] },
            rawdoc! { "_id": 1, "$expr": { "$gt": ["$a", 1] } },
        ] {
            assert!(!names_one(&slow), "{slow:?}");
        }
    }
}
