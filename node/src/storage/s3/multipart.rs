//! Uploads in parts.

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CopyPartResult,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, ETag, UploadPartCopyInput,
    UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Result, dto, s3_error};

use super::auth::Asked;
use super::checksums::{Checksums, sent_checksums};
use super::conditions::conditions;
use super::door::S3Door;
use super::headers::{carried, kept};
use super::limits::{PART_BYTES_MAX, UPLOAD_ID_BYTES_MAX};
use super::upload_body::UploadBody;
use super::uploads::{Surroundings, check_size, md5, refused};
use super::wishes::{check_customer_key, wishes};
use super::{error, moment};
use crate::storage::files::{Condition, NewFile, Scope};
use crate::storage::limits::PARTS_MAX;
use crate::storage::record::UploadRecord;

impl S3Door {
    /// CreateMultipartUpload.
    pub(super) async fn begin(
        &self,
        asked: &Asked,
        mut input: CreateMultipartUploadInput,
    ) -> S3Result<CreateMultipartUploadOutput> {
        wishes!(input).check()?;
        let new = NewFile {
            path: error::path(&input.key)?,
            metadata: carried(input.metadata.take(), kept!(input))?,
            content_type: input.content_type,
            owner: None,
            condition: Condition::None,
            md5_etag: true,
            md5: None,
            bytes_max: self.files.limits().file_bytes_max,
        };
        let scope = asked.scope(&input.bucket);
        let begun = self.files.begin_upload(&scope, new).await;
        let upload = begun.map_err(error::told)?;
        Ok(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload.id),
            ..CreateMultipartUploadOutput::default()
        })
    }

    /// UploadPart.
    pub(super) async fn part(
        &self,
        asked: &Asked,
        input: UploadPartInput,
        around: Surroundings,
    ) -> S3Result<UploadPartOutput> {
        check_customer_key(input.sse_customer_algorithm.as_deref())?;
        let number = part_number(input.part_number)?;
        let md5 = md5(input.content_md5.as_deref())?;
        let scope = asked.scope(&input.bucket);
        let upload = self
            .known_upload(&scope, &input.key, &input.upload_id)
            .await?;
        let checksums = Checksums::new(
            sent_checksums!(input),
            input.checksum_algorithm.as_ref(),
            &around.headers,
        );
        let bytes_max = PART_BYTES_MAX.min(self.files.limits().file_bytes_max);
        let mut body = UploadBody::new(
            input.body,
            input.content_length,
            checksums,
            around.trailers,
            around.arrival,
        )?;
        check_size(&body, bytes_max)?;
        let _permit = self.upload_permit()?;
        let stored = self
            .files
            .put_part(&scope, &upload.id, number, &mut body, md5, bytes_max)
            .await;
        let part = stored.map_err(|error| refused(&body, error))?;
        let checksums = body.into_checksums();
        Ok(UploadPartOutput {
            checksum_crc32: checksums.checksum_crc32,
            checksum_crc32c: checksums.checksum_crc32c,
            checksum_crc64nvme: checksums.checksum_crc64nvme,
            checksum_sha1: checksums.checksum_sha1,
            checksum_sha256: checksums.checksum_sha256,
            e_tag: Some(ETag::Strong(part.etag)),
            ..UploadPartOutput::default()
        })
    }

    /// UploadPartCopy.
    pub(super) async fn part_copy(
        &self,
        asked: &Asked,
        input: UploadPartCopyInput,
    ) -> S3Result<UploadPartCopyOutput> {
        check_customer_key(input.sse_customer_algorithm.as_deref())?;
        check_customer_key(input.copy_source_sse_customer_algorithm.as_deref())?;
        let number = part_number(input.part_number)?;
        let scope = asked.scope(&input.bucket);
        let upload = self
            .known_upload(&scope, &input.key, &input.upload_id)
            .await?;
        let (_, from) = self.source(asked, &input.copy_source).await?;
        conditions!(source of input).check_copy(&from)?;
        let range = source_range(input.copy_source_range.as_deref(), from.bytes())?;
        let bytes_max = PART_BYTES_MAX.min(self.files.limits().file_bytes_max);
        if range.end - range.start > bytes_max {
            return Err(s3_error!(
                EntityTooLarge,
                "a part has at most {bytes_max} bytes: copy it in ranges"
            ));
        }
        let _permit = self.upload_permit()?;
        let copied = self
            .files
            .copy_part(&scope, &upload.id, number, &from, range);
        let part = copied.await.map_err(error::told)?;
        Ok(UploadPartCopyOutput {
            copy_part_result: Some(CopyPartResult {
                e_tag: Some(ETag::Strong(part.etag)),
                last_modified: Some(moment::of_ms(part.stored_at.timestamp_millis())),
                ..CopyPartResult::default()
            }),
            ..UploadPartCopyOutput::default()
        })
    }

    /// AbortMultipartUpload.
    pub(super) async fn abort(
        &self,
        asked: &Asked,
        input: AbortMultipartUploadInput,
    ) -> S3Result<AbortMultipartUploadOutput> {
        if input.if_match_initiated_time.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "an upload is aborted by its id alone"
            ));
        }
        let scope = asked.scope(&input.bucket);
        let upload = self
            .known_upload(&scope, &input.key, &input.upload_id)
            .await?;
        let aborted = self.files.abort_upload(&scope, &upload.id).await;
        aborted.map_err(error::told)?;
        Ok(AbortMultipartUploadOutput::default())
    }

    /// The upload of this id, which must be one to this key.
    pub(super) async fn known_upload(
        &self,
        scope: &Scope,
        key: &str,
        id: &str,
    ) -> S3Result<UploadRecord> {
        if id.is_empty() || id.len() > UPLOAD_ID_BYTES_MAX {
            return Err(error::no_such_upload());
        }
        let upload = self.files.upload(scope, id).await.map_err(error::told)?;
        if upload.path != key {
            return Err(error::no_such_upload());
        }
        Ok(upload)
    }
}

