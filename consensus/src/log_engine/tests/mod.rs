//! Tests of the log engine, by area; and what they share.

mod failure;
mod group_commit;
mod model;
mod purge;
mod reads;
mod recovery;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use tokio::sync::oneshot;

use super::{GroupLog, LogEngine, LogOptions, MemoryDisk};
use crate::types::{Batch, Entry, GroupId, LeaderId, LogId, TypeConfig};

type Flushed = oneshot::Receiver<Result<(), std::io::Error>>;

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId { term, node_id: 1 }, index)
}

/// An entry of `bytes` of commands that tell its term and index.
fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let mut command = format!("{term}/{index}").into_bytes();
    command.resize(bytes.max(command.len()), b'.');
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Batch::pack([Bytes::from(command)].iter())),
    }
}

/// Appends small entries; the receiver learns when they are durable.
async fn submit(log: &mut GroupLog, term: u64, indexes: impl IntoIterator<Item = u64>) -> Flushed {
    let (done, flushed) = TypeConfig::oneshot();
    let entries: Vec<Entry> = indexes
        .into_iter()
        .map(|index| entry(term, index, 16))
        .collect();
    log.append(entries, IOFlushed::signal(done)).await.unwrap();
    flushed
}

/// Appends and waits until it is durable.
async fn append(log: &mut GroupLog, term: u64, indexes: impl IntoIterator<Item = u64>) {
    submit(log, term, indexes).await.await.unwrap().unwrap();
}

fn pumped(options: &LogOptions) -> (Arc<MemoryDisk>, LogEngine) {
    let disk = Arc::new(MemoryDisk::default());
    let engine = LogEngine::in_memory_pumped(disk.clone(), options).unwrap();
    (disk, engine)
}

fn open(dir: &Path) -> LogEngine {
    LogEngine::open(dir, LogOptions::default()).unwrap()
}

async fn indexes(log: &mut GroupLog) -> Vec<u64> {
    use openraft::RaftLogReader;
    log.try_get_log_entries(..)
        .await
        .unwrap()
        .iter()
        .map(|entry| entry.log_id.index)
        .collect()
}

async fn last(log: &mut GroupLog) -> Option<LogId> {
    log.get_log_state().await.unwrap().last_log_id
}

const G1: GroupId = GroupId(1);
const G2: GroupId = GroupId(2);
