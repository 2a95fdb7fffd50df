//! The queue in front of a volume's writer: while one batch is being synced, the next one gathers, so that many
//! puts share a sync. Bounded; whoever finds it full waits.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::blocking::Threads;
use crate::hash_locks::HashGuard;
use crate::options::StoreOptions;
use crate::volume::{Change, CommitError, Outcome, Volume};

/// What became of a change, and the lock that it held.
pub(crate) struct Answered {
    pub(crate) result: Result<Outcome, CommitError>,
    pub(crate) guard: Option<HashGuard>,
}

struct Request {
    change: Change,
    waiting: Waiting,
}

/// Who waits for a change, and what is held meanwhile.
struct Waiting {
    guard: Option<HashGuard>,
    room: OwnedSemaphorePermit,
    answer: oneshot::Sender<Answered>,
}

struct Limits {
    batch_bytes_max: usize,
    batch_changes_max: usize,
}

enum Running {
    Thread(std::thread::JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

/// The queue of one volume.
pub(crate) struct WriterQueue {
    /// `None` when closed.
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    room: Arc<Semaphore>,
    room_max: u32,
    running: Mutex<Option<Running>>,
}

impl WriterQueue {
    /// Starts the writer of `volume`.
    pub(crate) fn start(
        volume: Arc<Volume>,
        options: &StoreOptions,
        threads: Threads,
    ) -> io::Result<Self> {
        let (requests, receiver) = mpsc::channel(options.queue_changes_max.max(1));
        let limits = Limits {
            batch_bytes_max: options.batch_bytes_max,
            batch_changes_max: options.batch_changes_max.max(1),
        };
        let running = match threads {
            Threads::Pool => Running::Thread(
                std::thread::Builder::new()
                    .name("chunk-writer".into())
                    .spawn(move || run(&volume, receiver, &limits))?,
            ),
            Threads::Inline => Running::Task(tokio::spawn(run_inline(volume, receiver, limits))),
        };
        let room_max = options.queue_bytes_max.max(1);
        Ok(Self {
            requests: Mutex::new(Some(requests)),
            room: Arc::new(Semaphore::new(room_max as usize)),
            room_max,
            running: Mutex::new(Some(running)),
        })
    }

    /// Waits for room, then adds a change; what is returned waits for its answer. When the caller stops
    /// waiting, the change is carried out all the same, and its lock held until then.
    pub(crate) async fn submit(&self, change: Change, guard: Option<HashGuard>) -> Answered {
        match self.enqueue(change, guard).await {
            Ok(answer) => answer.await.unwrap_or_else(|_| closed()),
            Err(answered) => answered,
        }
    }

    /// Adds changes and waits for all their answers, which are in the same order.
    pub(crate) async fn submit_all(
        &self,
        changes: Vec<(Change, Option<HashGuard>)>,
    ) -> Vec<Answered> {
        let mut answers = Vec::with_capacity(changes.len());
        for (change, guard) in changes {
            answers.push(self.enqueue(change, guard).await);
        }
        let mut answered = Vec::with_capacity(answers.len());
        for answer in answers {
            answered.push(match answer {
                Ok(answer) => answer.await.unwrap_or_else(|_| closed()),
                Err(refused) => refused,
            });
        }
        answered
    }

    async fn enqueue(
        &self,
        change: Change,
        guard: Option<HashGuard>,
    ) -> Result<oneshot::Receiver<Answered>, Answered> {
        let Some(requests) = self.requests.lock().clone() else {
            return Err(closed());
        };
        // A chunk larger than the whole queue waits until the queue is empty and then passes alone.
        let bytes = u32::try_from(change.payload_bytes())
            .unwrap_or(u32::MAX)
            .min(self.room_max);
        let room = self.room.clone().acquire_many_owned(bytes).await;
        let room = room.map_err(|_| closed())?;
        let (answer, receiver) = oneshot::channel();
        let waiting = Waiting {
            guard,
            room,
            answer,
        };
        let sent = requests.send(Request { change, waiting }).await;
        sent.map_err(|_| closed())?;
        Ok(receiver)
    }

    /// Refuses further changes and waits until those before are done.
    pub(crate) async fn close(&self) {
        self.requests.lock().take();
        let running = self.running.lock().take();
        // A writer that panicked has answered nobody; there is nothing left to wait for.
        match running {
            Some(Running::Thread(thread)) => {
                let _ = tokio::task::spawn_blocking(move || thread.join()).await;
            }
            Some(Running::Task(task)) => {
                let _ = task.await;
            }
            None => {}
        }
    }
}

fn closed() -> Answered {
    Answered {
        result: Err(CommitError::Closed),
        guard: None,
    }
}

/// Part of the last commit's time that the next one may wait for callers who are about to come back.
const LINGER_PART: u32 = 8;
/// Waits are made of these; where a commit is as quick as that there is nothing to wait for.
const LINGER_STEP: Duration = Duration::from_micros(100);

/// How long a batch waits for more. Callers that put one chunk after another come back a moment after they are
/// answered. A writer that goes on at once takes those who waited meanwhile, and misses the others, so that
/// everybody waits for two syncs instead of one.
#[derive(Debug, Default)]
struct Linger {
    /// Callers that were there a moment ago.
    expected: usize,
    wait_max: Duration,
}

impl Linger {
    fn committed(&mut self, changes: usize, waiting: usize, took: Duration) {
        self.expected = changes + waiting;
        self.wait_max = took / LINGER_PART;
    }

    fn gather(
        &self,
        batch: &mut Vec<Request>,
        requests: &mut mpsc::Receiver<Request>,
        limits: &Limits,
    ) {
        let started = Instant::now();
        let mut has_room = gather(batch, requests, limits);
        while has_room
            && batch.len() < self.expected
            && started.elapsed() + LINGER_STEP < self.wait_max
        {
            std::thread::sleep(LINGER_STEP);
            has_room = gather(batch, requests, limits);
        }
    }
}

fn run(volume: &Volume, mut requests: mpsc::Receiver<Request>, limits: &Limits) {
    let mut linger = Linger::default();
    while let Some(first) = requests.blocking_recv() {
        let mut batch = vec![first];
        linger.gather(&mut batch, &mut requests, limits);
        let changes = batch.len();
        let started = Instant::now();
        commit(volume, batch);
        linger.committed(changes, requests.len(), started.elapsed());
    }
    volume.finish();
}

/// The same on the caller's own thread, for simulations.
async fn run_inline(volume: Arc<Volume>, mut requests: mpsc::Receiver<Request>, limits: Limits) {
    while let Some(first) = requests.recv().await {
        let mut batch = vec![first];
        gather(&mut batch, &mut requests, &limits);
        commit(&volume, batch);
    }
    volume.finish();
}

/// Takes what waits, as far as the limits of a batch go; whether it has room for more.
fn gather(
    batch: &mut Vec<Request>,
    requests: &mut mpsc::Receiver<Request>,
    limits: &Limits,
) -> bool {
    let payloads = batch.iter().map(|request| request.change.payload_bytes());
    let mut bytes: usize = payloads.sum();
    while bytes < limits.batch_bytes_max && batch.len() < limits.batch_changes_max {
        let Ok(request) = requests.try_recv() else {
            return true;
        };
        bytes += request.change.payload_bytes();
        batch.push(request);
    }
    false
}

fn commit(volume: &Volume, batch: Vec<Request>) {
    let (changes, waiting): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .map(|request| (request.change, request.waiting))
        .unzip();
    let results = volume.commit(changes);
    for (waiting, result) in waiting.into_iter().zip(results) {
        drop(waiting.room);
        // Who is gone has stopped waiting; its change is durable all the same.
        let _ = waiting.answer.send(Answered {
            result,
            guard: waiting.guard,
        });
    }
}
