//! Contents from their chunks, in order, and back. A content of many chunks names them in lists that are chunks themselves, so
//! whoever makes one or goes through one holds one list at a time, whatever the size of the file.

use yunbase_chunkstore::{Chunk, ChunkHash, UploadId};

use super::Blobs;
use crate::storage::error::{StorageError, StorageResult};
use crate::storage::limits::{INLINE_CHUNKS_MAX, LIST_CHUNKS_MAX};
use crate::storage::record::{Content, Piece};

/// A content that is being put together.
pub struct ContentBuilder {
    blobs: Blobs,
    upload: UploadId,
    /// Pieces that are in no list yet.
    open: Vec<Piece>,
    lists: Vec<Piece>,
    bytes: u64,
    hasher: blake3::Hasher,
}

/// A content and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Its chunks or lists.
    pub content: Content,
    /// Bytes.
    pub bytes: u64,
    /// Hexadecimal, of its chunks and their order: the same content cut in the same way has the same.
    pub digest: String,
}

impl Blobs {
    /// An empty content, whose lists will be kept for `upload`.
    pub fn build(&self, upload: UploadId) -> ContentBuilder {
        ContentBuilder {
            blobs: self.clone(),
            upload,
            open: Vec::new(),
            lists: Vec::new(),
            bytes: 0,
            hasher: blake3::Hasher::new(),
        }
    }

    /// Goes through the chunks of a content: one part for each of its lists, with the list itself if asked for.
    pub fn parts<'a>(&'a self, content: &Content) -> StorageResult<Parts<'a>> {
        let mut pieces = content.pieces()?;
        pieces.reverse();
        Ok(Parts {
            blobs: self,
            pieces,
            are_lists: content.are_lists,
        })
    }
}

/// The chunks of a content, part by part.
pub struct Parts<'a> {
    blobs: &'a Blobs,
    /// What is left, the next last.
    pieces: Vec<Piece>,
    are_lists: bool,
}

impl Parts<'_> {
    /// The next chunks, and the list that names them if one does; `None` at the end.
    pub async fn next(&mut self) -> StorageResult<Option<(Option<ChunkHash>, Vec<Piece>)>> {
        if self.are_lists {
            let Some(list) = self.pieces.pop() else {
                return Ok(None);
            };
            let named = self.blobs.list(&list).await?;
            return Ok(Some((Some(list.hash), named)));
        }
        if self.pieces.is_empty() {
            return Ok(None);
        }
        let mut named = std::mem::take(&mut self.pieces);
        named.reverse();
        Ok(Some((None, named)))
    }
}

impl ContentBuilder {
    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a chunk behind those that it has.
    pub async fn push(&mut self, piece: Piece) -> StorageResult<()> {
        self.bytes += u64::from(piece.bytes);
        self.hasher.update(piece.hash.as_bytes());
        self.open.push(piece);
        if self.open.len() >= LIST_CHUNKS_MAX {
            self.close_list().await?;
        }
        Ok(())
    }

    /// The content.
    pub async fn finish(mut self) -> StorageResult<Built> {
        let content = if self.lists.is_empty() && self.open.len() <= INLINE_CHUNKS_MAX {
            Content::of(&self.open, false)
        } else {
            if !self.open.is_empty() {
                self.close_list().await?;
            }
            Content::of(&self.lists, true)
        };
        Ok(Built {
            content,
            bytes: self.bytes,
            // Sixteen bytes are enough to tell contents apart.
            digest: hex::encode(&self.hasher.finalize().as_bytes()[..16]),
        })
    }

    async fn close_list(&mut self) -> StorageResult<()> {
        if self.lists.len() >= INLINE_CHUNKS_MAX {
            return Err(StorageError::Invalid(
                "the content has more chunks than a manifest can name".to_owned(),
            ));
        }
        let pieces = std::mem::take(&mut self.open);
        let mut encoded = Vec::with_capacity(pieces.len() * Piece::BYTES);
        pieces.iter().for_each(|piece| piece.encode(&mut encoded));
        let bytes: u64 = pieces.iter().map(|piece| u64::from(piece.bytes)).sum();
        let chunk =
            Chunk::new(encoded.into()).map_err(|error| StorageError::Invalid(error.to_string()))?;
        self.lists.push(Piece {
            hash: chunk.hash(),
            bytes: u32::try_from(bytes).map_err(|_| {
                StorageError::Invalid("a list of chunks stands for more than 4 GiB".to_owned())
            })?,
        });
        self.blobs.put(self.upload, vec![chunk]).await
    }
}
