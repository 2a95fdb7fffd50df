//! Endpoints that die, hang and come back.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use tokio::net::TcpListener;
use yunbase_client::testing::fake::Fake;
use yunbase_client::{Client, ErrorKind, Options};

#[tokio::test]
async fn a_dead_endpoint_is_left_and_found_again() {
    let mut fake = Fake::start(2).await;
    let client = fake.builder().connect().await.unwrap();
    client.create_collection("c").await.unwrap();
    fake.stop(0);
    client
        .collection("c")
        .insert_one(&doc! {"_id": 1})
        .await
        .unwrap();
    fake.restart(0).await;
    fake.stop(1);
    client
        .collection("c")
        .insert_one(&doc! {"_id": 2})
        .await
        .unwrap();
    assert_eq!(fake.seen().last().unwrap().endpoint, 0);
    assert_eq!(fake.store().documents("c").len(), 2);
}

#[tokio::test]
async fn connecting_skips_dead_endpoints_and_names_the_trouble_when_all_are_dead() {
    let fake = Fake::start(2).await;
    fake.stop(0);
    fake.builder().connect().await.unwrap();
    fake.stop(1);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let error = fake
        .builder()
        .deadline(Duration::from_millis(200))
        .connect()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("127.0.0.1"), "{error}");
}

/// A process that is stopped, or a host that has lost its network, still holds the connection: only the
/// unanswered probe tells.
#[tokio::test]
async fn a_hanging_endpoint_is_left_when_its_probe_stays_unanswered() {
    let fake = Fake::start(1).await;
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = Options {
        connect_timeout: Duration::from_millis(200),
        keep_alive_interval: Duration::from_millis(50),
        keep_alive_timeout: Duration::from_millis(50),
        ..Options::default()
    };
    let client = Client::builder()
        .endpoint(format!("http://{}", deaf.local_addr().unwrap()))
        .endpoints(fake.urls())
        .credentials("AKIDfake", "fake-secret")
        .env("demo")
        .first_endpoint(0)
        .options(options)
        .connect_lazily()
        .unwrap();
    let begun = Instant::now();
    client.create_collection("c").await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn writes_follow_the_leader_and_reads_stay() {
    let fake = Fake::start(3).await;
    let client = fake.builder().connect().await.unwrap();
    fake.lead(2);
    client.create_collection("c").await.unwrap();
    let collection = client.collection::<Document>("c");
    collection.insert_one(&doc! {"_id": 1}).await.unwrap();
    collection.get(1).await.unwrap();
    let endpoints = |fake: &Fake| -> Vec<usize> {
        let seen = fake.seen().into_iter().filter(|seen| !seen.opens_session);
        seen.map(|seen| seen.endpoint).collect()
    };
    assert_eq!(endpoints(&fake), [0, 2, 0]);
    // The leader dies: its write finds another way at once, and the next ones the new leader.
    fake.lead(1);
    fake.stop(2);
    collection.insert_one(&doc! {"_id": 2}).await.unwrap();
    collection.insert_one(&doc! {"_id": 3}).await.unwrap();
    assert_eq!(endpoints(&fake)[3..], [0, 1]);
    assert_eq!(fake.store().documents("c").len(), 3);
}
