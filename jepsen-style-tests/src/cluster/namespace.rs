//! Network namespaces without a name: each lives as long as somebody holds its file or runs in it, so that nothing of
//! them is left however the harness ends. To look into the one of a node: `nsenter -n -t PID`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, Stdio};

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};

use super::sys;

/// Nodes have the addresses `10.77.0.1` to this last number, the clients the one below.
pub(super) const NODES_MAX: usize = 8;
/// Last number of the clients' address.
pub(super) const CLIENT: u8 = 254;
/// Name of the only device in each namespace.
const DEVICE: &str = "e0";

/// One namespace.
#[derive(Debug)]
pub(super) struct Namespace(File);

/// The address of the host whose last number this is.
pub(super) fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, number)
}

impl Namespace {
    /// A new one, with nothing in it.
    pub(super) fn create() -> io::Result<Self> {
        on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net").map(Self)
        })
    }

    /// Moves the calling thread into it, for good.
    pub(super) fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.0, CloneFlags::CLONE_NEWNET)?)
    }

    /// Does `work` inside, on a thread of its own. Processes that it starts stay inside.
    pub(super) fn run<R: Send>(
        &self,
        work: impl FnOnce() -> io::Result<R> + Send,
    ) -> io::Result<R> {
        on_a_thread(|| {
            self.enter()?;
            work()
        })
    }

    /// Gives it an address, a way to all other hosts, and the TAP device whose file is returned: every frame that is
    /// sent inside is read from it, every frame written to it arrives inside.
    pub(super) fn connect(&self, number: u8) -> io::Result<File> {
        self.run(|| {
            let tap = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(OFlag::O_NONBLOCK.bits())
                .open("/dev/net/tun")?;
            sys::make_tap(&tap, DEVICE)?;
            let mut batch = format!(
                "link set lo up\nlink set {DEVICE} address {}\naddr add {}/24 dev {DEVICE}\nlink set {DEVICE} up\n",
                hardware_address(number),
                address(number)
            );
            // Neighbours are known for good: or the kernel's own search for them, which a partition makes fail, would
            // decide how long a recovery takes.
            for other in (1..=NODES_MAX as u8).chain([CLIENT]).filter(|other| *other != number) {
                batch.push_str(&format!(
                    "neigh add {} lladdr {} nud permanent dev {DEVICE}\n",
                    address(other),
                    hardware_address(other)
                ));
            }
            ip_batch(&batch)?;
            Ok(tap)
        })
    }

    /// TCP segments that arrived with a wrong checksum, by the kernel's count.
    pub(super) fn checksum_errors(&self) -> io::Result<u64> {
        self.run(|| {
            let text = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
            let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
            let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
                return Err(io::Error::other("/proc/net/snmp does not count TCP"));
            };
            names
                .split_whitespace()
                .zip(values.split_whitespace())
                .find(|(name, _)| *name == "InCsumErrors")
                .and_then(|(_, value)| value.parse().ok())
                .ok_or_else(|| io::Error::other("/proc/net/snmp has no InCsumErrors"))
        })
    }
}

/// The last byte tells the switch where a frame goes.
fn hardware_address(number: u8) -> String {
    format!("02:79:62:00:00:{number:02x}")
}

fn ip_batch(batch: &str) -> io::Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("ip (package iproute2): {error}")))?;
    if let Some(stdin) = child.stdin.as_mut() {
        stdin.write_all(batch.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "ip: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

fn on_a_thread<R: Send>(work: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
    std::thread::scope(|scope| {
        scope
            .spawn(work)
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a thread in a namespace panicked")))
    })
}
