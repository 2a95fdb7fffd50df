//! Chunks to and from other nodes: the answering side. It stands behind the door for members of the cluster.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use futures::stream::{self, StreamExt as _};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};
use yunbase_chunkstore::{Chunk, ChunkHash, UploadId};

use super::here::{self, Got};
use super::peers::{HolderError, decode_hashes, decode_upload, encode_states};
use super::releases::MESSAGE_UPLOADS_MAX;
use super::{Blobs, collect};
use crate::peer_proto::chunks_server::Chunks;
use crate::peer_proto::{
    ChunkState, FetchRequest, GetRequest, GetResponse, HaveRequest, HaveResponse, PinRequest,
    PinResponse, PutRequest, PutResponse, ReleaseRequest, ReleaseResponse, UnnamedRequest,
    UnnamedResponse,
};

/// Chunks of one answer that are read ahead of what was taken.
const READ_AHEAD: usize = 8;
/// Calls that rehash what they are asked about, at once: each reads a lot.
const DEEP_CALLS_MAX: usize = 2;

/// The service.
pub struct ChunkService {
    blobs: Blobs,
    collector: Arc<collect::Collector>,
    deep: Semaphore,
    unnamed: Semaphore,
}

impl ChunkService {
    /// Answers with the chunks of this node.
    pub fn new(blobs: Blobs, collector: Arc<collect::Collector>) -> Self {
        Self {
            blobs,
            collector,
            deep: Semaphore::new(DEEP_CALLS_MAX),
            unnamed: Semaphore::new(1),
        }
    }

    #[allow(clippy::result_large_err)] // The error that tonic's services have.
    fn hashes(&self, bytes: &[u8]) -> Result<Vec<ChunkHash>, Status> {
        let count_max = self.blobs.inner.limits.hashes_per_call_max;
        decode_hashes(bytes, count_max).ok_or_else(|| {
            Status::invalid_argument(format!(
                "`hashes` is no list of at most {count_max} hashes of 32 bytes"
            ))
        })
    }
}

#[allow(clippy::result_large_err)] // As above.
fn upload(bytes: &[u8]) -> Result<UploadId, Status> {
    decode_upload(bytes).ok_or_else(|| Status::invalid_argument("`upload` needs 16 bytes"))
}

fn refused(error: HolderError) -> Status {
    match error {
        HolderError::Full => Status::resource_exhausted("this node has no room for chunks"),
        HolderError::Refused(why) => Status::failed_precondition(why),
        HolderError::Unreachable(why) => Status::unavailable(why),
    }
}

#[tonic::async_trait]
impl Chunks for ChunkService {
    type GetStream = Pin<Box<dyn Stream<Item = Result<GetResponse, Status>> + Send>>;

    async fn pin(&self, request: Request<PinRequest>) -> Result<Response<PinResponse>, Status> {
        let request = request.into_inner();
        let hashes = self.hashes(&request.hashes)?;
        let pinned = here::pin(&self.blobs.inner.store, upload(&request.upload)?, &hashes).await;
        let size = |size: Option<u32>| size.map_or(0, |size| size.saturating_add(1));
        let sizes = pinned.map_err(refused)?.into_iter().map(size);
        Ok(Response::new(PinResponse {
            sizes: sizes.collect(),
        }))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let request = request.into_inner();
        let upload = upload(&request.upload)?;
        if request.chunks.len() > self.blobs.inner.limits.hashes_per_call_max {
            return Err(Status::invalid_argument(
                "more chunks than one call may have",
            ));
        }
        let verify = move || {
            let chunks = request.chunks.into_iter().map(|chunk| {
                let hash: [u8; ChunkHash::BYTES] = (&*chunk.hash)
                    .try_into()
                    .map_err(|_| "a hash has 32 bytes".to_owned())?;
                Chunk::verified(ChunkHash::from_bytes(hash), chunk.bytes)
                    .map_err(|error| error.to_string())
            });
            chunks.collect::<Result<Vec<Chunk>, String>>()
        };
        let chunks = tokio::task::spawn_blocking(verify)
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(Status::data_loss)?;
        here::put(&self.blobs.inner.store, upload, &chunks)
            .await
            .map_err(refused)?;
        Ok(Response::new(PutResponse {}))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let hashes = self.hashes(&request.into_inner().hashes)?;
        let blobs = self.blobs.clone();
        let parts = stream::iter(hashes)
            .map(move |hash| {
                let blobs = blobs.clone();
                async move {
                    let got = here::get_one(&blobs.inner.store, hash).await;
                    if got == Got::Damaged {
                        blobs.heal(hash);
                    }
                    let (state, bytes) = match got {
                        Got::Bytes(bytes) => (ChunkState::Intact, bytes),
                        Got::Absent => (ChunkState::Absent, Bytes::new()),
                        Got::Damaged => (ChunkState::Damaged, Bytes::new()),
                        Got::Unknown => (ChunkState::Unknown, Bytes::new()),
                    };
                    Ok(GetResponse {
                        state: state.into(),
                        bytes,
                    })
                }
            })
            .buffered(READ_AHEAD);
        Ok(Response::new(Box::pin(parts)))
    }

    async fn have(&self, request: Request<HaveRequest>) -> Result<Response<HaveResponse>, Status> {
        let request = request.into_inner();
        let hashes = self.hashes(&request.hashes)?;
        let _permit = match request.deep {
            true => Some(self.deep.acquire().await),
            false => None,
        };
        let states = self.blobs.states_here(hashes, request.deep).await;
        Ok(Response::new(HaveResponse {
            states: encode_states(&states),
        }))
    }

    async fn fetch(
        &self,
        request: Request<FetchRequest>,
    ) -> Result<Response<HaveResponse>, Status> {
        let request = request.into_inner();
        let hashes = self.hashes(&request.hashes)?;
        self.blobs.fetch_here(&hashes, &request.sources).await;
        let states = here::have(&self.blobs.inner.store, hashes, false).await;
        Ok(Response::new(HaveResponse {
            states: encode_states(&states),
        }))
    }

    async fn release(
        &self,
        request: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseResponse>, Status> {
        let uploads = request.into_inner().uploads;
        let (uploads, []) = uploads.as_chunks::<16>() else {
            return Err(Status::invalid_argument("`uploads` needs 16 bytes each"));
        };
        if uploads.len() > MESSAGE_UPLOADS_MAX {
            return Err(Status::invalid_argument(
                "more uploads than one call may tell of",
            ));
        }
        for upload in uploads {
            let upload = UploadId(u128::from_be_bytes(*upload));
            self.blobs.inner.store.release(upload);
        }
        Ok(Response::new(ReleaseResponse {}))
    }

    async fn unnamed(
        &self,
        _request: Request<UnnamedRequest>,
    ) -> Result<Response<UnnamedResponse>, Status> {
        let _alone = self.unnamed.acquire().await;
        let found = self.collector.count().await;
        let found = found.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(UnnamedResponse {
            past_grace: found.past_grace,
            within_grace: found.within_grace,
        }))
    }
}
