//! The body of a request on its way in: it must not pause for too long, nor take too long altogether.
//!
//! `s3s` wraps the errors of a body in its own, so that what was wrong is left beside it, where whoever reads it looks.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::chunks::{BadChunk, Chunks};

/// Why a body has ended too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    /// Nothing came for too long.
    #[error("nothing of the body has arrived for too long: send it again")]
    Idle,
    /// All of it took too long.
    #[error("the body took longer than a body may: send it in parts")]
    TooLong,
    /// The connection was cut.
    #[error("the connection was cut before the end of the body")]
    Cut,
    /// It is in chunks that are too large.
    #[error("the body is in signed chunks of more than 16 MiB: send smaller ones")]
    LargeChunk,
    /// It is not in the chunks that its headers speak of.
    #[error("the body is not in the chunks that x-amz-content-sha256 speaks of")]
    NoChunk,
}

/// Where the reason is left.
#[derive(Debug, Clone, Default)]
pub(super) struct Arrival(Arc<OnceLock<Stop>>);

impl Arrival {
    /// Why the body has ended too early, if it has.
    pub(super) fn stopped(&self) -> Option<Stop> {
        self.0.get().copied()
    }

    fn stop(&self, stop: Stop) -> Stop {
        *self.0.get_or_init(|| stop)
    }
}

/// The longest that a body may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Between two pieces.
    pub(super) idle: Duration,
    /// From the first to the last.
    pub(super) whole: Duration,
}

/// A body with its bounds.
pub(super) struct ArrivingBody {
    inner: Body,
    chunks: Option<Chunks>,
    arrival: Arrival,
    idle: Duration,
    until: Instant,
    /// Made with the first pause: most bodies are there at once, or there is none.
    pause: Option<Pin<Box<Sleep>>>,
    is_paused: bool,
}

impl ArrivingBody {
    pub(super) fn new(
        inner: Body,
        chunks: Option<Chunks>,
        arrival: Arrival,
        patience: Patience,
    ) -> Self {
        Self {
            inner,
            chunks,
            arrival,
            idle: patience.idle,
            until: Instant::now() + patience.whole,
            pause: None,
            is_paused: false,
        }
    }

    /// Whether a pause has become too long.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        let until = self.until;
        let end = until.min(Instant::now() + self.idle);
        let pause = self
            .pause
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if !self.is_paused {
            self.is_paused = true;
            pause.as_mut().reset(end);
        }
        pause.as_mut().poll(cx).map(|()| {
            if Instant::now() >= until {
                Stop::TooLong
            } else {
                Stop::Idle
            }
        })
    }

    fn take_in(&mut self, bytes: Bytes) -> Result<Option<Bytes>, Stop> {
        let Some(chunks) = &mut self.chunks else {
            return Ok(Some(bytes));
        };
        chunks.push(bytes).map_err(|bad| match bad {
            BadChunk::TooLarge => Stop::LargeChunk,
            BadChunk::Malformed => Stop::NoChunk,
        })?;
        Ok(chunks.pop())
    }
}

impl hyper::body::Body for ArrivingBody {
    type Data = Bytes;
    type Error = Stop;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Stop>>> {
        let this = self.get_mut();
        if let Some(stop) = this.arrival.stopped() {
            return Poll::Ready(Some(Err(stop)));
        }
        if let Some(piece) = this.chunks.as_mut().and_then(Chunks::pop) {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        loop {
            let stop = match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(_))) => Stop::Cut,
                Poll::Ready(Some(Ok(frame))) => {
                    this.is_paused = false;
                    let Ok(bytes) = frame.into_data() else {
                        // Trailers of HTTP: S3 has its own.
                        continue;
                    };
                    if Instant::now() >= this.until {
                        Stop::TooLong
                    } else {
                        match this.take_in(bytes) {
                            Ok(Some(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                            // Nothing but frames of chunks.
                            Ok(None) => continue,
                            Err(stop) => stop,
                        }
                    }
                }
                Poll::Pending => match this.poll_pause(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(stop) => stop,
                },
            };
            return Poll::Ready(Some(Err(this.arrival.stop(stop))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.chunks {
            None => self.inner.size_hint(),
            // Other frames may come out than have come in.
            Some(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
#[path = "arrival_test.rs"]
mod tests;
