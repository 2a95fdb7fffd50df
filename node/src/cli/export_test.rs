//! Whole exports from a stand-in server: forms, resuming, dumps that go back in.

use bson::doc;
use clap::Parser;
use yunbase_client::testing::fake::{Fake, Fault};

use super::*;
use crate::cli::environment::Environment;
use crate::cli::import::ImportArgs;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    export: ExportArgs,
}

#[derive(Parser)]
struct ImportCli {
    #[command(flatten)]
    import: ImportArgs,
}

async fn client(fake: &Fake) -> Client {
    Environment::of_fake(fake).connect().await.unwrap()
}

async fn export(client: &Client, words: &[&str]) -> Result<Option<Value>, CliError> {
    let parsed = Cli::try_parse_from(["export"].iter().chain(words));
    let exported = parsed.unwrap().export.run(client, false).await;
    exported.map(|exported| exported.report)
}

/// A collection `c` of `count` documents whose ids have the order of their numbers.
async fn filled(fake: &Fake, count: u32) -> Client {
    let client = client(fake).await;
    client.create_collection("c").await.unwrap();
    let documents: Vec<Document> = (0..count)
        .map(|n| doc! {"_id": format!("{n:05}"), "n": n as i32, "d": {"e": "x"}})
        .collect();
    for documents in documents.chunks(500) {
        let collection = client.collection::<Document>("c");
        collection.insert_many(documents).await.unwrap();
    }
    client
}

#[tokio::test]
async fn the_name_of_the_file_tells_the_form() {
    let fake = Fake::start(1).await;
    let client = filled(&fake, 2100).await;
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes_min) in [
        ("a.jsonl", 2100),
        ("a.json.gz", 100),
        ("a.csv", 2100),
        ("a.bson", 2100),
    ] {
        let file = folder.path().join(name);
        let words = ["c", "-f", file.to_str().unwrap()];
        let done = export(&client, &words).await.unwrap().unwrap();
        assert_eq!(done["documents"], 2100, "{name}");
        assert!(file.metadata().unwrap().len() > bytes_min, "{name}");
    }
    let jsonl = std::fs::read_to_string(folder.path().join("a.jsonl")).unwrap();
    assert_eq!(jsonl.lines().count(), 2100);
    let bson = std::fs::read(folder.path().join("a.bson")).unwrap();
    let first = Document::from_reader(bson.as_slice()).unwrap();
    assert_eq!(first, doc! {"_id": "00000", "n": 0, "d": {"e": "x"}});
    let limited = folder.path().join("b.csv");
    let words = [
        "c",
        "-f",
        limited.to_str().unwrap(),
        "--limit",
        "1",
        "--fields",
        "d.e,_id",
    ];
    export(&client, &words).await.unwrap();
    assert_eq!(
        std::fs::read_to_string(&limited).unwrap(),
        "d.e,_id\nx,00000\n"
    );
}

#[tokio::test]
async fn an_interrupted_export_goes_on_and_is_the_same() {
    let fake = Fake::start(1).await;
    let client = client(&fake).await;
    client.create_collection("c").await.unwrap();
    // Large enough that checkpoints are written on the way.
    let pad = "x".repeat(20_000);
    for first in (0..3000).step_by(250) {
        let documents: Vec<Document> = (first..first + 250)
            .map(|n| doc! {"_id": format!("{n:05}"), "pad": &pad})
            .collect();
        let collection = client.collection::<Document>("c");
        collection.insert_many(&documents).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["whole.json", "part.json", "whole.bson.gz", "part.bson.gz"] {
        let file = folder.path().join(name);
        let checkpoint = folder.path().join(format!("{name}.progress"));
        let resume = ["--resume", checkpoint.to_str().unwrap()];
        let words = [&["c", "-f", file.to_str().unwrap()][..], &resume].concat();
        if name.starts_with("part") {
            let refused = Fault::Refuse {
                code: "INVALID_ENV",
                retry: yunbase_client::proto::Retry::Never,
            };
            // What is there, 14 pages of 2 MB, and then nothing.
            fake.fault_next(0, vec![Fault::None; 1 + 14]);
            fake.fault_next(0, vec![refused; 5]);
            export(&client, &words).await.unwrap_err();
            fake.clear_faults();
            assert!(checkpoint.exists() && !file.exists());
        }
        let done = export(&client, &words).await.unwrap().unwrap();
        assert_eq!(done["documents"], 3000, "{name}");
    }
    let read = |name: &str| {
        use std::io::Read as _;
        let bytes = std::fs::read(folder.path().join(name)).unwrap();
        let mut text = Vec::new();
        if name.ends_with(".gz") {
            let mut decoder = flate2::read::MultiGzDecoder::new(bytes.as_slice());
            decoder.read_to_end(&mut text).unwrap();
            return text;
        }
        bytes
    };
    assert!(read("whole.json") == read("part.json"));
    assert!(read("whole.bson.gz") == read("part.bson.gz"));
}

#[tokio::test]
async fn a_dump_goes_back_in() {
    let fake = Fake::start(1).await;
    let source = filled(&fake, 700).await;
    source.create_collection("empty").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for gzip in [false, true] {
        let dump = folder.path().join(if gzip { "gz" } else { "plain" });
        let mut words = vec!["--dump", dump.to_str().unwrap()];
        if gzip {
            words.push("--gzip");
        }
        let done = export(&source, &words).await.unwrap().unwrap();
        assert_eq!(
            (&done["documents"], &done["collections"]),
            (&json!(700), &json!(2))
        );
        assert!(dump.join("demo/c.metadata.json").is_file());
        let other = Fake::start(1).await;
        let words = ["import", "--dump", dump.to_str().unwrap()];
        let import = ImportCli::try_parse_from(words).unwrap().import;
        let report = import
            .run(&Environment::of_fake(&other), false)
            .await
            .unwrap();
        assert_eq!((report.rows, report.written), (700, 700));
        assert_eq!(other.store().documents("c"), fake.store().documents("c"));
        assert_eq!(other.store().collections(), ["c", "empty"]);
        assert!(report.conclude().is_ok());
    }
}

#[tokio::test]
async fn a_dry_run_and_what_is_missing_write_nothing() {
    let fake = Fake::start(1).await;
    let client = filled(&fake, 10).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.jsonl");
    let words = ["export", "c", "-f", file.to_str().unwrap(), "--limit", "3"];
    let args = Cli::try_parse_from(words).unwrap().export;
    let would = args.run(&client, true).await.unwrap().report.unwrap();
    assert!(would["would"].as_str().unwrap().contains("3 documents"));
    let missing = export(&client, &["no", "-f", file.to_str().unwrap()]).await;
    assert_eq!(missing.unwrap_err().exit, crate::cli::exit::Exit::NotFound);
    let nowhere = export(&client, &["c", "--resume", file.to_str().unwrap()]).await;
    assert_eq!(nowhere.unwrap_err().exit, crate::cli::exit::Exit::Usage);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
