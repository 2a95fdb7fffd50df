//! What a seed makes of a run: sizes, timings, limits and the faults that may happen. Each run draws its
//! own, with limits often far smaller than in production, so that rare paths are taken all the time, and
//! with some faults left out, since a run with every fault rarely gets far (Groce, "Swarm testing", 2012).

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use yunbase_consensus::{
    ApplyOptions, CompactionOptions, HostOptions, LogOptions, ProposalOptions, RaftOptions,
    SimFaults, SnapshotOptions, TransferOptions,
};

/// A fault, or a thing that an operator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// One process dies and comes back after a while; so do their disks' unsynced sectors.
    Crash,
    /// All processes die at once: the room loses power.
    CrashAll,
    /// The leader's process dies.
    CrashLeader,
    /// Two sides that do not hear each other.
    Partition,
    /// The leader is cut off.
    IsolateLeader,
    /// One node does not hear another.
    OneWay,
    /// The network gets worse, or better.
    Weather,
    /// A sync fails, and all after it, until the process is started again.
    SyncFailure,
    /// Reads of the log fail.
    ReadFailure,
    /// A bit flips in a block of the log: the node has to be replaced sooner or later.
    Damage,
    /// A snapshot is taken.
    Snapshot,
    /// Leadership is handed over.
    Transfer,
    /// A node is added, given a vote, or removed.
    Membership,
}

const ALL: [Fault; 13] = [
    Fault::Crash,
    Fault::CrashAll,
    Fault::CrashLeader,
    Fault::Partition,
    Fault::IsolateLeader,
    Fault::OneWay,
    Fault::Weather,
    Fault::SyncFailure,
    Fault::ReadFailure,
    Fault::Damage,
    Fault::Snapshot,
    Fault::Transfer,
    Fault::Membership,
];

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    /// Nodes that vote from the start.
    pub(super) voters: u64,
    /// Nodes that wait to be added.
    pub(super) spares: u64,
    /// Clients at work.
    pub(super) clients: u64,
    /// Registers.
    pub(super) keys: u64,
    /// Longest pause between a client's operations, in milliseconds.
    pub(super) think_ms: u64,
    /// The faults that may happen.
    pub(super) faults: Vec<Fault>,
    /// Longest pause between faults, in milliseconds.
    pub(super) fault_pause_ms: u64,
    /// The network at the start.
    pub(super) network: SimFaults,
    /// Least and most time of a write or a sync, in microseconds.
    pub(super) disk_micros: (u64, u64),
    /// How much of real time a node's clock shows, for each node in turn.
    pub(super) clock_rates: Vec<f64>,
    raft: RaftOptions,
    proposals: ProposalOptions,
    compaction: CompactionOptions,
    apply: ApplyOptions,
    transfer: TransferOptions,
    /// Limits of the log.
    pub(super) log: LogOptions,
}

/// A network as a seed draws it.
pub(super) fn weather(random: &mut StdRng) -> SimFaults {
    let millis = |range| Duration::from_millis(range);
    let delay_min = millis(random.random_range(0..3));
    let spread = [0, 0, 1, 2, 5, 20, 100][random.random_range(0..7)];
    SimFaults {
        delay_min,
        delay_max: delay_min + millis(spread),
        loss: [0.0, 0.0, 0.0, 0.0, 0.01, 0.03, 0.1][random.random_range(0..7)],
        repeat: [0.0, 0.0, 0.0, 0.02, 0.2][random.random_range(0..5)],
    }
}

/// The network after everything is healed.
pub(super) fn calm() -> SimFaults {
    SimFaults {
        delay_min: Duration::from_millis(0),
        delay_max: Duration::from_millis(2),
        loss: 0.0,
        repeat: 0.0,
    }
}

