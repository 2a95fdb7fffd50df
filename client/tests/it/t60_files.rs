//! Files: sent once, whole, and gone on with where a connection broke off.

use std::time::Duration;

use futures::TryStreamExt;
use yunbase_client::storage::{Condition, FileQuery, NewFile, Storage};
use yunbase_client::testing::fake::{Fake, FileFault};
use yunbase_client::{Error, ErrorKind};

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let byte = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..bytes).map(byte).collect()
}

fn storage(fake: &Fake) -> Storage {
    let builder = fake.builder().deadline(Duration::from_secs(5));
    builder.connect_lazily().unwrap().storage()
}

async fn content(storage: &Storage, path: &str) -> Result<Vec<u8>, Error> {
    let pieces: Vec<_> = storage.get(path, ..).await?.try_collect().await?;
    Ok(pieces.concat())
}

fn count(fake: &Fake, method: &str) -> usize {
    let files = fake.files();
    files
        .requests
        .iter()
        .filter(|seen| **seen == method)
        .count()
}

#[tokio::test]
async fn files_of_every_size_come_back_as_they_were() {
    let fake = Fake::start(1).await;
    let storage = storage(&fake);
    for bytes in [0, 1, 1024, 1025, 16_385, 300_000] {
        let content_of = noise(bytes);
        let new = NewFile::at("a/b.bin")
            .metadata("k", "v")
            .content_type("x/y");
        let stored = storage.put_bytes(new, content_of.clone()).await.unwrap();
        assert_eq!(stored.file.bytes, bytes as u64);
        assert_eq!(content(&storage, "a/b.bin").await.unwrap(), content_of);
        let stat = storage.stat("a/b.bin").await.unwrap().unwrap();
        assert_eq!(
            (stat.content_type.as_str(), stat.metadata["k"].as_str()),
            ("x/y", "v")
        );
        let reader = std::io::Cursor::new(content_of);
        let print = storage.fingerprint(reader).await.unwrap();
        assert_eq!(
            (print.bytes, Some(print.content_hash)),
            (stat.bytes, stat.content_hash)
        );
    }
    assert_eq!(storage.stat("none").await.unwrap(), None);
}

#[tokio::test]
async fn only_what_is_missing_is_sent() {
    let fake = Fake::start(1).await;
    let storage = storage(&fake);
    let mut content = noise(500_000);
    let first = storage.put_bytes("a", content.clone()).await.unwrap();
    assert_eq!(first.sent_bytes, 500_000);
    let again = storage.put_bytes("b", content.clone()).await.unwrap();
    assert_eq!(again.sent_bytes, 0);
    content[250_000] ^= 1;
    let edited = storage.put_bytes("a", content.clone()).await.unwrap();
    assert!(
        (1..=40_000).contains(&edited.sent_bytes),
        "{}",
        edited.sent_bytes
    );
    assert_eq!(fake.files().received_bytes, 500_000 + edited.sent_bytes);
    assert_eq!(fake.files().contents()["a"], content);
}

#[tokio::test]
async fn chunks_are_sent_again_and_a_commit_is_not() {
    let fake = Fake::start(2).await;
    let storage = storage(&fake);
    // The first is for a question, and does nothing to it.
    fake.fault_files([
        FileFault::CutAfter(0),
        FileFault::LoseAnswer,
        FileFault::Unavailable,
    ]);
    storage.put_bytes("a", noise(100_000)).await.unwrap();
    assert_eq!((count(&fake, "Missing"), count(&fake, "PutChunks")), (1, 3));
    assert_eq!(count(&fake, "Commit"), 1);
    fake.fault_files([FileFault::LoseAnswer]);
    let error = storage.put_bytes("b", "small").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_unknown()),
        (ErrorKind::Unavailable, true)
    );
    assert_eq!(count(&fake, "Put"), 1);
    fake.fault_files([FileFault::Unavailable]);
    storage.put_bytes("c", "small").await.unwrap();
    assert_eq!(count(&fake, "Put"), 3);
}

