//! Requests of one multiplexed stream that wait for their answers.
//!
//! Answers come in any order and name the request by the id that it got here. When the stream ends, everything that
//! waits fails at once and nothing can begin to wait any more; a caller that stops waiting is forgotten at once.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What waits on one stream for answers `T`, or for the reason `E` why the stream has ended. Clones are the same.
///
/// It has no bound of its own: as many wait as callers hold a [`PendingAnswer`], and they bound that by the queue
/// into the stream.
#[derive(Debug)]
pub struct PendingAnswers<T, E> {
    table: Arc<Mutex<Table<T, E>>>,
}

#[derive(Debug)]
struct Table<T, E> {
    last_id: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<T, E>>>,
    ended: Option<E>,
}

impl<T, E> Clone for PendingAnswers<T, E> {
    fn clone(&self) -> Self {
        Self {
            table: self.table.clone(),
        }
    }
}

impl<T, E> Default for PendingAnswers<T, E> {
    fn default() -> Self {
        Self {
            table: Arc::new(Mutex::new(Table {
                last_id: 0,
                waiting: HashMap::new(),
                ended: None,
            })),
        }
    }
}

impl<T, E: Clone> PendingAnswers<T, E> {
    /// Begins to wait for one answer; `Err` says why the stream has ended.
    pub fn wait(&self) -> Result<PendingAnswer<T, E>, E> {
        let mut table = self.table.lock();
        if let Some(reason) = &table.ended {
            return Err(reason.clone());
        }
        table.last_id += 1;
        let id = table.last_id;
        let (sender, receiver) = oneshot::channel();
        table.waiting.insert(id, sender);
        Ok(PendingAnswer {
            id,
            receiver,
            among: self.clone(),
        })
    }

    /// Delivers the answer to request `id`. One that nobody waits for, any more or at all, is dropped.
    pub fn answer(&self, id: u64, answer: Result<T, E>) {
        let waiter = self.table.lock().waiting.remove(&id);
        if let Some(waiter) = waiter {
            drop(waiter.send(answer));
        }
    }

    /// The stream has ended: everything that waits fails for `reason`. Only the first reason counts.
    pub fn end(&self, reason: E) {
        let waiting = {
            let mut table = self.table.lock();
            if table.ended.is_none() {
                table.ended = Some(reason.clone());
            }
            std::mem::take(&mut table.waiting)
        };
        for waiter in waiting.into_values() {
            drop(waiter.send(Err(reason.clone())));
        }
    }

    /// Whether the stream has ended.
    pub fn has_ended(&self) -> bool {
        self.table.lock().ended.is_some()
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.table.lock().waiting.len()
    }
}

/// The answer to one request; forgets the request when dropped.
#[derive(Debug)]
pub struct PendingAnswer<T, E> {
    id: u64,
    receiver: oneshot::Receiver<Result<T, E>>,
    among: PendingAnswers<T, E>,
}

impl<T, E> PendingAnswer<T, E> {
    /// The id that the request must carry; no other one of the stream has it.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl<T, E> Future for PendingAnswer<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(cx).map(|received| {
            received.expect("the sending half leaves the table, which we hold, only to send")
        })
    }
}

impl<T, E> Drop for PendingAnswer<T, E> {
    fn drop(&mut self) {
        self.among.table.lock().waiting.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    type Pending = PendingAnswers<u32, &'static str>;

    #[tokio::test]
    async fn answers_find_their_requests_in_any_order() {
        let pending = Pending::default();
        let (first, second) = (pending.wait().unwrap(), pending.wait().unwrap());
        assert_ne!(first.id(), second.id());
        pending.answer(second.id(), Ok(2));
        pending.answer(first.id(), Err("refused"));
        pending.answer(99, Ok(3));
        assert_eq!((first.await, second.await), (Err("refused"), Ok(2)));
        assert_eq!(pending.len(), 0);
    }

    #[tokio::test]
    async fn an_end_fails_what_waits_and_what_comes_later() {
        let pending = Pending::default();
        let mut waiting = pending.wait().unwrap();
        assert!((&mut waiting).now_or_never().is_none());
        assert!(!pending.has_ended());
        pending.end("cut");
        pending.end("again");
        assert_eq!(waiting.await, Err("cut"));
        assert_eq!(pending.wait().err(), Some("cut"));
        assert!(pending.has_ended());
    }

    #[test]
    fn who_stops_waiting_is_forgotten() {
        let pending = Pending::default();
        let given_up = pending.wait().unwrap();
        let id = given_up.id();
        drop(given_up);
        assert_eq!(pending.len(), 0);
        pending.answer(id, Ok(1));
    }
}