impl Profile {
    /// The profile of a run.
    pub(super) fn draw(random: &mut StdRng) -> Self {
        let voters = if random.random_bool(0.2) { 5 } else { 3 };
        let spares = random.random_range(1..3);
        let drifts = random.random_bool(0.5);
        let clock_rates = (0..voters + spares + 2).map(|_| match drifts {
            true => random.random_range(0.8..1.25),
            false => 1.0,
        });
        let clock_rates = clock_rates.collect();
        let faults: Vec<Fault> = ALL
            .into_iter()
            .filter(|_| random.random_bool(0.45))
            .collect();
        let small_or =
            |random: &mut StdRng, small: usize, usual: usize| match random.random_bool(0.5) {
                true => random.random_range(1..=small),
                false => usual,
            };
        let proposals = ProposalOptions::default();
        let proposals = ProposalOptions {
            batch_max_commands: small_or(random, 3, proposals.batch_max_commands),
            pipeline_entries: random.random_range(1..6),
            pipeline_commands: small_or(random, 4, proposals.pipeline_commands),
            ..proposals
        };
        let raft = RaftOptions::default();
        // Elections that take a fraction of their time leave more of a run to what comes after them.
        let pace = [1.0, 0.5, 0.25][random.random_range(0..3)];
        let raft = RaftOptions {
            heartbeat: raft.heartbeat.mul_f64(pace),
            election_min: raft.election_min.mul_f64(pace),
            election_max: raft.election_max.mul_f64(pace),
            append_pipeline: small_or(random, 4, raft.append_pipeline),
            append_max_entries: small_or(random, 4, 256) as u64,
            append_timeout: Duration::from_millis(random.random_range(60..600)),
        };
        let compaction = CompactionOptions {
            interval: Duration::from_millis(random.random_range(50..500)),
            flush_entries: random.random_range(5..80),
            snapshot_entries: random.random_range(5..100),
            keep_entries: random.random_range(0..20),
            purge_entries: random.random_range(1..20),
            ..CompactionOptions::default()
        };
        // What is lost here leaves no broken connection that would be noticed sooner.
        let transfer = TransferOptions {
            parts_in_flight: random.random_range(1..4),
            part_timeout: Duration::from_millis(random.random_range(200..1000)),
            install_timeout: Duration::from_millis(random.random_range(400..2000)),
            ..TransferOptions::default()
        };
        let apply = ApplyOptions {
            apply_commands_max: small_or(random, 3, 4096),
            ..ApplyOptions::default()
        };
        let log = LogOptions::default();
        let log = LogOptions {
            batch_ops_max: small_or(random, 3, log.batch_ops_max),
            tail_bytes_max: small_or(random, 2000, log.tail_bytes_max),
            read_bytes_max: small_or(random, 500, log.read_bytes_max),
            ..log
        };
        let slowest = [200, 1_000, 4_000, 20_000][random.random_range(0..4)];
        Self {
            voters,
            spares,
            clients: random.random_range(3..9),
            keys: random.random_range(1..6),
            think_ms: random.random_range(2..40),
            faults,
            fault_pause_ms: random.random_range(200..3000),
            network: weather(random),
            disk_micros: (100, slowest),
            clock_rates,
            raft,
            proposals,
            compaction,
            transfer,
            apply,
            log,
        }
    }

    /// Whether clocks run at the same rate, which reads by lease rely on.
    pub(super) fn clocks_agree(&self) -> bool {
        self.clock_rates.iter().all(|rate| *rate == 1.0)
    }

    /// Sets a host's options; a clock that is fast makes its time-outs short.
    pub(super) fn configure(&self, node: u64, options: &mut HostOptions) {
        let rate = self.clock_rates.get(node as usize - 1).copied();
        let scaled = |duration: Duration| duration.div_f64(rate.unwrap_or(1.0));
        options.raft = RaftOptions {
            heartbeat: scaled(self.raft.heartbeat),
            election_min: scaled(self.raft.election_min),
            election_max: scaled(self.raft.election_max),
            append_timeout: scaled(self.raft.append_timeout),
            ..self.raft.clone()
        };
        options.proposals = self.proposals.clone();
        options.compaction = self.compaction.clone();
        options.apply = self.apply.clone();
        options.transfer = self.transfer.clone();
        // Reads of snapshots are not held back: that waits on the real clock.
        options.snapshots = SnapshotOptions::new(u64::MAX);
    }
}
