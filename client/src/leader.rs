//! Where an environment's writes are decided: the endpoint of its leader, as the nodes name it in their answers.
//!
//! A write that goes there spares the cluster a hop. It is only ever a preference: any node takes any request, and
//! the first sign of trouble forgets it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// No leader is known, or it is none of the client's endpoints.
const UNKNOWN: usize = usize::MAX;

/// The endpoint of the leader, if one was named.
pub(crate) struct Leader(AtomicUsize);

impl Default for Leader {
    fn default() -> Self {
        Self(AtomicUsize::new(UNKNOWN))
    }
}

impl Leader {
    /// The endpoint to prefer for what changes something.
    pub(crate) fn endpoint(&self) -> Option<usize> {
        let endpoint = self.0.load(Ordering::Relaxed);
        (endpoint != UNKNOWN).then_some(endpoint)
    }

    /// A node named the leader.
    pub(crate) fn learn(&self, endpoint: usize) {
        self.0.store(endpoint, Ordering::Relaxed);
    }

    /// `failed` could not carry out a request; another leader may have been named since.
    pub(crate) fn forget(&self, failed: usize) {
        let _ = self
            .0
            .compare_exchange(failed, UNKNOWN, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_failure_of_the_leader_forgets_it() {
        let leader = Leader::default();
        assert_eq!(leader.endpoint(), None);
        leader.learn(2);
        leader.forget(1);
        assert_eq!(leader.endpoint(), Some(2));
        leader.forget(2);
        assert_eq!(leader.endpoint(), None);
    }
}
