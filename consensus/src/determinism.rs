//! Makes everything of this crate that runs on a thread repeatable: for simulations.
//!
//! While a thread is deterministic, election time-outs come from its seed, work that blocks runs where
//! it is asked for instead of on threads of its own, and waiters of a channel wake in the order in which
//! they came. A single-threaded runtime under a paused clock then does the same things in the same order
//! for the same seed. Other threads, and so production, notice nothing but the look at a thread-local.

use std::cell::Cell;
use std::marker::PhantomData;

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Keeps this thread deterministic until it is dropped.
#[derive(Debug)]
pub struct Determinism {
    before: Option<u64>,
    /// It belongs to the thread it was made on.
    not_send: PhantomData<*const ()>,
}

impl Determinism {
    /// Everything random on this thread follows from `seed` from now on.
    #[must_use]
    pub fn enter(seed: u64) -> Self {
        Self {
            before: SEED.replace(Some(seed)),
            not_send: PhantomData,
        }
    }
}

impl Drop for Determinism {
    fn drop(&mut self) {
        SEED.set(self.before);
    }
}

/// Whether this thread is deterministic.
pub(crate) fn is_deterministic() -> bool {
    SEED.get().is_some()
}

/// The next number of a deterministic thread's sequence; `None` on others.
pub(crate) fn next_number() -> Option<u64> {
    let state = SEED.get()?.wrapping_add(0x9E37_79B9_7F4A_7C15);
    SEED.set(Some(state));
    // SplitMix64 (Steele, Lea, Flood 2014).
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    Some(mixed ^ (mixed >> 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_from_the_seed_and_end_with_the_guard() {
        let draw = |seed| {
            let _guard = Determinism::enter(seed);
            [next_number(), next_number()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_ne!(draw(7)[0], draw(7)[1]);
        assert!(!is_deterministic() && next_number().is_none());
    }
}
