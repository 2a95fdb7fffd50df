//! Whole imports against a stand-in server: conflicts, rejects, resuming.

use bson::doc;
use clap::Parser;
use yunbase_client::testing::fake::{Fake, Fault};

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    import: ImportArgs,
}

fn args(file: &Path, flags: &[&str]) -> ImportArgs {
    let words = ["import", "c", file.to_str().unwrap()];
    Cli::try_parse_from(words.iter().chain(flags))
        .unwrap()
        .import
}

async fn import(fake: &Fake, text: &str, flags: &[&str]) -> Result<Report, CliError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows");
    std::fs::write(&file, text).unwrap();
    args(&file, flags)
        .run(&Environment::of_fake(fake), false)
        .await
}

fn lines(range: std::ops::Range<u32>) -> String {
    range
        .map(|n| format!("{{\"_id\":\"{n:05}\",\"n\":{n}}}\n"))
        .collect()
}

#[tokio::test]
async fn many_rows_arrive_in_batches() {
    let fake = Fake::start(1).await;
    let array = format!("[{}]", lines(0..2300).trim_end().replace('\n', ",\n"));
    let report = import(&fake, &array, &[]).await.unwrap();
    assert_eq!(
        (report.rows, report.written, report.rejected),
        (2300, 2300, 0)
    );
    assert_eq!(fake.store().documents("c").len(), 2300);
    assert!(
        fake.seen().len() < 12,
        "2300 rows took {} requests",
        fake.seen().len()
    );
    assert!(report.conclude().is_ok());
}

#[tokio::test]
async fn bad_rows_are_set_aside_with_reasons() {
    let fake = Fake::start(1).await;
    let folder = tempfile::tempdir().unwrap();
    let rejects = folder.path().join("rejects.jsonl");
    let text = "{\"_id\":1}\nnonsense\n{\"_id\":2}\n{\"_id\":1}\n";
    let report = import(
        &fake,
        text,
        &["--format", "jsonl", "--rejects", rejects.to_str().unwrap()],
    )
    .await
    .unwrap();
    assert_eq!(
        (
            report.rows,
            report.written,
            report.rejected,
            report.conflicts
        ),
        (4, 2, 2, 1)
    );
    assert_eq!(report.conclude().unwrap_err().exit, Exit::Failed);
    let rejected = std::fs::read_to_string(rejects).unwrap();
    assert!(
        rejected.contains("\"row\":2")
            && rejected.contains("nonsense")
            && rejected.contains("\"row\":4")
    );
    let error = import(&fake, "{\"a\":}\n{\"a\":}\n", &["--max-rejected", "1"])
        .await
        .unwrap_err();
    assert!(error.message.contains("--max-rejected"));
}

#[tokio::test]
async fn conflicts_are_rejected_skipped_or_replaced() {
    let fake = Fake::start(1).await;
    import(&fake, "{\"_id\":1,\"v\":\"old\"}\n", &[])
        .await
        .unwrap();
    let text = "{\"_id\":1,\"v\":\"new\"}\n{\"_id\":2,\"v\":\"new\"}\n";
    let report = import(&fake, text, &["--conflict", "skip"]).await.unwrap();
    assert_eq!((report.written, report.skipped), (1, 1));
    assert_eq!(fake.store().documents("c")[0], doc! {"_id": 1, "v": "old"});
    let report = import(&fake, text, &[]).await.unwrap();
    assert_eq!(
        (report.rejected, report.conclude().unwrap_err().exit),
        (2, Exit::Conflict)
    );
    let report = import(&fake, text, &["--conflict", "replace"])
        .await
        .unwrap();
    assert_eq!(report.written, 2);
    assert_eq!(fake.store().documents("c")[0], doc! {"_id": 1, "v": "new"});
    let text = "{\"_id\":1,\"w\":1}\n{\"_id\":3,\"w\":3}\n{\"_id\":2}\n{\"_id\":1,\"a.b\":1}\n";
    let report = import(&fake, text, &["--conflict", "merge"]).await.unwrap();
    assert_eq!(
        (report.written, report.rejected, report.conflicts),
        (3, 1, 0)
    );
    let stored = fake.store().documents("c");
    assert_eq!(stored[0], doc! {"_id": 1, "v": "new", "w": 1});
    assert_eq!(stored[1], doc! {"_id": 2, "v": "new"});
    assert_eq!(stored[2], doc! {"_id": 3, "w": 3});
}

