//! Deleted files: kept for a while, listed, and brought back.

use super::error::{StorageError, StorageResult};
use super::files::{Files, Scope};
use super::limits::LIST_FILES_MAX;
use super::record::{DELETED_FILES, DeletedRecord, FILES, FileRecord};
use super::store::Changes;

/// A page of deleted files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeletedPage {
    /// In no order that means anything.
    pub files: Vec<DeletedRecord>,
    /// Where the next page begins; `None` = this is the last.
    pub next: Option<String>,
}

impl Files {
    /// Deleted files whose paths begin with `prefix`, behind the `next` of an earlier page.
    pub async fn deleted(
        &self,
        scope: &Scope,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> StorageResult<DeletedPage> {
        let limit = limit.clamp(1, LIST_FILES_MAX);
        let mut page = DeletedPage::default();
        let mut after = after.to_owned();
        loop {
            let filter = bson::doc! { "_id": { "$gt": &after } };
            let found = self
                .inner()
                .store
                .page::<DeletedRecord>(
                    scope,
                    DELETED_FILES,
                    filter,
                    &["file.content"],
                    Vec::new(),
                    limit,
                )
                .await?;
            for deleted in found.records {
                if page.files.len() >= limit {
                    page.next = Some(after);
                    return Ok(page);
                }
                after.clone_from(&deleted.id);
                if deleted.path.starts_with(prefix) {
                    page.files.push(deleted);
                }
            }
            if found.next.is_empty() {
                return Ok(page);
            }
        }
    }

    /// Brings a deleted file back, by its version. Refused when there is a file of its path by now.
    pub async fn restore(&self, scope: &Scope, version: &str) -> StorageResult<FileRecord> {
        let (blobs, store) = (&self.inner().blobs, &self.inner().store);
        let found = store.get::<DeletedRecord>(scope, DELETED_FILES, version);
        let Some(kept) = found.await? else {
            return Err(StorageError::NotFound(version.to_owned()));
        };
        let file = kept.record.file.clone();
        // Collection reads the deleted files after the others: it may look for this one in both places at the wrong times.
        let pinned = blobs.begin();
        self.pin_content(pinned.upload(), &file.content).await?;
        let mut changes = Changes::default();
        changes.expect(DELETED_FILES, version, &kept);
        changes.expect_none(FILES, &file.path);
        changes.remove(DELETED_FILES, version);
        changes.put(FILES, &file.path, &file)?;
        match store.commit(scope, changes).await? {
            true => Ok(file),
            false => Err(StorageError::Exists(file.path)),
        }
    }
}
