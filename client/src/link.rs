//! One live connection to one endpoint: a single `Call` stream that many callers share.
//!
//! A link lives until its stream ends, for whatever reason; then every caller that still waits on it is
//! told so at once, and the link is never used again. It knows nothing of retries.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::auth::{self, Credentials};
use crate::frames::Frames;
use crate::limits::{MESSAGE_BYTES_MAX, QUEUE_REQUESTS_MAX};
use crate::proto::data_client::DataClient;
use crate::proto::{Request, Response, ResponseFrame};

/// Why a link could not be opened or has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkError {
    /// The endpoint refuses the credentials.
    Unauthenticated(String),
    /// Anything else: another endpoint may do better.
    Broken(String),
}

impl From<Status> for LinkError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => {
                Self::Unauthenticated(status.message().to_owned())
            }
            code => Self::Broken(format!("{code}: {}", status.message())),
        }
    }
}

type Waiter = oneshot::Sender<Result<Response, LinkError>>;

/// Callers that wait for an answer, by request id.
#[derive(Default)]
struct Pending {
    waiters: HashMap<u64, Waiter>,
    ended: Option<LinkError>,
}

#[derive(Default)]
struct Shared {
    pending: Mutex<Pending>,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        // No code that holds the lock can leave the map half changed.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, frame: ResponseFrame) {
        let mut pending = self.pending();
        for response in frame.responses {
            // A caller that has stopped waiting, or an id that was never given out, is nobody's answer.
            if let Some(waiter) = pending.waiters.remove(&response.id) {
                let _ = waiter.send(Ok(response));
            }
        }
    }

    fn end(&self, reason: &LinkError) {
        let waiters = {
            let mut pending = self.pending();
            pending.ended.get_or_insert_with(|| reason.clone());
            std::mem::take(&mut pending.waiters)
        };
        for waiter in waiters.into_values() {
            let _ = waiter.send(Err(reason.clone()));
        }
    }
}

/// See the module.
pub(crate) struct Link {
    queue: mpsc::Sender<Request>,
    shared: Arc<Shared>,
    next_id: AtomicU64,
}

/// Forgets the caller when it stops waiting.
struct Waiting<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.pending().waiters.remove(&self.id);
    }
}

impl Link {
    /// Opens the stream over `channel`.
    pub(crate) async fn open(
        channel: Channel,
        credentials: Option<&Credentials>,
    ) -> Result<Self, LinkError> {
        let (queue, receiver) = mpsc::channel(QUEUE_REQUESTS_MAX);
        let mut request = tonic::Request::new(Frames::new(receiver));
        if let Some(credentials) = credentials {
            let now_s = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs());
            let value = credentials.authorization(auth::CALL_METHOD, now_s, &auth::nonce());
            let value = value.parse().map_err(|_| {
                LinkError::Unauthenticated(
                    "the credentials contain characters that a header cannot carry".to_owned(),
                )
            })?;
            request.metadata_mut().insert("authorization", value);
        }
        let mut client = DataClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let answers = client.call(request).await?.into_inner();
        let shared = Arc::new(Shared::default());
        tokio::spawn(read(answers, shared.clone()));
        Ok(Self {
            queue,
            shared,
            next_id: AtomicU64::new(1),
        })
    }

    /// Whether requests may still be sent.
    pub(crate) fn is_live(&self) -> bool {
        self.shared.pending().ended.is_none()
    }

    /// Sends `request` and waits for its answer. Whatever error this returns, the request may have arrived.
    pub(crate) async fn call(&self, mut request: Request) -> Result<Response, LinkError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        request.id = id;
        let (waiter, answer) = oneshot::channel();
        {
            let mut pending = self.shared.pending();
            if let Some(reason) = &pending.ended {
                return Err(reason.clone());
            }
            pending.waiters.insert(id, waiter);
        }
        let waiting = Waiting {
            shared: &self.shared,
            id,
        };
        // When the queue is closed the reader is about to end the link and tells every waiter why.
        let _ = self.queue.send(request).await;
        let answer = answer.await;
        // Whoever answered has removed the waiter: no need to look for it again.
        std::mem::forget(waiting);
        answer.unwrap_or_else(|_| Err(LinkError::Broken("the connection was closed".to_owned())))
    }
}

async fn read(mut answers: Streaming<ResponseFrame>, shared: Arc<Shared>) {
    let reason = loop {
        match answers.message().await {
            Ok(Some(frame)) => shared.answer(frame),
            Ok(None) => break LinkError::Broken("the endpoint ended the stream".to_owned()),
            Err(status) => break LinkError::from(status),
        }
    };
    tracing::debug!(?reason, "a connection ended");
    shared.end(&reason);
}