/// Rows with an `_id` that occurs several times are written in the order of the file.
#[tokio::test]
async fn of_equal_ids_the_last_row_stays_where_rows_replace() {
    let fake = Fake::start(1).await;
    let text: String = (0..2500)
        .map(|n| format!("{{\"_id\":{},\"n\":{n}}}\n", n % 7))
        .collect();
    let report = import(&fake, &text, &["--conflict", "replace"])
        .await
        .unwrap();
    assert_eq!((report.written, report.rejected), (2500, 0));
    let mut numbers: Vec<i32> = fake
        .store()
        .documents("c")
        .iter()
        .map(|document| document.get_i32("n").unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (2493..2500).collect::<Vec<_>>());
}

/// Most rows of a file that was imported before are known: they are looked up together, not one by one.
#[tokio::test]
async fn known_rows_cost_no_request_each() {
    let fake = Fake::start(1).await;
    import(&fake, &lines(0..2000), &[]).await.unwrap();
    let before = fake.seen().len();
    let report = import(&fake, &lines(0..3000), &["--conflict", "skip"])
        .await
        .unwrap();
    assert_eq!((report.written, report.skipped), (1000, 2000));
    let requests = fake.seen().len() - before;
    assert!(requests < 40, "{requests}: most are pages of what is known");
}

#[tokio::test]
async fn limit_and_dry_run_are_kept() {
    let fake = Fake::start(1).await;
    assert_eq!(
        import(&fake, &lines(0..50), &["--limit", "7"])
            .await
            .unwrap()
            .written,
        7
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.jsonl");
    std::fs::write(&file, lines(100..150)).unwrap();
    let report = args(&file, &[])
        .run(&Environment::of_fake(&fake), true)
        .await
        .unwrap();
    assert_eq!((report.rows, report.written, report.dry_run), (50, 0, true));
    assert_eq!(report.would_write, 50);
    std::fs::write(&file, lines(0..10)).unwrap();
    let foreseen = async |flags: &[&str]| {
        args(&file, flags)
            .run(&Environment::of_fake(&fake), true)
            .await
            .unwrap()
    };
    let report = foreseen(&[]).await;
    assert_eq!((report.would_write, report.conflicts), (3, 7));
    let report = foreseen(&["--conflict", "skip"]).await;
    assert_eq!((report.would_write, report.skipped), (3, 7));
    let report = foreseen(&["--conflict", "merge"]).await;
    assert_eq!(report.would_write, 10);
    assert_eq!(fake.store().documents("c").len(), 7);
    let empty = Fake::start(1).await;
    let report = args(&file, &[])
        .run(&Environment::of_fake(&empty), true)
        .await
        .unwrap();
    assert_eq!(report.would_write, 10);
    assert!(empty.store().collections().is_empty());
}

fn dump_args(dump: &Path, flags: &[&str]) -> ImportArgs {
    let words = ["import", "--dump", dump.to_str().unwrap()];
    Cli::try_parse_from(words.iter().chain(flags))
        .unwrap()
        .import
}

/// A folder of two collections, whose second file breaks off the first time.
#[tokio::test]
async fn an_interrupted_dump_goes_on_with_the_file_it_was_in() {
    let fake = Fake::start(1).await;
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump");
    std::fs::create_dir_all(dump.join("shop")).unwrap();
    for name in ["a", "b"] {
        let bytes: Vec<u8> = (0..4000)
            .flat_map(|n| doc! {"n": n}.to_vec().unwrap())
            .collect();
        std::fs::write(dump.join(format!("shop/{name}.bson")), bytes).unwrap();
    }
    let metadata = r#"{"indexes":[{"v":2,"key":{"n":1},"name":"n_1","unique":true},
        {"v":2,"key":{"m":1},"name":"m_1"},{"v":2,"key":{"t":"2d"},"name":"t_2d"}]}"#;
    std::fs::write(dump.join("shop/b.metadata.json"), metadata).unwrap();
    let checkpoint = folder.path().join("progress.json");
    let resume = ["--resume", checkpoint.to_str().unwrap()];
    let refused = Fault::Refuse {
        code: "INVALID_ENV",
        retry: yunbase_client::proto::Retry::Never,
    };
    // The first file: a collection and seven batches; the second: a collection, an index, its state, three batches.
    fake.fault_next(0, vec![Fault::None; 8 + 6]);
    fake.fault_next(0, vec![refused; 20]);
    dump_args(&dump, &resume)
        .run(&Environment::of_fake(&fake), false)
        .await
        .unwrap_err();
    assert_eq!(fake.store().documents("a").len(), 4000);
    let stored = fake.store().documents("b").len();
    assert!((1..4000).contains(&stored), "{stored}");
    fake.clear_faults();
    let report = dump_args(&dump, &resume)
        .run(&Environment::of_fake(&fake), false)
        .await
        .unwrap();
    assert_eq!((report.rows, report.rejected, report.indexes), (8000, 0, 2));
    for name in ["a", "b"] {
        assert_eq!(fake.store().documents(name).len(), 4000, "{name}");
    }
    let error = report.conclude().unwrap_err();
    assert!(error.message.contains("t_2d"), "{error}");
}

