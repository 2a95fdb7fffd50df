//! Turns one writing operation into the commands that go through the log: on the leader, beside the
//! apply thread, over consistent views.
//!
//! The node drives it: `next` says what to propose, `feed` takes the reply, until `next` is done. The
//! view that `next` reads must be as new as a linearizable read on the leader. What is found there is
//! only a proposal: apply checks each document again, and asks for a new plan when a single write
//! found nothing. An upsert whose filter does not fix `_id` inserts when nothing matches at its place
//! in the log by the leader's knowledge; to keep two concurrent ones from both inserting it needs a
//! unique index, as in MongoDB.

use std::collections::VecDeque;

use bson::RawDocumentBuf;
use serde_bytes::ByteBuf;

use crate::catalog;
use crate::command::{
    Change, Command, CommandReply, SessionSequence, StepCounts, Target, WriteOne, WriteOp,
    WriteStep, decode_reply,
};
use crate::database::Database;
use crate::error::{Error, ErrorCode, Result};
use crate::executor::{self, Scan};
use crate::filter::{Filter, FilterContext};
use crate::guard::Guard;
use crate::index_options;
use crate::limits::{
    CANDIDATES_MAX, INSERT_DOCUMENTS_MAX, PLANNED_IDS_MAX, REPLANS_MAX, STEP_BYTES_MAX,
    STEP_DOCUMENTS_MAX,
};
use crate::op::{Op, OpReply};
use crate::planner::{self, Access};
use crate::query::{Budget, Query, parse_filter};
use crate::read::Snapshot;
use crate::rehearsal::{has_patterns, rehearse};
use crate::session::{self, Seen};
use crate::sort::Sort;
use crate::transaction::{self, CheckedTransaction};
use crate::update::{Update, UpdateContext};
use crate::validator;
use crate::value::{check_document, malformed};
use crate::write::{encode_id, encoded_id};

/// What the node does next for a write.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Propose this command and feed its reply.
    Propose(Vec<u8>),
    /// The write is done.
    Done(OpReply),
}

/// A write on its way.
pub struct WritePlan {
    env: String,
    session: Option<SessionSequence>,
    work: Work,
    /// What the write is held to.
    guard: Option<Box<Guard>>,
    replans: u32,
    outcome: Option<OpReply>,
}

enum Work {
    /// One command, the same whatever is stored.
    Direct(Box<WriteOp>),
    /// The same, but its patterns are tried before it is proposed.
    Tried(WriteOne),
    /// At most one document, to be found.
    One {
        target: Target,
        sort: RawDocumentBuf,
        return_document: bool,
    },
    /// A transaction whose queries are looked at before each proposal.
    Commit(Box<CheckedTransaction>),
    /// Many documents, in steps.
    Many {
        target: Target,
        progress: ManyProgress,
    },
}

#[derive(Default)]
struct ManyProgress {
    /// The session's own memory of earlier steps has been asked.
    is_resumed: bool,
    /// Encoded `_id` up to which all is done; empty before the first step.
    done_to: Vec<u8>,
    /// The same as it will be after the step that was planned last.
    planned_to: Vec<u8>,
    counts: StepCounts,
    /// Encoded `_id`s found through an index that are still to do; `None`: walk the collection.
    found: Option<VecDeque<Vec<u8>>>,
}

impl WritePlan {
    /// Begins a write; refuses what is wrong whatever the database holds.
    pub fn new(env: &str, op: Op, session: Option<SessionSequence>) -> Result<Self> {
        catalog::check_name("environment", env)?;
        let (op, guard) = match op {
            Op::Guarded { op, guard } => {
                if !matches!(
                    &*op,
                    Op::Insert { .. } | Op::Update { .. } | Op::Remove { .. }
                ) {
                    return Err(Error::internal("a guard for a write that takes none"));
                }
                guard.check()?;
                (*op, Some(guard))
            }
            op => (op, None),
        };
        Ok(Self {
            env: env.to_owned(),
            session,
            work: work(op)?,
            guard,
            replans: 0,
            outcome: None,
        })
    }

    /// Whether `next` looks documents up, which takes time and a view as new as a linearizable read's.
    pub fn looks_up(&self) -> bool {
        match &self.work {
            Work::Direct(_) => false,
            Work::Commit(checked) => !checked.queries.is_empty(),
            Work::Tried(_) | Work::One { .. } | Work::Many { .. } => true,
        }
    }

