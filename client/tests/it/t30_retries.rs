//! Lost answers, refusals to try again, expired sessions: each change takes effect once.

use std::time::{Duration, Instant};

use bson::doc;
use yunbase_client::proto::Retry;
use yunbase_client::testing::fake::{Fake, Fault, Seen};
use yunbase_client::{Client, ErrorKind};

async fn client(fake: &Fake) -> Client {
    let client = fake
        .builder()
        .deadline(Duration::from_secs(5))
        .connect()
        .await
        .unwrap();
    client.create_collection("c").await.unwrap();
    client
}

fn writes(fake: &Fake) -> Vec<Seen> {
    fake.seen()
        .into_iter()
        .filter(|seen| seen.sequence > 1)
        .collect()
}

#[tokio::test]
async fn a_retry_after_a_lost_answer_has_the_same_sequence_and_takes_effect_once() {
    let fake = Fake::start(2).await;
    let client = client(&fake).await;
    fake.fault_next(0, [Fault::CutAfter]);
    client
        .collection("c")
        .insert_one(&doc! {"_id": 1})
        .await
        .unwrap();
    let writes = writes(&fake);
    assert_eq!(writes.len(), 2);
    assert_eq!(
        (writes[0].session, writes[0].sequence),
        (writes[1].session, writes[1].sequence)
    );
    assert_eq!((writes[0].endpoint, writes[1].endpoint), (0, 1));
    assert_eq!(fake.store().changes, 2);
    assert_eq!(fake.store().documents("c").len(), 1);
}

#[tokio::test]
async fn unavailable_moves_on_and_a_hint_is_followed() {
    let fake = Fake::start(3).await;
    let client = client(&fake).await;
    let hint = fake.urls()[2].clone();
    fake.fault_next(0, [Fault::Unavailable { hint }]);
    client
        .collection("c")
        .insert_one(&doc! {"_id": 1})
        .await
        .unwrap();
    client
        .collection("c")
        .insert_one(&doc! {"_id": 2})
        .await
        .unwrap();
    let endpoints: Vec<usize> = writes(&fake).iter().map(|seen| seen.endpoint).collect();
    assert_eq!(endpoints, [0, 2, 2]);
}

#[tokio::test]
async fn the_deadline_is_kept_and_the_outcome_of_a_silent_write_is_unknown() {
    let fake = Fake::start(1).await;
    let client = client(&fake)
        .await
        .with_deadline(Duration::from_millis(200));
    fake.fault_next(0, [Fault::DropReply, Fault::DropReply]);
    let begun = Instant::now();
    let error = client
        .collection("c")
        .insert_one(&doc! {"_id": 1})
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.is_unknown()),
        (ErrorKind::DeadlineExceeded, true)
    );
    assert!(
        (180..1000).contains(&begun.elapsed().as_millis()),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        writes(&fake)
            .iter()
            .all(|seen| (1..=200).contains(&seen.deadline_ms))
    );
    let error = client
        .collection::<bson::Document>("c")
        .get(1)
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.is_unknown()),
        (ErrorKind::DeadlineExceeded, false)
    );
}

#[tokio::test]
async fn a_cluster_that_does_nothing_is_unavailable_with_a_known_outcome_and_few_attempts() {
    let fake = Fake::start(1).await;
    let client = client(&fake)
        .await
        .with_deadline(Duration::from_millis(600));
    fake.fault_always(
        0,
        Fault::Unavailable {
            hint: String::new(),
        },
    );
    let error = client
        .collection("c")
        .insert_one(&doc! {"_id": 1})
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.is_unknown()),
        (ErrorKind::Unavailable, false)
    );
    let attempts = writes(&fake).len();
    assert!((3..25).contains(&attempts), "{attempts} attempts in 600 ms");
}

#[tokio::test]
async fn ambiguity_is_remembered_across_later_attempts() {
    let fake = Fake::start(1).await;
    let client = client(&fake)
        .await
        .with_deadline(Duration::from_millis(300));
    fake.fault_next(0, [Fault::CutAfter]);
    fake.fault_always(
        0,
        Fault::Unavailable {
            hint: String::new(),
        },
    );
    let error = client
        .collection("c")
        .insert_one(&doc! {"_id": 1})
        .await
        .unwrap_err();
    assert!(error.is_unknown(), "{error}");
}

#[tokio::test]
async fn an_expired_session_is_unknown_once_and_then_replaced() {
    let fake = Fake::start(1).await;
    let client = client(&fake).await;
    fake.store().expire_sessions();
    let error = client
        .collection("c")
        .insert_one(&doc! {"_id": 1})
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.is_unknown()),
        (ErrorKind::SessionExpired, true)
    );
    client
        .collection("c")
        .insert_one(&doc! {"_id": 1})
        .await
        .unwrap();
    assert_eq!(
        fake.seen().iter().filter(|seen| seen.opens_session).count(),
        2
    );
}

#[tokio::test]
async fn an_expired_session_that_certainly_did_nothing_is_replaced_silently() {
    let fake = Fake::start(1).await;
    let client = client(&fake).await;
    fake.fault_next(
        0,
        [Fault::Refuse {
            code: "SESSION_EXPIRED",
            retry: Retry::Safe,
        }],
    );
    client
        .collection("c")
        .insert_one(&doc! {"_id": 1})
        .await
        .unwrap();
    assert_eq!(
        fake.seen().iter().filter(|seen| seen.opens_session).count(),
        2
    );
}

/// Many callers, answers cut at random places on all endpoints: the store must hold each document once, and
/// each counter must show exactly the increments that were acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_cuts_loses_nothing_and_doubles_nothing() {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    let seed: u64 = rand::random();
    let mut rng = StdRng::seed_from_u64(seed);
    let fake = Fake::start(3).await;
    let client = client(&fake).await;
    client
        .collection("c")
        .insert_one(&doc! {"_id": "counter", "n": 0})
        .await
        .unwrap();
    for endpoint in 0..3 {
        let faults = (0..150).map(|_| match rng.random_range(0..30) {
            0 => Fault::CutAfter,
            1 => Fault::CutBefore,
            2 => Fault::Unavailable {
                hint: String::new(),
            },
            _ => Fault::None,
        });
        fake.fault_next(endpoint, faults);
    }
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let counter = client.collection::<bson::Document>("c");
            tokio::spawn(async move {
                for _ in 0..20 {
                    counter
                        .update_one(doc! {"_id": "counter"}, doc! {"$inc": {"n": 1}})
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(
        fake.store().documents("c")[0].get_i32("n").unwrap(),
        320,
        "seed {seed}"
    );
    assert_eq!(fake.store().violations, Vec::<String>::new(), "seed {seed}");
}
