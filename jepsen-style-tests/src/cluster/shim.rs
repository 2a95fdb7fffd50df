//! The shim that is loaded into each node (`shim.c`, compiled when a cluster starts): I/O errors, slow calls, and a
//! wall clock that is wrong, without root, each counted by the shim itself.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::error::{ClusterError, While as _};

const SOURCE: &str = include_str!("shim.c");
/// Size of the shared page; the layout below has 15 numbers of 8 bytes.
const PAGE_BYTES: u64 = 4096;
const PROCESSES: u64 = 0;
const CLOCK_OFFSET: u64 = 1;
const CLOCK_SHIFTED: u64 = 2;

/// What kind of calls is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// `fsync` and its kin.
    Sync,
    /// `write` and its kin.
    Write,
    /// `read` and its kin.
    Read,
}

impl Calls {
    fn first_number(self) -> u64 {
        3 + 4 * self as u64
    }
}

/// Compiles the shim into `folder`; returns its path.
pub(super) fn compile(folder: &Path) -> Result<PathBuf, ClusterError> {
    let source = folder.join("shim.c");
    let library = folder.join("shim.so");
    std::fs::write(&source, SOURCE).during(|| format!("write {}", source.display()))?;
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl")
        .stdin(Stdio::null())
        .output()
        .during(|| "compile the shim by cc (package gcc)".to_owned())?;
    match output.status.success() {
        true => Ok(library),
        false => Err(ClusterError::Command {
            what: "compile the shim by cc".to_owned(),
            output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
    }
}

/// The shim of one node: the page that it shares with the harness.
#[derive(Debug)]
pub struct Shim {
    library: PathBuf,
    path: PathBuf,
    page: File,
}

impl Shim {
    /// A page for a node, in its folder.
    pub(super) fn create(library: &Path, folder: &Path) -> Result<Self, ClusterError> {
        let path = folder.join("shim-page");
        let page = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .and_then(|file| file.set_len(PAGE_BYTES).map(|()| file))
            .during(|| format!("create {}", path.display()))?;
        Ok(Self {
            library: library.to_owned(),
            path,
            page,
        })
    }

    /// Has it loaded by the process of `command`, whose files are in `data`.
    pub(super) fn load(&self, command: &mut Command, data: &Path) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("YUNBASE_CHAOS_PAGE", &self.path)
            .env("YUNBASE_CHAOS_FOLDER", data);
    }

    /// How many processes have loaded it.
    pub fn processes(&self) -> io::Result<u64> {
        self.get(PROCESSES)
    }

    /// Moves the wall clock by this many nanoseconds, at once.
    pub fn set_clock_offset_ns(&self, offset_ns: i64) -> io::Result<()> {
        self.page
            .write_all_at(&offset_ns.to_ne_bytes(), 8 * CLOCK_OFFSET)
    }

    /// How often the node has been told a shifted time.
    pub fn clock_shifted(&self) -> io::Result<u64> {
        self.get(CLOCK_SHIFTED)
    }

    /// Lets this share of calls fail with `EIO`, in thousandths.
    pub fn set_errors(&self, calls: Calls, permille: u64) -> io::Result<()> {
        self.set(calls.first_number(), permille)
    }

    /// How many calls have failed.
    pub fn errors(&self, calls: Calls) -> io::Result<u64> {
        self.get(calls.first_number() + 1)
    }

    /// Lets each call wait.
    pub fn set_delay(&self, calls: Calls, delay: Duration) -> io::Result<()> {
        self.set(calls.first_number() + 2, delay.as_nanos() as u64)
    }

    /// How many calls have waited.
    pub fn delayed(&self, calls: Calls) -> io::Result<u64> {
        self.get(calls.first_number() + 3)
    }

    fn get(&self, number: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.page.read_exact_at(&mut bytes, 8 * number)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn set(&self, number: u64, value: u64) -> io::Result<()> {
        self.page.write_all_at(&value.to_ne_bytes(), 8 * number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `sh` with the shim loaded.
    fn shell(shim: &Shim, data: &Path, script: &str) -> (bool, String) {
        let mut command = Command::new("sh");
        shim.load(&mut command, data);
        let output = command
            .args(["-c", script])
            .current_dir(data)
            .output()
            .expect("sh");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text)
    }

    #[test]
    fn calls_fail_and_wait_as_told_only_on_own_files_and_are_counted() {
        let folder = tempfile::tempdir().expect("folder");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("data");
        let shim = Shim::create(&compile(folder.path()).expect("cc"), folder.path()).expect("page");
        let write = "dd if=/dev/zero of=inside bs=8 count=1 conv=fsync 2>/dev/null";
        assert!(shell(&shim, &data, write).0);
        assert!(shim.processes().expect("page") >= 1);

        shim.set_errors(Calls::Sync, 1000).expect("page");
        assert!(!shell(&shim, &data, write).0);
        assert_eq!(shim.errors(Calls::Sync).expect("page"), 1);
        assert!(
            shell(
                &shim,
                &data,
                "dd if=/dev/zero of=../outside bs=8 count=1 conv=fsync"
            )
            .0
        );
        assert_eq!(shim.errors(Calls::Sync).expect("page"), 1);
        shim.set_errors(Calls::Sync, 0).expect("page");

        shim.set_errors(Calls::Read, 1000).expect("page");
        assert!(!shell(&shim, &data, "cat inside").0);
        assert!(shim.errors(Calls::Read).expect("page") >= 1);
        shim.set_errors(Calls::Read, 0).expect("page");

        shim.set_delay(Calls::Write, Duration::from_millis(300))
            .expect("page");
        let began = std::time::Instant::now();
        assert!(shell(&shim, &data, write).0);
        assert!(began.elapsed() >= Duration::from_millis(300));
        assert!(shim.delayed(Calls::Write).expect("page") >= 1);
    }

    #[test]
    fn the_wall_clock_is_shifted() {
        let folder = tempfile::tempdir().expect("folder");
        let shim = Shim::create(&compile(folder.path()).expect("cc"), folder.path()).expect("page");
        let seconds = || {
            let (_, text) = shell(&shim, folder.path(), "date +%s");
            text.trim().parse::<i64>().expect("seconds")
        };
        let before = seconds();
        shim.set_clock_offset_ns(-3_600_000_000_000).expect("page");
        let shifted = seconds();
        assert!(
            (3_500..=3_600).contains(&(before - shifted)),
            "{before} {shifted}"
        );
        assert!(shim.clock_shifted().expect("page") >= 1);
    }
}
