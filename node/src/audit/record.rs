//! One entry of the audit log: who did what, when, from where, and what came of it.
//!
//! Entries hold names, never contents, passwords, keys or tokens; every text has a bound.

use serde::{Deserialize, Serialize};
use yunbase_docdb::op::{IndexField, IndexSpec};

use crate::cluster::records::CLUSTER_ENV;

/// The log of the cluster, in its own environment.
pub const CLUSTER_AUDIT: &str = "audit";
/// The log of an environment, in it.
pub const ENV_AUDIT: &str = "_sys.audit";

/// The collection that holds the log of `env`.
pub fn collection_of(env: &str) -> &'static str {
    if env == CLUSTER_ENV {
        CLUSTER_AUDIT
    } else {
        ENV_AUDIT
    }
}

/// The index that a log is read and shortened by.
pub fn index_by_time() -> IndexSpec {
    IndexSpec {
        name: "at_ms_1".to_owned(),
        fields: vec![IndexField {
            path: "at_ms".to_owned(),
            descending: false,
        }],
        unique: false,
    }
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Its id; begins with the time.
    #[serde(rename = "_id")]
    pub id: String,
    /// Milliseconds since 1970, by the clock of the node that wrote it.
    pub at_ms: i64,
    /// `operator:<name>`, `key:<public half>`, or `unknown` for a sign-in as nobody.
    pub by: String,
    /// The address that the request came from; empty when it came from no outside.
    pub from: String,
    /// What was done, such as `key.create`.
    pub action: String,
    /// What it was done to.
    pub target: String,
    /// `ok`, or the code of the refusal.
    pub outcome: String,
    /// The request's id, as in logs and answers.
    pub request_id: String,
    /// What else there is to know, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Who asks, from where, and under which request id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// As in [`AuditRecord::by`].
    pub by: String,
    /// As in [`AuditRecord::from`].
    pub from: String,
    /// As in [`AuditRecord::request_id`].
    pub request_id: String,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Act {
    /// As in [`AuditRecord::action`].
    pub action: &'static str,
    /// As in [`AuditRecord::target`].
    pub target: String,
    /// As in [`AuditRecord::detail`].
    pub detail: String,
}

impl Act {
    /// `action` on `target`.
    pub fn new(action: &'static str, target: impl Into<String>) -> Self {
        Self {
            action,
            target: target.into(),
            detail: String::new(),
        }
    }

    /// The same with more to know.
    #[must_use]
    pub fn with(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}

/// Cuts a text that came from outside: plain characters, at most `bytes_max` bytes of them.
pub fn bounded(text: &str, bytes_max: usize) -> String {
    let mut short = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if short.len() + c.len_utf8() > bytes_max {
            break;
        }
        short.push(c);
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_characters_and_made_plain() {
        assert_eq!(bounded("a\nb\u{0}c", 10), "a b c");
        assert_eq!(bounded("äöü", 4), "äö");
        assert_eq!(bounded("äöü", 3), "ä");
        assert_eq!(bounded("", 3), "");
    }
}
