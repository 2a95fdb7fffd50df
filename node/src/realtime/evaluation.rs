//! One query followed through the change log: `(state, change) -> events`, without clock, disk or socket.
//!
//! A query without limit needs no documents in memory: the images of a change tell whether its document entered,
//! stayed or left. Its events are therefore the same on every replica, and the number of an event is a function of
//! where in the log the watch began. That is what makes a watch resumable anywhere.

use std::sync::Arc;

use bson::RawDocumentBuf;
use yunbase_docdb::Position;
use yunbase_docdb::error::{Error, ErrorCode, Result};

use super::event::{Event, Images};
use super::limits::Limits;
use super::query::Compiled;
use super::window::Window;

/// What became of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The events are all there is to say.
    Done,
    /// The result must be read anew, see [`Evaluation::refill`]. The step has changed nothing.
    Refill,
}

/// A query at a position of the change log.
#[derive(Debug)]
pub(crate) struct Evaluation {
    pub(crate) query: Arc<Compiled>,
    /// Changes up to here are in the result.
    pub(crate) position: Position,
    members: Members,
    documents_max: usize,
    bytes_max: usize,
    spare_max: usize,
}

#[derive(Debug)]
enum Members {
    /// How many they are.
    All(usize),
    First(Window),
}

impl Evaluation {
    /// The query whose result at `position` is `documents`, as [`find`](super::query::WatchQuery::find) reads it.
    pub(crate) fn new(
        query: Arc<Compiled>,
        position: Position,
        documents: Vec<RawDocumentBuf>,
        limits: &Limits,
    ) -> Result<Self> {
        let members = match query.query.limit {
            None => Members::All(documents.len()),
            Some(limit) => Members::First(Window::new(
                &query,
                limit,
                limits.spare_documents,
                documents,
            )?),
        };
        let evaluation = Self {
            query,
            position,
            members,
            documents_max: limits.documents_max,
            bytes_max: limits.result_bytes_max,
            spare_max: limits.spare_documents,
        };
        evaluation.check()?;
        Ok(evaluation)
    }

    /// The query without limit that had `count` matches at `position`.
    pub(crate) fn resumed(
        query: Arc<Compiled>,
        position: Position,
        count: usize,
        limits: &Limits,
    ) -> Self {
        Self {
            query,
            position,
            members: Members::All(count),
            documents_max: limits.documents_max,
            bytes_max: limits.result_bytes_max,
            spare_max: limits.spare_documents,
        }
    }

    /// How many documents the result has.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        match &self.members {
            Members::All(count) => *count,
            Members::First(window) => window.shown().count(),
        }
    }

    /// Follows one change of the query's collection that stands at `position`, and adds its events.
    pub(crate) fn step(
        &mut self,
        position: Position,
        change: &Images,
        events: &mut Vec<Arc<Event>>,
    ) -> Result<Outcome> {
        if position <= self.position {
            return Ok(Outcome::Done);
        }
        let outcome = match &mut self.members {
            Members::First(window) => window.step(&self.query, change, events)?,
            Members::All(count) => {
                let holds = |image: &Option<Arc<RawDocumentBuf>>| match image {
                    Some(document) => self.query.matches(document),
                    None => Ok(false),
                };
                match (holds(&change.before)?, holds(&change.after)?) {
                    (false, false) => {}
                    (true, true) => events.push(change.updated()?),
                    (false, true) => {
                        *count += 1;
                        events.push(change.enqueued()?);
                    }
                    (true, false) => {
                        *count = count.saturating_sub(1);
                        events.push(change.dequeued()?);
                    }
                }
                Outcome::Done
            }
        };
        if outcome == Outcome::Done {
            self.position = position;
            self.check()?;
        }
        Ok(outcome)
    }

    /// Goes on from the result as it is at a later `position`, with the events that lead there. `cause` is the
    /// change that asked for it.
    pub(crate) fn refill(
        &mut self,
        position: Position,
        documents: Vec<RawDocumentBuf>,
        cause: &Images,
        events: &mut Vec<Arc<Event>>,
    ) -> Result<()> {
        if let (Members::First(old), Some(limit)) = (&self.members, self.query.query.limit) {
            let new = Window::new(&self.query, limit, self.spare_max, documents)?;
            new.replace(old, Some(cause), events)?;
            self.members = Members::First(new);
        }
        self.position = position;
        self.check()
    }

    fn check(&self) -> Result<()> {
        let too_large = |what: String| {
            Err(Error::new(
                ErrorCode::ExceedBudget,
                format!("the result of the watch has more than {what}; narrow its query"),
            ))
        };
        match &self.members {
            Members::All(count) if *count > self.documents_max => {
                too_large(format!("{} documents", self.documents_max))
            }
            Members::First(window) if window.bytes() > self.bytes_max => {
                too_large(format!("{} bytes", self.bytes_max))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "evaluation_test.rs"]
mod tests;
