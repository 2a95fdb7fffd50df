//! Uploads: content is cut, the cluster is asked which chunks it has, the others are sent, and at the end one commit makes
//! the file. Several batches are on their way at once.

use std::collections::HashSet;

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::try_unfold;
use tokio::io::AsyncRead;

use super::file::{NewFile, Stored, required};
use super::split::{Chunk, Cutter, Fingerprint, Piece, encoded};
use super::{Storage, StoredFile};
use crate::error::{Error, Result};
use crate::limits::{FILE_BATCHES_MAX, FILE_COMMIT_PIECES, FILE_MESSAGE_BYTES};
use crate::proto;

/// What came of a batch.
struct Sent {
    pieces: Vec<Piece>,
    bytes: u64,
}

impl Storage {
    /// Stores what `reader` delivers. Only chunks that the cluster does not have are sent; content is read once.
    pub async fn put_file<R>(&self, file: impl Into<NewFile>, reader: R) -> Result<Stored>
    where
        R: AsyncRead + Send + Unpin,
    {
        let file = file.into();
        let parameters = self.parameters().await?;
        let small_file_bytes_max = parameters.small_file_bytes_max;
        let mut cutter = Cutter::new(reader, parameters);
        let whole = cutter.whole(small_file_bytes_max).await;
        if let Some(content) = whole.map_err(unread)? {
            return self.put_small(file, content).await;
        }
        let upload: [u8; 16] = rand::random();
        let upload = Bytes::copy_from_slice(&upload);
        let batches = try_unfold(cutter, |mut cutter| async move {
            let batch = cutter.next_batch().await.map_err(unread)?;
            Ok::<_, Error>(batch.map(|batch| (batch, cutter)))
        });
        let storage = self.clone();
        let sending = upload.clone();
        let sent = batches
            .map_ok(move |batch| {
                let (storage, upload) = (storage.clone(), sending.clone());
                async move { storage.send_batch(upload, batch).await }
            })
            .try_buffered(FILE_BATCHES_MAX);
        let mut sent = std::pin::pin!(sent);
        let (mut pieces, mut sent_bytes) = (Vec::new(), 0);
        while let Some(batch) = sent.try_next().await? {
            pieces.extend(batch.pieces);
            sent_bytes += batch.bytes;
        }
        let file = self.commit(upload, file, &pieces).await?;
        Ok(Stored { file, sent_bytes })
    }

    /// Stores bytes that are in memory.
    pub async fn put_bytes(
        &self,
        file: impl Into<NewFile>,
        content: impl Into<Bytes>,
    ) -> Result<Stored> {
        let content = content.into();
        if content.len() <= self.parameters().await?.small_file_bytes_max {
            return self.put_small(file.into(), content).await;
        }
        self.put_file(file, std::io::Cursor::new(content)).await
    }

    /// What `reader` delivers would be in the cluster, without sending anything.
    pub async fn fingerprint<R>(&self, reader: R) -> Result<Fingerprint>
    where
        R: AsyncRead + Send + Unpin,
    {
        let parameters = self.parameters().await?;
        Fingerprint::of(reader, parameters).await.map_err(unread)
    }

    /// One message: for a small file a question would cost more than what it may spare.
    async fn put_small(&self, file: NewFile, content: Bytes) -> Result<Stored> {
        let sent_bytes = content.len() as u64;
        let call = self.once("Put").carrying(content.len());
        let message = proto::PutFileRequest {
            env: self.env_name(),
            file: Some(file.into()),
            content,
        };
        let told = self
            .call(call, message, |mut client, request| async move {
                client.put(request).await
            })
            .await?;
        let file = required(told.file)?;
        Ok(Stored { file, sent_bytes })
    }

    /// Asks about the chunks of a batch and sends those that are missing.
    async fn send_batch(self, upload: Bytes, batch: Vec<Chunk>) -> Result<Sent> {
        let pieces: Vec<Piece> = batch.iter().map(Chunk::piece).collect();
        let mut seen = HashSet::new();
        let chunks: Vec<Chunk> = batch
            .into_iter()
            .filter(|chunk| seen.insert(chunk.hash))
            .collect();
        let missing = self.missing(upload.clone(), &chunks).await?;
        if missing.len() != chunks.len() {
            return Err(Error::malformed(
                "the node did not answer for each of the chunks",
            ));
        }
        let mut bytes = 0;
        let mut message = Vec::new();
        let mut message_bytes = 0;
        for (chunk, _) in chunks
            .into_iter()
            .zip(missing)
            .filter(|(_, missing)| *missing)
        {
            let chunk_bytes = chunk.bytes.len();
            if !message.is_empty() && message_bytes + chunk_bytes > FILE_MESSAGE_BYTES {
                self.send_chunks(upload.clone(), std::mem::take(&mut message), message_bytes)
                    .await?;
                message_bytes = 0;
            }
            message.push(chunk.bytes);
            message_bytes += chunk_bytes;
            bytes += chunk_bytes as u64;
        }
        if !message.is_empty() {
            self.send_chunks(upload, message, message_bytes).await?;
        }
        Ok(Sent { pieces, bytes })
    }

    async fn missing(&self, upload: Bytes, chunks: &[Chunk]) -> Result<Vec<bool>> {
        let hashes: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.hash).collect();
        let message = proto::MissingChunksRequest {
            env: self.env_name(),
            upload,
            hashes: hashes.into(),
        };
        let told = self
            .call(
                self.repeatable("Missing"),
                message,
                |mut client, request| async move { client.missing(request).await },
            )
            .await?;
        Ok(told.missing)
    }

    async fn send_chunks(&self, upload: Bytes, chunks: Vec<Bytes>, bytes: usize) -> Result<()> {
        let message = proto::PutChunksRequest {
            env: self.env_name(),
            upload,
            chunks,
        };
        // A chunk has the name that its content gives it, so sending it twice does no harm.
        let call = self.repeatable("PutChunks").carrying(bytes).with_patience();
        self.call(call, message, |mut client, request| async move {
            client.put_chunks(request).await
        })
        .await
        .map(drop)
    }

    async fn commit(&self, upload: Bytes, file: NewFile, pieces: &[Piece]) -> Result<StoredFile> {
        let mut messages = vec![proto::CommitFileRequest {
            env: self.env_name(),
            upload,
            file: Some(file.into()),
            pieces: Bytes::new(),
        }];
        messages.extend(
            pieces
                .chunks(FILE_COMMIT_PIECES)
                .map(|pieces| proto::CommitFileRequest {
                    pieces: encoded(pieces).into(),
                    ..proto::CommitFileRequest::default()
                }),
        );
        let mut call = self.once("Commit").carrying(pieces.len() * Piece::BYTES);
        if pieces.len() > FILE_COMMIT_PIECES {
            // The cluster looks for each of them once more.
            call = call.with_patience();
        }
        let told = self
            .call(call, messages, |mut client, request| async move {
                client.commit(request.map(tokio_stream::iter)).await
            })
            .await?;
        required(told.file)
    }
}

#[allow(clippy::needless_pass_by_value)] // The shape that `map_err` wants.
fn unread(error: std::io::Error) -> Error {
    Error::invalid(format!("cannot read the content: {error}"))
}
