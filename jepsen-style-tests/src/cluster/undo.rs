//! What has to be undone, on disk before it is done: processes, mounts, frozen file systems, control groups.
//!
//! The table of a run is carried out when the cluster is dropped, at SIGINT and SIGTERM, and, when the harness itself
//! was killed, by the next one that starts: a table belongs to the dead once the process that wrote it is gone. Nothing
//! is touched that is not in a table, and a process only while it is the one that was started: same id, same start.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once, Weak};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::disks;

/// Longest wait for a killed process to be gone.
const DEATH_MAX: Duration = Duration::from_secs(5);

/// A process that nobody can mistake for another: process ids are given again, start times with them are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it was started, in clock ticks since the machine was.
    pub start_time: u64,
}

impl ProcessId {
    /// The process that has this number now.
    pub fn of(pid: u32) -> io::Result<Self> {
        let start_time = stat_field(pid, 22)?
            .parse()
            .map_err(|_| io::Error::other("no start time in /proc"))?;
        Ok(Self { pid, start_time })
    }

    /// Whether it still runs: a zombie does not.
    pub fn is_alive(&self) -> bool {
        self.is_there() && !self.is_zombie()
    }

    /// Whether nothing of it is left that holds a file: a zombie whose threads wait for a disk holds all of them.
    fn is_gone(&self) -> bool {
        let threads =
            || fs::read_dir(format!("/proc/{}/task", self.pid)).map_or(0, Iterator::count);
        !self.is_there() || (self.is_zombie() && threads() <= 1)
    }

    fn is_there(&self) -> bool {
        Self::of(self.pid).is_ok_and(|now| now == *self)
    }

    fn is_zombie(&self) -> bool {
        stat_field(self.pid, 3).is_ok_and(|state| state == "Z" || state == "X")
    }

    /// Its state, as `/proc` has it: `T` when it is stopped.
    pub fn state(&self) -> io::Result<String> {
        stat_field(self.pid, 3)
    }

    /// Sends it a signal, unless it is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        if !self.is_alive() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("process {} is gone", self.pid),
            ));
        }
        let pid = i32::try_from(self.pid).map_err(io::Error::other)?;
        Ok(kill(Pid::from_raw(pid), signal)?)
    }
}

/// Field `number` of `/proc/PID/stat`, from 1 as in proc(5).
fn stat_field(pid: u32, number: usize) -> io::Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the name in brackets, which may hold anything.
    text.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(number - 3))
        .map(str::to_owned)
        .ok_or_else(|| io::Error::other("/proc/PID/stat is too short"))
}

/// One thing to undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// End a process.
    Kill(ProcessId),
    /// Let writers go on.
    Unfreeze(PathBuf),
    /// Unmount a file system.
    Unmount(PathBuf),
    /// Remove a control group; its processes go back to the one above.
    RemoveGroup(PathBuf),
}

impl Action {
    /// Undoes it. To find that there is nothing to undo is fine.
    fn carry_out(&self) -> Result<(), String> {
        match self {
            Self::Kill(process) => {
                // It may have ended by itself at this moment.
                let signalled = process.signal(Signal::SIGKILL);
                if process.is_alive() {
                    signalled.map_err(|error| format!("kill process {}: {error}", process.pid))?;
                }
                let given_up = Instant::now() + DEATH_MAX;
                while !process.is_gone() {
                    if Instant::now() > given_up {
                        return Err(format!("process {} does not end", process.pid));
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(())
            }
            Self::Unfreeze(mount) => {
                // One that is not frozen, or not mounted any more, is an error to the command.
                drop(disks::unfreeze(mount));
                Ok(())
            }
            Self::Unmount(mount) => disks::unmount(mount).map_err(|error| error.to_string()),
            Self::RemoveGroup(group) => {
                if let (Some(above), Ok(pids)) = (
                    group.parent(),
                    fs::read_to_string(group.join("cgroup.procs")),
                ) {
                    for pid in pids.lines() {
                        let _ = fs::write(above.join("cgroup.procs"), pid);
                    }
                }
                match fs::remove_dir(group) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        Err(format!("remove {}: {error}", group.display()))
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

/// A line of a table.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// Always the first.
    Owner(ProcessId),
    Do(u64, Action),
    Done(u64),
}

/// An entry of a table, to strike it out with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// The table of one run.
#[derive(Debug)]
pub struct Undo {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    next: u64,
    open: BTreeMap<u64, Action>,
    /// The run is over: nothing may begin any more.
    closed: bool,
}

impl Undo {
    /// Begins the table of run `run_id`, after undoing what dead runs have left.
    pub fn begin(run_id: &str) -> io::Result<Arc<Self>> {
        let folder = folder()?;
        undo_the_dead(&folder)?;
        let own = ProcessId::of(std::process::id())?;
        let path = folder.join(format!("undo-{run_id}-{}.jsonl", own.pid));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)?;
        let undo = Arc::new(Self {
            path,
            state: Mutex::new(State {
                file,
                next: 0,
                open: BTreeMap::new(),
                closed: false,
            }),
        });
        undo.state.lock().write(&Line::Owner(own))?;
        LIVE.lock().push(Arc::downgrade(&undo));
        undo_at_signals();
        Ok(undo)
    }

    /// Writes an action down, before what it undoes is done.
    pub fn push(&self, action: Action) -> io::Result<Ticket> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(io::Error::other("the run is over"));
        }
        let number = state.next;
        state.next += 1;
        state.write(&Line::Do(number, action.clone()))?;
        state.open.insert(number, action);
        Ok(Ticket(number))
    }

    /// Strikes an action out that is no longer needed.
    pub fn done(&self, ticket: Ticket) {
        let mut state = self.state.lock();
        if state.open.remove(&ticket.0).is_some() {
            // A line that cannot be written leaves an action that finds nothing to do.
            let _ = state.write(&Line::Done(ticket.0));
        }
    }

    /// Carries out one action now.
    pub fn carry_out(&self, ticket: Ticket) -> io::Result<()> {
        let mut state = self.state.lock();
        let Some(action) = state.open.get(&ticket.0) else {
            return Ok(());
        };
        action.carry_out().map_err(io::Error::other)?;
        state.open.remove(&ticket.0);
        state.write(&Line::Done(ticket.0))
    }

    /// Carries out everything, the latest first, and removes the table. What cannot be undone now is told, and stays in
    /// the table for the next start.
    pub fn run_all(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let failed = carry_out_all(std::mem::take(&mut state.open), &self.path);
        state.open = failed;
    }
}

/// Carries out open actions and removes their table if all could be; returns those that could not.
fn carry_out_all(open: BTreeMap<u64, Action>, table: &Path) -> BTreeMap<u64, Action> {
    let mut failed = BTreeMap::new();
    for (number, action) in open.into_iter().rev() {
        if let Err(why) = action.carry_out() {
            eprintln!(
                "clean up: {why}; {} keeps it for the next run",
                table.display()
            );
            failed.insert(number, action);
        }
    }
    if failed.is_empty() {
        let _ = fs::remove_file(table);
    }
    failed
}

impl State {
    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text)
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        self.run_all();
    }
}