#[tokio::test]
async fn a_dead_endpoint_is_left() {
    let fake = Fake::start(2).await;
    let storage = storage(&fake);
    fake.stop(0);
    let address = fake.urls()[0].replace("http://", "");
    while tokio::net::TcpStream::connect(&address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    storage.put_bytes("a", noise(50_000)).await.unwrap();
    assert_eq!(content(&storage, "a").await.unwrap(), noise(50_000));
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off() {
    let fake = Fake::start(2).await;
    let storage = storage(&fake);
    fake.files().add("a", &noise(100_000));
    fake.fault_files([FileFault::CutAfter(40_000), FileFault::CutAfter(0)]);
    assert_eq!(content(&storage, "a").await.unwrap(), noise(100_000));
    assert_eq!(count(&fake, "Get"), 3);
    let range = storage.get("a", 99_990..200_000).await.unwrap();
    assert_eq!((range.from(), range.until()), (99_990, 100_000));
    let pieces: Vec<_> = range.try_collect().await.unwrap();
    assert_eq!(pieces.concat(), noise(100_000)[99_990..]);
}

#[tokio::test]
async fn a_download_never_mixes_versions() {
    let fake = Fake::start(1).await;
    let storage = storage(&fake);
    fake.files().add("a", &noise(100_000));
    fake.fault_files([FileFault::CutAfter(40_000)]);
    let download = storage.get("a", ..).await.unwrap();
    fake.files().add("a", &noise(90_000));
    let error = download.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.code(), "STORAGE_CONDITION_FAILED");
    let stale = storage.get_version("a", "v1", ..).await.unwrap_err();
    assert_eq!(stale.code(), "STORAGE_CONDITION_FAILED");
}

#[tokio::test]
async fn listings_go_on_page_by_page() {
    let fake = Fake::start(1).await;
    let storage = storage(&fake);
    for path in ["a/1", "a/2", "b/c/1", "b/c/2", "b/d", "e", "f", "g"] {
        fake.files().add(path, b"x");
    }
    let all: Vec<_> = storage.files("").try_collect().await.unwrap();
    assert_eq!(all.len(), 8);
    let page = storage.list(&FileQuery::level("b/")).await.unwrap();
    assert_eq!(
        (page.prefixes, page.files.len()),
        (vec!["b/c/".to_owned()], 1)
    );
}

#[tokio::test]
async fn names_are_given_taken_and_conditions_hold() {
    let fake = Fake::start(1).await;
    let storage = storage(&fake);
    let stored = storage.put_bytes("a", "one").await.unwrap();
    let refused = storage.put_bytes(NewFile::at("a").if_absent(), "two").await;
    assert_eq!(refused.unwrap_err().code(), "STORAGE_CONDITION_FAILED");
    storage.copy("a", None, "b").await.unwrap();
    assert_eq!(content(&storage, "b").await.unwrap(), b"one");
    let other = Condition::Version("v99".into());
    assert!(storage.delete("a", other).await.is_err());
    let same = Condition::Version(stored.file.version);
    assert!(storage.delete("a", same).await.unwrap());
    assert!(!storage.delete("a", Condition::None).await.unwrap());
    let link = storage
        .link("b", Some(Duration::from_secs(60)))
        .await
        .unwrap();
    assert!(link.url.starts_with(&fake.urls()[0]) && link.url.contains("/storage/demo/b?sign="));
    let missing = storage.get("a", ..).await.unwrap_err();
    assert_eq!(
        (missing.kind(), missing.code()),
        (ErrorKind::Refused, "STORAGE_FILE_NONEXIST")
    );
}

#[tokio::test]
async fn a_wrong_key_is_refused_at_once() {
    let fake = Fake::start(2).await;
    let builder = fake.builder().credentials("AKIDfake", "wrong");
    let storage = builder.connect_lazily().unwrap().storage();
    let error = storage.stat("a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn checks_report_to_their_end() {
    let fake = Fake::start(1).await;
    let storage = storage(&fake);
    fake.files().verdict.lost_chunks = 2;
    let mut reports = 0;
    let report = storage.verify(true, |_| reports += 1).await.unwrap();
    assert_eq!(
        (report.lost_chunks, report.is_clean(), reports),
        (2, false, 2)
    );
}
