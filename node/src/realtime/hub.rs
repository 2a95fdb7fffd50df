//! Opens and resumes watches: from an admitted request to a first answer and a place at the change log.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use bson::RawDocumentBuf;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot, watch};
use yunbase_docdb::Position;

use super::access::{Access, Grant, Standing};
use super::evaluation::Evaluation;
use super::event::{self, DataType, Event, QueueType};
use super::follow::Join;
use super::limits::Limits;
use super::message::{self, InitWatch, Resume};
use super::metrics::Counters;
use super::outbox::{Outbox, Subscriber, Texts, Watch};
use super::query::{Compiled, WatchQuery};
use super::query_id::{QueryId, fingerprint};
use super::replay::{Replay, Replayed};
use super::source::{ChangeSource, Sources};
use super::tasks::GroupTasks;
use crate::call::{Caller, Failure, KeyDirectory, Retry};
use crate::node::now_ms;
use crate::scan_threads::ScanThreads;
use crate::seal::Seal;

/// Number of the first result. Events are numbered from the next one.
const FIRST_NUMBER: u64 = 1;
/// Times that a first result is read because the access rules changed meanwhile.
const ADMISSIONS_MAX: usize = 3;
/// What stands for an empty result where a list of documents must not be empty: it enters and leaves at once.
const NOTHING: &str = r#""DataType":"init","QueueType":"init","DocID":"","Doc":"{\"_id\":\"\"}"}"#;
const NOTHING_ENDS: &str = r#""DataType":"remove","QueueType":"dequeue","DocID":"","Doc":""}"#;

/// What all sockets of a node share.
pub(crate) struct Hub {
    pub(crate) sources: Arc<dyn Sources>,
    pub(crate) access: Arc<dyn Access>,
    pub(crate) keys: Arc<dyn KeyDirectory>,
    pub(crate) seal: Seal,
    pub(crate) limits: Arc<Limits>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) queued_bytes: Arc<AtomicUsize>,
    pub(crate) sockets: Arc<Semaphore>,
    pub(crate) watches: Arc<Semaphore>,
    scan_threads: ScanThreads,
    pub(crate) stop: watch::Receiver<bool>,
    first_results: Semaphore,
    groups: Mutex<HashMap<u32, GroupTasks>>,
}

/// A request to open or resume a watch.
pub(crate) struct Opening {
    pub(crate) caller: Caller,
    pub(crate) env: String,
    pub(crate) watch_id: String,
    pub(crate) request_id: String,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) deadline: Instant,
}

struct FirstResult {
    evaluation: Evaluation,
    began: Position,
    count: usize,
    /// The events that tell it.
    list: String,
}

