//! What the `storage` commands do and refuse, against a stand-in server.

use std::path::Path;

use clap::Parser;
use serde_json::{Value, json};
use yunbase_client::testing::fake::{Fake, FileFault, SECRET_ID, SECRET_KEY};

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    storage: StorageCommand,
}

/// A stand-in, a `dev.json` that leads to it, and a folder to work in.
struct Bed {
    fake: Fake,
    folder: tempfile::TempDir,
}

impl Bed {
    async fn start() -> Self {
        let fake = Fake::start(1).await;
        let folder = tempfile::tempdir().unwrap();
        let dev = json!({"env": "demo", "http": fake.urls(), "secretId": SECRET_ID, "secretKey": SECRET_KEY});
        std::fs::write(folder.path().join("dev.json"), dev.to_string()).unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        Self { fake, folder }
    }

    fn work(&self) -> std::path::PathBuf {
        self.folder.path().join("work")
    }

    /// A place on this machine, as text.
    fn at(&self, name: &str) -> String {
        self.work().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.work().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.work().join(name)).unwrap()
    }

    async fn run(&self, words: &[&str]) -> Result<Outcome, CliError> {
        let target = self.folder.path().to_str().unwrap();
        let common = ["storage", "--target", target, "-o", "jsonl"];
        let parsed = Cli::try_parse_from(common.iter().chain(words));
        let command = parsed.map_err(|error| CliError::usage(error.to_string()))?;
        command.storage.carry_out().await
    }

    /// The one value that a command prints which succeeds.
    async fn value(&self, words: &[&str]) -> Value {
        let outcome = self.run(words).await.unwrap();
        outcome.verdict.unwrap();
        match outcome.printed {
            Some(Printed::Value(value)) => value,
            other => panic!("{other:?}"),
        }
    }

    async fn rows(&self, words: &[&str]) -> Vec<Value> {
        match self.run(words).await.unwrap().printed {
            Some(Printed::Rows(rows)) => rows,
            other => panic!("{other:?}"),
        }
    }

    /// How a command ends that does not succeed.
    async fn exit(&self, words: &[&str]) -> Exit {
        match self.run(words).await {
            Ok(outcome) => outcome.verdict.unwrap_err().exit,
            Err(error) => error.exit,
        }
    }

    fn stored(&self) -> Vec<String> {
        self.fake.files().contents().into_keys().collect()
    }
}

fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let byte = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..bytes).map(byte).collect()
}

/// Lets a download end after 120,000 bytes, with more failures in a row than it stands.
fn interrupt(fake: &Fake) {
    // The first is for the question whether there is such a file.
    fake.fault_files([FileFault::CutAfter(0), FileFault::CutAfter(120_000)]);
    fake.fault_files([FileFault::CutAfter(0); 8]);
}

#[tokio::test]
async fn files_go_up_come_down_and_are_copied() {
    let bed = Bed::start().await;
    bed.write("a.bin", noise(100_000, 1));
    let done = bed.value(&["cp", &bed.at("a.bin"), ":"]).await;
    assert_eq!(
        (done["files"].as_u64(), done["moved_bytes"].as_u64()),
        (Some(1), Some(100_000))
    );
    // Under another name nothing has to be sent.
    let done = bed
        .value(&["cp", &bed.at("a.bin"), "cloud://demo.demo/x/b.bin"])
        .await;
    assert_eq!(done["moved_bytes"], 0);
    bed.value(&["cp", ":a.bin", ":x/"]).await;
    assert_eq!(bed.stored(), ["a.bin", "x/a.bin", "x/b.bin"]);
    bed.value(&["cp", ":x/b.bin", &bed.at("")]).await;
    bed.value(&["cp", ":x/b.bin", &bed.at("new/c.bin")]).await;
    assert_eq!(bed.read("b.bin"), noise(100_000, 1));
    assert_eq!(bed.read("new/c.bin"), noise(100_000, 1));
    bed.value(&["cp", "-r", ":x", &bed.at("down")]).await;
    assert_eq!(bed.read("down/a.bin"), noise(100_000, 1));
    assert_eq!(
        std::fs::read_dir(bed.work().join("down")).unwrap().count(),
        2
    );
    bed.value(&["cp", "-r", &bed.at("down"), ":up"]).await;
    assert!(bed.stored().contains(&"up/b.bin".to_owned()));
    let planned = bed
        .rows(&["cp", "-r", &bed.at("down"), ":other", "--dry-run"])
        .await;
    assert_eq!((planned.len(), &planned[0]["would"]), (2, &json!("upload")));
    assert!(!bed.stored().iter().any(|path| path.starts_with("other")));
}

