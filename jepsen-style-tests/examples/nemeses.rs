//! Puts each nemesis in force for a while under a little load, and shows: did it happen, how soon is the cluster back,
//! is every acknowledged write still there on every node?
//!
//! `cargo run --release -p jepsen-style-tests --example nemeses -- BINARY FOLDER NODES SECONDS [NAME[+NAME ...] ...]`

#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bson::{Document, doc};
use jepsen_style_tests::cluster::{Cluster, ClusterOptions, Mode};
use jepsen_style_tests::nemesis::{self, Needs, Nemesis};
use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::runtime::Runtime;
use yunbase_client::Client;

/// Clients that write, each through a node of its own.
const CLIENTS: usize = 6;
/// How soon service must be back after a fault.
const BACK_MAX: Duration = Duration::from_secs(5);
/// How long is waited for it, to know how late it is.
const WAIT_MAX: Duration = Duration::from_secs(60);
const COLLECTION: &str = "nemeses";

/// Nemeses that are in force together.
type Together = Vec<Box<dyn Nemesis>>;

/// What came of them.
struct Row {
    name: String,
    fault: String,
    proof: String,
    back: Option<Duration>,
    all_back: Option<Duration>,
    written: u64,
    failed: u64,
    problems: Vec<String>,
}

struct Load {
    stop: AtomicBool,
    next: AtomicU64,
    failed: AtomicU64,
    acknowledged: Mutex<Vec<i64>>,
}

fn client(cluster: &Cluster, urls: Vec<String>, deadline: Duration) -> anyhow::Result<Client> {
    Ok(Client::builder()
        .endpoints(urls)
        .env(cluster.env())
        .credentials(cluster.secret_id(), cluster.secret_key())
        .deadline(deadline)
        .connect_lazily()?)
}

