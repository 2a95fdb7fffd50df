//! Whether files of a folder can be written past the page cache, found out by trying: file systems in memory and some
//! network ones refuse.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;

const PROBE_FILE: &str = ".direct-io-probe";

/// Tries it in `folder`; whatever goes wrong counts as no.
pub fn is_supported(folder: &Path) -> bool {
    let path = folder.join(PROBE_FILE);
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(OFlag::O_DIRECT.bits())
        .open(&path);
    let is_supported = opened.is_ok();
    // What is left behind is empty and is used again by the next probe.
    let _ = fs::remove_file(&path);
    is_supported
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_leaves_nothing_and_a_missing_folder_is_no() {
        let folder = tempfile::tempdir().unwrap();
        is_supported(folder.path());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(!is_supported(&folder.path().join("missing")));
    }
}
