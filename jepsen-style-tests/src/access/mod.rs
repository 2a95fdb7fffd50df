//! How workloads reach the database: through the Rust SDK, and over HTTP as the official packages do.
//!
//! Both are what apps ship with. A client of the tests' own would hide what a package makes of a lost answer.

mod http;

use std::time::Duration;

use yunbase_client::{Client, Options};

use crate::history::Value;

pub use http::{Failed, Http, Transaction, number};

/// How long a client waits for an answer, all attempts of the SDK together.
pub const ANSWER_MAX: Duration = Duration::from_secs(6);

/// A cluster as clients see it.
#[derive(Debug, Clone)]
pub struct Access {
    /// URLs of the nodes.
    pub urls: Vec<String>,
    /// The environment.
    pub env: String,
    /// Public half of its key.
    pub secret_id: String,
    /// Secret half of its key.
    pub secret_key: String,
}

/// What one process speaks through.
#[derive(Clone)]
pub struct Session {
    /// The SDK, which knows all nodes and began with this session's own.
    pub client: Client,
    /// HTTP to this session's node, or to the next when it does not answer.
    pub http: Http,
}

impl Access {
    /// A new session that begins with the node of index `first`.
    pub fn session(&self, first: usize) -> yunbase_client::Result<Session> {
        let options = Options {
            deadline: ANSWER_MAX,
            ..Options::default()
        };
        let client = Client::builder()
            .endpoints(self.urls.clone())
            .first_endpoint(first % self.urls.len().max(1))
            .credentials(&self.secret_id, &self.secret_key)
            .env(&self.env)
            .options(options)
            .connect_lazily()?;
        Ok(Session {
            client,
            http: Http::new(self, first),
        })
    }

    /// A session that speaks to the node of index `only` alone: what that replica says.
    pub fn session_of(&self, only: usize) -> yunbase_client::Result<Session> {
        let alone = Self {
            urls: vec![self.urls[only % self.urls.len()].clone()],
            ..self.clone()
        };
        alone.session(0)
    }
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect; with its result.
    Ok(Value),
    /// It took none.
    Fail(String),
    /// Nobody knows.
    Info(String),
}

impl Outcome {
    /// What an error of the SDK means.
    pub fn of_error(error: &yunbase_client::Error) -> Self {
        match error.is_unknown() {
            true => Self::Info(error.to_string()),
            false => Self::Fail(error.to_string()),
        }
    }

    /// What the outcome of a transaction means: `Err` of anything but its commit is certain.
    pub fn of_failed(failed: Failed) -> Self {
        match failed {
            Failed::Refused(code) => Self::Fail(code),
            Failed::Unknown(reason) => Self::Info(reason),
        }
    }
}
