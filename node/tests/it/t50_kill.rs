//! Nodes die without a word under load: nothing acknowledged is lost and nothing happens twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use tokio::task::JoinSet;
use yunbase_client::{Client, filter, update};

use crate::cluster::Cluster;

const WRITERS: usize = 64;
const LEADER_KILLS: usize = 10;
const FULL_KILLS: usize = 3;
/// Promised: service is back within this of a leader's death.
const OUTAGE_MAX: Duration = Duration::from_secs(3);
/// Longer than an outage, so that a writer's call spans it instead of failing.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_millis(300);

/// What the writers saw.
#[derive(Default)]
struct Seen {
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    stop: AtomicBool,
}

/// What one writer knows of its own documents.
#[derive(Default)]
struct Ledger {
    inserted: Vec<String>,
    incremented: i64,
    /// Calls that ended without an answer: each may count or not.
    doubtful: i64,
}

/// Inserts documents and increments a counter of its own, in turn, until told to stop.
async fn write(client: Client, writer: usize, seen: Arc<Seen>) -> (usize, Ledger) {
    let inserts = client.collection::<Document>("inserts");
    let counters = client.collection::<Document>("counters");
    let mut ledger = Ledger::default();
    for round in 0_u64.. {
        if seen.stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{writer}-{round}");
        let inserted = inserts
            .insert_one(&doc! { "_id": &id, "writer": writer as i64 })
            .await;
        match inserted {
            Ok(_) => ledger.inserted.push(id),
            Err(error) if error.is_unknown() => {
                seen.unknown.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => panic!("writer {writer}: insert: {error}"),
        }
        match counters
            .update_one(filter::eq("_id", writer as i64), update::inc("n", 1_i64))
            .await
        {
            Ok(updated) => {
                assert_eq!(updated.matched, 1);
                ledger.incremented += 1;
            }
            Err(error) if error.is_unknown() => ledger.doubtful += 1,
            Err(error) => panic!("writer {writer}: increment: {error}"),
        }
        seen.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    (writer, ledger)
}

/// How long no write was acknowledged, from now until the next one.
async fn outage(seen: &Seen) -> Duration {
    let began = Instant::now();
    // The first acknowledgements may still be answers of the dead leader on their way.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = seen.acknowledged.load(Ordering::Relaxed);
    while seen.acknowledged.load(Ordering::Relaxed) < before + 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(began.elapsed() < CALL_DEADLINE, "service did not come back");
    }
    began.elapsed()
}

async fn check(client: &Client, ledgers: BTreeMap<usize, Ledger>) {
    let inserts = client.collection::<Document>("inserts");
    let counters = client.collection::<Document>("counters");
    for (writer, ledger) in ledgers {
        let found = inserts
            .find(filter::eq("writer", writer as i64))
            .all()
            .await
            .unwrap();
        let ids: std::collections::BTreeSet<&str> = found
            .iter()
            .map(|found| found.get_str("_id").unwrap())
            .collect();
        assert_eq!(ids.len(), found.len());
        for id in &ledger.inserted {
            assert!(
                ids.contains(id.as_str()),
                "acknowledged insert {id} is lost"
            );
        }
        let counter = counters
            .get(writer as i64)
            .await
            .unwrap()
            .expect("its counter");
        let n = counter.get_i64("n").unwrap();
        assert!(
            (ledger.incremented..=ledger.incremented + ledger.doubtful).contains(&n),
            "writer {writer}: {} increments acknowledged, {} in doubt, but the counter says {n}",
            ledger.incremented,
            ledger.doubtful
        );
    }
}

/// Steps: 64 writers insert and increment through all nodes; the leader is killed ten times and comes back each
/// time; all nodes are killed at once three times; then every acknowledged write must be there, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t50_acknowledged_writes_survive_kills_and_count_once() {
    let mut cluster = Cluster::start(3, 18_100);
    let client = cluster.client(0, CALL_DEADLINE).await;
    for name in ["inserts", "counters"] {
        client.create_collection(name).await.unwrap();
    }
    let counters: Vec<Document> = (0..WRITERS)
        .map(|writer| doc! { "_id": writer as i64, "n": 0_i64 })
        .collect();
    client
        .collection::<Document>("counters")
        .insert_many(&counters)
        .await
        .unwrap();

    let seen = Arc::new(Seen::default());
    let mut writers = JoinSet::new();
    for node in 0..3 {
        let client = cluster.client(node, CALL_DEADLINE).await;
        for writer in (node..WRITERS).step_by(3) {
            writers.spawn(write(client.clone(), writer, seen.clone()));
        }
    }

    let mut worst = Duration::ZERO;
    for _ in 0..LEADER_KILLS {
        tokio::time::sleep(SETTLE).await;
        let leader = (1..=3).find_map(|k| cluster.leader(k)).expect("a leader");
        cluster.kill(leader);
        worst = worst.max(outage(&seen).await);
        cluster.restart(leader);
    }
    for _ in 0..FULL_KILLS {
        tokio::time::sleep(SETTLE).await;
        (1..=3).for_each(|k| cluster.kill(k));
        cluster.start_again();
        outage(&seen).await;
    }

    seen.stop.store(true, Ordering::Relaxed);
    let mut ledgers = BTreeMap::new();
    while let Some(done) = writers.join_next().await {
        let (writer, ledger) = done.unwrap();
        ledgers.insert(writer, ledger);
    }
    for node in 0..3 {
        // Through each node, so that each replica has shown what it holds.
        if node < 2 {
            let client = cluster.client(node, CALL_DEADLINE).await;
            client
                .collection::<Document>("counters")
                .count(doc! {})
                .await
                .unwrap();
        }
    }
    check(&cluster.client(2, CALL_DEADLINE).await, ledgers).await;
    assert!(
        worst < OUTAGE_MAX,
        "service was away for {worst:?} after a leader's death"
    );
}
