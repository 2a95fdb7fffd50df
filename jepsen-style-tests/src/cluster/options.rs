//! How a cluster shall be started.

use std::path::PathBuf;

/// Where the nodes of a cluster live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As root: each node is a host with its own address in its own network namespace, and so are the clients, all
    /// plugged into a switch in user space.
    Namespaces,
    /// Without root: all on 127.0.0.1. What happens between hosts, and to disks, is left out.
    Loopback,
}

impl Mode {
    /// The best that is possible here.
    pub fn best() -> Self {
        // Being root is not enough inside some containers: only trying tells. The namespace goes with its thread.
        let may_make_hosts = || {
            let tried =
                std::thread::spawn(|| nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET));
            tried.join().is_ok_and(|made| made.is_ok())
        };
        let may_plug_in = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .is_ok();
        match nix::unistd::geteuid().is_root() && may_plug_in && may_make_hosts() {
            true => Self::Namespaces,
            false => Self::Loopback,
        }
    }

    /// What it leaves out, for the report.
    pub fn leaves_out(self) -> &'static str {
        match self {
            Self::Namespaces => "nothing",
            Self::Loopback => {
                "partitions, packet loss, delay, reordering, duplication and corruption, slow links: they need root \
                 for network namespaces; so do power loss, full and stuck disks, and memory pressure"
            }
        }
    }
}

/// How a cluster shall be started.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// How many nodes, 1, 3 or 5.
    pub nodes: usize,
    /// Where they live.
    pub mode: Mode,
    /// Where their files go; must be empty or not there.
    pub folder: PathBuf,
    /// The `yunbase` to run.
    pub binary: PathBuf,
    /// Name of the run, letters, digits and `-`.
    pub run_id: String,
    /// Decides which frames the switch hits.
    pub seed: u64,
    /// Each node gets a disk of its own, an image that is mounted (needs root).
    pub disk_images: bool,
    /// Each node runs with the shim for I/O errors and clocks (needs a C compiler).
    pub shim: bool,
    /// Environment variables of the nodes.
    pub environment: Vec<(String, String)>,
    /// More keys for the nodes' configuration files, as TOML lines.
    pub configuration: String,
}
