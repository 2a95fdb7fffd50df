//! One request about files: as many attempts as it needs, over the preferred endpoint, then over others, until an
//! answer, a refusal or the deadline.

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::Storage;
use super::decision::{Class, Next, decide};
use crate::auth;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{FILE_TRANSFER_DEADLINE_MIN, MESSAGE_BYTES_MAX};
use crate::proto::storage_client::StorageClient;
use crate::retry;

/// The calling side of the service over one connection.
pub(super) type Connection = StorageClient<Channel>;

/// How a request is to be treated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    method: &'static str,
    class: Class,
    deadline: Duration,
    content_bytes: usize,
}

impl Call {
    /// One that may be sent twice.
    pub(super) fn repeatable(method: &'static str, deadline: Duration) -> Self {
        Self {
            method,
            class: Class::Repeatable,
            deadline,
            content_bytes: 0,
        }
    }

    /// One that is not sent again once it may have arrived.
    pub(super) fn once(method: &'static str, deadline: Duration) -> Self {
        Self {
            class: Class::Once,
            ..Self::repeatable(method, deadline)
        }
    }

    /// The longest that one attempt waits: a node that keeps silent must not cost what others would have answered in time.
    /// What carries content may be on a slow line, and what happens once is not sent again anyway.
    fn attempt_max(&self) -> Duration {
        match self.class {
            Class::Repeatable if self.content_bytes == 0 => self.deadline / 2,
            _ => self.deadline,
        }
    }

    /// It carries so much content, and waits for its turn.
    pub(super) fn carrying(self, content_bytes: usize) -> Self {
        Self {
            content_bytes,
            ..self
        }
    }

    /// It may take long, however short the client's deadline is.
    pub(super) fn with_patience(self) -> Self {
        Self {
            deadline: self.deadline.max(FILE_TRANSFER_DEADLINE_MIN),
            ..self
        }
    }
}

/// What is known about a request between its attempts.
#[derive(Default)]
struct Progress {
    /// The endpoint of an attempt whose answer has not come.
    sent_to: Option<usize>,
    /// Why the last attempt failed.
    last: Option<Error>,
}

impl Storage {
    /// Has `send` send `message` until it is settled.
    pub(super) async fn call<Q, A, F>(
        &self,
        call: Call,
        message: Q,
        send: impl Fn(Connection, Request<Q>) -> F,
    ) -> Result<A>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let _admitted = self.client.core().admit_content(call.content_bytes).await;
        let mut progress = Progress::default();
        let attempts = self.attempts(call, message, send, &mut progress);
        let tried = tokio::time::timeout(call.deadline, attempts).await;
        tried.unwrap_or_else(|_| {
            if let Some(silent) = progress.sent_to {
                self.client.core().endpoints.leave(silent);
            }
            let unknown = call.class == Class::Once && progress.sent_to.is_some();
            Err(too_late(call.deadline, &progress).with_unknown(unknown))
        })
    }

    async fn attempts<Q, A, F>(
        &self,
        call: Call,
        message: Q,
        send: impl Fn(Connection, Request<Q>) -> F,
        progress: &mut Progress,
    ) -> Result<A>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let endpoints = &self.client.core().endpoints;
        for attempt in 0_u32.. {
            let pause = retry::pause(attempt, endpoints.len(), &mut rand::rng());
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let endpoint = endpoints.pick();
            let request = self.signed(call.method, message.clone())?;
            progress.sent_to = Some(endpoint);
            let sending = send(connection(endpoints.get(endpoint).files()), request);
            let answer = tokio::time::timeout(call.attempt_max(), sending).await;
            progress.sent_to = None;
            let next = match answer {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => decide(call.class, &status),
                Err(_) => {
                    let uri = &endpoints.get(endpoint).uri;
                    let silent = Error::unavailable(format!("{uri} does not answer"));
                    match call.class {
                        Class::Repeatable => Next::Again(silent),
                        Class::Once => Next::Fail(silent.with_unknown(true)),
                    }
                }
            };
            match next {
                Next::Fail(error) => {
                    if error.kind() == ErrorKind::Unavailable {
                        endpoints.leave(endpoint);
                    }
                    return Err(error);
                }
                Next::Again(because) => {
                    tracing::debug!(%because, attempt, call.method, "sending a request again");
                    endpoints.leave(endpoint);
                    progress.last = Some(because);
                }
            }
        }
        Err(Error::unavailable(
            "gave up after as many attempts as can be counted",
        ))
    }

    fn signed<Q>(&self, method: &str, message: Q) -> Result<Request<Q>> {
        let mut request = Request::new(message);
        if let Some(credentials) = &self.client.core().credentials {
            let now_s = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs());
            let method = format!("/yunbase.v1.Storage/{method}");
            let value = credentials.authorization(&method, now_s, &auth::nonce());
            let value = value.parse().map_err(|_| {
                Error::invalid("the credentials contain characters that a header cannot carry")
            })?;
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

fn connection(channel: Channel) -> Connection {
    StorageClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn too_late(deadline: Duration, progress: &Progress) -> Error {
    match &progress.last {
        // With no answer under way, the reason is the last failure and the deadline only ended the attempts.
        Some(last) if progress.sent_to.is_none() => {
            let message = format!("{} (tried for {deadline:?})", last.message());
            Error::new(ErrorKind::Unavailable, last.code().to_owned(), message)
        }
        last => {
            let before = last.as_ref().map_or_else(String::new, |error| {
                format!("; before that: {}", error.message())
            });
            let message = format!("no answer within {deadline:?}{before}");
            Error::new(ErrorKind::DeadlineExceeded, "DEADLINE_EXCEEDED", message)
        }
    }
}
