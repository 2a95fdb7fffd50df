//! What a restart finds: acknowledged entries and votes, a torn tail cut, damage before it refused.

use std::fs;
use std::path::PathBuf;

use openraft::storage::RaftLogStorage;
use openraft::{RaftLogReader, Vote};

use super::*;

/// Copies a running database as a crash would leave it: WAL and all, without a shutdown.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        if item.file_name() != "LOCK" {
            fs::copy(item.path(), to.join(item.file_name())).unwrap();
        }
    }
}

fn write_ahead_log(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap()
}

/// Twenty appends of one entry each, with a vote in front, and the database as a crash leaves it.
async fn crashed(dir: &Path) -> PathBuf {
    let running = dir.join("running");
    let engine = open(&running);
    let mut log = engine.group(G1);
    log.save_vote(&Vote::new(4, 2)).await.unwrap();
    for index in 0..20 {
        append(&mut log, 4, [index]).await;
    }
    let crashed = dir.join("crashed");
    copy(&running, &crashed);
    crashed
}

#[tokio::test]
async fn everything_acknowledged_survives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&crashed(dir.path()).await);
    let mut log = engine.group(G1);
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(4, 2)));
    assert_eq!(indexes(&mut log).await, (0..20).collect::<Vec<_>>());
    assert_eq!(last(&mut log).await, Some(log_id(4, 19)));
}

#[tokio::test]
async fn a_torn_tail_is_cut_at_a_whole_batch() {
    let dir = tempfile::tempdir().unwrap();
    let crashed = crashed(dir.path()).await;
    let length = fs::metadata(write_ahead_log(&crashed)).unwrap().len();
    for cut in [1, 2, 7, 30, 61, 100, 250] {
        let torn = dir.path().join(format!("torn-{cut}"));
        copy(&crashed, &torn);
        fs::OpenOptions::new()
            .write(true)
            .open(write_ahead_log(&torn))
            .unwrap()
            .set_len(length - cut)
            .unwrap();
        let engine = open(&torn);
        let mut log = engine.group(G1);
        let found = indexes(&mut log).await;
        assert!(
            !found.is_empty() && found.len() < 20,
            "cut {cut}: {found:?}"
        );
        assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>());
        assert_eq!(
            last(&mut log).await,
            Some(log_id(4, found.len() as u64 - 1))
        );
        assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(4, 2)));
        append(&mut log, 5, [found.len() as u64]).await;
    }
}

#[tokio::test]
async fn damage_before_the_tail_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let crashed = crashed(dir.path()).await;
    let path = write_ahead_log(&crashed);
    let mut content = fs::read(&path).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 0x10;
    fs::write(&path, content).unwrap();
    assert!(LogEngine::open(&crashed, LogOptions::default()).is_err());
}

#[tokio::test]
async fn a_log_that_does_not_end_where_its_record_says_is_refused() {
    use crate::log_engine::disk::{DiskWrite, LogDisk};
    let disk = Arc::new(MemoryDisk::default());
    let engine = LogEngine::in_memory(disk.clone(), &LogOptions::default()).unwrap();
    append(&mut engine.group(G1), 1, 0..10).await;
    disk.write(&[DiskWrite::DeleteEntries {
        group: G1,
        from: 8,
        to: None,
    }])
    .unwrap();
    assert!(LogEngine::in_memory(disk.clone(), &LogOptions::default()).is_err());
}

#[tokio::test]
async fn truncations_and_rewrites_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let engine = open(dir.path());
        let mut log = engine.group(G1);
        append(&mut log, 1, 0..10).await;
        log.truncate_after(Some(log_id(1, 4))).await.unwrap();
        append(&mut log, 2, 5..8).await;
        log.truncate_after(Some(log_id(2, 5))).await.unwrap();
        append(&mut log, 3, 6..9).await;
        log.save_committed(Some(log_id(3, 7))).await.unwrap();
        engine.close().await.unwrap();
    }
    let engine = open(dir.path());
    let mut log = engine.group(G1);
    let read = log.try_get_log_entries(..).await.unwrap();
    let terms: Vec<_> = read.iter().map(|e| e.log_id.leader_id.term).collect();
    assert_eq!(terms, [1, 1, 1, 1, 1, 2, 3, 3, 3]);
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(3, 7)));
    log.truncate_after(None).await.unwrap();
    log.sync().await.unwrap();
    drop((log, engine));
    let engine = open(dir.path());
    assert_eq!(last(&mut engine.group(G1)).await, None);
}
