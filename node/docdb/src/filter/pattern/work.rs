//! What regular expressions may still cost: counted in steps, which depend on patterns and texts alone, so that
//! each replica comes to the same verdict.
//!
//! Applying a command or matching one document opens a scope; all that happens inside shares its budget. Documents
//! are matched by one thread, so the scope is the thread's.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::limits::REGEX_WORK_MAX;

thread_local! {
    /// Steps left in the open scope; `None` when none is open.
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The budget is shared by all regular expressions until the outermost scope is dropped.
#[derive(Debug)]
#[must_use = "the scope ends when it is dropped"]
pub(crate) struct WorkScope {
    is_outermost: bool,
    /// Bound to the thread whose budget it is.
    thread: PhantomData<*const ()>,
}

impl WorkScope {
    /// Opens a scope with a full budget, or joins the open one.
    pub(crate) fn open() -> Self {
        Self::of(REGEX_WORK_MAX)
    }

    /// The same with another budget.
    pub(super) fn of(steps: u64) -> Self {
        let is_outermost = LEFT.get().is_none();
        if is_outermost {
            LEFT.set(Some(steps));
        }
        Self {
            is_outermost,
            thread: PhantomData,
        }
    }
}

impl Drop for WorkScope {
    fn drop(&mut self) {
        if self.is_outermost {
            LEFT.set(None);
        }
    }
}

/// Steps that may be taken now.
pub(super) fn left() -> u64 {
    LEFT.get().unwrap_or(REGEX_WORK_MAX)
}

/// Takes steps; false when there are not so many, and then none are left.
pub(super) fn spend(steps: u64) -> bool {
    let left = left().checked_sub(steps);
    if LEFT.get().is_some() {
        LEFT.set(Some(left.unwrap_or_default()));
    }
    left.is_some()
}
