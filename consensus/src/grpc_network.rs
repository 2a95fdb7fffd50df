//! The gRPC transport's sending half: one connection and one long-lived stream per peer and lane.
//!
//! A request is put on the stream at once and its answer awaited by id, so thousands of requests of
//! all groups share a connection without a task each. When a connection breaks, everything that
//! waits on it fails at once, and requests fail fast until the next attempt is due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::peer_network::{Lane, Parties, PeerError, PeerNetwork, PeerRequest, PeerResponse};
use crate::pending_answers::{PendingAnswer, PendingAnswers};
use crate::types::NodeId;
use crate::wire::proto::peer_client::PeerClient;
use crate::wire::{PROTOCOL, RequestBody, ResponseBody, proto};

/// Largest message between peers: an append carries at most its entries' limit plus one command of
/// the largest size; the same bound guards the receiver's memory.
pub(crate) const MESSAGE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// HTTP/2 windows, large enough that a lane never stalls on flow control over a fast network.
pub(crate) const WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// How often an idle connection is probed, and how long the probe may take: a peer that vanished
/// without closing is noticed within both together.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait for a TCP (and TLS) connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Pause after a failed connection: doubling between these. Short at first, since a restarted
/// process is back within a second.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Requests queued for one lane. Openraft and the snapshot sender bound theirs far below.
const LANE_QUEUE_REQUESTS: usize = 1024;

/// Makes the endpoint of a peer, so that the node decides on TLS. Limits, keepalive and time-outs
/// are set by the transport on what this returns.
pub type EndpointFactory = Arc<dyn Fn(NodeId, &str) -> Result<Endpoint, String> + Send + Sync>;

/// Endpoints without TLS, for tests and single machines.
pub fn plain_endpoints() -> EndpointFactory {
    Arc::new(|_, address| {
        Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())
    })
}

/// [`PeerNetwork`] over gRPC.
pub struct GrpcNetwork {
    endpoints: EndpointFactory,
    /// Where connections live; normally the host's own runtime.
    runtime: Mutex<Option<Handle>>,
    lanes: Mutex<HashMap<(NodeId, Lane), Arc<LaneLink>>>,
}

impl GrpcNetwork {
    /// A network without connections; they are made when needed.
    pub fn new(endpoints: EndpointFactory) -> Self {
        Self {
            endpoints,
            runtime: Mutex::new(None),
            lanes: Mutex::default(),
        }
    }

    fn lane(&self, to: NodeId, address: &str, lane: Lane) -> Arc<LaneLink> {
        let mut lanes = self.lanes.lock();
        let link = lanes
            .entry((to, lane))
            .or_insert_with(|| LaneLink::new(address));
        if link.address != address {
            *link = LaneLink::new(address);
        }
        link.clone()
    }
}

impl PeerNetwork for GrpcNetwork {
    fn call(
        &self,
        parties: Parties,
        address: &str,
        lane: Lane,
        request: PeerRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<PeerResponse, PeerError>> {
        let link = self.lane(parties.to, address, lane);
        let answer = match link.send(
            parties,
            &self.endpoints,
            self.runtime.lock().as_ref(),
            request.0,
        ) {
            Ok(answer) => answer,
            Err(error) => return futures::future::ready(Err(error)).boxed(),
        };
        async move {
            match tokio::time::timeout(timeout, answer).await {
                Ok(result) => result,
                Err(_) => Err(PeerError::Timeout {
                    to: parties.to,
                    after: timeout,
                }),
            }
        }
        .boxed()
    }

    fn peer_alive(&self, peer: NodeId) {
        let lanes = self.lanes.lock();
        for lane in [Lane::Control, Lane::Log, Lane::Snapshot] {
            if let Some(link) = lanes.get(&(peer, lane)) {
                link.retry_now();
            }
        }
    }

    fn run_on(&self, runtime: Handle) {
        *self.runtime.lock() = Some(runtime);
    }
}

/// The requests of one stream that wait for an answer.
type Waiting = PendingAnswers<PeerResponse, PeerError>;

/// One peer's lane: connected, or waiting until the next attempt is due.
struct LaneLink {
    address: String,
    state: Mutex<LinkState>,
}

enum LinkState {
    /// No connection. Requests fail until `retry_at`; `pause` is what the next failure adds.
    Down {
        retry_at: Instant,
        pause: Duration,
        detail: String,
    },
    /// A stream that is up or coming up.
    Up {
        outgoing: mpsc::Sender<proto::Request>,
        waiting: Waiting,
    },
}

impl LaneLink {
    fn new(address: &str) -> Arc<Self> {
        Arc::new(Self {
            address: address.to_owned(),
            state: Mutex::new(LinkState::Down {
                retry_at: Instant::now(),
                pause: RETRY_MIN,
                detail: String::new(),
            }),
        })
    }

    fn retry_now(&self) {
        if let LinkState::Down {
            retry_at, pause, ..
        } = &mut *self.state.lock()
        {
            *retry_at = Instant::now();
            *pause = RETRY_MIN;
        }
    }

