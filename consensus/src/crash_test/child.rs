//! The child that writes: a fixed sequence of commands, in small batches, with flushes, snapshots and
//! purges in between. It begins by checking what an earlier child left, and ends when all is written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::CHILD_DIR;
use super::single_node::SingleNode;
use crate::types::Batch;

const COMMANDS: u64 = 100;
const KEYS: u64 = 12;
const SEED: u64 = 0x5EED;

/// Command `number` as key and value; the same in every process.
fn command(number: u64) -> (String, String) {
    let mut random = StdRng::seed_from_u64(SEED ^ number);
    (
        format!("key{}", random.random_range(0..KEYS)),
        format!("{number}-{}", random.random::<u32>()),
    )
}

/// The map after the first `count` commands.
fn model(count: u64) -> BTreeMap<String, String> {
    (0..count).map(command).collect()
}

struct Acknowledged {
    path: PathBuf,
}

impl Acknowledged {
    fn new(dir: &Path) -> Self {
        Self {
            path: dir.join("acknowledged"),
        }
    }

    fn read(&self) -> u64 {
        fs::read_to_string(&self.path).map_or(0, |text| text.trim().parse().unwrap())
    }

    /// An abort keeps what was written, so this needs no sync.
    fn write(&self, count: u64) {
        fs::write(&self.path, count.to_string()).unwrap();
    }
}

fn check(node: &SingleNode, acknowledged: u64) -> u64 {
    let state = node.state_machine.state();
    let applied = state.applied_commands;
    assert!(
        applied >= acknowledged,
        "{acknowledged} commands were acknowledged, {applied} are there"
    );
    assert!(
        applied <= acknowledged + 3,
        "at most one batch was under way"
    );
    assert_eq!(state.values, model(applied));
    applied
}

#[tokio::test]
async fn work() {
    let Ok(dir) = std::env::var(CHILD_DIR) else {
        return;
    };
    let dir = Path::new(&dir);
    let acknowledged = Acknowledged::new(dir);
    let node = SingleNode::start(dir).await;
    let mut next = check(&node, acknowledged.read());
    let mut batches = 0;
    while next < COMMANDS {
        let count = (1 + next % 3).min(COMMANDS - next);
        let commands: Vec<Bytes> = (next..next + count)
            .map(|number| {
                let (key, value) = command(number);
                Bytes::from(format!("{key}={value}"))
            })
            .collect();
        let written = node
            .raft
            .client_write(Batch::pack(&commands))
            .await
            .unwrap();
        let before: Vec<Bytes> = (next..next + count)
            .map(|number| Bytes::from(model(number).remove(&command(number).0).unwrap_or_default()))
            .collect();
        assert_eq!(
            written.data.0, before,
            "each command is answered by its own reply"
        );
        next += count;
        acknowledged.write(next);
        batches += 1;
        if batches % 8 == 0 {
            node.store.flush().await.unwrap();
        }
        if batches % 13 == 0 {
            node.snapshot_and_purge().await;
        }
    }
    check(&node, COMMANDS);
    node.raft.shutdown().await.unwrap();
}
