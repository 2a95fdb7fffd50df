//! What a restart finds: acknowledged entries and votes, a torn tail cut, damage before it refused.

use std::fs;
use std::path::PathBuf;

use openraft::storage::RaftLogStorage;
use openraft::{RaftLogReader, Vote};

use super::*;
use crate::LogError;

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

fn cut(path: &Path, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length - bytes).unwrap();
}

fn is_tail_lost(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(LogError::TailLost { .. }))
}

#[tokio::test]
async fn a_log_cut_below_what_was_durable_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let running = dir.path().join("running");
    let engine = open(&running);
    let mut log = engine.group(G1);
    for index in 0..20 {
        append(&mut log, 4, [index]).await;
    }
    for bytes in [1, 30, 300] {
        let short = dir.path().join(format!("short-{bytes}"));
        copy(&running, &short);
        cut(&write_ahead_log(&short), bytes);
        let error = LogEngine::open(&short, LogOptions::default())
            .err()
            .unwrap();
        assert!(is_tail_lost(&error), "cut {bytes}: {error}");
        // Nothing is changed by the attempt: it is said again, and the file may be put back.
        assert!(LogEngine::open(&short, LogOptions::default()).is_err());
        let restored = dir.path().join(format!("restored-{bytes}"));
        copy(&short, &restored);
        fs::copy(write_ahead_log(&running), write_ahead_log(&restored)).unwrap();
        assert_eq!(
            last(&mut open(&restored).group(G1)).await,
            Some(log_id(4, 19))
        );
        // An operator whose only copy this is may say so.
        fs::remove_file(short.join("DURABLE")).unwrap();
        let engine = open(&short);
        assert!(last(&mut engine.group(G1)).await.unwrap().index < 19);
    }
}

/// Also when what is left of the log was flushed into tables meanwhile, and after a restart.
#[tokio::test]
async fn a_cut_after_a_restart_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let running = dir.path().join("running");
    {
        let engine = open(&running);
        append(&mut engine.group(G1), 4, 0..20).await;
        engine.close().await.unwrap();
    }
    let engine = open(&running);
    append(&mut engine.group(G1), 4, [20]).await;
    let short = dir.path().join("short");
    copy(&running, &short);
    cut(&write_ahead_log(&short), 1);
    let error = LogEngine::open(&short, LogOptions::default())
        .err()
        .unwrap();
    assert!(is_tail_lost(&error), "{error}");
}

/// What was written and not synced may vanish with the power: nobody was promised it.
#[tokio::test]
async fn a_log_that_lost_only_what_was_not_synced_is_taken() {
    use crate::log_engine::disk::{DiskWrite, LogDisk};
    use crate::log_engine::keys::{HardKey, HardKind};
    use crate::log_engine::rocks::RocksDisk;
    let dir = tempfile::tempdir().unwrap();
    let running = dir.path().join("running");
    let disk = RocksDisk::open(&running, &LogOptions::default()).unwrap();
    let vote = |term: u64| {
        let key = HardKey {
            group: G1,
            kind: HardKind::Vote,
        };
        [DiskWrite::PutHard(key, term.to_be_bytes().to_vec())]
    };
    disk.write(&vote(1)).unwrap();
    disk.sync().unwrap();
    let synced = fs::metadata(write_ahead_log(&running)).unwrap().len();
    for term in 2..10 {
        disk.write(&vote(term)).unwrap();
    }
    let crashed = dir.path().join("crashed");
    copy(&running, &crashed);
    let log = write_ahead_log(&crashed);
    let written = fs::metadata(&log).unwrap().len();
    assert!(written > synced);
    cut(&log, written - synced);
    let found = RocksDisk::open(&crashed, &LogOptions::default()).unwrap();
    assert_eq!(found.read_hard().unwrap().len(), 1);
    assert_eq!(found.read_hard().unwrap()[0].1, 1_u64.to_be_bytes());
}

#[tokio::test]
async fn a_torn_tail_is_cut_at_a_whole_batch() {
    let dir = tempfile::tempdir().unwrap();
    let crashed = crashed(dir.path()).await;
    // As if the twenty batches had not been synced: what a loss of power may leave.
    fs::remove_file(crashed.join("DURABLE")).unwrap();
    let length = fs::metadata(write_ahead_log(&crashed)).unwrap().len();
    for bytes in [1, 2, 7, 30, 61, 100, 250] {
        assert!(bytes < length);
        let torn = dir.path().join(format!("torn-{bytes}"));
        copy(&crashed, &torn);
        cut(&write_ahead_log(&torn), bytes);
        let engine = open(&torn);
        let mut log = engine.group(G1);
        let found = indexes(&mut log).await;
        assert!(
            !found.is_empty() && found.len() < 20,
            "cut {bytes}: {found:?}"
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
