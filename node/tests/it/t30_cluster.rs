//! Hosts form a cluster from their configuration files, as an operator would have them do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use yunbase_client::Client;

use crate::hosts::{Hosts, SECRET_ID, SECRET_KEY};

/// What a stop may take while clients hold streams: well below the drain time of 5 s.
const STOP_MAX: Duration = Duration::from_secs(4);
/// Longest one write may take while nodes are restarted one by one.
const WRITE_MAX: Duration = Duration::from_secs(4);
/// Longest a revoked key may still open a node.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

const NOT_ALLOWED: Option<i32> = Some(3);
const CONFLICT: Option<i32> = Some(5);

fn found() -> (Hosts, String) {
    founded_at(18_300)
}

pub(crate) fn founded_at(port: u16) -> (Hosts, String) {
    let mut hosts = Hosts::new(port);
    hosts.configure(
        1,
        &format!(
            "bootstrap = true\ngroups = 2\nbootstrap_env = \"first\"\nbootstrap_secret_id = {SECRET_ID:?}\nbootstrap_secret_key = {SECRET_KEY:?}"
        ),
    );
    hosts.start(1);
    let token = hosts.result(1, &["cluster", "token"]);
    (hosts, token)
}

pub(crate) fn join(hosts: &mut Hosts, k: u16, token: &str) {
    configure_to_join(hosts, k, token);
    hosts.start(k);
}

fn configure_to_join(hosts: &Hosts, k: u16, token: &str) {
    hosts.configure(
        k,
        &format!("join = [{:?}]\njoin_token = {token:?}", hosts.peer(1)),
    );
}

pub(crate) fn node_ids(hosts: &Hosts, k: u16) -> Vec<u64> {
    let status = hosts.operate(k, &["status", "-o", "json"]).stdout;
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    let nodes = status["nodes"].as_array().unwrap();
    nodes
        .iter()
        .map(|node| node["id"].as_u64().unwrap())
        .collect()
}

/// Steps: a founder; a node with a wrong token is refused; two join and keep their ids, even when the first
/// answer got lost; a data folder in use is refused; the file, a variable and a flag show as sources.
#[test]
fn t30_hosts_form_a_cluster_from_their_files() {
    let (mut hosts, token) = found();
    let explained = hosts
        .command(&["config", "explain", "--config"])
        .arg(hosts.config(1))
        .args(["--zone", "z1"])
        .env("YUNBASE_LOG_FORMAT", "json")
        .output()
        .unwrap();
    let explained = String::from_utf8(explained.stdout).unwrap();
    let source_of = |key: &str| {
        let line = explained.lines().find(|line| line.starts_with(key));
        line.unwrap_or_default().to_owned()
    };
    assert!(source_of("data_dir").contains(" file "));
    assert!(source_of("log_format").contains(" environment "));
    assert!(source_of("zone").contains(" flag "));
    assert!(source_of("connections_max").contains(" default "));
    assert!(!explained.contains(SECRET_KEY), "{explained}");

    let mut parts: Vec<&str> = token.split('.').collect();
    let forged = "0".repeat(parts[2].len());
    parts[2] = &forged;
    configure_to_join(&hosts, 2, &parts.join("."));
    let refused = hosts.start_refused(2);
    assert_eq!(refused.code(), NOT_ALLOWED, "{}", hosts.log(2));

    join(&mut hosts, 2, &token);
    join(&mut hosts, 3, &token);
    assert_eq!(node_ids(&hosts, 1), [1, 2, 3]);

    // As if the process had died after it was admitted and before it wrote down its id.
    hosts.stop(3);
    std::fs::remove_file(hosts.data(3).join("identity")).unwrap();
    hosts.start(3);
    assert_eq!(node_ids(&hosts, 1), [1, 2, 3]);

    let twin = format!(
        "data_dir = {:?}\nhttp_address = {:?}\npeer_address = {:?}\ns3_address = \"\"\n",
        hosts.data(2),
        hosts.http(9),
        hosts.peer(9)
    );
    std::fs::write(hosts.config(9), twin).unwrap();
    assert_eq!(hosts.start_refused(9).code(), CONFLICT, "{}", hosts.log(9));
}

