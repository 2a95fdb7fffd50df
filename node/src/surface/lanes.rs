//! Two lanes on the peer port: Raft and forwarding on one, bulk on the other, each served by a runtime of its own.
//!
//! Raft's runtime has few threads, which must not be busy with the encryption of files when a heartbeat is due. Which lane a
//! connection is for it says with its first byte: TLS begins with 0x16, and a bulk connection puts [`BULK`] before that. The
//! byte proves nothing and opens nothing; both lanes are behind the same mutual TLS.

use std::io;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

/// The first byte of a bulk connection.
const BULK: u8 = 0xb1;
/// How long the first byte of a connection may take.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that may wait to be served.
const WAITING_MAX: usize = 64;
/// Pause after a failed accept, as when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections of one lane, to be served.
pub type Incoming = ReceiverStream<io::Result<TcpStream>>;

/// The lanes of a port. Both end when `accept` does.
pub struct Lanes {
    /// Raft, forwarding, membership.
    pub prompt: Incoming,
    /// Chunks.
    pub bulk: Incoming,
    /// Accepts connections for as long as it is polled.
    pub accept: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Splits a port into its lanes.
pub fn split(listener: TcpListener) -> Lanes {
    let (to_prompt, prompt) = mpsc::channel(WAITING_MAX);
    let (to_bulk, bulk) = mpsc::channel(WAITING_MAX);
    let accept = async move {
        loop {
            let (stream, _) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept a connection of a peer");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (to_prompt, to_bulk) = (to_prompt.clone(), to_bulk.clone());
            tokio::spawn(async move {
                match tokio::time::timeout(FIRST_BYTE_TIMEOUT, lane_of(stream)).await {
                    // When the lane is closed the node is stopping.
                    Ok(Ok((stream, true))) => drop(to_bulk.send(Ok(stream)).await),
                    Ok(Ok((stream, false))) => drop(to_prompt.send(Ok(stream)).await),
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "a connection of a peer broke at once");
                    }
                    Err(_) => tracing::debug!("a connection of a peer said nothing"),
                }
            });
        }
    };
    Lanes {
        prompt: ReceiverStream::new(prompt),
        bulk: ReceiverStream::new(bulk),
        accept: Box::pin(accept),
    }
}

/// Whether a connection is for the bulk lane; the byte that says so is taken off it.
async fn lane_of(mut stream: TcpStream) -> io::Result<(TcpStream, bool)> {
    // Small messages must not wait for acknowledgements that the other side delays.
    stream.set_nodelay(true)?;
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let is_bulk = first[0] == BULK;
    if is_bulk {
        stream.read_exact(&mut first).await?;
    }
    Ok((stream, is_bulk))
}

/// A channel to the bulk lane of an endpoint, which connects when it is first used.
pub fn bulk_channel(endpoint: &Endpoint) -> Channel {
    endpoint.connect_with_connector_lazy(tower::service_fn(|address: Uri| async move {
        let authority = address.authority().ok_or(io::ErrorKind::InvalidInput)?;
        let mut stream = TcpStream::connect(authority.as_str()).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&[BULK]).await?;
        Ok::<_, io::Error>(TokioIo::new(stream))
    }))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_connection_takes_the_lane_that_it_names() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let Lanes {
            mut prompt,
            mut bulk,
            accept,
        } = split(listener);
        let accepting = tokio::spawn(accept);
        for (first, is_bulk) in [(0x16, false), (BULK, true), (b'G', false)] {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(&[first, 7]).await.unwrap();
            let lane = if is_bulk { &mut bulk } else { &mut prompt };
            let mut served = lane.next().await.unwrap().unwrap();
            let mut byte = [0];
            served.read_exact(&mut byte).await.unwrap();
            assert_eq!(byte[0], if is_bulk { 7 } else { first });
        }
        // One that says nothing is in nobody's way.
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&[0x16]).await.unwrap();
        assert!(prompt.next().await.unwrap().is_ok());
        accepting.abort();
    }
}
