//! What regular expressions may still cost: counted in steps, which depend on patterns and texts alone, so that
//! each replica comes to the same verdict.
//!
//! Applying a command or matching one document opens a scope; all that happens inside shares its budget. Documents
//! are matched by one thread, so the scope is the thread's.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::limits::{REGEX_WORK_MAX, REGEX_WORK_PER_WHOLE_DOCUMENT, REGEX_WRITE_WORK_MAX};

/// Steps of a scope.
#[derive(Debug, Clone, Copy)]
struct Steps {
    left: u64,
    max: u64,
}

thread_local! {
    /// `None` when no scope is open.
    static OPEN: Cell<Option<Steps>> = const { Cell::new(None) };
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
    /// For one document: opens a scope with a full budget, or joins the open one.
    pub(crate) fn open() -> Self {
        Self::of(REGEX_WORK_MAX)
    }

    /// For one replicated command, which holds up all others of its group, and carries so many documents whole.
    pub(crate) fn of_command(documents: usize) -> Self {
        Self::of(REGEX_WRITE_WORK_MAX + documents as u64 * REGEX_WORK_PER_WHOLE_DOCUMENT)
    }

    pub(super) fn of(max: u64) -> Self {
        let is_outermost = OPEN.get().is_none();
        if is_outermost {
            OPEN.set(Some(Steps { left: max, max }));
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
            OPEN.set(None);
        }
    }
}

fn now() -> Steps {
    OPEN.get().unwrap_or(Steps {
        left: REGEX_WORK_MAX,
        max: REGEX_WORK_MAX,
    })
}

/// Steps that may be taken now.
pub(super) fn left() -> u64 {
    now().left
}

/// Steps that there were at first.
pub(super) fn max() -> u64 {
    now().max
}

/// Takes steps; false when there are not so many, and then none are left.
pub(super) fn spend(steps: u64) -> bool {
    let left = left().checked_sub(steps);
    if let Some(open) = OPEN.get() {
        let left = left.unwrap_or_default();
        OPEN.set(Some(Steps { left, ..open }));
    }
    left.is_some()
}
