//! One ext4 image a node, mounted by a loop device: a disk that can lose its power, fill up, and get stuck.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::error::{ClusterError, While as _};
use super::sys;
use super::undo::{Action, Undo};

/// Size of an image. It is sparse, and holds what a node writes in hours of these loads.
const IMAGE_BYTES: u64 = 2 << 30;
/// The free space is taken in these steps; the last is one block.
const FILL_STEPS: [i64; 6] = [1 << 30, 64 << 20, 4 << 20, 256 << 10, 16 << 10, 4 << 10];
/// Name of the file that fills the disk.
const FILL: &str = "chaos-fill";
/// Name of the file that is never synced, and so must vanish with the power.
const CANARY: &str = "chaos-canary";
/// A mount point can be busy for a moment after its last process has died.
const UNMOUNT_TRIES: u32 = 100;

/// The disk of a node.
#[derive(Debug)]
pub(super) struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    /// Makes an image in `folder`, formats and mounts it.
    pub(super) fn create(folder: &Path, undo: &Undo) -> Result<Self, ClusterError> {
        let image = folder.join("disk.ext4");
        let mount = folder.join("disk");
        fs::create_dir_all(&mount).during(|| format!("create {}", mount.display()))?;
        File::create(&image)
            .and_then(|file| file.set_len(IMAGE_BYTES))
            .during(|| format!("create {}", image.display()))?;
        command("mkfs.ext4", "e2fsprogs", |command| {
            // No blocks reserved: a full disk shall be full for root too.
            command.args(["-q", "-F", "-m", "0"]).arg(&image)
        })?;
        // Stands until the end of the run, however often the image is mounted until then.
        undo.push(Action::Unmount(mount.clone()))
            .during(|| "write the undo table".to_owned())?;
        let disk = Self { image, mount };
        disk.mount()?;
        Ok(disk)
    }

    /// The folder in which its files are.
    pub(super) fn path(&self) -> &Path {
        &self.mount
    }

    pub(super) fn mount(&self) -> Result<(), ClusterError> {
        command("mount", "mount", |command| {
            command
                .args(["-o", "loop"])
                .arg(&self.image)
                .arg(&self.mount)
        })
    }

    /// Takes the power: what is not on the disk is gone. The node must be killed next.
    pub(super) fn lose_power(&self) -> Result<(), ClusterError> {
        let during = || format!("take the power from {}", self.mount.display());
        // A file that nobody syncs: it has to be gone when the power is back, or no power was lost.
        File::create(self.mount.join(CANARY))
            .and_then(|mut file| file.write_all(b"never synced"))
            .during(during)?;
        File::open(&self.mount)
            .and_then(|folder| sys::shut_down_file_system(&folder))
            .during(during)
    }

    /// Unmounts and mounts it again, once nobody uses it; tells whether un-synced writes were really lost.
    pub(super) fn restore_power(&self) -> Result<bool, ClusterError> {
        unmount(&self.mount)?;
        self.mount()?;
        let canary = self.mount.join(CANARY);
        // A sync of the node's own in that moment may have saved its name, but not what was written to it.
        let was_lost = !fs::metadata(&canary).is_ok_and(|file| file.len() > 0);
        let _ = fs::remove_file(canary);
        Ok(was_lost)
    }

    /// Takes all free space but `left` bytes; returns how many bytes it has taken in all.
    pub(super) fn fill(&self, left: u64) -> Result<u64, ClusterError> {
        let path = self.mount.join(FILL);
        let during = || format!("fill {}", path.display());
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .during(during)?;
        let mut length = file.metadata().during(during)?.len().cast_signed();
        let free = || -> io::Result<u64> {
            let found = nix::sys::statvfs::statvfs(&self.mount)?;
            Ok(found.blocks_available() * found.fragment_size())
        };
        if left > 0 {
            let taken = free().during(during)?.saturating_sub(left).cast_signed();
            nix::fcntl::posix_fallocate(&file, length, taken.max(1))
                .map_err(io::Error::from)
                .during(during)?;
            return Ok((length + taken).cast_unsigned());
        }
        for step in FILL_STEPS {
            while nix::fcntl::posix_fallocate(&file, length, step).is_ok() {
                length += step;
            }
        }
        u64::try_from(length).map_err(|_| ClusterError::Cluster("filled less than nothing".into()))
    }

    /// Whether a block more is refused for want of space.
    pub(super) fn is_full(&self) -> bool {
        let path = self.mount.join("chaos-probe");
        let refused = File::create(&path)
            .and_then(|file| {
                file.write_all_at(&[1; 8192], 0)?;
                file.sync_all()
            })
            .is_err_and(|error| error.kind() == io::ErrorKind::StorageFull);
        let _ = fs::remove_file(path);
        refused
    }

    /// Gives the space back.
    pub(super) fn empty(&self) -> Result<(), ClusterError> {
        fs::remove_file(self.mount.join(FILL)).during(|| "remove what fills the disk".to_owned())
    }

    /// Lets every write wait. A process of its own ends that after `at_most`, whatever becomes of the harness: writers
    /// on a frozen file system cannot even be killed.
    pub(super) fn freeze(&self, at_most: Duration) -> Result<Child, ClusterError> {
        let watchdog = Command::new("sh")
            .args(["-c", "sleep \"$1\"; exec fsfreeze -u \"$2\"", "watchdog"])
            .arg(at_most.as_secs().to_string())
            .arg(&self.mount)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .during(|| "start the watchdog of a frozen disk".to_owned())?;
        command("fsfreeze", "util-linux", |command| {
            command.arg("-f").arg(&self.mount)
        })?;
        Ok(watchdog)
    }
}

/// Lets writers go on.
pub(super) fn unfreeze(mount: &Path) -> Result<(), ClusterError> {
    command("fsfreeze", "util-linux", |command| {
        command.arg("-u").arg(mount)
    })
}

/// Unmounts, waiting for the last user to be gone. What is not mounted is left alone.
pub(super) fn unmount(mount: &Path) -> Result<(), ClusterError> {
    let mut tries = 0;
    loop {
        if !is_mounted(mount) {
            return Ok(());
        }
        match command("umount", "mount", |command| command.arg(mount)) {
            Ok(()) => return Ok(()),
            Err(error) if tries == UNMOUNT_TRIES => return Err(error),
            Err(_) => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

fn is_mounted(mount: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .any(|path| Path::new(path) == mount)
}

fn command(
    name: &str,
    package: &str,
    fill: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<(), ClusterError> {
    let mut command = Command::new(name);
    fill(&mut command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .during(|| format!("{name} (package {package})"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(ClusterError::Command {
            what: format!("{command:?}"),
            output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
    }
}
