//! What a power loss leaves of a snapshot that was arriving or being built: nothing of it was synced yet, so files may be
//! shorter than they were, hold zeros where something was written, or be gone. Complete snapshots were synced before they
//! got their names, and stay as they are.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::rngs::StdRng;

/// Folders of snapshots that are not complete begin so.
const UNSYNCED: [&str; 2] = ["staging-", "building"];

/// The chance of a file to have come whole to the disk.
const WHOLE: f64 = 0.5;

/// Tears unsynced files below `folder`; returns how many.
pub(super) fn tear(folder: &Path, random: &mut StdRng) -> io::Result<usize> {
    let mut torn = 0;
    for path in sorted(folder)? {
        let is_unsynced = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| UNSYNCED.iter().any(|prefix| name.starts_with(prefix)));
        if path.is_dir() {
            torn += match is_unsynced {
                true => tear_all(&path, random)?,
                false => tear(&path, random)?,
            };
        }
    }
    Ok(torn)
}

/// By name: the order of a folder is the file system's, and a seed must give the same run.
fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let items = fs::read_dir(folder)?.map(|item| item.map(|item| item.path()));
    let mut paths = items.collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    Ok(paths)
}

fn tear_all(folder: &Path, random: &mut StdRng) -> io::Result<usize> {
    let mut torn = 0;
    for path in sorted(folder)? {
        if path.is_dir() {
            torn += tear_all(&path, random)?;
        } else if !random.random_bool(WHOLE) {
            tear_file(&path, random)?;
            torn += 1;
        }
    }
    Ok(torn)
}

fn tear_file(path: &Path, random: &mut StdRng) -> io::Result<()> {
    let length = fs::metadata(path)?.len();
    let at = random.random_range(0..=length);
    match random.random_range(0..3) {
        0 => fs::remove_file(path),
        1 => OpenOptions::new().write(true).open(path)?.set_len(at),
        _ => {
            let zeros = vec![0; usize::try_from((length - at).min(4096)).unwrap_or(0)];
            OpenOptions::new()
                .write(true)
                .open(path)?
                .write_all_at(&zeros, at)
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn only_what_was_not_synced_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join("group").join(name).join("files/state");
        let names = ["snap-1", "staged-2", "staging-3", "building"];
        let mut torn = 0;
        for seed in 0..20 {
            for name in names {
                fs::create_dir_all(file(name).parent().unwrap()).unwrap();
                fs::write(file(name), [7; 100]).unwrap();
            }
            torn += tear(folder.path(), &mut StdRng::seed_from_u64(seed)).unwrap();
            for name in &names[..2] {
                assert_eq!(fs::read(file(name)).unwrap(), [7; 100], "{name}");
            }
        }
        assert!((10..=30).contains(&torn), "{torn} of 40");
    }
}
