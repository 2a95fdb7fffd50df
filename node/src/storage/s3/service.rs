//! The operations of S3, each handed to the file that carries it out. What is not here is answered NotImplemented, by
//! name.

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use super::absent::{self, Setting, grants_in_headers};
use super::auth::Asked;
use super::buckets;
use super::door::S3Door;
use super::uploads::Surroundings;

/// Carries out an operation that looks at nothing of its request but the input, and signs its error.
macro_rules! carry_out {
    ($door:ident.$operation:ident, $request:expr) => {{
        let asked = Asked::of(&$request.extensions)?;
        asked.tell($door.$operation(&asked, $request.input).await)
    }};
}

/// Answers that there is no such setting.
macro_rules! is_missing {
    ($setting:expr, $request:expr) => {{
        let asked = Asked::of(&$request.extensions)?;
        asked.tell(Err($setting.missing()))
    }};
}

#[async_trait::async_trait]
impl S3 for S3Door {
    async fn list_buckets(
        &self,
        req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let asked = Asked::of(&req.extensions)?;
        asked.tell(self.list_buckets_of(&asked, req.input))
    }

    async fn head_bucket(
        &self,
        req: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        Asked::of(&req.extensions)?.tell(Ok(buckets::head()))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        Asked::of(&req.extensions)?.tell(Ok(buckets::location()))
    }

    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let asked = Asked::of(&req.extensions)?;
        let refused = self.creation(&asked, &req.input.bucket).await;
        asked.tell(Err(refused))
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        let refused = buckets::by_command("delete", &req.input.bucket);
        Asked::of(&req.extensions)?.tell(Err(refused))
    }

    async fn put_object(
        &self,
        req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let asked = Asked::of(&req.extensions)?;
        let (input, around) = Surroundings::of(req);
        asked.tell(self.put(&asked, input, around).await)
    }

    async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        carry_out!(self.get, req)
    }

    async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        carry_out!(self.head, req)
    }

    async fn get_object_attributes(
        &self,
        req: S3Request<GetObjectAttributesInput>,
    ) -> S3Result<S3Response<GetObjectAttributesOutput>> {
        carry_out!(self.attributes, req)
    }

    async fn copy_object(
        &self,
        req: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        carry_out!(self.copy, req)
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        carry_out!(self.delete, req)
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        carry_out!(self.delete_many, req)
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        carry_out!(self.list_v1, req)
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        carry_out!(self.list_v2, req)
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        carry_out!(self.begin, req)
    }

    async fn upload_part(
        &self,
        req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let asked = Asked::of(&req.extensions)?;
        let (input, around) = Surroundings::of(req);
        asked.tell(self.part(&asked, input, around).await)
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        carry_out!(self.part_copy, req)
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        carry_out!(self.complete, req)
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        carry_out!(self.abort, req)
    }

    async fn list_parts(
        &self,
        req: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        carry_out!(self.list_parts_of, req)
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        carry_out!(self.list_uploads, req)
    }

    async fn get_bucket_acl(
        &self,
        req: S3Request<GetBucketAclInput>,
    ) -> S3Result<S3Response<GetBucketAclOutput>> {
        Asked::of(&req.extensions)?.tell(Ok(absent::bucket_acl(&req.input.bucket)))
    }

    async fn get_object_acl(
        &self,
        req: S3Request<GetObjectAclInput>,
    ) -> S3Result<S3Response<GetObjectAclOutput>> {
        let asked = Asked::of(&req.extensions)?;
        let GetObjectAclInput {
            bucket,
            key,
            version_id,
            ..
        } = req.input;
        let object = self.object(&asked, &bucket, &key, version_id.as_deref());
        asked.tell(object.await.map(|_| absent::object_acl(&bucket)))
    }

    async fn put_bucket_acl(
        &self,
        req: S3Request<PutBucketAclInput>,
    ) -> S3Result<S3Response<PutBucketAclOutput>> {
        let canned = req.input.acl.as_ref().map(BucketCannedACL::as_str);
        let policy = req.input.access_control_policy.as_ref();
        let in_headers = grants_in_headers!(req.input);
        let checked = absent::check_acl(&req.input.bucket, canned, in_headers, policy);
        Asked::of(&req.extensions)?.tell(checked.map(|()| PutBucketAclOutput::default()))
    }

    async fn put_object_acl(
        &self,
        req: S3Request<PutObjectAclInput>,
    ) -> S3Result<S3Response<PutObjectAclOutput>> {
        let asked = Asked::of(&req.extensions)?;
        let input = req.input;
        let version = input.version_id.as_deref();
        let object = self.object(&asked, &input.bucket, &input.key, version);
        asked.tell(object.await.and_then(|_| {
            let canned = input.acl.as_ref().map(ObjectCannedACL::as_str);
            let policy = input.access_control_policy.as_ref();
            absent::check_acl(&input.bucket, canned, grants_in_headers!(input), policy)?;
            Ok(PutObjectAclOutput::default())
        }))
    }

    async fn get_object_tagging(
        &self,
        req: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let asked = Asked::of(&req.extensions)?;
        let GetObjectTaggingInput {
            bucket,
            key,
            version_id,
            ..
        } = req.input;
        let object = self.object(&asked, &bucket, &key, version_id.as_deref());
        asked.tell(object.await.map(|_| absent::object_tagging()))
    }

    async fn get_bucket_versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        Asked::of(&req.extensions)?.tell(Ok(absent::versioning()))
    }

    async fn get_bucket_policy(
        &self,
        req: S3Request<GetBucketPolicyInput>,
    ) -> S3Result<S3Response<GetBucketPolicyOutput>> {
        is_missing!(Setting::Policy, req)
    }

    async fn get_bucket_cors(
        &self,
        req: S3Request<GetBucketCorsInput>,
    ) -> S3Result<S3Response<GetBucketCorsOutput>> {
        is_missing!(Setting::Cors, req)
    }

    async fn get_bucket_lifecycle_configuration(
        &self,
        req: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
        is_missing!(Setting::Lifecycle, req)
    }

    async fn get_bucket_encryption(
        &self,
        req: S3Request<GetBucketEncryptionInput>,
    ) -> S3Result<S3Response<GetBucketEncryptionOutput>> {
        is_missing!(Setting::Encryption, req)
    }

    async fn get_bucket_website(
        &self,
        req: S3Request<GetBucketWebsiteInput>,
    ) -> S3Result<S3Response<GetBucketWebsiteOutput>> {
        is_missing!(Setting::Website, req)
    }

    async fn get_bucket_replication(
        &self,
        req: S3Request<GetBucketReplicationInput>,
    ) -> S3Result<S3Response<GetBucketReplicationOutput>> {
        is_missing!(Setting::Replication, req)
    }

    async fn get_bucket_tagging(
        &self,
        req: S3Request<GetBucketTaggingInput>,
    ) -> S3Result<S3Response<GetBucketTaggingOutput>> {
        is_missing!(Setting::Tags, req)
    }

    async fn get_object_lock_configuration(
        &self,
        req: S3Request<GetObjectLockConfigurationInput>,
    ) -> S3Result<S3Response<GetObjectLockConfigurationOutput>> {
        is_missing!(Setting::ObjectLock, req)
    }

    async fn get_bucket_ownership_controls(
        &self,
        req: S3Request<GetBucketOwnershipControlsInput>,
    ) -> S3Result<S3Response<GetBucketOwnershipControlsOutput>> {
        is_missing!(Setting::Ownership, req)
    }

    async fn get_public_access_block(
        &self,
        req: S3Request<GetPublicAccessBlockInput>,
    ) -> S3Result<S3Response<GetPublicAccessBlockOutput>> {
        is_missing!(Setting::PublicAccessBlock, req)
    }
}
