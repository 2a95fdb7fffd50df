//! Uploads in parts that are completed once, twice, or wrongly.

use s3s::dto::{CompletedPart, ETag};

use super::*;
use crate::storage::record::Content;

const A: &str = "0cc175b9c0f1b6a831c399e269772661";
const B: &str = "92eb5ffee6ae2fec3ad71c777531578f";

fn stored(number: i64, size: i64, etag: &str) -> PartRecord {
    PartRecord {
        id: format!("u/{number}"),
        upload: "u".to_owned(),
        number,
        size,
        etag: etag.to_owned(),
        stored_at: bson::DateTime::from_millis(0),
        content: Content::default(),
    }
}

fn wanted(parts: &[(u32, &str)]) -> Vec<(u32, String)> {
    let part = |(number, etag): &(u32, &str)| (*number, (*etag).to_owned());
    parts.iter().map(part).collect()
}

fn named(parts: &[(Option<i32>, Option<&str>)]) -> Option<CompletedMultipartUpload> {
    let part = |(number, etag): &(Option<i32>, Option<&str>)| CompletedPart {
        part_number: *number,
        e_tag: etag.map(|etag| ETag::Strong(etag.to_owned())),
        ..CompletedPart::default()
    };
    Some(CompletedMultipartUpload {
        parts: Some(parts.iter().map(part).collect()),
    })
}

fn code<T>(outcome: S3Result<T>) -> String {
    match outcome {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.code().as_str().to_owned(),
    }
}

#[test]
fn parts_are_listed_in_order() {
    let of = |parts: &[(Option<i32>, Option<&str>)]| code(wanted_parts(named(parts)));
    assert_eq!(of(&[(Some(1), Some(A)), (Some(3), Some(B))]), "ok");
    assert_eq!(
        of(&[(Some(3), Some(A)), (Some(1), Some(B))]),
        "InvalidPartOrder"
    );
    assert_eq!(
        of(&[(Some(1), Some(A)), (Some(1), Some(A))]),
        "InvalidPartOrder"
    );
    for bad in [[(None, Some(A))], [(Some(-1), Some(A))], [(Some(1), None)]] {
        assert_eq!(of(&bad), "MalformedXML");
    }
    assert_eq!(of(&[]), "MalformedXML");
    assert_eq!(code(wanted_parts(None)), "MalformedXML");
}

#[test]
fn parts_must_be_there_and_large_enough() {
    let least = i64::try_from(PART_BYTES_MIN).expect("small");
    let there = [
        stored(1, least, A),
        stored(2, least - 1, B),
        stored(5, 1, A),
    ];
    let of = |parts: &[(u32, &str)], size| check_parts(&wanted(parts), &there, size);
    assert_eq!(
        of(&[(1, A), (5, A)], Some(least + 1)).ok(),
        Some(wanted(&[(1, A), (5, A)]))
    );
    // Some tools shout; what is completed has the etag as it was given out.
    let shouted = A.to_uppercase();
    assert_eq!(
        of(&[(1, shouted.as_str())], None).ok(),
        Some(wanted(&[(1, A)]))
    );
    assert_eq!(code(of(&[(1, B)], None)), "InvalidPart");
    assert_eq!(code(of(&[(3, A)], None)), "InvalidPart");
    assert_eq!(code(of(&[(1, A), (2, B)], None)), "ok");
    assert_eq!(code(of(&[(2, B), (5, A)], None)), "EntityTooSmall");
    assert_eq!(code(of(&[(1, A)], Some(least + 1))), "InvalidRequest");
}

#[test]
fn the_etag_of_parts_is_that_of_s3() {
    // Of parts `a` and `b`: printf a | md5sum, printf b | md5sum, and the md5sum of both in binary.
    let both = etag_of_parts(&wanted(&[(1, A), (2, B)]));
    assert_eq!(both.as_deref(), Some("96e024ba2074fe77e8e965ba43a704be-2"));
    assert_eq!(etag_of_parts(&wanted(&[(1, "not hexadecimal")])), None);
}
