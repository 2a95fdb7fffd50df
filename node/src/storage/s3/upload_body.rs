//! The content of an upload on its way from `s3s` to the files: counted, its checksums computed, and compared at its end,
//! before the files take it for whole.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures::Stream as _;
use s3s::dto::{Checksum, StreamingBlob};
use s3s::stream::ByteStream as _;
use s3s::{S3Error, S3ErrorCode, S3Result, StdError, TrailingHeaders, s3_error};
use tokio::io::{AsyncRead, ReadBuf};

use super::arrival::{Arrival, Stop};
use super::checksums::Checksums;
use super::error::custom;

/// What was wrong with a content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// It did not arrive.
    #[error("{0}")]
    Stopped(Stop),
    /// It is shorter or longer than announced.
    #[error("the content has {received} bytes and was announced with {announced}")]
    Length {
        /// What arrived.
        received: u64,
        /// What the headers say.
        announced: u64,
    },
    /// A checksum is not that of what arrived.
    #[error("the {0} that was sent is not that of the content that arrived")]
    Checksum(&'static str),
    /// A checksum that was promised did not come.
    #[error("x-amz-trailer promises {0}, which did not come after the body")]
    NoTrailer(&'static str),
    /// The hash that was signed is not that of what arrived.
    #[error("x-amz-content-sha256 is not the hash of the content that arrived")]
    Hash,
    /// The signature of a chunk is wrong.
    #[error("the signature of a chunk of the body does not match")]
    Signature,
    /// The body cannot be read for another reason.
    #[error("the body cannot be read: {0}")]
    Broken(String),
}

impl Fault {
    /// As S3 spells it.
    pub(super) fn told(&self) -> S3Error {
        let code = match self {
            Self::Stopped(Stop::Idle | Stop::TooLong) => S3ErrorCode::RequestTimeout,
            Self::Stopped(Stop::LargeChunk) => S3ErrorCode::EntityTooLarge,
            Self::Stopped(Stop::Cut) | Self::Length { .. } => S3ErrorCode::IncompleteBody,
            Self::Checksum(_) => S3ErrorCode::BadDigest,
            Self::Hash => custom("XAmzContentSHA256Mismatch"),
            Self::Signature => S3ErrorCode::SignatureDoesNotMatch,
            Self::Stopped(Stop::NoChunk) | Self::NoTrailer(_) | Self::Broken(_) => {
                S3ErrorCode::InvalidRequest
            }
        };
        let mut error = S3Error::with_message(code, self.to_string());
        if *self == Self::Hash {
            error.set_status_code(StatusCode::BAD_REQUEST);
        }
        error
    }

    /// What an error of `s3s` means. Its types are its own, so that only their text tells them apart.
    fn of_stream(error: &StdError, arrival: &Arrival) -> Self {
        if let Some(stop) = arrival.stopped() {
            return Self::Stopped(stop);
        }
        let text = error.to_string();
        if text.contains("Sha256Mismatch") {
            Self::Hash
        } else if text.contains("SignatureMismatch") {
            Self::Signature
        } else if text.contains("Incomplete") {
            Self::Stopped(Stop::Cut)
        } else {
            Self::Broken(text)
        }
    }
}

/// A content that arrives. The files read it to its end.
pub(super) struct UploadBody {
    stream: StreamingBlob,
    current: Bytes,
    announced: u64,
    received: u64,
    /// Taken at the end.
    checksums: Option<Checksums>,
    trailers: Option<TrailingHeaders>,
    arrival: Arrival,
    outcome: Option<Result<Checksum, Fault>>,
}

impl UploadBody {
    /// The body of a request. Its length must be known from the start, as in S3.
    pub(super) fn new(
        stream: Option<StreamingBlob>,
        content_length: Option<i64>,
        checksums: Checksums,
        trailers: Option<TrailingHeaders>,
        arrival: Arrival,
    ) -> S3Result<Self> {
        let stream = stream.unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
        let known = stream.remaining_length().exact().map(|bytes| bytes as u64);
        let announced = content_length
            .and_then(|bytes| u64::try_from(bytes).ok())
            .or(known)
            .ok_or_else(|| {
                s3_error!(
                    MissingContentLength,
                    "the length of the content is missing: send Content-Length"
                )
            })?;
        Ok(Self {
            stream,
            current: Bytes::new(),
            announced,
            received: 0,
            checksums: Some(checksums),
            trailers,
            arrival,
            outcome: None,
        })
    }

    /// How many bytes it has by its own account.
    pub(super) fn announced(&self) -> u64 {
        self.announced
    }

    /// What was wrong with it.
    pub(super) fn fault(&self) -> Option<&Fault> {
        self.outcome.as_ref()?.as_ref().err()
    }

    /// The checksums of all of it.
    pub(super) fn into_checksums(self) -> Checksum {
        self.outcome.and_then(Result::ok).unwrap_or_default()
    }

    /// The next piece; `None` at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        match Pin::new(&mut self.stream).poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(bytes))) => {
                self.received += bytes.len() as u64;
                if self.received > self.announced {
                    return Poll::Ready(Some(Err(self.wrong_length())));
                }
                if let Some(checksums) = &mut self.checksums {
                    checksums.update(&bytes);
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(Err(Fault::of_stream(&error, &self.arrival))))
            }
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    /// Judges the whole.
    fn finish(&mut self) -> Result<Checksum, Fault> {
        if self.received != self.announced {
            return Err(self.wrong_length());
        }
        let Some(checksums) = self.checksums.take() else {
            return Ok(Checksum::default());
        };
        let trailers: Option<HeaderMap> = self.trailers.as_ref().and_then(TrailingHeaders::take);
        checksums.finish(trailers.as_ref())
    }

    fn wrong_length(&self) -> Fault {
        Fault::Length {
            received: self.received,
            announced: self.announced,
        }
    }
}

impl AsyncRead for UploadBody {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.current.is_empty() {
            if let Some(outcome) = &this.outcome {
                return Poll::Ready(match outcome {
                    Ok(_) => Ok(()),
                    Err(fault) => Err(io::Error::other(fault.clone())),
                });
            }
            match this.poll_piece(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(bytes))) => this.current = bytes,
                Poll::Ready(Some(Err(fault))) => this.outcome = Some(Err(fault)),
                Poll::Ready(None) => this.outcome = Some(this.finish()),
            }
        }
        let here = this.current.len().min(buffer.remaining());
        buffer.put_slice(&this.current.split_to(here));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "upload_body_test.rs"]
mod tests;