impl Hub {
    pub(crate) fn new(
        sources: Arc<dyn Sources>,
        access: Arc<dyn Access>,
        keys: Arc<dyn KeyDirectory>,
        seal: Seal,
        limits: Limits,
        scan_threads: ScanThreads,
        stop: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            sources,
            access,
            keys,
            seal,
            counters: Arc::default(),
            queued_bytes: Arc::default(),
            sockets: Arc::new(Semaphore::new(limits.sockets_max)),
            watches: Arc::new(Semaphore::new(limits.watches_max)),
            first_results: Semaphore::new(limits.first_results_max),
            groups: Mutex::default(),
            limits: Arc::new(limits),
            scan_threads,
            stop,
        })
    }

    /// Opens a watch: answers with its first result and has it follow the change log.
    pub(crate) async fn open(
        &self,
        opening: Opening,
        asked: &InitWatch<'_>,
    ) -> Result<Arc<Watch>, Failure> {
        let now_ms = now_ms();
        let mut query = WatchQuery {
            env: opening.env.clone(),
            collection: asked.coll_name.clone(),
            filter: self.access.fill(
                &opening.caller,
                message::filter(asked.query, now_ms, &self.limits)?,
            )?,
            restriction: RawDocumentBuf::new(),
            sort: message::order(asked.order_by.as_ref())?,
            limit: message::limit(asked.limit.as_ref(), &self.limits)?,
            now_ms,
        };
        let (group, source) = self.sources.of_env(&query.env)?;
        let mut grant = self.admit(&opening, &query).await?;
        let mut admissions = 1;
        let first = loop {
            query.restriction.clone_from(&grant.restriction);
            let first = self
                .first_result(&source, query.clone(), 0, opening.deadline)
                .await?;
            match self.changed(&opening, &query, &grant).await? {
                None => break first,
                Some(_) if admissions == ADMISSIONS_MAX => return Err(rules_change_too_often()),
                Some(new) => grant = new,
            }
            admissions += 1;
        };
        let query_id: Arc<str> = QueryId::new(&query, first.began, first.count)
            .seal(&self.seal, &query.env)
            .ok_or_else(not_founded)?
            .into();
        let watch = Watch::new(opening.watch_id.clone(), query_id, FIRST_NUMBER);
        opening.outbox.answer(message::init_event(
            &watch.watch_id,
            &opening.request_id,
            &watch.query_id,
            FIRST_NUMBER,
            &first.list,
        ));
        self.follow(group, &source, first.evaluation, &watch, opening)
            .await;
        Ok(watch)
    }

    /// Resumes a watch that this node or another one opened.
    ///
    /// A query without limit gets exactly the events that it missed. One with a limit, and one whose beginning the
    /// change log no longer holds, gets its whole result anew as one step, which replaces the client's documents.
    pub(crate) async fn resume(
        &self,
        opening: Opening,
        asked: &Resume,
    ) -> Result<Arc<Watch>, Failure> {
        let id = QueryId::open(&self.seal, &opening.env, &asked.query_id)
            .filter(|id| {
                asked
                    .coll_name
                    .as_ref()
                    .is_none_or(|name| *name == id.collection)
            })
            .ok_or_else(|| resync("the queryID was not given out for this collection"))?;
        let mut query = WatchQuery {
            env: opening.env.clone(),
            collection: id.collection,
            filter: id.filter,
            restriction: RawDocumentBuf::new(),
            sort: id.sort,
            limit: id.limit,
            now_ms: id.now_ms,
        };
        let grant = self.admit(&opening, &query).await?;
        if fingerprint(&grant.restriction) != id.restriction {
            return Err(resync(
                "what the caller may read has changed since the watch began",
            ));
        }
        query.restriction.clone_from(&grant.restriction);
        self.counters.resumed();
        let (group, source) = self.sources.of_env(&query.env)?;
        source.barrier(opening.deadline).await?;
        let query_id: Arc<str> = asked.query_id.as_str().into();
        let tasks = self.tasks(group, &source);
        let replayed = if query.limit.is_some() {
            Replayed::TooOld
        } else {
            let compiled = Arc::new(Compiled::new(query.clone())?);
            let evaluation = Evaluation::resumed(compiled, id.began, id.count, &self.limits);
            let (answer, answered) = oneshot::channel();
            tasks.replay(Replay {
                evaluation,
                began_with: FIRST_NUMBER,
                has: asked.event_id,
                answer,
            })?;
            answered.await.map_err(|_| {
                let message = "resuming the watch broke off; try again";
                Failure::new("SYS_ERR", message, Retry::Safe)
            })??
        };
        if self.changed(&opening, &query, &grant).await?.is_some() {
            return Err(resync("what the caller may read has changed meanwhile"));
        }
        let answer = |watch: &Watch, last, list: &str| {
            opening.outbox.answer(message::next_event(
                &watch.watch_id,
                &opening.request_id,
                &watch.query_id,
                last,
                list,
            ))
        };
        let watch = match replayed {
            Replayed::All(texts, evaluation) => {
                let (last, list) = numbered(asked.event_id, &texts);
                let watch = Watch::new(opening.watch_id.clone(), query_id, last);
                answer(&watch, last, &list);
                self.follow(group, &source, *evaluation, &watch, opening)
                    .await;
                watch
            }
            Replayed::Some(texts) => {
                let (last, list) = numbered(asked.event_id, &texts);
                let watch = Watch::new(opening.watch_id.clone(), query_id, last);
                answer(&watch, last, &list);
                // There is more: it resumes once more from here.
                opening.outbox.resume(&watch);
                watch
            }
            Replayed::Beyond => return Err(resync("the eventID has not been given out")),
            Replayed::TooOld => {
                let last = asked.event_id.saturating_add(1);
                let first = self
                    .first_result(&source, query.clone(), last, opening.deadline)
                    .await?;
                if self.changed(&opening, &query, &grant).await?.is_some() {
                    return Err(resync("what the caller may read has changed meanwhile"));
                }
                let list = if first.list.is_empty() {
                    let nothing: Texts = Arc::new([NOTHING.into(), NOTHING_ENDS.into()]);
                    let mut list = String::new();
                    for text in nothing.iter() {
                        event::append(&mut list, last, text);
                    }
                    list
                } else {
                    first.list
                };
                let watch = Watch::new(opening.watch_id.clone(), query_id, last);
                answer(&watch, last, &list);
                self.follow(group, &source, first.evaluation, &watch, opening)
                    .await;
                watch
            }
        };
        Ok(watch)
    }

    async fn admit(&self, opening: &Opening, query: &WatchQuery) -> Result<Grant, Failure> {
        self.access
            .admit(
                &opening.caller,
                &opening.env,
                &query.collection,
                &query.filter,
            )
            .await
    }

    /// What an end user is admitted to now that the answer has been read, unless it is what it was before: whatever has
    /// changed behind the answer is in the part of the change log that the watch follows.
    async fn changed(
        &self,
        opening: &Opening,
        query: &WatchQuery,
        grant: &Grant,
    ) -> Result<Option<Grant>, Failure> {
        if !matches!(opening.caller, Caller::User(_)) {
            return Ok(None);
        }
        if self.access.standing(&opening.caller, &opening.env).await == Standing::Ended {
            return Err(Failure::new(
                "COLLECTION_PERMISSION_DENIED",
                "the sign-in has been ended: sign in again",
                Retry::Never,
            ));
        }
        let new = self.admit(opening, query).await?;
        Ok((new.version != grant.version).then_some(new))
    }

    fn tasks(&self, group: u32, source: &Arc<dyn ChangeSource>) -> GroupTasks {
        let mut groups = self.groups.lock();
        if let Some(tasks) = groups.get(&group).filter(|tasks| !tasks.have_ended()) {
            return tasks.clone();
        }
        let tasks = GroupTasks::start(source, &self.limits, &self.stop);
        groups.insert(group, tasks.clone());
        tasks
    }

    async fn follow(
        &self,
        group: u32,
        source: &Arc<dyn ChangeSource>,
        evaluation: Evaluation,
        watch: &Arc<Watch>,
        opening: Opening,
    ) {
        let user = match opening.caller {
            Caller::User(user) => Some(user),
            Caller::Administrator { .. } | Caller::System => None,
        };
        let subscriber = Subscriber::new(watch.clone(), opening.outbox, user);
        let join = Join {
            evaluation,
            subscriber,
        };
        self.tasks(group, source).join(join).await;
    }

    /// Reads the result of a query as of now, and numbers the events that tell it `number`.
    async fn first_result(
        &self,
        source: &Arc<dyn ChangeSource>,
        query: WatchQuery,
        number: u64,
        deadline: Instant,
    ) -> Result<FirstResult, Failure> {
        let compiled = Arc::new(Compiled::new(query)?);
        let permit = tokio::time::timeout_at(deadline.into(), self.first_results.acquire())
            .await
            .map_err(|_| {
                let message = "too many watches open at one time: try again shortly";
                Failure::new("EXCEED_CONCURRENT_REQUEST_LIMIT", message, Retry::Safe)
            })?;
        source.barrier(deadline).await?;
        let (source, limits) = (source.clone(), self.limits.clone());
        let read = self
            .scan_threads
            .run(move || read_first(&*source, &compiled, number, &limits, deadline));
        let first = read.await;
        drop(permit);
        first?
    }
}

