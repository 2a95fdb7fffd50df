//! What can be done to a node: end it, stop it for a while, start it again, take its power, fill its disk.

use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::disks::Disk;
use super::error::{ClusterError, While as _};
use super::node::Node;
use super::shim::Shim;
use super::undo::{Action, ProcessId, Ticket};
use super::{Cluster, disks};

/// Longest a process may take to be gone after SIGKILL.
pub(super) const DEATH_MAX: Duration = Duration::from_secs(10);
/// Longest a node may take to stop by itself: its own limit for that, and a flush on a busy machine.
const STOP_MAX: Duration = Duration::from_secs(40);
/// Longest a process may take to be stopped by SIGSTOP.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a node is looked after, and how often: a node that cannot run is not started without end.
const LOOK_AFTER: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(5);

impl Cluster {
    /// Ends node `k` with SIGKILL and waits until it is gone; tells how it ended. `None` when it did not run.
    pub fn kill(&self, k: usize) -> Result<Option<ExitStatus>, ClusterError> {
        self.end(k, Signal::SIGKILL, DEATH_MAX)
    }

    /// Asks node `k` to stop and waits until it has; tells how it ended. `None` when it did not run.
    pub fn terminate(&self, k: usize) -> Result<Option<ExitStatus>, ClusterError> {
        self.end(k, Signal::SIGTERM, STOP_MAX)
    }

    fn end(
        &self,
        k: usize,
        signal: Signal,
        at_most: Duration,
    ) -> Result<Option<ExitStatus>, ClusterError> {
        let node = self.node(k)?;
        node.set_unwanted();
        let ended = node.with_process(&self.undo, |process| {
            let signalled = process.signal(signal);
            let ended = process.wait(at_most, &self.undo)?;
            // One that has ended by itself at this moment, as on a disk that has lost its power, needs no signal.
            match ended {
                None => signalled.map(|()| None),
                ended => Ok(ended),
            }
        })?;
        match ended {
            None => Ok(None),
            Some(Some(status)) => Ok(Some(status)),
            Some(None) => Err(node.error(format!("is not gone {at_most:?} after {signal}"))),
        }
    }

    /// Starts node `k`, unless it runs. It is not ready yet when this returns.
    pub fn start_node(&self, k: usize) -> Result<(), ClusterError> {
        self.node(k)?.start(&self.options, &self.undo)
    }

    /// For a while, starts node `k` again should it end by itself, as a supervisor of services does: a node that trusts
    /// its disk no more takes seconds to stop. Ends when the next fault ends the node: it belongs to that one then.
    pub fn look_after(self: &Arc<Self>, k: usize) -> Result<(), ClusterError> {
        let node = self.node(k)?;
        let ends = node.ends();
        let cluster = Arc::downgrade(self);
        tokio::spawn(async move {
            let until = Instant::now() + LOOK_AFTER;
            while Instant::now() < until {
                tokio::time::sleep(LOOK_EVERY).await;
                let Some(cluster) = cluster.upgrade() else {
                    return;
                };
                if node.ends() != ends {
                    return;
                }
                if node.has_ended_by_itself(&cluster.undo) && cluster.start_node(k).is_err() {
                    return;
                }
            }
        });
        Ok(())
    }

