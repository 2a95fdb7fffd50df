//! `yunbase bench`: closed loops against a cluster, and what they saw.
//!
//! Each client is a loop that waits for its answer before it asks again. The clients share a few connections, as the
//! threads of a real program would. Every run has a collection of its own and removes it afterwards.

mod files;
mod keys;
mod report;
mod run;
mod server_cpu;
mod transfer;
mod watch;
mod workload;

use clap::{Args, ValueEnum};
use yunbase_client::ReadLevel;

use super::environment::EnvironmentArgs;
use super::exit::Exit;
use super::failure::{CliError, conclude};
use super::output::OutputArgs;

pub use report::{Report, histogram};
pub use server_cpu::{Usage, usage};
pub use workload::Workload;

/// Clients for each connection by default: far below the window of a session, and enough to fill frames.
const CLIENTS_A_CONNECTION: usize = 128;
/// Likewise for files: one connection is served by one processor, which a few streams of content keep busy.
const FILE_CLIENTS_A_CONNECTION: usize = 8;

/// Measure a cluster.
#[derive(Debug, Args)]
pub struct BenchCommand {
    /// What to do: insert, read, query, ycsb-a, ycsb-b, ycsb-c, ycsb-f, txn, watch, file-put, file-get, small-files
    workload: String,
    #[command(flatten)]
    target: EnvironmentArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Loops at once; with `watch` the watches
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// How long to measure
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How long to run before measuring
    #[arg(long, default_value_t = 1.0)]
    warmup_seconds: f64,
    /// Size of a document, without its `_id`
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=8_388_608))]
    value_bytes: u32,
    /// Size of a file [default: 104857600, with `small-files` 16384]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    file_bytes: Option<u64>,
    /// Documents that are there before reads and updates begin
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    records: u64,
    /// Connections that the clients share [default: one a node, more for many clients]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: Option<u32>,
    /// How fresh reads must be; anything but linearizable is named in the result
    #[arg(long, value_enum, default_value = "linearizable")]
    read_level: Level,
    /// With `watch`: documents written a second
    #[arg(long, default_value_t = 100.0)]
    writes_per_second: f64,
    /// With `watch`: queries over which the watches are spread; each write concerns one of them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rooms: u32,
    /// Also report the CPU time and memory of the nodes (a development cluster on this machine)
    #[arg(long)]
    server_cpu: bool,
    /// Leave the documents or files there
    #[arg(long)]
    keep: bool,
    /// Say what would be done, do nothing
    #[arg(long)]
    dry_run: bool,
}

/// How fresh reads must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    Linearizable,
    Lease,
    Stale,
}

impl From<Level> for ReadLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Linearizable => Self::Linearizable,
            Level::Lease => Self::Lease,
            Level::Stale => Self::Stale,
        }
    }
}

impl BenchCommand {
    /// Carries out the command.
    pub async fn run(self) -> Exit {
        conclude(self.try_run().await)
    }

    async fn try_run(self) -> Result<(), CliError> {
        let watch = self.workload == watch::NAME;
        if watch && !(0.1..=100_000.0).contains(&self.writes_per_second) {
            return Err(CliError::usage(
                "--writes-per-second must be between 0.1 and 100000",
            ));
        }
        let files = files::Kind::of_name(&self.workload);
        let workload = if watch || files.is_some() {
            Workload::Insert
        } else {
            Workload::of_name(&self.workload)?
        };
        for (name, seconds) in [
            ("--seconds", self.seconds),
            ("--warmup-seconds", self.warmup_seconds),
        ] {
            if !(0.0..=86_400.0).contains(&seconds) {
                return Err(CliError::usage(format!(
                    "{name} must be between 0 and 86400"
                )));
            }
        }
        let target = self.target.resolve()?;
        if self.server_cpu && target.cluster.pids.is_empty() {
            return Err(CliError::usage(
                "--server-cpu needs a development cluster as target: its dev.json names the processes",
            ));
        }
        let clients = self.clients as usize;
        let clients_a_connection = match files {
            Some(_) => FILE_CLIENTS_A_CONNECTION,
            None => CLIENTS_A_CONNECTION,
        };
        let connections = self.connections.map_or_else(
            || {
                target
                    .cluster
                    .endpoints
                    .len()
                    .max(clients.div_ceil(clients_a_connection))
            },
            |connections| connections as usize,
        );
        let plan = run::Plan {
            workload,
            clients,
            connections: connections.min(clients),
            seconds: self.seconds,
            warmup_seconds: self.warmup_seconds,
            value_bytes: self.value_bytes as usize,
            records: self.records,
            read_level: self.read_level.into(),
            server_cpu: self.server_cpu,
            keep: self.keep,
        };
        if self.dry_run {
            eprintln!(
                "dry run: would run {} for {} s in {}",
                self.workload,
                self.seconds,
                target.describe()
            );
            return Ok(());
        }
        let report = if let Some(kind) = files {
            let plan = files::Plan {
                kind,
                clients,
                connections: plan.connections,
                seconds: self.seconds,
                warmup_seconds: self.warmup_seconds,
                file_bytes: self.file_bytes.unwrap_or(kind.file_bytes_default()),
                server_cpu: self.server_cpu,
                keep: self.keep,
            };
            plan.run(&target).await?
        } else if watch {
            let plan = watch::Plan {
                watches: clients,
                rooms: (self.rooms as usize).min(clients),
                writes_per_second: self.writes_per_second,
                seconds: self.seconds,
                warmup_seconds: self.warmup_seconds,
                value_bytes: self.value_bytes as usize,
                server_cpu: self.server_cpu,
                keep: self.keep,
            };
            plan.run(&target).await?
        } else {
            plan.run(&target).await?
        };
        self.output.value(&report.to_json())?;
        if report.ops == 0 {
            return Err(CliError::failed("no operation succeeded"));
        }
        Ok(())
    }
}
