//! Writes down what happens, as it happens, under one clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::access::Outcome;
use crate::history::{Event, History, Kind, Process, Value};
use crate::workload::Step;

/// The history of a run that goes on.
pub(crate) struct Recorder {
    began: Instant,
    history: Mutex<History>,
    ok: AtomicU64,
    fail: AtomicU64,
    info: AtomicU64,
}

/// How many operations ended in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Took effect.
    pub(crate) ok: u64,
    /// Took none.
    pub(crate) fail: u64,
    /// Nobody knows.
    pub(crate) info: u64,
}

impl Recorder {
    /// The run begins now.
    #[allow(clippy::new_without_default)] // A clock is no default.
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            history: Mutex::default(),
            ok: AtomicU64::new(0),
            fail: AtomicU64::new(0),
            info: AtomicU64::new(0),
        }
    }

    /// Nanoseconds since the run began.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// An operation begins.
    pub(crate) fn invoke(&self, process: Process, step: &Step) {
        self.push(process, Kind::Invoke, step.f, step.value.clone(), None);
    }

    /// It has ended.
    pub(crate) fn complete(&self, process: Process, step: &Step, outcome: Outcome) {
        let (kind, value, error, count) = match outcome {
            Outcome::Ok(value) => (Kind::Ok, value, None, &self.ok),
            Outcome::Fail(why) => (Kind::Fail, step.value.clone(), Some(why), &self.fail),
            Outcome::Info(why) => (Kind::Info, step.value.clone(), Some(why), &self.info),
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.push(process, kind, step.f, value, error);
    }

    fn push(&self, process: Process, kind: Kind, f: &str, value: Value, error: Option<String>) {
        // Stamped under the lock, so that the order is that of time.
        let mut history = self.history.lock();
        history.push(Event {
            index: 0,
            time: self.now_ns(),
            kind,
            process,
            f: f.to_owned(),
            value,
            error,
        });
    }

    /// How many operations have ended.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            ok: self.ok.load(Ordering::Relaxed),
            fail: self.fail.load(Ordering::Relaxed),
            info: self.info.load(Ordering::Relaxed),
        }
    }

    /// All that was written down.
    pub(crate) fn history(&self) -> History {
        self.history.lock().clone()
    }
}
