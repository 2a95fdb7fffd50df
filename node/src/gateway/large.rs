//! Requests with a large body: on threads of their own that make way for others, so that small requests do not wait behind them.
//!
//! Reading a megabyte of JSON takes ten times as long as a small request takes in all.

use std::future::Future;
use std::io;
use std::panic::resume_unwind;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::codes;
use crate::call::{Failure, Retry};
use crate::priority::Thread;

/// From here on a body is large; reading it as JSON takes about a millisecond.
pub(super) const LARGE_BODY_BYTES: usize = 64 << 10;
/// Large bodies that are worked on at the same moment; requests that wait for data need no thread.
const THREADS: usize = 2;

/// Where they run.
pub struct LargeRequests {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl LargeRequests {
    /// Starts the threads.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("yunbase-large")
            .worker_threads(THREADS)
            .on_thread_start(|| Thread::current().yield_to_others())
            .enable_all()
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
        })
    }

    /// The outcome of `request`, which ends when the caller stops waiting.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Failure> {
        let mut only = JoinSet::new();
        if let Some(runtime) = &self.runtime {
            only.spawn_on(request, runtime.handle());
        }
        match only.join_next().await {
            Some(Ok(outcome)) => Ok(outcome),
            Some(Err(error)) if error.is_panic() => resume_unwind(error.into_panic()),
            _ => Err(Failure::new(
                codes::SYS_ERR,
                "the node stops: ask another",
                Retry::SameSequence,
            )),
        }
    }
}

impl Drop for LargeRequests {
    fn drop(&mut self) {
        // Dropped on a thread of another runtime, which must not wait for this one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
