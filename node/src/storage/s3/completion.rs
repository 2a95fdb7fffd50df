//! CompleteMultipartUpload: parts become an object.
//!
//! What a client names as the parts is compared with what is there before anything changes, so that S3's own codes say
//! what is wrong. A client whose answer was lost asks again, when the upload is gone and the object there: it is told so
//! once more, if the object is the one that these parts make.

use md5::{Digest as _, Md5};
use s3s::dto::{
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedMultipartUpload,
};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::auth::Asked;
use super::conditions::{etag, of_write};
use super::door::S3Door;
use super::error;
use super::limits::PART_BYTES_MIN;
use crate::storage::files::{Condition, Scope};
use crate::storage::limits::{LIST_FILES_MAX, PARTS_MAX};
use crate::storage::path::FilePath;
use crate::storage::record::{FileRecord, PartRecord};

impl S3Door {
    /// CompleteMultipartUpload.
    pub(super) async fn complete(
        &self,
        asked: &Asked,
        input: CompleteMultipartUploadInput,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        let path = error::path(&input.key)?;
        let condition = of_write(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let wanted = wanted_parts(input.multipart_upload)?;
        let scope = asked.scope(&input.bucket);
        let size = input.mpu_object_size;
        let completed = self
            .try_complete(&scope, &path, &input.upload_id, &wanted, size, condition)
            .await;
        let record = match completed {
            Err(error) if *error.code() == S3ErrorCode::NoSuchUpload => self
                .completed_before(&scope, &path, &wanted)
                .await?
                .ok_or(error)?,
            completed => completed?,
        };
        Ok(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(etag(&record)),
            ..CompleteMultipartUploadOutput::default()
        })
    }

    async fn try_complete(
        &self,
        scope: &Scope,
        path: &FilePath,
        id: &str,
        wanted: &[(u32, String)],
        size: Option<i64>,
        condition: Condition,
    ) -> S3Result<FileRecord> {
        let upload = self.known_upload(scope, path.as_str(), id).await?;
        let mut stored: Vec<PartRecord> = Vec::new();
        let mut after = 0;
        loop {
            let page = self.files.parts(scope, &upload.id, after, LIST_FILES_MAX);
            let page = page.await.map_err(error::told)?;
            let Some(last) = page.last() else { break };
            after = u32::try_from(last.number).unwrap_or(PARTS_MAX);
            let is_full = page.len() >= LIST_FILES_MAX;
            stored.extend(page);
            if !is_full || after >= PARTS_MAX {
                break;
            }
        }
        stored.sort_by_key(|part| part.number);
        let parts = check_parts(wanted, &stored, size)?;
        let completed = self
            .files
            .complete_upload(scope, &upload.id, &parts, condition);
        completed.await.map_err(error::told)
    }

    /// The object, if it is the one that these parts make.
    async fn completed_before(
        &self,
        scope: &Scope,
        path: &FilePath,
        wanted: &[(u32, String)],
    ) -> S3Result<Option<FileRecord>> {
        let found = self.files.stat(scope, path).await.map_err(error::told)?;
        let made = etag_of_parts(wanted);
        Ok(found.filter(|record| made.as_ref() == Some(&record.etag)))
    }
}

/// Numbers and etags as the client names them, which must be in order.
fn wanted_parts(upload: Option<CompletedMultipartUpload>) -> S3Result<Vec<(u32, String)>> {
    let parts = upload.and_then(|upload| upload.parts).unwrap_or_default();
    if parts.is_empty() {
        return Err(s3_error!(
            MalformedXML,
            "the parts that make up the object are missing"
        ));
    }
    let mut wanted: Vec<(u32, String)> = Vec::with_capacity(parts.len().min(PARTS_MAX as usize));
    for part in parts {
        let number = part
            .part_number
            .and_then(|number| u32::try_from(number).ok())
            .ok_or_else(|| s3_error!(MalformedXML, "a part has no number"))?;
        if wanted.last().is_some_and(|(last, _)| *last >= number) {
            return Err(s3_error!(
                InvalidPartOrder,
                "the parts must be listed in the order of their numbers, each once"
            ));
        }
        let etag = part.e_tag.map(|etag| etag.value().to_owned());
        let etag = etag.ok_or_else(|| s3_error!(MalformedXML, "part {number} has no ETag"))?;
        wanted.push((number, etag));
    }
    Ok(wanted)
}

/// Compares what the client names with what is there; the parts with their etags as stored.
fn check_parts(
    wanted: &[(u32, String)],
    stored: &[PartRecord],
    size: Option<i64>,
) -> S3Result<Vec<(u32, String)>> {
    let mut parts = Vec::with_capacity(wanted.len());
    let mut bytes: i64 = 0;
    for (index, (number, etag)) in wanted.iter().enumerate() {
        let found = stored
            .binary_search_by_key(&i64::from(*number), |part| part.number)
            .ok()
            .map(|at| &stored[at])
            .filter(|part| part.etag.eq_ignore_ascii_case(etag))
            .ok_or_else(|| invalid_part(*number))?;
        let is_last = index + 1 == wanted.len();
        if !is_last && u64::try_from(found.size).unwrap_or(0) < PART_BYTES_MIN {
            return Err(s3_error!(
                EntityTooSmall,
                "part {number} has {} bytes: all but the last must have {PART_BYTES_MIN} at least",
                found.size
            ));
        }
        bytes = bytes.saturating_add(found.size);
        parts.push((*number, found.etag.clone()));
    }
    if size.is_some_and(|size| size != bytes) {
        return Err(s3_error!(
            InvalidRequest,
            "the parts have {bytes} bytes, which is not what x-amz-mp-object-size says"
        ));
    }
    Ok(parts)
}

fn invalid_part(number: u32) -> S3Error {
    s3_error!(
        InvalidPart,
        "part {number} was not uploaded, or has another ETag"
    )
}

/// The etag of an object in parts: the MD5 of the MD5s of its parts, and how many they are.
fn etag_of_parts(parts: &[(u32, String)]) -> Option<String> {
    let mut md5 = Md5::new();
    for (_, etag) in parts {
        md5.update(hex::decode(etag).ok()?);
    }
    Some(format!("{}-{}", hex::encode(md5.finalize()), parts.len()))
}

#[cfg(test)]
#[path = "completion_test.rs"]
mod tests;
