//! What the `db` commands print and refuse, against a stand-in server.

use bson::doc;
use clap::Parser;
use yunbase_client::testing::fake::{Fake, SECRET_ID, SECRET_KEY};

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    db: DbCommand,
}

/// A folder whose `dev.json` leads to the stand-in.
fn folder(fake: &Fake) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let dev =
        json!({"env": "demo", "http": fake.urls(), "secretId": SECRET_ID, "secretKey": SECRET_KEY});
    std::fs::write(folder.path().join("dev.json"), dev.to_string()).unwrap();
    folder
}

async fn db(folder: &tempfile::TempDir, words: &[&str]) -> Result<(), CliError> {
    let target = folder.path().to_str().unwrap();
    let common = ["db", "--target", target, "-o", "jsonl"];
    let parsed = Cli::try_parse_from(common.iter().chain(words));
    let command = parsed
        .map_err(|error| CliError::usage(error.to_string()))?
        .db;
    command.try_run().await
}

#[tokio::test]
async fn documents_live_and_die_from_the_shell() {
    let fake = Fake::start(1).await;
    let folder = folder(&fake);
    let db = async |words: &[&str]| db(&folder, words).await;
    db(&["collection", "create", "c"]).await.unwrap();
    db(&["insert", "c", r#"[{"_id":"a","n":1},{"_id":"b","n":2}]"#])
        .await
        .unwrap();
    db(&["find", "c", r#"{"n":{"$gt":1}}"#, "--sort", r#"{"n":-1}"#])
        .await
        .unwrap();
    db(&["count", "c"]).await.unwrap();
    db(&["explain", "c"]).await.unwrap();
    db(&["update", "c", r#"{"_id":"a"}"#, r#"{"$set":{"n":5}}"#])
        .await
        .unwrap();
    db(&[
        "update",
        "c",
        r#"{"_id":"z"}"#,
        r#"{"n":9}"#,
        "--replace",
        "--upsert",
    ])
    .await
    .unwrap();
    assert_eq!(fake.store().documents("c")[0], doc! {"_id": "a", "n": 5});
    assert_eq!(fake.store().documents("c").len(), 3);
    db(&["index", "create", "c", "n", "m:-1", "--unique"])
        .await
        .unwrap();
    let ttl = ["index", "create", "c", "at", "--ttl", "60"];
    db(&[&ttl[..], &["--partial", r#"{"n":{"$gt":1}}"#]].concat())
        .await
        .unwrap();
    db(&["index", "create", "c", "loc", "n", "--geo"])
        .await
        .unwrap();
    db(&["index", "create", "c", "m", "--sparse"])
        .await
        .unwrap();
    db(&["index", "list", "c"]).await.unwrap();
    db(&["delete", "c", r#"{"_id":"a"}"#]).await.unwrap();
    assert_eq!(fake.store().documents("c").len(), 2);
    db(&["delete", "c", "{}", "--many", "--yes"]).await.unwrap();
    assert_eq!(fake.store().documents("c").len(), 0);
    db(&["collection", "validator", "c", r#"{"required":["n"]}"#])
        .await
        .unwrap();
    db(&["collection", "rename", "c", "d"]).await.unwrap();
    db(&["collection", "stats", "d"]).await.unwrap();
    assert!(db(&["collection", "stats", "c"]).await.is_err());
    db(&["collection", "drop", "d", "--yes"]).await.unwrap();
    assert!(fake.store().collections().is_empty());
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let fake = Fake::start(1).await;
    let folder = folder(&fake);
    db(&folder, &["collection", "create", "c"]).await.unwrap();
    db(&folder, &["insert", "c", r#"{"_id":"a"}"#])
        .await
        .unwrap();
    let changes = fake.store().changes;
    let dry: [&[&str]; 6] = [
        &["insert", "c", r#"{"_id":"b"}"#],
        &["update", "c", "{}", r#"{"$set":{"n":5}}"#],
        &["delete", "c", "{}", "--many"],
        &["index", "create", "c", "n"],
        &["collection", "drop", "c"],
        &["collection", "create", "d"],
    ];
    for words in dry {
        let words: Vec<&str> = words.iter().copied().chain(["--dry-run"]).collect();
        db(&folder, &words).await.unwrap();
    }
    assert_eq!(fake.store().changes, changes);
}

#[tokio::test]
async fn waiting_for_an_index_ends_with_its_build() {
    let fake = Fake::start(1).await;
    let folder = folder(&fake);
    let db = async |words: &[&str]| db(&folder, words).await;
    db(&["collection", "create", "c"]).await.unwrap();
    let questions = || fake.seen().len();
    fake.store().index_build_looks = 3;
    db(&["index", "create", "c", "n", "--wait"]).await.unwrap();
    let (waited, before) = (questions(), questions());
    assert!(waited >= 4, "asked until it was ready");
    fake.store().index_build_looks = 0;
    db(&["index", "create", "c", "m", "--wait"]).await.unwrap();
    assert!(questions() - before < 4, "ready at once");

    fake.store().index_build_looks = 1;
    fake.store().index_build_failure = Some("DATABASE_DUPLICATE_WRITE: key n=1".into());
    let failed = db(&["index", "create", "c", "o", "--unique", "--wait"]).await;
    let failed = failed.unwrap_err();
    assert_eq!(failed.exit, Exit::Conflict);
    assert!(failed.message.contains("key n=1"), "{failed}");
}

#[tokio::test]
async fn exits_tell_what_went_wrong() {
    let fake = Fake::start(1).await;
    let folder = folder(&fake);
    let exit = async |words: &[&str]| db(&folder, words).await.unwrap_err().exit;
    assert_eq!(exit(&["count", "nowhere"]).await, Exit::NotFound);
    assert_eq!(exit(&["find", "c", "{nonsense"]).await, Exit::Usage);
    assert_eq!(exit(&["frobnicate"]).await, Exit::Usage);
    db(&folder, &["collection", "create", "c"]).await.unwrap();
    db(&folder, &["insert", "c", r#"{"_id":1}"#]).await.unwrap();
    assert_eq!(exit(&["insert", "c", r#"{"_id":1}"#]).await, Exit::Conflict);
    assert_eq!(exit(&["delete", "c", "{}", "--many"]).await, Exit::Unsafe);
    assert_eq!(exit(&["collection", "drop", "c"]).await, Exit::Unsafe);
    let dev =
        json!({"env": "demo", "http": fake.urls(), "secretId": SECRET_ID, "secretKey": "wrong"});
    std::fs::write(folder.path().join("dev.json"), dev.to_string()).unwrap();
    assert_eq!(exit(&["count", "c"]).await, Exit::Auth);
    fake.stop(0);
    assert_eq!(
        exit(&["--timeout", "1", "count", "c"]).await,
        Exit::Unavailable
    );
}

#[tokio::test]
async fn an_export_can_be_imported_again() {
    let fake = Fake::start(1).await;
    let folder = folder(&fake);
    db(&folder, &["collection", "create", "c"]).await.unwrap();
    let documents: Vec<String> = (0..250)
        .map(|n| format!(r#"{{"_id":"{n:03}","n":{n}}}"#))
        .collect();
    db(
        &folder,
        &["insert", "c", &format!("[{}]", documents.join(","))],
    )
    .await
    .unwrap();
    for (number, extension) in ["jsonl", "json", "csv"].into_iter().enumerate() {
        let file = folder.path().join(format!("out.{extension}"));
        let (file, copy) = (file.to_str().unwrap(), format!("copy{number}"));
        db(&folder, &["export", "c", "--file", file]).await.unwrap();
        db(&folder, &["import", &copy, file, "--infer-types"])
            .await
            .unwrap();
        assert_eq!(fake.store().documents(&copy).len(), 250);
        assert_eq!(fake.store().documents(&copy)[7].get_i32("n").unwrap(), 7);
    }
}

#[test]
fn index_fields_in_every_spelling() {
    let parse = |fields: &[&str]| {
        parse_index(
            &fields.iter().map(ToString::to_string).collect::<Vec<_>>(),
            IndexArgs::default(),
        )
    };
    assert_eq!(
        parse(&["a", "b:-1", "c.d:1"]).unwrap().name(),
        "a_1_b_-1_c.d_1"
    );
    let geo = IndexArgs {
        geo: true,
        ..IndexArgs::default()
    };
    let fields = ["loc".to_owned(), "k".to_owned()];
    assert_eq!(
        parse_index(&fields, geo).unwrap().name(),
        "loc_2dsphere_k_1"
    );
    assert!(parse(&[":-1"]).is_err() && parse(&[]).is_err());
}
