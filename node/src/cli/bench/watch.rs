//! `yunbase bench watch`: how long after its acknowledgement a write reaches those who watch.
//!
//! All watches are on one collection, to which documents are added at an even rate. The watches are spread over rooms,
//! as those of a chat would be: each write is told to every watch of its room.
//! The latency of an event runs from the moment the writer had its answer; an event that is there before counts as
//! one microsecond.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use yunbase_client::bson::{Document, doc};
use yunbase_client::{Client, Collection};

use super::report::{Report, histogram};
use super::server_cpu::{Usage, usage};
use crate::cli::environment::Environment;
use crate::cli::failure::CliError;

/// Name of the workload.
pub(super) const NAME: &str = "watch";

/// Watches that share a socket, as an app with many of them would.
const WATCHES_A_SOCKET: usize = 100;
/// Writes under way at once; a cluster that cannot keep the rate is measured by what it can.
const WRITES_IN_FLIGHT_MAX: usize = 512;
/// Longest wait for a socket's answer, and after the last write for its events.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// As the official clients do.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// A run, as the command line described it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) watches: usize,
    pub(super) rooms: usize,
    pub(super) writes_per_second: f64,
    pub(super) seconds: f64,
    pub(super) warmup_seconds: f64,
    pub(super) value_bytes: usize,
    pub(super) server_cpu: bool,
    pub(super) keep: bool,
}

/// When each write was acknowledged, in microseconds since the run began; 0 = not yet.
struct Acknowledged {
    begun: Instant,
    at_us: Vec<AtomicU64>,
    /// Writes from this number on are measured.
    measured_from: u64,
    errors: AtomicU64,
}

impl Plan {
    pub(super) async fn run(&self, target: &Environment) -> Result<Report, CliError> {
        let client = target.connect().await?;
        let collection = format!("bench_{:016x}", rand::random::<u64>());
        client.create_collection(&collection).await?;
        let measured = tokio::select! {
            measured = self.measure(target, &client, &collection) => measured,
            _ = tokio::signal::ctrl_c() => Err(CliError::failed("interrupted")),
        };
        if self.keep {
            eprintln!("kept collection {collection}");
        } else if let Err(error) = client.drop_collection(&collection).await {
            eprintln!("collection {collection} is left behind: {error}");
        }
        measured
    }

    async fn measure(
        &self,
        target: &Environment,
        client: &Client,
        collection: &str,
    ) -> Result<Report, CliError> {
        let pause = 1.0 / self.writes_per_second;
        let warmup = (self.warmup_seconds * self.writes_per_second).ceil() as u64;
        let total = warmup + (self.seconds * self.writes_per_second).ceil().max(1.0) as u64;
        let shared = Arc::new(Acknowledged {
            begun: Instant::now(),
            at_us: (0..total).map(|_| AtomicU64::new(0)).collect(),
            measured_from: warmup,
            errors: AtomicU64::new(0),
        });
        let mut sockets = JoinSet::new();
        for (number, from) in (0..self.watches).step_by(WATCHES_A_SOCKET).enumerate() {
            let watches = WATCHES_A_SOCKET.min(self.watches - from);
            let endpoint = &target.endpoints()[number % target.endpoints().len()];
            let rooms: Vec<u64> = (from..from + watches)
                .map(|watch| (watch % self.rooms) as u64)
                .collect();
            let expected = rooms
                .iter()
                .map(|room| self.writes_to(*room, 0, total))
                .sum();
            let socket = Socket::open(target, endpoint, collection, &rooms).await?;
            sockets.spawn(socket.run(shared.clone(), expected));
        }
        let before = self.usage(target)?;
        let begun = Instant::now();
        let mut writes = JoinSet::new();
        let mut measured_since = begun;
        for number in 0..total {
            if number == warmup {
                measured_since = Instant::now();
            }
            let due = begun + Duration::from_secs_f64(pause * number as f64);
            tokio::time::sleep_until(due.into()).await;
            while writes.len() >= WRITES_IN_FLIGHT_MAX {
                writes.join_next().await;
            }
            let room = (number % self.rooms as u64) as i64;
            let document =
                doc! { "_id": number as i64, "room": room, "v": "x".repeat(self.value_bytes) };
            writes.spawn(write(
                client.collection::<Document>(collection),
                document,
                number,
                shared.clone(),
            ));
        }
        while writes.join_next().await.is_some() {}
        let seconds = measured_since.elapsed().as_secs_f64();
        let after = self.usage(target)?;
        let errors = shared.errors.load(Ordering::Relaxed);
        let mut seen = histogram();
        let mut missing = 0;
        let settle = tokio::time::timeout(ANSWER_TIMEOUT, async {
            while let Some(ended) = sockets.join_next().await {
                let (latencies, lost) = ended
                    .map_err(|error| CliError::failed(format!("a socket was lost: {error}")))??;
                // All have the same bounds, so adding cannot fail.
                let _ = seen.add(&latencies);
                missing += lost;
            }
            Ok::<_, CliError>(())
        });
        match settle.await {
            Ok(outcome) => outcome?,
            Err(_) => eprintln!(
                "some sockets had not got all events {ANSWER_TIMEOUT:?} after the last write"
            ),
        }
        let expected = (0..self.watches)
            .map(|watch| self.writes_to((watch % self.rooms) as u64, warmup, total))
            .sum::<u64>();
        let missing = missing.max(expected.saturating_sub(seen.len()));
        let mut report = Report::new(NAME, self.watches, seconds, &seen, errors + missing);
        let per_second = (total - warmup) as f64 / seconds;
        report.extras.insert("rooms".into(), json!(self.rooms));
        report.extras.insert("writes".into(), json!(total - warmup));
        report.extras.insert(
            "writes_per_s".into(),
            json!((per_second * 10.0).round() / 10.0),
        );
        if self.server_cpu {
            report.add_server_usage(before, after);
        }
        Ok(report)
    }

