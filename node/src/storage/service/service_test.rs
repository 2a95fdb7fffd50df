//! The service as the Rust SDK sees it, over three nodes' real chunks.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use yunbase_client::storage::{Condition, FileQuery, NewFile, Storage as Client};
use yunbase_client::{Error, ErrorKind};

use super::*;
use crate::auth::test_bed::{Bed as Documents, ENV, OTHER_ENV};
use crate::cluster::map::{ClusterMap, SharedMap};
use crate::cluster::records::KeyRecord;
use crate::operators::test_bed;
use crate::storage::bed::{Bed, noise};

const SECRET: &str = "hush";

/// Serves the first node of a cluster; tells where.
async fn serve(bed: &Bed) -> String {
    let documents = Documents::new();
    let key = |id: &str, env: Option<&str>| {
        let record = KeyRecord {
            id: id.to_owned(),
            secret: SECRET.to_owned(),
            env: env.map(str::to_owned),
            created_at_ms: 0,
            session_token: None,
            expires_at_ms: None,
        };
        (id.to_owned(), record)
    };
    let map = SharedMap::default();
    map.set(ClusterMap {
        environments: documents.map().get().environments.clone(),
        keys: HashMap::from([
            key("own", Some(ENV)),
            key("other", Some(OTHER_ENV)),
            key("all", None),
        ]),
        ..ClusterMap::default()
    });
    let door = Door::new(Arc::new(map), test_bed::node(&documents));
    let files = bed.nodes[0].files.clone();
    let service = StorageService::new(files, links(), door, || 1_700_000_000_000);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_service(service.into_server());
    tokio::spawn(server.serve_with_incoming(incoming));
    url
}

fn links() -> Links {
    Links::fixed([7; 32])
}

fn client(url: &str, key: &str, env: &str) -> Client {
    let builder = yunbase_client::Client::builder().endpoint(url).env(env);
    let client = builder.credentials(key, SECRET).connect_lazily().unwrap();
    client.storage()
}

