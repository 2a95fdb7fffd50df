//! The addresses a client may use, which of them it uses now, and their connections.
//!
//! Choosing is a pure function of what is known about the endpoints; connecting happens when the first
//! request needs it, by one caller for all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint as TonicEndpoint};

use crate::auth::Credentials;
use crate::error::{Error, Result};
use crate::limits::{
    FILE_CONNECTION_WINDOW_BYTES, FILE_KEEP_ALIVE_INTERVAL, FILE_KEEP_ALIVE_TIMEOUT,
    FILE_STREAM_WINDOW_BYTES, Options, RECONNECT_MAX, RECONNECT_MIN, WINDOW_BYTES,
};
use crate::link::{Link, LinkError};

/// One address.
pub(crate) struct Endpoint {
    /// As the caller gave it, without a slash at the end.
    pub(crate) uri: String,
    transport: TonicEndpoint,
    connect_timeout: Duration,
    state: Mutex<State>,
    /// Held by the one caller that connects.
    connecting: tokio::sync::Mutex<()>,
    /// The connection for files.
    files: OnceLock<Channel>,
}

#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    failures: u32,
    rest_until: Option<Instant>,
}

impl Endpoint {
    pub(crate) fn new(
        uri: &str,
        ca_certificate_pem: Option<&str>,
        options: &Options,
    ) -> Result<Self> {
        let uri = uri.trim_end_matches('/').to_owned();
        let refuse = |error: tonic::transport::Error| {
            Error::invalid(format!(
                "endpoint {uri:?} must be an address like http://host:7600: {error}"
            ))
        };
        if !uri.starts_with("http://") && !uri.starts_with("https://") {
            return Err(Error::invalid(format!(
                "endpoint {uri:?} must begin with http:// or https://"
            )));
        }
        let mut transport = TonicEndpoint::from_shared(uri.clone())
            .map_err(refuse)?
            .connect_timeout(options.connect_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keep_alive_interval(options.keep_alive_interval)
            .keep_alive_timeout(options.keep_alive_timeout)
            .keep_alive_while_idle(true);
        if uri.starts_with("https://") {
            let mut tls = ClientTlsConfig::new();
            if let Some(pem) = ca_certificate_pem {
                tls = tls.ca_certificate(Certificate::from_pem(pem));
            }
            transport = transport.tls_config(tls).map_err(refuse)?;
        }
        Ok(Self {
            uri,
            transport,
            connect_timeout: options.connect_timeout,
            state: Mutex::new(State::default()),
            connecting: tokio::sync::Mutex::new(()),
            files: OnceLock::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each critical section leaves the state whole, also when it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> Option<Arc<Link>> {
        let mut state = self.state();
        if state.link.as_ref().is_some_and(|link| !link.is_live()) {
            state.link = None;
        }
        state.link.clone()
    }

    fn rest_until(&self) -> Option<Instant> {
        self.state().rest_until
    }

    /// The connection for files; it is made, and made again, when something is sent over it. It is another one than that
    /// of documents, which must not wait behind content.
    pub(crate) fn files(&self) -> Channel {
        let connect = || {
            self.transport
                .clone()
                .initial_stream_window_size(FILE_STREAM_WINDOW_BYTES)
                .initial_connection_window_size(FILE_CONNECTION_WINDOW_BYTES)
                .http2_keep_alive_interval(FILE_KEEP_ALIVE_INTERVAL)
                .keep_alive_timeout(FILE_KEEP_ALIVE_TIMEOUT)
                .connect_lazy()
        };
        self.files.get_or_init(connect).clone()
    }

    /// The live connection, made now if there is none.
    pub(crate) async fn link(
        &self,
        credentials: Option<&Credentials>,
    ) -> Result<Arc<Link>, LinkError> {
        if let Some(link) = self.live() {
            return Ok(link);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(link) = self.live() {
            return Ok(link);
        }
        if self
            .rest_until()
            .is_some_and(|until| until > Instant::now())
        {
            return Err(LinkError::Broken(format!(
                "{} could not be reached a moment ago",
                self.uri
            )));
        }
        let opened = tokio::time::timeout(self.connect_timeout, async {
            let channel = self
                .transport
                .connect()
                .await
                .map_err(|error| LinkError::Broken(causes(&error)))?;
            Link::open(channel, credentials).await
        })
        .await
        .unwrap_or_else(|_| Err(LinkError::Broken("connecting took too long".to_owned())));
        let mut state = self.state();
        match opened {
            Ok(link) => {
                let link = Arc::new(link);
                *state = State {
                    link: Some(link.clone()),
                    failures: 0,
                    rest_until: None,
                };
                Ok(link)
            }
            Err(reason) => {
                tracing::debug!(endpoint = %self.uri, ?reason, "cannot connect");
                let pause = RECONNECT_MIN
                    .saturating_mul(1 << state.failures.min(10))
                    .min(RECONNECT_MAX);
                state.failures = state.failures.saturating_add(1);
                state.rest_until = Some(Instant::now() + pause);
                Err(match reason {
                    LinkError::Broken(text) => LinkError::Broken(format!("{}: {text}", self.uri)),
                    LinkError::Unauthenticated(text) => LinkError::Unauthenticated(text),
                })
            }
        }
    }
}

/// tonic's errors say "transport error" and hide the reason behind `source`.
fn causes(error: &tonic::transport::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// All endpoints of a client and the one it prefers now.
pub(crate) struct Endpoints {
    list: Vec<Endpoint>,
    preferred: AtomicUsize,
}

impl Endpoints {
    pub(crate) fn new(list: Vec<Endpoint>, first: usize) -> Self {
        let preferred = AtomicUsize::new(first % list.len().max(1));
        Self { list, preferred }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn get(&self, index: usize) -> &Endpoint {
        &self.list[index]
    }

    /// Which endpoint the next attempt should use.
    pub(crate) fn pick(&self) -> usize {
        let preferred = self.preferred.load(Ordering::Relaxed);
        if self.list[preferred].rest_until().is_none() {
            return preferred;
        }
        let rests: Vec<Option<Instant>> = self.list.iter().map(Endpoint::rest_until).collect();
        pick(preferred, &rests, Instant::now())
    }

    /// Moves on from an endpoint that failed, unless another caller has done so already.
    pub(crate) fn leave(&self, failed: usize) {
        let next = (failed + 1) % self.list.len();
        let _ = self
            .preferred
            .compare_exchange(failed, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The endpoint at this address, if it is one of ours: credentials go nowhere else.
    pub(crate) fn find(&self, address: &str) -> Option<usize> {
        if address.is_empty() {
            return None;
        }
        self.list
            .iter()
            .position(|endpoint| authority(&endpoint.uri) == authority(address))
    }

    /// Whether an endpoint may be tried now: it has not just failed.
    pub(crate) fn is_awake(&self, index: usize) -> bool {
        self.list[index]
            .rest_until()
            .is_none_or(|until| until <= Instant::now())
    }

    /// Moves to the endpoint that a node named, if it is one of ours.
    pub(crate) fn follow(&self, hint: &str) -> bool {
        let found = self.find(hint);
        if let Some(index) = found {
            self.preferred.store(index, Ordering::Relaxed);
        }
        found.is_some()
    }
}

fn authority(uri: &str) -> &str {
    uri.split_once("://")
        .map_or(uri, |(_, rest)| rest)
        .trim_end_matches('/')
}

/// The first endpoint from `preferred` on that does not rest; when all rest, the one whose rest ends first.
fn pick(preferred: usize, rest_until: &[Option<Instant>], now: Instant) -> usize {
    let count = rest_until.len();
    let from_preferred = || (0..count).map(|offset| (preferred + offset) % count);
    let awake = from_preferred().find(|&index| rest_until[index].is_none_or(|until| until <= now));
    awake
        .or_else(|| from_preferred().min_by_key(|&index| rest_until[index]))
        .unwrap_or(preferred)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pick_prefers_then_rotates_then_takes_the_shortest_rest() {
        let now = Instant::now();
        let later = |ms| Some(now + Duration::from_millis(ms));
        assert_eq!(pick(1, &[None, None, None], now), 1);
        assert_eq!(pick(1, &[None, later(5), None], now), 2);
        assert_eq!(pick(2, &[None, None, later(5)], now), 0);
        assert_eq!(pick(0, &[later(9), later(3), later(5)], now), 1);
        assert_eq!(pick(0, &[Some(now), None, None], now), 0);
    }

    #[test]
    fn hints_lead_only_to_configured_endpoints() {
        let endpoint = |uri| Endpoint::new(uri, None, &Options::default()).unwrap();
        let endpoints = Endpoints::new(vec![endpoint("http://a:1"), endpoint("http://b:2/")], 0);
        assert!(endpoints.follow("http://b:2"));
        assert_eq!(endpoints.pick(), 1);
        assert!(endpoints.follow("a:1"));
        assert_eq!(endpoints.pick(), 0);
        assert!(!endpoints.follow("http://evil:2"));
        assert_eq!(endpoints.pick(), 0);
    }

    #[test]
    fn only_the_first_who_saw_a_failure_moves_on() {
        let endpoint = |uri| Endpoint::new(uri, None, &Options::default()).unwrap();
        let endpoints = Endpoints::new(
            vec![
                endpoint("http://a:1"),
                endpoint("http://b:2"),
                endpoint("http://c:3"),
            ],
            0,
        );
        endpoints.leave(0);
        endpoints.leave(0);
        assert_eq!(endpoints.pick(), 1);
    }

    #[test]
    fn endpoints_must_be_urls() {
        for wrong in ["", "127.0.0.1:7600", "http://", "ftp://a"] {
            assert!(
                Endpoint::new(wrong, None, &Options::default()).is_err(),
                "{wrong}"
            );
        }
    }
}
