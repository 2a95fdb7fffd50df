//! Every limit and timing of a host, in one place, each with the reason for its default.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::peer_network::{ClusterId, PeerNetwork};
use crate::snapshot::SnapshotOptions;
use crate::state_machine_store::ApplyOptions;
use crate::types::NodeId;

/// Timing of elections and heartbeats, and how much goes into one append.
#[derive(Debug, Clone)]
pub struct RaftOptions {
    /// How often a leader shows that it lives. Nine groups of three members cost some 45 small
    /// messages a second and node at this rate.
    pub heartbeat: Duration,
    /// Lower bound of the random wait before a follower stands for election, counted from the end of
    /// the leader's lease. Must exceed two heartbeats and a tick.
    pub election_min: Duration,
    /// Upper bound of that wait, and the length of the leader's lease. A dead leader is thus noticed
    /// after `election_max + election_min` to `2 * election_max`: 1.35 s to 1.8 s, which leaves a
    /// second of the three that clients are promised for votes and one repeated round, while a
    /// living leader must be silent for seven heartbeats to be doubted.
    pub election_max: Duration,
    /// How long an append may go unanswered before the follower counts as gone. Longer than a slow
    /// fsync, since a broken connection is noticed by itself.
    pub append_timeout: Duration,
    /// Most entries in one append.
    pub append_max_entries: u64,
    /// Appends that may wait for their answers, per follower and group: enough to fill the time of
    /// one fsync, little enough to bound what a slow follower holds.
    pub append_pipeline: usize,
}

impl Default for RaftOptions {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(200),
            election_min: Duration::from_millis(450),
            election_max: Duration::from_millis(900),
            append_timeout: Duration::from_secs(5),
            append_max_entries: 256,
            append_pipeline: 16,
        }
    }
}

/// How proposals are gathered and how many may wait.
#[derive(Debug, Clone)]
pub struct ProposalOptions {
    /// Most commands in one entry, so that one apply stays short.
    pub batch_max_commands: usize,
    /// Most bytes in one entry. A single larger command travels alone.
    pub batch_max_bytes: usize,
    /// Largest single command: a 16 MiB document and its envelope.
    pub command_max_bytes: usize,
    /// Entries on their way at once in a group, as long as they hold few commands.
    pub pipeline_entries: usize,
    /// Commands under way beyond which the next batch collects until the entry before it is applied: sharing a round
    /// then saves more than overtaking it would.
    pub pipeline_commands: usize,
    /// Most commands of a group that wait for an answer; more are refused as overload.
    pub in_flight_max_commands: usize,
    /// Most bytes of such commands.
    pub in_flight_max_bytes: usize,
}

impl Default for ProposalOptions {
    fn default() -> Self {
        Self {
            batch_max_commands: 512,
            batch_max_bytes: 1024 * 1024,
            command_max_bytes: 17 * 1024 * 1024,
            pipeline_entries: 3,
            pipeline_commands: 16,
            in_flight_max_commands: 16 * 1024,
            in_flight_max_bytes: 64 * 1024 * 1024,
        }
    }
}

/// When state is flushed, snapshots are taken and the log is purged.
#[derive(Debug, Clone)]
pub struct CompactionOptions {
    /// How often a group is looked at. Nothing here is urgent.
    pub interval: Duration,
    /// Flush the state after this many entries since the last flush: bounds what a restart applies again.
    pub flush_entries: u64,
    /// The same by bytes of commands: entries carry many commands under load. A restart applies this
    /// much in some tenths of a second.
    pub flush_bytes: u64,
    /// Take a snapshot, and with it purge, when the log holds this many entries that no snapshot holds.
    pub snapshot_entries: u64,
    /// The same by bytes of commands, for groups with large documents.
    pub snapshot_bytes: u64,
    /// Entries kept behind a snapshot, so that a follower that was away for a while catches up from
    /// the log. A quarter of a million small entries would be cheap as well; large ones would not.
    pub keep_entries: u64,
    /// Purge when at least this many can go, so that a purge is worth its write.
    pub purge_entries: u64,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            flush_entries: 50_000,
            flush_bytes: 16 * 1024 * 1024,
            snapshot_entries: 200_000,
            snapshot_bytes: 512 * 1024 * 1024,
            keep_entries: 20_000,
            purge_entries: 1024,
        }
    }
}

/// How snapshots travel. How fast they are read is bounded by [`SnapshotOptions`].
#[derive(Debug, Clone)]
pub struct TransferOptions {
    /// Parts on their way at once; with parts of 1 MiB this is the memory a transfer takes on each side.
    pub parts_in_flight: usize,
    /// Missing parts named in one answer; the sender asks again when it has sent those.
    pub parts_per_offer: usize,
    /// How long the receiver may take to answer an offer, or to store one part.
    pub part_timeout: Duration,
    /// How long the receiver may take to verify and install a complete snapshot.
    pub install_timeout: Duration,
}

impl Default for TransferOptions {
    fn default() -> Self {
        Self {
            parts_in_flight: 4,
            parts_per_offer: 4096,
            part_timeout: Duration::from_secs(10),
            install_timeout: Duration::from_secs(300),
        }
    }
}

/// Where Raft's tasks run.
#[derive(Debug, Clone)]
pub enum RaftRuntime {
    /// On threads of their own, so that neither request handling nor storage delays a heartbeat.
    Own {
        /// Worker threads. Two suffice for dozens of groups: the blocking work is elsewhere.
        threads: usize,
    },
    /// On the caller's runtime: for simulation under a paused clock.
    Current,
}

/// What a [`Host`](crate::Host) needs to start.
#[derive(Clone)]
pub struct HostOptions {
    /// This node's identity.
    pub node_id: NodeId,
    /// The cluster it belongs to.
    pub cluster_id: ClusterId,
    /// Carries requests to peers.
    pub network: Arc<dyn PeerNetwork>,
    /// Elections, heartbeats and appends.
    pub raft: RaftOptions,
    /// Proposals.
    pub proposals: ProposalOptions,
    /// Flush, snapshot, purge.
    pub compaction: CompactionOptions,
    /// Size of one call of the state machine.
    pub apply: ApplyOptions,
    /// Building and reading snapshots.
    pub snapshots: SnapshotOptions,
    /// Sending and receiving snapshots.
    pub transfer: TransferOptions,
    /// Folder for the groups' snapshots, a folder each; on the file system of the states.
    pub snapshot_dir: PathBuf,
    /// Where Raft runs.
    pub runtime: RaftRuntime,
}

impl HostOptions {
    /// Defaults for everything that has one.
    pub fn new(
        node_id: NodeId,
        cluster_id: ClusterId,
        network: Arc<dyn PeerNetwork>,
        snapshot_dir: PathBuf,
    ) -> Self {
        Self {
            node_id,
            cluster_id,
            network,
            raft: RaftOptions::default(),
            proposals: ProposalOptions::default(),
            compaction: CompactionOptions::default(),
            apply: ApplyOptions::default(),
            snapshots: SnapshotOptions::default(),
            transfer: TransferOptions::default(),
            snapshot_dir,
            runtime: RaftRuntime::Own { threads: 2 },
        }
    }
}
