//! What `yunbase dev` keeps in its folder: settings and keys of the cluster, and one folder a node.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable_file;
use crate::identity::random_id;

const KIND: &str = "dev";
const VERSION: u32 = 1;

/// Ports of node k start at `port + PORT_STEP * (k - 1)`: HTTP, peer, S3.
const PORT_STEP: u16 = 10;

/// What was decided when the folder was first used; kept for its life.
#[derive(Clone, Serialize, Deserialize)]
pub struct Settings {
    /// HTTP port of node 1.
    pub port: u16,
    /// Number of nodes.
    pub nodes: u16,
    /// Public half of the key.
    pub secret_id: String,
    /// Secret half of the key.
    pub secret_key: String,
    /// Password of the console's first operator.
    pub operator_password: String,
    /// Delete the folder when the cluster stops.
    pub ephemeral: bool,
}

impl Settings {
    /// Fresh keys.
    pub fn new(port: u16, nodes: u16, ephemeral: bool) -> Self {
        Self {
            port,
            nodes,
            secret_id: format!("AKID{}", random_id()),
            secret_key: random_id(),
            operator_password: random_id(),
            ephemeral,
        }
    }
}

/// The folder of a development cluster.
#[derive(Debug, Clone)]
pub struct Layout(PathBuf);

impl Layout {
    /// The folder `dir`, which need not exist.
    pub fn new(dir: &Path) -> io::Result<Self> {
        std::path::absolute(dir).map(Self)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file that clients and tools read.
    pub fn dev_json(&self) -> PathBuf {
        self.0.join("dev.json")
    }

    /// Folder of node `k`.
    pub fn node(&self, k: u16) -> PathBuf {
        self.0.join(format!("node{k}"))
    }

    /// Configuration file of node `k`.
    pub fn node_config(&self, k: u16) -> PathBuf {
        self.node(k).join("yunbase.toml")
    }

    /// Log file of node `k`.
    pub fn node_log(&self, k: u16) -> PathBuf {
        self.node(k).join("node.log")
    }

    /// Process id file of node `k`.
    pub fn node_pid(&self, k: u16) -> PathBuf {
        self.node(k).join("pid")
    }

    /// The settings, when the folder has been used before.
    pub fn settings(&self) -> io::Result<Option<Settings>> {
        durable_file::read(&self.0.join("dev-settings"), KIND, VERSION)
    }

    /// Stores the settings.
    pub fn store(&self, settings: &Settings) -> io::Result<()> {
        std::fs::create_dir_all(&self.0)?;
        durable_file::write(&self.0.join("dev-settings"), KIND, VERSION, settings)
    }
}

/// The loopback addresses of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// HTTP and public gRPC.
    pub http: String,
    /// Peers.
    pub peer: String,
    /// S3.
    pub s3: String,
}

impl Addresses {
    /// Those of node `k`, from 1; `None` when the ports would not fit.
    pub fn of(port: u16, k: u16) -> Option<Self> {
        let base = PORT_STEP
            .checked_mul(k - 1)
            .and_then(|step| port.checked_add(step))?;
        base.checked_add(2)?;
        let at = |offset: u16| format!("127.0.0.1:{}", base + offset);
        Some(Self {
            http: at(0),
            peer: at(1),
            s3: at(2),
        })
    }
}

/// `dev.json`, as tools read it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DevJson {
    /// Format, 1.
    pub version: u32,
    /// The environment.
    pub env: String,
    /// Base URLs of all nodes.
    pub http: Vec<String>,
    /// S3 URLs of all nodes.
    pub s3: Vec<String>,
    /// Public half of an administrator's key.
    pub secret_id: String,
    /// Secret half.
    pub secret_key: String,
    /// First operator of the console.
    pub operator: Operator,
    /// The processes.
    pub nodes: Vec<DevNode>,
}

/// A console login.
#[derive(Serialize, Deserialize)]
pub struct Operator {
    /// Its name.
    pub username: String,
    /// Its password.
    pub password: String,
}

/// One node process of `dev.json`.
#[derive(Serialize, Deserialize)]
pub struct DevNode {
    /// Position, from 1.
    pub id: u16,
    /// Process id.
    pub pid: u32,
    /// `host:port` of HTTP.
    pub http: String,
    /// `host:port` for peers.
    pub peer: String,
    /// `host:port` of S3.
    pub s3: String,
    /// Its folder.
    pub dir: String,
}

impl DevJson {
    /// Reads the file of a folder, when there is one.
    pub fn read(layout: &Layout) -> io::Result<Option<Self>> {
        match std::fs::read(layout.dev_json()) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the file atomically.
    pub fn write(&self, layout: &Layout) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        bytes.push(b'\n');
        durable_file::write_bytes(&layout.dev_json(), &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_follow_the_contract() {
        let third = Addresses::of(7600, 3).expect("fits");
        assert_eq!(
            (third.http.as_str(), third.peer.as_str(), third.s3.as_str()),
            ("127.0.0.1:7620", "127.0.0.1:7621", "127.0.0.1:7622")
        );
        assert_eq!(Addresses::of(65530, 2), None);
    }

    #[test]
    fn dev_json_has_the_agreed_keys() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::new(folder.path()).expect("layout");
        assert!(DevJson::read(&layout).expect("absent").is_none());
        let json = DevJson {
            version: 1,
            env: "demo".into(),
            http: vec!["http://127.0.0.1:7600".into()],
            s3: vec!["http://127.0.0.1:7602".into()],
            secret_id: "a".into(),
            secret_key: "b".into(),
            operator: Operator {
                username: "root".into(),
                password: "p".into(),
            },
            nodes: vec![DevNode {
                id: 1,
                pid: 1,
                http: "h".into(),
                peer: "p".into(),
                s3: "s".into(),
                dir: "d".into(),
            }],
        };
        json.write(&layout).expect("write");
        let value: serde_json::Value =
            serde_json::from_slice(&std::fs::read(layout.dev_json()).expect("read")).expect("json");
        for key in [
            "version",
            "env",
            "http",
            "s3",
            "secretId",
            "secretKey",
            "operator",
            "nodes",
        ] {
            assert!(value.get(key).is_some(), "{key}");
        }
    }
}