async fn write(cluster: Arc<Cluster>, load: Arc<Load>) {
    let Ok(client) = client(&cluster, cluster.urls(), Duration::from_secs(4)) else {
        return;
    };
    let collection = client.collection::<Document>(COLLECTION);
    while !load.stop.load(Ordering::Relaxed) {
        let number = load.next.fetch_add(1, Ordering::Relaxed) as i64;
        let document = doc! { "_id": number, "text": "x".repeat(300) };
        match collection.put(number, &document).await {
            Ok(_) => load.acknowledged.lock().push(number),
            Err(_) => {
                load.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until a write through these nodes is acknowledged; tells how long that took since `since`.
async fn back(
    cluster: Arc<Cluster>,
    urls: Vec<String>,
    since: Instant,
) -> anyhow::Result<Option<Duration>> {
    let client = client(&cluster, urls, Duration::from_secs(1))?;
    let collection = client.collection::<Document>(COLLECTION);
    while since.elapsed() < WAIT_MAX {
        if collection.put(-1, &doc! { "_id": -1_i64 }).await.is_ok() {
            return Ok(Some(since.elapsed()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(None)
}

/// Acknowledged writes that node `k` does not have.
async fn missing(cluster: Arc<Cluster>, k: usize, expected: Vec<i64>) -> anyhow::Result<usize> {
    let client = client(&cluster, vec![cluster.url(k)?], Duration::from_secs(10))?;
    let collection = client.collection::<Document>(COLLECTION);
    let mut missing = 0;
    for numbers in expected.chunks(500) {
        let found = collection
            .count(doc! { "_id": { "$in": numbers.to_vec() } })
            .await?;
        missing += numbers.len() - found as usize;
    }
    Ok(missing)
}

async fn trial(
    cluster: &Arc<Cluster>,
    clients: &Runtime,
    together: &mut Together,
    seconds: u64,
    rng: &mut StdRng,
) -> anyhow::Result<Row> {
    let load = Arc::new(Load {
        stop: AtomicBool::new(false),
        next: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        acknowledged: Mutex::new(Vec::new()),
    });
    let writers: Vec<_> = (0..CLIENTS)
        .map(|_| clients.spawn(write(cluster.clone(), load.clone())))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut problems = Vec::new();
    let mut faults = Vec::new();
    for begun in 0..together.len() {
        match together[begun].start(cluster, rng).await {
            Ok(fault) => faults.push(fault.what),
            Err(error) => {
                // What has begun ends; that it proves nothing is no news.
                for nemesis in together[..=begun].iter_mut().rev() {
                    drop(nemesis.stop(cluster).await);
                }
                load.stop.store(true, Ordering::Relaxed);
                return Err(error).context("start");
            }
        }
    }
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let mut proofs = Vec::new();
    for nemesis in together.iter_mut().rev() {
        match nemesis.stop(cluster).await {
            Ok(proof) => proofs.push(proof.to_string()),
            Err(error) => problems.push(format!("stop {}: {error}", nemesis.name())),
        }
    }
    let ended = Instant::now();
    let back_at = clients
        .spawn(back(cluster.clone(), cluster.urls(), ended))
        .await??;
    let mut all_back = Some(Duration::ZERO);
    let mut waiting = Vec::new();
    for k in cluster.numbers() {
        let url = cluster.url(k)?;
        waiting.push((k, clients.spawn(back(cluster.clone(), vec![url], ended))));
    }
    for (k, node) in waiting {
        let node = node.await??;
        if node.is_none() {
            problems.push(format!(
                "node {k} does not take a write: {}",
                cluster.log_tail(k)
            ));
        }
        all_back = all_back.zip(node).map(|(a, b)| a.max(b));
    }
    load.stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await?;
    }
    if back_at.is_none_or(|back| back > BACK_MAX) {
        problems.push(format!("not back within {BACK_MAX:?}"));
    }
    let acknowledged = load.acknowledged.lock().clone();
    for k in cluster.numbers() {
        let lost = clients
            .spawn(missing(cluster.clone(), k, acknowledged.clone()))
            .await?;
        match lost {
            Ok(0) => {}
            Ok(lost) => problems.push(format!("node {k} has lost {lost} acknowledged writes")),
            Err(error) => problems.push(format!("read through node {k}: {error:#}")),
        }
    }
    Ok(Row {
        name: name(together),
        fault: faults.join(" + "),
        proof: proofs.join(" + "),
        back: back_at,
        all_back,
        written: acknowledged.len() as u64,
        failed: load.failed.load(Ordering::Relaxed),
        problems,
    })
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [binary, folder, nodes, seconds, names @ ..] = arguments.as_slice() else {
        bail!("usage: nemeses BINARY FOLDER NODES SECONDS [NAME ...]");
    };
    let (nodes, seconds) = (nodes.parse()?, seconds.parse()?);
    let mut chosen = Vec::new();
    for names in names {
        let together: anyhow::Result<Together> = names
            .split('+')
            .map(|name| nemesis::by_name(name).with_context(|| format!("there is no {name}")))
            .collect();
        chosen.push(together?);
    }
    if chosen.is_empty() {
        chosen.extend(nemesis::all().into_iter().map(|nemesis| vec![nemesis]));
    }
    let seed = rand::random::<u64>();
    eprintln!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let runtime = Runtime::new()?;
    let mut rows = Vec::new();
    let mut cluster: Option<(Arc<Cluster>, Runtime)> = None;
    for (index, mut together) in chosen.into_iter().enumerate() {
        let name = name(&together);
        let needs = together.iter().fold(Needs::default(), |needs, nemesis| {
            needs.and(nemesis.needs())
        });
        if let Err(why) = needs.available() {
            println!("{name:<18} not available here: {why}");
            continue;
        }
        let (own, clients) = match cluster.take() {
            Some(running) => running,
            None => {
                let began = Instant::now();
                let started = runtime.block_on(Cluster::start(ClusterOptions {
                    nodes,
                    mode: Mode::best(),
                    folder: PathBuf::from(folder).join(format!("cluster-{index}")),
                    binary: binary.into(),
                    run_id: format!("nemeses-{index}"),
                    seed,
                    disk_images: Mode::best() == Mode::Namespaces,
                    shim: true,
                    environment: Vec::new(),
                    configuration: String::new(),
                }))?;
                eprintln!("{nodes} nodes ready after {:?}", began.elapsed());
                let clients = started.client_runtime()?;
                clients.block_on(clients.spawn(create(started.clone())))??;
                (started, clients)
            }
        };
        if let Err(why) = needs.met_by(own.options()) {
            println!("{name:<18} not available here: {why}");
            cluster = Some((own, clients));
            continue;
        }
        eprintln!("{name} ...");
        match runtime.block_on(trial(&own, &clients, &mut together, seconds, &mut rng)) {
            Ok(row) => {
                print(&row);
                let is_well = row.problems.is_empty();
                rows.push(row);
                if is_well {
                    cluster = Some((own, clients));
                } else {
                    clients.shutdown_background();
                }
            }
            Err(error) => {
                println!("{name:<18} ERROR {error:#}");
                clients.shutdown_background();
            }
        }
    }
    if let Some((_, clients)) = cluster {
        clients.shutdown_background();
    }
    let wrong = rows.iter().filter(|row| !row.problems.is_empty()).count();
    println!("{} nemeses, {wrong} with problems, seed {seed}", rows.len());
    Ok(())
}

fn name(together: &Together) -> String {
    let names: Vec<&str> = together.iter().map(|nemesis| nemesis.name()).collect();
    names.join("+")
}

async fn create(cluster: Arc<Cluster>) -> anyhow::Result<()> {
    let client = client(&cluster, cluster.urls(), Duration::from_secs(10))?;
    client.create_collection(COLLECTION).await?;
    Ok(())
}

fn print(row: &Row) {
    let milliseconds = |time: Option<Duration>| {
        time.map_or_else(
            || "never".to_owned(),
            |time| format!("{} ms", time.as_millis()),
        )
    };
    println!(
        "{:<18} back {:>8} all {:>8} acked {:>6} failed {:>5} | {} | {}",
        row.name,
        milliseconds(row.back),
        milliseconds(row.all_back),
        row.written,
        row.failed,
        row.fault,
        row.proof
    );
    for problem in &row.problems {
        println!("{:<18} PROBLEM {problem}", row.name);
    }
}
