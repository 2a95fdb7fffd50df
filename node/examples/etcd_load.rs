//! Loads an etcd cluster as `yunbase bench` loads ours: closed loops, the same sizes, the same clock, the same JSON.
//!
//! `etcd_load put|range --endpoints URL,URL,URL [--clients N] [--seconds S] [--connections N] [--pid N]...`
//! Puts have random keys; ranges are linearizable reads of one key out of `--records`, which are put before. The
//! few messages of etcd's KV service that this needs are written out below, with the field numbers of its protocol.
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use http::uri::PathAndQuery;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use tokio::task::JoinSet;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;
use yunbase::cli::bench::{Report, Usage, histogram, usage};

/// Puts of the filling at once.
const FILL_IN_FLIGHT: u64 = 256;
/// Different values that are made before the run, so that making them costs nothing during it.
const VALUES: usize = 64;
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Pause of a client after an error, so that a dead cluster is not measured by how fast it refuses.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
/// As the SDK of yunbase has it.
const WINDOW_BYTES: u32 = 8 << 20;

#[derive(Debug, Parser)]
struct Arguments {
    workload: Workload,
    /// Client URLs of the members; connections are spread over them
    #[arg(long, value_delimiter = ',', required = true)]
    endpoints: Vec<String>,
    /// Loops at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Connections that the clients share; etcd is fastest with one a member
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// How long to measure
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How long to run before measuring
    #[arg(long, default_value_t = 1.0)]
    warmup_seconds: f64,
    /// Size of a value
    #[arg(long, default_value_t = 1024)]
    value_bytes: usize,
    /// Keys that are there before ranges begin
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// A member's process on this machine, to report its CPU time and memory
    #[arg(long)]
    pid: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// New keys
    Put,
    /// Single keys, linearizable
    Range,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// Nothing of the answer to a put matters but that it came.
#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

/// Linearizable, because `serializable` (tag 7) is left false.
#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

/// One connection to one member.
#[derive(Debug, Clone)]
struct Kv(Grpc<Channel>);

impl Kv {
    async fn connect(url: &str) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned())?
            .tcp_nodelay(true)
            .tcp_keepalive(Some(TIMEOUT))
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .timeout(TIMEOUT)
            .connect()
            .await
            .with_context(|| format!("connect to {url}"))?;
        Ok(Self(Grpc::new(channel)))
    }

    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> anyhow::Result<A>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.0.ready().await.context("wait for the connection")?;
        let path = PathAndQuery::from_static(path);
        let codec = ProstCodec::<Q, A>::new();
        let answer = self.0.unary(tonic::Request::new(request), path, codec);
        Ok(answer.await?.into_inner())
    }

    async fn put(&mut self, key: String, value: Bytes) -> anyhow::Result<()> {
        let key = key.into();
        self.call::<_, PutResponse>("/etcdserverpb.KV/Put", PutRequest { key, value })
            .await
            .map(drop)
    }

    /// The length of the value of `key`, if it is there.
    async fn value_bytes(&mut self, key: String) -> anyhow::Result<Option<usize>> {
        let key = key.into();
        let found: RangeResponse = self
            .call("/etcdserverpb.KV/Range", RangeRequest { key })
            .await?;
        Ok(found.kvs.first().map(|found| found.value.len()))
    }
}

/// The key of record `number`: as long as a generated `_id`, and scattered.
fn key(number: u64) -> String {
    format!("{:032x}", SmallRng::seed_from_u64(number).random::<u128>())
}

/// What the clients share.
struct Shared {
    workload: Workload,
    values: Vec<Bytes>,
    records: u64,
    value_bytes: usize,
    measuring: AtomicBool,
    ended: AtomicBool,
    errors: AtomicU64,
}

impl Shared {
    fn new(arguments: &Arguments, rng: &mut SmallRng) -> Self {
        let value = |_| {
            let mut value = vec![0; arguments.value_bytes];
            rng.fill_bytes(&mut value);
            value.into()
        };
        Self {
            workload: arguments.workload,
            values: (0..VALUES).map(value).collect(),
            records: arguments.records,
            value_bytes: arguments.value_bytes,
            measuring: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            errors: AtomicU64::new(0),
        }
    }

    fn value(&self, rng: &mut SmallRng) -> Bytes {
        self.values[rng.random_range(0..VALUES)].clone()
    }

