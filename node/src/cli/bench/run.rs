//! One run: make the collection, fill it, let the clients loop, remove it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt, TryStreamExt};
use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use yunbase_client::bson::Document;
use yunbase_client::{Client, Index, ReadLevel};

use super::keys::{Chooser, Zipfian, key};
use super::report::{Report, histogram};
use super::server_cpu::{Usage, usage};
use super::transfer::Transfers;
use super::workload::{Maker, StepError, Stepper, Workload};
use crate::cli::environment::Environment;
use crate::cli::failure::CliError;
use crate::cli::index_wait;

/// Documents that one request of the filling carries.
const FILL_DOCUMENTS: u64 = 200;
/// Bytes that one request of the filling carries at most, unless one document is larger.
const FILL_BYTES: u64 = 1 << 20;
/// Requests of the filling at once.
const FILL_IN_FLIGHT: usize = 8;
/// Errors that are printed; the others are only counted.
const ERRORS_PRINTED: u64 = 5;
/// Pause of a client after an error, so that a dead cluster is not measured by how fast it refuses.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// A run, as the command line described it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) workload: Workload,
    pub(super) clients: usize,
    pub(super) connections: usize,
    pub(super) seconds: f64,
    pub(super) warmup_seconds: f64,
    pub(super) value_bytes: usize,
    pub(super) records: u64,
    pub(super) read_level: ReadLevel,
    pub(super) server_cpu: bool,
    pub(super) keep: bool,
}

/// What the clients share.
struct Shared {
    measuring: AtomicBool,
    ended: AtomicBool,
    errors: AtomicU64,
    conflicts: AtomicU64,
    /// One for each connection: fewer than one a client, and hardly contended.
    seen: Vec<Mutex<Histogram<u64>>>,
}

impl Plan {
    pub(super) async fn run(&self, target: &Environment) -> Result<Report, CliError> {
        let connections = self.connect(target).await?;
        let first = &connections[0];
        let collection = format!("bench_{:016x}", rand::random::<u64>());
        first.create_collection(&collection).await?;
        let measured = tokio::select! {
            measured = self.measure(target, &connections, &collection) => measured,
            _ = tokio::signal::ctrl_c() => Err(CliError::failed("interrupted")),
        };
        if self.keep {
            eprintln!("kept collection {collection}");
        } else if let Err(error) = first.drop_collection(&collection).await {
            eprintln!("collection {collection} is left behind: {error}");
        }
        measured
    }

    /// Connections spread over all nodes.
    async fn connect(&self, target: &Environment) -> Result<Vec<Client>, CliError> {
        let mut connections = Vec::with_capacity(self.connections);
        for number in 0..self.connections {
            let client = target.builder().first_endpoint(number).connect().await?;
            connections.push(client.with_read_level(self.read_level));
        }
        Ok(connections)
    }

