//! The gRPC transport's receiving half: reads a stream of requests and writes their answers.
//!
//! Requests are handed over in the order of arrival and answered in the order of completion. How
//! many may be under way on one stream is bounded; beyond that the stream is simply not read, and
//! HTTP/2 holds the sender back.

use std::pin::Pin;
use std::sync::Arc;

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::grpc_network::MESSAGE_MAX_BYTES;
use crate::peer_network::{ClusterId, Parties, PeerHandler, PeerRequest};
use crate::wire::proto::peer_server::{Peer, PeerServer};
use crate::wire::{PROTOCOL, Reason, RequestBody, ResponseBody, proto, refused};

/// Requests under way on one stream.
const STREAM_MAX_REQUESTS: usize = 256;

/// Answers that wait to be written to one stream.
const ANSWER_QUEUE: usize = 256;

/// The tonic service that a node mounts on its peer port.
pub type PeerService = PeerServer<PeerEndpoint>;

/// Serves a host's groups to its peers.
pub struct PeerEndpoint {
    handler: Arc<dyn PeerHandler>,
    /// Streams are served here, apart from whatever runtime the node's server runs on.
    runtime: Handle,
}

pub(crate) fn peer_service(handler: Arc<dyn PeerHandler>, runtime: Handle) -> PeerService {
    PeerServer::new(PeerEndpoint { handler, runtime })
        .max_decoding_message_size(MESSAGE_MAX_BYTES)
        .max_encoding_message_size(MESSAGE_MAX_BYTES)
}

type Answers = Pin<Box<dyn Stream<Item = Result<proto::Response, Status>> + Send>>;

#[tonic::async_trait]
impl Peer for PeerEndpoint {
    type ExchangeStream = Answers;

    async fn exchange(
        &self,
        request: tonic::Request<Streaming<proto::Request>>,
    ) -> Result<tonic::Response<Answers>, Status> {
        let (sender, receiver) = mpsc::channel(ANSWER_QUEUE);
        self.runtime.spawn(serve_stream(
            self.handler.clone(),
            request.into_inner(),
            sender,
        ));
        Ok(tonic::Response::new(Box::pin(ReceiverStream::new(
            receiver,
        ))))
    }
}

async fn serve_stream(
    handler: Arc<dyn PeerHandler>,
    mut requests: Streaming<proto::Request>,
    answers: mpsc::Sender<Result<proto::Response, Status>>,
) {
    let admitted = match requests.message().await {
        Ok(Some(first)) => admit(handler.as_ref(), first),
        Ok(None) | Err(_) => return,
    };
    let (from, welcome) = match admitted {
        Ok(from) => (Some(from), ResponseBody::Welcome(proto::Welcome {})),
        Err(refusal) => (None, refusal),
    };
    let welcome = proto::Response {
        id: 0,
        body: Some(welcome),
    };
    if answers.send(Ok(welcome)).await.is_err() {
        return;
    }
    let Some(from) = from else { return };

    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            // Answers first: they free memory, and `under_way` polls its newest member here, which
            // is what keeps requests in order.
            biased;
            Some(response) = under_way.next() => {
                if answers.send(Ok(response)).await.is_err() {
                    return;
                }
            }
            request = requests.message(), if under_way.len() < STREAM_MAX_REQUESTS => match request {
                Ok(Some(request)) => {
                    let id = request.id;
                    let handled = handler.handle(from, PeerRequest(request));
                    under_way.push(async move {
                        let mut response = handled.await.0;
                        response.id = id;
                        response
                    });
                }
                Ok(None) | Err(_) => return,
            },
        }
    }
}

/// Checks the first message; returns who speaks.
fn admit(handler: &dyn PeerHandler, first: proto::Request) -> Result<u64, ResponseBody> {
    let Some(RequestBody::Hello(hello)) = first.body else {
        return Err(refused(Reason::Invalid, "a conversation starts with hello"));
    };
    if hello.protocol != PROTOCOL {
        let detail = format!(
            "this node speaks peer protocol {PROTOCOL}, not {}",
            hello.protocol
        );
        return Err(refused(Reason::WrongProtocol, detail));
    }
    let Ok(cluster) = <[u8; 16]>::try_from(hello.cluster_id.as_ref()) else {
        return Err(refused(
            Reason::WrongCluster,
            "the cluster id must have 16 bytes",
        ));
    };
    let parties = Parties {
        cluster: ClusterId(cluster),
        from: hello.from,
        to: hello.to,
    };
    handler
        .admit(parties)
        .map_err(|detail| refused(Reason::WrongCluster, detail))?;
    handler.connected(parties.from);
    Ok(hello.from)
}

#[cfg(test)]
#[path = "peer_service_test.rs"]
mod tests;