fn read_first(
    source: &dyn ChangeSource,
    compiled: &Arc<Compiled>,
    number: u64,
    limits: &Limits,
    deadline: Instant,
) -> Result<FirstResult, Failure> {
    let query = &compiled.query;
    let find = query.find(limits.documents_max, limits.spare_documents);
    let (documents, began) = source.find(query, find, limits, deadline)?;
    let mut list = String::new();
    let shown = query.limit.unwrap_or(limits.documents_max);
    for document in documents.iter().take(shown) {
        let document = Arc::new(document.clone());
        let event = Event::whole(DataType::Init, QueueType::Init, &document);
        let text = event
            .text()
            .map_err(|error| Failure::new("SYS_ERR", error.to_string(), Retry::Never))?;
        event::append(&mut list, number, &text);
    }
    let count = documents.len();
    let evaluation = Evaluation::new(compiled.clone(), began, documents, limits)?;
    Ok(FirstResult {
        evaluation,
        began,
        count,
        list,
    })
}

/// The number of the last of `texts` and their list, when the one before the first has number `before`.
fn numbered(before: u64, texts: &Texts) -> (u64, String) {
    let mut list = String::new();
    let mut last = before;
    for text in texts.iter() {
        last += 1;
        event::append(&mut list, last, text);
    }
    (last, list)
}

fn rules_change_too_often() -> Failure {
    let message = "the access rules of the collection keep changing: try again shortly";
    Failure::new("SERVER_TIMEOUT", message, Retry::Safe)
}

fn resync(why: &str) -> Failure {
    let mut message = why.to_owned();
    let _ = write!(message, ": open the watch anew");
    Failure::new("QUERYID_INVALID_ERROR", message, Retry::Never)
}

fn not_founded() -> Failure {
    let message = "this node does not know its cluster yet; try again shortly";
    Failure::new("RESOURCE_NOT_INITIAL", message, Retry::Safe)
}
