//! A bound on the memory of one node: a control group of its own, of either version.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::undo::{Action, ProcessId, Ticket, Undo};

/// Where groups with a bound on memory can be made here, or why not.
pub fn memory_groups() -> Result<PathBuf, String> {
    let first = PathBuf::from("/sys/fs/cgroup/memory");
    if first.join("memory.limit_in_bytes").exists() || first.join("cgroup.procs").exists() {
        return Ok(first);
    }
    let second = PathBuf::from("/sys/fs/cgroup");
    let controllers = fs::read_to_string(second.join("cgroup.subtree_control"));
    match controllers {
        Ok(text) if text.split_whitespace().any(|name| name == "memory") => Ok(second),
        _ => Err("no control group here can bound memory".to_owned()),
    }
}

/// The control group of one node.
#[derive(Debug)]
pub struct MemoryGroup {
    path: PathBuf,
    ticket: Ticket,
}

impl MemoryGroup {
    /// Makes a group named for the run, and moves a process into it.
    pub fn create(name: &str, process: ProcessId, undo: &Undo) -> io::Result<Self> {
        let path = memory_groups().map_err(io::Error::other)?.join(name);
        let ticket = undo.push(Action::RemoveGroup(path.clone()))?;
        fs::create_dir(&path)?;
        let group = Self { path, ticket };
        fs::write(group.path.join("cgroup.procs"), process.pid.to_string())?;
        Ok(group)
    }

    /// Bounds what its processes may have from now on.
    pub fn set_limit(&self, bytes: u64) -> io::Result<()> {
        let file = match self.is_first() {
            true => "memory.limit_in_bytes",
            false => "memory.max",
        };
        fs::write(self.path.join(file), bytes.to_string())
    }

    /// How often its processes ran into the bound.
    pub fn hits(&self) -> io::Result<u64> {
        match self.is_first() {
            true => number(&fs::read_to_string(self.path.join("memory.failcnt"))?),
            false => value(&self.path.join("memory.events"), "max"),
        }
    }

    /// How many processes the kernel has killed for it.
    pub fn kills(&self) -> io::Result<u64> {
        match self.is_first() {
            true => value(&self.path.join("memory.oom_control"), "oom_kill"),
            false => value(&self.path.join("memory.events"), "oom_kill"),
        }
    }

    /// Removes the group; its processes go on without a bound.
    pub fn remove(self, undo: &Undo) -> io::Result<()> {
        undo.carry_out(self.ticket)
    }

    fn is_first(&self) -> bool {
        self.path.join("memory.limit_in_bytes").exists()
    }
}

fn number(text: &str) -> io::Result<u64> {
    text.trim().parse().map_err(io::Error::other)
}

/// The value of `key` in a file of lines `key value`.
fn value(file: &Path, key: &str) -> io::Result<u64> {
    let text = fs::read_to_string(file)?;
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .ok_or_else(|| io::Error::other(format!("{} has no {key}", file.display())))
        .and_then(|(_, value)| number(value))
}
