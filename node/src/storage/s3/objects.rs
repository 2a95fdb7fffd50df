//! Reading objects: GetObject, HeadObject and GetObjectAttributes.

use std::ops::Range;

use axum::http::{HeaderMap, HeaderValue, header};
use s3s::dto::{
    self, GetObjectAttributesInput, GetObjectAttributesOutput, GetObjectInput, GetObjectOutput,
    HeadObjectInput, HeadObjectOutput, StorageClass, StreamingBlob,
};
use s3s::{S3Error, S3Result, s3_error};

use super::auth::Asked;
use super::conditions::{conditions, etag};
use super::door::S3Door;
use super::download::Download;
use super::headers::Shown;
use super::wishes::check_customer_key;
use super::{error, moment};
use crate::storage::record::FileRecord;

/// Ranges are in bytes.
const BYTES: &str = "bytes";

/// What of an object is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    bytes: Range<u64>,
    /// `Content-Range`; `None` = the whole object was asked for.
    content_range: Option<String>,
}

impl S3Door {
    /// GetObject.
    pub(super) async fn get(
        &self,
        asked: &Asked,
        input: GetObjectInput,
    ) -> S3Result<GetObjectOutput> {
        check_customer_key(input.sse_customer_algorithm.as_deref())?;
        let version = input.version_id.as_deref();
        let record = self
            .object(asked, &input.bucket, &input.key, version)
            .await?;
        conditions!(input).check_read(&record)?;
        let span = span(&record, input.range.as_ref(), input.part_number)?;
        let permit = self.download_permit()?;
        let bytes = span.bytes.end - span.bytes.start;
        let body = self.files.open(&record, span.bytes);
        let idle = self.files.limits().idle_timeout;
        let download = Download::begin(body, bytes, permit, idle)
            .await
            .map_err(error::told)?;
        let shown = Shown::of(&record);
        Ok(GetObjectOutput {
            accept_ranges: Some(BYTES.to_owned()),
            body: Some(StreamingBlob::new(download)),
            cache_control: shown.kept.cache_control,
            content_disposition: shown.kept.content_disposition,
            content_encoding: shown.kept.content_encoding,
            content_language: shown.kept.content_language,
            content_length: i64::try_from(bytes).ok(),
            content_range: span.content_range,
            e_tag: Some(etag(&record)),
            expires: shown.kept.expires,
            last_modified: Some(moment::of_ms(record.modified_at_ms)),
            metadata: shown.metadata,
            missing_meta: shown.missing,
            content_type: Some(record.content_type),
            ..GetObjectOutput::default()
        })
    }

    /// HeadObject.
    pub(super) async fn head(
        &self,
        asked: &Asked,
        input: HeadObjectInput,
    ) -> S3Result<HeadObjectOutput> {
        check_customer_key(input.sse_customer_algorithm.as_deref())?;
        let version = input.version_id.as_deref();
        let record = self
            .object(asked, &input.bucket, &input.key, version)
            .await?;
        conditions!(input).check_read(&record)?;
        let span = span(&record, input.range.as_ref(), input.part_number)?;
        let shown = Shown::of(&record);
        let or = |instead: Option<String>, kept: Option<String>| instead.or(kept);
        Ok(HeadObjectOutput {
            accept_ranges: Some(BYTES.to_owned()),
            cache_control: or(input.response_cache_control, shown.kept.cache_control),
            content_disposition: or(
                input.response_content_disposition,
                shown.kept.content_disposition,
            ),
            content_encoding: or(input.response_content_encoding, shown.kept.content_encoding),
            content_language: or(input.response_content_language, shown.kept.content_language),
            content_length: i64::try_from(span.bytes.end - span.bytes.start).ok(),
            content_range: span.content_range,
            e_tag: Some(etag(&record)),
            expires: input.response_expires.or(shown.kept.expires),
            last_modified: Some(moment::of_ms(record.modified_at_ms)),
            metadata: shown.metadata,
            missing_meta: shown.missing,
            content_type: or(input.response_content_type, Some(record.content_type)),
            ..HeadObjectOutput::default()
        })
    }

    /// GetObjectAttributes, as far as objects have any.
    pub(super) async fn attributes(
        &self,
        asked: &Asked,
        input: GetObjectAttributesInput,
    ) -> S3Result<GetObjectAttributesOutput> {
        check_customer_key(input.sse_customer_algorithm.as_deref())?;
        let version = input.version_id.as_deref();
        let record = self
            .object(asked, &input.bucket, &input.key, version)
            .await?;
        // One header with commas, or several.
        let wanted = |name: &str| {
            let mut names = input
                .object_attributes
                .iter()
                .flat_map(|header| header.as_str().split(','));
            names.any(|one| one.trim() == name)
        };
        Ok(GetObjectAttributesOutput {
            e_tag: wanted("ETag").then(|| etag(&record)),
            last_modified: Some(moment::of_ms(record.modified_at_ms)),
            object_size: wanted("ObjectSize").then_some(record.size),
            storage_class: wanted("StorageClass")
                .then(|| StorageClass::from_static(StorageClass::STANDARD)),
            ..GetObjectAttributesOutput::default()
        })
    }
}

