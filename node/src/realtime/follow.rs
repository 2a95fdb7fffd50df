//! One reader of a group's change log for all watches of the group on this node.
//!
//! Each change is read once, matched once for each different query that it may concern, and told to all watches of
//! that query. Everything here is blocking work on plain values; [`tasks`](super::tasks) runs it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use yunbase_docdb::Position;
use yunbase_docdb::change_log::{Change, ChangeKind, ChangesError};

use super::ending::Ending;
use super::evaluation::{Evaluation, Outcome};
use super::event::{Event, Images};
use super::limits::Limits;
use super::outbox::{Subscriber, Texts};
use super::query::{QueryKey, WatchQuery};
use super::registry::Registry;
use super::source::ChangeSource;
use crate::call::{EndUser, Failure, Retry};

/// Longest that a limited result may take to be read anew: all other watches of the group wait meanwhile.
const REFILL_TIMEOUT: Duration = Duration::from_secs(2);
/// Reads of the change log after which other work gets its turn.
const READS_MAX: usize = 16;

/// A watch that has its first result and wants what follows.
pub(crate) struct Join {
    /// Its query, at the position of that result.
    pub(crate) evaluation: Evaluation,
    pub(crate) subscriber: Subscriber,
}

struct Shared {
    evaluation: Evaluation,
    key: QueryKey,
    subscribers: Vec<Subscriber>,
    /// Events of the changes just read, not told yet.
    untold: Vec<Arc<Event>>,
}

/// All watches of a group, at one position of its change log.
pub(crate) struct Follower {
    source: Arc<dyn ChangeSource>,
    limits: Arc<Limits>,
    position: Position,
    registry: Registry<Shared>,
    by_key: HashMap<QueryKey, u64>,
}

impl Follower {
    pub(crate) fn new(source: Arc<dyn ChangeSource>, limits: Arc<Limits>) -> Self {
        Self {
            source,
            limits,
            position: Position::default(),
            registry: Registry::default(),
            by_key: HashMap::new(),
        }
    }

    /// Whether nobody watches.
    pub(crate) fn is_idle(&self) -> bool {
        self.registry.is_empty()
    }

    /// Takes in watches and follows the log. `true`: there is more to read.
    pub(crate) fn work(&mut self, joins: Vec<Join>) -> bool {
        for join in joins {
            self.join(join);
        }
        (0..READS_MAX).all(|_| !self.is_idle() && self.advance())
    }

    /// Lets go of watches that have been closed.
    pub(crate) fn sweep(&mut self) {
        let mut empty = Vec::new();
        for (number, shared) in self.registry.values_mut() {
            shared.subscribers.retain(|subscriber| {
                !subscriber.watch.is_closed() && !subscriber.outbox.is_closed()
            });
            if shared.subscribers.is_empty() {
                empty.push(number);
            }
        }
        for number in empty {
            self.remove(number);
        }
    }

    /// A watch whose way here fails is told to resume when its subscriber drops.
    fn join(&mut self, join: Join) {
        let Join {
            mut evaluation,
            mut subscriber,
        } = join;
        if self.is_idle() {
            self.position = evaluation.position;
        }
        while self.position < evaluation.position && self.advance() {}
        let key = evaluation.query.query.key();
        let present = self.by_key.get(&key).copied();
        let shared_at = present
            .and_then(|number| self.registry.get_mut(number))
            .map(|shared| shared.evaluation.position);
        let meeting = shared_at.map_or(self.position, |at| at.max(self.position));
        match self.catch_up(&mut evaluation, meeting, subscriber.user.as_deref()) {
            Ok(Some(events)) => match texts(&events) {
                Ok(texts) if subscriber.events(&texts) => {}
                _ => return,
            },
            Ok(None) => return,
            Err(failure) => return subscriber.fail(&failure.code, &failure.message),
        }
        if let Some(number) = present
            && evaluation.position <= meeting
            && let Some(shared) = self.registry.get_mut(number)
        {
            shared.subscribers.push(subscriber);
            return;
        }
        let query = evaluation.query.clone();
        let shared = Shared {
            evaluation,
            key: key.clone(),
            subscribers: vec![subscriber],
            untold: Vec::new(),
        };
        // A query whose anchor cannot be parsed has been refused before.
        if let Ok(number) = self.registry.insert(&query, shared) {
            self.by_key.insert(key, number);
        }
    }

    /// Brings one query to `meeting` by itself. `None`: what it needs is no longer in the log.
    fn catch_up(
        &self,
        evaluation: &mut Evaluation,
        meeting: Position,
        user: Option<&EndUser>,
    ) -> Result<Option<Vec<Arc<Event>>>, Failure> {
        let mut events = Vec::new();
        let mut after = evaluation.position;
        while after < meeting {
            let Ok(read) = self.source.changes(after, &self.limits) else {
                return Ok(None);
            };
            for (position, change) in read.changes {
                if position > meeting {
                    return Ok(Some(events));
                }
                let query = &evaluation.query.query;
                if let Some(user) = user
                    && let Some(ending) = Ending::of(&change)
                    && let Some(failure) = ending.ends(query, user)
                {
                    return Err(failure);
                }
                if change.collection == query.collection && change.env == query.env {
                    let images = Images::new(change);
                    follow(
                        &*self.source,
                        &self.limits,
                        evaluation,
                        position,
                        &images,
                        &mut events,
                    )?;
                }
            }
            if !read.has_more {
                break;
            }
            after = read.next;
        }
        Ok(Some(events))
    }

