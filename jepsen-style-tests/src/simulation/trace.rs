//! What happened in a run: a hash of all events, which must be the same for the same seed, and the last
//! of them as text.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::time::Instant;

/// Events kept as text.
const KEPT_EVENTS: usize = 400;

/// See the module.
#[derive(Debug)]
pub(super) struct Trace {
    start: Instant,
    hash: u64,
    events: u64,
    kept: VecDeque<String>,
    sink: Option<fn(&str)>,
}

impl Trace {
    /// A trace that begins now; each event is also given to `sink`.
    pub(super) fn new(sink: Option<fn(&str)>) -> Self {
        Self {
            start: Instant::now(),
            hash: 0,
            events: 0,
            kept: VecDeque::new(),
            sink,
        }
    }

    /// Notes an event.
    pub(super) fn event(&mut self, event: fmt::Arguments<'_>) {
        let micros = self.start.elapsed().as_micros();
        let line = format!(
            "{:>4}.{:06} {event}",
            micros / 1_000_000,
            micros % 1_000_000
        );
        let mut hasher = DefaultHasher::new();
        (self.hash, &line).hash(&mut hasher);
        self.hash = hasher.finish();
        self.events += 1;
        if let Some(sink) = self.sink {
            sink(&line);
        }
        if self.kept.len() == KEPT_EVENTS {
            self.kept.pop_front();
        }
        self.kept.push_back(line);
    }

    /// The hash of all events so far.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// Number of events so far.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// The last events.
    pub(super) fn last_events(&self) -> Vec<String> {
        self.kept.iter().cloned().collect()
    }
}
