//! Starts a real development cluster for a test and ends it with the test.

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Client, Error, Result};

/// How long a cluster may take to be ready, on a machine that is busy with other tests.
const READY_MAX: Duration = Duration::from_secs(60);

/// How long it may take to end by itself before it is killed.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Ports that one node uses, and the distance from node to node.
const PORTS_A_NODE: u16 = 10;

/// A running `yunbase dev`, killed on drop.
#[derive(Debug)]
pub struct DevServer {
    process: Child,
    folder: PathBuf,
}

impl DevServer {
    /// Starts a cluster of `nodes` nodes from the binary that `YUNBASE_BIN` names, or else from the one that was built
    /// beside this test.
    pub fn start(nodes: u16) -> Result<Self> {
        let binary = binary().ok_or_else(|| {
            Error::invalid("no yunbase binary: build it with `cargo build --release` or name it in YUNBASE_BIN")
        })?;
        let name = format!(
            "yunbase-test-{}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        );
        let folder = std::env::temp_dir().join(name);
        let failed =
            |what: &str, error: io::Error| Error::unavailable(format!("cannot {what}: {error}"));
        std::fs::create_dir_all(&folder).map_err(|error| failed("make a folder", error))?;
        let log = std::fs::File::create(folder.join("dev.log"))
            .map_err(|error| failed("make a log", error))?;
        let errors = log
            .try_clone()
            .map_err(|error| failed("share the log", error))?;
        let process = Command::new(&binary)
            .args([
                "dev",
                "--ephemeral",
                "--nodes",
                &nodes.to_string(),
                "--port",
                &free_port(nodes).to_string(),
            ])
            .arg("--dir")
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| failed(&format!("start {}", binary.display()), error))?;
        let mut server = Self { process, folder };
        server.wait()?;
        Ok(server)
    }

    fn wait(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < READY_MAX {
            if self.folder.join("dev.json").exists() {
                return Ok(());
            }
            if !matches!(self.process.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let log = std::fs::read_to_string(self.folder.join("dev.log")).unwrap_or_default();
        Err(Error::unavailable(format!(
            "the server did not become ready; it said:\n{log}"
        )))
    }

    /// The folder with `dev.json`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A client of the cluster.
    pub async fn client(&self) -> Result<Client> {
        Client::from_dev_json(&self.folder).await
    }
}

impl Drop for DevServer {
    fn drop(&mut self) {
        // `dev` ends its nodes when it is asked to; killing it outright would leave them behind.
        let asked = Command::new("kill")
            .arg(self.process.id().to_string())
            .status();
        let begun = Instant::now();
        while asked.is_ok()
            && begun.elapsed() < STOP_MAX
            && matches!(self.process.try_wait(), Ok(None))
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn binary() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("YUNBASE_BIN") {
        return Some(PathBuf::from(named));
    }
    // A test runs from `<target>/<profile>/deps`; a documentation test from a temporary folder, with the target
    // folder in the environment or beside the workspace.
    let from_test = std::env::current_exe()
        .ok()
        .and_then(|test| Some(test.parent()?.parent()?.join("yunbase")));
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let from_target = [target, Some(workspace)]
        .into_iter()
        .flatten()
        .map(|target| target.join("release/yunbase"));
    from_test
        .into_iter()
        .chain(from_target)
        .find(|candidate| candidate.is_file())
}

/// The first of a row of free ports, away from those that the system gives to outgoing connections.
fn free_port(nodes: u16) -> u16 {
    for _ in 0..100 {
        let first = 10_000 + PORTS_A_NODE * (rand::random::<u16>() % 2000);
        let mut ports = (0..nodes * PORTS_A_NODE).map(|offset| first + offset);
        if ports.all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
    7600
}