    /// Whether applying it tries patterns on documents, which takes a while on each replica.
    pub fn has_patterns(&self) -> bool {
        match &self.work {
            Work::Direct(_) | Work::Commit(_) => false,
            Work::Tried(_) => true,
            Work::One { target, .. } | Work::Many { target, .. } => has_patterns(target),
        }
    }

    /// What to do next. `now_ms` is stamped into the command; `expired` says whether the caller has
    /// stopped waiting.
    pub fn next(
        &mut self,
        database: &Database,
        now_ms: i64,
        expired: &dyn Fn() -> bool,
    ) -> Result<Step> {
        if let Some(outcome) = self.outcome.take() {
            return Ok(Step::Done(outcome));
        }
        let (env, session) = (self.env.as_str(), self.session);
        let guard = self.guard.as_deref();
        let budget = Budget::new(expired);
        let op = match &mut self.work {
            Work::Direct(op) => WriteOp::clone(op),
            Work::Tried(one) => {
                database.with_snapshot(&budget, now_ms, |snapshot| {
                    if let Seen::Finished(_) = seen(snapshot, session)? {
                        return Ok(());
                    }
                    let collection = snapshot.catalog.require(env, &one.target.collection)?;
                    rehearse(snapshot, collection, (&one.target, guard), &one.candidates)
                })?;
                WriteOp::WriteOne(one.clone())
            }
            Work::One {
                target,
                sort,
                return_document,
            } => WriteOp::WriteOne(WriteOne {
                candidates: database.with_snapshot(&budget, now_ms, |snapshot| {
                    find_candidates(snapshot, env, (target, guard), sort, session)
                })?,
                target: target.clone(),
                complete: false,
                return_document: *return_document,
            }),
            Work::Commit(checked) => {
                database.with_snapshot(&budget, now_ms, |snapshot| {
                    // Its own writes would stand in its way.
                    if let Seen::Finished(_) = seen(snapshot, session)? {
                        return Ok(());
                    }
                    transaction::walk(snapshot.view, env, &mut checked.queries, &budget)
                })?;
                WriteOp::CommitChecked(checked.clone())
            }
            Work::Many { target, progress } => {
                WriteOp::WriteStep(database.with_snapshot(&budget, now_ms, |snapshot| {
                    plan_step(snapshot, env, (target, guard), progress, session)
                })?)
            }
        };
        let op = match &self.guard {
            Some(guard) => WriteOp::Guarded {
                guard: guard.clone(),
                op: Box::new(op),
            },
            None => op,
        };
        Ok(Step::Propose(
            Command {
                env: self.env.clone(),
                session,
                now_ms,
                op,
            }
            .encode()?,
        ))
    }

