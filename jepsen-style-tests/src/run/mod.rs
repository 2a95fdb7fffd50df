//! One run: a cluster of its own, load, faults, recovery, last looks, and a verdict.

mod clients;
mod digests;
mod faults;
mod recorder;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::access::{Access, Outcome};
use crate::check::evidence::Evidence;
use crate::check::{Anomaly, Checker as _, Validity, Verdict};
use crate::cluster::{Cluster, ClusterOptions, Mode};
use crate::nemesis::{self, Needs};
use crate::report::{Run, availability::Availability};
use crate::workload::{self, Workload};
pub use digests::judge as judge_history;

use clients::Load;
use faults::{Faults, Schedule};
use recorder::Recorder;

/// How long preparing may take.
const PREPARE_MAX: Duration = Duration::from_secs(60);
/// How long the cluster may take to be whole again after the last fault.
const WHOLE_MAX: Duration = Duration::from_secs(60);
/// What nodes are told beside their addresses: chunks that no file names are collected within the run, so that it shows when
/// one is that a file does name; and disks of 2 GiB have room.
const CONFIGURATION: &str = "chunk_grace_s = 20\nchunk_pin_lease_s = 5\nchunk_collect_interval_s = 3\n\
    chunk_audit_interval_s = 5\nchunk_reserve_mib = 64\nfile_retention_s = 0";
/// How long a last look through a node may take, all attempts together.
const LAST_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(250);
/// Fewest operations that took effect: less proves nothing.
const OK_MIN: u64 = 50;

