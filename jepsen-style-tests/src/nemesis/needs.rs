//! What a nemesis cannot do without, and whether it is here.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::cluster::{ClusterOptions, Mode, memory_groups};

/// What a nemesis cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Fewest nodes that make sense.
    pub nodes_min: usize,
    /// Hosts of their own, between which the network can be broken.
    pub namespaces: bool,
    /// Disks of their own.
    pub disk_images: bool,
    /// The shim for I/O errors and clocks.
    pub shim: bool,
    /// Control groups that bound memory.
    pub memory_groups: bool,
}

impl Needs {
    /// Nothing but enough nodes.
    pub(super) fn nodes(nodes_min: usize) -> Self {
        Self {
            nodes_min,
            ..Self::default()
        }
    }

    /// Whether this machine and this user have it; else what is missing, and how to get it.
    pub fn available(&self) -> Result<(), String> {
        let is_root = nix::unistd::geteuid().is_root();
        if (self.namespaces || self.disk_images || self.memory_groups) && !is_root {
            return Err("needs root".to_owned());
        }
        if self.namespaces && !Path::new("/dev/net/tun").exists() {
            return Err("needs /dev/net/tun".to_owned());
        }
        if self.namespaces {
            installed("ip", "iproute2")?;
        }
        if self.disk_images {
            if !Path::new("/dev/loop-control").exists() {
                return Err("needs loop devices".to_owned());
            }
            installed("mkfs.ext4", "e2fsprogs")?;
            installed("fsfreeze", "util-linux")?;
        }
        if self.shim {
            installed("cc", "gcc")?;
        }
        if self.memory_groups {
            memory_groups()?;
        }
        Ok(())
    }

    /// Whether a cluster started so has it; else what its options lack.
    pub fn met_by(&self, options: &ClusterOptions) -> Result<(), String> {
        self.available()?;
        if options.nodes < self.nodes_min {
            return Err(format!("needs at least {} nodes", self.nodes_min));
        }
        if self.namespaces && options.mode != Mode::Namespaces {
            return Err("needs network namespaces; this cluster is on loopback".to_owned());
        }
        if self.disk_images && !options.disk_images {
            return Err("needs disk images; this cluster was started without".to_owned());
        }
        if self.shim && !options.shim {
            return Err("needs the shim; this cluster was started without".to_owned());
        }
        Ok(())
    }

    /// What both need together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            nodes_min: self.nodes_min.max(other.nodes_min),
            namespaces: self.namespaces || other.namespaces,
            disk_images: self.disk_images || other.disk_images,
            shim: self.shim || other.shim,
            memory_groups: self.memory_groups || other.memory_groups,
        }
    }
}

fn installed(program: &str, package: &str) -> Result<(), String> {
    // Some know no `--version` and fail; that they can be run at all is the question.
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map(drop)
        .map_err(|_| format!("needs `{program}`; install the package {package}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cluster_lacks_is_named() {
        let options = ClusterOptions {
            nodes: 3,
            mode: Mode::Loopback,
            folder: "/nowhere".into(),
            binary: "/nowhere".into(),
            run_id: "x".to_owned(),
            seed: 0,
            disk_images: false,
            shim: false,
            environment: Vec::new(),
            configuration: String::new(),
        };
        assert_eq!(Needs::nodes(3).met_by(&options), Ok(()));
        let why = Needs::nodes(5).met_by(&options).expect_err("five");
        assert!(why.contains("5 nodes"), "{why}");
        let network = Needs {
            namespaces: true,
            ..Needs::nodes(3)
        };
        assert!(network.met_by(&options).is_err());
        let shim = Needs {
            shim: true,
            ..Needs::default()
        };
        assert!(shim.met_by(&options).is_err());
    }
}
