//! What the operations of the S3 port share.

use std::sync::Arc;

use s3s::{S3Result, s3_error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::auth::{Asked, Keyring};
use super::error;
use crate::call::KeyDirectory;
use crate::cluster::map::SharedMap;
use crate::gateway::Clock;
use crate::storage::files::Files;
use crate::storage::record::FileRecord;

/// The region that this S3 says it is in, as every S3 must be in one. Requests may be signed for any.
pub(super) const REGION: &str = "us-east-1";

/// Files as buckets of S3: environments are buckets, paths are keys.
#[derive(Clone)]
pub struct S3Door {
    pub(super) files: Files,
    pub(super) keyring: Keyring,
    pub(super) map: SharedMap,
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
}

impl S3Door {
    /// A door to `files` for the keys of `keys`; `map` lists the environments.
    pub fn new(
        files: Files,
        keys: Arc<dyn KeyDirectory>,
        map: SharedMap,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (uploads, downloads) = (files.limits().uploads_max, files.limits().downloads_max);
        Self {
            files,
            keyring: Keyring::new(keys, clock),
            map,
            uploads: Arc::new(Semaphore::new(uploads)),
            downloads: Arc::new(Semaphore::new(downloads)),
        }
    }

    /// The right to one more upload.
    pub(super) fn upload_permit(&self) -> S3Result<OwnedSemaphorePermit> {
        self.uploads.clone().try_acquire_owned().map_err(|_| {
            s3_error!(
                SlowDown,
                "the node takes as many uploads as it may: try again shortly"
            )
        })
    }

    /// The right to one more download.
    pub(super) fn download_permit(&self) -> S3Result<OwnedSemaphorePermit> {
        self.downloads.clone().try_acquire_owned().map_err(|_| {
            s3_error!(
                SlowDown,
                "the node serves as many downloads as it may: try again shortly"
            )
        })
    }

    /// The object of a key.
    pub(super) async fn object(
        &self,
        asked: &Asked,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> S3Result<FileRecord> {
        error::check_version(version)?;
        let path = error::existing_path(key)?;
        let found = self.files.stat(&asked.scope(bucket), &path).await;
        found.map_err(error::told)?.ok_or_else(error::no_such_key)
    }
}

#[cfg(test)]
#[path = "door_test.rs"]
mod tests;
