//! Damaged files of one stopped node: a bit flipped, or the end cut off. The node must refuse to run, loudly, or repair
//! the damage from others; what it must never do is serve wrong bytes, which the workloads judge.
//!
//! At the end the damage is undone as an operator would: a node that has refused gets its data folder back from a copy,
//! for it has promised nothing since, and RocksDB may have tidied up by what it found in the damaged file; a flipped bit is flipped back if it is still there. A file cut short that the node has
//! accepted stays so: what it has written since must not be mixed with what was there before.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::{Fault, Needs, Nemesis, NemesisError, Proof, not_started, prove, targets};
use crate::cluster::Cluster;

/// Most bytes that are cut off.
const CUT_BYTES_MAX: u64 = 4096;
/// How long a node with damaged files may take to refuse or be ready.
const VERDICT_MAX: Duration = Duration::from_secs(20);
/// Deepest folder that is searched; nodes have fewer levels.
const DEPTH_MAX: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    BitFlip,
    Truncate,
}

/// Damages a file of one node.
struct Corruption {
    how: How,
    damaged: Option<Damaged>,
}

struct Damaged {
    node: usize,
    path: PathBuf,
    /// The whole file as it was.
    copy: Vec<u8>,
    /// The node's data folder.
    data: PathBuf,
    /// The byte that was changed, and what it is now.
    flipped: Option<(u64, u8)>,
    facts: Vec<String>,
    /// The node has ended by itself before it was ready.
    refused: bool,
}

pub(super) fn all() -> Vec<Box<dyn Nemesis>> {
    [How::BitFlip, How::Truncate]
        .into_iter()
        .map(|how| Box::new(Corruption { how, damaged: None }) as Box<dyn Nemesis>)
        .collect()
}

/// Files that hold state: logs, tables, manifests and their kin, and the node's own small files.
fn state_files(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if kind.is_dir() && depth < DEPTH_MAX {
            state_files(&path, depth + 1, found)?;
        }
        // What RocksDB prints about itself, and options that nobody reads, are no state.
        let is_state = !["LOG", "LOCK", "IDENTITY", "OPTIONS", "chaos"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if kind.is_file() && is_state && entry.metadata()?.len() > 0 {
            found.push(path);
        }
    }
    Ok(())
}

/// Where the copy of a data folder is: beside it, on the same disk.
fn backup_of(data: &Path) -> PathBuf {
    data.with_file_name("chaos-copy")
}

/// Copies a folder, durably, in the place of an earlier copy.
fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(&path, &copy)?;
        } else {
            fs::copy(&path, &copy)?;
            File::open(&copy)?.sync_all()?;
        }
    }
    File::open(to)?.sync_all()
}

/// The digest of a file, by the machine's own tool.
fn sha256(path: &Path) -> std::io::Result<String> {
    let output = std::process::Command::new("sha256sum").arg(path).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.chars().take(16).collect())
}

impl Corruption {
    fn damage(
        &self,
        data: &Path,
        node: usize,
        rng: &mut StdRng,
    ) -> Result<(Damaged, String), NemesisError> {
        let mut files = Vec::new();
        state_files(data, 0, &mut files)?;
        // Folders come in no order of their own, and the seed shall decide.
        files.sort();
        let path = files
            .choose(rng)
            .ok_or_else(|| NemesisError::NotAvailable(format!("node {node} has no files")))?
            .clone();
        let copy = fs::read(&path)?;
        copy_folder(data, &backup_of(data))?;
        let before = sha256(&path)?;
        let length = copy.len() as u64;
        let file = OpenOptions::new().write(true).open(&path)?;
        let shown = path
            .strip_prefix(data)
            .unwrap_or(&path)
            .display()
            .to_string();
        let (flipped, what) = match self.how {
            How::BitFlip => {
                let at = rng.random_range(0..length);
                let bit = rng.random_range(0..8);
                let byte = copy[at as usize] ^ (1 << bit);
                file.write_all_at(&[byte], at)?;
                let what = format!("bit {bit} of byte {at} of {length} of {shown} flipped");
                (Some((at, byte)), what)
            }
            How::Truncate => {
                let bytes = rng.random_range(1..=CUT_BYTES_MAX.min(length));
                file.set_len(length - bytes)?;
                (
                    None,
                    format!("{bytes} of {length} bytes cut off from {shown}"),
                )
            }
        };
        file.sync_all()?;
        let after = sha256(&path)?;
        prove(before != after, || format!("{shown} is unchanged"))?;
        let damaged = Damaged {
            node,
            path,
            copy,
            data: data.to_owned(),
            flipped,
            facts: vec![format!("sha256 of {shown} was {before}, became {after}")],
            refused: false,
        };
        Ok((damaged, format!("node {node}: {what}")))
    }
}

