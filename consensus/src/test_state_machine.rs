//! A small state machine for this crate's tests: a map and a log of what was applied, in memory, with
//! a file that stands for what a flush made durable. It behaves as `StateMachine` demands and checks
//! that its caller does too.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::codec::Format;
use crate::state_machine::{Command, StateMachine};

const STATE: Format = Format {
    what: "test state",
    magic: 0x7E,
    version: 1,
    body_bytes_max: 1 << 30,
};
const STATE_FILE: &str = "state";
const BALLAST_FILE: &str = "ballast.bin";

/// What is replicated: `key=value` commands, and how often commands were applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) values: BTreeMap<String, String>,
    pub(crate) applied_commands: u64,
    pub(crate) last_position: Option<(u64, u32)>,
    progress: Option<Vec<u8>>,
}

pub(crate) struct TestStateMachine {
    dir: PathBuf,
    state: Mutex<State>,
    /// Bytes of an incompressible file that each checkpoint carries, so that a snapshot has several parts.
    ballast_bytes: usize,
}

impl TestStateMachine {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        Self::open_with_ballast(dir, 0)
    }

    pub(crate) fn open_with_ballast(dir: &Path, ballast_bytes: usize) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join(STATE_FILE);
        let state = if path.exists() {
            STATE.decode(&fs::read(path)?)?
        } else {
            State::default()
        };
        Ok(Self {
            dir: dir.to_owned(),
            state: Mutex::new(state),
            ballast_bytes,
        })
    }

    pub(crate) fn state(&self) -> State {
        self.state.lock().clone()
    }

    fn replace(&self, content: &[u8]) -> io::Result<()> {
        let partial = self.dir.join("state.partial");
        fs::write(&partial, content)?;
        fs::File::open(&partial)?.sync_all()?;
        fs::rename(&partial, self.dir.join(STATE_FILE))?;
        fs::File::open(&self.dir)?.sync_all()
    }
}

impl StateMachine for TestStateMachine {
    fn progress(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.state.lock().progress.clone())
    }

    fn apply(&self, commands: &[Command], progress: &[u8]) -> io::Result<Vec<Bytes>> {
        let mut state = self.state.lock();
        let mut replies = Vec::with_capacity(commands.len());
        for command in commands {
            let position = (command.log_index, command.position);
            assert!(
                Some(position) > state.last_position,
                "{position:?} applied after {:?}",
                state.last_position
            );
            state.last_position = Some(position);
            state.applied_commands += 1;
            let text = String::from_utf8_lossy(&command.payload).into_owned();
            let (key, value) = text.split_once('=').unwrap_or((&text, ""));
            let before = state.values.insert(key.to_owned(), value.to_owned());
            replies.push(Bytes::from(before.unwrap_or_default()));
        }
        state.progress = Some(progress.to_vec());
        Ok(replies)
    }

    fn flush(&self) -> io::Result<()> {
        let content = STATE.encode(&*self.state.lock())?;
        self.replace(&content)
    }

    fn checkpoint(&self, into: &Path) -> io::Result<()> {
        let content = STATE.encode(&*self.state.lock())?;
        fs::write(into.join(STATE_FILE), content)?;
        if self.ballast_bytes > 0 {
            let mut ballast = vec![0; self.ballast_bytes];
            blake3::Hasher::new().finalize_xof().fill(&mut ballast);
            fs::write(into.join(BALLAST_FILE), ballast)?;
        }
        Ok(())
    }

    fn checkpoint_progress(&self, checkpoint: &Path) -> io::Result<Option<Vec<u8>>> {
        let state: State = STATE.decode(&fs::read(checkpoint.join(STATE_FILE))?)?;
        Ok(state.progress)
    }

    fn restore(&self, from: &Path) -> io::Result<()> {
        let content = fs::read(from.join(STATE_FILE))?;
        let restored = STATE.decode(&content)?;
        self.replace(&content)?;
        *self.state.lock() = restored;
        Ok(())
    }
}
