//! Chunks to and from other nodes: the calling side.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use parking_lot::Mutex;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use yunbase_chunkstore::{Chunk, ChunkHash, UploadId};

use super::here::Got;
use crate::forward::EndpointFactory;
use crate::peer_proto::chunks_client::ChunksClient;
use crate::peer_proto::{
    ChunkBytes, ChunkState, FetchRequest, GetRequest, HaveRequest, PinRequest, PutRequest,
    ReleaseRequest, UnnamedRequest, UnnamedResponse,
};

/// Longest a connection attempt may take: another holder could serve meanwhile.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(800);
/// A silent peer is given up after the sum of these.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// A batch of chunks must not wait for acknowledgements in between.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Largest message: some batches, or the states of many chunks.
pub(super) const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// To look at many chunks takes longer than to move some.
const DEEP_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a peer may look for chunks that nothing names: it reads every manifest of the cluster.
const UNNAMED_TIMEOUT: Duration = Duration::from_secs(600);

/// Why a node did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HolderError {
    /// It has no room.
    #[error("it has no room for chunks")]
    Full,
    /// It cannot or will not.
    #[error("{0}")]
    Refused(String),
    /// It does not answer.
    #[error("it does not answer: {0}")]
    Unreachable(String),
}

impl HolderError {
    fn of(status: &Status) -> Self {
        match status.code() {
            Code::ResourceExhausted => Self::Full,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
                Self::Unreachable(status.message().to_owned())
            }
            _ => Self::Refused(status.message().to_owned()),
        }
    }
}

/// Connections to all peers, each made when first needed.
pub struct ChunkPeers {
    endpoints: EndpointFactory,
    connect: fn(&Endpoint) -> Channel,
    timeout: Duration,
    suspicion: Duration,
    channels: Mutex<HashMap<u64, Channel>>,
    /// Until when a node that failed is asked after all others.
    suspects: Mutex<HashMap<u64, Instant>>,
}

impl ChunkPeers {
    /// Peers at `endpoints`, each reached by `connect`; each call waits at most `timeout`, and who fails is suspected for
    /// `suspicion`.
    pub fn new(
        endpoints: EndpointFactory,
        connect: fn(&Endpoint) -> Channel,
        timeout: Duration,
        suspicion: Duration,
    ) -> Self {
        Self {
            endpoints,
            connect,
            timeout,
            suspicion,
            channels: Mutex::default(),
            suspects: Mutex::default(),
        }
    }

    /// Whether a node failed a moment ago.
    pub(super) fn is_suspect(&self, node: u64) -> bool {
        let mut suspects = self.suspects.lock();
        match suspects.get(&node) {
            Some(until) if Instant::now() < *until => true,
            Some(_) => {
                suspects.remove(&node);
                false
            }
            None => false,
        }
    }

    fn suspect(&self, node: u64) {
        let until = Instant::now() + self.suspicion;
        self.suspects.lock().insert(node, until);
    }

