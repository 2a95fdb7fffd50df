//! Priorities of single threads, so that what is long or large leaves the cores to what is not.
//!
//! Linux's policy `SCHED_IDLE`: such a thread runs on cores that nobody else wants, and makes way at once when somebody
//! does. A nice value would not do: since Linux 6.6 (EEVDF) a running thread may finish its slice, a few milliseconds,
//! before one that wakes up takes its place, however nice it is (twice the p99 of others, measured).
//! An ordinary process may not take a thread back from there.

#![allow(unsafe_code)]

pub(crate) use os::Thread;

#[cfg(target_os = "linux")]
mod os {
    use std::io;

    /// A thread of this process that has not ended.
    #[derive(Clone, Copy)]
    pub(crate) struct Thread(libc::pid_t);

    impl Thread {
        /// The one that calls.
        pub(crate) fn current() -> Self {
            // SAFETY: it takes nothing and cannot fail.
            Self(unsafe { libc::gettid() })
        }

        /// From now on it has what others leave.
        pub(crate) fn yield_to_others(self) {
            let parameters = libc::sched_param { sched_priority: 0 };
            // SAFETY: it reads `parameters` and knows threads by number, so that no number is unsound.
            let outcome = unsafe {
                libc::sched_setscheduler(self.0, libc::SCHED_IDLE, &raw const parameters)
            };
            if outcome != 0 {
                let error = io::Error::last_os_error();
                tracing::warn!(%error, "lower the priority of a thread");
            }
        }

        /// Whether it has what others leave.
        #[cfg(test)]
        pub(crate) fn yields_to_others(self) -> bool {
            // SAFETY: it takes a number and answers with one.
            unsafe { libc::sched_getscheduler(self.0) == libc::SCHED_IDLE }
        }
    }
}

/// Elsewhere all threads stay equal.
#[cfg(not(target_os = "linux"))]
mod os {
    /// A thread of this process that has not ended.
    #[derive(Clone, Copy)]
    pub(crate) struct Thread;

    impl Thread {
        /// The one that calls.
        pub(crate) fn current() -> Self {
            Self
        }

        /// It goes on as it was.
        pub(crate) fn yield_to_others(self) {}
    }
}