    async fn measure(
        &self,
        target: &Environment,
        connections: &[Client],
        collection: &str,
    ) -> Result<Report, CliError> {
        let mut rng = SmallRng::from_os_rng();
        let maker = Maker::new(self.workload, self.value_bytes, &mut rng);
        if self.records < self.workload.records_min() {
            return Err(CliError::usage(
                "workload txn needs --records of 2 at least",
            ));
        }
        if self.workload.records_min() > 0 {
            self.fill(connections, collection, &maker).await?;
        }
        if let Some(field) = self.workload.indexed_field() {
            let collection = connections[0].collection::<Document>(collection);
            let index = Index::ascending(field);
            collection.create_index(&index).await?;
            index_wait::built(&collection, &index.name()).await?;
        }
        let chooser = match self.workload {
            Workload::Insert | Workload::Read | Workload::Query | Workload::Txn => {
                Chooser::Uniform(self.records)
            }
            _ => Chooser::Zipfian(Zipfian::new(self.records)),
        };
        let shared = Shared {
            measuring: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            errors: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
            seen: connections
                .iter()
                .map(|_| Mutex::new(histogram()))
                .collect(),
        };
        let is_transactional = self.workload == Workload::Txn;
        let transfers = (0..connections.len())
            .filter(|_| is_transactional)
            .map(|connection| Transfers::to(target, connection))
            .collect::<Result<Vec<_>, _>>()?;
        let context = std::sync::Arc::new((shared, maker, chooser));
        let mut loops = tokio::task::JoinSet::new();
        for number in 0..self.clients {
            let connection = number % connections.len();
            let client = connections[connection].clone();
            let collection = client.collection::<Document>(collection);
            let rng = SmallRng::seed_from_u64(rng.random());
            let transfers = transfers.get(connection).cloned();
            let context = context.clone();
            loops.spawn(async move {
                let (shared, maker, chooser) = &*context;
                shared
                    .turn(
                        connection,
                        Stepper {
                            client,
                            collection,
                            maker,
                            chooser,
                            rng,
                            transfers,
                        },
                    )
                    .await;
            });
        }
        let shared = &context.0;
        tokio::time::sleep(Duration::from_secs_f64(self.warmup_seconds)).await;
        let before = self.server_usage(target)?;
        shared.measuring.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_secs_f64(self.seconds)).await;
        shared.measuring.store(false, Ordering::Relaxed);
        let seconds = begun.elapsed().as_secs_f64();
        let after = self.server_usage(target)?;
        shared.ended.store(true, Ordering::Relaxed);
        while let Some(ended) = loops.join_next().await {
            ended.map_err(|error| CliError::failed(format!("a client was lost: {error}")))?;
        }
        let mut report = Report::new(
            self.workload.name(),
            self.clients,
            seconds,
            &shared.merged(),
            shared.errors.load(Ordering::Relaxed),
        );
        self.add_extras(&mut report, before, after);
        if is_transactional {
            let conflicts = shared.conflicts.load(Ordering::Relaxed);
            report.extras.insert("conflicts".into(), json!(conflicts));
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

    fn add_extras(&self, report: &mut Report, before: Usage, after: Usage) {
        if self.read_level != ReadLevel::Linearizable {
            report.extras.insert(
                "read_level".into(),
                json!(self.read_level.as_str_name().to_ascii_lowercase()),
            );
        }
        if self.server_cpu {
            report.add_server_usage(before, after);
        }
    }

    async fn fill(
        &self,
        connections: &[Client],
        collection: &str,
        maker: &Maker,
    ) -> Result<(), CliError> {
        let begun = Instant::now();
        let a_request = (FILL_BYTES / self.value_bytes.max(1) as u64).clamp(1, FILL_DOCUMENTS);
        let requests = (0..self.records)
            .step_by(a_request as usize)
            .enumerate()
            .map(|(request, first)| {
                let collection =
                    connections[request % connections.len()].collection::<Document>(collection);
                async move {
                    let mut rng = SmallRng::seed_from_u64(first);
                    let numbers = first..(first + a_request).min(self.records);
                    let documents = numbers
                        .map(|number| maker.document(&key(number), &mut rng))
                        .collect();
                    collection.insert_raw(documents).await.map(drop)
                }
            });
        stream::iter(requests)
            .buffer_unordered(FILL_IN_FLIGHT)
            .try_collect::<()>()
            .await?;
        eprintln!(
            "filled {} documents in {:.1} s",
            self.records,
            begun.elapsed().as_secs_f64()
        );
        Ok(())
    }
}

impl Shared {
    /// Steps until the run has ended.
    async fn turn(&self, connection: usize, mut stepper: Stepper<'_>) {
        while !self.ended.load(Ordering::Relaxed) {
            // A step counts when it begins and ends within the time measured.
            let counts = self.measuring.load(Ordering::Relaxed);
            let begun = Instant::now();
            let outcome = stepper.step().await;
            let counts = counts && self.measuring.load(Ordering::Relaxed);
            match outcome {
                Ok(conflicts) if counts => {
                    self.conflicts.fetch_add(conflicts, Ordering::Relaxed);
                    let us = u64::try_from(begun.elapsed().as_micros())
                        .unwrap_or(u64::MAX)
                        .max(1);
                    self.seen[connection]
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .saturating_record(us);
                }
                Ok(_) => {}
                Err(error) => {
                    self.failed(&error, counts);
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    fn failed(&self, error: &StepError, counts: bool) {
        if counts && self.errors.fetch_add(1, Ordering::Relaxed) < ERRORS_PRINTED {
            eprintln!("{error}");
        }
    }

    fn merged(&self) -> Histogram<u64> {
        let mut all = histogram();
        for seen in &self.seen {
            // All have the same bounds, so adding cannot fail.
            let _ = all.add(&*seen.lock().unwrap_or_else(PoisonError::into_inner));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use yunbase_client::testing::fake::Fake;

    use super::*;

    fn plan(workload: Workload) -> Plan {
        Plan {
            workload,
            clients: 8,
            connections: 2,
            seconds: 0.15,
            warmup_seconds: 0.02,
            value_bytes: 100,
            records: 500,
            read_level: ReadLevel::Linearizable,
            server_cpu: false,
            keep: false,
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_workload_runs_without_errors_and_cleans_up() {
        let fake = Fake::start(2).await;
        let target = Environment::of_fake(&fake);
        for name in ["insert", "read", "ycsb-a", "ycsb-b", "ycsb-c", "ycsb-f"] {
            let report = plan(Workload::of_name(name).unwrap())
                .run(&target)
                .await
                .unwrap();
            assert!(report.ops > 10, "{name}: {report:?}");
            assert_eq!(
                (report.errors, report.workload, report.clients),
                (0, name, 8)
            );
            assert!(fake.store().collections().is_empty());
        }
    }

    #[tokio::test]
    async fn weaker_reads_and_server_usage_are_named_in_the_result() {
        let fake = Fake::start(1).await;
        let mut target = Environment::of_fake(&fake);
        target.cluster.pids = vec![std::process::id()];
        let plan = Plan {
            read_level: ReadLevel::Stale,
            server_cpu: true,
            keep: true,
            ..plan(Workload::YcsbC)
        };
        let value = plan.run(&target).await.unwrap().to_json();
        assert_eq!(value["read_level"], "stale");
        assert!(value["server_rss_bytes"].as_u64().unwrap() > 0);
        assert!(value["server_cpu_us_per_op"].is_number());
        assert_eq!(fake.store().collections().len(), 1);
    }
}
