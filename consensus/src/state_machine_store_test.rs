//! The bridge's own rules: few large calls within limits, progress with the state, and no guessing when
//! a state machine or an entry breaks the rules.

use std::path::Path;

use futures::stream;

use super::*;
use crate::log_engine::{LogEngine, LogOptions};
use crate::types::{Batch, Entry, LeaderId};

/// Notes the commands of each call, and answers `replies_missing` fewer than it should.
#[derive(Default)]
struct Recorder {
    calls: Mutex<Vec<Vec<(u64, u32)>>>,
    progress: Mutex<Option<Vec<u8>>>,
    replies_missing: usize,
}

impl StateMachine for Recorder {
    fn progress(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.progress.lock().clone())
    }

    fn apply(&self, commands: &[Command], progress: &[u8]) -> io::Result<Vec<Bytes>> {
        self.calls
            .lock()
            .push(commands.iter().map(|c| (c.log_index, c.position)).collect());
        *self.progress.lock() = Some(progress.to_vec());
        let replies = commands.len() - self.replies_missing.min(commands.len());
        Ok(vec![Bytes::from_static(b"done"); replies])
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn checkpoint(&self, _into: &Path) -> io::Result<()> {
        Ok(())
    }

    fn checkpoint_progress(&self, _checkpoint: &Path) -> io::Result<Option<Vec<u8>>> {
        self.progress()
    }

    fn restore(&self, _from: &Path) -> io::Result<()> {
        Ok(())
    }
}

fn open(dir: &Path, recorder: &Arc<Recorder>, options: ApplyOptions) -> StateMachineStore {
    let engine = LogEngine::in_memory(Arc::default(), &LogOptions::default()).unwrap();
    let log = engine.group(GroupId(1));
    StateMachineStore::open(
        log,
        recorder.clone(),
        dir.to_owned(),
        options,
        SnapshotOptions::default(),
    )
    .unwrap()
}

fn entry(index: u64, payload: EntryPayload<Batch, u64, crate::types::Peer>) -> Entry {
    Entry {
        log_id: LogId::new(
            LeaderId {
                term: 1,
                node_id: 1,
            },
            index,
        ),
        payload,
    }
}

fn commands(index: u64, count: usize, bytes: usize) -> Entry {
    let commands = vec![Bytes::from(vec![b'x'; bytes]); count];
    entry(index, EntryPayload::Normal(Batch::pack(&commands)))
}

async fn apply(store: &mut StateMachineStore, entries: Vec<Entry>) -> io::Result<()> {
    store
        .apply(stream::iter(
            entries.into_iter().map(|entry| Ok((entry, None))),
        ))
        .await
}

#[tokio::test]
async fn what_is_ready_is_applied_in_one_call() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let mut store = open(dir.path(), &recorder, ApplyOptions::default());
    let entries = vec![
        entry(0, EntryPayload::Blank),
        commands(1, 2, 5),
        commands(2, 0, 0),
        commands(3, 1, 5),
    ];
    apply(&mut store, entries).await.unwrap();
    assert_eq!(*recorder.calls.lock(), [vec![(1, 0), (1, 1), (3, 0)]]);
    // Entries without commands move the progress on all the same.
    apply(&mut store, vec![entry(4, EntryPayload::Blank)])
        .await
        .unwrap();
    assert_eq!(recorder.calls.lock().len(), 2);
    let stored = Progress::decode(recorder.progress().unwrap().as_deref()).unwrap();
    assert_eq!(stored.last_applied.unwrap().index, 4);
    assert_eq!(store.applied_state().await.unwrap().0, stored.last_applied);
}

#[tokio::test]
async fn calls_respect_their_limits() {
    for (apply_commands_max, apply_bytes_max) in [(4, usize::MAX), (usize::MAX, 4 * (100 + 4))] {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Arc::new(Recorder::default());
        let mut store = open(
            dir.path(),
            &recorder,
            ApplyOptions {
                apply_commands_max,
                apply_bytes_max,
            },
        );
        apply(
            &mut store,
            (0..10).map(|index| commands(index, 2, 100)).collect(),
        )
        .await
        .unwrap();
        let sizes: Vec<usize> = recorder.calls.lock().iter().map(Vec::len).collect();
        assert_eq!(sizes, [4; 5]);
    }
}

#[tokio::test]
async fn a_wrong_number_of_replies_stops_the_group() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder {
        replies_missing: 1,
        ..Recorder::default()
    });
    let mut store = open(dir.path(), &recorder, ApplyOptions::default());
    assert!(apply(&mut store, vec![commands(0, 2, 1)]).await.is_err());
    assert_eq!(
        store.applied_state().await.unwrap().0,
        None,
        "not known as applied"
    );
}

#[tokio::test]
async fn a_malformed_entry_is_never_applied() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let mut store = open(dir.path(), &recorder, ApplyOptions::default());
    // Three commands announced, one there.
    let mut bytes = crate::records::encode_entry(&commands(0, 1, 3)).unwrap();
    let count_at = bytes.len() - (3 + 4) - 8 - 4;
    bytes[count_at] = 3;
    let malformed = crate::records::decode_entry(&bytes).unwrap();
    assert!(
        apply(&mut store, vec![commands(0, 1, 1), malformed])
            .await
            .is_err()
    );
    assert!(recorder.calls.lock().is_empty());
}

#[tokio::test]
async fn a_flush_raises_what_the_log_may_purge() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let mut store = open(dir.path(), &recorder, ApplyOptions::default());
    apply(&mut store, vec![commands(0, 1, 1), commands(1, 1, 1)])
        .await
        .unwrap();
    assert_eq!(store.shared.log.flushed().unwrap(), None);
    let flushed = store.flush().await.unwrap();
    assert_eq!(flushed.unwrap().index, 1);
    assert_eq!(store.shared.log.flushed().unwrap(), flushed);
}
