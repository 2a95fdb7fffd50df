//! Every content that an environment names, page by page: for those who look after chunks.

use super::error::StorageResult;
use super::files::Scope;
use super::record::{Content, DELETED_FILES, DeletedRecord, FILES, FileRecord, PARTS, PartRecord};
use super::store::{FileStore, NAMING_CHUNKS};

/// Manifests of a page: up to 150 kB each.
const PAGE: usize = 64;

/// Reads manifests.
#[derive(Clone)]
pub struct Manifests {
    store: FileStore,
}

/// The contents of one environment.
pub struct Contents<'a> {
    manifests: &'a Manifests,
    scope: Scope,
    /// The collection that is being read, by its place.
    collection: usize,
    after: Vec<u8>,
}

impl Manifests {
    pub(super) fn new(store: FileStore) -> Self {
        Self { store }
    }

    /// All contents of an environment: of files, of parts of uploads, and of deleted files that can be restored.
    pub fn contents(&self, env: &str) -> Contents<'_> {
        Contents {
            manifests: self,
            scope: Scope {
                env: env.to_owned(),
                request_id: "manifests".to_owned(),
            },
            collection: 0,
            after: Vec::new(),
        }
    }
}

impl Contents<'_> {
    /// The next ones, each with what it belongs to; `None` at the end. An error means that something is not known: whoever
    /// deletes what is not named must stop then.
    pub async fn next(&mut self) -> StorageResult<Option<Vec<(String, Content)>>> {
        while let Some(collection) = NAMING_CHUNKS.get(self.collection) {
            let (page, next) = self.page(collection).await?;
            if next.is_empty() {
                self.collection += 1;
            }
            self.after = next;
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    async fn page(&self, collection: &str) -> StorageResult<(Vec<(String, Content)>, Vec<u8>)> {
        let after = self.after.clone();
        let filter = bson::Document::new();
        let (store, scope) = (&self.manifests.store, &self.scope);
        Ok(match collection {
            PARTS => {
                let page = store
                    .page::<PartRecord>(scope, PARTS, filter, &[], after, PAGE)
                    .await?;
                let named = page.records.into_iter();
                (
                    named.map(|part| (part.id, part.content)).collect(),
                    page.next,
                )
            }
            DELETED_FILES => {
                let page = store
                    .page::<DeletedRecord>(scope, DELETED_FILES, filter, &[], after, PAGE)
                    .await?;
                let named = page.records.into_iter();
                let named = named.map(|deleted| (deleted.path, deleted.file.content));
                (named.collect(), page.next)
            }
            _ => {
                let page = store
                    .page::<FileRecord>(scope, FILES, filter, &[], after, PAGE)
                    .await?;
                let named = page.records.into_iter();
                (
                    named.map(|file| (file.path, file.content)).collect(),
                    page.next,
                )
            }
        })
    }
}
