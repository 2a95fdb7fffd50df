//! Judges of histories. They know operations and models, and nothing of yunbase.
//!
//! | judge | of |
//! |---|---|
//! | [`linearizable`] | registers with `cas`, or any other model, each key alone |
//! | [`append`], [`rw_register`] | transactions over lists and over registers |
//! | [`bank`], [`long_fork`], [`monotonic`] | single anomalies of transactions and reads, cheaper than a graph |
//! | [`set`], [`counter`], [`unique_ids`], [`dedup`] | acknowledged effects: each there, each once |
//! | [`rebuilt`], [`index`], [`ttl`], [`digests`] | what a database derives from its documents |
//! | [`evidence`] | whether there was enough to judge |
//!
//! Each file begins with the operations and values that it understands. "Before" and "behind" mean places in the
//! history, so the recorder must add an invocation before its request leaves, and a completion when its reply is there.

pub mod append;
pub mod bank;
pub mod counter;
pub mod dedup;
pub mod digests;
pub mod evidence;
mod findings;
mod graph;
pub mod index;
pub mod linearizable;
pub mod long_fork;
pub mod monotonic;
pub mod rebuilt;
pub mod rw_register;
pub mod set;
pub mod ttl;
pub mod unique_ids;

#[cfg(test)]
mod testing;

pub use findings::Findings;
pub use graph::Level;

use serde::{Deserialize, Serialize};

use crate::history::History;

/// What a judge says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Validity {
    /// The model explains the history.
    Valid,
    /// It could not be told: out of memory or time, or there was too little to judge.
    Unknown,
    /// The model does not explain it.
    Invalid,
}

/// Something that the model does not allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anomaly {
    /// The literature's name: `G-single`, `lost update`, `nonlinearizable` ...
    pub name: String,
    /// One sentence that a reader of the history can follow.
    pub explanation: String,
    /// The events that show it, by index.
    pub events: Vec<u64>,
    /// A cycle between events: (from, to, why `from` comes before `to`).
    pub edges: Vec<(u64, u64, String)>,
}

/// The judgement of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// In a word.
    pub validity: Validity,
    /// What is wrong, the simplest first; bounded.
    pub anomalies: Vec<Anomaly>,
    /// Why it is unknown, and figures worth a line in the report.
    pub notes: Vec<String>,
}

impl Verdict {
    /// Nothing is wrong.
    pub fn valid() -> Self {
        Self {
            validity: Validity::Valid,
            anomalies: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// It cannot be told, and why.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self {
            validity: Validity::Unknown,
            anomalies: Vec::new(),
            notes: vec![reason.into()],
        }
    }

    /// Invalid when there are anomalies.
    pub fn of(anomalies: Vec<Anomaly>) -> Self {
        Self {
            validity: match anomalies.is_empty() {
                true => Validity::Valid,
                false => Validity::Invalid,
            },
            anomalies,
            notes: Vec::new(),
        }
    }

    /// Both judgements: the worse of the two words, all that either says.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let worse = |validity| match validity {
            Validity::Valid => 0,
            Validity::Unknown => 1,
            Validity::Invalid => 2,
        };
        if worse(other.validity) > worse(self.validity) {
            self.validity = other.validity;
        }
        self.anomalies.extend(other.anomalies);
        self.notes.extend(other.notes);
        self
    }
}

/// Judges a history.
pub trait Checker: Send + Sync {
    /// Its judgement, in bounded memory.
    fn check(&self, history: &History) -> Verdict;
}
