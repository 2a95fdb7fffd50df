//! Concurrent transactions through all nodes while leaders die: they are as if one had happened after the other.

mod anomalies;
mod http;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use anomalies::{Anomaly, Outcome, Step, Transaction, anomalies};
use http::{Failed, Http, number};

const LEADER_KILLS: usize = 2;
/// Between kills, and before the first and behind the last.
const QUIET: Duration = Duration::from_millis(1000);
/// Until a cluster must have a leader again.
const LEADER_WITHIN: Duration = Duration::from_secs(10);
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// Between transactions, so that some do not meet others and a dead node is not asked all the time.
const PAUSE: Duration = Duration::from_millis(20);

const TELLERS: usize = 4;
const ACCOUNTS: usize = 8;
const MONEY: i64 = 100;

const APPENDERS: usize = 4;
/// Lists that are one document each.
const LISTS: usize = 5;
/// Lists whose elements are documents, found by a query: nothing must appear in between.
const SPREAD_LISTS: usize = 2;
const KEYS: usize = LISTS + SPREAD_LISTS;
const STEPS_MAX: usize = 4;

/// Kills leaders under load and has them come back, then tells the clients to stop.
async fn kill_leaders(cluster: &mut Cluster, done: &AtomicU64, stop: &AtomicBool) {
    for _ in 0..LEADER_KILLS {
        tokio::time::sleep(QUIET).await;
        let leader = (1..=3).find_map(|k| cluster.leader(k)).expect("a leader");
        cluster.kill(leader);
        // It stays away until the others have gone on without it.
        let (before, given_up) = (done.load(Ordering::Relaxed), Instant::now() + LEADER_WITHIN);
        while done.load(Ordering::Relaxed) < before + 5 {
            assert!(Instant::now() < given_up, "nothing goes on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cluster.restart(leader);
    }
    tokio::time::sleep(QUIET).await;
    stop.store(true, Ordering::Relaxed);
}

async fn filled(cluster: &Cluster, documents: &[(&str, Vec<Document>)]) {
    let client = cluster.client(0, CALL_DEADLINE).await;
    for (name, documents) in documents {
        client.create_collection(*name).await.unwrap();
        if documents.is_empty() {
            continue;
        }
        client
            .collection::<Document>(*name)
            .insert_many(documents)
            .await
            .unwrap();
    }
}

/// What becomes of a transaction that could not go on, or whose commit was not acknowledged.
fn outcome(failed: &Failed) -> Outcome {
    match failed {
        Failed::Refused(code) => {
            let expected = [
                "DATABASE_TRANSACTION_CONFLICT",
                "DATABASE_TRANSACTION_NOT_EXIST",
            ];
            assert!(expected.contains(&code.as_str()), "{code}");
            Outcome::Failed
        }
        Failed::Unknown => Outcome::Unknown,
    }
}

/// Moves money between two accounts.
async fn transfer(http: &Http, rng: &mut StdRng) -> Result<(), Failed> {
    let from = rng.random_range(0..ACCOUNTS);
    let to = (from + rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
    let amount = rng.random_range(1..10);
    let transaction = http.begin().await?;
    for (account, change) in [(from, -amount), (to, amount)] {
        let id = format!("a{account}");
        let money = number(&transaction.get("bank", &id).await?["money"]);
        let update = json!({ "$set": { "money": money + change } });
        transaction.update("bank", &id, update).await?;
    }
    transaction.commit().await
}

/// What all accounts hold together, as one transaction reads them: one by one, which loses against most transfers, or
/// by one query, which loses against none.
async fn total(http: &Http, one_by_one: bool) -> Result<i64, Failed> {
    let transaction = http.begin().await?;
    let mut accounts = Vec::new();
    if one_by_one {
        for account in 0..ACCOUNTS {
            accounts.push(transaction.get("bank", &format!("a{account}")).await?);
        }
    } else {
        accounts = transaction.find("bank", &json!({})).await?;
    }
    transaction.commit().await?;
    Ok(accounts
        .iter()
        .map(|account| number(&account["money"]))
        .sum())
}

/// Steps: tellers move money in transactions through all nodes, auditors add it up in others; the leader is killed
/// and comes back, twice; every sum is the same, also at the end, and money did move.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t70_a_bank_keeps_its_total() {
    let mut cluster = Cluster::start(3, 18_800);
    let accounts = (0..ACCOUNTS).map(|n| doc! { "_id": format!("a{n}"), "money": MONEY });
    filled(&cluster, &[("bank", accounts.collect())]).await;
    let expected = MONEY * ACCOUNTS as i64;

    let (moved, stop) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let audits = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for teller in 0..TELLERS {
        let http = Http::new(&cluster, teller % 3 + 1);
        let (moved, stop) = (moved.clone(), stop.clone());
        clients.spawn(async move {
            let mut rng = StdRng::seed_from_u64(teller as u64);
            while !stop.load(Ordering::Relaxed) {
                match transfer(&http, &mut rng).await {
                    Ok(()) => {
                        moved.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(failed) => {
                        outcome(&failed);
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    for node in 1..=3 {
        let http = Http::new(&cluster, node);
        let (audits, stop) = (audits.clone(), stop.clone());
        clients.spawn(async move {
            for audit in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                match total(&http, audit.is_multiple_of(2)).await {
                    Ok(sum) => {
                        assert_eq!(sum, expected, "as a transaction saw it");
                        audits.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(failed) => {
                        outcome(&failed);
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    kill_leaders(&mut cluster, &moved, &stop).await;
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }

    let client = cluster.client(1, CALL_DEADLINE).await;
    let accounts = client
        .collection::<Document>("bank")
        .find(doc! {})
        .all()
        .await
        .unwrap();
    let money = |account: &Document| match account.get("money") {
        Some(bson::Bson::Int32(money)) => i64::from(*money),
        Some(bson::Bson::Int64(money)) => *money,
        other => panic!("{other:?}"),
    };
    assert_eq!(accounts.iter().map(money).sum::<i64>(), expected);
    let (moved, audits) = (
        moved.load(Ordering::Relaxed),
        audits.load(Ordering::Relaxed),
    );
    assert!(moved > 10 && audits > 3, "{moved} moved, {audits} audits");
    println!("{moved} transfers, {audits} audits");
}

/// The lists are in two collections, so that transactions span them.
fn place(key: usize) -> (&'static str, String) {
    (
        ["odd", "even"][usize::from(key.is_multiple_of(2))],
        format!("k{key}"),
    )
}

fn elements(document: &Value) -> Vec<u64> {
    let list = document["list"].as_array().unwrap();
    list.iter().map(|one| number(one) as u64).collect()
}

/// Carries out one step; what it read on the way is a step too.
async fn take_step(open: &http::Transaction<'_>, step: Step) -> Result<Vec<Step>, Failed> {
    Ok(match step {
        Step::Append(key, value) if key < LISTS => {
            let (collection, id) = place(key);
            let push = json!({ "$push": { "list": value } });
            open.update(collection, &id, push).await?;
            vec![step]
        }
        Step::Append(key, value) => {
            let list = spread(open, key).await?;
            let row = json!({ "_id": format!("{key}-{value}"), "key": key, "value": value, "at": list.len() });
            open.add("rows", row).await?;
            vec![Step::Read(key, list), step]
        }
        Step::Read(key, _) if key < LISTS => {
            let (collection, id) = place(key);
            let found = open.get(collection, &id).await?;
            vec![Step::Read(key, elements(&found))]
        }
        Step::Read(key, _) => vec![Step::Read(key, spread(open, key).await?)],
    })
}

/// A list whose elements are documents.
async fn spread(open: &http::Transaction<'_>, key: usize) -> Result<Vec<u64>, Failed> {
    let rows = open.find("rows", &json!({ "key": key })).await?;
    let mut rows: Vec<_> = rows
        .iter()
        .map(|row| (number(&row["at"]), number(&row["value"]) as u64))
        .collect();
    rows.sort_unstable();
    Ok(rows.into_iter().map(|(_, value)| value).collect())
}

/// Carries out steps, filling in what is read. The steps up to a failure are kept: they may have an effect.
async fn carry_out(http: &Http, wanted: Vec<Step>) -> (Vec<Step>, Outcome) {
    let mut steps = Vec::new();
    let open = match http.begin().await {
        Ok(open) => open,
        Err(_) => return (steps, Outcome::Failed),
    };
    for step in wanted {
        match take_step(&open, step).await {
            Ok(taken) => steps.extend(taken),
            // It is never committed, so whatever became of this request has no effect.
            Err(failed) => {
                outcome(&failed);
                open.rollback().await;
                return (steps, Outcome::Failed);
            }
        }
    }
    let outcome = match open.commit().await {
        Ok(()) => Outcome::Committed,
        Err(failed) => outcome(&failed),
    };
    (steps, outcome)
}

/// Steps: clients append to lists and read them, several in each transaction, through all nodes; the leader is killed
/// and comes back, twice; the history has none of the anomalies that the checker knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t71_a_history_of_appends_is_strictly_serializable() {
    let mut cluster = Cluster::start(3, 18_900);
    let lists = |odd: usize| {
        (0..LISTS)
            .filter(|key| key % 2 == odd)
            .map(|key| doc! { "_id": place(key).1, "list": [] })
            .collect()
    };
    let filling = [("even", lists(0)), ("odd", lists(1)), ("rows", Vec::new())];
    filled(&cluster, &filling).await;

    let (done, stop) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for appender in 0..APPENDERS {
        let http = Http::new(&cluster, appender % 3 + 1);
        let (done, stop) = (done.clone(), stop.clone());
        clients.spawn(async move {
            let mut rng = StdRng::seed_from_u64(appender as u64);
            let (mut history, mut appends) = (Vec::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                let step = |_| {
                    let key = rng.random_range(0..KEYS);
                    if rng.random_bool(0.5) {
                        appends += 1;
                        Step::Append(key, (appends * APPENDERS + appender) as u64)
                    } else {
                        Step::Read(key, Vec::new())
                    }
                };
                let wanted = (0..STEPS_MAX).map(step).collect();
                let invoked = began.elapsed();
                let (steps, outcome) = carry_out(&http, wanted).await;
                if outcome == Outcome::Committed {
                    done.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(PAUSE).await;
                history.push(Transaction {
                    steps,
                    outcome,
                    invoked,
                    answered: began.elapsed(),
                });
            }
            history
        });
    }
    kill_leaders(&mut cluster, &done, &stop).await;
    let mut history = Vec::new();
    while let Some(ended) = clients.join_next().await {
        history.extend(ended.unwrap());
    }

    let http = Http::new(&cluster, 1);
    let given_up = Instant::now() + LEADER_WITHIN;
    let last = loop {
        let invoked = began.elapsed();
        let wanted = (0..KEYS).map(|key| Step::Read(key, Vec::new())).collect();
        let (steps, outcome) = carry_out(&http, wanted).await;
        if outcome == Outcome::Committed {
            break Transaction {
                steps,
                outcome,
                invoked,
                answered: began.elapsed(),
            };
        }
        assert!(Instant::now() < given_up, "the last reads never succeed");
    };
    history.push(last);
    let count = |outcome| history.iter().filter(|one| one.outcome == outcome).count();
    let (committed, unknown) = (count(Outcome::Committed), count(Outcome::Unknown));
    println!(
        "{} transactions, {committed} committed, {unknown} unknown",
        history.len()
    );
    assert!(committed > 20, "{committed} committed");
    let found: Vec<Anomaly> = anomalies(&history).into_iter().collect();
    assert!(found.is_empty(), "{found:?} in {history:#?}");
}