async fn content(client: &Client, path: &str) -> Result<Vec<u8>, Error> {
    let pieces: Vec<_> = client.get(path, ..).await?.try_collect().await?;
    Ok(pieces.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_size_come_back_as_they_were() {
    let bed = Bed::new(3).await;
    let client = client(&serve(&bed).await, "own", ENV);
    let small = SMALL_FILE_BYTES_MAX;
    for bytes in [0, 1, small, small + 1, 3_000_000] {
        let expected = noise(bytes, bytes as u64);
        let new = NewFile::at("a/b").metadata("k", "v").content_type("x/y");
        let stored = client.put_bytes(new, expected.clone()).await.unwrap();
        assert_eq!(stored.file.bytes, bytes as u64);
        assert!(
            content(&client, "a/b").await.unwrap() == expected,
            "{bytes}"
        );
        let known = client.stat("a/b").await.unwrap().unwrap();
        assert_eq!(
            (known.content_type.as_str(), known.metadata["k"].as_str()),
            ("x/y", "v")
        );
        // What the client would make of it is what the cluster has made of it.
        let print = client.fingerprint(&expected[..]).await.unwrap();
        assert_eq!(Some(print.content_hash), known.content_hash);
    }
    let range: Vec<_> = client
        .get("a/b", 1_000_000..1_500_000)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert!(range.concat() == noise(3_000_000, 3_000_000)[1_000_000..1_500_000]);
    assert!(client.get("a/b", 3_000_001..).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_sent_again() {
    let bed = Bed::new(3).await;
    let client = client(&serve(&bed).await, "all", ENV);
    let mut large = noise(2_000_000, 1);
    let stored = client.put_bytes("a", large.clone()).await.unwrap();
    assert_eq!(stored.sent_bytes, 2_000_000);
    large[1_000_000] ^= 1;
    let edited = client.put_bytes("a", large.clone()).await.unwrap();
    let largest = u64::from(SPLIT.chunk_bytes_max);
    assert!(
        (1..=3 * largest).contains(&edited.sent_bytes),
        "{}",
        edited.sent_bytes
    );
    assert!(content(&client, "a").await.unwrap() == large);
    let detail = client.describe("a").await.unwrap();
    assert_eq!((detail.replicas_min, detail.replicas_wanted), (3, 3));
    assert_eq!(detail.unique_bytes, 2_000_000);
    let mut reports = 0;
    let report = client.verify(true, |_| reports += 1).await.unwrap();
    assert!(report.is_clean() && reports > 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_hold_and_refusals_have_their_codes() {
    let bed = Bed::new(1).await;
    let client = client(&serve(&bed).await, "own", ENV);
    let first = client.put_bytes("a", "one").await.unwrap().file;
    let code = |error: Error| error.code().to_owned();
    let absent = client.put_bytes(NewFile::at("a").if_absent(), "two").await;
    assert_eq!(code(absent.unwrap_err()), "OBJECT_ALREADY_EXIST");
    let second = NewFile::at("a").if_version(&*first.version);
    client.put_bytes(second, "two").await.unwrap();
    let stale = client.get_version("a", &first.version, ..).await;
    assert_eq!(code(stale.unwrap_err()), "STORAGE_CONDITION_FAILED");
    let stale = client
        .delete("a", Condition::Version(first.version.clone()))
        .await;
    assert_eq!(code(stale.unwrap_err()), "STORAGE_CONDITION_FAILED");
    client.copy("a", None, "b").await.unwrap();
    assert!(client.delete("a", Condition::None).await.unwrap());
    assert!(!client.delete("a", Condition::None).await.unwrap());
    assert_eq!(content(&client, "b").await.unwrap(), b"two");
    assert_eq!(
        code(content(&client, "a").await.unwrap_err()),
        "STORAGE_FILE_NONEXIST"
    );
    assert_eq!(
        code(client.copy("a", None, "c").await.unwrap_err()),
        "STORAGE_FILE_NONEXIST"
    );
    let trick = client.put_bytes("../a", "x").await.unwrap_err();
    assert_eq!(
        (trick.kind(), trick.code()),
        (ErrorKind::InvalidArgument, "INVALID_PARAM")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_its_own_environment_only() {
    let bed = Bed::new(1).await;
    let url = serve(&bed).await;
    client(&url, "own", ENV)
        .put_bytes("a", "one")
        .await
        .unwrap();
    for client in [client(&url, "other", ENV), client(&url, "unknown", ENV)] {
        let kind = |error: Error| error.kind();
        assert_eq!(
            client.stat("a").await.map_err(kind),
            Err(ErrorKind::Unauthenticated)
        );
        let put = client.put_file("a", &b"two"[..]).await;
        assert_eq!(put.map_err(kind), Err(ErrorKind::Unauthenticated));
    }
    for env in ["nowhere", "_cluster"] {
        let error = client(&url, "all", env).stat("a").await.unwrap_err();
        assert_eq!(error.code(), "INVALID_ENV");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_listed_and_linked() {
    let bed = Bed::new(1).await;
    let client = client(&serve(&bed).await, "own", ENV);
    for path in ["a b/1", "a b/2", "c"] {
        client.put_bytes(path, path.to_owned()).await.unwrap();
    }
    let page = client.list(&FileQuery::level("")).await.unwrap();
    assert_eq!(
        (page.prefixes, page.files.len()),
        (vec!["a b/".to_owned()], 1)
    );
    let all: Vec<_> = client.files("a b/").try_collect().await.unwrap();
    assert_eq!(all.len(), 2);
    let link = client
        .link("a b/1", Some(Duration::from_secs(60)))
        .await
        .unwrap();
    assert_eq!(link.until_s, 1_700_000_060);
    let (address, query) = link.url.split_once('?').unwrap();
    assert!(address.ends_with("/storage/demo/a%20b/1"), "{address}");
    let signature = query
        .strip_prefix("sign=")
        .and_then(|rest| rest.split_once('&'))
        .unwrap()
        .0;
    let path = FilePath::parse("a b/1").unwrap();
    assert!(links().check_download(ENV, &path, link.until_s, signature));
    let ages = client
        .link("c", Some(Duration::from_secs(1 << 40)))
        .await
        .unwrap_err();
    assert_eq!(ages.kind(), ErrorKind::InvalidArgument);
}
