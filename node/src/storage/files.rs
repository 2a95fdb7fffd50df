//! What every surface calls. Nothing here knows a protocol, a token or a rule: surfaces ask `access` first.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use tokio::io::AsyncRead;
use yunbase_chunkstore::{ChunkHash, UploadId};

use super::blobs::audit::{Auditor, VerifyReport};
use super::blobs::collect::Collector;
use super::blobs::{Blobs, WriteOptions};
use super::error::{StorageError, StorageResult};
use super::limits::{CONTENT_TYPE_BYTES_MAX, METADATA_BYTES_MAX, StorageLimits};
use super::manifests::Manifests;
use super::path::FilePath;
use super::record::{Content, DELETED_FILES, DeletedRecord, FILES, FileRecord};
use super::store::{Changes, FileStore};
use crate::call::Execute;
use crate::cluster::map::SharedMap;
use crate::gateway::Clock;

/// Which environment, and under which request id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The environment.
    pub env: String,
    /// Travels through logs and into every error.
    pub request_id: String,
}

/// What must be so for a change to take place, in the instant in which it does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// There is no file of this name.
    Absent,
    /// The file of this name has this version.
    Version(String),
    /// It has this etag; `*` = whatever etag.
    Etag(String),
}

/// A file to be.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Its name.
    pub path: FilePath,
    /// Media type; `None` = by the ending of the name.
    pub content_type: Option<String>,
    /// What is to be said about it.
    pub metadata: BTreeMap<String, String>,
    /// The openid of the user that it shall belong to.
    pub owner: Option<String>,
    /// What must be so at the end.
    pub condition: Condition,
    /// Whether the etag is the MD5 of the content, which S3 tools compare, rather than what costs less.
    pub md5_etag: bool,
    /// What the MD5 of the content must be.
    pub md5: Option<[u8; 16]>,
    /// Most bytes.
    pub bytes_max: u64,
}

/// Content of a file, piece by piece.
pub type FileBody = Pin<Box<dyn Stream<Item = StorageResult<Bytes>> + Send>>;

/// Files of all environments. Clones are the same.
#[derive(Clone)]
pub struct Files {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) blobs: Blobs,
    pub(super) store: FileStore,
    pub(super) auditor: Arc<Auditor>,
    pub(super) collector: Arc<Collector>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limits: StorageLimits,
}

/// How a file is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileDetail {
    /// Chunks that it consists of.
    pub chunks: u64,
    /// Different ones.
    pub unique_chunks: u64,
    /// Bytes of the different ones.
    pub unique_bytes: u64,
    /// What they take on a disk, where this node has them.
    pub stored_bytes: u64,
    /// The fewest intact copies that one of them has.
    pub replicas_min: u32,
    /// Copies that each shall have.
    pub replicas_wanted: u32,
    /// Copies by node.
    pub holders: BTreeMap<u64, u64>,
}

/// Attempts at a change that others keep changing things for.
const ATTEMPTS_MAX: usize = 8;
/// Chunks that are kept for an upload with one step.
pub(super) const PIN_STEP: usize = 4096;

