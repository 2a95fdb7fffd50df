//! CopyObject: another name for a content. Nothing of the content moves.

use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, MetadataDirective,
};
use s3s::{S3Result, s3_error};

use super::auth::Asked;
use super::conditions::{conditions, etag};
use super::door::S3Door;
use super::headers::{carried, kept};
use super::wishes::{check_customer_key, wishes};
use super::{error, moment};
use crate::storage::files::{Condition, NewFile};
use crate::storage::record::FileRecord;

impl S3Door {
    /// CopyObject.
    pub(super) async fn copy(
        &self,
        asked: &Asked,
        mut input: CopyObjectInput,
    ) -> S3Result<CopyObjectOutput> {
        wishes!(input).check()?;
        check_customer_key(input.copy_source_sse_customer_algorithm.as_deref())?;
        let path = error::path(&input.key)?;
        let replaces = replaces_metadata(input.metadata_directive.as_ref())?;
        let (bucket, from) = self.source(asked, &input.copy_source).await?;
        conditions!(source of input).check_copy(&from)?;
        let is_itself = bucket == input.bucket && from.path == input.key;
        if is_itself && !replaces {
            return Err(s3_error!(
                InvalidRequest,
                "an object can only be copied onto itself to replace its metadata: set x-amz-metadata-directive to REPLACE"
            ));
        }
        let (content_type, metadata) = if replaces {
            let metadata = carried(input.metadata.take(), kept!(input))?;
            (input.content_type, metadata)
        } else {
            (Some(from.content_type.clone()), from.metadata.clone())
        };
        let new = NewFile {
            path,
            content_type,
            metadata,
            // Whose it was it stays; a copy belongs to nobody but the environment.
            owner: from.owner.clone().filter(|_| is_itself),
            condition: Condition::None,
            md5_etag: true,
            md5: None,
            bytes_max: self.files.limits().file_bytes_max,
        };
        let scope = asked.scope(&input.bucket);
        let copied = self.files.copy(&scope, &from, new).await;
        let record = copied.map_err(error::told)?;
        Ok(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag: Some(etag(&record)),
                last_modified: Some(moment::of_ms(record.modified_at_ms)),
                ..CopyObjectResult::default()
            }),
            ..CopyObjectOutput::default()
        })
    }

    /// The object that is to be copied, and its bucket, which the key must open too.
    pub(super) async fn source(
        &self,
        asked: &Asked,
        source: &CopySource,
    ) -> S3Result<(String, FileRecord)> {
        let CopySource::Bucket {
            bucket,
            key,
            version_id,
        } = source
        else {
            return Err(s3_error!(
                NotImplemented,
                "there are no access points: name the source as `bucket/key`"
            ));
        };
        self.keyring.check_bucket(asked, bucket).await?;
        let record = self
            .object(asked, bucket, key, version_id.as_deref())
            .await?;
        Ok((bucket.to_string(), record))
    }
}

fn replaces_metadata(directive: Option<&MetadataDirective>) -> S3Result<bool> {
    match directive.map(MetadataDirective::as_str) {
        None | Some(MetadataDirective::COPY) => Ok(false),
        Some(MetadataDirective::REPLACE) => Ok(true),
        Some(_) => Err(s3_error!(
            InvalidArgument,
            "x-amz-metadata-directive is COPY or REPLACE"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_copied_unless_it_is_replaced() {
        let of = |text: &str| {
            let directive = MetadataDirective::from(text.to_owned());
            replaces_metadata(Some(&directive)).ok()
        };
        assert_eq!(replaces_metadata(None).ok(), Some(false));
        assert_eq!(of("COPY"), Some(false));
        assert_eq!(of("REPLACE"), Some(true));
        assert_eq!(of("replace"), None);
    }
}
