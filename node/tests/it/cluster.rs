//! A development cluster of real processes for one test.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use yunbase_client::Client;

/// A cluster that ends with the test.
pub(crate) struct Cluster {
    dir: tempfile::TempDir,
    pub(crate) json: serde_json::Value,
}

impl Cluster {
    /// Starts `nodes` nodes from `port`. Each test has its own port range, so that tests may run beside each other.
    pub(crate) fn start(nodes: u16, port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = Self {
            dir,
            json: serde_json::Value::Null,
        };
        cluster.up(&["--nodes", &nodes.to_string(), "--port", &port.to_string()]);
        cluster
    }

    fn up(&mut self, arguments: &[&str]) {
        let output =
            self.yunbase(&[&["dev", "--detach", "--dir", self.folder()], arguments].concat());
        assert!(
            output.status.success(),
            "dev: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        self.read_json();
    }

    fn read_json(&mut self) {
        self.json =
            serde_json::from_slice(&std::fs::read(self.dir.path().join("dev.json")).unwrap())
                .unwrap();
    }

    pub(crate) fn folder(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    /// Runs the binary under test.
    pub(crate) fn yunbase(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_yunbase"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    pub(crate) fn pid(&self, k: usize) -> i32 {
        self.json["nodes"][k - 1]["pid"].as_i64().unwrap() as i32
    }

    pub(crate) fn url(&self, k: usize) -> String {
        self.json["http"][k - 1].as_str().unwrap().to_owned()
    }

    pub(crate) fn log(&self, k: usize) -> PathBuf {
        self.dir.path().join(format!("node{k}")).join("node.log")
    }

    /// SIGKILL: no goodbye, nothing flushed.
    pub(crate) fn kill(&self, k: usize) {
        let pid = nix::unistd::Pid::from_raw(self.pid(k));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        let gone = Instant::now() + Duration::from_secs(5);
        let stat = format!("/proc/{}/stat", self.pid(k));
        while std::fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z "))
            && Instant::now() < gone
        {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn restart(&mut self, k: usize) {
        let output = self.yunbase(&[
            "dev",
            "restart-node",
            &k.to_string(),
            "--dir",
            self.folder(),
        ]);
        assert!(
            output.status.success(),
            "restart node {k}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            std::fs::read_to_string(self.log(k)).unwrap_or_default()
        );
        self.read_json();
    }

    /// Starts all nodes of a cluster whose processes have all ended.
    pub(crate) fn start_again(&mut self) {
        self.up(&[]);
    }

    /// What `yunbase status` says through node `k`.
    pub(crate) fn status(&self, k: usize) -> serde_json::Value {
        let output = Command::new(env!("CARGO_BIN_EXE_yunbase"))
            .args(["status", "-o", "json", "--target", &self.url(k)])
            .env("YUNBASE_SECRET_ID", self.json["secretId"].as_str().unwrap())
            .env(
                "YUNBASE_SECRET_KEY",
                self.json["secretKey"].as_str().unwrap(),
            )
            .stdin(Stdio::null())
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// The node that leads the group of the environment, asked through node `through`.
    pub(crate) fn leader(&self, through: usize) -> Option<usize> {
        let env = &self.json["env"];
        let status = self.status(through);
        let group = status["groups"].as_array()?.iter().find(|group| {
            group["environments"]
                .as_array()
                .is_some_and(|names| names.contains(env))
        })?;
        Some(group["leader"].as_u64()? as usize)
    }

    /// A client that knows all nodes and begins with the one of index `first`.
    pub(crate) async fn client(&self, first: usize, deadline: Duration) -> Client {
        Client::builder()
            .dev_json(self.dir.path())
            .unwrap()
            .first_endpoint(first)
            .deadline(deadline)
            .connect_lazily()
            .unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for k in 1..=self.json["nodes"].as_array().map_or(0, Vec::len) {
                let log = std::fs::read_to_string(self.log(k)).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(25).collect();
                eprintln!("--- node {k}, the end of its log");
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
        for node in self.json["nodes"].as_array().into_iter().flatten() {
            let pid = nix::unistd::Pid::from_raw(node["pid"].as_i64().unwrap_or(0) as i32);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}
