//! Forms of `POST` (`multipart/form-data`), read piece by piece.
//!
//! Of a file only what arrived with the last read is held, of a field no more than [`FIELD_BYTES_MAX`], of everything
//! between parts no more than [`HEAD_BYTES_MAX`]. Parsers that read on for as long as there is something to read hold
//! whatever a client sends faster than a disk writes, which is why this one is our own.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use memchr::memmem::{self, Finder};

use super::part_head::PartHead;
use crate::storage::error::{StorageError, StorageResult};

/// Longest head of a part, and longest text in front of the first.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Longest field that is no file: a ticket, with the name of its file in it.
const FIELD_BYTES_MAX: usize = 16 << 10;

/// A form that arrives.
pub(super) struct Form<S> {
    pieces: S,
    /// What has arrived and was not given out yet.
    held: BytesMut,
    /// What stands between two parts, with the line break that belongs to it.
    delimiter: Finder<'static>,
    /// Whether the content of a part is being read.
    in_part: bool,
}

impl<S> Form<S>
where
    S: Stream<Item = StorageResult<Bytes>> + Unpin,
{
    /// A form whose parts `boundary` delimits.
    pub(super) fn new(pieces: S, boundary: &str) -> Self {
        let delimiter = format!("\r\n--{boundary}");
        Self {
            pieces,
            // The first delimiter has no line break in front of it when nothing else is there.
            held: BytesMut::from(&b"\r\n"[..]),
            delimiter: Finder::new(&delimiter).into_owned(),
            in_part: true,
        }
    }

    /// Skips to the next part; `None` behind the last.
    pub(super) async fn next_part(&mut self) -> StorageResult<Option<PartHead>> {
        let mut skipped = 0_usize;
        while let Some(piece) = self.piece().await? {
            skipped = skipped.saturating_add(piece.len());
            if skipped > HEAD_BYTES_MAX {
                return Err(invalid("there is too much between two parts of the form"));
            }
        }
        while self.held.len() < 2 {
            self.read_on().await?;
        }
        if self.held.starts_with(b"--") {
            return Ok(None);
        }
        // Includes the line break behind the delimiter, so that a part without any header has a head too.
        let end = loop {
            if let Some(end) = memmem::find(&self.held, b"\r\n\r\n") {
                break end;
            }
            if self.held.len() > HEAD_BYTES_MAX {
                return Err(invalid("the head of a part of the form is too long"));
            }
            self.read_on().await?;
        };
        if end > HEAD_BYTES_MAX {
            return Err(invalid("the head of a part of the form is too long"));
        }
        let head = self.held.split_to(end);
        self.held.advance(4);
        self.in_part = true;
        PartHead::parse(head.trim_ascii_start()).map(Some)
    }

    /// The text of the part that was reached last.
    pub(super) async fn text(&mut self) -> StorageResult<String> {
        let mut text = Vec::new();
        while let Some(piece) = self.piece().await? {
            if text.len() + piece.len() > FIELD_BYTES_MAX {
                return Err(invalid("a field of the form is too long"));
            }
            text.extend_from_slice(&piece);
        }
        String::from_utf8(text).map_err(|_| invalid("a field of the form is not UTF-8"))
    }

    async fn piece(&mut self) -> StorageResult<Option<Bytes>> {
        poll_fn(|cx| self.poll_piece(cx)).await
    }

    async fn read_on(&mut self) -> StorageResult<()> {
        poll_fn(|cx| self.poll_read_on(cx)).await
    }

    /// More content of the part; `None` at its end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<StorageResult<Option<Bytes>>> {
        while self.in_part {
            if let Some(end) = self.delimiter.find(&self.held) {
                if end > 0 {
                    return Poll::Ready(Ok(Some(self.held.split_to(end).freeze())));
                }
                self.held.advance(self.delimiter.needle().len());
                self.in_part = false;
                break;
            }
            // The end of what is held may be the beginning of a delimiter.
            let sure = (self.held.len() + 1).saturating_sub(self.delimiter.needle().len());
            if sure > 0 {
                return Poll::Ready(Ok(Some(self.held.split_to(sure).freeze())));
            }
            ready!(self.poll_read_on(cx))?;
        }
        Poll::Ready(Ok(None))
    }

    fn poll_read_on(&mut self, cx: &mut Context<'_>) -> Poll<StorageResult<()>> {
        Poll::Ready(match ready!(self.pieces.poll_next_unpin(cx)) {
            Some(Ok(piece)) => {
                self.held.extend_from_slice(&piece);
                Ok(())
            }
            Some(Err(error)) => Err(error),
            None => Err(StorageError::Aborted(
                "the form ends before its last delimiter".to_owned(),
            )),
        })
    }
}

