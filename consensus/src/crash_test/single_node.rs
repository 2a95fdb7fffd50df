//! One replica that is a whole cluster, over storage on disk and no network.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, Config, OptionalSend, Raft, SnapshotPolicy};

use crate::log_engine::{LogEngine, LogOptions};
use crate::snapshot::{SnapshotData, SnapshotOptions};
use crate::state_machine_store::{ApplyOptions, StateMachineStore};
use crate::test_state_machine::TestStateMachine;
use crate::types::{GroupId, NodeId, Peer, TypeConfig, Vote};

pub(super) const GROUP: GroupId = GroupId(1);
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct SingleNode {
    pub(super) raft: Raft<TypeConfig, StateMachineStore>,
    pub(super) store: StateMachineStore,
    pub(super) state_machine: Arc<TestStateMachine>,
}

impl SingleNode {
    /// Starts the replica in `dir`, makes it the leader, and waits until it has applied its log.
    pub(super) async fn start(dir: &Path) -> Self {
        let engine = LogEngine::open(&dir.join("log"), LogOptions::default()).unwrap();
        let log = engine.group(GROUP);
        let state_machine = Arc::new(TestStateMachine::open(&dir.join("state")).unwrap());
        let store = StateMachineStore::open(
            log.clone(),
            state_machine.clone(),
            dir.join("snapshots"),
            ApplyOptions::default(),
            SnapshotOptions::default(),
        );
        let store = store.unwrap();
        let config = Config {
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: 3,
            purge_batch_size: 1,
            ..Config::default()
        };
        let config = Arc::new(config.validate().unwrap());
        let raft = Raft::new(1, config, NoNetwork, log, store.clone())
            .await
            .unwrap();
        if raft.is_initialized().await.unwrap() {
            raft.trigger().elect(false).await.unwrap();
        } else {
            raft.initialize(BTreeMap::from([(
                1,
                Peer {
                    address: "here".into(),
                },
            )]))
            .await
            .unwrap();
        }
        raft.wait(Some(PATIENCE))
            .current_leader(1, "elected")
            .await
            .unwrap();
        raft.wait_for_recovery(Some(PATIENCE)).await.unwrap();
        Self {
            raft,
            store,
            state_machine,
        }
    }

    /// Builds a snapshot and waits until the log is purged behind it.
    pub(super) async fn snapshot_and_purge(&self) {
        let applied = self.raft.metrics().borrow_watched().last_applied.unwrap();
        self.raft.trigger().snapshot().await.unwrap();
        let purged = |metrics: &openraft::RaftMetrics<TypeConfig>| {
            metrics
                .purged
                .is_some_and(|purged| purged.index + 3 >= applied.index)
        };
        self.raft
            .wait(Some(PATIENCE))
            .metrics(purged, "purged")
            .await
            .unwrap();
    }
}

use openraft::async_runtime::watch::WatchReceiver;

#[derive(Clone)]
struct NoNetwork;

fn unreachable() -> Unreachable<TypeConfig> {
    Unreachable::new(&AnyError::error("a single node has no peers"))
}

impl RaftNetworkFactory<TypeConfig> for NoNetwork {
    type Network = Self;

    async fn new_client(&mut self, _target: NodeId, _peer: &Peer) -> Self {
        Self
    }
}

impl RaftNetworkV2<TypeConfig> for NoNetwork {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(unreachable()))
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(unreachable()))
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: openraft::alias::SnapshotOf<TypeConfig, SnapshotData>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(StreamingError::Unreachable(unreachable()))
    }
}