    async fn step(&self, kv: &mut Kv, rng: &mut SmallRng) -> anyhow::Result<()> {
        match self.workload {
            Workload::Put => {
                let key = format!("{:032x}", rng.random::<u128>());
                kv.put(key, self.value(rng)).await
            }
            Workload::Range => {
                let key = key(rng.random_range(0..self.records));
                match kv.value_bytes(key.clone()).await? {
                    Some(bytes) if bytes == self.value_bytes => Ok(()),
                    found => bail!("key {key}: its value has {found:?} bytes"),
                }
            }
        }
    }

    /// One client: steps until the run has ended. A step counts when it begins and ends within the time measured.
    async fn turn(&self, mut kv: Kv, mut rng: SmallRng) -> Histogram<u64> {
        let mut seen = histogram();
        while !self.ended.load(Ordering::Relaxed) {
            let counts = self.measuring.load(Ordering::Relaxed);
            let begun = Instant::now();
            let outcome = self.step(&mut kv, &mut rng).await;
            let counts = counts && self.measuring.load(Ordering::Relaxed);
            match outcome {
                Ok(()) if counts => {
                    let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                    seen.saturating_record(us.max(1));
                }
                Ok(()) => {}
                Err(error) => {
                    if counts && self.errors.fetch_add(1, Ordering::Relaxed) == 0 {
                        eprintln!("{error:#}");
                    }
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
        seen
    }
}

/// Puts the records that ranges are about, unless an earlier run has.
async fn fill(shared: &Arc<Shared>, connections: &[Kv]) -> anyhow::Result<()> {
    let mut first = connections[0].clone();
    if first.value_bytes(key(shared.records - 1)).await? == Some(shared.value_bytes) {
        return Ok(());
    }
    let mut loops = JoinSet::new();
    // The last record is put after the others of its loop, but not of all: it is a hint that saves time, and a
    // missing key is an error of the run.
    for number in 0..FILL_IN_FLIGHT {
        let mut kv = connections[number as usize % connections.len()].clone();
        let shared = shared.clone();
        loops.spawn(async move {
            let mut rng = SmallRng::seed_from_u64(number);
            for record in (number..shared.records).step_by(FILL_IN_FLIGHT as usize) {
                kv.put(key(record), shared.value(&mut rng)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = loops.join_next().await {
        ended??;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    for seconds in [arguments.seconds, arguments.warmup_seconds] {
        ensure!(
            (0.0..=86_400.0).contains(&seconds),
            "times must be between 0 and 86400 seconds"
        );
    }
    let mut rng = SmallRng::from_os_rng();
    let shared = Arc::new(Shared::new(&arguments, &mut rng));
    let mut connections = Vec::new();
    for number in 0..arguments.connections.min(arguments.clients) as usize {
        let url = &arguments.endpoints[number % arguments.endpoints.len()];
        connections.push(Kv::connect(url).await?);
    }
    if arguments.workload == Workload::Range {
        fill(&shared, &connections).await?;
    }
    let mut loops = JoinSet::new();
    for number in 0..arguments.clients as usize {
        let kv = connections[number % connections.len()].clone();
        let rng = SmallRng::seed_from_u64(rng.random());
        let shared = shared.clone();
        loops.spawn(async move { shared.turn(kv, rng).await });
    }

    let looked = || -> anyhow::Result<Usage> { Ok(usage(&arguments.pid)?) };
    tokio::time::sleep(Duration::from_secs_f64(arguments.warmup_seconds)).await;
    let before = looked()?;
    shared.measuring.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs_f64(arguments.seconds)).await;
    shared.measuring.store(false, Ordering::Relaxed);
    let seconds = begun.elapsed().as_secs_f64();
    let after = looked()?;
    shared.ended.store(true, Ordering::Relaxed);

    let mut seen = histogram();
    while let Some(ended) = loops.join_next().await {
        seen.add(ended.context("a client was lost")?)?;
    }
    let workload = match arguments.workload {
        Workload::Put => "put",
        Workload::Range => "range",
    };
    let errors = shared.errors.load(Ordering::Relaxed);
    let clients = arguments.clients as usize;
    let mut report = Report::new(workload, clients, seconds, &seen, errors);
    if !arguments.pid.is_empty() {
        report.add_server_usage(before, after);
    }
    println!("{}", report.to_json());
    Ok(())
}
