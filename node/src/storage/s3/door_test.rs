//! Operations over the files of one node, without the protocol before them.

use std::collections::BTreeSet;

use axum::http::HeaderMap;
use futures::StreamExt as _;
use s3s::dto::{
    CompleteMultipartUploadInput, CompletedMultipartUpload, CompletedPart, CopyObjectInput,
    CopySource, CreateMultipartUploadInput, Delete, DeleteObjectsInput, ETag, ETagCondition,
    GetObjectInput, HeadObjectInput, ListObjectsInput, ListObjectsV2Input, Metadata,
    MetadataDirective, ObjectIdentifier, PutObjectInput, Range, StreamingBlob, UploadPartInput,
};
use yunbase_consensus::GroupId;

use super::*;
use crate::auth::test_bed::ENV;
use crate::cluster::map::ClusterMap;
use crate::storage::bed::{Bed, noise};
use crate::storage::s3::uploads::Surroundings;

struct Stage {
    door: S3Door,
    _bed: Bed,
}

async fn stage() -> Stage {
    let bed = Bed::new(1).await;
    let map = SharedMap::default();
    let mut known = ClusterMap::default();
    known.environments.insert(ENV.to_owned(), GroupId(1));
    map.set(known);
    let keys = Arc::new(map.clone());
    let door = S3Door::new(bed.nodes[0].files.clone(), keys, map, bed.clock.clone());
    Stage { door, _bed: bed }
}

fn asked() -> Asked {
    Asked {
        env: None,
        request_id: "r".to_owned(),
    }
}

fn around() -> Surroundings {
    Surroundings {
        headers: HeaderMap::new(),
        trailers: None,
        arrival: Default::default(),
    }
}

fn blob(content: &[u8]) -> (Option<StreamingBlob>, Option<i64>) {
    let body = s3s::Body::from(content.to_vec());
    let bytes = i64::try_from(content.len()).expect("small");
    (Some(StreamingBlob::from(body)), Some(bytes))
}

/// A put of a content under a key; the rest may be set.
fn putting(key: &str, content: &[u8]) -> PutObjectInput {
    let (body, content_length) = blob(content);
    PutObjectInput {
        bucket: ENV.to_owned(),
        key: key.to_owned(),
        body,
        content_length,
        ..PutObjectInput::default()
    }
}

impl Stage {
    async fn put(&self, input: PutObjectInput) -> Result<String, String> {
        let stored = self.door.put(&asked(), input, around()).await;
        let etag = stored
            .map_err(|error| error.code().as_str().to_owned())?
            .e_tag;
        Ok(etag.expect("an etag").value().to_owned())
    }