    /// Takes the reply of the command that `next` gave, as `Database::apply` returned it.
    pub fn feed(&mut self, reply: &[u8]) -> Result<()> {
        match decode_reply(reply) {
            Ok(CommandReply::Op(reply)) => self.outcome = Some(reply),
            Ok(CommandReply::StepDone { done_to, counts }) => match &mut self.work {
                Work::Many { progress, .. } => {
                    if done_to < progress.planned_to {
                        // The step was cut: what it left is to be found again.
                        progress.found = None;
                    }
                    progress.done_to = done_to;
                    progress.counts = counts;
                }
                _ => {
                    return Err(Error::internal(
                        "a step was answered that was not asked for",
                    ));
                }
            },
            Ok(CommandReply::SessionOpened { .. }) => {
                return Err(Error::internal(
                    "a session was opened that was not asked for",
                ));
            }
            Err(error) if error.code == ErrorCode::Replan => {
                self.replans += 1;
                if self.replans > REPLANS_MAX {
                    if matches!(self.work, Work::Commit(_)) {
                        return Err(transaction::conflict(
                            "so much meanwhile that it cannot be checked",
                        ));
                    }
                    return Err(Error::new(
                        ErrorCode::RequestFailed,
                        "other writes changed the matching document again and again; try again later",
                    ));
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn work(op: Op) -> Result<Work> {
    let direct = match op {
        Op::Commit(transaction) => {
            transaction.check()?;
            WriteOp::Commit(transaction)
        }
        Op::CommitChecked(checked) => {
            checked.check()?;
            return Ok(Work::Commit(checked));
        }
        Op::CreateCollection { collection } => WriteOp::CreateCollection { collection },
        Op::DropCollection { collection } => WriteOp::DropCollection { collection },
        Op::CreateIndex { collection, index } => WriteOp::CreateIndex { collection, index },
        Op::CreateIndexWith {
            collection,
            index,
            options,
        } => {
            index_options::check(&index, &options)?;
            WriteOp::CreateIndexWith {
                collection,
                index,
                options,
            }
        }
        Op::SetValidator {
            collection,
            schema,
            level,
        } => {
            validator::Validator::new(schema.clone(), level)?;
            WriteOp::SetValidator {
                collection,
                schema,
                level,
            }
        }
        Op::RenameCollection { collection, to } => {
            catalog::check_name("collection", &to)?;
            WriteOp::RenameCollection { collection, to }
        }
        Op::DropIndex { collection, name } => WriteOp::DropIndex { collection, name },
        Op::SetAccess { collection, access } => {
            catalog::check_access(&access)?;
            WriteOp::SetAccess { collection, access }
        }
        Op::Insert {
            collection,
            documents,
        } => {
            check_insert(&documents)?;
            WriteOp::Insert {
                collection,
                documents,
            }
        }
        Op::Update { collection, update } => {
            if update.multi && update.replace {
                return Err(Error::invalid(
                    "a replacement is for one document; use update operators for many",
                ));
            }
            let change = if update.replace {
                check_document(&update.update)?;
                Change::Replace(update.update)
            } else {
                Update::parse(&update.update, &UpdateContext { now_ms: 0 })?;
                Change::Update(update.update)
            };
            let target = Target {
                collection,
                filter: update.filter,
                change,
                upsert: update.upsert,
                upsert_id: update.upsert_id,
            };
            return found_work(target, update.multi, update.sort, update.return_document);
        }
        Op::Remove {
            collection,
            filter,
            multi,
        } => {
            let target = Target {
                collection,
                filter,
                change: Change::Remove,
                upsert: false,
                upsert_id: String::new(),
            };
            return found_work(target, multi, RawDocumentBuf::new(), false);
        }
        Op::ListCollections
        | Op::Find { .. }
        | Op::Count { .. }
        | Op::ListIndexes { .. }
        | Op::Explain(_)
        | Op::Aggregate { .. }
        | Op::GetAccess { .. }
        | Op::Positioned(_)
        | Op::GuardedJoin { .. }
        | Op::Guarded { .. } => {
            return Err(Error::internal("a read reached the writing side"));
        }
    };
    Ok(Work::Direct(Box::new(direct)))
}

/// A write to documents that a filter names: one command when it fixes `_id`.
fn found_work(
    target: Target,
    multi: bool,
    sort: RawDocumentBuf,
    return_document: bool,
) -> Result<Work> {
    Sort::parse(&sort)?;
    let filter = Filter::parse(&target.filter, &FilterContext::default())?;
    if let Some(id) = filter.id_equality() {
        // An _id that no document can have matches nothing.
        let candidates = encode_id(id).map(ByteBuf::from).into_iter().collect();
        let one = WriteOne {
            target,
            candidates,
            complete: true,
            return_document,
        };
        return Ok(match has_patterns(&one.target) {
            true => Work::Tried(one),
            false => Work::Direct(Box::new(WriteOp::WriteOne(one))),
        });
    }
    if multi {
        return Ok(Work::Many {
            target,
            progress: ManyProgress::default(),
        });
    }
    Ok(Work::One {
        target,
        sort,
        return_document,
    })
}

fn check_insert(documents: &[RawDocumentBuf]) -> Result<()> {
    if documents.is_empty() || documents.len() > INSERT_DOCUMENTS_MAX {
        return Err(Error::invalid(format!(
            "an insert takes 1 to {INSERT_DOCUMENTS_MAX} documents, not {}",
            documents.len()
        )));
    }
    for document in documents {
        check_document(document)?;
        encoded_id(document)?;
        for element in document.iter() {
            let (name, _) = element.map_err(malformed)?;
            if name.as_str().starts_with('$') {
                return Err(Error::invalid(format!(
                    "the field name '{}' starts with '$'; rename it",
                    name.as_str()
                )));
            }
        }
    }
    Ok(())
}

/// What is known about the request before this plan.
fn seen(snapshot: &Snapshot<'_>, session: Option<SessionSequence>) -> Result<Seen> {
    match session {
        None => Ok(Seen::New),
        Some(request) => session::peek(snapshot.view, request)?,
    }
}

/// What a write is about and what it is held to.
type Held<'a> = (&'a Target, Option<&'a Guard>);

/// The documents that a single write should try, in its order.
fn find_candidates(
    snapshot: &Snapshot<'_>,
    env: &str,
    held: Held<'_>,
    sort: &RawDocumentBuf,
    session: Option<SessionSequence>,
) -> Result<Vec<ByteBuf>> {
    if let Seen::Finished(_) = seen(snapshot, session)? {
        // Any command under this name returns the outcome.
        return Ok(Vec::new());
    }
    let collection = snapshot.catalog.require(env, &held.0.collection)?;
    let mut query = query_of(snapshot, held)?;
    query.sort = Sort::parse(sort)?;
    query.limit = Some(CANDIDATES_MAX as u64);
    let choice = snapshot.choose(collection, &query)?;
    let scan = snapshot.scan(collection, &choice.best, &query);
    let (ids, _) = executor::ids(scan, &query, CANDIDATES_MAX as u64)?;
    if has_patterns(held.0) {
        rehearse(snapshot, collection, held, &ids)?;
    }
    Ok(ids.into_iter().map(ByteBuf::from).collect())
}

fn query_of(snapshot: &Snapshot<'_>, (target, guard): Held<'_>) -> Result<Query> {
    let filter = match guard {
        Some(guard) => parse_filter(&guard.narrow(&target.filter), snapshot.now_ms)?,
        None => parse_filter(&target.filter, snapshot.now_ms)?,
    };
    Query::by_filter(filter)
}

fn plan_step(
    snapshot: &Snapshot<'_>,
    env: &str,
    held: Held<'_>,
    progress: &mut ManyProgress,
    session: Option<SessionSequence>,
) -> Result<WriteStep> {
    let target = held.0;
    if !std::mem::replace(&mut progress.is_resumed, true) {
        match seen(snapshot, session)? {
            Seen::New => {}
            Seen::InProgress(earlier) => {
                progress.done_to = earlier.done_to;
                progress.counts = earlier.counts;
            }
            // Any command under this name returns the outcome.
            Seen::Finished(_) => return Ok(step(target, progress, Vec::new(), true)),
        }
    }
    let (ids, is_last) = next_ids(snapshot, env, held, progress)?;
    if has_patterns(target) {
        // One that is not the first ends the step before itself.
        let collection = snapshot.catalog.require(env, &target.collection)?;
        rehearse(snapshot, collection, held, ids.get(..1).unwrap_or_default())?;
    }
    progress.planned_to = ids.last().cloned().unwrap_or_default();
    Ok(step(target, progress, ids, is_last))
}

fn step(target: &Target, progress: &ManyProgress, ids: Vec<Vec<u8>>, last: bool) -> WriteStep {
    let ids = ids.into_iter().map(ByteBuf::from).collect();
    WriteStep {
        target: target.clone(),
        ids,
        last,
        earlier: progress.counts,
    }
}

/// The next documents of a write to many, ascending, and whether they are the last.
fn next_ids(
    snapshot: &Snapshot<'_>,
    env: &str,
    held: Held<'_>,
    progress: &mut ManyProgress,
) -> Result<(Vec<Vec<u8>>, bool)> {
    let collection = snapshot.catalog.require(env, &held.0.collection)?;
    let mut query = query_of(snapshot, held)?;
    query.after.clone_from(&progress.done_to);
    if progress.found.is_none() {
        let choice = snapshot.choose(collection, &query)?;
        if !matches!(choice.best.access, Access::Collection { .. })
            && choice.best.examined <= PLANNED_IDS_MAX as f64
        {
            let scan = snapshot.scan(collection, &choice.best, &query);
            let (ids, _) = executor::ids(scan, &query, PLANNED_IDS_MAX as u64 + 1)?;
            progress.found = (ids.len() <= PLANNED_IDS_MAX).then(|| ids.into());
        }
    }
    if let Some(found) = &mut progress.found {
        let size = found.len().min(STEP_DOCUMENTS_MAX);
        let ids: Vec<_> = found.drain(..size).collect();
        return Ok((ids, found.is_empty()));
    }
    let plan = planner::by_id(collection, &query);
    walk(snapshot.scan(collection, &plan, &query))
}

/// The first matches of a scan in `_id` order, as many as one step may touch.
fn walk(mut scan: Scan<'_>) -> Result<(Vec<Vec<u8>>, bool)> {
    let mut ids: Vec<Vec<u8>> = Vec::new();
    let (mut bytes, mut is_last) = (0, true);
    scan.run(&mut |id, document| {
        bytes += document.as_bytes().len();
        if ids.len() >= STEP_DOCUMENTS_MAX || (bytes > STEP_BYTES_MAX && !ids.is_empty()) {
            is_last = false;
            return Ok(false);
        }
        ids.push(id.to_vec());
        Ok(true)
    })?;
    Ok((ids, is_last))
}