fn part_number(number: i32) -> S3Result<u32> {
    u32::try_from(number)
        .ok()
        .filter(|number| (1..=PARTS_MAX).contains(number))
        .ok_or_else(|| {
            s3_error!(
                InvalidArgument,
                "the number of a part lies between 1 and {PARTS_MAX}"
            )
        })
}

/// What of the source becomes the part: `bytes=first-last`, which must lie within the source, or all of it.
fn source_range(header: Option<&str>, size: u64) -> S3Result<std::ops::Range<u64>> {
    let Some(header) = header else {
        return Ok(0..size);
    };
    match dto::Range::parse(header) {
        Ok(dto::Range::Int {
            first,
            last: Some(last),
        }) if last < size => Ok(first..last + 1),
        Ok(dto::Range::Int { last: Some(_), .. }) => Err(s3_error!(
            InvalidRange,
            "the source has {size} bytes, which x-amz-copy-source-range goes beyond"
        )),
        _ => Err(s3_error!(
            InvalidArgument,
            "x-amz-copy-source-range has the form bytes=first-last"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_numbers_from_one() {
        assert_eq!(part_number(1).ok(), Some(1));
        assert_eq!(part_number(10_000).ok(), Some(10_000));
        for bad in [0, -1, 10_001] {
            assert!(part_number(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_of_a_source_lie_within_it() {
        let of = |header| source_range(header, 10);
        assert_eq!(of(None).ok(), Some(0..10));
        assert_eq!(of(Some("bytes=2-9")).ok(), Some(2..10));
        for bad in ["bytes=2-10", "bytes=2-", "bytes=-3", "2-3", "bytes=3-2"] {
            assert!(of(Some(bad)).is_err(), "{bad}");
        }
    }
}