/// What a run shall be.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What clients do.
    pub workload: String,
    /// What breaks the cluster; all in turn, sometimes two at once.
    pub nemeses: Vec<String>,
    /// How many nodes.
    pub nodes: usize,
    /// How many clients.
    pub clients: u64,
    /// How long clients are at it.
    pub time: Duration,
    /// Fixes what clients and faults do.
    pub seed: u64,
    /// Where its files go.
    pub out: PathBuf,
    /// Where nodes live.
    pub mode: Mode,
    /// The `yunbase` to run.
    pub binary: PathBuf,
    /// A deliberate bug that the nodes shall have.
    pub mutant: Option<String>,
}

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No workload of that name.
    #[error("there is no workload '{0}'; `list` shows all")]
    NoWorkload(String),
    /// No nemesis of that name.
    #[error("there is no nemesis '{0}'; `list` shows all")]
    NoNemesis(String),
    /// A fault that cannot be here.
    #[error("{name} is not available here: {why}")]
    NotAvailable {
        /// The fault.
        name: String,
        /// What is missing.
        why: String,
    },
    /// The cluster did not come to be.
    #[error(transparent)]
    Cluster(#[from] crate::cluster::ClusterError),
    /// The disk.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The report.
    #[error(transparent)]
    Report(#[from] crate::report::Error),
    /// What must be there first could not be made.
    #[error("prepare the workload: {0}")]
    Prepare(String),
}

impl RunOptions {
    /// The command that repeats the run.
    pub fn command(&self) -> String {
        let mut command = format!(
            "cargo run --release -p jepsen-style-tests -- run --workload {} --nodes {} --time {} --seed {} --clients {}",
            self.workload,
            self.nodes,
            self.time.as_secs(),
            self.seed,
            self.clients,
        );
        if !self.nemeses.is_empty() {
            command += &format!(" --nemesis {}", self.nemeses.join(","));
        }
        if self.mode == Mode::Loopback {
            command += " --loopback";
        }
        if let Some(mutant) = &self.mutant {
            command += &format!(" --mutant {mutant}");
        }
        command
    }

    /// What all its faults need together; an error names one that is not there.
    fn needs(&self) -> Result<Needs, RunError> {
        let mut needs = Needs::default();
        for name in &self.nemeses {
            let nemesis =
                nemesis::by_name(name).ok_or_else(|| RunError::NoNemesis(name.clone()))?;
            nemesis
                .needs()
                .available()
                .map_err(|why| RunError::NotAvailable {
                    name: name.clone(),
                    why,
                })?;
            needs = needs.and(nemesis.needs());
            if self.nodes < needs.nodes_min {
                let why = format!("needs at least {} nodes: --nodes", needs.nodes_min);
                let name = name.clone();
                return Err(RunError::NotAvailable { name, why });
            }
        }
        Ok(needs)
    }
}

/// Carries out a run and writes its files. `progress` is told a line now and then.
pub async fn run(options: &RunOptions, progress: &dyn Fn(&str)) -> Result<Run, RunError> {
    let workload: Arc<dyn Workload> = workload::by_name(&options.workload)
        .ok_or_else(|| RunError::NoWorkload(options.workload.clone()))?
        .into();
    let needs = options.needs()?;
    std::fs::create_dir_all(&options.out)?;
    let started = SystemTime::now();
    progress("starting the cluster");
    let cluster = Cluster::start(ClusterOptions {
        nodes: options.nodes,
        mode: options.mode,
        folder: options.out.join("nodes"),
        binary: options.binary.clone(),
        run_id: format!("{:x}-{}", std::process::id(), options.seed),
        seed: options.seed,
        disk_images: needs.disk_images,
        shim: needs.shim,
        environment: options
            .mutant
            .iter()
            .map(|mutant| ("YUNBASE_MUTANT".to_owned(), mutant.clone()))
            .collect(),
        configuration: CONFIGURATION.to_owned(),
    })
    .await?;
    let clients = cluster.client_runtime()?;
    let handle = clients.handle().clone();
    let clients = InBackground(Some(clients));
    let outcome = run_on(&handle, &cluster, workload, options, progress, started).await;
    drop(clients);
    let logs = cluster
        .numbers()
        .into_iter()
        .filter_map(|k| cluster.log(k).ok());
    let logs: Vec<PathBuf> = logs.collect();
    tokio::task::spawn_blocking(move || drop(cluster))
        .await
        .map_err(std::io::Error::other)?;
    let mut run = outcome?;
    run.logs = logs
        .iter()
        .filter_map(|log| relative(log, &options.out))
        .collect();
    run.write(&options.out)?;
    Ok(run)
}

/// A runtime that ends without a wait, which inside of another it must, also when a run is interrupted.
struct InBackground(Option<tokio::runtime::Runtime>);

impl Drop for InBackground {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn relative(file: &Path, folder: &Path) -> Option<String> {
    Some(
        file.strip_prefix(folder)
            .ok()?
            .to_string_lossy()
            .into_owned(),
    )
}

async fn run_on(
    clients: &tokio::runtime::Handle,
    cluster: &Arc<Cluster>,
    workload: Arc<dyn Workload>,
    options: &RunOptions,
    progress: &dyn Fn(&str),
    started: SystemTime,
) -> Result<Run, RunError> {
    let access = Access {
        urls: cluster.urls(),
        env: cluster.env().to_owned(),
        secret_id: cluster.secret_id().to_owned(),
        secret_key: cluster.secret_key().to_owned(),
    };
    let prepared = clients.spawn(prepare(workload.clone(), access.clone()));
    prepared
        .await
        .map_err(std::io::Error::other)?
        .map_err(RunError::Prepare)?;
    let load = Arc::new(Load {
        workload,
        access,
        recorder: Arc::new(Recorder::new()),
        seed: options.seed,
        clients: options.clients,
        stop: AtomicBool::new(false),
    });
    let at_work: Vec<_> = (0..options.clients)
        .map(|number| clients.spawn(load.clone().client(number)))
        .collect();
    let until = Instant::now() + options.time;
    let (now, in_force) = tokio::sync::watch::channel(String::new());
    let schedule = Schedule {
        cluster: cluster.clone(),
        names: options.nemeses.clone(),
        seed: options.seed,
        until,
        recorder: load.recorder.clone(),
        now,
    };
    let mut breaking = std::pin::pin!(schedule.run());
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut faults = loop {
        tokio::select! {
            faults = &mut breaking => break faults,
            _ = ticks.tick() => progress(&line(&load, until, &in_force.borrow())),
        }
    };
    load.stop.store(true, Ordering::Relaxed);
    for client in at_work {
        // One that panicked has told the log; its operations are unknown.
        let _ = client.await;
    }
    if faults.violations.is_empty() {
        progress("waiting for the cluster to be whole");
        if let Err(error) = cluster.wait_all_ready(WHOLE_MAX).await {
            let what = format!("it is not whole after all faults: {error}");
            faults.violations.push(what);
        }
    }
    // A cluster that did not come back has been found wanting already; there is nothing to look at.
    let nodes = match faults.violations.is_empty() {
        true => cluster.size(),
        false => 0,
    };
    progress("last looks");
    for node in 0..nodes {
        let looked = clients.spawn(last_looks(load.clone(), node));
        if let Err(doubt) = looked.await.map_err(std::io::Error::other)? {
            faults.doubts.push(doubt);
        }
    }
    if nodes > 1 {
        progress("comparing replicas");
        if let Err(doubt) = digests::take(cluster, &load.recorder).await {
            faults.doubts.push(doubt);
        }
    }
    progress("judging");
    let history = load.recorder.history();
    let availability = Availability::measure(&history, &faults.records);
    let verdict = judge(&load, &history, &faults, &availability, options).await?;
    let unix_ms = started
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64);
    Ok(Run {
        workload: options.workload.clone(),
        nemeses: options.nemeses.clone(),
        seed: options.seed,
        nodes: cluster.numbers().iter().map(|k| format!("n{k}")).collect(),
        mode: mode_name(options.mode),
        started_unix_ms: unix_ms,
        duration_ns: load.recorder.now_ns(),
        command: options.command(),
        history,
        verdict,
        faults: faults.records,
        notes: faults.notes,
        logs: Vec::new(),
        availability,
    })
}

fn mode_name(mode: Mode) -> String {
    match mode {
        Mode::Namespaces => "network namespaces".to_owned(),
        Mode::Loopback => format!("loopback, which leaves out {}", mode.leaves_out()),
    }
}

fn line(load: &Load, until: Instant, in_force: &str) -> String {
    let counts = load.recorder.counts();
    let left = until.saturating_duration_since(Instant::now()).as_secs();
    format!(
        "{left:>4} s left  {:>7} ok {:>5} fail {:>4} info {in_force}",
        counts.ok, counts.fail, counts.info
    )
}

async fn prepare(workload: Arc<dyn Workload>, access: Access) -> Result<(), String> {
    let session = access.session(0).map_err(|error| error.to_string())?;
    let given_up = Instant::now() + PREPARE_MAX;
    loop {
        match workload.prepare(&session).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > given_up => return Err(error.to_string()),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// The workload's last steps through one node, by processes of their own.
async fn last_looks(load: Arc<Load>, node: usize) -> Result<(), String> {
    let session = load
        .access
        .session_of(node)
        .map_err(|error| error.to_string())?;
    let mut process = crate::history::OBSERVERS + node as u64 * 1_000_000;
    for step in load.workload.last() {
        let given_up = Instant::now() + LAST_MAX;
        loop {
            process += 1;
            match load.take(process, &session, &step).await {
                Outcome::Ok(_) => break,
                Outcome::Fail(why) | Outcome::Info(why) if Instant::now() > given_up => {
                    return Err(format!(
                        "the last '{}' through node {}: {why}",
                        step.f,
                        node + 1
                    ));
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }
    Ok(())
}

async fn judge(
    load: &Arc<Load>,
    history: &crate::history::History,
    faults: &Faults,
    availability: &Availability,
    options: &RunOptions,
) -> Result<Verdict, RunError> {
    let (workload, judged) = (load.workload.clone(), history.clone());
    let windows = faults.records.iter();
    let windows = windows
        .map(|fault| (fault.start_ns, fault.end_ns))
        .collect();
    let evidence = Evidence::default().with_windows(windows);
    let all = move || digests::judge(&*workload, &judged).and(evidence.check(&judged));
    let mut verdict = tokio::task::spawn_blocking(all)
        .await
        .map_err(std::io::Error::other)?;
    for violation in &faults.violations {
        verdict = verdict.and(Verdict::of(vec![Anomaly {
            name: "violation".into(),
            explanation: violation.clone(),
            events: Vec::new(),
            edges: Vec::new(),
        }]));
    }
    for doubt in &faults.doubts {
        verdict = verdict.and(Verdict::unknown(doubt.clone()));
    }
    let ok = load.recorder.counts().ok;
    if ok < OK_MIN {
        verdict = verdict.and(Verdict::unknown(format!(
            "only {ok} operations took effect"
        )));
    }
    if !options.nemeses.is_empty() && faults.records.is_empty() {
        verdict = verdict.and(Verdict::unknown("no fault was ever in force"));
    }
    Ok(verdict.and(late(faults, availability)))
}

/// Service that came back too late is a fault of its own.
fn late(faults: &Faults, availability: &Availability) -> Verdict {
    let mut anomalies = Vec::new();
    for (fault, measured) in faults.records.iter().zip(&availability.faults) {
        let mut tell = |name: &str, explanation: String| {
            anomalies.push(Anomaly {
                name: name.to_owned(),
                explanation,
                events: Vec::new(),
                edges: Vec::new(),
            });
        };
        if measured.recovers_late() {
            let what = format!(
                "service was not back soon after {} ended: {:?}",
                fault.name, measured.recovery
            );
            tell("slow recovery", what);
        }
        if measured.fails_over_late() {
            let cost = Duration::from_nanos(measured.cost_ns());
            let what = format!("{} cost clients {cost:.1?}", fault.name);
            tell("slow failover", what);
        }
    }
    Verdict::of(anomalies)
}

impl Validity {
    /// As the results have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
        }
    }
}
