//! Uploads in parts: each part is stored by itself, in any order and by any node; completing the upload makes a file of them
//! without moving a byte.

use std::collections::BTreeMap;
use std::ops::Range;

use md5::{Digest as _, Md5};
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::blobs::WriteOptions;
use super::error::{StorageError, StorageResult};
use super::files::{Condition, Files, NewFile, Scope, check};
use super::limits::PARTS_MAX;
use super::record::{Content, FileRecord, PARTS, PartRecord, UPLOADS, UploadRecord};

/// Part records of one page, with their contents.
const PAGE: usize = 64;

impl Files {
    /// Begins an upload. `new.condition` and what concerns the content are not looked at.
    pub async fn begin_upload(&self, scope: &Scope, new: NewFile) -> StorageResult<UploadRecord> {
        check(&new)?;
        let file = self.record(&new, 0, String::new(), Content::default())?;
        let upload = UploadRecord {
            id: file.version,
            path: file.path,
            content_type: file.content_type,
            owner: file.owner,
            metadata: file.metadata,
            begun_at: self.now(),
        };
        self.inner().store.insert(scope, UPLOADS, &upload).await?;
        Ok(upload)
    }

    /// An upload that goes on.
    pub async fn upload(&self, scope: &Scope, upload: &str) -> StorageResult<UploadRecord> {
        let found = self.inner().store.get(scope, UPLOADS, upload).await?;
        found
            .map(|kept| kept.record)
            .ok_or_else(|| StorageError::NoSuchUpload(upload.to_owned()))
    }

    /// Stores a part, in the place of an earlier one of its number.
    pub async fn put_part(
        &self,
        scope: &Scope,
        upload: &str,
        number: u32,
        body: impl AsyncRead + Send + Unpin,
        md5: Option<[u8; 16]>,
        bytes_max: u64,
    ) -> StorageResult<PartRecord> {
        check_number(number)?;
        self.upload(scope, upload).await?;
        let options = WriteOptions {
            bytes_max: bytes_max.min(self.limits().file_bytes_max),
            md5: true,
        };
        let written = self.inner().blobs.write(body, options).await?;
        if md5.is_some() && md5 != written.md5 {
            return Err(StorageError::BadContent(
                "the part has another MD5 than was announced: send it again".to_owned(),
            ));
        }
        let part = PartRecord {
            id: part_id(upload, number),
            upload: upload.to_owned(),
            number: i64::from(number),
            size: i64::try_from(written.bytes).map_err(|_| StorageError::TooLarge { bytes_max })?,
            etag: hex::encode(written.md5.unwrap_or_default()),
            stored_at: self.now(),
            content: written.content,
        };
        let filter = bson::doc! { "_id": &part.id };
        let store = &self.inner().store;
        store
            .replace(scope, PARTS, &part.id, filter, &part, true)
            .await?;
        // Given up meanwhile: the part would stay behind.
        if let Err(error) = self.upload(scope, upload).await {
            let filter = bson::doc! { "_id": &part.id };
            store.remove_all(scope, PARTS, filter).await?;
            return Err(error);
        }
        Ok(part)
    }

    /// Stores a range of a file as a part. Its bytes are read and cut anew: only whole chunks could be named.
    pub async fn copy_part(
        &self,
        scope: &Scope,
        upload: &str,
        number: u32,
        from: &FileRecord,
        range: Range<u64>,
    ) -> StorageResult<PartRecord> {
        let bytes_max = range.end.saturating_sub(range.start);
        let body = StreamReader::new(IoBody(self.open(from, range)));
        self.put_part(scope, upload, number, body, None, bytes_max)
            .await
    }

    /// Parts of an upload behind number `after`, without their content.
    pub async fn parts(
        &self,
        scope: &Scope,
        upload: &str,
        after: u32,
        limit: usize,
    ) -> StorageResult<Vec<PartRecord>> {
        let filter = bson::doc! { "_id": {
            "$gt": part_id(upload, after), "$lte": part_id(upload, PARTS_MAX),
        } };
        let mut parts = Vec::new();
        let mut next = Vec::new();
        loop {
            let wanted = limit.saturating_sub(parts.len());
            if wanted == 0 {
                return Ok(parts);
            }
            let page = self
                .inner()
                .store
                .page(scope, PARTS, filter.clone(), &["content"], next, wanted)
                .await?;
            parts.extend(page.records);
            if page.next.is_empty() {
                return Ok(parts);
            }
            next = page.next;
        }
    }