    /// How many of the writes from one number to before another concern a room.
    fn writes_to(&self, room: u64, from: u64, to: u64) -> u64 {
        let before = |end: u64| end.saturating_sub(room).div_ceil(self.rooms as u64);
        before(to) - before(from)
    }

    fn usage(&self, target: &Environment) -> Result<Usage, CliError> {
        if self.server_cpu {
            usage(&target.cluster.pids)
        } else {
            Ok(Usage::default())
        }
    }
}

async fn write(
    collection: Collection<Document>,
    document: Document,
    number: u64,
    shared: Arc<Acknowledged>,
) {
    match collection.insert_one(&document).await {
        Ok(_) => {
            let now = (shared.begun.elapsed().as_micros() as u64).max(1);
            shared.at_us[number as usize].store(now, Ordering::Release);
        }
        Err(error) => {
            if shared.errors.fetch_add(1, Ordering::Relaxed) < 5 {
                eprintln!("{error}");
            }
        }
    }
}

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Socket {
    sink: SplitSink<Stream, Message>,
    stream: SplitStream<Stream>,
}

impl Socket {
    /// Connects, logs in and opens its watches.
    async fn open(
        target: &Environment,
        endpoint: &str,
        collection: &str,
        rooms: &[u64],
    ) -> Result<Self, CliError> {
        let sign = sign(target, endpoint).await?;
        let text = |name: &str| sign[name].as_str().unwrap_or_default().to_owned();
        let (stream, _) = tokio_tungstenite::connect_async(text("wsUrl"))
            .await
            .map_err(|error| CliError::failed(format!("connect to {}: {error}", text("wsUrl"))))?;
        let (sink, stream) = stream.split();
        let mut socket = Self { sink, stream };
        let login = json!({
            "requestId": "login", "msgType": "LOGIN", "msgData": {"envId": target.env},
            "exMsgData": {"signStr": text("signStr")},
        });
        socket.ask(&login, "LOGIN_RES").await?;
        for (number, room) in rooms.iter().enumerate() {
            let query = json!({ "room": room }).to_string();
            let watch_id = format!("w{number}");
            let init = json!({
                "watchId": watch_id, "requestId": watch_id, "msgType": "INIT_WATCH",
                "msgData": {"envId": target.env, "collName": collection, "query": query},
            });
            socket.ask(&init, "INIT_EVENT").await?;
        }
        Ok(socket)
    }

