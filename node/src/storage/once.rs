//! Upload once: a caller that cuts a file itself asks which chunks are missing and sends only those.

use yunbase_chunkstore::{Chunk, ChunkHash, UploadId};

use super::error::{StorageError, StorageResult};
use super::files::{Files, NewFile, PIN_STEP, Scope, check};
use super::record::{FileRecord, Piece};

impl Files {
    /// Which of these chunks have to be sent: the others are durable, and kept for `upload`.
    pub async fn missing(
        &self,
        upload: UploadId,
        hashes: &[ChunkHash],
    ) -> StorageResult<Vec<bool>> {
        let mut missing = Vec::with_capacity(hashes.len());
        for part in hashes.chunks(PIN_STEP) {
            let there = self.inner().blobs.pin(upload, part).await?;
            missing.extend(there.into_iter().map(|is_there| !is_there));
        }
        Ok(missing)
    }

    /// Stores chunks for `upload`.
    pub async fn put_chunks(&self, upload: UploadId, chunks: Vec<Chunk>) -> StorageResult<()> {
        self.inner().blobs.put(upload, chunks).await
    }

    /// Commits a file made of chunks that were found or sent under `upload`.
    pub async fn commit_chunks(
        &self,
        scope: &Scope,
        upload: UploadId,
        new: NewFile,
        pieces: Vec<Piece>,
    ) -> StorageResult<FileRecord> {
        check(&new)?;
        let bytes: u64 = pieces.iter().map(|piece| u64::from(piece.bytes)).sum();
        let bytes_max = new.bytes_max.min(self.inner().limits.file_bytes_max);
        if bytes > bytes_max {
            return Err(StorageError::TooLarge { bytes_max });
        }
        let hashes: Vec<ChunkHash> = pieces.iter().map(|piece| piece.hash).collect();
        if self.missing(upload, &hashes).await?.contains(&true) {
            return Err(StorageError::BadContent(
                "some of the chunks are not stored: ask which are missing and send them".to_owned(),
            ));
        }
        let mut content = self.inner().blobs.build(upload);
        for piece in pieces {
            content.push(piece).await?;
        }
        let built = content.finish().await?;
        let record = self.record(&new, built.bytes, built.digest, built.content)?;
        self.commit(scope, &record, &new.condition).await?;
        Ok(record)
    }
}
