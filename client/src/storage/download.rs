//! Downloads: content as a stream of pieces, which goes on over another endpoint where a connection broke off.

use std::ops::{Bound, RangeBounds};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use tonic::Streaming;

use super::Storage;
use super::decision::{Class, Next, decide};
use super::file::{StoredFile, required};
use crate::error::{Error, Result};
use crate::limits::FILE_RESUMES_MAX;
use crate::proto::{self, GetFileResponse};

/// A file, and its content as a stream. The stream ends with an error unless all of the range was delivered.
pub struct Download {
    file: StoredFile,
    from: u64,
    until: u64,
    content: Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>,
}

impl Download {
    /// The file that the content is of: the version that was there when the download began.
    pub fn file(&self) -> &StoredFile {
        &self.file
    }

    /// Where the range begins.
    pub fn from(&self) -> u64 {
        self.from
    }

    /// Where it ends.
    pub fn until(&self) -> u64 {
        self.until
    }
}

impl Stream for Download {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.content.as_mut().poll_next(cx)
    }
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download")
            .field("file", &self.file)
            .field("from", &self.from)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// The range as the protocol has it: where it begins, and where it ends if not with the file.
fn bounds(range: &impl RangeBounds<u64>) -> (u64, Option<u64>) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let until = match range.end_bound() {
        Bound::Included(last) => Some(last.saturating_add(1)),
        Bound::Excluded(until) => Some(*until),
        Bound::Unbounded => None,
    };
    (from, until)
}

/// An answer that has begun.
struct Opened {
    file: StoredFile,
    answer: Streaming<GetFileResponse>,
}

/// Where a download has come to.
struct Course {
    storage: Storage,
    path: String,
    version: String,
    offset: u64,
    until: u64,
    answer: Option<Streaming<GetFileResponse>>,
    /// Attempts in a row that brought nothing.
    failures: u32,
}

impl Storage {
    /// The content of a file, or a range of it: `..`, `100..200`, `1000..`. A range may reach beyond the end of the file.
    pub async fn get(&self, path: &str, range: impl RangeBounds<u64>) -> Result<Download> {
        self.open(path, "", bounds(&range)).await
    }

    /// Likewise, but only of this version of the file.
    pub async fn get_version(
        &self,
        path: &str,
        version: &str,
        range: impl RangeBounds<u64>,
    ) -> Result<Download> {
        self.open(path, version, bounds(&range)).await
    }

    async fn open(
        &self,
        path: &str,
        version: &str,
        (from, until): (u64, Option<u64>),
    ) -> Result<Download> {
        let Opened { file, answer } = self.ask(path, version, from, until).await?;
        let until = until.unwrap_or(file.bytes).min(file.bytes).max(from);
        let course = Course {
            storage: self.clone(),
            path: path.to_owned(),
            version: file.version.clone(),
            offset: from,
            until,
            answer: Some(answer),
            failures: 0,
        };
        let content = futures::stream::try_unfold(course, |mut course| async move {
            let piece = course.next().await?;
            Ok(piece.map(|piece| (piece, course)))
        });
        Ok(Download {
            file,
            from,
            until,
            content: Box::pin(content),
        })
    }

    async fn ask(
        &self,
        path: &str,
        version: &str,
        from: u64,
        until: Option<u64>,
    ) -> Result<Opened> {
        let message = proto::GetFileRequest {
            env: self.env_name(),
            path: path.to_owned(),
            from,
            until,
            version: version.to_owned(),
        };
        let mut answer = self
            .call(
                self.repeatable("Get"),
                message,
                |mut client, request| async move { client.get(request).await },
            )
            .await?;
        // The node answers with the file at once, or not at all.
        let deadline = self.client.deadline();
        let first = tokio::time::timeout(deadline, answer.message()).await;
        let first = first
            .map_err(|_| Error::unavailable("the node began to answer and went silent"))?
            .map_err(|status| match decide(Class::Repeatable, &status) {
                Next::Fail(error) | Next::Again(error) => error,
            })?;
        let file = required(first.and_then(|first| first.file))?;
        Ok(Opened { file, answer })
    }
}

impl Course {
    /// The next piece; `None` once all of the range has come.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.offset >= self.until {
                return Ok(None);
            }
            let because = match self.receive().await {
                Ok(piece) if piece.len() as u64 > self.until - self.offset => {
                    return Err(Error::malformed("the node sent more than was asked for"));
                }
                Ok(piece) => {
                    self.offset += piece.len() as u64;
                    self.failures = 0;
                    return Ok(Some(piece));
                }
                Err(Next::Fail(error)) => return Err(error),
                Err(Next::Again(error)) => error,
            };
            self.answer = None;
            self.failures += 1;
            if self.failures > FILE_RESUMES_MAX {
                return Err(because);
            }
            tracing::debug!(%because, offset = self.offset, "going on with a download");
            let endpoints = &self.storage.client.core().endpoints;
            let attempt = self.failures - 1;
            let pause = crate::retry::pause(attempt, endpoints.len(), &mut rand::rng());
            endpoints.leave(endpoints.pick());
            tokio::time::sleep(pause).await;
        }
    }

    /// A piece that is not empty.
    async fn receive(&mut self) -> Result<Bytes, Next> {
        let answer = match &mut self.answer {
            Some(answer) => answer,
            none => {
                let until = Some(self.until);
                let opened = self
                    .storage
                    .ask(&self.path, &self.version, self.offset, until)
                    .await
                    // It has been repeated until the deadline already.
                    .map_err(Next::Fail)?;
                none.insert(opened.answer)
            }
        };
        let deadline = self.storage.client.deadline();
        loop {
            let message = tokio::time::timeout(deadline, answer.message())
                .await
                .map_err(|_| Next::Again(Error::unavailable("the content stopped coming")))?
                .map_err(|status| decide(Class::Repeatable, &status))?;
            match message {
                Some(message) if message.content.is_empty() => {}
                Some(message) => return Ok(message.content),
                None => {
                    return Err(Next::Again(Error::unavailable(
                        "the content ended before its end",
                    )));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_understood() {
        assert_eq!(bounds(&(..)), (0, None));
        assert_eq!(bounds(&(5..)), (5, None));
        assert_eq!(bounds(&(5..9)), (5, Some(9)));
        assert_eq!(bounds(&(5..=9)), (5, Some(10)));
        assert_eq!(bounds(&(..=u64::MAX)), (0, Some(u64::MAX)));
    }
}
