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
            missing.extend(there.iter().map(Option::is_none));
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
        for part in pieces.chunks(PIN_STEP) {
            let hashes: Vec<ChunkHash> = part.iter().map(|piece| piece.hash).collect();
            let sizes = self.inner().blobs.pin(upload, &hashes).await?;
            for (piece, size) in part.iter().zip(sizes) {
                let wrong = match size {
                    None => "is not stored: ask which are missing and send them",
                    Some(size) if size != piece.bytes => "has another size than the request says",
                    Some(_) => continue,
                };
                let hash = piece.hash;
                return Err(StorageError::BadContent(format!("chunk {hash} {wrong}")));
            }
        }
        let mut content = self.inner().blobs.build(upload);
        for piece in pieces {
            content.push(piece).await?;
        }
        let built = content.finish().await?;
        let record = self.record(&new, built.bytes, built.digest, built.content)?;
        self.commit(scope, &record, &new.condition).await?;
        self.inner().blobs.end(upload);
        Ok(record)
    }
}
