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

    /// It carries so much content: it waits for its turn, and has time.
    pub(super) fn carrying(self, content_bytes: usize) -> Self {
        Self {
            content_bytes,
            deadline: self.deadline.max(FILE_TRANSFER_DEADLINE_MIN),
            ..self
        }
    }
}

/// What is known about a request between its attempts.
#[derive(Default)]
struct Progress {
    /// An attempt is under way whose answer has not come.
    sent: bool,
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
            let unknown = call.class == Class::Once && progress.sent;
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
            progress.sent = true;
            let answer = send(connection(endpoints.get(endpoint).files()), request).await;
            progress.sent = false;
            let status = match answer {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            match decide(call.class, &status) {
                Next::Fail(error) => return Err(error),
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
        Some(last) if !progress.sent => {
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
