//! The process of a node: started in the node's namespace, known by id and start time, waited for.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::namespace::Namespace;
use super::undo::{Action, ProcessId, Ticket, Undo};

const POLL: Duration = Duration::from_millis(5);
/// How much of a log goes into an error.
const LOG_TAIL_BYTES: u64 = 3000;

/// A process that has been started and not been waited for.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    id: ProcessId,
    ticket: Ticket,
}

impl Process {
    /// Starts `command`; its output goes to the end of `log`.
    pub(super) fn start(
        mut command: Command,
        log: &Path,
        namespace: Option<&Namespace>,
        undo: &Undo,
    ) -> io::Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for the harness, which ends the nodes itself.
            .process_group(0);
        let mut child = match namespace {
            Some(namespace) => namespace.run(|| command.spawn())?,
            None => command.spawn()?,
        };
        let known = ProcessId::of(child.id()).and_then(|id| {
            let ticket = undo.push(Action::Kill(id))?;
            Ok((id, ticket))
        });
        match known {
            Ok((id, ticket)) => Ok(Self { child, id, ticket }),
            Err(error) => {
                // What the undo table does not know must not run.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    pub(super) fn id(&self) -> ProcessId {
        self.id
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        self.id.signal(signal)
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self, undo: &Undo) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            undo.done(self.ticket);
        }
        Ok(status)
    }

    /// Waits for its end; `None` when that takes too long.
    pub(super) fn wait(
        &mut self,
        at_most: Duration,
        undo: &Undo,
    ) -> io::Result<Option<ExitStatus>> {
        let given_up = Instant::now() + at_most;
        loop {
            let status = self.ended(undo)?;
            if status.is_some() || Instant::now() > given_up {
                return Ok(status);
            }
            std::thread::sleep(POLL);
        }
    }
}

/// The end of a log.
pub(super) fn tail(log: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)));
        let _ = file.take(LOG_TAIL_BYTES).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}