    fn client(&self, node: u64) -> Result<ChunksClient<Channel>, HolderError> {
        let mut channels = self.channels.lock();
        let channel = match channels.get(&node) {
            Some(channel) => channel.clone(),
            None => {
                let endpoint = (self.endpoints)(node).map_err(HolderError::Unreachable)?;
                let channel = (self.connect)(&tuned(endpoint));
                channels.insert(node, channel.clone());
                channel
            }
        };
        Ok(ChunksClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Carries out a call within `timeout`, and notes what it says about the node. All calls may be repeated, so one that
    /// meets a connection that has broken, as after a restart of the node, is made again on a new one.
    async fn call<T, F>(
        &self,
        node: u64,
        timeout: Duration,
        make: impl Fn(ChunksClient<Channel>) -> F,
    ) -> Result<T, HolderError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let late = tokio::time::Instant::now() + timeout;
        let attempts = async {
            match make(self.client(node)?).await {
                Err(status) if status.code() == Code::Unavailable => {
                    self.channels.lock().remove(&node);
                    make(self.client(node)?).await
                }
                outcome => outcome,
            }
            .map_err(|status| HolderError::of(&status))
        };
        let outcome = tokio::time::timeout_at(late, attempts).await;
        let outcome = outcome.unwrap_or_else(|_| {
            Err(HolderError::Unreachable(format!(
                "no answer within {} s",
                timeout.as_secs()
            )))
        });
        match &outcome {
            Ok(_) => {
                self.suspects.lock().remove(&node);
            }
            Err(HolderError::Unreachable(_)) => {
                self.suspect(node);
                // Perhaps the node has another address now.
                self.channels.lock().remove(&node);
            }
            Err(HolderError::Full | HolderError::Refused(_)) => {}
        }
        outcome
    }

    pub(super) async fn pin(
        &self,
        node: u64,
        upload: UploadId,
        hashes: &[ChunkHash],
    ) -> Result<Vec<Option<u32>>, HolderError> {
        let request = PinRequest {
            upload: encode_upload(upload),
            hashes: encode_hashes(hashes),
        };
        let pin = |mut client: ChunksClient<Channel>| {
            let request = request.clone();
            async move { client.pin(request).await }
        };
        let answer = self.call(node, self.timeout, pin).await?.into_inner();
        check_count(answer.sizes.len(), hashes.len())?;
        let sizes = answer.sizes.into_iter();
        Ok(sizes.map(|size| size.checked_sub(1)).collect())
    }

    pub(super) async fn put(
        &self,
        node: u64,
        upload: UploadId,
        chunks: &[Chunk],
    ) -> Result<(), HolderError> {
        let request = PutRequest {
            upload: encode_upload(upload),
            chunks: chunks
                .iter()
                .map(|chunk| ChunkBytes {
                    hash: Bytes::copy_from_slice(chunk.hash().as_bytes()),
                    bytes: chunk.bytes().clone(),
                })
                .collect(),
        };
        let put = |mut client: ChunksClient<Channel>| {
            let request = request.clone();
            async move { client.put(request).await }
        };
        self.call(node, self.timeout, put).await?;
        Ok(())
    }

    /// Reads chunks; each that arrives is compared with its name.
    pub(super) async fn get(
        &self,
        node: u64,
        hashes: &[ChunkHash],
    ) -> Result<Vec<Got>, HolderError> {
        let request = GetRequest {
            hashes: encode_hashes(hashes),
        };
        let read = |mut client: ChunksClient<Channel>| {
            let request = request.clone();
            async move {
                let mut parts = client.get(request).await?.into_inner();
                let mut arrived = Vec::with_capacity(hashes.len());
                while let Some(part) = parts.next().await {
                    arrived.push(part?);
                    if arrived.len() > hashes.len() {
                        break;
                    }
                }
                Ok(arrived)
            }
        };
        let arrived = self.call(node, self.timeout, read).await?;
        check_count(arrived.len(), hashes.len())?;
        let named = hashes.iter().copied().zip(arrived);
        let verify = move |(hash, part): (ChunkHash, crate::peer_proto::GetResponse)| {
            let state = part.state();
            match state {
                // Damaged on its way, or by a node that did not look.
                ChunkState::Intact => Chunk::verified(hash, part.bytes)
                    .map_or(Got::Damaged, |chunk| Got::Bytes(chunk.into_bytes())),
                ChunkState::Absent => Got::Absent,
                ChunkState::Damaged => Got::Damaged,
                ChunkState::Unknown => Got::Unknown,
            }
        };
        let named: Vec<_> = named.collect();
        let verified =
            tokio::task::spawn_blocking(move || named.into_iter().map(verify).collect()).await;
        verified.map_err(|error| HolderError::Refused(error.to_string()))
    }

    pub(super) async fn have(
        &self,
        node: u64,
        hashes: &[ChunkHash],
        deep: bool,
    ) -> Result<Vec<ChunkState>, HolderError> {
        let request = HaveRequest {
            hashes: encode_hashes(hashes),
            deep,
        };
        let timeout = if deep { DEEP_TIMEOUT } else { self.timeout };
        let have = |mut client: ChunksClient<Channel>| {
            let request = request.clone();
            async move { client.have(request).await }
        };
        let answer = self.call(node, timeout, have).await?;
        decode_states(&answer.into_inner().states, hashes.len())
    }

    /// Has a node get chunks from others; tells what it has of them then.
    pub(super) async fn fetch(
        &self,
        node: u64,
        hashes: &[ChunkHash],
        sources: &[u64],
    ) -> Result<Vec<ChunkState>, HolderError> {
        let request = FetchRequest {
            hashes: encode_hashes(hashes),
            sources: sources.to_vec(),
        };
        // It goes at the pace of repairs.
        let fetch = |mut client: ChunksClient<Channel>| {
            let request = request.clone();
            async move { client.fetch(request).await }
        };
        let answer = self.call(node, DEEP_TIMEOUT, fetch).await?;
        decode_states(&answer.into_inner().states, hashes.len())
    }

    pub(super) async fn release(&self, node: u64, uploads: &[UploadId]) -> Result<(), HolderError> {
        let encoded: Vec<u8> = uploads
            .iter()
            .flat_map(|upload| upload.0.to_be_bytes())
            .collect();
        let request = ReleaseRequest {
            uploads: encoded.into(),
        };
        let release = |mut client: ChunksClient<Channel>| {
            let request = request.clone();
            async move { client.release(request).await }
        };
        self.call(node, self.timeout, release).await?;
        Ok(())
    }

    /// How many chunks a node has that nothing names.
    pub(super) async fn unnamed(&self, node: u64) -> Result<UnnamedResponse, HolderError> {
        let unnamed = |mut client: ChunksClient<Channel>| async move {
            client.unnamed(UnnamedRequest {}).await
        };
        let answer = self.call(node, UNNAMED_TIMEOUT, unnamed).await?;
        Ok(answer.into_inner())
    }
}

fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
}

