//! What clients did and saw: a list of events, each an invocation or what came of one, as Jepsen keeps it.

mod edn;
mod files;

pub use edn::Value;
pub use files::{FileError, read, write};

/// Which client an event is of; one process has at most one operation open.
pub type Process = u64;

/// Processes from here on are no clients: they look at what is left when the clients have ended.
pub const OBSERVERS: Process = Process::MAX / 4;

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An operation begins.
    Invoke,
    /// It took effect.
    Ok,
    /// It certainly took no effect.
    Fail,
    /// Nobody knows whether it took effect, or will.
    Info,
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its place in the history, from 0.
    pub index: u64,
    /// Nanoseconds since the run began, by one monotonic clock.
    pub time: u64,
    /// What it is.
    pub kind: Kind,
    /// Whose.
    pub process: Process,
    /// The operation: `read`, `write`, `txn` ...
    pub f: String,
    /// Its argument or result.
    pub value: Value,
    /// Why it failed, or why nobody knows.
    pub error: Option<String>,
}

/// Events in the order in which they happened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Their `index` is their place.
    pub events: Vec<Event>,
}

/// An operation: its invocation and what came of it.
#[derive(Debug, Clone, Copy)]
pub struct Operation<'h> {
    /// How it began.
    pub invoke: &'h Event,
    /// How it ended; `None` when the history ends first, which is as good as [`Kind::Info`].
    pub completion: Option<&'h Event>,
}

impl<'h> Operation<'h> {
    /// What came of it.
    pub fn outcome(&self) -> Kind {
        self.completion.map_or(Kind::Info, |event| event.kind)
    }

    /// The value it ended with, or began with when nothing is known of its end.
    pub fn value(&self) -> &'h Value {
        match self.completion {
            Some(event) if event.kind == Kind::Ok => &event.value,
            _ => &self.invoke.value,
        }
    }
}

impl History {
    /// Adds an event behind all others.
    pub fn push(&mut self, mut event: Event) {
        event.index = self.events.len() as u64;
        self.events.push(event);
    }

    /// All operations, by their invocations.
    pub fn operations(&self) -> Vec<Operation<'_>> {
        let mut open = std::collections::HashMap::new();
        let mut operations: Vec<Operation<'_>> = Vec::new();
        for event in &self.events {
            if event.kind == Kind::Invoke {
                open.insert(event.process, operations.len());
                operations.push(Operation {
                    invoke: event,
                    completion: None,
                });
            } else if let Some(at) = open.remove(&event.process) {
                operations[at].completion = Some(event);
            }
        }
        operations
    }
}
