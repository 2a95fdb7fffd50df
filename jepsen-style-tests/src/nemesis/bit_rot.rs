//! Bits that flip all over the contents of files on one stopped node. Nobody puts them right: the node must notice each one
//! before it serves it, and get those chunks from others.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::{Fault, Needs, Nemesis, NemesisError, Proof, not_started, prove, targets};
use crate::cluster::Cluster;

/// One bit in about as many bytes flips: nearly every chunk is damaged.
const EVERY: u64 = 16 << 10;
/// The folder of the contents of files in a node's data.
const CHUNKS: &str = "chunks/segments";
/// What the files of contents end with.
const SEGMENT: &str = "segment";

/// See the module.
#[derive(Default)]
struct BitRot {
    rotten: Option<(usize, u64, u64)>,
}

pub(super) fn all() -> Vec<Box<dyn Nemesis>> {
    vec![Box::new(BitRot::default())]
}

fn segments(data: &Path) -> std::io::Result<Vec<PathBuf>> {
    let folder = data.join(CHUNKS);
    let mut found = Vec::new();
    if folder.exists() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == SEGMENT) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Flips bits; tells how many, of how many bytes.
fn rot(data: &Path, rng: &mut StdRng) -> std::io::Result<(u64, u64)> {
    let (mut flipped, mut bytes) = (0, 0);
    for path in segments(data)? {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let length = file.metadata()?.len();
        bytes += length;
        let mut at = rng.random_range(0..EVERY);
        while at < length {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at)?;
            byte[0] ^= 1 << rng.random_range(0..8);
            file.write_all_at(&byte, at)?;
            flipped += 1;
            at += rng.random_range(1..2 * EVERY);
        }
        file.sync_all()?;
    }
    File::open(data)?.sync_all()?;
    Ok((flipped, bytes))
}

impl Nemesis for BitRot {
    fn name(&self) -> &'static str {
        "bit-rot"
    }

    fn about(&self) -> &'static str {
        "bits flip all over the contents of files on one stopped node, and it is started"
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
            let target = targets::any(cluster, rng)?;
            cluster.kill(target)?;
            let damage = rot(&cluster.data_dir(target)?, rng);
            cluster.start_node(target)?;
            let (flipped, bytes) = damage?;
            self.rotten = Some((target, flipped, bytes));
            Ok(Fault::new(
                [target],
                format!("{flipped} bits of {bytes} bytes of node {target} flipped"),
            ))
        })
    }

    fn stop<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let (target, flipped, bytes) = self.rotten.take().ok_or_else(not_started)?;
            let ended = cluster.ended(target);
            cluster.start_node(target)?;
            prove(flipped > 0, || {
                format!("node {target} had no contents of files")
            })?;
            let mut facts = vec![format!("{flipped} bits of {bytes} bytes had flipped")];
            facts.extend(ended.map(|status| format!("the node ended ({status})")));
            Ok(Proof { facts })
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn bits_flip_in_segments_and_nowhere_else() {
        let folder = tempfile::tempdir().expect("folder");
        let chunks = folder.path().join(CHUNKS);
        fs::create_dir_all(&chunks).expect("folder");
        let segment = chunks.join("1.segment");
        fs::write(&segment, vec![0; 200_000]).expect("write");
        fs::write(chunks.join("marker"), vec![0; 200_000]).expect("write");
        let mut rng = StdRng::seed_from_u64(1);
        let (flipped, bytes) = rot(folder.path(), &mut rng).expect("rotten");
        assert_eq!(bytes, 200_000);
        assert!(flipped >= 5, "{flipped}");
        let now = fs::read(&segment).expect("read");
        let ones: u32 = now.iter().map(|byte| byte.count_ones()).sum();
        assert_eq!(u64::from(ones), flipped);
        let other = fs::read(chunks.join("marker")).expect("read");
        assert!(other.iter().all(|byte| *byte == 0));
    }
}
