//! `yunbase bench file-put`, `file-get` and `small-files`: whole files through the Rust SDK.
//!
//! Content is drawn at random for each file, so that nothing of it is there already. A large file takes long: no client
//! begins one after the time is over, what is under way then is waited for and counts, and so does the time that it takes.
//! Every run has a folder of its own and removes it afterwards.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use serde_json::json;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::JoinSet;
use yunbase_client::storage::{Condition, Storage};

use super::report::{Report, histogram};
use super::server_cpu::{Usage, usage};
use super::workload::StepError;
use crate::cli::environment::Environment;
use crate::cli::failure::CliError;

/// Files that are there before `file-get` begins: as many as fit, and no more than this.
const FILL_FILES_MAX: u64 = 1000;
/// Their content together, unless one file is larger.
const FILL_BYTES_MAX: u64 = 1 << 30;
/// Files at once while filling and removing.
const IN_FLIGHT: usize = 16;
/// Files that a client of `small-files` remembers, to read one of them.
const REMEMBERED_MAX: usize = 1000;
/// Errors that are printed; the others are only counted.
const ERRORS_PRINTED: u64 = 5;
/// Pause of a client after an error, so that a dead cluster is not measured by how fast it refuses.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Store files.
    Put,
    /// Read files, each equally likely.
    Get,
    /// Store a small file, read one, in turn.
    Small,
}

impl Kind {
    /// Their names.
    pub(super) const ALL: [(&'static str, Self); 3] = [
        ("file-put", Self::Put),
        ("file-get", Self::Get),
        ("small-files", Self::Small),
    ];

    /// The one of this name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, kind)| *kind)
    }

    fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, kind)| *kind == self);
        found.map_or("", |(name, _)| name)
    }

    /// Size of a file, unless told.
    pub(super) fn file_bytes_default(self) -> u64 {
        match self {
            Self::Put | Self::Get => 100 << 20,
            Self::Small => 16 << 10,
        }
    }
}

/// A run, as the command line described it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    pub(super) clients: usize,
    pub(super) connections: usize,
    pub(super) seconds: f64,
    pub(super) warmup_seconds: f64,
    pub(super) file_bytes: u64,
    pub(super) server_cpu: bool,
    pub(super) keep: bool,
}

/// What the clients have seen.
struct Seen {
    puts: Histogram<u64>,
    gets: Histogram<u64>,
    bytes: u64,
    errors: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            puts: histogram(),
            gets: histogram(),
            bytes: 0,
            errors: 0,
        }
    }
}

/// One client, over a shared connection.
struct Worker {
    kind: Kind,
    storage: Storage,
    folder: Arc<str>,
    file_bytes: u64,
    /// Files that are there to be read.
    filled: u64,
    remembered: Vec<String>,
    rng: SmallRng,
    is_put_next: bool,
}

impl Plan {
    pub(super) async fn run(&self, target: &Environment) -> Result<Report, CliError> {
        let mut connections = Vec::with_capacity(self.connections);
        for number in 0..self.connections {
            let client = target.builder().first_endpoint(number).connect().await?;
            connections.push(client.storage());
        }
        let folder = format!("bench_{:016x}/", rand::random::<u64>());
        let measured = tokio::select! {
            measured = self.measure(target, &connections, &folder) => measured,
            _ = tokio::signal::ctrl_c() => Err(CliError::failed("interrupted")),
        };
        if self.keep {
            eprintln!("kept files below {folder}");
        } else if let Err(error) = clear(&connections[0], &folder).await {
            eprintln!("files below {folder} are left behind: {error}");
        }
        measured
    }

