//! The first documents of a query's result, in order: what a watch with a limit shows, and some behind it.
//!
//! What it knows is a prefix of all matches. As long as that prefix is longer than the limit, each change gives the
//! new result without a query; when it gets too short the caller must read the result anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use yunbase_docdb::Result;
use yunbase_docdb::value::key::encoded;

use super::evaluation::Outcome;
use super::event::{DataType, Event, Images, QueueType};
use super::query::Compiled;

type Places = BTreeMap<Vec<u8>, Arc<RawDocumentBuf>>;

/// The beginning of a result.
#[derive(Debug)]
pub(crate) struct Window {
    limit: usize,
    spare_max: usize,
    /// The result.
    shown: Places,
    /// What comes next, all behind what is shown.
    spare: Places,
    /// The last place up to which all matches are known; `None` = all are.
    known_to: Option<Vec<u8>>,
    bytes: usize,
}

impl Window {
    /// From the first `limit + spare_max + 1` matches in order, or all if there are fewer.
    pub(crate) fn new(
        query: &Compiled,
        limit: usize,
        spare_max: usize,
        documents: Vec<RawDocumentBuf>,
    ) -> Result<Self> {
        let mut window = Self {
            limit,
            spare_max,
            shown: Places::new(),
            spare: Places::new(),
            known_to: None,
            bytes: 0,
        };
        for document in documents {
            let place = query.place(&document)?;
            window.bytes += document.as_bytes().len();
            let places = if window.shown.len() < limit {
                &mut window.shown
            } else {
                &mut window.spare
            };
            places.insert(place, Arc::new(document));
        }
        window.cut();
        Ok(window)
    }

    /// Bytes of the documents kept.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The result, in order.
    #[cfg(test)]
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Arc<RawDocumentBuf>> {
        self.shown.values()
    }

    /// Follows one change. With [`Outcome::Refill`] nothing has happened.
    pub(crate) fn step(
        &mut self,
        query: &Compiled,
        change: &Images,
        events: &mut Vec<Arc<Event>>,
    ) -> Result<Outcome> {
        let place = |document: &Option<Arc<RawDocumentBuf>>| -> Result<Option<Vec<u8>>> {
            match document {
                Some(document) if query.matches(document)? => query.place(document).map(Some),
                _ => Ok(None),
            }
        };
        let was = place(&change.before)?
            .filter(|place| self.shown.contains_key(place) || self.spare.contains_key(place));
        let is = place(&change.after)?.filter(|place| {
            self.known_to
                .as_ref()
                .is_none_or(|known_to| place <= known_to)
        });
        let count = self.shown.len() + self.spare.len() + usize::from(is.is_some())
            - usize::from(was.is_some());
        if self.known_to.is_some() && count < self.limit {
            return Ok(Outcome::Refill);
        }
        let was_shown = was
            .as_ref()
            .is_some_and(|place| self.shown.contains_key(place));
        if let Some(place) = &was {
            let removed = self
                .shown
                .remove(place)
                .or_else(|| self.spare.remove(place));
            self.bytes -= removed.map_or(0, |document| document.as_bytes().len());
        }
        if let (Some(place), Some(document)) = (&is, &change.after) {
            self.insert(place.clone(), document.clone());
        }
        let (pushed_out, pulled_in) = self.balance();
        self.cut();
        let is_shown = is
            .as_ref()
            .is_some_and(|place| self.shown.contains_key(place));
        match (was_shown, is_shown) {
            (true, true) => events.push(change.updated()?),
            (true, false) => events.push(change.dequeued()?),
            (false, true) | (false, false) => {}
        }
        let is_changed = |place: &Vec<u8>| is.as_ref() == Some(place);
        if let Some((place, document)) = pushed_out
            && !is_changed(&place)
        {
            events.push(Event::bare(DataType::Limit, QueueType::Dequeue, &document));
        }
        if let Some((place, document)) = pulled_in
            && !is_changed(&place)
        {
            events.push(Event::whole(DataType::Limit, QueueType::Enqueue, &document));
        }
        if !was_shown && is_shown {
            events.push(change.enqueued()?);
        }
        Ok(Outcome::Done)
    }

    fn insert(&mut self, place: Vec<u8>, document: Arc<RawDocumentBuf>) {
        self.bytes += document.as_bytes().len();
        let to_spare = match self.spare.first_key_value() {
            Some((first, _)) if place > *first => true,
            _ => {
                self.shown.len() >= self.limit
                    && self
                        .shown
                        .last_key_value()
                        .is_some_and(|(last, _)| place > *last)
            }
        };
        if to_spare {
            self.spare.insert(place, document);
        } else {
            self.shown.insert(place, document);
        }
    }

    /// Moves what is too much out of the result, or what is missing into it: at most one document either way.
    #[allow(clippy::type_complexity, reason = "two optional entries, used once")]
    fn balance(
        &mut self,
    ) -> (
        Option<(Vec<u8>, Arc<RawDocumentBuf>)>,
        Option<(Vec<u8>, Arc<RawDocumentBuf>)>,
    ) {
        if self.shown.len() > self.limit {
            let last = self.shown.pop_last();
            if let Some((place, document)) = &last {
                self.spare.insert(place.clone(), document.clone());
            }
            return (last, None);
        }
        if self.shown.len() < self.limit {
            let first = self.spare.pop_first();
            if let Some((place, document)) = &first {
                self.shown.insert(place.clone(), document.clone());
            }
            return (None, first);
        }
        (None, None)
    }

    /// Forgets what is more than spare.
    fn cut(&mut self) {
        while self.spare.len() > self.spare_max {
            if let Some((_, document)) = self.spare.pop_last() {
                self.bytes -= document.as_bytes().len();
            }
            let last = self
                .spare
                .last_key_value()
                .or_else(|| self.shown.last_key_value());
            self.known_to = last.map(|(place, _)| place.clone());
        }
    }

    /// Takes the place of `old` and tells what that changes. `cause` is a change since `old`, where one is known.
    pub(crate) fn replace(
        &self,
        old: &Self,
        cause: Option<&Images>,
        events: &mut Vec<Arc<Event>>,
    ) -> Result<()> {
        let by_id = |places: &Places| -> Result<HashMap<Vec<u8>, Arc<RawDocumentBuf>>> {
            places
                .values()
                .map(|document| Ok((id(document)?, document.clone())))
                .collect()
        };
        let (before, after) = (by_id(&old.shown)?, by_id(&self.shown)?);
        let caused = match cause.and_then(|cause| cause.before.as_ref().or(cause.after.as_ref())) {
            Some(document) => Some(id(document)?),
            None => None,
        };
        for document in old.shown.values() {
            let id = id(document)?;
            if after.contains_key(&id) {
                continue;
            }
            events.push(match cause {
                Some(cause) if caused.as_ref() == Some(&id) => cause.dequeued()?,
                _ => Event::bare(DataType::Limit, QueueType::Dequeue, document),
            });
        }
        for document in self.shown.values() {
            match before.get(&id(document)?) {
                None => {
                    events.push(Event::whole(DataType::Limit, QueueType::Enqueue, document));
                }
                Some(same) if same.as_bytes() == document.as_bytes() => {}
                Some(_) => {
                    events.push(Event::whole(DataType::Replace, QueueType::Update, document));
                }
            }
        }
        Ok(())
    }
}

fn id(document: &RawDocument) -> Result<Vec<u8>> {
    encoded(
        document
            .get("_id")
            .ok()
            .flatten()
            .unwrap_or(RawBsonRef::Null),
    )
}
