//! Openraft as this crate configures it.

use std::sync::Arc;

use openraft::{Config, Raft, SnapshotPolicy};

use crate::error::HostError;
use crate::options::{CompactionOptions, RaftOptions};
use crate::state_machine_store::StateMachineStore;
use crate::types::{GroupId, TypeConfig};

/// The running Raft of one group.
pub(crate) type RaftHandle = Raft<TypeConfig, StateMachineStore>;

/// Messages that may wait for one group's core: appends, votes, proposals. Each is bounded at its
/// source; this only has to be larger than their sum.
const CORE_QUEUE: u64 = 4096;

/// Waits between attempts to replicate to a follower that does not answer. A follower that comes
/// back is heard within a second, well inside an election time-out.
const REPLICATION_BACKOFF: &str = "50ms 100ms 200ms ...500ms";

pub(crate) fn config(
    group: GroupId,
    raft: &RaftOptions,
    compaction: &CompactionOptions,
) -> Result<Arc<Config>, HostError> {
    let millis =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: group.to_string(),
        heartbeat_interval: millis(raft.heartbeat),
        // An answered append proves what a heartbeat would, so a busy group sends none.
        heartbeat_min_interval: Some(millis(raft.heartbeat)),
        election_timeout_min: millis(raft.election_min),
        election_timeout_max: millis(raft.election_max),
        // A node that was cut off must not depose a healthy leader when it returns.
        enable_pre_vote: Some(true),
        max_payload_entries: raft.append_max_entries,
        max_append_entries: Some(raft.append_max_entries),
        // Snapshots are taken and the log purged by `compaction`, which knows what is flushed.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: compaction.keep_entries,
        purge_batch_size: compaction.purge_entries,
        // How close a learner must be to count as caught up.
        replication_lag_threshold: 1024,
        api_channel_size: Some(CORE_QUEUE),
        notification_channel_size: Some(CORE_QUEUE),
        state_machine_channel_size: Some(CORE_QUEUE),
        backoff: REPLICATION_BACKOFF.to_owned(),
        // State is applied without waiting for the disk, so a restarted leader must be elected anew.
        enable_leader_restore: Some(false),
        // Otherwise a refusal that is older than the agreement it arrives after (the network may change
        // their order) leaves openraft with a follower whose log it takes to end before where it knows it
        // to match: it sends the same snapshot for ever (simulation, seed 1174). And a follower whose log
        // lost its end (see the log engine's watermark) would be offered what comes after it until another
        // node leads. What is committed stays so either way.
        allow_log_reversion: Some(true),
        ..Config::default()
    };
    config
        .validate()
        .map(Arc::new)
        .map_err(|error| HostError::InvalidOptions(error.to_string()))
}
