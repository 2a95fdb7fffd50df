//! The child that receives a snapshot and installs it over a state of its own.

use std::path::Path;
use std::sync::Arc;

use futures::stream;
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::{EntryPayload, RaftSnapshotBuilder, StorageHelper};

use super::CHILD_DIR;
use super::single_node::GROUP;
use crate::crash_point::CrashPoint;
use crate::log_engine::{GroupLog, LogEngine, LogOptions};
use crate::snapshot::SnapshotOptions;
use crate::state_machine_store::{ApplyOptions, StateMachineStore};
use crate::test_state_machine::{State, TestStateMachine};
use crate::types::{Batch, Entry, LeaderId, LogId};

/// How far the sender's and the receiver's state reach.
const SENT: u64 = 30;
const OWN: u64 = 10;

struct Replica {
    store: StateMachineStore,
    log: GroupLog,
    state_machine: Arc<TestStateMachine>,
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

fn entry(index: u64) -> Entry {
    let batch = Batch::pack([format!("key{index}=value").into()].iter());
    Entry {
        log_id: log_id(index),
        payload: EntryPayload::Normal(batch),
    }
}

impl Replica {
    fn open(dir: &Path) -> Self {
        let engine = LogEngine::open(&dir.join("log"), LogOptions::default()).unwrap();
        let log = engine.group(GROUP);
        let state_machine =
            Arc::new(TestStateMachine::open_with_ballast(&dir.join("state"), 3 << 20).unwrap());
        let store = StateMachineStore::open(
            log.clone(),
            state_machine.clone(),
            dir.join("snapshots"),
            ApplyOptions::default(),
            SnapshotOptions::default(),
        );
        Self {
            store: store.unwrap(),
            log,
            state_machine,
        }
    }

    async fn write(&mut self, count: u64) {
        self.log
            .append((0..count).map(entry), openraft::storage::IOFlushed::noop())
            .await
            .unwrap();
        let entries: Vec<_> = (0..count).map(|index| Ok((entry(index), None))).collect();
        self.store.apply(stream::iter(entries)).await.unwrap();
        self.store.flush().await.unwrap();
    }
}

/// Makes a sender with a snapshot and a receiver that is behind.
pub(super) fn prepare(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut sender = Replica::open(&dir.join("sender"));
        sender.write(SENT).await;
        sender
            .store
            .try_create_snapshot_builder(true)
            .await
            .unwrap()
            .build_snapshot()
            .await
            .unwrap();
        Replica::open(&dir.join("receiver")).write(OWN).await;
    });
}

fn expected(count: u64) -> State {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut replica = Replica::open(dir.path());
        replica.write(count).await;
        replica.state_machine.state()
    })
}

/// What the abort left is the old or the new state, as a whole, and openraft can start from it.
pub(super) fn check(dir: &Path, point: CrashPoint) {
    let restored = point == CrashPoint::InstallAfterRestore;
    let count = if restored { SENT } else { OWN };
    let expected = expected(count);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut receiver = Replica::open(&dir.join("receiver"));
        assert_eq!(receiver.state_machine.state(), expected);
        let current = receiver.store.get_current_snapshot().await.unwrap();
        assert_eq!(
            current.is_some(),
            restored,
            "the snapshot is current exactly if it was installed"
        );
        let initial = StorageHelper::new(&mut receiver.log, &mut receiver.store)
            .with_id(1)
            .get_initial_state()
            .await;
        assert!(initial.is_ok(), "{:?}", initial.err());
        assert_eq!(
            receiver.store.applied_state().await.unwrap().0,
            Some(log_id(count - 1))
        );
        let state = receiver.log.get_log_state().await.unwrap();
        assert_eq!(state.last_log_id, Some(log_id(count - 1)));
    });
    let leftovers = ["building", "restoring"];
    assert!(
        leftovers
            .iter()
            .all(|name| !dir.join("receiver/snapshots").join(name).exists())
    );
}

#[tokio::test]
async fn receive() {
    let Ok(dir) = std::env::var(CHILD_DIR) else {
        return;
    };
    let dir = Path::new(&dir);
    let mut sender = Replica::open(&dir.join("sender"));
    let snapshot = sender
        .store
        .get_current_snapshot()
        .await
        .unwrap()
        .unwrap()
        .snapshot;
    let mut receiver = Replica::open(&dir.join("receiver"));
    let staging = receiver
        .store
        .snapshots()
        .begin(&snapshot.manifest_bytes())
        .unwrap();
    for id in staging.missing(usize::MAX) {
        staging
            .write_part(id, &snapshot.read_part(id).await.unwrap())
            .unwrap();
    }
    let received = staging.finish().unwrap();
    receiver
        .store
        .install_snapshot(&received.meta(), received.clone())
        .await
        .unwrap();
    receiver.log.purge(log_id(SENT - 1)).await.unwrap();
    assert_eq!(
        receiver.state_machine.state().values,
        sender.state_machine.state().values
    );
}