/// Steps: two environments; dry runs that leave it at that; a key for one of them opens it through every node, and neither the other nor the
/// cluster; once it is deleted every node refuses it.
#[test]
fn t31_keys_open_what_they_are_for() {
    let (mut hosts, token) = founded_at(18_400);
    join(&mut hosts, 2, &token);
    join(&mut hosts, 3, &token);
    for name in ["shop", "lab"] {
        hosts.result(3, &["env", "create", name]);
    }
    let would = |arguments: &[&str]| {
        let said = hosts.result(2, &[arguments, &["--dry-run", "-o", "json"]].concat());
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["dry_run"], true, "{arguments:?}: {said}");
    };
    would(&["env", "create", "attic"]);
    would(&["key", "create", "--env", "shop"]);
    would(&["key", "delete", SECRET_ID]);
    would(&["cluster", "transfer", "0", "1"]);
    let names = hosts.result(1, &["env", "list"]);
    assert_eq!(names.lines().count(), 3, "{names}");
    let keys = hosts.result(1, &["key", "list"]);
    assert_eq!(keys.lines().count(), 1, "{keys}");

    let key = hosts.result(2, &["key", "create", "--env", "shop"]);
    let key: serde_json::Value = serde_json::from_str(&key).unwrap();
    let (id, secret) = (
        key["secret_id"].as_str().unwrap(),
        key["secret_key"].as_str().unwrap(),
    );
    let as_tenant = |k: u16, arguments: &[&str]| {
        let output = hosts
            .command(arguments)
            .args(["--target", &hosts.url(k)])
            .env("YUNBASE_SECRET_ID", id)
            .env("YUNBASE_SECRET_KEY", secret)
            .output()
            .unwrap();
        output.status.code()
    };
    // The key has to reach each node's copy of the cluster's documents.
    let given_up = Instant::now() + REVOKED_WITHIN;
    for k in 1..=3 {
        while as_tenant(k, &["db", "collection", "list", "--env", "shop"]) != Some(0) {
            assert!(Instant::now() < given_up, "node {k} does not know the key");
        }
    }
    assert_eq!(
        as_tenant(
            1,
            &["db", "collection", "create", "things", "--env", "shop"]
        ),
        Some(0)
    );
    for k in 1..=3 {
        let insert = ["db", "insert", "things", "{\"a\": 1}", "--env", "shop"];
        assert_eq!(as_tenant(k, &insert), Some(0), "node {k}");
        let elsewhere = ["db", "collection", "list", "--env", "lab"];
        assert_eq!(as_tenant(k, &elsewhere), NOT_ALLOWED, "node {k}");
        assert_eq!(as_tenant(k, &["status"]), NOT_ALLOWED, "node {k}");
        assert_eq!(as_tenant(k, &["key", "list"]), NOT_ALLOWED, "node {k}");
    }
    hosts.result(1, &["key", "delete", id]);
    let given_up = Instant::now() + REVOKED_WITHIN;
    for k in 1..=3 {
        while as_tenant(k, &["db", "count", "things", "--env", "shop"]) != NOT_ALLOWED {
            assert!(Instant::now() < given_up, "node {k} still takes the key");
        }
    }
    let again = hosts.operate(1, &["key", "delete", id]);
    assert_eq!(again.status.code(), Some(4), "no such key");
}

/// Steps: a writer goes on while each node is stopped and started in turn; no write fails, none takes long, every
/// one is there, and no stop waits for the streams that clients hold open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t32_a_rolling_restart_fails_no_request() {
    let (mut hosts, token) = founded_at(18_500);
    join(&mut hosts, 2, &token);
    join(&mut hosts, 3, &token);
    hosts.result(1, &["env", "create", "shop"]);
    let client = Client::builder()
        .endpoints((1..=3).map(|k| hosts.url(k)))
        .env("shop")
        .credentials(SECRET_ID, SECRET_KEY)
        .deadline(Duration::from_secs(15))
        .connect_lazily()
        .unwrap();
    client.create_collection("things").await.unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let writer = tokio::spawn({
        let (client, stop, written) = (client.clone(), stop.clone(), written.clone());
        async move {
            let things = client.collection::<Document>("things");
            let mut slowest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let n = written.load(Ordering::Relaxed) as i64;
                let began = Instant::now();
                things.insert_one(&doc! { "_id": n }).await.unwrap();
                slowest = slowest.max(began.elapsed());
                written.fetch_add(1, Ordering::Relaxed);
            }
            slowest
        }
    });
    for k in 1..=3 {
        let before = written.load(Ordering::Relaxed);
        let took = hosts.stop(k);
        println!("stopped node {k} in {took:?}");
        assert!(took < STOP_MAX, "node {k} took {took:?} to stop");
        tokio::time::sleep(Duration::from_millis(300)).await;
        hosts.start(k);
        let given_up = Instant::now() + WRITE_MAX;
        while written.load(Ordering::Relaxed) == before {
            assert!(Instant::now() < given_up, "the writer stands still");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let slowest = writer.await.unwrap();
    println!("slowest write: {slowest:?}");
    assert!(slowest < WRITE_MAX, "a write took {slowest:?}");
    let count = client
        .collection::<Document>("things")
        .count(doc! {})
        .await
        .unwrap();
    assert_eq!(count, written.load(Ordering::Relaxed));
}

/// Steps: four nodes, groups of three replicas, so each node lacks some group; every environment is written and
/// read through every node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t33_a_node_without_a_replica_takes_requests_too() {
    let (mut hosts, token) = founded_at(18_700);
    for k in 2..=4 {
        join(&mut hosts, k, &token);
    }
    for env in ["first", "second"] {
        hosts.result(1, &["env", "create", env]);
    }
    for env in ["first", "second"] {
        for k in 1..=4 {
            let client = Client::builder()
                .endpoint(hosts.url(k))
                .credentials(SECRET_ID, SECRET_KEY)
                .env(env)
                .deadline(Duration::from_secs(10))
                .connect_lazily()
                .unwrap();
            if k == 1 {
                client.create_collection("things").await.unwrap();
            }
            let things = client.collection::<Document>("things");
            things
                .insert_one(&doc! { "_id": i64::from(k) })
                .await
                .unwrap();
            assert!(things.get(i64::from(k)).await.unwrap().is_some());
            assert_eq!(things.count(doc! {}).await.unwrap(), u64::from(k));
        }
    }
}
