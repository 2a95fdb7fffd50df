//! Many callers share one stream: frames fill up, the window of the session holds.

use std::time::Duration;

use bson::doc;
use yunbase_client::testing::fake::{Fake, Fault};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_callers_share_frames() {
    let fake = Fake::start(1).await;
    let client = fake.builder().connect().await.unwrap();
    client.create_collection("c").await.unwrap();
    let before = fake.frames().len();
    let callers: Vec<_> = (0..32)
        .map(|caller| {
            let collection = client.collection("c");
            tokio::spawn(async move {
                for n in 0..50 {
                    collection
                        .insert_one(&doc! {"_id": format!("{caller}-{n}")})
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let frames = fake.frames().len() - before;
    assert!(frames < 1600 / 4, "1600 requests took {frames} frames");
    assert_eq!(fake.store().documents("c").len(), 1600);
}

#[tokio::test]
async fn the_window_holds_while_one_answer_is_late() {
    let fake = Fake::start(1).await;
    let client = fake.builder().connect().await.unwrap();
    client.create_collection("c").await.unwrap();
    fake.fault_next(0, [Fault::Delay(Duration::from_millis(150))]);
    let callers: Vec<_> = (0..200)
        .map(|n| {
            let collection = client.collection("c");
            tokio::spawn(async move { collection.insert_one(&doc! {"_id": n}).await.unwrap() })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(75)).await;
    let sequences = fake.seen().iter().map(|seen| seen.sequence).max().unwrap();
    assert!(
        sequences <= 2 + 64,
        "sequence {sequences} was sent while an early one was open"
    );
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(fake.store().violations, Vec::<String>::new());
    assert_eq!(fake.store().changes, 201);
}
