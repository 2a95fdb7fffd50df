//! Questions about what buckets and objects do not have here, answered as S3 answers them for a bucket without: tools ask
//! before they do what they are for, and take these answers for what they say.

use axum::http::StatusCode;
use s3s::dto::{
    AccessControlPolicy, GetBucketAclOutput, GetBucketVersioningOutput, GetObjectAclOutput,
    GetObjectTaggingOutput, Grant, Grantee, Permission, Type,
};
use s3s::{S3Error, S3Result, s3_error};

use super::error::custom;
use super::listing::owner;
use super::wishes::Wishes;

/// GetBucketVersioning: never asked for.
pub(super) fn versioning() -> GetBucketVersioningOutput {
    GetBucketVersioningOutput::default()
}

/// GetObjectTagging: no tags.
pub(super) fn object_tagging() -> GetObjectTaggingOutput {
    GetObjectTaggingOutput {
        tag_set: Vec::new(),
        version_id: None,
    }
}

/// GetBucketAcl: whoever holds a key of the environment may do everything, nobody else anything.
pub(super) fn bucket_acl(bucket: &str) -> GetBucketAclOutput {
    GetBucketAclOutput {
        grants: Some(grants(bucket)),
        owner: Some(owner(bucket)),
    }
}

/// GetObjectAcl: as of its bucket.
pub(super) fn object_acl(bucket: &str) -> GetObjectAclOutput {
    GetObjectAclOutput {
        grants: Some(grants(bucket)),
        owner: Some(owner(bucket)),
        request_charged: None,
    }
}

fn grants(bucket: &str) -> Vec<Grant> {
    vec![Grant {
        grantee: Some(Grantee {
            display_name: Some(bucket.to_owned()),
            email_address: None,
            id: Some(bucket.to_owned()),
            type_: Type::from_static(Type::CANONICAL_USER),
            uri: None,
        }),
        permission: Some(Permission::from_static(Permission::FULL_CONTROL)),
    }]
}

/// Whether an input grants anything in headers. The fields are called the same in both.
macro_rules! grants_in_headers {
    ($input:expr) => {
        $input.grant_full_control.is_some()
            || $input.grant_read.is_some()
            || $input.grant_read_acp.is_some()
            || $input.grant_write.is_some()
            || $input.grant_write_acp.is_some()
    };
}
pub(super) use grants_in_headers;

/// PutBucketAcl and PutObjectAcl: some tools put back what they were told, and that is all that there is to put.
pub(super) fn check_acl(
    bucket: &str,
    canned: Option<&str>,
    in_headers: bool,
    policy: Option<&AccessControlPolicy>,
) -> S3Result<()> {
    Wishes {
        acl: canned,
        grants: in_headers,
        ..Wishes::default()
    }
    .check()?;
    let granted = policy.and_then(|policy| policy.grants.as_deref());
    let own = grants(bucket);
    let is_own = |grant: &Grant| {
        let id = |grant: &Grant| grant.grantee.as_ref().and_then(|to| to.id.clone());
        own.iter()
            .any(|own| own.permission == grant.permission && id(own) == id(grant))
    };
    if granted.unwrap_or_default().iter().all(is_own) {
        return Ok(());
    }
    Err(s3_error!(
        AccessControlListNotSupported,
        "objects are private: give out presigned addresses, or let the storage rules of the environment open them"
    ))
}

/// What a bucket may have in S3.
#[derive(Debug, Clone, Copy)]
pub(super) enum Setting {
    Policy,
    Cors,
    Lifecycle,
    Encryption,
    Website,
    Replication,
    Tags,
    ObjectLock,
    Ownership,
    PublicAccessBlock,
}

impl Setting {
    /// There is none.
    pub(super) fn missing(self) -> S3Error {
        let mut error = self.told();
        // One of them has another status in the tables of `s3s`.
        error.set_status_code(StatusCode::NOT_FOUND);
        error
    }

    fn told(self) -> S3Error {
        match self {
            Self::Policy => s3_error!(NoSuchBucketPolicy, "the bucket has no policy"),
            Self::Cors => s3_error!(
                NoSuchCORSConfiguration,
                "the bucket has no CORS configuration of its own"
            ),
            Self::Lifecycle => s3_error!(
                NoSuchLifecycleConfiguration,
                "the bucket has no lifecycle configuration"
            ),
            Self::Encryption => s3_error!(
                ServerSideEncryptionConfigurationNotFoundError,
                "the bucket has no encryption of its own"
            ),
            Self::Website => s3_error!(
                NoSuchWebsiteConfiguration,
                "the bucket has no website configuration"
            ),
            Self::Replication => s3_error!(
                ReplicationConfigurationNotFoundError,
                "the bucket has no replication to elsewhere"
            ),
            Self::Tags => s3_error!(NoSuchTagSet, "the bucket has no tags"),
            Self::ObjectLock => s3_error!(
                ObjectLockConfigurationNotFoundError,
                "the bucket has no object lock"
            ),
            Self::Ownership => s3_error!(
                OwnershipControlsNotFoundError,
                "the bucket has no ownership controls"
            ),
            Self::PublicAccessBlock => {
                let code = custom("NoSuchPublicAccessBlockConfiguration");
                S3Error::with_message(code, "nothing of the bucket is public, without a block")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_granted_anyway_can_be_granted() {
        let policy = |id: &str| {
            let mut grants = grants("demo");
            for grant in &mut grants {
                if let Some(to) = &mut grant.grantee {
                    to.id = Some(id.to_owned());
                }
            }
            AccessControlPolicy {
                grants: Some(grants),
                owner: None,
            }
        };
        assert!(check_acl("demo", None, false, None).is_ok());
        assert!(check_acl("demo", Some("private"), false, None).is_ok());
        assert!(check_acl("demo", None, false, Some(&policy("demo"))).is_ok());
        assert!(check_acl("demo", None, false, Some(&policy("another"))).is_err());
        assert!(check_acl("demo", Some("public-read"), false, None).is_err());
        assert!(check_acl("demo", None, true, None).is_err());
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for setting in [
            Setting::Policy,
            Setting::Cors,
            Setting::Lifecycle,
            Setting::Encryption,
            Setting::Website,
            Setting::Replication,
            Setting::Tags,
            Setting::ObjectLock,
            Setting::Ownership,
            Setting::PublicAccessBlock,
        ] {
            let status = setting
                .missing()
                .status_code()
                .map(|status| status.as_u16());
            assert_eq!(status, Some(404), "{setting:?}");
        }
    }
}