    /// Uploads that go on, by id.
    pub async fn uploads(
        &self,
        scope: &Scope,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> StorageResult<Vec<UploadRecord>> {
        let mut uploads: Vec<UploadRecord> = Vec::new();
        let mut next = Vec::new();
        while uploads.len() < limit {
            let page = self
                .inner()
                .store
                .page::<UploadRecord>(
                    scope,
                    UPLOADS,
                    bson::doc! { "_id": { "$gt": after } },
                    &[],
                    next,
                    limit,
                )
                .await?;
            let wanted = page.records.into_iter();
            uploads.extend(wanted.filter(|upload| upload.path.starts_with(prefix)));
            if page.next.is_empty() {
                break;
            }
            next = page.next;
        }
        uploads.truncate(limit);
        Ok(uploads)
    }

    /// Makes a file of parts, given by ascending number with the etags that the caller knows.
    pub async fn complete_upload(
        &self,
        scope: &Scope,
        upload: &str,
        parts: &[(u32, String)],
        condition: Condition,
    ) -> StorageResult<FileRecord> {
        let record = self.upload(scope, upload).await?;
        if parts.is_empty() || !parts.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(StorageError::Invalid(
                "an upload is completed with at least one part, by ascending numbers".to_owned(),
            ));
        }
        let stored = self.stored_parts(scope, upload).await?;
        let inner = self.inner();
        let pinned = inner.blobs.begin();
        let mut content = inner.blobs.build(pinned.upload());
        let mut digest = Md5::new();
        for (number, etag) in parts {
            let part = stored.get(&i64::from(*number));
            let part = part.filter(|part| part.etag.eq_ignore_ascii_case(etag));
            let part = part.ok_or_else(|| {
                StorageError::BadContent(format!("part {number} is not there, or has another etag"))
            })?;
            self.pin_content(pinned.upload(), &part.content).await?;
            let mut chunks = inner.blobs.parts(&part.content)?;
            while let Some((_, pieces)) = chunks.next().await? {
                for piece in pieces {
                    content.push(piece).await?;
                }
            }
            digest.update(hex::decode(&part.etag).unwrap_or_default());
        }
        if content.bytes() > self.limits().file_bytes_max {
            return Err(StorageError::TooLarge {
                bytes_max: self.limits().file_bytes_max,
            });
        }
        let etag = format!("{}-{}", hex::encode(digest.finalize()), parts.len());
        let built = content.finish().await?;
        let new = NewFile {
            path: super::FilePath::parse(&record.path)?,
            content_type: Some(record.content_type),
            metadata: record.metadata,
            owner: record.owner,
            condition,
            md5_etag: true,
            md5: None,
            bytes_max: u64::MAX,
        };
        let file = self.record(&new, built.bytes, etag, built.content)?;
        self.commit(scope, &file, &new.condition).await?;
        self.forget_upload(scope, upload).await?;
        Ok(file)
    }

    /// Gives an upload up.
    pub async fn abort_upload(&self, scope: &Scope, upload: &str) -> StorageResult<()> {
        self.upload(scope, upload).await?;
        self.forget_upload(scope, upload).await
    }

    /// The upload first: a part that is on its way finds that it is gone.
    async fn forget_upload(&self, scope: &Scope, upload: &str) -> StorageResult<()> {
        let store = &self.inner().store;
        let filter = bson::doc! { "_id": upload };
        store.remove_all(scope, UPLOADS, filter).await?;
        let filter = bson::doc! { "upload": upload };
        Ok(store.remove_all(scope, PARTS, filter).await?)
    }

    async fn stored_parts(
        &self,
        scope: &Scope,
        upload: &str,
    ) -> StorageResult<BTreeMap<i64, PartRecord>> {
        let filter = bson::doc! { "_id": {
            "$gte": part_id(upload, 0), "$lte": part_id(upload, PARTS_MAX),
        } };
        let mut parts = BTreeMap::new();
        let mut next = Vec::new();
        loop {
            let page = self
                .inner()
                .store
                .page::<PartRecord>(scope, PARTS, filter.clone(), &[], next, PAGE)
                .await?;
            parts.extend(page.records.into_iter().map(|part| (part.number, part)));
            if page.next.is_empty() {
                return Ok(parts);
            }
            next = page.next;
        }
    }

    fn now(&self) -> bson::DateTime {
        bson::DateTime::from_millis(self.inner().clock.now_unix_ms())
    }
}

fn check_number(number: u32) -> StorageResult<()> {
    if (1..=PARTS_MAX).contains(&number) {
        return Ok(());
    }
    Err(StorageError::Invalid(format!(
        "parts have numbers from 1 to {PARTS_MAX}"
    )))
}

/// Of equal length, so that ids are in the order of numbers.
fn part_id(upload: &str, number: u32) -> String {
    format!("{upload}/{number:05}")
}

/// A content as what readers read from.
struct IoBody(super::FileBody);

impl futures::Stream for IoBody {
    type Item = std::io::Result<bytes::Bytes>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0
            .as_mut()
            .poll_next(context)
            .map(|next| next.map(|part| part.map_err(std::io::Error::other)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_in_the_order_of_their_numbers() {
        let ids: Vec<String> = [1, 2, 10, 9999, PARTS_MAX].map(|n| part_id("u", n)).into();
        assert!(ids.is_sorted());
        assert!(check_number(0).is_err() && check_number(PARTS_MAX + 1).is_err());
        assert!(check_number(1).is_ok() && check_number(PARTS_MAX).is_ok());
    }
}
