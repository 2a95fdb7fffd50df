//! Nodes as an operator runs them: a configuration file each, `yunbase serve`, and a terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest a node may take to be ready on a busy machine.
const READY_MAX: Duration = Duration::from_secs(60);
/// Longest any process may take to end by itself.
const END_MAX: Duration = Duration::from_secs(30);
pub(crate) const SECRET_ID: &str = "AKIDoperator";
pub(crate) const SECRET_KEY: &str = "the-operators-secret";

/// Hosts of one test; their processes end with it.
pub(crate) struct Hosts {
    dir: tempfile::TempDir,
    port: u16,
    running: Vec<(u16, Child)>,
}

impl Hosts {
    pub(crate) fn new(port: u16) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            port,
            running: Vec::new(),
        }
    }

    pub(crate) fn http(&self, k: u16) -> String {
        format!("127.0.0.1:{}", self.port + 10 * k)
    }

    pub(crate) fn url(&self, k: u16) -> String {
        format!("http://{}", self.http(k))
    }

    pub(crate) fn peer(&self, k: u16) -> String {
        format!("127.0.0.1:{}", self.port + 10 * k + 1)
    }

    pub(crate) fn data(&self, k: u16) -> PathBuf {
        self.dir.path().join(format!("data{k}"))
    }

    pub(crate) fn config(&self, k: u16) -> PathBuf {
        self.dir.path().join(format!("node{k}.toml"))
    }

    /// Writes the file of host `k`: its addresses and `more`.
    pub(crate) fn configure(&self, k: u16, more: &str) {
        let text = format!(
            "data_dir = {:?}\nhttp_address = {:?}\npeer_address = {:?}\ns3_address = \"\"\n{more}\n",
            self.data(k),
            self.http(k),
            self.peer(k)
        );
        std::fs::write(self.config(k), text).unwrap();
    }

    /// A command of the binary under test with the operator's key.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yunbase"));
        command
            .args(arguments)
            .env("YUNBASE_SECRET_ID", SECRET_ID)
            .env("YUNBASE_SECRET_KEY", SECRET_KEY)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command as the operator, through host `k`.
    pub(crate) fn operate(&self, k: u16, arguments: &[&str]) -> Output {
        self.command(arguments)
            .args(["--target", &self.url(k)])
            .output()
            .unwrap()
    }

    /// The result of a command that must succeed.
    pub(crate) fn result(&self, k: u16, arguments: &[&str]) -> String {
        let output = self.operate(k, arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn log(&self, k: u16) -> String {
        std::fs::read_to_string(self.dir.path().join(format!("node{k}.log"))).unwrap_or_default()
    }

    fn spawn(&self, k: u16) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("node{k}.log")))
            .unwrap();
        Command::new(env!("CARGO_BIN_EXE_yunbase"))
            .args(["serve", "--config", self.config(k).to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Starts host `k` and waits until it is ready.
    pub(crate) fn start(&mut self, k: u16) {
        // Known before it is waited for, so that it ends with the test even when the test fails here.
        let child = self.spawn(k);
        self.running.push((k, child));
        let given_up = Instant::now() + READY_MAX;
        while !self.is_ready(k) {
            let ended = self
                .running
                .last_mut()
                .unwrap()
                .1
                .try_wait()
                .unwrap()
                .is_some();
            assert!(
                !ended && Instant::now() < given_up,
                "host {k} is not ready:\n{}",
                self.log(k)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts host `k`, which must refuse to run.
    pub(crate) fn start_refused(&self, k: u16) -> ExitStatus {
        end(self.spawn(k))
    }

    fn is_ready(&self, k: u16) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.http(k)) else {
            return false;
        };
        let asked =
            stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let mut answer = String::new();
        asked.is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200")
    }

    /// How host `k` ended by itself.
    pub(crate) fn ended(&mut self, k: u16) -> ExitStatus {
        let position = self.running.iter().position(|(own, _)| *own == k).unwrap();
        end(self.running.swap_remove(position).1)
    }

    /// Stops host `k` as a supervisor does; returns how long that took.
    pub(crate) fn stop(&mut self, k: u16) -> Duration {
        let position = self.running.iter().position(|(own, _)| *own == k).unwrap();
        let (_, child) = self.running.swap_remove(position);
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        let began = Instant::now();
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let status = end(child);
        assert!(status.success(), "{status}\n{}", self.log(k));
        began.elapsed()
    }
}

fn end(mut child: Child) -> ExitStatus {
    let given_up = Instant::now() + END_MAX;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > given_up {
            child.kill().unwrap();
            panic!("the process does not end by itself");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for (k, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                let log = std::fs::read_to_string(self.dir.path().join(format!("node{k}.log")));
                let log = log.unwrap_or_default();
                let from = log.lines().count().saturating_sub(25);
                eprintln!("--- host {k}, the end of its log");
                log.lines().skip(from).for_each(|line| eprintln!("{line}"));
            }
        }
    }
}
