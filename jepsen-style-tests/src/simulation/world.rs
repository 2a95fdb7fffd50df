//! The simulated cluster: processes that start and are killed, their disks, the network between them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use yunbase_consensus::{
    ClusterId, Group, GroupId, Host, HostOptions, LogEngine, MemoryDisk, NodeId, Peer, RaftRuntime,
    Role, SimNetwork,
};

use super::Sabotage;
use super::judge::Judge;
use super::life::{Ear, Life, Mouth};
use super::profile::{Profile, calm};
use super::state::{SimState, StateDisk};
use super::torn_files;
use super::trace::Trace;

/// The one group of a run.
pub(super) const GROUP: GroupId = GroupId(1);
const CLUSTER: ClusterId = ClusterId([5; 16]);

/// A process that runs.
#[derive(Clone)]
pub(super) struct Process {
    /// Whose it is.
    pub(super) node: NodeId,
    /// Its replica.
    pub(super) group: Group,
    /// The replica's state.
    pub(super) state: Arc<SimState>,
    /// Whether it still runs.
    pub(super) life: Arc<Life>,
    host: Host,
}

/// A machine.
struct Machine {
    log_disk: Arc<MemoryDisk>,
    state_disk: StateDisk,
    starts: u32,
    process: Option<Process>,
    /// Between the decision to start and the running process.
    starting: bool,
    /// Never starts again: its disk is damaged.
    lost: bool,
    /// A bit of its log has flipped.
    damaged: bool,
}

/// See the module. Clones are the same world.
#[derive(Clone)]
pub(super) struct World {
    inner: Arc<Inner>,
}

struct Inner {
    seed: u64,
    profile: Profile,
    sabotage: Option<Sabotage>,
    folder: PathBuf,
    network: SimNetwork,
    judge: Arc<Mutex<Judge>>,
    trace: Mutex<Trace>,
    machines: Mutex<BTreeMap<NodeId, Machine>>,
    random: Arc<Mutex<StdRng>>,
}

impl World {
    /// A world without processes.
    pub(super) fn new(
        seed: u64,
        profile: Profile,
        folder: PathBuf,
        trace: Trace,
        sabotage: Option<Sabotage>,
    ) -> Self {
        let network = SimNetwork::new(seed ^ 0x6E65_7477, calm());
        Self {
            inner: Arc::new(Inner {
                seed,
                profile,
                sabotage,
                folder,
                network,
                judge: Arc::default(),
                trace: Mutex::new(trace),
                machines: Mutex::default(),
                random: Arc::new(Mutex::new(StdRng::seed_from_u64(seed ^ 0x776F_726C))),
            }),
        }
    }

    /// How this run was drawn.
    pub(super) fn profile(&self) -> &Profile {
        &self.inner.profile
    }

    /// Whether the run has this deliberate bug.
    pub(super) fn sabotaged_by(&self, sabotage: Sabotage) -> bool {
        self.inner.sabotage == Some(sabotage)
    }

    /// The network.
    pub(super) fn network(&self) -> &SimNetwork {
        &self.inner.network
    }

    /// Asks or tells the judge.
    pub(super) fn judge<T>(&self, ask: impl FnOnce(&mut Judge) -> T) -> T {
        ask(&mut self.inner.judge.lock())
    }

    /// Notes an event.
    pub(super) fn event(&self, event: std::fmt::Arguments<'_>) {
        self.inner.trace.lock().event(event);
    }

    /// A look at the trace.
    pub(super) fn trace<T>(&self, look: impl FnOnce(&Trace) -> T) -> T {
        look(&self.inner.trace.lock())
    }