    async fn measure(
        &self,
        target: &Environment,
        connections: &[Storage],
        folder: &str,
    ) -> Result<Report, CliError> {
        let filled = self.fill(connections, folder).await?;
        let folder: Arc<str> = folder.into();
        let workers = (0..self.clients)
            .map(|number| Worker {
                kind: self.kind,
                storage: connections[number % connections.len()].clone(),
                folder: folder.clone(),
                file_bytes: self.file_bytes,
                filled,
                remembered: Vec::new(),
                rng: SmallRng::from_os_rng(),
                is_put_next: true,
            })
            .collect();
        let (workers, _) = run_for(workers, self.warmup_seconds).await?;
        let before = self.server_usage(target)?;
        let begun = Instant::now();
        let (_, seen) = run_for(workers, self.seconds).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let after = self.server_usage(target)?;
        let mut all = histogram();
        // All have the same bounds, so adding cannot fail.
        let _ = all.add(&seen.puts).and_then(|()| all.add(&seen.gets));
        let name = self.kind.name();
        let mut report = Report::new(name, self.clients, seconds, &all, seen.errors);
        let per_second = |count: f64| (count / seconds.max(0.001)).round();
        let extras = &mut report.extras;
        extras.insert("file_bytes".into(), json!(self.file_bytes));
        extras.insert("bytes_per_s".into(), json!(per_second(seen.bytes as f64)));
        if self.kind == Kind::Small {
            for (name, seen) in [("put", &seen.puts), ("get", &seen.gets)] {
                extras.insert(
                    format!("{name}s_per_s"),
                    json!(per_second(seen.len() as f64)),
                );
                for (quantile, at) in [("p50", 0.5), ("p99", 0.99)] {
                    let us = seen.value_at_quantile(at);
                    extras.insert(format!("{name}_{quantile}_us"), json!(us));
                }
            }
        }
        if self.server_cpu {
            report.add_server_usage(before, after);
        }
        Ok(report)
    }

    fn server_usage(&self, target: &Environment) -> Result<Usage, CliError> {
        if self.server_cpu {
            usage(&target.cluster.pids)
        } else {
            Ok(Usage::default())
        }
    }

    /// Stores what is going to be read; tells how many files that are.
    async fn fill(&self, connections: &[Storage], folder: &str) -> Result<u64, CliError> {
        if self.kind != Kind::Get {
            return Ok(0);
        }
        let begun = Instant::now();
        let files = (FILL_BYTES_MAX / self.file_bytes.max(1)).clamp(1, FILL_FILES_MAX);
        let puts = (0..files).map(|number| {
            let storage = connections[number as usize % connections.len()].clone();
            let (path, reader) = (filled_path(folder, number), Noise::new(self.file_bytes));
            async move { storage.put_file(path, reader).await.map(drop) }
        });
        futures::stream::iter(puts)
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<()>()
            .await?;
        let seconds = begun.elapsed().as_secs_f64();
        eprintln!("stored {files} files in {seconds:.1} s");
        Ok(files)
    }
}

fn filled_path(folder: &str, number: u64) -> String {
    format!("{folder}filled_{number}")
}

/// Lets all workers begin files for so long, and waits for the last of them.
async fn run_for(workers: Vec<Worker>, seconds: f64) -> Result<(Vec<Worker>, Seen), CliError> {
    let mut all = Seen::default();
    if seconds <= 0.0 {
        return Ok((workers, all));
    }
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let printed = Arc::new(AtomicU64::new(0));
    let mut loops = JoinSet::new();
    for mut worker in workers {
        let printed = printed.clone();
        loops.spawn(async move {
            let mut seen = Seen::default();
            while Instant::now() < until {
                worker.turn(&mut seen, &printed).await;
            }
            (worker, seen)
        });
    }
    let mut workers = Vec::new();
    while let Some(ended) = loops.join_next().await {
        let (worker, seen) =
            ended.map_err(|error| CliError::failed(format!("a client was lost: {error}")))?;
        workers.push(worker);
        let _ = all.puts.add(&seen.puts);
        let _ = all.gets.add(&seen.gets);
        all.bytes += seen.bytes;
        all.errors += seen.errors;
    }
    Ok((workers, all))
}

