//! openraft's own suite of storage tests over our log and state machine, on disk and in memory.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::log_engine::{GroupLog, LogEngine, LogOptions, MemoryDisk};
use crate::snapshot::SnapshotOptions;
use crate::state_machine_store::{ApplyOptions, StateMachineStore};
use crate::test_state_machine::TestStateMachine;
use crate::types::{GroupId, TypeConfig};

struct Builder {
    on_disk: bool,
}

impl StoreBuilder<TypeConfig, GroupLog, StateMachineStore, TempDir> for Builder {
    async fn build(
        &self,
    ) -> Result<(TempDir, GroupLog, StateMachineStore), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions::default();
        let engine = if self.on_disk {
            LogEngine::open(&dir.path().join("log"), options).unwrap()
        } else {
            LogEngine::in_memory(Arc::new(MemoryDisk::default()), &options).unwrap()
        };
        let log = engine.group(GroupId(7));
        let state_machine = Arc::new(TestStateMachine::open(&dir.path().join("state")).unwrap());
        let snapshots = dir.path().join("snapshots");
        let store = StateMachineStore::open(
            log.clone(),
            state_machine,
            snapshots,
            ApplyOptions::default(),
            SnapshotOptions::default(),
        )
        .unwrap();
        Ok((dir, log, store))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rocksdb_passes_openrafts_suite() {
    Suite::test_all(Builder { on_disk: true }).await.unwrap();
}

#[tokio::test]
async fn memory_passes_openrafts_suite() {
    Suite::test_all(Builder { on_disk: false }).await.unwrap();
}
