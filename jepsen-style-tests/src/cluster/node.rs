//! One node: its folder, its addresses, what it runs on, and its process while it has one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use parking_lot::Mutex;

use super::disks::Disk;
use super::error::{ClusterError, While as _};
use super::namespace::{Namespace, address};
use super::options::{ClusterOptions, Mode};
use super::process::{self, Process};
use super::shim::Shim;
use super::switch::Switch;
use super::undo::{ProcessId, Undo};

const HTTP_PORT: u16 = 7600;
const PEER_PORT: u16 = 7601;

/// A node, running or not.
#[derive(Debug)]
pub(super) struct Node {
    /// From 1.
    pub(super) number: usize,
    folder: PathBuf,
    pub(super) http: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) namespace: Option<Namespace>,
    pub(super) disk: Option<Disk>,
    pub(super) shim: Option<Shim>,
    life: Mutex<Life>,
}

#[derive(Debug, Default)]
struct Life {
    process: Option<Process>,
    /// It has been stopped by a signal and not been let go on.
    paused: bool,
    /// It has been started, and not been ended by the harness since.
    wanted: bool,
    /// How often the harness has ended it.
    ends: u64,
    /// How its last process ended.
    ended: Option<ExitStatus>,
}

impl Node {
    /// A node without a process; its host is ready for it.
    pub(super) fn create(
        number: usize,
        folder: &Path,
        mode: Mode,
        disk: bool,
        shim: Option<&Path>,
        switch: Option<&Switch>,
        undo: &Undo,
    ) -> Result<Arc<Self>, ClusterError> {
        let folder = folder.join(format!("node{number}"));
        std::fs::create_dir_all(&folder).during(|| format!("create {}", folder.display()))?;
        let (http, peer, namespace) = match (mode, switch) {
            (Mode::Namespaces, Some(switch)) => {
                let last = number as u8;
                let namespace = Namespace::create().during(|| "make a network namespace".into())?;
                let tap = namespace
                    .connect(last)
                    .during(|| format!("connect host {number}"))?;
                switch.plug(number, tap);
                let at = |port| SocketAddr::from((address(last), port));
                (at(HTTP_PORT), at(PEER_PORT), Some(namespace))
            }
            _ => {
                let (http, peer) = free_ports().during(|| "find free ports".into())?;
                (http, peer, None)
            }
        };
        let disk = match disk {
            true => Some(Disk::create(&folder, undo)?),
            false => None,
        };
        let shim = match shim {
            Some(library) => Some(Shim::create(library, &folder)?),
            None => None,
        };
        Ok(Arc::new(Self {
            number,
            folder,
            http,
            peer,
            namespace,
            disk,
            shim,
            life: Mutex::default(),
        }))
    }

    /// Its durable state.
    pub(super) fn data(&self) -> PathBuf {
        match &self.disk {
            Some(disk) => disk.path().join("data"),
            None => self.folder.join("data"),
        }
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("node.log")
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("yunbase.toml")
    }

    /// Writes its configuration file: its addresses, and `more` lines.
    pub(super) fn configure(&self, more: &str) -> Result<(), ClusterError> {
        let path = self.configuration();
        let text = format!(
            "data_dir = {:?}\nhttp_address = \"{}\"\npeer_address = \"{}\"\ns3_address = \"\"\n{more}\n",
            self.data(),
            self.http,
            self.peer
        );
        std::fs::write(&path, text).during(|| format!("write {}", path.display()))
    }

    /// Starts its process, unless it has one.
    pub(super) fn start(&self, options: &ClusterOptions, undo: &Undo) -> Result<(), ClusterError> {
        let mut life = self.life.lock();
        life.look(undo)?;
        if life.process.is_some() {
            return Ok(());
        }
        let mut command = Command::new(&options.binary);
        command
            .arg("serve")
            .arg("--config")
            .arg(self.configuration())
            .envs(options.environment.iter().cloned());
        if let Some(shim) = &self.shim {
            shim.load(&mut command, &self.data());
        }
        let process = Process::start(command, &self.log(), self.namespace.as_ref(), undo)
            .during(|| format!("start node {}", self.number))?;
        life.process = Some(process);
        life.wanted = true;
        life.paused = false;
        life.ended = None;
        Ok(())
    }

    /// Does something with its process, if it has one.
    pub(super) fn with_process<R>(
        &self,
        undo: &Undo,
        work: impl FnOnce(&mut Process) -> std::io::Result<R>,
    ) -> Result<Option<R>, ClusterError> {
        let mut life = self.life.lock();
        life.look(undo)?;
        let result = life.process.as_mut().map(work);
        life.look(undo)?;
        result
            .transpose()
            .during(|| format!("the process of node {}", self.number))
    }

    /// Its process, if it runs or is paused.
    pub(super) fn process(&self, undo: &Undo) -> Option<ProcessId> {
        let mut life = self.life.lock();
        life.look(undo).ok()?;
        life.process.as_ref().map(Process::id)
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.life.lock().paused = paused;
    }

    /// From now on its end is no surprise.
    pub(super) fn set_unwanted(&self) {
        let mut life = self.life.lock();
        life.wanted = false;
        life.ends += 1;
    }

    /// How often the harness has ended it.
    pub(super) fn ends(&self) -> u64 {
        self.life.lock().ends
    }

    /// Whether it has ended by itself and not been started since.
    pub(super) fn has_ended_by_itself(&self, undo: &Undo) -> bool {
        let mut life = self.life.lock();
        life.look(undo).is_ok() && life.process.is_none() && life.wanted
    }

    pub(super) fn is_paused(&self) -> bool {
        let life = self.life.lock();
        life.paused && life.process.is_some()
    }

    /// How its last process ended, when it has none now.
    pub(super) fn ended(&self, undo: &Undo) -> Option<ExitStatus> {
        let mut life = self.life.lock();
        life.look(undo).ok()?;
        life.ended
    }

    /// An error about it, with the end of its log.
    pub(super) fn error(&self, what: impl Into<String>) -> ClusterError {
        ClusterError::Node {
            node: self.number,
            what: what.into(),
            log: process::tail(&self.log()),
        }
    }
}

impl Life {
    /// Notes the end of the process when it has come.
    fn look(&mut self, undo: &Undo) -> Result<(), ClusterError> {
        let Some(process) = self.process.as_mut() else {
            return Ok(());
        };
        let ended = process
            .ended(undo)
            .during(|| "wait for a node".to_owned())?;
        if ended.is_some() {
            self.ended = ended;
            self.process = None;
            self.paused = false;
        }
        Ok(())
    }
}

/// Two ports of 127.0.0.1 that nobody uses now.
fn free_ports() -> std::io::Result<(SocketAddr, SocketAddr)> {
    let any = (Ipv4Addr::LOCALHOST, 0);
    // Both are held until both are known, or they could be the same.
    let (one, other) = (TcpListener::bind(any)?, TcpListener::bind(any)?);
    Ok((one.local_addr()?, other.local_addr()?))
}
