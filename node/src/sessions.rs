//! The node's own exactly-once sessions: one a group, opened through the group's log.
//!
//! Calls that bring no session of their own (the CloudBase clients know none) get a sequence from here, so
//! the node may retry them through elections and broken connections without acting twice.
//!
//! Each of the session's `window` slots is used by one call at a time: a slot's sequences are congruent to it
//! modulo the window, which is how the state machine finds the slot again. A call that was given up may still
//! be applied late; by then either its slot has not been used again, or the state machine finds it out of
//! date and refuses it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use yunbase_consensus::GroupId;

use crate::call::{Failure, SessionSequence};

/// Sessions of this process, by group.
#[derive(Default)]
pub struct SessionPool {
    groups: Mutex<HashMap<GroupId, Arc<OnceCell<Arc<NodeSession>>>>>,
}

impl SessionPool {
    /// A free sequence of the session with `group`; `open` makes the session when there is none yet.
    /// Waits while all slots are in use.
    pub async fn acquire<Open, Fut>(&self, group: GroupId, open: Open) -> Result<Sequence, Failure>
    where
        Open: FnOnce() -> Fut,
        Fut: Future<Output = Result<(u64, u32), Failure>>,
    {
        let cell = self.groups.lock().entry(group).or_default().clone();
        let session = cell
            .get_or_try_init(|| async {
                let (id, window) = open().await?;
                Ok::<_, Failure>(Arc::new(NodeSession::new(id, window)))
            })
            .await?
            .clone();
        session.acquire().await
    }

    /// Drops session `id` of `group`, which the state machine no longer knows; the next call opens another.
    pub fn forget(&self, group: GroupId, id: u64) {
        let mut groups = self.groups.lock();
        if groups
            .get(&group)
            .and_then(|cell| cell.get())
            .is_some_and(|session| session.id == id)
        {
            groups.remove(&group);
        }
    }
}

struct NodeSession {
    id: u64,
    window: u64,
    /// The next sequence of each slot that is not in use.
    free: Mutex<Vec<u64>>,
    permits: Arc<Semaphore>,
}

impl NodeSession {
    fn new(id: u64, window: u32) -> Self {
        let window = u64::from(window.max(1));
        Self {
            id,
            window,
            free: Mutex::new((window..2 * window).rev().collect()),
            permits: Arc::new(Semaphore::new(window as usize)),
        }
    }

    async fn acquire(self: Arc<Self>) -> Result<Sequence, Failure> {
        let permit = self.permits.clone().acquire_owned().await;
        let sequence = self.free.lock().pop();
        match (permit, sequence) {
            (Ok(permit), Some(sequence)) => Ok(Sequence {
                session: self,
                sequence,
                _permit: permit,
            }),
            _ => Err(Failure::new(
                "SYS_ERR",
                "a session has lost a slot",
                crate::call::Retry::Safe,
            )),
        }
    }
}

/// A sequence in use. Its slot is free again when this is dropped.
pub struct Sequence {
    session: Arc<NodeSession>,
    sequence: u64,
    _permit: OwnedSemaphorePermit,
}

impl Sequence {
    /// The name that the call carries.
    pub fn name(&self) -> SessionSequence {
        SessionSequence {
            session: self.session.id,
            sequence: self.sequence,
        }
    }
}

impl Drop for Sequence {
    fn drop(&mut self) {
        // Returned before the permit is, since fields are dropped after this body.
        self.session
            .free
            .lock()
            .push(self.sequence + self.session.window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slots_are_exclusive_and_their_sequences_grow() {
        let pool = SessionPool::default();
        let open = || async { Ok((7, 2)) };
        let first = pool.acquire(GroupId(1), open).await.expect("first");
        let second = pool.acquire(GroupId(1), open).await.expect("second");
        assert_ne!(first.name().sequence % 2, second.name().sequence % 2);
        let waiting = pool.acquire(GroupId(1), open);
        tokio::pin!(waiting);
        assert!(
            futures::poll!(&mut waiting).is_pending(),
            "all slots are in use"
        );
        let used = first.name().sequence;
        drop(first);
        let third = waiting.await.expect("a slot came free");
        assert_eq!(
            third.name(),
            SessionSequence {
                session: 7,
                sequence: used + 2
            }
        );
    }

    #[tokio::test]
    async fn a_forgotten_session_is_opened_anew() {
        let pool = SessionPool::default();
        let first = pool
            .acquire(GroupId(1), || async { Ok((7, 2)) })
            .await
            .expect("first");
        pool.forget(GroupId(1), 6);
        let same = pool
            .acquire(GroupId(1), || async { Ok((8, 2)) })
            .await
            .expect("same");
        assert_eq!(same.name().session, first.name().session);
        pool.forget(GroupId(1), 7);
        let other = pool
            .acquire(GroupId(1), || async { Ok((8, 2)) })
            .await
            .expect("other");
        assert_eq!(other.name().session, 8);
    }
}
