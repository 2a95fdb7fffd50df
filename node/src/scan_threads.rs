//! Threads for reads that may take long, so that they delay neither each other's end nor what is quick.
//!
//! A scan starts at the priority of everything else, so that the many that are quick stay quick. One that is not done
//! soon goes on below all else: whatever else wants a core gets it at once, and the scan has what is left. That is a
//! multilevel feedback queue (Corbató et al., "An experimental time-sharing system", 1962) with two levels and the
//! kernel as its scheduler. An ordinary process may not raise a priority again, so a lowered thread ends with its scan.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::priority::Thread;

/// From then on a scan has what others leave. Ten times what a read by an index takes.
const QUICK: Duration = Duration::from_millis(2);

/// A thread that had nothing to do for so long ends.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Why there is no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// It panicked.
    #[error("the query broke off; its cause is in this node's log")]
    Broken,
    /// The machine has no thread to spare.
    #[error("no thread could be started for the query")]
    NoThread,
}

type Job = Box<dyn FnOnce() -> AfterJob + Send>;

/// What becomes of the thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterJob {
    Next,
    End,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    idle: usize,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

/// The threads of a node. Its users bound how many scans there are at once; a thread is started whenever none is idle.
#[derive(Clone, Default)]
pub struct ScanThreads {
    shared: Arc<Shared>,
    stopping: Arc<AtomicBool>,
}

impl ScanThreads {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks all scans to end early.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether scans should end early. They look at this where they look at their deadline.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Carries out `scan`. It goes on when the caller stops waiting, below all else.
    pub async fn run<T: Send + 'static>(
        &self,
        scan: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ScanError> {
        let (answer, mut answered) = oneshot::channel();
        let priority = Arc::new(Priority::default());
        let lowering = LowerOnDrop(priority.clone());
        self.push(Box::new(move || {
            priority.begin();
            // The caller learns of a panic by the missing answer; the panic hook has told the log.
            if let Ok(outcome) = catch_unwind(AssertUnwindSafe(scan)) {
                let _ = answer.send(outcome);
            }
            priority.end()
        }))?;
        let outcome = match tokio::time::timeout(QUICK, &mut answered).await {
            Ok(outcome) => outcome,
            Err(_) => {
                lowering.0.lower();
                answered.await
            }
        };
        outcome.map_err(|_| ScanError::Broken)
    }

    fn push(&self, job: Job) -> Result<(), ScanError> {
        let mut queue = self.shared.queue.lock();
        queue.jobs.push_back(job);
        // An idle thread that was woken counts as idle until it runs, but so does its job as waiting.
        if queue.idle >= queue.jobs.len() {
            self.shared.arrived.notify_one();
            return Ok(());
        }
        let shared = self.shared.clone();
        let started = std::thread::Builder::new()
            .name("yunbase-scan".into())
            .spawn(move || shared.work());
        if let Err(error) = started {
            tracing::error!(%error, "start a thread for a query");
            queue.jobs.pop_back();
            return Err(ScanError::NoThread);
        }
        Ok(())
    }
}

impl Shared {
    fn work(&self) {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                if job() == AfterJob::End {
                    return;
                }
                queue = self.queue.lock();
                continue;
            }
            queue.idle += 1;
            let waited = self.arrived.wait_for(&mut queue, IDLE_MAX);
            queue.idle -= 1;
            if waited.timed_out() && queue.jobs.is_empty() {
                return;
            }
        }
    }
}

/// The priority of one scan, which its thread and its caller both know.
#[derive(Default)]
struct Priority(Mutex<Progress>);

#[derive(Default)]
struct Progress {
    /// The thread, while the scan runs.
    thread: Option<Thread>,
    lowered: bool,
}

impl Priority {
    fn begin(&self) {
        let mut progress = self.0.lock();
        let thread = Thread::current();
        if progress.lowered {
            thread.yield_to_others();
        }
        progress.thread = Some(thread);
    }

    fn lower(&self) {
        let mut progress = self.0.lock();
        progress.lowered = true;
        if let Some(thread) = progress.thread {
            thread.yield_to_others();
        }
    }

    fn end(&self) -> AfterJob {
        let mut progress = self.0.lock();
        // Its next scan is none of this caller's business.
        progress.thread = None;
        match progress.lowered {
            true => AfterJob::End,
            false => AfterJob::Next,
        }
    }
}

struct LowerOnDrop(Arc<Priority>);

impl Drop for LowerOnDrop {
    fn drop(&mut self) {
        self.0.lower();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::ThreadId;

    use super::*;

    async fn thread_of(threads: &ScanThreads) -> ThreadId {
        let id = threads.run(|| std::thread::current().id()).await;
        id.expect("an id")
    }

    #[tokio::test]
    async fn quick_scans_share_a_thread_and_long_ones_run_beside_each_other() {
        let threads = ScanThreads::new();
        // On a busy machine one may be long, and its thread gone or still on its way back to the queue.
        let mut seen = Vec::new();
        while seen.len() < 2 || seen[seen.len() - 1] != seen[seen.len() - 2] {
            assert!(seen.len() < 1000, "no thread was used twice");
            seen.push(thread_of(&threads).await);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (sender, receiver) = mpsc::channel::<u32>();
        let waiting = threads.run(move || receiver.recv());
        let telling = threads.run(move || sender.send(7));
        let (waited, told) = tokio::join!(waiting, telling);
        assert_eq!((waited, told), (Ok(Ok(7)), Ok(Ok(()))));
    }

    /// Runs until it has been lowered.
    #[cfg(target_os = "linux")]
    fn long() -> bool {
        let own = Thread::current();
        let began_below = own.yields_to_others();
        while !own.yields_to_others() {
            std::thread::yield_now();
        }
        began_below
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_long_scan_makes_way_for_others_and_its_thread_ends_with_it() {
        let threads = ScanThreads::new();
        let scan = || (std::thread::current().id(), long());
        let (thread, began_below) = threads.run(scan).await.expect("a scan");
        assert!(!began_below);
        assert_ne!(thread, thread_of(&threads).await);
        let usual = threads.run(|| Thread::current().yields_to_others()).await;
        assert_eq!(usual, Ok(false));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_scan_that_nobody_waits_for_is_lowered() {
        let threads = ScanThreads::new();
        let (sender, receiver) = oneshot::channel();
        let scan = threads.run(move || sender.send(long()));
        drop(tokio::time::timeout(Duration::ZERO, scan).await);
        assert_eq!(receiver.await, Ok(false));
    }

    #[tokio::test]
    async fn a_panic_ends_its_scan_alone() {
        let threads = ScanThreads::new();
        let broken = threads
            .run(|| std::panic::resume_unwind(Box::new(())))
            .await;
        assert_eq!(broken, Err::<(), _>(ScanError::Broken));
        assert_eq!(threads.run(|| 1).await, Ok(1));
    }
}
