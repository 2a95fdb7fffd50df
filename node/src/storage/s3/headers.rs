//! What is said about an object besides its content: the metadata of whoever stored it, and the headers that it is to be
//! answered with.
//!
//! Files have one map for both. A name of metadata is part of a header's name and so has no `:` in it; the names of those
//! headers begin with one.

use std::collections::BTreeMap;

use axum::http::HeaderName;
use s3s::dto::{Metadata, Timestamp, TimestampFormat};
use s3s::{S3Result, s3_error};

use crate::storage::limits::METADATA_BYTES_MAX;
use crate::storage::record::FileRecord;

const CACHE_CONTROL: &str = ":cache-control";
const CONTENT_DISPOSITION: &str = ":content-disposition";
const CONTENT_ENCODING: &str = ":content-encoding";
const CONTENT_LANGUAGE: &str = ":content-language";
const EXPIRES: &str = ":expires";

/// How clients that stream an upload call the form of its body, which is not the object's.
const AWS_CHUNKED: &str = "aws-chunked";

/// Headers that an object is answered with as they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Kept {
    pub(super) cache_control: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) expires: Option<Timestamp>,
}

/// Such headers of an input. The fields are called the same in all of them.
macro_rules! kept {
    ($input:expr) => {
        $crate::storage::s3::headers::Kept {
            cache_control: $input.cache_control.clone(),
            content_disposition: $input.content_disposition.clone(),
            content_encoding: $input.content_encoding.clone(),
            content_language: $input.content_language.clone(),
            expires: $input.expires.clone(),
        }
    };
}
pub(super) use kept;

/// What a file is to carry.
pub(super) fn carried(
    metadata: Option<Metadata>,
    kept: Kept,
) -> S3Result<BTreeMap<String, String>> {
    let mut map: BTreeMap<String, String> = metadata.unwrap_or_default().into_iter().collect();
    let expires = kept.expires.as_ref().and_then(http_date);
    let encoding = kept.content_encoding.as_deref().and_then(own_encoding);
    for (name, value) in [
        (CACHE_CONTROL, kept.cache_control),
        (CONTENT_DISPOSITION, kept.content_disposition),
        (CONTENT_ENCODING, encoding),
        (CONTENT_LANGUAGE, kept.content_language),
        (EXPIRES, expires),
    ] {
        if let Some(value) = value {
            map.insert(name.to_owned(), value);
        }
    }
    let bytes: usize = map
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > METADATA_BYTES_MAX {
        return Err(s3_error!(
            MetadataTooLarge,
            "metadata and headers of an object are larger than {METADATA_BYTES_MAX} bytes"
        ));
    }
    Ok(map)
}

/// What an object is answered with.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Shown {
    /// The metadata that can be said in headers.
    pub(super) metadata: Option<Metadata>,
    /// How much of it cannot.
    pub(super) missing: Option<i32>,
    /// The headers.
    pub(super) kept: Kept,
}

impl Shown {
    /// What a file carries.
    pub(super) fn of(record: &FileRecord) -> Self {
        let mut metadata = Metadata::new();
        let mut missing = 0;
        for (name, value) in &record.metadata {
            if name.starts_with(':') {
                continue;
            }
            // Other doors let in names that no header can have.
            if HeaderName::try_from(format!("x-amz-meta-{name}")).is_ok() {
                metadata.insert(name.clone(), value.clone());
            } else {
                missing += 1;
            }
        }
        let header = |name: &str| record.metadata.get(name).cloned();
        Self {
            metadata: Some(metadata).filter(|metadata| !metadata.is_empty()),
            missing: Some(missing).filter(|missing| *missing > 0),
            kept: Kept {
                cache_control: header(CACHE_CONTROL),
                content_disposition: header(CONTENT_DISPOSITION),
                content_encoding: header(CONTENT_ENCODING),
                content_language: header(CONTENT_LANGUAGE),
                expires: header(EXPIRES)
                    .and_then(|text| Timestamp::parse(TimestampFormat::HttpDate, &text).ok()),
            },
        }
    }
}

fn http_date(time: &Timestamp) -> Option<String> {
    let mut text = Vec::new();
    time.format(TimestampFormat::HttpDate, &mut text).ok()?;
    String::from_utf8(text).ok()
}

/// The encoding of the object itself; `None` = it has none.
fn own_encoding(header: &str) -> Option<String> {
    let own: Vec<&str> = header
        .split(',')
        .map(str::trim)
        .filter(|one| !one.is_empty() && !one.eq_ignore_ascii_case(AWS_CHUNKED))
        .collect();
    Some(own.join(", ")).filter(|own| !own.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::record::Content;

    fn record(metadata: BTreeMap<String, String>) -> FileRecord {
        FileRecord {
            path: "a".to_owned(),
            size: 0,
            content_type: "text/plain".to_owned(),
            etag: "e".to_owned(),
            version: "v".to_owned(),
            owner: None,
            metadata,
            modified_at_ms: 0,
            content: Content::default(),
        }
    }

    #[test]
    fn what_is_said_survives_the_file() {
        let metadata = Metadata::from([
            ("mtime".to_owned(), "1700000000.5".to_owned()),
            ("title".to_owned(), "图片".to_owned()),
        ]);
        let kept = Kept {
            cache_control: Some("no-store".to_owned()),
            content_disposition: Some("attachment".to_owned()),
            content_encoding: Some("gzip".to_owned()),
            content_language: Some("zh".to_owned()),
            expires: Timestamp::parse(TimestampFormat::HttpDate, "Wed, 21 Oct 2015 07:28:00 GMT")
                .ok(),
        };
        let map = carried(Some(metadata.clone()), kept.clone()).expect("small");
        assert_eq!(map.len(), 7);
        let shown = Shown::of(&record(map));
        assert_eq!(shown.metadata, Some(metadata));
        assert_eq!((shown.missing, shown.kept), (None, kept));
        let none = carried(None, Kept::default()).expect("small");
        assert_eq!(Shown::of(&record(none)), Shown::default());
    }

    #[test]
    fn the_form_of_an_upload_is_not_the_encoding_of_the_object() {
        let encoding = |header: &str| {
            let kept = Kept {
                content_encoding: Some(header.to_owned()),
                ..Kept::default()
            };
            let map = carried(None, kept).expect("small");
            map.get(CONTENT_ENCODING).cloned()
        };
        assert_eq!(encoding("aws-chunked"), None);
        assert_eq!(encoding("aws-chunked,gzip").as_deref(), Some("gzip"));
        assert_eq!(encoding("gzip, aws-chunked").as_deref(), Some("gzip"));
        assert_eq!(encoding("br, gzip").as_deref(), Some("br, gzip"));
    }

    #[test]
    fn what_cannot_be_said_is_counted() {
        let map = BTreeMap::from([
            ("a b".to_owned(), "1".to_owned()),
            ("图".to_owned(), "2".to_owned()),
            ("ok".to_owned(), "3".to_owned()),
        ]);
        let shown = Shown::of(&record(map));
        assert_eq!(shown.missing, Some(2));
        assert_eq!(shown.metadata.map(|metadata| metadata.len()), Some(1));
        let large = Metadata::from([("a".to_owned(), "x".repeat(METADATA_BYTES_MAX))]);
        assert!(carried(Some(large), Kept::default()).is_err());
    }
}
