//! Documents move in and out: an import whose process and leader are killed goes on and stores each row once; a dump
//! of one environment becomes another that is the same.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use yunbase_client::Client;

use crate::cluster::Cluster;

const ROWS: i32 = 60_000;
const DEADLINE: Duration = Duration::from_secs(30);
/// Longest that an import may take to settle its first rows.
const BEGINNING_MAX: Duration = Duration::from_secs(30);

fn settled_rows(checkpoint: &Path) -> u64 {
    let text = std::fs::read(checkpoint).unwrap_or_default();
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    value["rows"].as_u64().unwrap_or(0)
}

/// The value that a command prints; fails with its words when it fails.
fn done(cluster: &Cluster, words: &[&str]) -> serde_json::Value {
    let words = [words, &["--target", cluster.folder(), "-o", "json"]].concat();
    let output = cluster.yunbase(&words);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {told}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn numbers(client: &Client, collection: &str) -> BTreeSet<i32> {
    let collection = client.collection::<Document>(collection);
    let found = collection
        .find(doc! {})
        .project(doc! {"n": 1, "_id": 0})
        .all()
        .await
        .unwrap();
    let numbers: BTreeSet<i32> = found.iter().map(|row| row.get_i32("n").unwrap()).collect();
    assert_eq!(numbers.len(), found.len(), "each row once");
    numbers
}

/// Steps: an import of rows without `_id` begins; its process is killed, and so is the leader; the import is started
/// again and every row is there once.
async fn an_import_survives(cluster: &mut Cluster, folder: &Path) {
    let (file, checkpoint) = (folder.join("rows.jsonl"), folder.join("progress.json"));
    let mut text = String::new();
    for n in 0..ROWS {
        writeln!(text, "{{\"n\":{n},\"text\":\"{:0>64}\"}}", n % 977).unwrap();
    }
    std::fs::write(&file, text).unwrap();
    let words = [
        "db",
        "import",
        "rows",
        file.to_str().unwrap(),
        "--resume",
        checkpoint.to_str().unwrap(),
        "--target",
        cluster.folder(),
    ];
    let mut import = Command::new(env!("CARGO_BIN_EXE_yunbase"))
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let given_up = Instant::now() + BEGINNING_MAX;
    while settled_rows(&checkpoint) == 0 {
        assert!(Instant::now() < given_up, "the import does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    import.kill().unwrap();
    import.wait().unwrap();
    let settled = settled_rows(&checkpoint);
    assert!(settled < ROWS as u64, "killed too late to say anything");
    let leader = (1..=3).find_map(|k| cluster.leader(k)).expect("a leader");
    cluster.kill(leader);
    let output = cluster.yunbase(&[&words[..], &["-o", "json"]].concat());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["rows"], ROWS, "{report}");
    assert_eq!(report["rejected"], 0, "{report}");
    cluster.restart(leader);
    let client = cluster.client(0, DEADLINE).await;
    assert_eq!(
        numbers(&client, "rows").await,
        (0..ROWS).collect::<BTreeSet<i32>>()
    );
}

/// Steps: indexes are created; the environment is written as a dump and read into another one; documents, their
/// types and the indexes are the same.
async fn a_dump_is_the_environment(cluster: &Cluster, folder: &Path) {
    let dump = folder.join("dump");
    let dump = dump.to_str().unwrap();
    done(
        cluster,
        &["db", "index", "create", "rows", "n", "--unique", "--wait"],
    );
    done(
        cluster,
        &["db", "index", "create", "rows", "text", "n:-1", "--wait"],
    );
    let client = cluster.client(1, DEADLINE).await;
    let regex = bson::Regex {
        pattern: "a".to_owned().try_into().unwrap(),
        options: "i".to_owned().try_into().unwrap(),
    };
    let kinds = doc! {
        "_id": 7_i64, "text": "ü", "double": 1.5, "date": bson::DateTime::from_millis(1), "null": bson::Bson::Null,
        "id": bson::oid::ObjectId::new(), "binary": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1] },
        "list": [1, "a", {"b": true}], "regex": regex,
    };
    client.create_collection("kinds").await.unwrap();
    let collection = client.collection::<Document>("kinds");
    collection.insert_one(&kinds).await.unwrap();

    let exported = done(cluster, &["db", "export", "--dump", dump, "--gzip"]);
    assert_eq!(exported["documents"], ROWS + 1, "{exported}");
    done(cluster, &["env", "create", "other"]);
    let imported = done(cluster, &["db", "import", "--dump", dump, "--env", "other"]);
    assert_eq!(imported["written"], ROWS + 1, "{imported}");
    assert_eq!(imported["indexes"], 2, "{imported}");

    let other = client.with_env("other");
    assert_eq!(
        numbers(&other, "rows").await,
        (0..ROWS).collect::<BTreeSet<i32>>()
    );
    let copied = other.collection::<Document>("kinds").get(7_i64).await;
    assert_eq!(copied.unwrap(), Some(kinds));
    let described = async |client: &Client| {
        let rows = client.collection::<Document>("rows");
        rows.list_indexes().await.unwrap()
    };
    assert_eq!(described(&other).await, described(&client).await);
}

/// Steps: a file of BSON with a type that is not taken is imported; that row is set aside, the others are there; the
/// same again with a conversion.
async fn what_is_not_taken_is_told(cluster: &Cluster, folder: &Path) {
    let (file, rejects) = (folder.join("d.bson"), folder.join("rejects.jsonl"));
    let decimal = "1.5".parse::<bson::Decimal128>().unwrap();
    let bytes: Vec<u8> = [
        doc! {"_id": 1},
        doc! {"_id": 2, "d": decimal},
        doc! {"_id": 3},
    ]
    .iter()
    .flat_map(|document| document.to_vec().unwrap())
    .collect();
    std::fs::write(&file, bytes).unwrap();
    let words = ["db", "import", "decimals", file.to_str().unwrap()];
    let target = ["--target", cluster.folder()];
    let rejecting = ["--rejects", rejects.to_str().unwrap()];
    let output = cluster.yunbase(&[&words[..], &rejecting, &target].concat());
    assert_eq!(output.status.code(), Some(1));
    let rejected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&rejects).unwrap()).unwrap();
    assert_eq!(rejected["row"], 2, "{rejected}");
    assert_eq!(rejected["collection"], "decimals", "{rejected}");
    assert!(rejected["reason"].as_str().unwrap().contains("decimal128"));
    let again = ["--convert", "decimal", "--conflict", "skip"];
    let report = done(cluster, &[&words[..], &again].concat());
    assert_eq!(report["written"], 1, "{report}");
    assert_eq!(report["skipped"], 2, "{report}");
    let client = cluster.client(2, DEADLINE).await;
    let found = client.collection::<Document>("decimals").get(2).await;
    assert_eq!(found.unwrap(), Some(doc! {"_id": 2, "d": 1.5}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t25_documents_move_in_and_out_once() {
    let mut cluster = Cluster::start(3, 19_000);
    let folder = tempfile::tempdir().unwrap();
    an_import_survives(&mut cluster, folder.path()).await;
    a_dump_is_the_environment(&cluster, folder.path()).await;
    what_is_not_taken_is_told(&cluster, folder.path()).await;
}
