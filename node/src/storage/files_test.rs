//! Files on several nodes in one process, against what was put; and a model test of collection.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncRead, ReadBuf};

use super::bed::{Bed, GRACE, LEASE, new_file, noise, read, read_range, scope};
use super::files::{Condition, Files};
use super::list::ListQuery;
use super::path::FilePath;
use super::{FileRecord, StorageError, StorageResult};

async fn put(files: &Files, path: &str, content: &[u8]) -> StorageResult<FileRecord> {
    files.put(&scope(), new_file(path), content).await
}

async fn get(files: &Files, path: &str) -> StorageResult<Option<Vec<u8>>> {
    let path = FilePath::parse(path)?;
    match files.stat(&scope(), &path).await? {
        Some(record) => Ok(Some(read(files, &record).await?)),
        None => Ok(None),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_through_one_node_is_read_through_all() {
    let bed = Bed::new(3).await;
    for (number, bytes) in [0, 1, 8_191, 100_000, 3_000_000].into_iter().enumerate() {
        let content = noise(bytes, number as u64);
        let path = format!("a/{bytes}.bin");
        let record = put(&bed.nodes[number % 3].files, &path, &content)
            .await
            .expect("stored");
        assert_eq!(record.bytes(), bytes as u64);
        for node in &bed.nodes {
            assert_eq!(get(&node.files, &path).await, Ok(Some(content.clone())));
        }
        let mut random = StdRng::seed_from_u64(number as u64);
        for _ in 0..5 {
            let start = random.random_range(0..=bytes);
            let end = random.random_range(start..=bytes);
            let range = read_range(&bed.nodes[0].files, &record, start as u64..end as u64).await;
            assert_eq!(range.as_deref(), Ok(&content[start..end]));
        }
    }
    let report = bed.audit().await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.files, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_nodes_than_copies_hold_what_belongs_on_them() {
    let bed = Bed::new(5).await;
    let content = noise(2_000_000, 1);
    let record = put(&bed.nodes[0].files, "f", &content)
        .await
        .expect("stored");
    for node in &bed.nodes {
        assert_eq!(
            read(&node.files, &record).await.as_deref(),
            Ok(&content[..])
        );
    }
    let detail = bed.nodes[3]
        .files
        .describe(&record)
        .await
        .expect("described");
    assert_eq!((detail.replicas_wanted, detail.replicas_min), (3, 3));
    assert_eq!(
        detail.holders.values().sum::<u64>(),
        3 * detail.unique_chunks
    );
    assert_eq!(detail.holders.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_stops_neither_puts_nor_gets_and_catches_up() {
    let mut bed = Bed::new(3).await;
    let before = noise(1_000_000, 1);
    put(&bed.nodes[0].files, "before", &before)
        .await
        .expect("stored");
    bed.stop(2).await;
    let during = noise(1_000_000, 2);
    put(&bed.nodes[0].files, "during", &during)
        .await
        .expect("two are enough");
    for (path, content) in [("before", &before), ("during", &during)] {
        assert_eq!(
            get(&bed.nodes[1].files, path).await,
            Ok(Some(content.clone()))
        );
    }
    bed.restart(2, false).await;
    let found = bed.audit().await;
    assert!(
        found.missing_copies > 0 && found.lost_chunks == 0,
        "{found:?}"
    );
    assert_eq!(found.repaired_copies, found.missing_copies);
    assert!(bed.audit().await.is_clean());
    bed.stop(0).await;
    assert_eq!(get(&bed.nodes[2].files, "during").await, Ok(Some(during)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_fills_up_again() {
    let mut bed = Bed::new(3).await;
    let content = noise(3_000_000, 1);
    let record = put(&bed.nodes[0].files, "f", &content)
        .await
        .expect("stored");
    bed.restart(1, true).await;
    assert_eq!(
        read(&bed.nodes[1].files, &record).await.as_deref(),
        Ok(&content[..])
    );
    let found = bed.audit().await;
    let chunks = bed.nodes[0]
        .files
        .describe(&record)
        .await
        .expect("described");
    assert_eq!(found.missing_copies, chunks.unique_chunks, "{found:?}");
    assert!(bed.audit().await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_on_a_disk_is_found_and_repaired_and_never_served() {
    let mut bed = Bed::new(3).await;
    let content = noise(2_000_000, 1);
    let record = put(&bed.nodes[0].files, "f", &content)
        .await
        .expect("stored");
    bed.stop(0).await;
    let mut damaged = 0;
    for entry in walk(&bed.nodes[0].dir) {
        if entry.extension().is_some_and(|ending| ending == "segment") {
            let mut bytes = std::fs::read(&entry).expect("read");
            for at in (10_000..bytes.len()).step_by(50_000) {
                bytes[at] ^= 0x10;
                damaged += 1;
            }
            std::fs::write(&entry, bytes).expect("written");
        }
    }
    assert!(damaged > 10, "{damaged} places");
    bed.restart(0, false).await;
    for node in &bed.nodes {
        assert_eq!(
            read(&node.files, &record).await.as_deref(),
            Ok(&content[..])
        );
    }
    let auditor = bed.nodes[1].files.auditor();
    let deep = auditor
        .verify(&scope().env, true, |_| {})
        .await
        .expect("through");
    assert!(deep.damaged_copies > 0 && deep.lost_chunks == 0, "{deep:?}");
    let again = auditor
        .verify(&scope().env, true, |_| {})
        .await
        .expect("through");
    assert!(again.is_clean(), "{again:?}");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_hold_in_the_instant_of_the_change() {
    let bed = Bed::new(1).await;
    let files = &bed.nodes[0].files;
    let here = scope();
    let with = |condition: Condition| {
        let mut new = new_file("f");
        new.condition = condition;
        files.put(&here, new, b"x".as_slice())
    };
    let failed = Err(StorageError::ConditionFailed("f".into()));
    assert_eq!(with(Condition::Etag("*".into())).await, failed.clone());
    let first = with(Condition::Absent).await.expect("stored");
    assert_eq!(
        with(Condition::Absent).await,
        Err(StorageError::Exists("f".into()))
    );
    assert_eq!(
        with(Condition::Version("other".into())).await,
        failed.clone()
    );
    let second = with(Condition::Version(first.version.clone()))
        .await
        .expect("stored");
    assert_eq!(second.etag, first.etag, "the same content");
    assert_ne!(second.version, first.version);
    assert_eq!(
        with(Condition::Version(first.version)).await,
        failed.clone()
    );
    with(Condition::Etag(second.etag)).await.expect("stored");
    let path = FilePath::parse("f").expect("good");
    let wrong = files
        .delete(&scope(), &path, Condition::Version("other".into()))
        .await;
    assert_eq!(
        wrong.map(|_| ()),
        Err(StorageError::ConditionFailed("f".into()))
    );
    assert_eq!(
        files.delete(&scope(), &path, Condition::None).await,
        Ok(true)
    );
    assert_eq!(
        files.delete(&scope(), &path, Condition::None).await,
        Ok(false)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn md5_is_compared_and_sizes_are_bounded() {
    let bed = Bed::new(1).await;
    let files = &bed.nodes[0].files;
    let mut new = new_file("f");
    new.md5_etag = true;
    // The published test vector of `abc`.
    let md5 = hex::decode("900150983cd24fb0d6963f7d28e17f72").expect("hexadecimal");
    new.md5 = md5.clone().try_into().ok();
    let record = files
        .put(&scope(), new.clone(), b"abc".as_slice())
        .await
        .expect("stored");
    assert_eq!(record.etag, hex::encode(md5));
    let wrong = files.put(&scope(), new.clone(), b"abd".as_slice()).await;
    assert!(
        matches!(wrong, Err(StorageError::BadContent(_))),
        "{wrong:?}"
    );
    new.md5 = None;
    new.bytes_max = 2;
    let large = files.put(&scope(), new, b"abc".as_slice()).await;
    assert_eq!(large, Err(StorageError::TooLarge { bytes_max: 2 }));
    assert_eq!(
        get(files, "f").await,
        Ok(Some(b"abc".to_vec())),
        "as it was"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_file_comes_back_unless_there_is_another() {
    let bed = Bed::new(1).await;
    let files = &bed.nodes[0].files;
    let content = noise(200_000, 3);
    let first = put(files, "a/f", &content).await.expect("stored");
    put(files, "b", b"b").await.expect("stored");
    for path in ["a/f", "b"] {
        let path = FilePath::parse(path).expect("good");
        let gone = files.delete(&scope(), &path, Condition::None).await;
        assert_eq!(gone, Ok(true));
    }
    // It counts as named for as long as it can be restored.
    bed.clock.pass(GRACE + LEASE);
    assert_eq!(bed.collect().await, 0);
    let page = files.deleted(&scope(), "a/", "", 10).await.expect("listed");
    let found: Vec<_> = page
        .files
        .iter()
        .map(|deleted| (&*deleted.path, &*deleted.id))
        .collect();
    assert_eq!(found, [("a/f", &*first.version)]);
    assert_eq!(page.next, None);
    let one = files.deleted(&scope(), "", "", 1).await.expect("listed");
    let next = one.next.expect("another page");
    let other = files.deleted(&scope(), "", &next, 1).await.expect("listed");
    assert_ne!(one.files[0].path, other.files[0].path);

    put(files, "a/f", b"another").await.expect("stored");
    let refused = files.restore(&scope(), &first.version).await;
    assert_eq!(refused, Err(StorageError::Exists("a/f".into())));
    let path = FilePath::parse("a/f").expect("good");
    files
        .delete(&scope(), &path, Condition::None)
        .await
        .expect("deleted");
    let back = files
        .restore(&scope(), &first.version)
        .await
        .expect("restored");
    assert_eq!(back, first);
    assert_eq!(get(files, "a/f").await, Ok(Some(content)));
    let again = files.restore(&scope(), &first.version).await;
    assert!(matches!(again, Err(StorageError::NotFound(_))), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_go_by_prefix_and_page() {
    let bed = Bed::new(1).await;
    let files = &bed.nodes[0].files;
    let paths = ["a", "a/1", "a/2", "a/b/3", "a/b/4", "b", "图/1", "图/2"];
    for path in paths {
        put(files, path, b"x").await.expect("stored");
    }
    let all = |prefix: &'static str, delimiter: Option<&'static str>, limit: usize| async move {
        let (mut found, mut prefixes, mut after) = (Vec::new(), Vec::new(), String::new());
        for _ in 0..20 {
            let query = ListQuery {
                prefix: prefix.to_owned(),
                delimiter: delimiter.map(str::to_owned),
                after,
                limit,
            };
            let page = files.list(&scope(), query).await.expect("listed");
            assert!(page.files.len() + page.prefixes.len() <= limit);
            found.extend(page.files.into_iter().map(|file| file.path));
            prefixes.extend(page.prefixes);
            match page.next {
                Some(next) => after = next,
                None => return (found, prefixes),
            }
        }
        panic!("it does not end");
    };
    for limit in [1, 2, 3, 100] {
        assert_eq!(all("", None, limit).await.0, paths);
        assert_eq!(
            all("a/", None, limit).await.0,
            ["a/1", "a/2", "a/b/3", "a/b/4"]
        );
        let (found, prefixes) = all("", Some("/"), limit).await;
        assert_eq!(found, ["a", "b"]);
        assert_eq!(prefixes, ["a/", "图/"]);
        let (found, prefixes) = all("a/", Some("/"), limit).await;
        assert_eq!(
            (found, prefixes),
            (
                vec!["a/1".to_owned(), "a/2".to_owned()],
                vec!["a/b/".to_owned()]
            )
        );
        assert_eq!(all("c", None, limit).await.0, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_become_a_file() {
    let bed = Bed::new(3).await;
    let files = &bed.nodes[0].files;
    let upload = files
        .begin_upload(&scope(), new_file("big"))
        .await
        .expect("begun");
    let parts: Vec<Vec<u8>> = (0..3).map(|seed| noise(700_000, seed)).collect();
    let mut known = Vec::new();
    for number in [2_u32, 1, 3] {
        let content = &parts[number as usize - 1];
        let part = bed.nodes[number as usize - 1]
            .files
            .put_part(
                &scope(),
                &upload.id,
                number,
                content.as_slice(),
                None,
                u64::MAX,
            )
            .await
            .expect("stored");
        known.push((number, part.etag));
    }
    known.sort();
    // Long after, as long as somebody goes on with it.
    bed.clock.pass(GRACE * 3);
    bed.collect().await;
    let listed = files
        .parts(&scope(), &upload.id, 1, 10)
        .await
        .expect("listed");
    let numbers: Vec<i64> = listed.iter().map(|part| part.number).collect();
    assert_eq!(numbers, [2, 3]);
    let mut wrong = known.clone();
    wrong[1].1 = "0".repeat(32);
    let refused = files
        .complete_upload(&scope(), &upload.id, &wrong, Condition::None)
        .await;
    assert!(
        matches!(refused, Err(StorageError::BadContent(_))),
        "{refused:?}"
    );
    let record = files
        .complete_upload(&scope(), &upload.id, &known, Condition::None)
        .await
        .expect("completed");
    assert!(record.etag.ends_with("-3"), "{}", record.etag);
    assert_eq!(
        read(files, &record).await.as_deref(),
        Ok(&parts.concat()[..])
    );
    let gone = files.upload(&scope(), &upload.id).await;
    assert!(
        matches!(gone, Err(StorageError::NoSuchUpload(_))),
        "{gone:?}"
    );
    let second = files
        .begin_upload(&scope(), new_file("other"))
        .await
        .expect("begun");
    let copied = files
        .copy_part(&scope(), &second.id, 1, &record, 5..100_005)
        .await
        .expect("copied");
    assert_eq!(copied.size, 100_000);
    files
        .abort_upload(&scope(), &second.id)
        .await
        .expect("given up");
    assert!(
        files
            .parts(&scope(), &second.id, 0, 10)
            .await
            .expect("listed")
            .is_empty()
    );
}

/// A body that ends with an error.
struct Breaks(Vec<u8>);

impl AsyncRead for Breaks {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if self.0.is_empty() {
            return std::task::Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()));
        }
        let most = out.remaining().min(self.0.len());
        let part: Vec<u8> = self.0.drain(..most).collect();
        out.put_slice(&part);
        std::task::Poll::Ready(Ok(()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_leaves_nothing_past_its_grace() {
    let bed = Bed::new(3).await;
    let files = &bed.nodes[0].files;
    let broken = files
        .put(&scope(), new_file("f"), Breaks(noise(3_000_000, 1)))
        .await;
    assert!(
        matches!(broken, Err(StorageError::Aborted(_))),
        "{broken:?}"
    );
    assert_eq!(get(files, "f").await, Ok(None));
    let (mut deleted, mut kept) = (0, u64::MAX);
    for _ in 0..200 {
        // Holders may still be at work on what they were sent before it broke, and keep it for a lease of its own.
        tokio::time::sleep(Duration::from_millis(20)).await;
        bed.clock.pass(GRACE + LEASE);
        deleted += bed.collect().await;
        kept = 0;
        for node in &bed.nodes {
            let found = node.files.collector().count().await.expect("counted");
            kept += found.past_grace + found.within_grace;
        }
        if deleted > 0 && kept == 0 {
            break;
        }
    }
    assert!(deleted > 0);
    assert_eq!(kept, 0);
}

/// What is stored, as the model knows it.
#[derive(Default)]
struct Model {
    files: BTreeMap<String, Vec<u8>>,
}

/// Nothing that a manifest names is ever collected, and nothing that none names stays past its grace: thousands of random
/// steps of puts, overwrites, copies, deletes, uploads in parts, broken uploads, restarts, wiped disks, and collections in
/// between, on three nodes, against a model.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_named_is_collected_and_nothing_unnamed_stays() {
    let mut bed = Bed::new(3).await;
    let mut random = StdRng::seed_from_u64(5);
    let mut model = Model::default();
    let mut deleted = 0;
    for step in 0..STEPS {
        let at = random.random_range(0..bed.nodes.len());
        let path = format!("f{}", random.random_range(0..24));
        let files = bed.nodes[at].files.clone();
        match random.random_range(0..100) {
            0..=44 => {
                let content = content(&mut random, &model);
                put(&files, &path, &content).await.expect("stored");
                model.files.insert(path, content);
            }
            45..=59 => {
                let path_there = FilePath::parse(&path).expect("good");
                let there = files.delete(&scope(), &path_there, Condition::None).await;
                assert_eq!(
                    there,
                    Ok(model.files.remove(&path).is_some()),
                    "step {step}"
                );
            }
            60..=69 => {
                let from = FilePath::parse(&path).expect("good");
                if let Some(record) = files.stat(&scope(), &from).await.expect("known") {
                    let to = format!("f{}", random.random_range(0..24));
                    files
                        .copy(&scope(), &record, new_file(&to))
                        .await
                        .expect("copied");
                    let content = model.files[&path].clone();
                    model.files.insert(to, content);
                }
            }
            70..=76 => {
                let broken = Breaks(content(&mut random, &model));
                let outcome = files.put(&scope(), new_file(&path), broken).await;
                assert!(outcome.is_err());
            }
            77..=80 => {
                let upload = files
                    .begin_upload(&scope(), new_file(&path))
                    .await
                    .expect("begun");
                let (mut whole, mut known) = (Vec::new(), Vec::new());
                for number in 1..=random.random_range(1..4) {
                    let part = content(&mut random, &model);
                    let stored = files
                        .put_part(
                            &scope(),
                            &upload.id,
                            number,
                            part.as_slice(),
                            None,
                            u64::MAX,
                        )
                        .await
                        .expect("stored");
                    known.push((number, stored.etag));
                    whole.extend(part);
                    bed.clock
                        .pass(Duration::from_secs(random.random_range(0..40)));
                }
                if random.random_bool(0.3) {
                    files
                        .abort_upload(&scope(), &upload.id)
                        .await
                        .expect("given up");
                } else {
                    let done = files
                        .complete_upload(&scope(), &upload.id, &known, Condition::None)
                        .await;
                    done.expect("completed");
                    model.files.insert(path, whole);
                }
            }
            81..=93 => bed
                .clock
                .pass(Duration::from_secs(random.random_range(1..30))),
            94..=96 => {
                bed.clock.pass(LEASE);
                deleted += bed.collect().await;
            }
            97..=98 => {
                bed.restart(at, random.random_bool(0.3)).await;
                let found = bed.audit().await;
                assert_eq!(found.lost_chunks, 0, "step {step}: {found:?}");
            }
            _ => {
                let content = get(&files, &path).await.expect("readable");
                assert_eq!(content.as_ref(), model.files.get(&path), "step {step}");
            }
        }
    }
    for (path, content) in &model.files {
        for node in &bed.nodes {
            assert_eq!(
                get(&node.files, path).await,
                Ok(Some(content.clone())),
                "{path}"
            );
        }
    }
    assert!(deleted > 0, "something was collected on the way");
    // Deleted files can be restored, so they count as named until they have expired; the model's clock does not expire
    // documents, so they are removed here.
    bed.forget_deleted().await;
    bed.clock.pass(GRACE + LEASE);
    bed.collect().await;
    let mut named = HashSet::new();
    for path in model.files.keys() {
        let path = FilePath::parse(path).expect("good");
        let record = bed.nodes[0]
            .files
            .stat(&scope(), &path)
            .await
            .expect("known")
            .expect("there");
        let mut parts = bed.nodes[0]
            .files
            .blobs()
            .parts(&record.content)
            .expect("read");
        while let Some((_, pieces)) = parts.next().await.expect("read") {
            named.extend(pieces.into_iter().map(|piece| piece.hash));
        }
    }
    let report = bed.audit().await;
    assert!(report.is_clean(), "{report:?}");
    for node in &bed.nodes {
        let listed = node
            .files
            .blobs()
            .store()
            .list(None, 1_000_000)
            .await
            .expect("listed");
        let kept: HashSet<_> = listed.iter().map(|listed| listed.hash).collect();
        assert_eq!(kept, named, "node {}", node.id);
    }
}

const STEPS: usize = 2_000;

/// New bytes, old bytes, or old bytes with an edit.
fn content(random: &mut StdRng, model: &Model) -> Vec<u8> {
    let olds: Vec<&Vec<u8>> = model.files.values().collect();
    let fresh = |random: &mut StdRng| {
        let bytes = *[0, 10, 20_000, 150_000].choose(random).unwrap_or(&1);
        noise(bytes, random.random())
    };
    match (random.random_range(0..3), olds.choose(random)) {
        (1, Some(old)) => (*old).clone(),
        (2, Some(old)) if !old.is_empty() => {
            let mut edited = (*old).clone();
            let at = random.random_range(0..edited.len());
            edited[at] ^= 1;
            edited
        }
        _ => fresh(random),
    }
}
