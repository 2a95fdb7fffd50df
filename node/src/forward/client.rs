//! The calling side of forwarding: one stream to each peer, opened when first needed, shared by all calls.
//!
//! A broken stream fails the calls that wait on it as *unknown*: they may have happened. Their callers
//! retry under the same session and sequence, so the doubt costs nothing but time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Endpoint;

use super::codec::{ForwardRequest, ForwardResponse, decode, encode};
use crate::multiplex::{StreamLimits, batches};
use crate::peer_proto::forward_client::ForwardClient;
use crate::peer_proto::{ForwardFrame, ForwardItem};

/// Longest a connection attempt may take: a dead host must not hold calls that another leader could serve.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(800);
/// A silent peer is given up after this, so that calls on a vanished host become *unknown* soon.
const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(1000);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_millis(1500);
/// Largest frame: a full document each way.
const FRAME_BYTES_MAX: usize = 48 << 20;

/// Why a forwarded call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// The call never left: it did not happen.
    #[error("node {0} cannot be reached: {1}")]
    NotSent(u64, String),
    /// The stream broke, or time ran out, after the call had left: it may have happened.
    #[error("the connection to node {0} broke before it answered")]
    Unknown(u64),
}

/// Makes the endpoint (address, TLS) of a peer. A seam for tests.
pub type EndpointFactory = Arc<dyn Fn(u64) -> Result<Endpoint, String> + Send + Sync>;

/// Streams to all peers.
pub struct ForwardPool {
    endpoints: EndpointFactory,
    limits: StreamLimits,
    streams: Mutex<HashMap<u64, Arc<PeerStream>>>,
}

impl ForwardPool {
    /// A pool without connections.
    pub fn new(endpoints: EndpointFactory) -> Self {
        Self {
            endpoints,
            limits: StreamLimits::default(),
            streams: Mutex::new(HashMap::new()),
        }
    }

    /// Sends `request` to node `to` and waits for its answer until `deadline`.
    pub async fn call(
        &self,
        to: u64,
        request: &ForwardRequest,
        deadline: Instant,
    ) -> Result<ForwardResponse, ForwardError> {
        let body = encode(request).map_err(|reason| ForwardError::NotSent(to, reason))?;
        let stream = self.stream(to)?;
        let (answer, answered) = oneshot::channel();
        let id = stream.next_id.fetch_add(1, Ordering::Relaxed);
        if !stream.waiting.insert(id, answer) {
            self.forget(to, &stream);
            return Err(ForwardError::NotSent(
                to,
                "the stream has just closed".to_owned(),
            ));
        }
        let item = ForwardItem {
            id,
            body: body.into(),
        };
        let late = tokio::time::Instant::from_std(deadline);
        match tokio::time::timeout_at(late, stream.outbound.send(item)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => {
                stream.waiting.remove(id);
                self.forget(to, &stream);
                return Err(ForwardError::NotSent(
                    to,
                    "the stream is closed or full".to_owned(),
                ));
            }
        }
        match tokio::time::timeout_at(late, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => {
                stream.waiting.remove(id);
                Err(ForwardError::Unknown(to))
            }
        }
    }

    fn stream(&self, to: u64) -> Result<Arc<PeerStream>, ForwardError> {
        let mut streams = self.streams.lock();
        if let Some(stream) = streams
            .get(&to)
            .filter(|stream| !stream.waiting.is_closed())
        {
            return Ok(stream.clone());
        }
        let endpoint = (self.endpoints)(to).map_err(|reason| ForwardError::NotSent(to, reason))?;
        let stream = PeerStream::open(to, endpoint, self.limits);
        streams.insert(to, stream.clone());
        Ok(stream)
    }

    fn forget(&self, to: u64, stream: &Arc<PeerStream>) {
        let mut streams = self.streams.lock();
        if streams
            .get(&to)
            .is_some_and(|present| Arc::ptr_eq(present, stream))
        {
            streams.remove(&to);
        }
    }
}

struct PeerStream {
    next_id: AtomicU64,
    outbound: mpsc::Sender<ForwardItem>,
    waiting: Waiting,
}

impl PeerStream {
    fn open(to: u64, endpoint: Endpoint, limits: StreamLimits) -> Arc<Self> {
        let (outbound, queued) = mpsc::channel(limits.in_flight_max);
        let stream = Arc::new(Self {
            next_id: AtomicU64::new(1),
            outbound,
            waiting: Waiting::default(),
        });
        let waiting = stream.waiting.clone();
        tokio::spawn(async move {
            let failure = run(to, endpoint, limits, queued, &waiting).await;
            tracing::debug!(peer = to, reason = %failure, "forward stream closed");
            waiting.close(&failure);
        });
        stream
    }
}

/// Runs a stream until it breaks; tells how calls that wait must take it.
async fn run(
    to: u64,
    endpoint: Endpoint,
    limits: StreamLimits,
    queued: mpsc::Receiver<ForwardItem>,
    waiting: &Waiting,
) -> ForwardError {
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let channel = match tokio::time::timeout(CONNECT_TIMEOUT * 2, endpoint.connect()).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => return ForwardError::NotSent(to, error.to_string()),
        Err(_) => return ForwardError::NotSent(to, "connecting took too long".to_owned()),
    };
    let mut client = ForwardClient::new(channel)
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    let frames = batches(queued, limits, |item: &ForwardItem| item.body.len())
        .map(|items| ForwardFrame { items });
    let mut inbound = match client.open(frames).await {
        Ok(response) => response.into_inner(),
        Err(_) => return ForwardError::Unknown(to),
    };
    while let Some(Ok(frame)) = inbound.next().await {
        for item in frame.items {
            if let Some(answer) = waiting.remove(item.id) {
                // An answer that cannot be read says nothing about what happened.
                let outcome = decode(&item.body).map_err(|_| ForwardError::Unknown(to));
                let _ = answer.send(outcome);
            }
        }
    }
    ForwardError::Unknown(to)
}

type Answer = oneshot::Sender<Result<ForwardResponse, ForwardError>>;

/// Calls that wait for an answer; `None` once the stream has closed.
#[derive(Clone)]
struct Waiting(Arc<Mutex<Option<HashMap<u64, Answer>>>>);

impl Default for Waiting {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(HashMap::new()))))
    }
}

impl Waiting {
    fn insert(&self, id: u64, answer: Answer) -> bool {
        self.0
            .lock()
            .as_mut()
            .map(|waiting| waiting.insert(id, answer))
            .is_some()
    }

    fn remove(&self, id: u64) -> Option<Answer> {
        self.0
            .lock()
            .as_mut()
            .and_then(|waiting| waiting.remove(&id))
    }

    fn is_closed(&self) -> bool {
        self.0.lock().is_none()
    }

    fn close(&self, failure: &ForwardError) {
        for (_, answer) in self.0.lock().take().into_iter().flatten() {
            let _ = answer.send(Err(failure.clone()));
        }
    }
}