    async fn ask(&mut self, message: &Value, kind: &str) -> Result<(), CliError> {
        let lost =
            |error: &dyn std::fmt::Display| CliError::failed(format!("a socket failed: {error}"));
        self.sink
            .send(Message::text(message.to_string()))
            .await
            .map_err(|error| lost(&error))?;
        let answer = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Text(text))) => {
                        let answer: Value =
                            serde_json::from_str(&text).map_err(|error| lost(&error))?;
                        if answer["msgType"] == kind && answer["msgData"]["code"].is_null() {
                            return Ok(());
                        }
                        if answer["requestId"] == message["requestId"] {
                            return Err(lost(&answer));
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(lost(&error)),
                    None => return Err(lost(&"closed")),
                }
            }
        };
        tokio::time::timeout(ANSWER_TIMEOUT, answer)
            .await
            .map_err(|_| lost(&"no answer"))?
    }

    /// Receives events until all have come or the run is over; the latencies of those measured, and how many are
    /// missing because the node wants the watch to resume.
    async fn run(
        mut self,
        shared: Arc<Acknowledged>,
        expected: u64,
    ) -> Result<(Histogram<u64>, u64), CliError> {
        let mut latencies = histogram();
        // Events that came before their write's answer.
        let mut early: BTreeMap<u64, u64> = BTreeMap::new();
        let (mut received, mut missing) = (0, 0);
        let mut pings = tokio::time::interval(PING_INTERVAL);
        while received < expected {
            let message = tokio::select! {
                message = self.stream.next() => message,
                _ = pings.tick() => {
                    let ping = r#"{"requestId":"ping","msgType":"PING","msgData":null}"#;
                    // A broken socket shows itself when it is read.
                    let _ = self.sink.send(Message::text(ping)).await;
                    continue;
                }
            };
            let Some(Ok(message)) = message else {
                return Err(CliError::failed("a node closed a socket"));
            };
            let Message::Text(text) = message else {
                continue;
            };
            let now = shared.begun.elapsed().as_micros() as u64;
            let message: Value = serde_json::from_str(&text)
                .map_err(|error| CliError::failed(format!("a message of a node: {error}")))?;
            if message["msgType"] == "CHECK_EVENT" {
                missing += expected - received;
                break;
            }
            for event in message["msgData"]["events"]
                .as_array()
                .into_iter()
                .flatten()
            {
                received += 1;
                let Some(number) = event["DocID"].as_u64() else {
                    continue;
                };
                if number < shared.measured_from {
                    continue;
                }
                match shared
                    .at_us
                    .get(number as usize)
                    .map(|at| at.load(Ordering::Acquire))
                {
                    Some(0) | None => *early.entry(number).or_default() += 1,
                    Some(at) => latencies.saturating_record(now.saturating_sub(at).max(1)),
                }
            }
        }
        for (_, count) in early {
            let _ = latencies.record_n(1, count);
        }
        Ok((latencies, missing))
    }
}

/// Asks a node for a ticket, as an app would.
async fn sign(target: &Environment, endpoint: &str) -> Result<Value, CliError> {
    if !endpoint.starts_with("http://") {
        return Err(CliError::usage(
            "bench watch speaks plain HTTP: name nodes by http:// URLs",
        ));
    }
    let failed = |error: &dyn std::fmt::Display| {
        CliError::failed(format!("ask {endpoint} for a socket: {error}"))
    };
    let key = target
        .api_key()
        .ok_or_else(|| CliError::usage("bench watch needs a secret key"))?;
    let body = json!({"action": "auth.wsWebSign", "env": target.env, "access_token": key});
    let request = http::Request::post(format!("{}/web", endpoint.trim_end_matches('/')))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|error| failed(&error))?;
    let http: HttpClient<HttpConnector, Full<Bytes>> =
        HttpClient::builder(TokioExecutor::new()).build_http();
    let response = http
        .request(request)
        .await
        .map_err(|error| failed(&error))?;
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|error| failed(&error))?
        .to_bytes();
    let mut answer: Value = serde_json::from_slice(&body).map_err(|error| failed(&error))?;
    if answer["data"].is_null() {
        return Err(failed(&answer));
    }
    Ok(answer["data"].take())
}