    /// Reads on once. `true`: there is more to read.
    fn advance(&mut self) -> bool {
        let read = match self.source.changes(self.position, &self.limits) {
            Ok(read) => read,
            Err(error) => {
                match error {
                    ChangesError::TooOld { .. } => {
                        tracing::info!("the change log was cut before watches had read it");
                    }
                    ChangesError::Storage(error) => tracing::warn!(%error, "read the change log"),
                }
                // Their subscribers drop, so all are told to resume.
                self.registry = Registry::default();
                self.by_key.clear();
                return false;
            }
        };
        let mut touched = Vec::new();
        let mut endings = Vec::new();
        for (position, change) in read.changes {
            endings.extend(Ending::of(&change));
            self.change(position, change, &mut touched);
        }
        self.position = read.next;
        self.end(&endings);
        touched.sort_unstable();
        touched.dedup();
        for number in touched {
            self.tell(number);
        }
        read.has_more
    }

    fn change(&mut self, position: Position, change: Change, touched: &mut Vec<u64>) {
        let concerned = match self.registry.concerned(&change) {
            Ok(concerned) => concerned,
            Err(error) => {
                tracing::warn!(%error, "read a change");
                return;
            }
        };
        if concerned.is_empty() {
            return;
        }
        let images = Images::new(change);
        for number in concerned {
            let Some(shared) = self.registry.get_mut(number) else {
                continue;
            };
            let followed = follow(
                &*self.source,
                &self.limits,
                &mut shared.evaluation,
                position,
                &images,
                &mut shared.untold,
            );
            match followed {
                Ok(()) if shared.untold.is_empty() => {}
                Ok(()) => touched.push(number),
                Err(failure) => {
                    self.tell(number);
                    if let Some(shared) = self.remove(number) {
                        for subscriber in shared.subscribers {
                            subscriber.fail(&failure.code, &failure.message);
                        }
                    }
                }
            }
        }
    }

    /// Ends the watches of end users that any of `endings` concerns, before anything of the same read is told: what
    /// comes behind an ending is not for them, and what came before it they get when they watch anew.
    fn end(&mut self, endings: &[Ending]) {
        if endings.is_empty() {
            return;
        }
        for (_, shared) in self.registry.values_mut() {
            let query = shared.evaluation.query.clone();
            let ended = shared.subscribers.extract_if(.., |subscriber| {
                let user = subscriber.user.as_deref();
                user.is_some_and(|user| why_ended(endings, &query.query, user).is_some())
            });
            for subscriber in ended {
                let user = subscriber.user.clone();
                if let Some(failure) = user.and_then(|user| why_ended(endings, &query.query, &user))
                {
                    subscriber.fail(&failure.code, &failure.message);
                }
            }
        }
        self.sweep();
    }

    fn tell(&mut self, number: u64) {
        let Some(shared) = self.registry.get_mut(number) else {
            return;
        };
        let events = std::mem::take(&mut shared.untold);
        match texts(&events) {
            Ok(texts) => shared
                .subscribers
                .retain_mut(|subscriber| subscriber.events(&texts)),
            Err(failure) => {
                for subscriber in std::mem::take(&mut shared.subscribers) {
                    subscriber.fail(&failure.code, &failure.message);
                }
            }
        }
        if shared.subscribers.is_empty() {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u64) -> Option<Shared> {
        let shared = self.registry.remove(number)?;
        if self.by_key.get(&shared.key) == Some(&number) {
            self.by_key.remove(&shared.key);
        }
        Some(shared)
    }
}

fn why_ended(endings: &[Ending], query: &WatchQuery, user: &EndUser) -> Option<Failure> {
    endings.iter().find_map(|ending| ending.ends(query, user))
}

/// Takes one change into a query that it may concern.
pub(crate) fn follow(
    source: &dyn ChangeSource,
    limits: &Limits,
    evaluation: &mut Evaluation,
    position: Position,
    change: &Images,
    events: &mut Vec<Arc<Event>>,
) -> Result<(), Failure> {
    match change.kind {
        ChangeKind::CreateCollection | ChangeKind::SetAccess => return Ok(()),
        // A new name is another collection to those who watch: rules and queries are found by name.
        ChangeKind::DropCollection | ChangeKind::RenameCollection
            if position > evaluation.position =>
        {
            let message = "the collection that is watched was dropped or renamed";
            return Err(Failure::new(
                "DATABASE_COLLECTION_NOT_EXIST",
                message,
                Retry::Never,
            ));
        }
        _ => {}
    }
    if evaluation.step(position, change, events)? == Outcome::Refill {
        let query = &evaluation.query.query;
        let find = query.find(limits.documents_max, limits.spare_documents);
        let (documents, position) =
            source.find(query, find, limits, Instant::now() + REFILL_TIMEOUT)?;
        evaluation.refill(position, documents, change, events)?;
    }
    Ok(())
}

/// The texts of events.
pub(crate) fn texts(events: &[Arc<Event>]) -> Result<Texts, Failure> {
    events
        .iter()
        .map(|event| event.text())
        .collect::<Result<Vec<_>, _>>()
        .map(Into::into)
        .map_err(|error| Failure::new("SYS_ERR", error.to_string(), Retry::Never))
}
