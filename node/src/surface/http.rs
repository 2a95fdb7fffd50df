//! The HTTP port: CloudBase protocol, public gRPC and health on one listener, HTTP/1.1 and HTTP/2.
//!
//! Everything a stranger can make grow has a bound here: connections, header bytes, the time that headers
//! may take, streams of one connection. Bodies and requests in progress are bounded where they are read.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::client_address::TrustedProxies;

/// Bounds of the HTTP port.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// Most open connections; more wait in the kernel's queue.
    pub connections_max: usize,
    /// Longest that the head of a request may take: a slow client must not hold a connection for nothing.
    pub header_timeout: Duration,
    /// Most bytes of headers, several times what any official client sends.
    pub header_bytes_max: usize,
    /// Most concurrent streams of one HTTP/2 connection.
    pub streams_max: u32,
    /// Longest that connections may finish their requests at a stop.
    pub drain_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: 8192,
            header_timeout: Duration::from_secs(10),
            header_bytes_max: 64 << 10,
            streams_max: 1024,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// HTTP/2 windows: a full frame of answers must not wait for the client's acknowledgement.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// A peer that vanished without a word is noticed after the sum of these.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept (out of file descriptors): trying at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `stop` says so, then lets requests in progress finish.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: HttpLimits,
    proxies: TrustedProxies,
    mut stop: watch::Receiver<bool>,
) {
    let connections = Arc::new(Semaphore::new(limits.connections_max));
    // They end with this future, whichever way it ends: what they hold must be free before the process ends.
    let mut serving = JoinSet::new();
    let graceful = GracefulShutdown::new();
    let builder = builder(limits);
    loop {
        let permit = tokio::select! {
            permit = connections.clone().acquire_owned() => permit,
            Some(_) = serving.join_next() => continue,
            () = stopped(&mut stop) => break,
        };
        let Ok(permit) = permit else { break };
        let (stream, peer) = tokio::select! {
            Some(_) = serving.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept a client connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = stopped(&mut stop) => break,
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "set TCP_NODELAY");
        }
        let proxies = proxies.clone();
        let service = router
            .clone()
            .map_request(move |mut request: http::Request<Incoming>| {
                let client = proxies.client_of(peer.ip(), request.headers());
                request.extensions_mut().insert(client);
                request
            });
        let service = TowerToHyperService::new(service);
        let connection = builder
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .into_owned();
        let watched = graceful.watch(connection);
        serving.spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "client connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_timeout, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::info!("some clients kept their connections open past the drain time");
    }
}

/// Returns once the node is stopping.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the node has gone, which comes to the same.
    let _ = stop.wait_for(|stopping| *stopping).await;
}

fn builder(limits: HttpLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.streams_max)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}
