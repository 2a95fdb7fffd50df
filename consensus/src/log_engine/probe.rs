//! Measures what a disk gives the log: appends through the whole write path, many waiting at once. For
//! operators who choose a disk and for us when we change the writer.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use tokio::sync::Mutex;

use super::{GroupLog, LogEngine, LogOptions, LogStats};
use crate::types::{Batch, Entry, GroupId, LeaderId, LogId, TypeConfig};

/// Groups that the waiters are spread over, as on a node with the default number of groups.
const GROUPS: u32 = 8;
/// Entries kept a group; what is older is purged, as in a long run.
const ENTRIES_KEPT: u64 = 10_000;
/// Purging goes in steps, as it does in a group.
const PURGE_STEP: u64 = 1_024;

/// What to measure.
#[derive(Debug, Clone)]
pub struct ProbeOptions {
    /// Appends that wait at the same time.
    pub waiters: usize,
    /// Size of the one command in each entry.
    pub entry_bytes: usize,
    /// How long.
    pub duration: Duration,
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct ProbeReport {
    /// Appends acknowledged.
    pub appends: u64,
    /// Time it took.
    pub elapsed: Duration,
    /// Time from append to acknowledgement that half of them met.
    pub latency_p50: Duration,
    /// The same for 99 of 100.
    pub latency_p99: Duration,
    /// What the engine counted.
    pub stats: LogStats,
}

struct Feed {
    log: GroupLog,
    next: u64,
}

/// Appends to a new log in the empty folder `dir` and reports how fast that was. What it wrote stays
/// there for the caller to remove.
pub async fn probe(
    dir: &Path,
    log_options: LogOptions,
    options: &ProbeOptions,
) -> io::Result<ProbeReport> {
    let dir = dir.to_owned();
    let open = move || LogEngine::open(&dir, log_options);
    let engine = tokio::task::spawn_blocking(open)
        .await
        .map_err(io::Error::other)??;
    let feeds: Vec<_> = (0..GROUPS)
        .map(|group| {
            Arc::new(Mutex::new(Feed {
                log: engine.group(GroupId(group)),
                next: 0,
            }))
        })
        .collect();
    let command = Bytes::from(vec![b'x'; options.entry_bytes]);
    let started = Instant::now();
    let deadline = started + options.duration;
    let mut waiters = Vec::with_capacity(options.waiters);
    for waiter in 0..options.waiters {
        let feed = feeds[waiter % feeds.len()].clone();
        waiters.push(tokio::spawn(wait_repeatedly(
            feed,
            command.clone(),
            deadline,
        )));
    }
    let mut latencies = Vec::new();
    for waiter in waiters {
        latencies.append(&mut waiter.await.map_err(io::Error::other)??);
    }
    let elapsed = started.elapsed();
    let stats = engine.stats();
    engine.close().await?;
    latencies.sort_unstable();
    let percentile = |percent: usize| {
        latencies
            .get(latencies.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    Ok(ProbeReport {
        appends: latencies.len() as u64,
        elapsed,
        latency_p50: percentile(50),
        latency_p99: percentile(99),
        stats,
    })
}

async fn wait_repeatedly(
    feed: Arc<Mutex<Feed>>,
    command: Bytes,
    deadline: Instant,
) -> io::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    while Instant::now() < deadline {
        let started = Instant::now();
        let (done, flushed) = TypeConfig::oneshot();
        feed.lock()
            .await
            .append(&command, IOFlushed::signal(done))
            .await?;
        flushed.await.map_err(io::Error::other)??;
        latencies.push(started.elapsed());
    }
    Ok(latencies)
}

impl Feed {
    async fn append(&mut self, command: &Bytes, done: IOFlushed<TypeConfig>) -> io::Result<()> {
        let payload = EntryPayload::Normal(Batch::pack([command]));
        self.log
            .append(
                [Entry {
                    log_id: log_id(self.next),
                    payload,
                }],
                done,
            )
            .await?;
        self.next += 1;
        if self.next > ENTRIES_KEPT && self.next.is_multiple_of(PURGE_STEP) {
            let upto = log_id(self.next - ENTRIES_KEPT);
            self.log.set_flushed(Some(upto))?;
            self.log.purge(upto).await?;
        }
        Ok(())
    }
}

fn log_id(index: u64) -> LogId {
    LogId::new(
        LeaderId {
            term: 1,
            node_id: 1,
        },
        index,
    )
}
