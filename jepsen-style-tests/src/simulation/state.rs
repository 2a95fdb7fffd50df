//! A simulated replica's state machine: registers in memory, and an image of them that stands for what
//! is on disk. It reports every command that it applies to the judge.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use yunbase_consensus::{Command, NodeId, StateMachine};

use super::command::SimCommand;
use super::judge::Judge;
use super::life::Life;
use super::registers::Registers;

const STATE_FILE: &str = "state";

/// One in so many pieces is flushed unasked, as a full write buffer would be.
const OWN_FLUSH_EVERY: u64 = 8;

/// State and progress, which move together.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Image {
    registers: Registers,
    progress: Option<Vec<u8>>,
}

/// What survives a crash.
pub(super) type StateDisk = Arc<Mutex<Image>>;

/// The state machine in one run of a process.
pub(super) struct SimState {
    node: NodeId,
    life: Arc<Life>,
    judge: Arc<Mutex<Judge>>,
    disk: StateDisk,
    live: Mutex<Image>,
    /// A deliberate bug: sessions do not travel with snapshots.
    forgets: bool,
}

impl SimState {
    /// Opens what is on disk.
    pub(super) fn open(
        node: NodeId,
        life: Arc<Life>,
        judge: Arc<Mutex<Judge>>,
        disk: StateDisk,
        forgets: bool,
    ) -> Self {
        let live = Mutex::new(disk.lock().clone());
        Self {
            node,
            life,
            judge,
            disk,
            live,
            forgets,
        }
    }

    /// A look at the registers.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Registers) -> T) -> T {
        look(&self.live.lock().registers)
    }

    fn alive(&self) -> io::Result<()> {
        match self.life.has_ended() {
            true => Err(io::Error::other("this process was killed")),
            false => Ok(()),
        }
    }
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

fn read_image(folder: &Path) -> io::Result<Image> {
    serde_json::from_slice(&std::fs::read(folder.join(STATE_FILE))?).map_err(invalid)
}

impl StateMachine for SimState {
    fn progress(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.live.lock().progress.clone())
    }

    fn apply(&self, commands: &[Command], progress: &[u8]) -> io::Result<Vec<Bytes>> {
        self.alive()?;
        let mut live = self.live.lock();
        let mut replies = Vec::with_capacity(commands.len());
        for command in commands {
            let place = (command.log_index, command.position);
            let decoded =
                SimCommand::decode(&command.payload).ok_or_else(|| invalid("not a command"))?;
            let reply = live.registers.apply(place, &decoded);
            let digest = live.registers.digest;
            let mut judge = self.judge.lock();
            judge.applied(self.node, place, &decoded, reply, digest);
            replies.push(Bytes::from(reply.encode()));
        }
        live.progress = Some(progress.to_vec());
        if live.registers.digest.is_multiple_of(OWN_FLUSH_EVERY) {
            *self.disk.lock() = live.clone();
        }
        Ok(replies)
    }

    fn flush(&self) -> io::Result<()> {
        self.alive()?;
        *self.disk.lock() = self.live.lock().clone();
        Ok(())
    }

    fn checkpoint(&self, into: &Path) -> io::Result<()> {
        self.alive()?;
        let bytes = serde_json::to_vec(&*self.live.lock()).map_err(invalid)?;
        std::fs::write(into.join(STATE_FILE), bytes)
    }

    fn checkpoint_progress(&self, checkpoint: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(read_image(checkpoint)?.progress)
    }

    fn restore(&self, from: &Path) -> io::Result<()> {
        self.alive()?;
        let mut image = read_image(from)?;
        if self.forgets {
            image.registers.sessions.clear();
        }
        *self.disk.lock() = image.clone();
        let mut judge = self.judge.lock();
        judge.restored(self.node, image.registers.last, image.registers.digest);
        *self.live.lock() = image;
        Ok(())
    }
}