    async fn get(&self, key: &str, range: Option<&str>) -> Result<Vec<u8>, String> {
        let input = GetObjectInput {
            bucket: ENV.to_owned(),
            key: key.to_owned(),
            range: range.map(|range| Range::parse(range).expect("a range")),
            ..GetObjectInput::default()
        };
        let got = self.door.get(&asked(), input).await;
        let mut body = got
            .map_err(|error| error.code().as_str().to_owned())?
            .body
            .expect("a body");
        let mut content = Vec::new();
        while let Some(piece) = body.next().await {
            content.extend_from_slice(&piece.map_err(|error| error.to_string())?);
        }
        Ok(content)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_files_with_their_md5_for_an_etag() {
    let stage = stage().await;
    for bytes in [0, 1, 100_000, 3_000_000] {
        let content = noise(bytes, bytes as u64);
        let key = format!("a/{bytes}");
        let etag = stage.put(putting(&key, &content)).await.expect("stored");
        assert_eq!(etag.len(), 32);
        assert_eq!(stage.get(&key, None).await, Ok(content));
    }
    let part = stage.get("a/3000000", Some("bytes=1000000-1999999")).await;
    assert_eq!(
        part.as_deref(),
        Ok(&noise(3_000_000, 3_000_000)[1_000_000..2_000_000])
    );
    assert_eq!(
        stage.get("a/0", Some("bytes=0-")).await,
        Err("InvalidRange".into())
    );
    assert_eq!(stage.get("a/2", None).await, Err("NoSuchKey".into()));
    assert_eq!(stage.get("a//2", None).await, Err("NoSuchKey".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_put_leaves_what_was_there() {
    let stage = stage().await;
    let old = stage.put(putting("a", b"123456789")).await.expect("stored");
    let wrong = |change: fn(&mut PutObjectInput)| {
        let mut input = putting("a", b"another");
        change(&mut input);
        stage.put(input)
    };
    type Change = fn(&mut PutObjectInput);
    let changes: [(Change, &str); 8] = [
        (
            |input| input.if_none_match = Some(ETagCondition::Any),
            "PreconditionFailed",
        ),
        (
            |input| {
                let etag = ETag::Strong("0".to_owned());
                input.if_match = Some(ETagCondition::ETag(etag));
            },
            "PreconditionFailed",
        ),
        (
            |input| input.checksum_crc32 = Some("y/Q5Jg==".to_owned()),
            "BadDigest",
        ),
        (
            |input| input.content_md5 = Some("1B2M2Y8AsgTpgAmY7PhCfg==".to_owned()),
            "BadDigest",
        ),
        (|input| input.content_length = Some(8), "IncompleteBody"),
        (|input| input.content_length = Some(6), "IncompleteBody"),
        (
            |input| input.tagging = Some("a=b".to_owned()),
            "NotImplemented",
        ),
        (|input| input.key = "a/../b".to_owned(), "InvalidArgument"),
    ];
    for (change, code) in changes {
        assert_eq!(wrong(change).await, Err(code.to_owned()));
    }
    assert_eq!(stage.get("a", None).await, Ok(b"123456789".to_vec()));
    let mut fitting = putting("a", b"new");
    fitting.if_match = Some(ETagCondition::ETag(ETag::Strong(old)));
    assert!(stage.put(fitting).await.is_ok());
    assert_eq!(stage.get("a", None).await, Ok(b"new".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_listings_tell_everything_once_whatever_the_size_of_pages() {
    let stage = stage().await;
    let keys = [
        "a", "a b", "b/", "b/1", "b/2", "b/c/3", "c", "d/1", "é", "图/片",
    ];
    for key in keys {
        stage.put(putting(key, b"")).await.expect("stored");
    }
    let folders: BTreeSet<String> = ["a", "a b", "b/", "c", "d/", "é", "图/"]
        .map(String::from)
        .into();
    for page in [1, 2, 3, 1000] {
        let (mut first, mut second, mut all) = (Vec::new(), Vec::new(), Vec::new());
        let mut marker = None;
        loop {
            let input = ListObjectsInput {
                bucket: ENV.to_owned(),
                delimiter: Some("/".to_owned()),
                max_keys: Some(page),
                marker: marker.take(),
                ..ListObjectsInput::default()
            };
            let listed = stage.door.list_v1(&asked(), input).await.expect("listed");
            let objects = listed.contents.unwrap_or_default().into_iter();
            first.extend(objects.filter_map(|object| object.key));
            let prefixes = listed.common_prefixes.unwrap_or_default().into_iter();
            first.extend(prefixes.filter_map(|prefix| prefix.prefix));
            if listed.is_truncated != Some(true) {
                break;
            }
            marker = listed.next_marker;
        }
        for (delimiter, into) in [(Some("/"), &mut second), (None, &mut all)] {
            let mut token = None;
            loop {
                let input = ListObjectsV2Input {
                    bucket: ENV.to_owned(),
                    delimiter: delimiter.map(str::to_owned),
                    max_keys: Some(page),
                    continuation_token: token.take(),
                    ..ListObjectsV2Input::default()
                };
                let listed = stage.door.list_v2(&asked(), input).await.expect("listed");
                assert!(listed.key_count <= Some(page));
                let objects = listed.contents.unwrap_or_default().into_iter();
                into.extend(objects.filter_map(|object| object.key));
                let prefixes = listed.common_prefixes.unwrap_or_default().into_iter();
                into.extend(prefixes.filter_map(|prefix| prefix.prefix));
                token = listed.next_continuation_token;
                if token.is_none() {
                    break;
                }
            }
        }
        for told in [&first, &second] {
            assert_eq!(told.len(), folders.len(), "pages of {page}: {told:?}");
            assert_eq!(told.iter().cloned().collect::<BTreeSet<_>>(), folders);
        }
        assert_eq!(all, keys, "pages of {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_and_deletes() {
    let stage = stage().await;
    let mut input = putting("from", b"content");
    input.content_type = Some("a/b".to_owned());
    input.metadata = Some(Metadata::from([("k".to_owned(), "v".to_owned())]));
    let etag = stage.put(input).await.expect("stored");
    let copying = |key: &str, directive: Option<&'static str>| CopyObjectInput {
        metadata_directive: directive.map(MetadataDirective::from_static),
        ..copy_of(key)
    };
    let copied = stage
        .door
        .copy(&asked(), copying("to", None))
        .await
        .expect("copied");
    let told = copied.copy_object_result.and_then(|result| result.e_tag);
    assert_eq!(told.map(ETag::into_value), Some(etag));
    assert_eq!(stage.get("to", None).await, Ok(b"content".to_vec()));
    let head = |key: &str| HeadObjectInput {
        bucket: ENV.to_owned(),
        key: key.to_owned(),
        ..HeadObjectInput::default()
    };
    let to = stage.door.head(&asked(), head("to")).await.expect("there");
    assert_eq!(to.content_type.as_deref(), Some("a/b"));
    assert_eq!(to.metadata.map(|metadata| metadata.len()), Some(1));
    assert!(
        stage
            .door
            .copy(&asked(), copying("from", None))
            .await
            .is_err()
    );
    let replaced = copying("from", Some(MetadataDirective::REPLACE));
    stage.door.copy(&asked(), replaced).await.expect("copied");
    let from = stage
        .door
        .head(&asked(), head("from"))
        .await
        .expect("there");
    assert_eq!((from.metadata, from.content_length), (None, Some(7)));

    let objects = ["from", "never", "a//b"].map(|key| ObjectIdentifier {
        key: key.to_owned(),
        ..ObjectIdentifier::default()
    });
    let delete = DeleteObjectsInput {
        bucket: ENV.to_owned(),
        bypass_governance_retention: None,
        checksum_algorithm: None,
        delete: Delete {
            objects: objects.into(),
            quiet: None,
        },
        expected_bucket_owner: None,
        mfa: None,
        request_payer: None,
    };
    let told = stage
        .door
        .delete_many(&asked(), delete)
        .await
        .expect("deleted");
    assert_eq!(told.deleted.map(|deleted| deleted.len()), Some(3));
    assert!(told.errors.is_none());
    assert_eq!(stage.get("from", None).await, Err("NoSuchKey".into()));
    assert_eq!(stage.get("to", None).await, Ok(b"content".to_vec()));
}

/// A copy of `from` to a key.
fn copy_of(key: &str) -> CopyObjectInput {
    let source = CopySource::Bucket {
        bucket: ENV.into(),
        key: "from".into(),
        version_id: None,
    };
    let mut builder = CopyObjectInput::builder();
    builder.set_bucket(ENV.to_owned());
    builder.set_key(key.to_owned());
    builder.set_copy_source(source);
    builder.build().expect("complete")
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_become_an_object_once() {
    let stage = stage().await;
    let begin = CreateMultipartUploadInput {
        bucket: ENV.to_owned(),
        key: "big".to_owned(),
        ..CreateMultipartUploadInput::default()
    };
    let begun = stage.door.begin(&asked(), begin).await.expect("begun");
    let upload = begun.upload_id.expect("an id");
    let contents = [noise(5 << 20, 1), noise(1_000, 2)];
    let mut parts = Vec::new();
    for (index, content) in contents.iter().enumerate() {
        let (body, content_length) = blob(content);
        let number = i32::try_from(index + 1).expect("small");
        let input = UploadPartInput {
            bucket: ENV.to_owned(),
            key: "big".to_owned(),
            upload_id: upload.clone(),
            part_number: number,
            body,
            content_length,
            ..UploadPartInput::default()
        };
        let stored = stage
            .door
            .part(&asked(), input, around())
            .await
            .expect("stored");
        parts.push(CompletedPart {
            e_tag: stored.e_tag,
            part_number: Some(number),
            ..CompletedPart::default()
        });
    }
    let complete = |key: &str| CompleteMultipartUploadInput {
        bucket: ENV.to_owned(),
        key: key.to_owned(),
        upload_id: upload.clone(),
        multipart_upload: Some(CompletedMultipartUpload {
            parts: Some(parts.clone()),
        }),
        ..CompleteMultipartUploadInput::default()
    };
    let other = stage.door.complete(&asked(), complete("other")).await;
    assert_eq!(
        other
            .err()
            .map(|error| error.code().as_str().to_owned())
            .as_deref(),
        Some("NoSuchUpload")
    );
    let first = stage
        .door
        .complete(&asked(), complete("big"))
        .await
        .expect("completed");
    let again = stage
        .door
        .complete(&asked(), complete("big"))
        .await
        .expect("told again");
    assert_eq!(first.e_tag, again.e_tag);
    assert!(first.e_tag.is_some_and(|etag| etag.value().ends_with("-2")));
    assert_eq!(stage.get("big", None).await, Ok(contents.concat()));
    // Once the object is another, the parts are not it.
    stage.put(putting("big", b"another")).await.expect("stored");
    assert!(
        stage
            .door
            .complete(&asked(), complete("big"))
            .await
            .is_err()
    );
}
