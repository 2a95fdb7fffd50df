//! What a client may ask for beside storing an object, and does not get: refused by name, rather than left out in silence.

use s3s::{S3Result, s3_error};

/// Such wishes of an input.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wishes<'a> {
    pub(super) acl: Option<&'a str>,
    pub(super) grants: bool,
    pub(super) encryption: bool,
    pub(super) lock: bool,
    pub(super) storage_class: Option<&'a str>,
    pub(super) tagging: Option<&'a str>,
    pub(super) redirect: bool,
}

/// The wishes of an input. The fields are called the same in all of them.
macro_rules! wishes {
    ($input:expr) => {
        $crate::storage::s3::wishes::Wishes {
            acl: $input.acl.as_ref().map(|acl| acl.as_str()),
            grants: $input.grant_full_control.is_some()
                || $input.grant_read.is_some()
                || $input.grant_read_acp.is_some()
                || $input.grant_write_acp.is_some(),
            encryption: $input.sse_customer_algorithm.is_some()
                || $input.sse_customer_key.is_some()
                || $input.ssekms_key_id.is_some()
                || $input.server_side_encryption.is_some(),
            lock: $input.object_lock_mode.is_some()
                || $input.object_lock_legal_hold_status.is_some()
                || $input.object_lock_retain_until_date.is_some(),
            storage_class: $input.storage_class.as_ref().map(|class| class.as_str()),
            tagging: $input.tagging.as_deref(),
            redirect: $input.website_redirect_location.is_some(),
        }
    };
}
pub(super) use wishes;

impl Wishes<'_> {
    /// Refuses what cannot be granted.
    pub(super) fn check(&self) -> S3Result<()> {
        if self.grants
            || !matches!(
                self.acl,
                None | Some("private" | "bucket-owner-full-control" | "bucket-owner-read")
            )
        {
            return Err(s3_error!(
                AccessControlListNotSupported,
                "objects are private: give out presigned addresses, or let the storage rules of the environment open them"
            ));
        }
        if self.encryption {
            return Err(s3_error!(
                NotImplemented,
                "server-side encryption is not implemented: encrypt the disks of the nodes, or the content before it is sent"
            ));
        }
        if self.lock {
            return Err(s3_error!(
                NotImplemented,
                "object lock is not implemented: leave the x-amz-object-lock headers out"
            ));
        }
        if !matches!(
            self.storage_class,
            None | Some("STANDARD" | "REDUCED_REDUNDANCY")
        ) {
            return Err(s3_error!(
                InvalidStorageClass,
                "there is one storage class, STANDARD"
            ));
        }
        if self.tagging.is_some_and(|tags| !tags.is_empty()) {
            return Err(s3_error!(
                NotImplemented,
                "tags are not implemented: use metadata"
            ));
        }
        if self.redirect {
            return Err(s3_error!(
                NotImplemented,
                "redirects of websites are not implemented"
            ));
        }
        Ok(())
    }
}

/// Refuses to read with a key of the client's.
pub(super) fn check_customer_key(algorithm: Option<&str>) -> S3Result<()> {
    match algorithm {
        None => Ok(()),
        Some(_) => Err(s3_error!(
            NotImplemented,
            "server-side encryption with keys of the client's is not implemented"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_is_granted_and_the_rest_named() {
        let refused = |wishes: Wishes<'_>| {
            wishes
                .check()
                .err()
                .map(|error| error.code().as_str().to_owned())
        };
        let none = Wishes::default();
        for granted in [
            none,
            Wishes {
                acl: Some("private"),
                ..none
            },
            Wishes {
                storage_class: Some("STANDARD"),
                ..none
            },
            Wishes {
                tagging: Some(""),
                ..none
            },
        ] {
            assert_eq!(refused(granted), None);
        }
        for (wishes, code) in [
            (
                Wishes {
                    acl: Some("public-read"),
                    ..none
                },
                "AccessControlListNotSupported",
            ),
            (
                Wishes {
                    grants: true,
                    ..none
                },
                "AccessControlListNotSupported",
            ),
            (
                Wishes {
                    encryption: true,
                    ..none
                },
                "NotImplemented",
            ),
            (Wishes { lock: true, ..none }, "NotImplemented"),
            (
                Wishes {
                    storage_class: Some("GLACIER"),
                    ..none
                },
                "InvalidStorageClass",
            ),
            (
                Wishes {
                    tagging: Some("a=b"),
                    ..none
                },
                "NotImplemented",
            ),
            (
                Wishes {
                    redirect: true,
                    ..none
                },
                "NotImplemented",
            ),
        ] {
            assert_eq!(refused(wishes).as_deref(), Some(code));
        }
    }
}