#[tokio::test]
async fn places_that_make_no_sense_are_refused() {
    let bed = Bed::start().await;
    bed.write("d/a", "1");
    bed.fake.files().add("f/a", b"1");
    let (folder, file) = (bed.at("d"), bed.at("d/a"));
    for words in [
        &["cp", &folder, ":x"][..],
        &["cp", ":f/", &folder],
        &["cp", &file, &folder],
        &["cp", &file, ":f/a", ":x/"],
        &["cp", "-", ":x/"],
        &["cp", "-r", ":f", "-"],
        &["cp", ":f/a"],
        &["cp", "cloud://shop.shop/a", ":x"],
        &["sync", ":a", ":b"],
        &["rm", ":"],
        &["url", ":f/a", "--life", "never"],
    ] {
        assert_eq!(bed.exit(words).await, Exit::Usage, "{words:?}");
    }
    for words in [
        &["cp", ":none", &folder][..],
        &["cp", "-r", ":none", &folder],
        &["cp", "/no/such/file", ":x"],
        &["sync", ":none", &folder, "--delete", "--yes"],
        &["ls", "none"],
        &["rm", "f/a", "none"],
        &["stat", "none"],
        &["url", "none"],
    ] {
        assert_eq!(bed.exit(words).await, Exit::NotFound, "{words:?}");
    }
    assert_eq!(bed.stored(), ["f/a"]);
}

#[tokio::test]
async fn names_of_the_server_stay_below_the_folder() {
    let bed = Bed::start().await;
    for name in [
        "f/../../evil",
        "f//evil",
        "f/./evil",
        "f/good",
        "f/.x.yunbase-part",
        "f/sub/",
    ] {
        bed.fake.files().add(name, b"evil");
    }
    // What could be fetched is there, and the command says that it was not all.
    assert_eq!(
        bed.exit(&["cp", "-r", ":f", &bed.at("in")]).await,
        Exit::Failed
    );
    assert_eq!(bed.read("in/good"), b"evil");
    assert!(bed.work().join("in/sub").is_dir());
    assert_eq!(std::fs::read_dir(bed.work().join("in")).unwrap().count(), 2);
    assert!(!bed.folder.path().join("evil").exists() && !bed.work().join("evil").exists());
    // Nor do they go through a link that is there.
    std::fs::create_dir(bed.work().join("outside")).unwrap();
    std::fs::create_dir(bed.work().join("to")).unwrap();
    std::os::unix::fs::symlink(bed.work().join("outside"), bed.work().join("to/link")).unwrap();
    bed.fake.files().add("g/link/x", b"evil");
    assert_eq!(
        bed.exit(&["cp", "-r", ":g", &bed.at("to")]).await,
        Exit::Failed
    );
    assert!(!bed.work().join("outside/x").exists());
}

#[tokio::test]
async fn a_download_goes_on_where_it_was() {
    let bed = Bed::start().await;
    let content = noise(200_000, 2);
    bed.fake.files().add("a", &content);
    interrupt(&bed.fake);
    let target = bed.at("a");
    assert_eq!(bed.exit(&["cp", ":a", &target]).await, Exit::Unavailable);
    assert!(!Path::new(&target).exists());
    let done = bed.value(&["cp", ":a", &target]).await;
    assert_eq!(done["moved_bytes"], 80_000);
    assert_eq!(bed.read("a"), content);
    assert_eq!(std::fs::read_dir(bed.work()).unwrap().count(), 1);
}

#[tokio::test]
async fn what_arrived_of_other_content_is_not_used() {
    let bed = Bed::start().await;
    bed.fake.files().add("a", &noise(200_000, 2));
    interrupt(&bed.fake);
    let target = bed.at("a");
    assert_eq!(bed.exit(&["cp", ":a", &target]).await, Exit::Unavailable);
    bed.fake.files().add("a", &noise(200_000, 3));
    let done = bed.value(&["cp", ":a", &target]).await;
    assert_eq!(done["moved_bytes"], 200_000);
    assert_eq!(bed.read("a"), noise(200_000, 3));
}