    /// Stops node `k` in the middle of whatever it does, and waits until it has stopped.
    pub fn pause(&self, k: usize) -> Result<(), ClusterError> {
        let node = self.node(k)?;
        let process = self.running(&node)?;
        process
            .signal(Signal::SIGSTOP)
            .during(|| format!("pause node {k}"))?;
        node.set_paused(true);
        let given_up = Instant::now() + PAUSE_MAX;
        while self.state(k)? != "T" {
            if Instant::now() > given_up {
                return Err(node.error("does not stop at SIGSTOP"));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Lets node `k` go on.
    pub fn resume(&self, k: usize) -> Result<(), ClusterError> {
        let node = self.node(k)?;
        let process = self.running(&node)?;
        process
            .signal(Signal::SIGCONT)
            .during(|| format!("resume node {k}"))?;
        node.set_paused(false);
        Ok(())
    }

    /// Whether node `k` has a process that is not paused.
    pub fn is_running(&self, k: usize) -> bool {
        self.node(k)
            .is_ok_and(|node| node.process(&self.undo).is_some() && !node.is_paused())
    }

    /// The process id of node `k`, while it has a process.
    pub fn pid(&self, k: usize) -> Option<u32> {
        self.process(k).map(|process| process.pid)
    }

    /// The process of node `k`, while it has one.
    pub fn process(&self, k: usize) -> Option<ProcessId> {
        self.node(k).ok()?.process(&self.undo)
    }

    /// The state of its process as `/proc` has it: `T` when it is stopped.
    pub fn state(&self, k: usize) -> Result<String, ClusterError> {
        let node = self.node(k)?;
        self.running(&node)?
            .state()
            .during(|| format!("look at node {k}"))
    }

    /// How node `k` ended, when it does not run.
    pub fn ended(&self, k: usize) -> Option<ExitStatus> {
        self.node(k).ok()?.ended(&self.undo)
    }

    /// Waits for node `k` to end by itself; tells how it did, or `None` when it goes on.
    pub async fn wait_ended(&self, k: usize, at_most: Duration) -> Option<ExitStatus> {
        let given_up = Instant::now() + at_most;
        while self.process(k).is_some() && Instant::now() < given_up {
            tokio::time::sleep(POLL).await;
        }
        self.ended(k)
    }

    /// The end of the log of node `k`.
    pub fn log_tail(&self, k: usize) -> String {
        self.log(k)
            .map(|log| super::process::tail(&log))
            .unwrap_or_default()
    }

    fn running(&self, node: &Node) -> Result<ProcessId, ClusterError> {
        node.process(&self.undo).ok_or_else(|| {
            let how = node.ended(&self.undo);
            node.error(match how {
                Some(status) => format!("does not run ({status})"),
                None => "does not run".to_owned(),
            })
        })
    }

    /// The shim of node `k`.
    pub fn shim(&self, k: usize) -> Result<ShimOf, ClusterError> {
        let node = self.node(k)?;
        match node.shim.is_some() {
            true => Ok(ShimOf(node)),
            false => Err(ClusterError::NotAvailable(
                "the cluster was started without the shim".to_owned(),
            )),
        }
    }

    /// The power of node `k` goes: un-synced writes are lost, and its process dies.
    pub fn lose_power(&self, k: usize) -> Result<(), ClusterError> {
        let node = self.node(k)?;
        disk(&node)?.lose_power()?;
        self.kill(k).map(drop)
    }

    /// The power of node `k` comes back; tells whether un-synced writes were really lost. The node is not started.
    pub fn restore_power(&self, k: usize) -> Result<bool, ClusterError> {
        let node = self.node(k)?;
        if node.process(&self.undo).is_some() {
            return Err(ClusterError::Refused(format!(
                "node {k} runs on the disk that is to be unmounted"
            )));
        }
        disk(&node)?.restore_power()
    }

    /// Fills the disk of node `k` to the last `left` bytes; returns how many bytes are taken then.
    pub fn fill_disk(&self, k: usize, left: u64) -> Result<u64, ClusterError> {
        disk(&*self.node(k)?)?.fill(left)
    }

    /// Whether the disk of node `k` refuses a block more.
    pub fn is_disk_full(&self, k: usize) -> Result<bool, ClusterError> {
        Ok(disk(&*self.node(k)?)?.is_full())
    }

    /// Gives the disk of node `k` its space back.
    pub fn empty_disk(&self, k: usize) -> Result<(), ClusterError> {
        disk(&*self.node(k)?)?.empty()
    }

    /// Lets all writes of node `k` wait, for `at_most` even when nobody thaws it.
    pub fn freeze_disk(&self, k: usize, at_most: Duration) -> Result<Freeze, ClusterError> {
        let node = self.node(k)?;
        let mount = disk(&node)?.path().to_owned();
        let ticket = self
            .undo
            .push(Action::Unfreeze(mount))
            .during(|| "write the undo table".to_owned())?;
        let watchdog = disk(&node)?.freeze(at_most)?;
        Ok(Freeze {
            node,
            watchdog,
            ticket,
        })
    }

    /// Lets them go on.
    pub fn thaw_disk(&self, mut freeze: Freeze) -> Result<(), ClusterError> {
        let thawed = disks::unfreeze(disk(&freeze.node)?.path());
        // It has thawed the disk when its time was over, and what is not frozen cannot be thawed.
        let is_late = matches!(freeze.watchdog.try_wait(), Ok(Some(_)));
        let _ = freeze.watchdog.kill();
        let _ = freeze.watchdog.wait();
        self.undo.done(freeze.ticket);
        if is_late { Ok(()) } else { thawed }
    }
}

fn disk(node: &Node) -> Result<&Disk, ClusterError> {
    node.disk.as_ref().ok_or_else(|| {
        ClusterError::NotAvailable("the cluster was started without disk images".to_owned())
    })
}

/// The shim of a node.
#[derive(Debug)]
pub struct ShimOf(Arc<Node>);

impl std::ops::Deref for ShimOf {
    type Target = Shim;

    fn deref(&self) -> &Shim {
        self.0.shim.as_ref().expect("checked when this was made")
    }
}

/// A disk that is stuck.
#[derive(Debug)]
pub struct Freeze {
    node: Arc<Node>,
    watchdog: Child,
    ticket: Ticket,
}
