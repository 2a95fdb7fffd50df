//! A body that arrives: it may be slow, but not for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::storage::error::{StorageError, StorageResult};
use crate::storage::limits::StorageLimits;

/// How much of a body that is refused is read and thrown away, so that the client gets to read the refusal: a connection
/// that breaks under a write crashes the processes of some clients.
const DRAIN_BYTES_MAX: u64 = 256 << 20;
/// And for how long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The pieces of a body, of which none may be too long in coming, and not all together.
pub(super) struct Arrival<S> {
    pieces: S,
    idle_timeout: Duration,
    /// Rings when the next piece has been waited for too long.
    idle: Pin<Box<Sleep>>,
    /// Whether the next piece is being waited for.
    waits: bool,
    /// Rings when all has taken too long.
    end: Pin<Box<Sleep>>,
    upload_timeout: Duration,
}

impl<S, E> Arrival<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    /// A body that begins to arrive now.
    pub(super) fn new(pieces: S, limits: &StorageLimits) -> Self {
        Self {
            pieces,
            idle_timeout: limits.idle_timeout,
            idle: Box::pin(tokio::time::sleep(limits.idle_timeout)),
            waits: false,
            end: Box::pin(tokio::time::sleep(limits.upload_timeout)),
            upload_timeout: limits.upload_timeout,
        }
    }

    /// Reads the rest and throws it away, within bounds.
    pub(super) async fn drain(&mut self) {
        let reading = async {
            let mut drained = 0_u64;
            while let Some(Ok(piece)) = self.next().await {
                drained = drained.saturating_add(piece.len() as u64);
                if drained > DRAIN_BYTES_MAX {
                    return;
                }
            }
        };
        // Whichever way it ends, the client has had its chance.
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, reading).await;
    }
}

impl<S, E> Stream for Arrival<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    type Item = StorageResult<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let aborted = |why: String| Poll::Ready(Some(Err(StorageError::Aborted(why))));
        if this.end.as_mut().poll(cx).is_ready() {
            return aborted(format!(
                "the upload took longer than {} s: send large files in parts",
                this.upload_timeout.as_secs()
            ));
        }
        match this.pieces.poll_next_unpin(cx) {
            Poll::Ready(piece) => {
                this.waits = false;
                match piece {
                    Some(Ok(piece)) => Poll::Ready(Some(Ok(piece))),
                    Some(Err(error)) => aborted(format!("the upload broke off: {error}")),
                    None => Poll::Ready(None),
                }
            }
            Poll::Pending => {
                // Counted from here: that nobody asked for a piece is not the client's fault.
                if !this.waits {
                    this.waits = true;
                    this.idle.as_mut().reset(Instant::now() + this.idle_timeout);
                }
                if this.idle.as_mut().poll(cx).is_ready() {
                    return aborted(format!(
                        "nothing of the upload arrived for {} s",
                        this.idle_timeout.as_secs_f32()
                    ));
                }
                Poll::Pending
            }
        }
    }
}

/// Pieces as a reader of bytes. What goes wrong with them is inside of its errors, where files look for it.
pub(super) struct PieceReader<S> {
    pieces: S,
    rest: Bytes,
}

impl<S> PieceReader<S>
where
    S: Stream<Item = StorageResult<Bytes>> + Unpin,
{
    /// A reader of all pieces.
    pub(super) fn new(pieces: S) -> Self {
        Self {
            pieces,
            rest: Bytes::new(),
        }
    }
}

impl<S> AsyncRead for PieceReader<S>
where
    S: Stream<Item = StorageResult<Bytes>> + Unpin,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            match this.pieces.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Ok(piece))) => this.rest = piece,
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(io::Error::other(error)));
                }
            }
        }
        let count = this.rest.len().min(into.remaining());
        into.put_slice(&this.rest[..count]);
        this.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio::io::AsyncReadExt;

    use super::*;

    type Piece = Result<Bytes, String>;

    fn limits() -> StorageLimits {
        StorageLimits {
            idle_timeout: Duration::from_millis(200),
            upload_timeout: Duration::from_millis(800),
            ..StorageLimits::default()
        }
    }

    fn of(pieces: Vec<Piece>) -> Arrival<stream::Iter<std::vec::IntoIter<Piece>>> {
        Arrival::new(stream::iter(pieces), &limits())
    }

    #[tokio::test]
    async fn pieces_become_bytes() {
        let pieces = ["ab", "", "cde"].map(|piece| Ok(Bytes::from(piece)));
        let mut all = String::new();
        let mut reader = PieceReader::new(of(pieces.to_vec()));
        reader.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "abcde");
    }

    /// What files find in the error of a reader.
    async fn fault(pieces: impl Stream<Item = StorageResult<Bytes>> + Unpin) -> String {
        let mut reader = PieceReader::new(pieces);
        let error = reader.read_to_end(&mut Vec::new()).await.unwrap_err();
        let inner = error.get_ref().unwrap();
        match inner.downcast_ref::<StorageError>().unwrap() {
            StorageError::Aborted(why) => why.clone(),
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn what_breaks_off_says_why() {
        let pieces = vec![Ok(Bytes::from("ab")), Err("reset by peer".to_owned())];
        let why = fault(of(pieces)).await;
        assert_eq!(why, "the upload broke off: reset by peer");
    }

    /// A piece every so many milliseconds, without end.
    fn every(pause_ms: u64) -> Pin<Box<dyn Stream<Item = Piece> + Send>> {
        Box::pin(stream::unfold((), move |()| async move {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            Some((Ok(Bytes::from("x")), ()))
        }))
    }

    #[tokio::test]
    async fn pauses_and_the_whole_have_their_time() {
        for (pause_ms, part) in [(5000, "nothing of the upload arrived"), (5, "took longer")] {
            let why = fault(Arrival::new(every(pause_ms), &limits())).await;
            assert!(why.contains(part), "{why}");
        }
    }

    #[tokio::test]
    async fn the_time_of_a_slow_reader_is_not_the_clients() {
        let mut arrival = Arrival::new(every(20), &limits());
        assert!(arrival.next().await.unwrap().is_ok());
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(arrival.next().await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn draining_ends() {
        of(vec![Ok(Bytes::from("x")); 5]).drain().await;
        Arrival::new(every(5), &limits()).drain().await;
    }
}