/// An import that breaks in the middle, is started again, and stores each row once, also rows without `_id`.
#[tokio::test]
async fn an_interrupted_import_goes_on() {
    let fake = Fake::start(1).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.jsonl");
    let checkpoint = folder.path().join("progress.json");
    let text: String = (0..6000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    std::fs::write(&file, text).unwrap();
    let resume = ["--resume", checkpoint.to_str().unwrap()];
    let refused = Fault::Refuse {
        code: "INVALID_ENV",
        retry: yunbase_client::proto::Retry::Never,
    };
    // The collection, three batches, and then nothing but refusals.
    fake.fault_next(0, [Fault::None, Fault::None, Fault::None, Fault::None]);
    fake.fault_next(0, vec![refused; 20]);
    args(&file, &resume)
        .run(&Environment::of_fake(&fake), false)
        .await
        .unwrap_err();
    let stored = fake.store().documents("c").len();
    assert!((1..6000).contains(&stored), "{stored}");
    fake.clear_faults();
    let report = args(&file, &resume)
        .run(&Environment::of_fake(&fake), false)
        .await
        .unwrap();
    assert_eq!((report.rows, report.rejected), (6000, 0));
    let mut numbers: Vec<i32> = fake
        .store()
        .documents("c")
        .iter()
        .map(|d| d.get_i32("n").unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..6000).collect::<Vec<_>>());
}

/// An archive whose blocks of two collections alternate, as mongodump writes it.
fn archive() -> Vec<u8> {
    let terminator = (-1_i32).to_le_bytes();
    let mut bytes = 0x8199_e26d_u32.to_le_bytes().to_vec();
    let mut put = |document: Document| document.to_writer(&mut bytes).unwrap();
    put(doc! {"concurrent_collections": 2, "version": "0.1"});
    for name in ["a", "b"] {
        put(doc! {"db": "shop", "collection": name, "metadata": "", "type": "collection"});
    }
    bytes.extend(terminator);
    for first in (0..3000).step_by(500) {
        for name in ["a", "b"] {
            let mut put = |document: Document| document.to_writer(&mut bytes).unwrap();
            put(doc! {"db": "shop", "collection": name, "EOF": false, "CRC": 0_i64});
            (first..first + 500).for_each(|n| put(doc! {"_id": n, "of": name}));
            bytes.extend(terminator);
        }
    }
    for name in ["a", "b"] {
        let end = doc! {"db": "shop", "collection": name, "EOF": true};
        end.to_writer(&mut bytes).unwrap();
        bytes.extend(terminator);
    }
    bytes
}

/// An archive, compressed or not, breaks off in the middle and goes on.
#[tokio::test]
async fn an_interrupted_archive_goes_on() {
    use std::io::Write as _;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive()).unwrap();
    for (name, bytes) in [("plain", archive()), ("gzip", gzip.finish().unwrap())] {
        let fake = Fake::start(1).await;
        let folder = tempfile::tempdir().unwrap();
        let dump = folder.path().join(name);
        std::fs::write(&dump, bytes).unwrap();
        let checkpoint = folder.path().join("progress.json");
        let resume = ["--resume", checkpoint.to_str().unwrap()];
        let refused = Fault::Refuse {
            code: "INVALID_ENV",
            retry: yunbase_client::proto::Retry::Never,
        };
        // Two collections, four batches, and then nothing.
        fake.fault_next(0, vec![Fault::None; 2 + 4]);
        fake.fault_next(0, vec![refused; 20]);
        dump_args(&dump, &resume)
            .run(&Environment::of_fake(&fake), false)
            .await
            .unwrap_err();
        let stored = fake.store().documents("a").len();
        assert!((1..3000).contains(&stored), "{name}: {stored}");
        fake.clear_faults();
        let report = dump_args(&dump, &resume)
            .run(&Environment::of_fake(&fake), false)
            .await
            .unwrap();
        assert_eq!((report.rows, report.rejected), (6000, 0), "{name}");
        assert!(report.conclude().is_ok());
        for collection in ["a", "b"] {
            let stored = fake.store().documents(collection);
            assert_eq!(stored.len(), 3000, "{name}");
            assert!(
                stored
                    .iter()
                    .all(|one| one.get_str("of").unwrap() == collection)
            );
        }
    }
}
