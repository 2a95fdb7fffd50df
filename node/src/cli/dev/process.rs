//! Node processes of a development cluster: start, find again, stop.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::layout::Layout;

/// Longest a node may take to stop by itself: its own drain time and a flush.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const STOP_POLL: Duration = Duration::from_millis(20);

/// How a node process relates to the command that starts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// It ends with the command, however that ends.
    WithParent,
    /// It goes on.
    Detached,
}

/// Starts node `k`; its output goes to its log file. Returns its process id.
pub(super) fn start(layout: &Layout, k: u16, lifetime: Lifetime) -> io::Result<u32> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(layout.node_log(k))?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("serve")
        .arg("--config")
        .arg(layout.node_config(k))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C in a terminal goes to the whole process group; nodes are stopped by us, one after the other.
        .process_group(0);
    if lifetime == Lifetime::WithParent {
        command.arg("--exit-with-parent");
    }
    let child = command.spawn()?;
    let pid = child.id();
    std::fs::write(layout.node_pid(k), pid.to_string())?;
    Ok(pid)
}

/// The process id of node `k` while it runs.
pub(super) fn running(layout: &Layout, k: u16) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(layout.node_pid(k))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    // A process id may have been given to somebody else since: it counts only if it runs this node's config.
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let config = layout.node_config(k);
    let ours = command_line
        .split(|byte| *byte == 0)
        .any(|argument| argument == config.as_os_str().as_encoded_bytes());
    // A process that has only just been started shows no command line yet.
    ((ours || command_line.is_empty()) && !is_zombie(pid)).then_some(pid)
}

/// A killed process that its parent has not looked at yet is dead all the same.
fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// Asks the processes to stop, waits, and kills what does not.
pub(super) fn stop(layout: &Layout, nodes: impl IntoIterator<Item = u16> + Clone) {
    let alive = |k: u16| {
        running(layout, k)
            .and_then(|pid| i32::try_from(pid).ok())
            .map(Pid::from_raw)
    };
    for pid in nodes.clone().into_iter().filter_map(alive) {
        let _ = kill(pid, Signal::SIGTERM);
    }
    let given_up = Instant::now() + STOP_TIMEOUT;
    while nodes.clone().into_iter().any(|k| alive(k).is_some()) && Instant::now() < given_up {
        std::thread::sleep(STOP_POLL);
    }
    for pid in nodes.clone().into_iter().filter_map(alive) {
        let _ = kill(pid, Signal::SIGKILL);
    }
    for k in nodes {
        let _ = std::fs::remove_file(layout.node_pid(k));
    }
}

/// The last lines of a node's log, for a message about a failed start.
pub(super) fn log_tail(layout: &Layout, k: u16) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    const TAIL_BYTES: u64 = 2048;
    let mut text = String::new();
    if let Ok(mut file) = File::open(layout.node_log(k)) {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)));
        let _ = file.take(TAIL_BYTES).read_to_string(&mut text);
    }
    text
}