impl Damaged {
    /// Puts right what can be put right without making the node forget what it has promised since.
    fn mend(&self) -> std::io::Result<String> {
        let backup = backup_of(&self.data);
        if self.refused {
            fs::remove_dir_all(&self.data)?;
            fs::rename(backup, &self.data)?;
            return Ok("it got its data back from a copy".to_owned());
        }
        fs::remove_dir_all(backup)?;
        let Some((at, byte)) = self.flipped else {
            return Ok("it has repaired the file itself".to_owned());
        };
        // The file may have been replaced since, which is as good.
        let Ok(file) = OpenOptions::new().read(true).write(true).open(&self.path) else {
            return Ok("it has dropped the damaged file".to_owned());
        };
        let mut now = [0];
        if file.read_exact_at(&mut now, at).is_ok() && now[0] == byte {
            file.write_all_at(&[self.copy[at as usize]], at)?;
            file.sync_all()?;
            return Ok("the bit was flipped back".to_owned());
        }
        Ok("it has written over the damage".to_owned())
    }
}

impl Nemesis for Corruption {
    fn name(&self) -> &'static str {
        match self.how {
            How::BitFlip => "bit-flip",
            How::Truncate => "truncate",
        }
    }

    fn about(&self) -> &'static str {
        match self.how {
            How::BitFlip => "a bit of a file of one stopped node is flipped, and the node started",
            How::Truncate => {
                "up to 4 KiB are cut off a file of one stopped node, and the node started"
            }
        }
    }

    fn needs(&self) -> Needs {
        // One damaged copy of three is a minority.
        Needs::nodes(3)
    }

    fn start<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
        rng: &'a mut StdRng,
    ) -> BoxFuture<'a, Result<Fault, NemesisError>> {
        Box::pin(async move {
            let target = targets::leader_or_any(cluster, rng).await?;
            cluster.kill(target)?;
            let damage = self.damage(&cluster.data_dir(target)?, target, rng);
            cluster.start_node(target)?;
            let (mut damaged, what) = damage?;
            match cluster.wait_ready(target, VERDICT_MAX).await {
                Ok(()) => damaged.facts.push("the node runs with it".to_owned()),
                Err(_) => match cluster.ended(target) {
                    Some(status) => {
                        damaged.refused = true;
                        let tail = cluster.log_tail(target);
                        let last = tail.trim().lines().last().unwrap_or_default();
                        let why = last.to_owned();
                        damaged
                            .facts
                            .push(format!("the node refused to run ({status}): {why}"));
                    }
                    None => damaged
                        .facts
                        .push("the node runs with it and is not ready".to_owned()),
                },
            }
            self.damaged = Some(damaged);
            Ok(Fault::new([target], what))
        })
    }

    fn stop<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let mut damaged = self.damaged.take().ok_or_else(not_started)?;
            let node = damaged.node;
            if !damaged.refused
                && let Some(status) = cluster.ended(node)
            {
                damaged
                    .facts
                    .push(format!("the node ended later ({status})"));
            }
            // Files are changed only under a node that does not run.
            cluster.kill(node)?;
            let mended = damaged.mend();
            cluster.start_node(node)?;
            damaged.facts.push(mended?);
            Ok(Proof {
                facts: damaged.facts,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("folder");
        let inner = folder.path().join("data/state/0");
        fs::create_dir_all(&inner).expect("folder");
        fs::write(inner.join("000004.log"), [7; 9000]).expect("write");
        fs::write(inner.join("LOG"), b"printed").expect("write");
        fs::write(inner.join("LOCK"), b"").expect("write");
        folder
    }

    #[test]
    fn a_flipped_bit_is_flipped_back_and_only_state_is_hit() {
        let folder = folder();
        for seed in 0..20 {
            let mut rng = StdRng::seed_from_u64(seed);
            let nemesis = Corruption {
                how: How::BitFlip,
                damaged: None,
            };
            let (damaged, _) = nemesis
                .damage(&folder.path().join("data"), 1, &mut rng)
                .expect("damage");
            assert!(damaged.path.ends_with("000004.log"));
            let now = fs::read(&damaged.path).expect("read");
            let changed = now.iter().filter(|byte| **byte != 7).count();
            assert_eq!(changed, 1);
            damaged.mend().expect("mend");
            assert_eq!(fs::read(&damaged.path).expect("read"), [7; 9000]);
        }
    }

    #[test]
    fn a_file_cut_short_comes_back_only_to_a_node_that_refused() {
        let folder = folder();
        let mut rng = StdRng::seed_from_u64(1);
        let nemesis = Corruption {
            how: How::Truncate,
            damaged: None,
        };
        let (damaged, _) = nemesis
            .damage(&folder.path().join("data"), 1, &mut rng)
            .expect("damage");
        let short = fs::metadata(&damaged.path).expect("file").len();
        assert!(short < 9000);
        damaged.mend().expect("mend");
        assert_eq!(fs::metadata(&damaged.path).expect("file").len(), short);
        let (mut damaged, _) = nemesis
            .damage(&folder.path().join("data"), 1, &mut rng)
            .expect("damage");
        // As RocksDB removes what the damaged file does not name.
        fs::remove_file(&damaged.path).expect("remove");
        damaged.refused = true;
        damaged.mend().expect("mend");
        assert_eq!(fs::metadata(&damaged.path).expect("file").len(), short);
    }
}
