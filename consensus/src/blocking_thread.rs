//! Where blocking work runs: on a thread of its own, when it must keep its order and must not wait for
//! strangers, since the runtime's blocking pool can be exhausted by other callers; else in that pool. On
//! a deterministic thread it runs where it is asked for.

use std::io;
use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::determinism::is_deterministic;

type Work = Box<dyn FnOnce() + Send>;

/// Runs closures one after another. The thread ends when this is dropped and its work is done.
pub(crate) struct BlockingThread {
    /// `None` when the work is done by its callers.
    work: Option<mpsc::Sender<Work>>,
}

/// Runs `work` in the runtime's blocking pool. An error means that it panicked.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    if is_deterministic() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)
}

impl BlockingThread {
    /// Starts the thread.
    pub(crate) fn spawn(name: String) -> io::Result<Self> {
        if is_deterministic() {
            return Ok(Self { work: None });
        }
        let (work, queue) = mpsc::channel::<Work>();
        std::thread::Builder::new()
            .name(name)
            .spawn(move || queue.into_iter().for_each(|work| work()))?;
        Ok(Self { work: Some(work) })
    }

    /// Runs `work` after everything given before. It runs to its end even if the caller stops
    /// waiting; each caller waits for its own work, so the queue is as long as there are callers.
    /// An error means that `work` panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let Some(queue) = &self.work else {
            return Ok(work());
        };
        let (done, result) = oneshot::channel();
        let work = move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            if let Ok(value) = outcome {
                // A receiver that is gone has stopped waiting.
                let _ = done.send(value);
            }
        };
        let ended = || io::Error::other("the work on a blocking thread panicked");
        queue.send(Box::new(work)).map_err(|_| ended())?;
        result.await.map_err(|_| ended())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[tokio::test]
    async fn runs_in_order_and_survives_a_panic() {
        let thread = BlockingThread::spawn("test".into()).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let runs = (0..100).map(|number| {
            let seen = seen.clone();
            thread.run(move || seen.lock().push(number))
        });
        futures::future::join_all(runs).await;
        assert_eq!(*seen.lock(), (0..100).collect::<Vec<_>>());
        // `resume_unwind` panics without the message on stderr.
        assert!(
            thread
                .run(|| std::panic::resume_unwind(Box::new(())))
                .await
                .is_err()
        );
        assert_eq!(thread.run(|| 7).await.unwrap(), 7);
    }
}
