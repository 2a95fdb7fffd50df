//! DeleteObject and DeleteObjects.

use futures::{StreamExt as _, stream};
use s3s::dto::{
    self, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput,
    DeletedObject, ETagCondition, ObjectIdentifier,
};
use s3s::{S3Result, s3_error};

use super::auth::Asked;
use super::conditions::of_match;
use super::door::S3Door;
use super::error;
use super::limits::{DELETE_KEYS_MAX, DELETES_AT_ONCE};
use crate::storage::files::Condition;
use crate::storage::path::FilePath;

impl S3Door {
    /// DeleteObject.
    pub(super) async fn delete(
        &self,
        asked: &Asked,
        input: DeleteObjectInput,
    ) -> S3Result<DeleteObjectOutput> {
        if input.if_match_size.is_some() || input.if_match_last_modified_time.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "a delete can only depend on the etag: use If-Match"
            ));
        }
        error::check_version(input.version_id.as_deref())?;
        let condition = input.if_match.as_ref().map_or(Condition::None, of_match);
        self.delete_one(asked, &input.bucket, &input.key, condition)
            .await?;
        Ok(DeleteObjectOutput::default())
    }

    /// DeleteObjects: each for itself, some at a time, answered in the order of the request.
    pub(super) async fn delete_many(
        &self,
        asked: &Asked,
        input: DeleteObjectsInput,
    ) -> S3Result<DeleteObjectsOutput> {
        let objects = input.delete.objects;
        if objects.is_empty() || objects.len() > DELETE_KEYS_MAX {
            return Err(s3_error!(
                MalformedXML,
                "a request deletes 1 to {DELETE_KEYS_MAX} keys"
            ));
        }
        let quiet = input.delete.quiet.unwrap_or(false);
        let bucket = input.bucket.as_str();
        let deletes: Vec<_> = objects
            .into_iter()
            .map(|object| self.delete_listed(asked, bucket, object))
            .collect();
        let outcomes: Vec<Result<DeletedObject, dto::Error>> = stream::iter(deletes)
            .buffered(DELETES_AT_ONCE)
            .collect()
            .await;
        let mut deleted = Vec::new();
        let mut errors = Vec::new();
        for outcome in outcomes {
            match outcome {
                Ok(_) if quiet => {}
                Ok(object) => deleted.push(object),
                Err(error) => errors.push(error),
            }
        }
        Ok(DeleteObjectsOutput {
            deleted: Some(deleted).filter(|deleted| !deleted.is_empty()),
            errors: Some(errors).filter(|errors| !errors.is_empty()),
            ..DeleteObjectsOutput::default()
        })
    }

    async fn delete_listed(
        &self,
        asked: &Asked,
        bucket: &str,
        object: ObjectIdentifier,
    ) -> Result<DeletedObject, dto::Error> {
        let outcome = async {
            if object.size.is_some() || object.last_modified_time.is_some() {
                return Err(s3_error!(
                    NotImplemented,
                    "a delete can only depend on the etag"
                ));
            }
            error::check_version(object.version_id.as_deref())?;
            let etag = object.e_tag.clone().map(ETagCondition::ETag);
            let condition = etag.as_ref().map_or(Condition::None, of_match);
            self.delete_one(asked, bucket, &object.key, condition).await
        };
        let outcome = outcome.await;
        match outcome {
            Ok(()) => Ok(DeletedObject {
                key: Some(object.key),
                ..DeletedObject::default()
            }),
            Err(error) => Err(dto::Error {
                code: Some(error.code().as_str().to_owned()),
                key: Some(object.key),
                message: error.message().map(str::to_owned),
                version_id: object.version_id,
            }),
        }
    }

    /// Whether there was one is not told, as in S3. A key that no object can have is one of an object that is not there.
    async fn delete_one(
        &self,
        asked: &Asked,
        bucket: &str,
        key: &str,
        condition: Condition,
    ) -> S3Result<()> {
        let Ok(path) = FilePath::parse(key) else {
            return Ok(());
        };
        let scope = asked.scope(bucket);
        let deleted = self.files.delete(&scope, &path, condition).await;
        deleted.map(drop).map_err(error::told)
    }
}
