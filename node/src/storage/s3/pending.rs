//! ListParts and ListMultipartUploads: what has been begun and not completed.

use s3s::dto::{
    ETag, Initiator, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput,
    ListPartsOutput, MultipartUpload, Part, StorageClass,
};
use s3s::{S3Result, s3_error};

use super::auth::Asked;
use super::door::S3Door;
use super::listing::{Spelling, owner, page_size};
use super::{error, moment};
use crate::storage::record::{PartRecord, UploadRecord};

impl S3Door {
    /// ListParts.
    pub(super) async fn list_parts_of(
        &self,
        asked: &Asked,
        input: ListPartsInput,
    ) -> S3Result<ListPartsOutput> {
        let max_parts = page_size(input.max_parts)?;
        let after = u32::try_from(input.part_number_marker.unwrap_or(0)).map_err(|_| {
            s3_error!(
                InvalidArgument,
                "part-number-marker is the number of a part"
            )
        })?;
        let scope = asked.scope(&input.bucket);
        let upload = self
            .known_upload(&scope, &input.key, &input.upload_id)
            .await?;
        let mut parts = Vec::new();
        let mut is_truncated = false;
        if max_parts > 0 {
            let page = self.files.parts(&scope, &upload.id, after, max_parts);
            parts = page.await.map_err(error::told)?;
            if let (Some(last), true) = (parts.last(), parts.len() >= max_parts) {
                let last = u32::try_from(last.number).unwrap_or(u32::MAX);
                let more = self.files.parts(&scope, &upload.id, last, 1).await;
                is_truncated = !more.map_err(error::told)?.is_empty();
            }
        }
        let last = parts
            .last()
            .and_then(|part| i32::try_from(part.number).ok());
        Ok(ListPartsOutput {
            initiator: Some(initiator(&input.bucket)),
            owner: Some(owner(&input.bucket)),
            bucket: Some(input.bucket),
            is_truncated: Some(is_truncated),
            key: Some(input.key),
            max_parts: i32::try_from(max_parts).ok(),
            next_part_number_marker: last.filter(|_| is_truncated),
            part_number_marker: i32::try_from(after).ok(),
            parts: Some(parts.into_iter().map(part).collect()),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            upload_id: Some(upload.id),
            ..ListPartsOutput::default()
        })
    }

    /// ListMultipartUploads. They come in the order of their ids, not of their keys; pages fit together all the same.
    pub(super) async fn list_uploads(
        &self,
        asked: &Asked,
        input: ListMultipartUploadsInput,
    ) -> S3Result<ListMultipartUploadsOutput> {
        if input
            .delimiter
            .as_ref()
            .is_some_and(|text| !text.is_empty())
        {
            return Err(s3_error!(
                NotImplemented,
                "uploads in parts are not grouped: leave delimiter out"
            ));
        }
        let spelling = Spelling::of(input.encoding_type.as_ref())?;
        let max_uploads = page_size(input.max_uploads)?;
        let scope = asked.scope(&input.bucket);
        let prefix = input.prefix.unwrap_or_default();
        let after = input.upload_id_marker.clone().unwrap_or_default();
        let mut uploads = Vec::new();
        let mut is_truncated = false;
        if max_uploads > 0 {
            let page = self.files.uploads(&scope, &prefix, &after, max_uploads);
            uploads = page.await.map_err(error::told)?;
            if let (Some(last), true) = (uploads.last(), uploads.len() >= max_uploads) {
                let more = self.files.uploads(&scope, &prefix, &last.id, 1).await;
                is_truncated = !more.map_err(error::told)?.is_empty();
            }
        }
        let last = uploads.last().filter(|_| is_truncated);
        Ok(ListMultipartUploadsOutput {
            next_key_marker: last.map(|upload| spelling.spell(&upload.path)),
            next_upload_id_marker: last.map(|upload| upload.id.clone()),
            uploads: Some(
                uploads
                    .iter()
                    .map(|record| upload(record, &input.bucket, spelling))
                    .collect(),
            ),
            bucket: Some(input.bucket),
            encoding_type: input.encoding_type,
            is_truncated: Some(is_truncated),
            key_marker: input.key_marker.map(|marker| spelling.spell(&marker)),
            max_uploads: i32::try_from(max_uploads).ok(),
            prefix: Some(spelling.spell(&prefix)),
            upload_id_marker: input.upload_id_marker,
            ..ListMultipartUploadsOutput::default()
        })
    }
}

fn initiator(bucket: &str) -> Initiator {
    Initiator {
        display_name: Some(bucket.to_owned()),
        id: Some(bucket.to_owned()),
    }
}

fn part(record: PartRecord) -> Part {
    Part {
        e_tag: Some(ETag::Strong(record.etag)),
        last_modified: Some(moment::of_ms(record.stored_at.timestamp_millis())),
        part_number: i32::try_from(record.number).ok(),
        size: Some(record.size),
        ..Part::default()
    }
}

fn upload(record: &UploadRecord, bucket: &str, spelling: Spelling) -> MultipartUpload {
    MultipartUpload {
        initiated: Some(moment::of_ms(record.begun_at.timestamp_millis())),
        initiator: Some(initiator(bucket)),
        key: Some(spelling.spell(&record.path)),
        owner: Some(owner(bucket)),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        upload_id: Some(record.id.clone()),
        ..MultipartUpload::default()
    }
}
