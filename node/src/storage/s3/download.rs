//! The content of an object on its way out: the pieces of the files, with a permit that ends with it, and a watch over
//! clients that do not take it.
//!
//! What is not taken is not asked for either, so that nobody would notice; the watch lets go of the file and the permit
//! then. Should the client wake up after all, its connection is cut.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use parking_lot::Mutex;
use s3s::StdError;
use s3s::stream::{ByteStream, RemainingLength};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;

use crate::storage::error::{StorageError, StorageResult};
use crate::storage::files::FileBody;

/// A content on its way out.
pub(super) struct Download {
    held: Arc<Mutex<Held>>,
    left: u64,
    watch: AbortHandle,
}

/// What is let go of at the end, or when the client does not take it.
struct Held {
    /// The piece that was read before the answer began.
    first: Option<Bytes>,
    body: Option<FileBody>,
    permit: Option<OwnedSemaphorePermit>,
    /// Since when the client has to take what it was given; `None` while it waits for us.
    given_at: Option<Instant>,
}

impl Held {
    fn let_go(&mut self) {
        self.first = None;
        self.body = None;
        self.permit = None;
        self.given_at = None;
    }
}

impl Download {
    /// Waits for the first piece, so that a content that cannot be read is an error and not an answer that breaks off.
    pub(super) async fn begin(
        mut body: FileBody,
        bytes: u64,
        permit: OwnedSemaphorePermit,
        idle: Duration,
    ) -> StorageResult<Self> {
        let first = match bytes {
            0 => None,
            _ => Some(body.next().await.ok_or_else(ended_early)??),
        };
        let held = Arc::new(Mutex::new(Held {
            first,
            body: Some(body),
            permit: Some(permit),
            given_at: None,
        }));
        let watch = tokio::spawn(watch(Arc::downgrade(&held), idle)).abort_handle();
        Ok(Self {
            held,
            left: bytes,
            watch,
        })
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn ended_early() -> StorageError {
    StorageError::Damaged("the content is shorter than its record says".to_owned())
}

async fn watch(held: Weak<Mutex<Held>>, idle: Duration) {
    let mut pause = Some(idle);
    while let Some(until_next) = pause {
        tokio::time::sleep(until_next).await;
        pause = look(&held, idle);
    }
}

/// Lets go of what has not been taken for too long; says when to look again.
fn look(held: &Weak<Mutex<Held>>, idle: Duration) -> Option<Duration> {
    let held = held.upgrade()?;
    let mut held = held.lock();
    let waited = held.given_at.map_or(Duration::ZERO, |at| at.elapsed());
    if waited < idle {
        return Some(idle - waited);
    }
    held.let_go();
    None
}

impl Stream for Download {
    type Item = Result<Bytes, StdError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let mut held = this.held.lock();
        held.given_at = None;
        let next = match (held.first.take(), &mut held.body) {
            (Some(first), _) => Some(Ok(first)),
            (None, Some(body)) => match body.as_mut().poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(next) => next,
            },
            (None, None) => {
                let message = "the client did not take the content for too long".to_owned();
                Some(Err(StorageError::Aborted(message)))
            }
        };
        match next.unwrap_or_else(|| Err(ended_early())) {
            Ok(bytes) => {
                this.left = this.left.saturating_sub(bytes.len() as u64);
                if this.left == 0 {
                    held.let_go();
                } else {
                    held.given_at = Some(Instant::now());
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Err(error) => {
                held.let_go();
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }
}

impl ByteStream for Download {
    fn remaining_length(&self) -> RemainingLength {
        RemainingLength::new_exact(usize::try_from(self.left).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio::sync::Semaphore;

    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    fn content(pieces: Vec<StorageResult<&'static str>>) -> FileBody {
        Box::pin(stream::iter(pieces).map(|piece| piece.map(Bytes::from)))
    }

    fn permits() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(1))
    }

    fn one(permits: &Arc<Semaphore>) -> OwnedSemaphorePermit {
        permits.clone().try_acquire_owned().expect("free")
    }

    fn damaged() -> StorageError {
        StorageError::Damaged("x".to_owned())
    }

    #[tokio::test]
    async fn a_content_is_given_out_whole() {
        let permits = permits();
        let body = content(vec![Ok("ab"), Ok("c")]);
        let mut download = Download::begin(body, 3, one(&permits), IDLE)
            .await
            .expect("good");
        assert_eq!(download.remaining_length().exact(), Some(3));
        let mut whole = Vec::new();
        while let Some(piece) = download.next().await {
            whole.extend_from_slice(&piece.expect("good"));
        }
        assert_eq!(whole, b"abc");
        assert_eq!(permits.available_permits(), 1);
        let none = Download::begin(content(Vec::new()), 0, one(&permits), IDLE);
        assert!(none.await.expect("good").next().await.is_none());
        assert_eq!(permits.available_permits(), 1);
    }

    #[tokio::test]
    async fn damage_is_an_error_before_the_answer_or_cuts_it_off() {
        let permits = permits();
        for pieces in [vec![Err(damaged())], Vec::new()] {
            let refused = Download::begin(content(pieces), 3, one(&permits), IDLE).await;
            assert!(matches!(refused.err(), Some(StorageError::Damaged(_))));
        }
        for pieces in [vec![Ok("ab"), Err(damaged())], vec![Ok("ab")]] {
            let mut download = Download::begin(content(pieces), 3, one(&permits), IDLE)
                .await
                .expect("the first piece is good");
            assert!(download.next().await.expect("a piece").is_ok());
            assert!(download.next().await.expect("an error").is_err());
        }
    }

    #[tokio::test]
    async fn who_takes_nothing_keeps_no_permit() {
        let permits = permits();
        let idle = Duration::from_millis(50);
        let body = content(vec![Ok("ab"), Ok("c")]);
        let mut download = Download::begin(body, 3, one(&permits), idle)
            .await
            .expect("good");
        assert!(download.next().await.expect("a piece").is_ok());
        let again = tokio::time::timeout(IDLE, permits.acquire()).await;
        assert!(again.is_ok(), "the permit has come back");
        assert!(download.next().await.expect("an error").is_err());
    }
}
