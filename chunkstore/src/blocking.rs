//! Where blocking calls run: on the runtime's blocking threads, so many at once and no more. In simulations they
//! run where they are asked for, so that a run can be repeated.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Where work runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// Writers have threads of their own, other blocking calls the runtime's.
    Pool,
    /// Everything on the thread of the runtime, which must have only one.
    #[cfg_attr(not(test), allow(dead_code))]
    Inline,
}

/// Runs blocking calls.
#[derive(Debug)]
pub(crate) struct Blocking {
    threads: Threads,
    calls: Arc<Semaphore>,
}

impl Blocking {
    pub(crate) fn new(threads: Threads, calls_max: usize) -> Self {
        Self {
            threads,
            calls: Arc::new(Semaphore::new(calls_max.max(1))),
        }
    }

    /// Runs `work`, after a wait when there are too many. A panic of `work` goes on in the caller.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        // The semaphore is never closed.
        let call = self.calls.clone().acquire_owned().await;
        if self.threads == Threads::Inline {
            return work();
        }
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(call);
            result
        });
        match task.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => panic!("the runtime ended under a call: {error}"),
            },
        }
    }
}
