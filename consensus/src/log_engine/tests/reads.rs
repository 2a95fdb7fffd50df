//! Reads from memory, from disk and across the boundary, within their limits.

use futures::StreamExt;
use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;

use super::*;

/// A tail of about two kilobytes, so that most of a hundred entries have to come from disk.
fn small_tail() -> LogOptions {
    LogOptions {
        tail_bytes_max: 2 << 10,
        read_bytes_max: 1 << 10,
        ..LogOptions::default()
    }
}

async fn filled(dir: &Path) -> (LogEngine, GroupLog) {
    let engine = LogEngine::open(dir, small_tail()).unwrap();
    let mut log = engine.group(G1);
    for index in 0..100 {
        append(&mut log, 1, [index]).await;
    }
    (engine, log)
}

#[tokio::test]
async fn ranges_cross_from_disk_to_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, mut log) = filled(dir.path()).await;
    for (from, to) in [
        (0, 100),
        (0, 1),
        (50, 60),
        (95, 100),
        (70, 99),
        (99, 200),
        (100, 200),
        (5, 5),
        (7, 3),
    ] {
        let read = log.try_get_log_entries(from..to).await.unwrap();
        let expected: Vec<Entry> = (from..to.min(100))
            .map(|index| entry(1, index, 16))
            .collect();
        assert_eq!(read, expected, "{from}..{to}");
    }
    let stats = engine.stats();
    assert!(stats.tail_reads > 0 && stats.disk_reads > 0, "{stats:?}");
}

#[tokio::test]
async fn limited_reads_are_bounded_and_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    let (_engine, mut log) = filled(dir.path()).await;
    let mut next = 0;
    let mut reads = 0;
    while next < 100 {
        let read = log.limited_get_log_entries(next, 100).await.unwrap();
        assert!(
            !read.is_empty() && read.len() <= 30,
            "{} entries from {next}",
            read.len()
        );
        assert!(
            read.iter()
                .map(|e| e.log_id.index)
                .eq(next..next + read.len() as u64)
        );
        next += read.len() as u64;
        reads += 1;
    }
    assert!(reads > 4, "{reads}");
    let big = LogOptions {
        read_bytes_max: 1,
        tail_bytes_max: 0,
        ..LogOptions::default()
    };
    let engine = LogEngine::in_memory(Arc::default(), &big).unwrap();
    let mut log = engine.group(G1);
    append(&mut log, 1, 0..3).await;
    assert_eq!(log.limited_get_log_entries(0, 3).await.unwrap().len(), 1);
}

#[tokio::test]
async fn streams_read_piece_by_piece() {
    let dir = tempfile::tempdir().unwrap();
    let (_engine, mut log) = filled(dir.path()).await;
    let stream = log.entries_stream(3..100).await;
    let read: Vec<u64> = stream
        .map(|entry| entry.unwrap().log_id.index)
        .collect()
        .await;
    assert_eq!(read, (3..100).collect::<Vec<_>>());
}

/// A reader that planned its read before a truncation must not mix the old log with the new one.
#[tokio::test]
async fn a_truncation_makes_a_planned_read_stale() {
    use crate::log_engine::group::Checked;
    let options = LogOptions {
        tail_bytes_max: 0,
        ..LogOptions::default()
    };
    let engine = LogEngine::in_memory(Arc::default(), &options).unwrap();
    let mut log = engine.group(G1);
    append(&mut log, 1, 0..10).await;
    let plan = log.group.plan_read(2, 10, usize::MAX).unwrap();
    let old: Vec<Entry> = (2..10).map(|index| entry(1, index, 16)).collect();
    assert!(
        matches!(log.group.check_read(&plan, old.clone(), false), Ok(Checked::Valid(entries)) if entries == old)
    );
    // A purge only takes entries from the front.
    log.purge(log_id(1, 4)).await.unwrap();
    let kept = old[3..].to_vec();
    assert!(
        matches!(log.group.check_read(&plan, kept.clone(), false), Ok(Checked::Valid(entries)) if entries == kept)
    );
    // A hole is never handed out.
    let mut holed = kept.clone();
    holed.remove(2);
    assert!(log.group.check_read(&plan, holed, true).is_err());
    assert!(log.group.check_read(&plan, Vec::new(), true).is_err());
    assert!(
        log.group
            .check_read(&plan, kept[..3].to_vec(), false)
            .is_err()
    );
    log.truncate_after(Some(log_id(1, 6))).await.unwrap();
    append(&mut log, 2, [7, 8]).await;
    assert!(matches!(
        log.group.check_read(&plan, kept, false),
        Ok(Checked::Stale)
    ));
    let read = log.try_get_log_entries(5..).await.unwrap();
    let terms: Vec<_> = read
        .iter()
        .map(|e| (e.log_id.leader_id.term, e.log_id.index))
        .collect();
    assert_eq!(terms, [(1, 5), (1, 6), (2, 7), (2, 8)]);
}