    /// Draws from the world's random numbers.
    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.inner.random.lock())
    }

    /// Puts up a new machine; its id was never used before.
    pub(super) fn add_machine(&self) -> NodeId {
        let mut machines = self.inner.machines.lock();
        let node = machines.len() as NodeId + 1;
        let log_disk = Arc::new(MemoryDisk::default());
        log_disk.record_writes();
        if self.sabotaged_by(Sabotage::LyingDisks) {
            log_disk.lie_about_syncs();
        }
        machines.insert(
            node,
            Machine {
                log_disk,
                state_disk: StateDisk::default(),
                starts: 0,
                process: None,
                starting: false,
                lost: false,
                damaged: false,
            },
        );
        node
    }

    /// All machines.
    pub(super) fn machines(&self) -> Vec<NodeId> {
        self.inner.machines.lock().keys().copied().collect()
    }

    /// Machines of which no process runs, and which may be started.
    pub(super) fn stopped(&self) -> Vec<NodeId> {
        let machines = self.inner.machines.lock();
        let stopped = machines
            .iter()
            .filter(|(_, machine)| machine.process.is_none() && !machine.starting && !machine.lost);
        stopped.map(|(node, _)| *node).collect()
    }

    /// Machines whose disk has damage.
    pub(super) fn damaged(&self) -> Vec<NodeId> {
        let machines = self.inner.machines.lock();
        let damaged = machines.iter().filter(|(_, machine)| machine.damaged);
        damaged.map(|(node, _)| *node).collect()
    }

    /// The running processes.
    pub(super) fn processes(&self) -> Vec<Process> {
        let machines = self.inner.machines.lock();
        let running = machines
            .values()
            .filter_map(|machine| machine.process.clone());
        running.collect()
    }

    /// A running process.
    pub(super) fn process(&self, node: NodeId) -> Option<Process> {
        self.inner.machines.lock().get(&node)?.process.clone()
    }

    /// The process that thinks that it leads; of several the one of the latest term.
    pub(super) fn leader(&self) -> Option<Process> {
        let leads = |process: &Process| {
            let leadership = process.group.watch_leader();
            let leadership = leadership.borrow();
            leadership.here.then_some((leadership.term, process.node))
        };
        let leading = self
            .processes()
            .into_iter()
            .filter_map(|process| leads(&process).map(|term| (term, process)));
        let last = leading.max_by_key(|(term, _)| *term);
        last.map(|(_, process)| process)
    }

    /// Machine `node`'s log disk.
    pub(super) fn log_disk(&self, node: NodeId) -> Option<Arc<MemoryDisk>> {
        Some(self.inner.machines.lock().get(&node)?.log_disk.clone())
    }

    /// Marks a machine whose log was damaged.
    pub(super) fn mark_damaged(&self, node: NodeId) {
        if let Some(machine) = self.inner.machines.lock().get_mut(&node) {
            machine.damaged = true;
        }
    }

    fn snapshot_folder(&self, node: NodeId, start: u32) -> PathBuf {
        self.inner.folder.join(format!("node{node}-{start}"))
    }

    /// Starts a machine's process on what its disks hold.
    pub(super) async fn start(&self, node: NodeId) {
        let (log_disk, state_disk, starts) = {
            let mut machines = self.inner.machines.lock();
            let Some(machine) = machines.get_mut(&node) else {
                return;
            };
            if machine.process.is_some() || machine.starting || machine.lost {
                return;
            }
            machine.starting = true;
            machine.starts += 1;
            (
                machine.log_disk.clone(),
                machine.state_disk.clone(),
                machine.starts,
            )
        };
        let folder = self.snapshot_folder(node, starts);
        // What is left of the last process in memory must not touch the folder of this one.
        let before = self.snapshot_folder(node, starts - 1);
        if before.exists() && std::fs::rename(&before, &folder).is_err() {
            self.judge(|judge| judge.violated("harness", format!("cannot move {before:?}")));
        }
        self.tear_unsynced(node, starts, &folder);
        let opened = self.open(node, &log_disk, state_disk, folder).await;
        let mut machines = self.inner.machines.lock();
        let Some(machine) = machines.get_mut(&node) else {
            return;
        };
        machine.starting = false;
        match opened {
            Ok(process) => machine.process = Some(process),
            Err(error) => {
                // A damaged disk may be refused; nothing else may.
                if !machine.damaged {
                    let detail = format!("node {node} does not start: {error}");
                    self.judge(|judge| judge.violated("a crash can be recovered from", detail));
                }
                machine.lost = true;
            }
        }
        let running = machine.process.is_some();
        drop(machines);
        self.event(format_args!("start {node} running={running}"));
    }

    /// Makes of files that were not synced what a power loss may make of them.
    fn tear_unsynced(&self, node: NodeId, start: u32, folder: &Path) {
        if !folder.exists() {
            return;
        }
        // Chance of its own: what is torn must not change what else a seed does.
        let seed = self.inner.seed ^ (node << 32) ^ u64::from(start);
        match torn_files::tear(folder, &mut StdRng::seed_from_u64(seed)) {
            Ok(0) => {}
            Ok(torn) => self.event(format_args!("torn {torn} files")),
            Err(error) => {
                self.judge(|judge| judge.violated("harness", format!("cannot tear: {error}")));
            }
        }
    }

    async fn open(
        &self,
        node: NodeId,
        log_disk: &Arc<MemoryDisk>,
        state_disk: StateDisk,
        folder: PathBuf,
    ) -> Result<Process, String> {
        let life = Arc::new(Life::default());
        let (fastest, slowest) = self.inner.profile.disk_micros;
        let random = self.draw(|random| random.random());
        let random = Mutex::new(StdRng::seed_from_u64(random));
        let latency = move || Duration::from_micros(random.lock().random_range(fastest..=slowest));
        let log = LogEngine::simulated(log_disk.mount(), &self.inner.profile.log, latency)
            .map_err(|error| format!("log: {:?}", error.kind()))?;
        let mouth = Mouth {
            network: self.inner.network.clone(),
            life: life.clone(),
        };
        let mut options = HostOptions::new(node, CLUSTER, Arc::new(mouth), folder);
        options.runtime = RaftRuntime::Current;
        self.inner.profile.configure(node, &mut options);
        let host = Host::start(options, log).map_err(|error| format!("host: {error}"))?;
        let ear = Ear {
            handler: host.peer_handler(),
            life: life.clone(),
        };
        let forgets = self.sabotaged_by(Sabotage::ForgottenSessions);
        let judge = self.inner.judge.clone();
        let state = SimState::open(node, life.clone(), judge, state_disk, forgets);
        let state = Arc::new(state);
        let opened = host.open_group(GROUP, state.clone()).await;
        let group = opened.map_err(|error| format!("group: {error}"))?;
        self.inner.network.attach(node, Arc::new(ear));
        Ok(Process {
            node,
            group,
            state,
            life,
            host,
        })
    }

    /// Kills a machine's process: what its disk has not synced survives, vanishes or tears.
    pub(super) fn kill(&self, node: NodeId) {
        let (process, disk) = {
            let mut machines = self.inner.machines.lock();
            let Some(machine) = machines.get_mut(&node) else {
                return;
            };
            let Some(process) = machine.process.take() else {
                return;
            };
            (process, machine.log_disk.clone())
        };
        process.life.kill();
        self.inner.network.detach(node);
        let unsynced = disk.unsynced_batches();
        let survival = self.draw(|random| [0.0, 0.5, 0.9, 1.0][random.random_range(0..4)]);
        let kept = self.draw(|random| disk.crash_tearing(|| random.random_bool(survival)));
        self.event(format_args!("kill {node} kept {kept} of {unsynced}"));
        // Its tasks end on their own time, cut off from the world.
        tokio::spawn(async move { process.host.close_group(GROUP).await });
    }

    /// Takes a machine away for good.
    pub(super) fn lose(&self, node: NodeId) {
        self.kill(node);
        if let Some(machine) = self.inner.machines.lock().get_mut(&node) {
            machine.lost = true;
        }
    }

    /// Kills the processes that stopped by themselves, as an operator would, to start them again.
    pub(super) fn reap(&self) {
        for process in self.processes() {
            let status = process.group.status();
            if status.role != Role::Stopped {
                continue;
            }
            let failure = status.failure.unwrap_or_default();
            if failure.contains("panic") {
                let detail = format!("node {}: {failure}", process.node);
                self.judge(|judge| judge.violated("no panic", detail));
            }
            self.event(format_args!("stopped by itself: {}", process.node));
            self.kill(process.node);
        }
    }

    /// Cuts both ways between the nodes of `side` and all others.
    pub(super) fn cut(&self, side: &BTreeSet<NodeId>) {
        for inside in side {
            for outside in self.machines() {
                if !side.contains(&outside) {
                    self.inner.network.cut_one_way(*inside, outside);
                    self.inner.network.cut_one_way(outside, *inside);
                }
            }
        }
    }

    /// Ends all faults of the network.
    pub(super) fn heal_network(&self) {
        self.inner.network.heal();
        self.inner.network.set_faults(calm());
    }

    /// Shows the judge what the disks took since the last time.
    pub(super) fn inspect(&self) {
        for node in self.machines() {
            let Some(disk) = self.log_disk(node) else {
                continue;
            };
            for record in disk.take_records() {
                self.event(format_args!("disk {node} {record:?}"));
                self.judge(|judge| judge.written(node, &record));
            }
        }
    }

    /// How a machine is named in a membership.
    pub(super) fn peer(&self, node: NodeId) -> Peer {
        Peer {
            address: format!("node{node}"),
        }
    }
}
