//! Resuming watches: reads the change log again from where each began and counts its events.
//!
//! Whoever asks while a pass is under way is served by the next one, so a thousand watches that come from a dead node
//! cost a pass or two over the log, not a thousand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use yunbase_docdb::Position;
use yunbase_docdb::change_log::{Change, ChangesError};

use super::evaluation::Evaluation;
use super::event::{Event, Images};
use super::follow::{follow, texts};
use super::limits::Limits;
use super::outbox::Texts;
use super::registry::Registry;
use super::source::ChangeSource;
use crate::call::{Failure, Retry};

/// Longest pass: the clients that wait for it give up soon after.
const PASS_TIMEOUT: Duration = Duration::from_secs(8);

/// A watch without limit that wants the events behind one that it has.
pub(crate) struct Replay {
    /// Its query where the watch began.
    pub(crate) evaluation: Evaluation,
    /// Number of the event before the first one behind there.
    pub(crate) began_with: u64,
    /// Number of the last event that the client has.
    pub(crate) has: u64,
    pub(crate) answer: oneshot::Sender<Result<Replayed, Failure>>,
}

/// What a resumption found.
#[derive(Debug)]
pub(crate) enum Replayed {
    /// The missed events, and the query behind them.
    All(Texts, Box<Evaluation>),
    /// The first of the missed events.
    Some(Texts),
    /// The client has events that have not happened.
    Beyond,
    /// The log no longer reaches back to where the watch began.
    TooOld,
}

struct Replaying {
    evaluation: Evaluation,
    began: Position,
    number: u64,
    has: u64,
    missed: Vec<Arc<Event>>,
    bytes: usize,
    full: bool,
    answer: oneshot::Sender<Result<Replayed, Failure>>,
}

/// One pass over the log for all of `replays`.
pub(crate) fn pass(source: &dyn ChangeSource, limits: &Limits, replays: Vec<Replay>) {
    let mut registry = Registry::default();
    let mut cursor = Position::MAX;
    for replay in replays {
        cursor = cursor.min(replay.evaluation.position);
        let query = replay.evaluation.query.clone();
        let replaying = Replaying {
            began: replay.evaluation.position,
            evaluation: replay.evaluation,
            number: replay.began_with,
            has: replay.has,
            missed: Vec::new(),
            bytes: 0,
            full: false,
            answer: replay.answer,
        };
        // A query whose anchor cannot be parsed has been refused before; its client is answered by silence no
        // longer than until its opening task sees the channel closed.
        let _ = registry.insert(&query, replaying);
    }
    let late = Instant::now() + PASS_TIMEOUT;
    while !registry.is_empty() {
        if Instant::now() >= late {
            let message = "the change log could not be read in time; try again";
            fail_all(
                registry,
                &Failure::new("SERVER_TIMEOUT", message, Retry::Safe),
            );
            return;
        }
        match source.changes(cursor, limits) {
            Ok(read) => {
                for (position, change) in read.changes {
                    take_in(source, limits, &mut registry, position, change);
                }
                cursor = read.next;
                if !read.has_more {
                    break;
                }
            }
            Err(ChangesError::TooOld { oldest }) => {
                cursor = drop_older(&mut registry, oldest);
            }
            Err(ChangesError::Storage(error)) => {
                fail_all(registry, &Failure::from(yunbase_docdb::Error::from(error)));
                return;
            }
        }
    }
    for replaying in registry.into_values() {
        replaying.finish();
    }
}

fn take_in(
    source: &dyn ChangeSource,
    limits: &Limits,
    registry: &mut Registry<Replaying>,
    position: Position,
    change: Change,
) {
    let concerned = match registry.concerned(&change) {
        Ok(concerned) if !concerned.is_empty() => concerned,
        _ => return,
    };
    let images = Images::new(change);
    for number in concerned {
        let Some(replaying) = registry.get_mut(number) else {
            continue;
        };
        if let Err(failure) = replaying.step(source, limits, position, &images)
            && let Some(replaying) = registry.remove(number)
        {
            let _ = replaying.answer.send(Err(failure));
        }
    }
}

/// Those that began before `oldest` cannot resume. Returns where the others go on.
fn drop_older(registry: &mut Registry<Replaying>, oldest: Position) -> Position {
    let older: Vec<u64> = registry
        .values_mut()
        .filter(|(_, replaying)| replaying.began < oldest)
        .map(|(number, _)| number)
        .collect();
    for number in older {
        if let Some(replaying) = registry.remove(number) {
            let _ = replaying.answer.send(Ok(Replayed::TooOld));
        }
    }
    let rest = registry.values_mut().map(|(_, replaying)| replaying.began);
    rest.min().unwrap_or(oldest).max(oldest)
}

fn fail_all(registry: Registry<Replaying>, failure: &Failure) {
    for replaying in registry.into_values() {
        let _ = replaying.answer.send(Err(failure.clone()));
    }
}

impl Replaying {
    fn step(
        &mut self,
        source: &dyn ChangeSource,
        limits: &Limits,
        position: Position,
        change: &Images,
    ) -> Result<(), Failure> {
        if self.full {
            return Ok(());
        }
        let mut events = Vec::new();
        follow(
            source,
            limits,
            &mut self.evaluation,
            position,
            change,
            &mut events,
        )?;
        for event in events {
            self.number += 1;
            if self.number <= self.has {
                continue;
            }
            self.bytes += match event.text() {
                Ok(text) => text.len(),
                Err(error) => {
                    return Err(Failure::new("SYS_ERR", error.to_string(), Retry::Never));
                }
            };
            self.missed.push(event);
            self.full |= self.missed.len() >= limits.resumed_events_max
                || self.bytes >= limits.resumed_bytes_max;
        }
        Ok(())
    }

    fn finish(self) {
        let outcome = if self.number < self.has {
            Ok(Replayed::Beyond)
        } else {
            texts(&self.missed).map(|texts| {
                if self.full {
                    Replayed::Some(texts)
                } else {
                    Replayed::All(texts, Box::new(self.evaluation))
                }
            })
        };
        // Whoever asked may have gone.
        let _ = self.answer.send(outcome);
    }
}