/// The content of the part that was reached last.
impl<S> Stream for Form<S>
where
    S: Stream<Item = StorageResult<Bytes>> + Unpin,
{
    type Item = StorageResult<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_piece(cx).map(Result::transpose)
    }
}

fn invalid(what: &str) -> StorageError {
    StorageError::Invalid(what.to_owned())
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    /// A form that arrives in pieces of `size` bytes.
    fn form(
        text: &str,
        size: usize,
    ) -> Form<stream::Iter<std::vec::IntoIter<StorageResult<Bytes>>>> {
        let pieces: Vec<StorageResult<Bytes>> = text
            .as_bytes()
            .chunks(size)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        Form::new(stream::iter(pieces), "XX")
    }

    /// Names and contents.
    async fn parts(text: &str, size: usize) -> StorageResult<Vec<(String, String)>> {
        let mut form = form(text, size);
        let mut parts = Vec::new();
        while let Some(head) = form.next_part().await? {
            parts.push((head.name, form.text().await?));
        }
        Ok(parts)
    }

    fn part(name: &str, content: &str) -> String {
        format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n")
    }

    #[tokio::test]
    async fn forms_are_the_same_in_pieces_of_any_size() {
        let tricky = "a\r\n--X\r\n-\r\n--\r\r\n";
        let text = format!(
            "preamble\r\n{}{}{}--XX--\r\nepilogue",
            part("key", "a/图.png"),
            part("none", ""),
            part("file", tricky)
        );
        for size in 1..=text.len() {
            let found = parts(&text, size).await.unwrap();
            let expected = [("key", "a/图.png"), ("none", ""), ("file", tricky)];
            let expected = expected.map(|(name, content)| (name.to_owned(), content.to_owned()));
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn what_is_not_read_of_a_part_is_skipped() {
        let text = format!("{}{}--XX--", part("a", "skipped"), part("b", "read"));
        let mut form = form(&text, 3);
        assert_eq!(form.next_part().await.unwrap().unwrap().name, "a");
        assert_eq!(form.next_part().await.unwrap().unwrap().name, "b");
        let mut content = Vec::new();
        while let Some(piece) = form.next().await {
            content.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(content, b"read");
        assert!(form.next().await.is_none());
        assert_eq!(form.next_part().await.unwrap(), None);
        assert_eq!(form.next_part().await.unwrap(), None);
    }

    #[tokio::test]
    async fn parts_without_a_head_have_no_name() {
        let found = parts("--XX\r\n\r\nx\r\n--XX--", 2).await.unwrap();
        assert_eq!(found, [(String::new(), "x".to_owned())]);
    }

    #[tokio::test]
    async fn a_form_that_ends_early_is_an_error() {
        let text = format!("{}--XX--", part("file", "content"));
        for cut in 0..text.len() {
            let refused = parts(&text[..cut], 4).await.unwrap_err();
            assert!(
                matches!(refused, StorageError::Aborted(_)),
                "{cut}: {refused}"
            );
        }
    }

    #[tokio::test]
    async fn nothing_grows_without_bound() {
        let long = "x".repeat(2 * FIELD_BYTES_MAX);
        for text in [
            part("a", &long),
            format!("{long}{}", part("a", "b")),
            format!("--XX\r\nA: {long}\r\n\r\n"),
        ] {
            for size in [100, text.len()] {
                let refused = parts(&text, size).await.unwrap_err();
                assert!(matches!(refused, StorageError::Invalid(_)), "{refused}");
            }
        }
    }
}