impl Worker {
    /// One file, and what there is to say of it.
    async fn turn(&mut self, seen: &mut Seen, printed: &AtomicU64) {
        let is_put = match self.kind {
            Kind::Put => true,
            Kind::Get => false,
            Kind::Small => self.is_put_next || self.remembered.is_empty(),
        };
        self.is_put_next = !is_put;
        let begun = Instant::now();
        let outcome = match is_put {
            true => self.put().await,
            false => self.get().await,
        };
        let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        match outcome {
            Ok(()) => {
                seen.bytes += self.file_bytes;
                let latencies = if is_put {
                    &mut seen.puts
                } else {
                    &mut seen.gets
                };
                latencies.saturating_record(us.max(1));
            }
            Err(error) => {
                seen.errors += 1;
                if printed.fetch_add(1, Ordering::Relaxed) < ERRORS_PRINTED {
                    eprintln!("{error}");
                }
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }

    async fn put(&mut self) -> Result<(), StepError> {
        let path = format!("{}{:032x}", self.folder, self.rng.random::<u128>());
        let reader = Noise::new(self.file_bytes);
        self.storage.put_file(path.as_str(), reader).await?;
        if self.kind == Kind::Small {
            if self.remembered.len() < REMEMBERED_MAX {
                self.remembered.push(path);
            } else {
                let place = self.rng.random_range(0..REMEMBERED_MAX);
                self.remembered[place] = path;
            }
        }
        Ok(())
    }

    async fn get(&mut self) -> Result<(), StepError> {
        let path = match self.kind {
            Kind::Small => self.remembered[self.rng.random_range(0..self.remembered.len())].clone(),
            _ => filled_path(&self.folder, self.rng.random_range(0..self.filled.max(1))),
        };
        let mut content = self.storage.get(&path, ..).await?;
        let mut bytes = 0;
        while let Some(piece) = content.next().await {
            bytes += piece?.len() as u64;
        }
        if bytes != self.file_bytes {
            return Err(StepError::Unexpected(format!(
                "{path} has {bytes} bytes instead of {}",
                self.file_bytes
            )));
        }
        Ok(())
    }
}

/// Removes all files of a run.
async fn clear(storage: &Storage, folder: &str) -> Result<(), CliError> {
    let deletions = storage.files(folder).map_ok(|file| {
        let storage = storage.clone();
        async move { storage.delete(&file.path, Condition::None).await.map(drop) }
    });
    deletions
        .try_buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    Ok(())
}

/// So many bytes that nobody has seen before.
struct Noise {
    rng: SmallRng,
    left: u64,
}

impl Noise {
    fn new(bytes: u64) -> Self {
        Self {
            rng: SmallRng::from_os_rng(),
            left: bytes,
        }
    }
}

impl AsyncRead for Noise {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let bytes = out.remaining().min(left);
        self.rng.fill_bytes(out.initialize_unfilled_to(bytes));
        out.advance(bytes);
        self.left -= bytes as u64;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use yunbase_client::testing::fake::{Fake, FileFault};

    use super::*;

    fn plan(kind: Kind) -> Plan {
        Plan {
            kind,
            clients: 4,
            connections: 2,
            seconds: 0.2,
            warmup_seconds: 0.05,
            // A thousand of them are stored to be read.
            file_bytes: 2_000,
            server_cpu: false,
            keep: false,
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_workload_runs_without_errors_and_cleans_up() {
        let fake = Fake::start(2).await;
        let target = Environment::of_fake(&fake);
        for (name, kind) in Kind::ALL {
            assert_eq!(Kind::of_name(name), Some(kind));
            let plan = plan(kind);
            let report = plan.run(&target).await.unwrap();
            let value = report.to_json();
            assert_eq!((report.errors, report.workload), (0, name), "{value}");
            assert!(
                report.ops > 0 && value["bytes_per_s"].as_f64().unwrap() > 0.0,
                "{value}"
            );
            assert_eq!(value["file_bytes"], plan.file_bytes);
            assert_eq!(value["gets_per_s"].is_number(), kind == Kind::Small);
            assert!(fake.files().contents().is_empty());
        }
    }

    #[tokio::test]
    async fn errors_are_counted() {
        let fake = Fake::start(1).await;
        let target = Environment::of_fake(&fake);
        let plan = Plan {
            clients: 1,
            connections: 1,
            warmup_seconds: 0.0,
            file_bytes: 10,
            keep: true,
            ..plan(Kind::Put)
        };
        fake.fault_files([FileFault::LoseAnswer]);
        let report = plan.run(&target).await.unwrap();
        assert_eq!(report.errors, 1);
        assert_eq!(fake.files().contents().len() as u64, report.ops + 1);
    }
}
