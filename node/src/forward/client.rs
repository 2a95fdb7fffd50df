//! The calling side of forwarding: one stream to each peer, opened when first needed, shared by all calls.
//!
//! A broken stream fails the calls that wait on it as *unknown*: they may have happened. Their callers
//! retry under the same session and sequence, so the doubt costs nothing but time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tonic::transport::Endpoint;
use yunbase_consensus::PendingAnswers;

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
        let Ok(answer) = stream.waiting.wait() else {
            self.forget(to, &stream);
            return Err(ForwardError::NotSent(
                to,
                "the stream has just closed".to_owned(),
            ));
        };
        let item = ForwardItem {
            id: answer.id(),
            body: body.into(),
        };
        let late = tokio::time::Instant::from_std(deadline);
        match tokio::time::timeout_at(late, stream.outbound.send(item)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => {
                self.forget(to, &stream);
                return Err(ForwardError::NotSent(
                    to,
                    "the stream is closed or full".to_owned(),
                ));
            }
        }
        tokio::time::timeout_at(late, answer)
            .await
            .unwrap_or(Err(ForwardError::Unknown(to)))
    }

    fn stream(&self, to: u64) -> Result<Arc<PeerStream>, ForwardError> {
        let mut streams = self.streams.lock();
        if let Some(stream) = streams
            .get(&to)
            .filter(|stream| !stream.waiting.has_ended())
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

/// Calls of one stream that wait for an answer.
type Waiting = PendingAnswers<ForwardResponse, ForwardError>;

struct PeerStream {
    outbound: mpsc::Sender<ForwardItem>,
    waiting: Waiting,
}

impl PeerStream {
    fn open(to: u64, endpoint: Endpoint, limits: StreamLimits) -> Arc<Self> {
        let (outbound, queued) = mpsc::channel(limits.in_flight_max);
        let stream = Arc::new(Self {
            outbound,
            waiting: Waiting::default(),
        });
        let waiting = stream.waiting.clone();
        tokio::spawn(async move {
            let failure = run(to, endpoint, limits, queued, &waiting).await;
            tracing::debug!(peer = to, reason = %failure, "forward stream closed");
            waiting.end(failure);
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
            // An answer that cannot be read says nothing about what happened.
            let outcome = decode(&item.body).map_err(|_| ForwardError::Unknown(to));
            waiting.answer(item.id, outcome);
        }
    }
    ForwardError::Unknown(to)
}