impl Files {
    /// Files over `execute`, whose chunks are `blobs`.
    pub fn new(
        execute: Arc<dyn Execute>,
        blobs: Blobs,
        map: SharedMap,
        clock: Arc<dyn Clock>,
        limits: StorageLimits,
        grace: Duration,
    ) -> Self {
        let store = FileStore::new(
            execute,
            limits.request_timeout,
            limits.retention,
            limits.parts_life,
        );
        let manifests = Manifests::new(store.clone());
        let auditor = Arc::new(Auditor::new(blobs.clone(), manifests.clone(), map.clone()));
        let collector = Collector::new(blobs.clone(), manifests, map, clock.clone(), grace);
        let collector = Arc::new(collector);
        Self {
            inner: Arc::new(Inner {
                blobs,
                store,
                auditor,
                collector,
                clock,
                limits,
            }),
        }
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Its bounds.
    pub fn limits(&self) -> &StorageLimits {
        &self.inner.limits
    }

    /// Their chunks.
    pub fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// What looks for missing copies.
    pub fn auditor(&self) -> &Arc<Auditor> {
        &self.inner.auditor
    }

    /// What deletes chunks that nothing names.
    pub fn collector(&self) -> &Arc<Collector> {
        &self.inner.collector
    }

    /// Stores a content under a name, replacing what is there.
    pub async fn put(
        &self,
        scope: &Scope,
        new: NewFile,
        body: impl AsyncRead + Send + Unpin,
    ) -> StorageResult<FileRecord> {
        check(&new)?;
        let options = WriteOptions {
            bytes_max: new.bytes_max.min(self.inner.limits.file_bytes_max),
            md5: new.md5_etag || new.md5.is_some(),
        };
        let written = self.inner.blobs.write(body, options).await?;
        if new.md5.is_some() && new.md5 != written.md5 {
            return Err(StorageError::BadContent(
                "the content has another MD5 than was announced: send it again".to_owned(),
            ));
        }
        let etag = match written.md5 {
            Some(md5) if new.md5_etag => hex::encode(md5),
            _ => written.digest,
        };
        let record = self.record(&new, written.bytes, etag, written.content)?;
        self.commit(scope, &record, &new.condition).await?;
        Ok(record)
    }

    /// What is known of a file.
    pub async fn stat(&self, scope: &Scope, path: &FilePath) -> StorageResult<Option<FileRecord>> {
        let found = self.inner.store.get(scope, FILES, path.as_str()).await?;
        Ok(found.map(|kept| kept.record))
    }

    /// The bytes `range` of a file as `record` knows it. The range lies within the file.
    pub fn open(&self, record: &FileRecord, range: Range<u64>) -> FileBody {
        Box::pin(self.inner.blobs.read(&record.content, range))
    }

    /// Deletes a file; `false` when there was none. It can be restored for a while.
    pub async fn delete(
        &self,
        scope: &Scope,
        path: &FilePath,
        condition: Condition,
    ) -> StorageResult<bool> {
        for _ in 0..ATTEMPTS_MAX {
            let found = self
                .inner
                .store
                .get::<FileRecord>(scope, FILES, path.as_str())
                .await?;
            let Some(kept) = found else {
                return match condition {
                    Condition::None | Condition::Absent => Ok(false),
                    Condition::Version(_) | Condition::Etag(_) => {
                        Err(StorageError::ConditionFailed(path.to_string()))
                    }
                };
            };
            if !holds(&condition, &kept.record) {
                return Err(StorageError::ConditionFailed(path.to_string()));
            }
            let deleted = DeletedRecord {
                // Two deletions of one version would be the same record: the second finds nothing to delete.
                id: kept.record.version.clone(),
                path: path.to_string(),
                deleted_at: bson::DateTime::from_millis(self.inner.clock.now_unix_ms()),
                file: kept.record.clone(),
            };
            let mut changes = Changes::default();
            changes.expect(FILES, path.as_str(), &kept);
            changes.remove(FILES, path.as_str());
            if !self.inner.limits.retention.is_zero() {
                changes.put(DELETED_FILES, &deleted.id, &deleted)?;
            }
            if self.inner.store.commit(scope, changes).await? {
                return Ok(true);
            }
        }
        Err(busy(path))
    }

    /// Another name for the content of `from`; no content moves.
    pub async fn copy(
        &self,
        scope: &Scope,
        from: &FileRecord,
        new: NewFile,
    ) -> StorageResult<FileRecord> {
        check(&new)?;
        let pinned = self.inner.blobs.begin();
        self.pin_content(pinned.upload(), &from.content).await?;
        let record = self.record(&new, from.bytes(), from.etag.clone(), from.content.clone())?;
        self.commit(scope, &record, &new.condition).await?;
        Ok(record)
    }

    /// Where the chunks of a file are, and what of it is stored once.
    pub async fn describe(&self, record: &FileRecord) -> StorageResult<FileDetail> {
        let mut detail = FileDetail {
            replicas_wanted: self.inner.blobs.layout().get().copies() as u32,
            ..FileDetail::default()
        };
        let mut sizes: HashMap<ChunkHash, u32> = HashMap::new();
        let mut parts = self.inner.blobs.parts(&record.content)?;
        while let Some((_, pieces)) = parts.next().await? {
            detail.chunks += pieces.len() as u64;
            sizes.extend(pieces.iter().map(|piece| (piece.hash, piece.bytes)));
        }
        detail.unique_chunks = sizes.len() as u64;
        detail.unique_bytes = sizes.values().map(|bytes| u64::from(*bytes)).sum();
        let mut fewest = None;
        let hashes: Vec<ChunkHash> = sizes.into_keys().collect();
        for part in hashes.chunks(PIN_STEP) {
            let infos = self.inner.blobs.store().infos(part.to_vec()).await;
            let infos = infos.map_err(|error| StorageError::Unavailable(error.to_string()))?;
            let stored = infos.into_iter().flatten();
            detail.stored_bytes += stored.map(|info| u64::from(info.stored_bytes)).sum::<u64>();
            let copies = self.inner.blobs.copies(part).await;
            for hash in part {
                let holders = copies.get(hash).map(Vec::as_slice).unwrap_or_default();
                let count = u32::try_from(holders.len()).unwrap_or(u32::MAX);
                fewest = Some(fewest.map_or(count, |fewest: u32| fewest.min(count)));
                for holder in holders {
                    *detail.holders.entry(*holder).or_default() += 1;
                }
            }
        }
        // An empty file has nothing that could be missing.
        detail.replicas_min = fewest.unwrap_or(detail.replicas_wanted);
        Ok(detail)
    }

    /// Checks every content of an environment against the holders of its chunks, has what is missing repaired, and counts
    /// what nodes keep that nothing names. With `deep` every copy is read.
    pub async fn verify(
        &self,
        scope: &Scope,
        deep: bool,
        progress: impl FnMut(&VerifyReport) + Send,
    ) -> StorageResult<VerifyReport> {
        let auditor = &self.inner.auditor;
        let mut report = auditor.verify(&scope.env, deep, progress).await?;
        auditor
            .count_unnamed(&self.inner.collector, &mut report)
            .await;
        Ok(report)
    }

    /// Keeps all chunks of a content for an upload, which counts as a put; an error when one is not there any more.
    pub(super) async fn pin_content(
        &self,
        upload: UploadId,
        content: &Content,
    ) -> StorageResult<()> {
        let mut parts = self.inner.blobs.parts(content)?;
        while let Some((list, pieces)) = parts.next().await? {
            let named = pieces.iter().map(|piece| piece.hash);
            let hashes: Vec<ChunkHash> = named.chain(list).collect();
            if self.missing(upload, &hashes).await?.contains(&true) {
                return Err(StorageError::Unavailable(
                    "some chunks of the file are on too few nodes at this moment: try again shortly"
                        .to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// The manifest of a file to be.
    pub(super) fn record(
        &self,
        new: &NewFile,
        bytes: u64,
        etag: String,
        content: Content,
    ) -> StorageResult<FileRecord> {
        Ok(FileRecord {
            path: new.path.to_string(),
            size: i64::try_from(bytes).map_err(|_| StorageError::TooLarge {
                bytes_max: self.inner.limits.file_bytes_max,
            })?,
            content_type: new
                .content_type
                .clone()
                .unwrap_or_else(|| media_type(&new.path)),
            etag,
            version: hex::encode(rand::random::<[u8; 16]>()),
            owner: new.owner.clone(),
            metadata: new.metadata.clone(),
            modified_at_ms: self.inner.clock.now_unix_ms(),
            content,
        })
    }

    /// Makes a file be what `record` says, if the condition holds.
    pub(super) async fn commit(
        &self,
        scope: &Scope,
        record: &FileRecord,
        condition: &Condition,
    ) -> StorageResult<()> {
        let (store, path) = (&self.inner.store, record.path.as_str());
        let failed = || Err(StorageError::ConditionFailed(path.to_owned()));
        let filter = match condition {
            Condition::Absent => {
                return match store.insert(scope, FILES, record).await? {
                    true => Ok(()),
                    false => Err(StorageError::Exists(path.to_owned())),
                };
            }
            Condition::None => bson::doc! { "_id": path },
            Condition::Version(version) => bson::doc! { "_id": path, "version": version },
            Condition::Etag(etag) if etag == "*" => bson::doc! { "_id": path },
            Condition::Etag(etag) => bson::doc! { "_id": path, "etag": etag },
        };
        let or_add = *condition == Condition::None;
        match store
            .replace(scope, FILES, path, filter, record, or_add)
            .await?
        {
            true => Ok(()),
            false => failed(),
        }
    }
}

fn holds(condition: &Condition, record: &FileRecord) -> bool {
    match condition {
        Condition::None => true,
        Condition::Absent => false,
        Condition::Version(version) => *version == record.version,
        Condition::Etag(etag) => etag == "*" || *etag == record.etag,
    }
}

pub(super) fn busy(path: &FilePath) -> StorageError {
    StorageError::Unavailable(format!(
        "`{path}` is being changed by others all the time: try again shortly"
    ))
}

/// Refuses what no manifest may say.
pub(super) fn check(new: &NewFile) -> StorageResult<()> {
    let bytes: usize = new
        .metadata
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > METADATA_BYTES_MAX {
        return Err(StorageError::Invalid(format!(
            "the metadata of a file may have {METADATA_BYTES_MAX} bytes; this has {bytes}"
        )));
    }
    let is_text = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    match &new.content_type {
        Some(kind)
            if kind.is_empty()
                || kind.len() > CONTENT_TYPE_BYTES_MAX
                || !kind.bytes().all(is_text) =>
        {
            Err(StorageError::Invalid(
                "the content type is no media type".to_owned(),
            ))
        }
        _ => Ok(()),
    }
}

/// By the ending of the name.
fn media_type(path: &FilePath) -> String {
    mime_guess::from_path(path.as_str())
        .first_raw()
        .unwrap_or("application/octet-stream")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_come_from_names() {
        let kind = |path| media_type(&FilePath::parse(path).expect("good"));
        assert_eq!(kind("a/b.png"), "image/png");
        assert_eq!(kind("a.txt"), "text/plain");
        assert_eq!(kind("a"), "application/octet-stream");
    }
}
