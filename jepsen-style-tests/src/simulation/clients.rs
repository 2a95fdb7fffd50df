//! Clients: each does one operation after another, repeats what it does not know the outcome of, and
//! tells the judge what it was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;
use yunbase_consensus::{Barrier, NodeId, ProposeError};

use super::Sabotage;
use super::command::{Action, SimCommand, SimReply};
use super::world::{Process, World};

/// Pause before an operation that was refused is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(15);

/// What all clients share.
#[derive(Default)]
pub(super) struct Shared {
    /// The clients end after the operation they are at.
    pub(super) stop: AtomicBool,
    /// The last value written: each write has its own.
    pub(super) values: AtomicU64,
}

/// A client.
pub(super) struct Client {
    id: u64,
    number: u64,
    world: World,
    shared: Arc<Shared>,
    random: StdRng,
    /// Who was said to lead.
    hint: Option<NodeId>,
    /// The last value seen of any key: what to compare with.
    seen: u64,
}

/// What came of an attempt.
enum Attempt {
    Done(u64, SimReply),
    Refused(Option<NodeId>),
    Unknown,
}

impl Client {
    /// A client whose choices follow from `seed`.
    pub(super) fn new(id: u64, seed: u64, world: World, shared: Arc<Shared>) -> Self {
        Self {
            id,
            number: 0,
            world,
            shared,
            random: StdRng::seed_from_u64(seed ^ (0x636C_6965_6E74 + id)),
            hint: None,
            seen: 0,
        }
    }

    fn stops(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    /// Works until told to stop.
    pub(super) async fn run(mut self) {
        while !self.stops() {
            let think = self.random.random_range(0..=self.world.profile().think_ms);
            tokio::time::sleep(Duration::from_millis(think)).await;
            let key = self.random.random_range(0..self.world.profile().keys);
            match self.random.random_range(0..10) {
                0..4 => self.read(key).await,
                4..8 => {
                    let value = self.new_value();
                    self.command(key, Action::Write(value)).await;
                }
                _ => {
                    let value = self.new_value();
                    let action = Action::CompareAndSet(self.seen, value);
                    self.command(key, action).await;
                }
            }
        }
    }

    fn new_value(&self) -> u64 {
        self.shared.values.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Who was said to lead, or anybody.
    fn choose(&mut self) -> Option<Process> {
        let hinted = self.hint.and_then(|hint| self.world.process(hint));
        if hinted.is_some() && self.random.random_bool(0.9) {
            return hinted;
        }
        let mut processes = self.world.processes();
        if processes.is_empty() {
            return None;
        }
        let chosen = self.random.random_range(0..processes.len());
        Some(processes.swap_remove(chosen))
    }

    async fn read(&mut self, key: u64) {
        let processes = self.world.processes();
        if processes.is_empty() {
            return;
        }
        let process = &processes[self.random.random_range(0..processes.len())];
        let by_lease = self.world.profile().clocks_agree() && self.random.random_bool(0.3);
        let barrier = if by_lease {
            Barrier::Lease
        } else {
            Barrier::Quorum
        };
        let patience = Duration::from_millis(self.random.random_range(100..1500));
        let floor = self.world.judge(|judge| judge.floor());
        let deadline = Instant::now() + patience;
        let careless = self.world.sabotaged_by(Sabotage::ReadsWithoutBarrier);
        let passed = async {
            match careless {
                true => Ok(process
                    .state
                    .look(|state| state.last.map_or(0, |last| last.0))),
                false => process.group.read_barrier_by(barrier, deadline).await,
            }
        };
        let (client, node) = (self.id, process.node);
        match process.life.lived_through(passed).await {
            Some(Ok(index)) => {
                let (value, last) = process.state.look(|state| (state.value(key), state.last));
                self.seen = value;
                self.world.event(format_args!(
                    "c{client} read {key}={value} from {node} at {last:?} after {index} {barrier:?}"
                ));
                self.world
                    .judge(|judge| judge.read(key, value, last, index, floor));
            }
            Some(Err(_)) | None => {
                self.world
                    .event(format_args!("c{client} no barrier at {node}"));
                self.world.judge(|judge| judge.read_failed());
            }
        }
    }

    /// Repeats a command until its outcome is known, or the client is told to stop.
    async fn command(&mut self, key: u64, action: Action) {
        self.number += 1;
        let floor = self.world.judge(|judge| judge.floor());
        let mut command = SimCommand {
            client: self.id,
            number: self.number,
            attempt: 0,
            key,
            action,
        };
        loop {
            if let Some(process) = self.choose() {
                match self.attempt(&process, &command).await {
                    Attempt::Done(index, reply) => {
                        self.hint = Some(process.node);
                        self.world
                            .event(format_args!("{command:?} done at {index}: {reply:?}"));
                        self.world
                            .judge(|judge| judge.acknowledged(&command, floor, index, reply));
                        return;
                    }
                    Attempt::Refused(hint) => {
                        self.hint = hint;
                        self.world.judge(|judge| judge.refused(&command));
                    }
                    Attempt::Unknown => {
                        self.hint = None;
                        self.world.event(format_args!("{command:?} unknown"));
                        self.world.judge(|judge| judge.unknown());
                    }
                }
                command.attempt += 1;
            }
            if self.stops() {
                return;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn attempt(&mut self, process: &Process, command: &SimCommand) -> Attempt {
        let patience = Duration::from_millis(self.random.random_range(50..1500));
        let deadline = Instant::now() + patience;
        let proposed = process
            .group
            .propose(Bytes::from(command.encode()), deadline);
        match process.life.lived_through(proposed).await {
            Some(Ok(proposed)) => match SimReply::decode(&proposed.reply) {
                Some(reply) => Attempt::Done(proposed.log_index, reply),
                None => {
                    self.world
                        .judge(|judge| judge.violated("harness", "not a reply".to_owned()));
                    Attempt::Unknown
                }
            },
            Some(Err(ProposeError::NotLeader { leader })) => {
                Attempt::Refused(leader.map(|(leader, _)| leader))
            }
            Some(Err(ProposeError::Unknown { .. })) | None => Attempt::Unknown,
            Some(Err(_)) => Attempt::Refused(None),
        }
    }
}
