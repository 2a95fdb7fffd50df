//! Exactly-once: the session of a client in one environment and the window of its sequences.
//!
//! A mutating request takes a sequence and keeps it through all its attempts; the cluster remembers
//! the outcomes of the newest `window` sequences. So no sequence may be given out while one that is a whole
//! window older is still unanswered: its outcome would be forgotten before its retry.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::limits::{SESSION_IDLE_MAX, SESSION_WINDOW_MAX};

/// Which sequences are given out and not yet settled.
#[derive(Debug)]
pub(crate) struct Window {
    size: u64,
    /// Next sequence to give out.
    next: u64,
    /// For each sequence from the lowest unsettled one to `next`: whether it is settled.
    settled: VecDeque<bool>,
}

impl Window {
    /// A window of at most `size` sequences, from 1 on.
    pub(crate) fn new(size: u64) -> Self {
        Self {
            size: size.clamp(1, SESSION_WINDOW_MAX),
            next: 1,
            settled: VecDeque::new(),
        }
    }

    /// The next sequence, or `None` while the window is full.
    pub(crate) fn take(&mut self) -> Option<u64> {
        if self.settled.len() as u64 >= self.size {
            return None;
        }
        self.settled.push_back(false);
        self.next += 1;
        Some(self.next - 1)
    }

    /// `sequence` will not be sent again. Returns how far the window moved.
    pub(crate) fn settle(&mut self, sequence: u64) -> usize {
        let lowest = self.next - self.settled.len() as u64;
        let place = sequence
            .checked_sub(lowest)
            .and_then(|offset| self.settled.get_mut(offset as usize));
        let Some(place) = place else { return 0 };
        *place = true;
        let moved = self.settled.iter().take_while(|settled| **settled).count();
        self.settled.drain(..moved);
        moved
    }

    fn is_idle(&self) -> bool {
        self.settled.is_empty()
    }
}

/// An open session.
pub(crate) struct Session {
    pub(crate) id: u64,
    state: Mutex<SessionState>,
    moved: Notify,
}

struct SessionState {
    window: Window,
    used: Instant,
}

impl Session {
    pub(crate) fn new(id: u64, window: u32) -> Self {
        let state = SessionState {
            window: Window::new(u64::from(window)),
            used: Instant::now(),
        };
        Self {
            id,
            state: Mutex::new(state),
            moved: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, SessionState> {
        // Each critical section leaves the state whole, also when it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stale(&self) -> bool {
        let state = self.state();
        state.window.is_idle() && state.used.elapsed() > SESSION_IDLE_MAX
    }

    /// A sequence of its own for one mutating request; waits while the window is full.
    pub(crate) async fn ticket(self: Arc<Self>) -> Ticket {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // Registered before the look, so that a move between look and wait is not missed.
            moved.as_mut().enable();
            let taken = {
                let mut state = self.state();
                state.used = Instant::now();
                state.window.take()
            };
            if let Some(sequence) = taken {
                return Ticket {
                    sequence,
                    session: self.clone(),
                };
            }
            moved.await;
        }
    }
}

/// The right to use one sequence. Dropping it promises that the sequence is not sent again.
pub(crate) struct Ticket {
    pub(crate) sequence: u64,
    pub(crate) session: Arc<Session>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let moved = self.session.state().window.settle(self.sequence);
        for _ in 0..moved {
            self.session.moved.notify_one();
        }
    }
}

/// The session in use, if one is open. Shared by all handles of an environment.
#[derive(Default)]
pub(crate) struct SessionSlot {
    current: Mutex<Option<Arc<Session>>>,
    /// Held by the one caller that opens a session.
    pub(crate) opening: tokio::sync::Mutex<()>,
}

impl SessionSlot {
    fn slot(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session, unless there is none or it has been idle for too long.
    pub(crate) fn current(&self) -> Option<Arc<Session>> {
        let mut slot = self.slot();
        if slot.as_ref().is_some_and(|session| session.is_stale()) {
            *slot = None;
        }
        slot.clone()
    }

    pub(crate) fn set(&self, session: Arc<Session>) {
        *self.slot() = Some(session);
    }

    /// Gives up `session`: the cluster no longer knows it.
    pub(crate) fn discard(&self, session: u64) {
        let mut slot = self.slot();
        if slot.as_ref().is_some_and(|current| current.id == session) {
            *slot = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_holds_back_while_its_oldest_is_open() {
        let mut window = Window::new(3);
        assert_eq!(
            [window.take(), window.take(), window.take(), window.take()],
            [Some(1), Some(2), Some(3), None]
        );
        assert_eq!(window.settle(2), 0);
        assert_eq!(window.settle(3), 0);
        assert_eq!(
            window.take(),
            None,
            "sequence 1 is still open, 4 would push its outcome out"
        );
        assert_eq!(window.settle(1), 3);
        assert_eq!(
            [window.take(), window.take(), window.take(), window.take()],
            [Some(4), Some(5), Some(6), None]
        );
    }

    #[test]
    fn settling_twice_or_out_of_range_changes_nothing() {
        let mut window = Window::new(2);
        assert_eq!(window.settle(0), 0);
        assert_eq!(window.settle(1), 0);
        window.take();
        assert_eq!(window.settle(1), 1);
        assert_eq!(window.settle(1), 0);
        assert_eq!(window.settle(u64::MAX), 0);
        assert!(window.is_idle());
    }

    #[test]
    fn a_nonsense_window_is_clamped() {
        let mut window = Window::new(0);
        assert_eq!(window.take(), Some(1));
        assert_eq!(window.take(), None);
    }

    #[tokio::test]
    async fn tickets_wait_for_the_window_and_all_get_through() {
        let session = Arc::new(Session::new(7, 4));
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let session = session.clone();
                tokio::spawn(async move {
                    let ticket = session.ticket().await;
                    tokio::task::yield_now().await;
                    ticket.sequence
                })
            })
            .collect();
        let mut sequences = Vec::new();
        for task in tasks {
            sequences.push(task.await.unwrap());
        }
        sequences.sort_unstable();
        assert_eq!(sequences, (1..=100).collect::<Vec<_>>());
    }

    #[test]
    fn only_the_named_session_is_discarded() {
        let slot = SessionSlot::default();
        slot.set(Arc::new(Session::new(1, 8)));
        slot.discard(2);
        assert!(slot.current().is_some());
        slot.discard(1);
        assert!(slot.current().is_none());
    }
}