#[tokio::test]
async fn sync_moves_what_differs_and_deletes_only_what_is_confirmed() {
    let bed = Bed::start().await;
    bed.write("site/a", noise(50_000, 1));
    bed.write("site/b/c", "same");
    let site = bed.at("site");
    let done = bed.value(&["sync", &site, ":web"]).await;
    assert_eq!(
        (done["files"].as_u64(), done["unchanged"].as_u64()),
        (Some(2), Some(0))
    );
    let done = bed.value(&["sync", &site, ":web"]).await;
    assert_eq!(
        (done["files"].as_u64(), done["unchanged"].as_u64()),
        (Some(0), Some(2))
    );
    bed.write("site/b/c", "diff");
    bed.fake.files().add("web/old", b"old");
    bed.fake.files().add("webb", b"not below");
    assert_eq!(
        bed.exit(&["sync", &site, ":web", "--delete"]).await,
        Exit::Unsafe
    );
    assert_eq!(bed.fake.files().contents()["web/b/c"], b"same");
    let planned = bed
        .rows(&["sync", &site, ":web", "--delete", "--dry-run"])
        .await;
    assert_eq!(planned.len(), 2);
    let done = bed
        .value(&["sync", &site, ":web", "--delete", "--yes"])
        .await;
    assert_eq!(
        (
            done["files"].as_u64(),
            done["deleted"].as_u64(),
            done["unchanged"].as_u64()
        ),
        (Some(1), Some(1), Some(1))
    );
    assert_eq!(bed.stored(), ["web/a", "web/b/c", "webb"]);
    // And back.
    let back = bed.at("back");
    bed.write("back/a", noise(50_000, 9));
    bed.write("back/extra", "1");
    let done = bed.value(&["sync", ":web", &back]).await;
    assert_eq!(
        (done["files"].as_u64(), done["deleted"].as_u64()),
        (Some(2), Some(0))
    );
    assert_eq!(
        bed.exit(&["sync", ":web", &back, "--delete"]).await,
        Exit::Unsafe
    );
    let done = bed
        .value(&["sync", ":web", &back, "--delete", "--yes"])
        .await;
    assert_eq!(
        (done["unchanged"].as_u64(), done["deleted"].as_u64()),
        (Some(2), Some(1))
    );
    assert_eq!(bed.read("back/a"), noise(50_000, 1));
    assert!(!bed.work().join("back/extra").exists());
}

#[tokio::test]
async fn nothing_is_deleted_when_something_else_failed() {
    let bed = Bed::start().await;
    bed.write("site/a", "new");
    bed.fake.files().add("web/old", b"old");
    // A question for the parameters is spared; the put of the one file is lost.
    bed.fake
        .fault_files([FileFault::CutAfter(0), FileFault::LoseAnswer]);
    let site = bed.at("site");
    let words = ["sync", &site, ":web", "--delete", "--yes"];
    assert_eq!(bed.exit(&words).await, Exit::Unavailable);
    assert!(bed.stored().contains(&"web/old".to_owned()));
}

#[tokio::test]
async fn files_are_listed_shown_linked_and_deleted() {
    let bed = Bed::start().await;
    for path in ["a", "d/1", "d/2", "d/e/3", "z"] {
        bed.fake.files().add(path, b"xyz");
    }
    let paths = |rows: Vec<Value>| -> Vec<String> {
        let paths = rows
            .iter()
            .map(|row| row["path"].as_str().unwrap().to_owned());
        paths.collect()
    };
    assert_eq!(paths(bed.rows(&["ls"]).await), ["a", "d/", "z"]);
    assert_eq!(paths(bed.rows(&["ls", "d"]).await), ["d/1", "d/2", "d/e/"]);
    assert_eq!(
        paths(bed.rows(&["ls", ":d/", "-r"]).await),
        ["d/1", "d/2", "d/e/3"]
    );
    assert_eq!(
        paths(bed.rows(&["ls", "-r", "--limit", "2"]).await),
        ["a", "d/1"]
    );
    let shown = bed.value(&["stat", "d/1"]).await;
    assert_eq!(
        (&shown["bytes"], &shown["replicas"]),
        (&json!(3), &json!("3 of 3"))
    );
    assert_eq!(shown["id"], "cloud://demo.demo/d/1");
    let Some(Printed::Text("url", url)) = bed
        .run(&["url", "a", "--life", "1h"])
        .await
        .unwrap()
        .printed
    else {
        panic!("no address")
    };
    assert!(
        url.starts_with("http://127.0.0.1:") && url.contains("/storage/demo/a?"),
        "{url}"
    );
    assert_eq!(bed.exit(&["rm", "-r", "d"]).await, Exit::Unsafe);
    assert_eq!(bed.rows(&["rm", "-r", "d", "--dry-run"]).await.len(), 3);
    assert_eq!(bed.value(&["rm", "-r", "d", "--yes"]).await["deleted"], 3);
    assert_eq!(bed.value(&["rm", ":a"]).await["deleted"], 1);
    assert_eq!(bed.stored(), ["z"]);
}

#[tokio::test]
async fn a_check_ends_as_what_it_found() {
    let bed = Bed::start().await;
    let clean = bed.value(&["verify"]).await;
    assert_eq!(clean["clean"], true);
    bed.fake.files().verdict.missing_copies = 1;
    let outcome = bed.run(&["verify", "--deep"]).await.unwrap();
    assert_eq!(outcome.verdict.unwrap_err().exit, Exit::Failed);
    let Some(Printed::Value(report)) = outcome.printed else {
        panic!("no report")
    };
    assert_eq!(report["missing_copies"], 1);
}

#[tokio::test]
async fn one_key_that_is_not_valid_ends_every_command() {
    let bed = Bed::start().await;
    let dev = json!({"env": "demo", "http": bed.fake.urls(), "secretId": SECRET_ID, "secretKey": "wrong"});
    std::fs::write(bed.folder.path().join("dev.json"), dev.to_string()).unwrap();
    assert_eq!(bed.exit(&["ls"]).await, Exit::Auth);
}
