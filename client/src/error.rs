//! Why a request failed, and whether its outcome is known.
//!
//! A timeout is not a failure: an [`Error`] says honestly when the request may have taken effect.

use std::borrow::Cow;
use std::fmt;

/// Result of an SDK call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure this is: what a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The database refused the request; [`Error::code`] says why. The same request fails the same way.
    Refused,
    /// The credentials are missing, wrong or not allowed to do this.
    Unauthenticated,
    /// No endpoint could serve the request.
    Unavailable,
    /// The deadline passed before an answer came.
    DeadlineExceeded,
    /// The cluster no longer knows the client's session, so it cannot tell whether an earlier attempt took effect.
    SessionExpired,
    /// The request could not be made: the caller's value is wrong.
    InvalidArgument,
    /// A node answered with something that the protocol does not allow.
    Malformed,
    /// A document does not have the shape of the type it was read into.
    Decode,
}

/// A failed request.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> yunbase_client::Result<()> {
/// # let server = yunbase_client::testing::DevServer::start(1)?;
/// # let client = server.client().await?;
/// # client.create_collection("books").await?;
/// use yunbase_client::ErrorKind;
/// use yunbase_client::bson::doc;
///
/// let books = client.collection("books");
/// books.insert_one(&doc! {"_id": "isbn-1"}).await?;
/// let error = books.insert_one(&doc! {"_id": "isbn-1"}).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Refused);
/// assert_eq!(error.code(), "DATABASE_DUPLICATE_WRITE");
/// assert!(!error.is_unknown(), "it certainly did not happen");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, thiserror::Error)]
pub struct Error {
    kind: ErrorKind,
    code: Cow<'static, str>,
    message: String,
    request_id: String,
    unknown: bool,
}

impl Error {
    pub(crate) fn new(
        kind: ErrorKind,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            code: code.into(),
            message: message.into(),
            request_id: String::new(),
            unknown: false,
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, "INVALID_PARAM", message)
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Malformed, "MALFORMED_ANSWER", message)
    }

    pub(crate) fn decode(error: &bson::error::Error) -> Self {
        Self::new(
            ErrorKind::Decode,
            "DECODE",
            format!("a document does not have the shape of its type: {error}"),
        )
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, "UNAVAILABLE", message)
    }

    pub(crate) fn with_request_id(mut self, request_id: &str) -> Self {
        if self.request_id.is_empty() {
            request_id.clone_into(&mut self.request_id);
        }
        self
    }

    pub(crate) fn with_unknown(mut self, unknown: bool) -> Self {
        self.unknown = unknown;
        self
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The code that the CloudBase clients know, such as `DATABASE_DUPLICATE_WRITE`.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// One sentence that names what is wrong and what to do.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Names the request in the nodes' logs.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Whether the request may have taken effect although it failed. `false` means that it certainly did not.
    pub fn is_unknown(&self) -> bool {
        self.unknown
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if self.unknown {
            f.write_str(" (it may have taken effect)")?;
        }
        if !self.request_id.is_empty() {
            write!(f, " [request {}]", self.request_id)?;
        }
        Ok(())
    }
}
