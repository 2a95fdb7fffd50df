//! What all open transactions of a node may hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::call::{Failure, Retry};

/// Most bytes of documents that the open transactions of a node have written and not committed.
const BYTES_MAX: usize = 256 << 20;

/// What is in use.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory(Arc<AtomicUsize>);

impl Memory {
    /// The share of one transaction, nothing so far.
    pub(super) fn share(&self) -> Share {
        Share {
            memory: self.clone(),
            bytes: 0,
        }
    }
}

/// What one transaction uses of it, until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Share {
    memory: Memory,
    bytes: usize,
}

impl Share {
    /// Makes it larger or smaller; refuses what does not fit beside the others.
    pub(super) fn set(&mut self, bytes: usize) -> Result<(), Failure> {
        let used = &self.memory.0;
        if bytes <= self.bytes {
            used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        } else {
            let more = bytes - self.bytes;
            let grown = |used: usize| used.checked_add(more).filter(|sum| *sum <= BYTES_MAX);
            if used
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
                .is_err()
            {
                return Err(Failure::new(
                    "EXCEED_REQUEST_LIMIT",
                    format!(
                        "the open transactions of this node hold {BYTES_MAX} bytes; try again shortly"
                    ),
                    Retry::Safe,
                ));
            }
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_bounded_together_and_given_back() {
        let memory = Memory::default();
        let (mut one, mut other) = (memory.share(), memory.share());
        one.set(BYTES_MAX - 10).unwrap();
        assert_eq!(other.set(11).unwrap_err().code, "EXCEED_REQUEST_LIMIT");
        other.set(10).unwrap();
        one.set(5).unwrap();
        other.set(BYTES_MAX - 5).unwrap();
        drop(other);
        one.set(BYTES_MAX).unwrap();
        drop(one);
        assert_eq!(memory.0.load(Ordering::Relaxed), 0);
    }
}
