//! A cluster starts, serves through every node, and its command line tells how it is.

use std::time::{Duration, Instant};

use bson::{Document, doc};

use crate::cluster::Cluster;

/// Steps: three nodes; a write through each is read through every other; the status is healthy, then degraded
/// after a kill; a graceful stop and a start keep everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t10_every_node_takes_every_request() {
    let mut cluster = Cluster::start(3, 18_000);
    let status = cluster.status(1);
    assert_eq!(status["healthy"], true, "{status}");
    assert_eq!(status["nodes"].as_array().unwrap().len(), 3);
    assert!(
        status["groups"].as_array().unwrap().len() > 1,
        "several groups: {status}"
    );

    let deadline = Duration::from_secs(10);
    let clients = [
        cluster.client(0, deadline).await,
        cluster.client(1, deadline).await,
        cluster.client(2, deadline).await,
    ];
    clients[0].create_collection("things").await.unwrap();
    for (k, writer) in clients.iter().enumerate() {
        writer
            .collection::<Document>("things")
            .insert_one(&doc! { "_id": k as i64, "by": k as i64 })
            .await
            .unwrap();
        for reader in &clients {
            let read = reader
                .collection::<Document>("things")
                .get(k as i64)
                .await
                .unwrap();
            assert!(
                read.is_some(),
                "a read after a write sees it, through whichever node"
            );
        }
    }

    let victim = cluster.leader(1).unwrap();
    let witness = if victim == 1 { 2 } else { 1 };
    cluster.kill(victim);
    clients[witness - 1]
        .collection::<Document>("things")
        .insert_one(&doc! { "_id": 3_i64 })
        .await
        .unwrap();
    // Groups without writes may still be electing when the first write has gone through.
    let given_up = Instant::now() + Duration::from_secs(10);
    let sentence = loop {
        let sentence = cluster.status(witness)["sentence"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if !sentence.starts_with("electing") || Instant::now() > given_up {
            break sentence;
        }
    };
    assert!(sentence.starts_with("degraded"), "{sentence}");
    cluster.restart(victim);

    assert!(
        cluster
            .yunbase(&["dev", "stop", "--dir", cluster.folder()])
            .status
            .success()
    );
    cluster.start_again();
    let count = cluster
        .client(0, deadline)
        .await
        .collection::<Document>("things")
        .count(doc! {})
        .await
        .unwrap();
    assert_eq!(count, 4);
}