/// What of an object a range or the number of a part stands for.
fn span(
    record: &FileRecord,
    range: Option<&dto::Range>,
    part_number: Option<i32>,
) -> S3Result<Span> {
    let size = record.bytes();
    match (range, part_number) {
        (None, None) => Ok(Span {
            bytes: 0..size,
            content_range: None,
        }),
        (Some(_), Some(_)) => Err(s3_error!(
            InvalidRequest,
            "a range and the number of a part cannot be asked for together"
        )),
        (Some(range), None) => {
            let bytes = range.check(size).map_err(|_| out_of_range(size))?;
            if bytes.is_empty() {
                return Err(out_of_range(size));
            }
            Ok(part_of(bytes, size))
        }
        // An object that was stored at once is its only part. Where the parts of others were is not kept.
        (None, Some(1)) if !record.etag.contains('-') => Ok(match size {
            0 => Span {
                bytes: 0..0,
                content_range: None,
            },
            size => part_of(0..size, size),
        }),
        (None, Some(_)) => Err(s3_error!(
            NotImplemented,
            "parts of an object cannot be asked for by number: use ranges"
        )),
    }
}

fn part_of(bytes: Range<u64>, size: u64) -> Span {
    let content_range = format!("{BYTES} {}-{}/{size}", bytes.start, bytes.end - 1);
    Span {
        bytes,
        content_range: Some(content_range),
    }
}

fn out_of_range(size: u64) -> S3Error {
    let mut error = s3_error!(InvalidRange, "the object has {size} bytes");
    let mut headers = HeaderMap::new();
    if let Ok(range) = HeaderValue::try_from(format!("{BYTES} */{size}")) {
        headers.insert(header::CONTENT_RANGE, range);
    }
    // They take the place of all others.
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/xml"),
    );
    error.set_headers(headers);
    error
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::storage::record::Content;

    fn record(size: i64, etag: &str) -> FileRecord {
        FileRecord {
            path: "a".to_owned(),
            size,
            content_type: "text/plain".to_owned(),
            etag: etag.to_owned(),
            version: "v".to_owned(),
            owner: None,
            metadata: BTreeMap::new(),
            modified_at_ms: 0,
            content: Content::default(),
        }
    }

    #[test]
    fn ranges_lie_within_the_object() {
        let of = |text: &str, size| {
            let range = dto::Range::parse(text).expect("a range");
            span(&record(size, "e"), Some(&range), None)
                .map(|span| (span.bytes, span.content_range))
        };
        for (text, bytes, told) in [
            ("bytes=0-3", 0..4, "bytes 0-3/10"),
            ("bytes=9-", 9..10, "bytes 9-9/10"),
            ("bytes=8-99", 8..10, "bytes 8-9/10"),
            ("bytes=-3", 7..10, "bytes 7-9/10"),
            ("bytes=-99", 0..10, "bytes 0-9/10"),
        ] {
            assert_eq!(of(text, 10).ok(), Some((bytes, Some(told.to_owned()))));
        }
        for (text, size) in [
            ("bytes=10-", 10),
            ("bytes=-0", 10),
            ("bytes=0-", 0),
            ("bytes=-1", 0),
        ] {
            let error = of(text, size).expect_err("refused");
            assert_eq!(error.status_code().map(|status| status.as_u16()), Some(416));
            let told = error.headers().expect("headers")["content-range"].clone();
            assert_eq!(told, format!("bytes */{size}"));
        }
    }

    #[test]
    fn an_object_stored_at_once_is_its_only_part() {
        let of = |record: &FileRecord, part| span(record, None, Some(part));
        let whole = of(&record(10, "e"), 1).expect("the whole");
        assert_eq!(whole.content_range.as_deref(), Some("bytes 0-9/10"));
        let empty = of(&record(0, "e"), 1).expect("the whole");
        assert_eq!((empty.bytes, empty.content_range), (0..0, None));
        assert!(of(&record(10, "e"), 2).is_err());
        assert!(of(&record(10, "e-2"), 1).is_err());
        let range = dto::Range::parse("bytes=0-1").expect("a range");
        assert!(span(&record(10, "e"), Some(&range), Some(1)).is_err());
        let all = span(&record(10, "e"), None, None).expect("the whole");
        assert_eq!((all.bytes, all.content_range), (0..10, None));
    }
}