/// Where tables are: the same folder for all runs of a user, or the next would not find what the last left.
fn folder() -> io::Result<PathBuf> {
    let folder = PathBuf::from(format!("/var/tmp/yunbase-chaos-{}", nix::unistd::getuid()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Carries out the tables whose owners are gone.
fn undo_the_dead(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_table = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("undo-") && name.ends_with(".jsonl"));
        if !is_table {
            continue;
        }
        // Another run may be removing its own at this moment.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let (owner, open) = parse(&text);
        if owner.is_some_and(|owner| owner.is_alive()) {
            continue;
        }
        carry_out_all(open, &path);
    }
    Ok(())
}

/// Owner and open actions of a table; the last line may be torn.
fn parse(text: &str) -> (Option<ProcessId>, BTreeMap<u64, Action>) {
    let mut owner = None;
    let mut open = BTreeMap::new();
    for line in text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
    {
        match line {
            Line::Owner(process) => owner = Some(process),
            Line::Do(number, action) => {
                open.insert(number, action);
            }
            Line::Done(number) => {
                open.remove(&number);
            }
        }
    }
    (owner, open)
}

/// Tables of this process.
static LIVE: Mutex<Vec<Weak<Undo>>> = Mutex::new(Vec::new());

/// From now on SIGINT and SIGTERM undo everything before they end the process.
fn undo_at_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let waiting = std::thread::Builder::new()
            .name("undo".to_owned())
            .spawn(|| {
                let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                else {
                    return;
                };
                if runtime.block_on(interrupted()).is_ok() {
                    let live = std::mem::take(&mut *LIVE.lock());
                    for undo in live.iter().filter_map(Weak::upgrade) {
                        undo.run_all();
                    }
                    std::process::exit(130);
                }
            });
        // Without the thread the next start undoes what is left.
        drop(waiting);
    });
}

async fn interrupted() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").spawn().expect("sleep")
    }

    #[test]
    fn the_table_of_a_dead_run_is_carried_out_and_that_of_a_live_one_is_not() {
        let folder = tempfile::tempdir().expect("folder");
        let (mut own, mut foreign, mut other) = (sleeper(), sleeper(), sleeper());
        let mut dead = Command::new("true").spawn().expect("true");
        let owner = ProcessId {
            pid: dead.id(),
            start_time: 1,
        };
        dead.wait().expect("wait");
        let table = |name: &str, lines: &[Line]| {
            let text: Vec<String> = lines
                .iter()
                .map(|line| serde_json::to_string(line).expect("json"))
                .collect();
            fs::write(folder.path().join(name), text.join("\n") + "\n{\"do\":[9,").expect("write");
        };
        let process = |child: &Child| ProcessId::of(child.id()).expect("process");
        // Of another start, so another process that has got the same number.
        let mistaken = ProcessId {
            start_time: process(&foreign).start_time + 1,
            ..process(&foreign)
        };
        table(
            "undo-a-1.jsonl",
            &[
                Line::Owner(owner),
                Line::Do(0, Action::Kill(process(&own))),
                Line::Do(1, Action::Kill(mistaken)),
                Line::Do(2, Action::Kill(process(&other))),
                Line::Done(2),
            ],
        );
        let live = ProcessId::of(std::process::id()).expect("process");
        table(
            "undo-b-2.jsonl",
            &[
                Line::Owner(live),
                Line::Do(0, Action::Kill(process(&other))),
            ],
        );
        undo_the_dead(folder.path()).expect("undo");
        assert!(!process_is_alive(&own));
        assert!(process_is_alive(&foreign));
        assert!(process_is_alive(&other));
        assert!(!folder.path().join("undo-a-1.jsonl").exists());
        assert!(folder.path().join("undo-b-2.jsonl").exists());
        for child in [&mut own, &mut foreign, &mut other] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn process_is_alive(child: &Child) -> bool {
        ProcessId::of(child.id()).is_ok_and(|process| process.is_alive())
    }
}