fn check_count(count: usize, expected: usize) -> Result<(), HolderError> {
    if count == expected {
        return Ok(());
    }
    Err(HolderError::Refused(format!(
        "it answered about {count} chunks of {expected}"
    )))
}

pub(super) fn encode_upload(upload: UploadId) -> Bytes {
    Bytes::copy_from_slice(&upload.0.to_be_bytes())
}

pub(super) fn decode_upload(bytes: &[u8]) -> Option<UploadId> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    Some(UploadId(u128::from_be_bytes(bytes)))
}

pub(super) fn encode_hashes(hashes: &[ChunkHash]) -> Bytes {
    let mut encoded = BytesMut::with_capacity(hashes.len() * ChunkHash::BYTES);
    for hash in hashes {
        encoded.extend_from_slice(hash.as_bytes());
    }
    encoded.freeze()
}

/// Reads at most `count_max` hashes.
pub(super) fn decode_hashes(bytes: &[u8], count_max: usize) -> Option<Vec<ChunkHash>> {
    let (hashes, []) = bytes.as_chunks::<{ ChunkHash::BYTES }>() else {
        return None;
    };
    if hashes.len() > count_max {
        return None;
    }
    Some(hashes.iter().copied().map(ChunkHash::from_bytes).collect())
}

pub(super) fn encode_states(states: &[ChunkState]) -> Bytes {
    states.iter().map(|state| *state as i32 as u8).collect()
}

fn decode_states(bytes: &[u8], expected: usize) -> Result<Vec<ChunkState>, HolderError> {
    check_count(bytes.len(), expected)?;
    let state = |byte: &u8| {
        ChunkState::try_from(i32::from(*byte))
            .map_err(|_| HolderError::Refused("it answered with an unknown state".to_owned()))
    };
    bytes.iter().map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_survives_its_way() {
        let upload = UploadId(7 << 100);
        assert_eq!(decode_upload(&encode_upload(upload)), Some(upload));
        assert_eq!(decode_upload(&[0; 15]), None);
        let hashes: Vec<ChunkHash> = [b"a", b"b"].iter().map(|b| ChunkHash::of(*b)).collect();
        let encoded = encode_hashes(&hashes);
        assert_eq!(decode_hashes(&encoded, 2), Some(hashes));
        assert_eq!(decode_hashes(&encoded, 1), None, "more than allowed");
        assert_eq!(decode_hashes(&encoded[1..], 2), None);
        let states = [ChunkState::Intact, ChunkState::Unknown, ChunkState::Absent];
        assert_eq!(
            decode_states(&encode_states(&states), 3),
            Ok(states.to_vec())
        );
        assert!(decode_states(&[9], 1).is_err());
        assert!(decode_states(&[1], 2).is_err());
    }
}