    /// Puts the request on the stream, connecting first when that is due.
    fn send(
        self: &Arc<Self>,
        parties: Parties,
        endpoints: &EndpointFactory,
        runtime: Option<&Handle>,
        mut request: proto::Request,
    ) -> Result<PendingAnswer<PeerResponse, PeerError>, PeerError> {
        let to = parties.to;
        let mut state = self.state.lock();
        if let LinkState::Down {
            retry_at,
            pause,
            detail,
        } = &*state
        {
            if Instant::now() < *retry_at {
                return Err(PeerError::Unreachable {
                    to,
                    detail: format!("waiting to reconnect after: {detail}"),
                });
            }
            let endpoint = endpoints(to, &self.address)
                .map_err(|detail| PeerError::Unreachable { to, detail })?;
            let (outgoing, queue) = mpsc::channel(LANE_QUEUE_REQUESTS);
            let waiting = Waiting::default();
            let link = Link {
                lane: self.clone(),
                parties,
                waiting: waiting.clone(),
                pause: *pause,
            };
            let run = link.run(endpoint, outgoing.clone(), queue);
            match runtime {
                Some(runtime) => runtime.spawn(run),
                None => tokio::spawn(run),
            };
            *state = LinkState::Up { outgoing, waiting };
        }
        let LinkState::Up { outgoing, waiting } = &*state else {
            return Err(PeerError::Unreachable {
                to,
                detail: "not connected".to_owned(),
            });
        };
        let answer = waiting.wait()?;
        request.id = answer.id();
        // Kept under the lock of the state, so that ids go out in order and none slips in after a break.
        outgoing.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => PeerError::Full { to },
            mpsc::error::TrySendError::Closed(_) => PeerError::Unreachable {
                to,
                detail: "the connection just broke".to_owned(),
            },
        })?;
        Ok(answer)
    }
}

/// The task behind one stream, from connecting to its end.
struct Link {
    lane: Arc<LaneLink>,
    parties: Parties,
    waiting: Waiting,
    pause: Duration,
}

impl Link {
    async fn run(
        self,
        endpoint: Endpoint,
        outgoing: mpsc::Sender<proto::Request>,
        queue: mpsc::Receiver<proto::Request>,
    ) {
        let mut welcomed = false;
        let error = self.exchange(endpoint, queue, &mut welcomed).await;
        // Close first: what is sent from now on must not wait for an answer that cannot come.
        drop(outgoing);
        let pause = if welcomed { RETRY_MIN } else { self.pause };
        {
            let mut state = self.lane.state.lock();
            *state = LinkState::Down {
                retry_at: Instant::now() + pause,
                pause: (pause * 2).min(RETRY_MAX),
                detail: error.to_string(),
            };
        }
        tracing::debug!(peer = self.parties.to, address = self.lane.address, %error, "peer connection ended");
        self.waiting.end(error);
    }

    /// Opens the stream and delivers answers until it ends; returns why it ended.
    async fn exchange(
        &self,
        endpoint: Endpoint,
        queue: mpsc::Receiver<proto::Request>,
        welcomed: &mut bool,
    ) -> PeerError {
        let to = self.parties.to;
        let unreachable = |detail: String| PeerError::Unreachable { to, detail };
        let endpoint = endpoint
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        let channel = match endpoint.connect().await {
            Ok(channel) => channel,
            Err(error) => return unreachable(with_causes(&error)),
        };
        let mut client = PeerClient::new(channel)
            .max_decoding_message_size(MESSAGE_MAX_BYTES)
            .max_encoding_message_size(MESSAGE_MAX_BYTES);
        let hello = proto::Request {
            id: 0,
            group: 0,
            body: Some(RequestBody::Hello(proto::Hello {
                protocol: PROTOCOL,
                cluster_id: self.parties.cluster.0.to_vec().into(),
                from: self.parties.from,
                to,
            })),
        };
        let requests = futures::stream::once(async move { hello });
        let requests = futures::StreamExt::chain(requests, ReceiverStream::new(queue));
        let mut answers = match client.exchange(requests).await {
            Ok(response) => response.into_inner(),
            Err(status) => return unreachable(status.to_string()),
        };
        loop {
            match answers.message().await {
                Ok(Some(response)) => match response.body {
                    Some(ResponseBody::Welcome(_)) => *welcomed = true,
                    Some(ResponseBody::Refused(refused)) if response.id == 0 => {
                        tracing::warn!(
                            peer = to,
                            detail = refused.detail,
                            "peer refused the conversation"
                        );
                        return PeerError::Refused {
                            to,
                            detail: refused.detail,
                        };
                    }
                    _ => self.waiting.answer(response.id, Ok(PeerResponse(response))),
                },
                Ok(None) => return unreachable("the peer closed the connection".to_owned()),
                Err(status) => return unreachable(status.message().to_owned()),
            }
        }
    }
}

/// The transport's own message says only "transport error"; the cause is further down.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
