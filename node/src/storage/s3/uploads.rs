//! Storing objects: PutObject, and what it shares with parts.

use axum::http::{Extensions, HeaderMap};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s3s::dto::{PutObjectInput, PutObjectOutput};
use s3s::{S3Error, S3Request, S3Result, TrailingHeaders, s3_error};

use super::arrival::Arrival;
use super::auth::Asked;
use super::checksums::{Checksums, sent_checksums};
use super::conditions::{etag, of_write};
use super::door::S3Door;
use super::error;
use super::headers::{carried, kept};
use super::upload_body::{Fault, UploadBody};
use super::wishes::wishes;
use crate::storage::error::StorageError;
use crate::storage::files::NewFile;

/// What the body of a request needs to know of the rest of it.
pub(super) struct Surroundings {
    pub(super) headers: HeaderMap,
    pub(super) trailers: Option<TrailingHeaders>,
    pub(super) arrival: Arrival,
}

impl Surroundings {
    /// Those of a request; its input remains.
    pub(super) fn of<T>(request: S3Request<T>) -> (T, Self) {
        let surroundings = Self {
            headers: request.headers,
            trailers: request.trailing_headers,
            arrival: arrival(&request.extensions),
        };
        (request.input, surroundings)
    }
}

fn arrival(extensions: &Extensions) -> Arrival {
    extensions.get::<Arrival>().cloned().unwrap_or_default()
}

impl S3Door {
    /// PutObject.
    pub(super) async fn put(
        &self,
        asked: &Asked,
        mut input: PutObjectInput,
        around: Surroundings,
    ) -> S3Result<PutObjectOutput> {
        wishes!(input).check()?;
        if input.write_offset_bytes.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "objects cannot be appended to: leave x-amz-write-offset-bytes out"
            ));
        }
        let path = error::path(&input.key)?;
        let condition = of_write(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let md5 = md5(input.content_md5.as_deref())?;
        let metadata = carried(input.metadata.take(), kept!(input))?;
        let checksums = Checksums::new(
            sent_checksums!(input),
            input.checksum_algorithm.as_ref(),
            &around.headers,
        );
        let bytes_max = self.files.limits().file_bytes_max;
        let mut body = UploadBody::new(
            input.body,
            input.content_length,
            checksums,
            around.trailers,
            around.arrival,
        )?;
        check_size(&body, bytes_max)?;
        let _permit = self.upload_permit()?;
        let new = NewFile {
            path,
            content_type: input.content_type,
            metadata,
            owner: None,
            condition,
            md5_etag: true,
            md5,
            bytes_max,
        };
        let stored = self
            .files
            .put(&asked.scope(&input.bucket), new, &mut body)
            .await;
        let record = stored.map_err(|error| refused(&body, error))?;
        let checksums = body.into_checksums();
        Ok(PutObjectOutput {
            checksum_crc32: checksums.checksum_crc32,
            checksum_crc32c: checksums.checksum_crc32c,
            checksum_crc64nvme: checksums.checksum_crc64nvme,
            checksum_sha1: checksums.checksum_sha1,
            checksum_sha256: checksums.checksum_sha256,
            e_tag: Some(etag(&record)),
            ..PutObjectOutput::default()
        })
    }
}

/// Why an upload was refused: what was wrong with the body says more than that it could not be read.
pub(super) fn refused(body: &UploadBody, error: StorageError) -> S3Error {
    body.fault().map_or_else(|| error::told(error), Fault::told)
}

/// Refuses a body that says itself that it is too large, before any of it is read.
pub(super) fn check_size(body: &UploadBody, bytes_max: u64) -> S3Result<()> {
    if body.announced() <= bytes_max {
        return Ok(());
    }
    Err(error::told(StorageError::TooLarge { bytes_max }))
}

/// What `Content-MD5` says.
pub(super) fn md5(header: Option<&str>) -> S3Result<Option<[u8; 16]>> {
    let Some(text) = header else {
        return Ok(None);
    };
    let bytes = STANDARD.decode(text.trim()).unwrap_or_default();
    <[u8; 16]>::try_from(bytes).map(Some).map_err(|_| {
        s3_error!(
            InvalidDigest,
            "Content-MD5 is not the base64 form of an MD5"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_md5_is_sixteen_bytes_in_base64() {
        assert_eq!(md5(None).ok(), Some(None));
        let empty = md5(Some("1B2M2Y8AsgTpgAmY7PhCfg==")).expect("good");
        assert_eq!(
            empty.map(hex::encode).as_deref(),
            Some("d41d8cd98f00b204e9800998ecf8427e")
        );
        for bad in ["", "x", "1B2M2Y8AsgTpgAmY7PhCfg", "AAAA"] {
            let error = md5(Some(bad)).expect_err("refused");
            assert_eq!(error.code().as_str(), "InvalidDigest", "{bad}");
        }
    }
}
