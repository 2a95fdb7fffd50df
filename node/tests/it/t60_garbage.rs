//! Garbage at every port: clear refusals, no panic, bounded memory, and service for everyone else throughout.

mod http;
mod peer;
mod rpc;
mod s3;

use std::time::{Duration, Instant};

use bson::{Document, doc};
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

use crate::cluster::Cluster;
use crate::s3_client::S3Client;

/// Change it to search elsewhere; a failure names what was sent.
const SEED: u64 = 0x6172_6261_6765;
const RESIDENT_BYTES_MAX: u64 = 400 << 20;
/// What the second round may add: caches and the allocator's slack, not what one round received.
const GROWTH_BYTES_MAX: u64 = 64 << 20;
/// Longest that a client may take over the head of a request, and a little.
const SLOW_HEADERS_MAX: Duration = Duration::from_secs(15);

fn bytes(rng: &mut StdRng, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn resident_bytes(cluster: &Cluster) -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", cluster.pid(1))).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * PAGE_BYTES
}

fn host(cluster: &Cluster, surface: &str) -> String {
    cluster.json["nodes"][0][surface]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn still_serves(cluster: &Cluster, round: i64) {
    let client = cluster.client(0, Duration::from_secs(10)).await;
    let things = client.collection::<Document>("things");
    things.insert_one(&doc! { "_id": round }).await.unwrap();
    assert_eq!(things.count(doc! {}).await.unwrap(), round as u64 + 1);
}

/// Steps: clients that never end their headers; two rounds of garbage over HTTP, S3, gRPC and the peer port, the node
/// serving after each; its memory stays bounded, the slow clients are cut off, and its log tells of no panic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t60_garbage_is_refused_and_leaves_no_trace() {
    let cluster = Cluster::start(1, 18_600);
    let (http, peer) = (host(&cluster, "http"), host(&cluster, "peer"));
    let client = cluster.client(0, Duration::from_secs(10)).await;
    client.create_collection("things").await.unwrap();
    let began = Instant::now();
    let slow = http::slow_headers(&http);

    let mut resident = Vec::new();
    for round in 0..2 {
        let mut rng = StdRng::seed_from_u64(SEED + round);
        http::flood(&http, &mut rng);
        s3::flood(&S3Client::of(&cluster, 1), &mut rng);
        rpc::flood(&cluster, &mut rng).await;
        peer::flood(&cluster, &peer, &mut rng).await;
        still_serves(&cluster, round as i64).await;
        resident.push(resident_bytes(&cluster));
    }
    println!(
        "resident after each round: {:?} MiB, {:?}",
        resident.iter().map(|bytes| bytes >> 20).collect::<Vec<_>>(),
        began.elapsed()
    );
    assert!(resident.iter().all(|bytes| *bytes < RESIDENT_BYTES_MAX));
    assert!(resident[1] < resident[0] + GROWTH_BYTES_MAX, "it grows");

    http::all_are_cut_off(slow, began + SLOW_HEADERS_MAX);
    let log = std::fs::read_to_string(cluster.log(1)).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}
