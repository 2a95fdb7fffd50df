//! Files live on: through a dead node, a wiped disk and damaged contents, on three real nodes.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use yunbase_client::Client;
use yunbase_client::storage::NewFile;

use crate::cluster::Cluster;

const DEADLINE: Duration = Duration::from_secs(30);
/// Longest that copies may take to be made again.
const REPAIR_MAX: Duration = Duration::from_secs(60);
/// Bytes between two that are damaged: less than most chunks have.
const DAMAGE_EVERY: usize = 20_000;

fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut content = vec![0; bytes];
    StdRng::seed_from_u64(seed).fill_bytes(&mut content);
    content
}

async fn put(client: &Client, path: &str, content: &[u8]) {
    let storage = client.storage();
    let stored = storage
        .put_bytes(NewFile::at(path), content.to_vec())
        .await
        .unwrap();
    assert_eq!(stored.file.bytes, content.len() as u64);
}

async fn get(client: &Client, path: &str) -> Vec<u8> {
    let storage = client.storage();
    let download = storage.get(path, ..).await.unwrap();
    let parts: Vec<_> = download.try_collect().await.unwrap();
    parts.concat()
}

/// Waits until every copy of every chunk is where it belongs, and as it should be.
async fn whole(client: &Client) {
    let given_up = Instant::now() + REPAIR_MAX;
    loop {
        let report = client.storage().verify(true, |_| ()).await;
        match report {
            Ok(report) if report.is_clean() => return,
            _ if Instant::now() < given_up => tokio::time::sleep(Duration::from_millis(500)).await,
            report => panic!("files are not whole: {report:?}"),
        }
    }
}

fn chunks_of(cluster: &Cluster, k: usize) -> PathBuf {
    Path::new(cluster.folder())
        .join(format!("node{k}"))
        .join("data")
        .join("chunks")
}

/// Flips bits all over the contents that a node keeps; tells how many.
fn damage(folder: &Path) -> usize {
    let mut flipped = 0;
    for entry in std::fs::read_dir(folder.join("segments")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "segment") {
            continue;
        }
        let length = std::fs::metadata(&path).unwrap().len() as usize;
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        for at in (1_000..length).step_by(DAMAGE_EVERY) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at as u64).unwrap();
            file.write_all_at(&[byte[0] ^ 4], at as u64).unwrap();
            flipped += 1;
        }
    }
    flipped
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t40_files_live_on() {
    let mut cluster = Cluster::start(3, 19_400);
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for (number, bytes) in [0, 1, 100_000, 8_000_000].into_iter().enumerate() {
        let (path, content) = (format!("a/{bytes} 字.bin"), noise(bytes, number as u64));
        put(&cluster.client(number % 3, DEADLINE).await, &path, &content).await;
        files.push((path, content));
    }
    for first in 0..3 {
        let client = cluster.client(first, DEADLINE).await;
        for (path, content) in &files {
            assert!(
                get(&client, path).await == *content,
                "{path} through node {first}"
            );
        }
    }

    // A dead node: files are read and stored all the same, and it gets what it missed.
    cluster.kill(2);
    let client = cluster.client(0, DEADLINE).await;
    let content = noise(3_000_000, 9);
    put(&client, "without-2.bin", &content).await;
    files.push(("without-2.bin".to_owned(), content));
    for (path, content) in &files {
        assert!(
            get(&client, path).await == *content,
            "{path} without node 2"
        );
    }

    // It has lost its disk for files besides: all of it comes back by itself.
    std::fs::remove_dir_all(chunks_of(&cluster, 2)).unwrap();
    cluster.restart(2);
    whole(&client).await;

    // Damage is noticed before it is served, and repaired.
    cluster.kill(3);
    let flipped = damage(&chunks_of(&cluster, 3));
    assert!(flipped > 100, "{flipped}");
    cluster.restart(3);
    let through_it = cluster.client(2, DEADLINE).await;
    for (path, content) in &files {
        assert!(
            get(&through_it, path).await == *content,
            "{path} through the damaged node"
        );
    }
    whole(&client).await;
    for (path, content) in &files {
        assert!(
            get(&through_it, path).await == *content,
            "{path} in the end"
        );
    }
}
