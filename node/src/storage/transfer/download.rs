//! Downloads: `GET` and `HEAD` of a file, for whoever has an address with a signature, or for everyone where the rules say
//! so.
//!
//! Nothing of a file is answered before its first piece was read and compared with its hash, so that damage and lack of
//! nodes have a status of their own. A reader that stops reading is let go after a while.

use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use bytes::Bytes;
use futures::StreamExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::conditions::{Validators, Verdict};
use super::range::{self, Wanted};
use super::{Place, TransferState, answer, permit, text};
use crate::storage::address;
use crate::storage::error::{StorageError, StorageResult};
use crate::storage::files::FileBody;
use crate::storage::path::FilePath;
use crate::storage::record::FileRecord;

/// Pieces read ahead of the client.
const PIECES_AHEAD: usize = 2;
/// Asks for a file to be saved rather than shown; its value is the name to save it under.
const DOWNLOAD: &str = "download";
/// What a browser may do with a file: show it, in an origin of its own, without scripts.
const SANDBOX: &str = "sandbox";

/// Serves a file.
pub(super) async fn serve(
    state: &TransferState,
    place: &Place,
    parts: &Parts,
) -> StorageResult<Response<Body>> {
    let permit = permit(&state.downloads, "downloads")?;
    let query = Query::of(parts.uri.query().unwrap_or_default());
    let path = authorized(state, place, &query).await?;
    let record = state
        .door
        .files
        .stat(&place.scope, &path)
        .await?
        .ok_or_else(|| StorageError::NotFound(path.to_string()))?;
    let validators = Validators::of(&record);
    let mut response = match validators.judge(&parts.headers) {
        Verdict::Go => content(state, place, parts, &record, permit).await?,
        Verdict::NotModified => status(StatusCode::NOT_MODIFIED),
        Verdict::Failed => return Err(StorageError::ConditionFailed(path.to_string())),
    };
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(header::ETAG, &validators.etag);
    set(header::LAST_MODIFIED, &validators.last_modified());
    set(header::ACCEPT_RANGES, "bytes");
    // A file may be replaced at any time. With the etag it costs little to ask.
    set(header::CACHE_CONTROL, "no-cache");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // Browsers show no PDF within a sandbox, and let it do nothing without.
    if !record.content_type.starts_with("application/pdf") {
        set(header::CONTENT_SECURITY_POLICY, SANDBOX);
    }
    if let Some(name) = &query.download {
        let name = if name.is_empty() {
            path.name()
        } else {
            name.as_str()
        };
        set(header::CONTENT_DISPOSITION, &attachment(name));
    }
    Ok(response)
}

/// What the query of an address says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    signature: Option<String>,
    until: Option<String>,
    download: Option<String>,
}

impl Query {
    fn of(query: &str) -> Self {
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                address::SIGNATURE => &mut read.signature,
                address::UNTIL => &mut read.until,
                DOWNLOAD => &mut read.download,
                _ => continue,
            };
            if place.is_none() {
                *place = Some(value.into_owned());
            }
        }
        read
    }
}

/// The path that may be read.
async fn authorized(
    state: &TransferState,
    place: &Place,
    query: &Query,
) -> StorageResult<FilePath> {
    let denied = |why: &str| Err(StorageError::Denied(why.to_owned()));
    let scope = &place.scope;
    let (signature, until) = match (&query.signature, &query.until) {
        (Some(signature), Some(until)) => (signature, until),
        // Half of it is none: whoever has signed addresses shall learn that they are spoilt.
        (Some(_), None) | (None, Some(_)) => {
            return denied("the address has lost a part of its signature: ask for another");
        }
        (None, None) => {
            state.check_env(scope, false).await?;
            if !state.door.access.is_public(scope).await? {
                return denied(
                    "the file needs an address with a signature: ask for one with getTempFileURL",
                );
            }
            return FilePath::parse(place.readings.first().map_or("", String::as_str));
        }
    };
    let Ok(until_s) = until.parse::<i64>() else {
        return denied("the signature of the address does not match");
    };
    let links = &state.door.links;
    let signed = place.readings.iter().find_map(|reading| {
        let path = FilePath::parse(reading).ok()?;
        links
            .check_download(&scope.env, &path, until_s, signature)
            .then_some(path)
    });
    let Some(path) = signed else {
        return denied("the signature of the address does not match");
    };
    if until_s < state.now_s() {
        return denied("the address has expired: ask for another with getTempFileURL");
    }
    state.check_env(scope, true).await?;
    Ok(path)
}

/// The file or the part of it that is asked for, or only its head.
async fn content(
    state: &TransferState,
    place: &Place,
    parts: &Parts,
    record: &FileRecord,
    permit: OwnedSemaphorePermit,
) -> StorageResult<Response<Body>> {
    let size = record.bytes();
    let is_head = parts.method == Method::HEAD;
    let asked = text(&parts.headers, header::RANGE.as_str())
        .filter(|_| !is_head && Validators::of(record).range_is_of_this(&parts.headers));
    let (code, range) = match range::parse(asked, size) {
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Nothing => return Ok(out_of_range(size, &place.scope.request_id)),
    };
    let length = range.end - range.start;
    let content_range = format!(
        "bytes {}-{}/{size}",
        range.start,
        range.end.saturating_sub(1)
    );
    let body = if is_head || length == 0 {
        Body::empty()
    } else {
        let mut pieces = state.door.files.open(record, range);
        let first = match pieces.next().await {
            Some(first) => first?,
            None => return Err(StorageError::Damaged("the file ends too early".to_owned())),
        };
        let idle = state.door.files.limits().idle_timeout;
        send(pieces, first, idle, permit)
    };
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    let media_type = HeaderValue::from_str(&record.content_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if code == StatusCode::PARTIAL_CONTENT
        && let Ok(value) = HeaderValue::from_str(&content_range)
    {
        headers.insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

/// Sends the pieces of a file as fast as the client takes them, but not for ever.
fn send(
    mut pieces: FileBody,
    first: Bytes,
    idle_timeout: Duration,
    permit: OwnedSemaphorePermit,
) -> Body {
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    // On its own, because nobody asks a body for anything while its client takes nothing. When it ends early, the
    // announced length is not reached, and the connection breaks.
    tokio::spawn(async move {
        let _permit = permit;
        let mut next: Option<StorageResult<Bytes>> = Some(Ok(first));
        while let Some(piece) = next {
            let is_last = piece.is_err();
            let sent = tokio::time::timeout(idle_timeout, sender.send(piece)).await;
            if is_last || !matches!(sent, Ok(Ok(()))) {
                return;
            }
            next = pieces.next().await;
        }
    });
    Body::from_stream(ReceiverStream::new(receiver))
}

/// The answer where a file has none of the bytes that are asked for.
fn out_of_range(size: u64, request_id: &str) -> Response<Body> {
    let message = format!("the file has {size} bytes");
    let code = StatusCode::RANGE_NOT_SATISFIABLE;
    let mut response = answer::xml(code, "InvalidRange", &message, request_id);
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
}

fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}

/// `Content-Disposition` that saves a file under `name`.
fn attachment(name: &str) -> String {
    let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
    format!("attachment; filename*=UTF-8''{name}")
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn queries_of_addresses_are_read() {
        assert_eq!(Query::of(""), Query::default());
        let query = Query::of("x=1&sign=ab&t=5&sign=cd&download=a%20b.png");
        assert_eq!(query.signature.as_deref(), Some("ab"));
        assert_eq!(query.until.as_deref(), Some("5"));
        assert_eq!(query.download.as_deref(), Some("a b.png"));
        assert_eq!(Query::of("download").download.as_deref(), Some(""));
    }

    #[test]
    fn names_to_save_under_are_escaped() {
        assert_eq!(
            attachment("图\"\r\n.png"),
            "attachment; filename*=UTF-8''%E5%9B%BE%22%0D%0A%2Epng"
        );
    }

    fn permits() -> (std::sync::Arc<tokio::sync::Semaphore>, OwnedSemaphorePermit) {
        let places = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
        let permit = places.clone().try_acquire_owned().unwrap();
        (places, permit)
    }

    fn pieces(count: usize) -> FileBody {
        Box::pin(stream::iter((0..count).map(|_| Ok(Bytes::from("ab")))))
    }

    #[tokio::test]
    async fn all_pieces_are_sent_and_the_place_is_given_back() {
        let (places, permit) = permits();
        let body = send(pieces(9), Bytes::from("ab"), Duration::from_secs(5), permit);
        let sent = body.collect().await.unwrap().to_bytes();
        assert_eq!(sent.len(), 20);
        let _free = places.acquire().await.unwrap();
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_let_go() {
        let (places, permit) = permits();
        let body = send(
            pieces(9),
            Bytes::from("ab"),
            Duration::from_millis(20),
            permit,
        );
        let _free = places.acquire().await.unwrap();
        // What was read ahead, and no more.
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 4);
    }

    #[tokio::test]
    async fn what_fails_on_the_way_breaks_the_body() {
        let (_places, permit) = permits();
        let lost: FileBody = Box::pin(stream::iter([Err(StorageError::Damaged("x".to_owned()))]));
        let body = send(lost, Bytes::from("ab"), Duration::from_secs(5), permit);
        assert!(body.collect().await.is_err());
    }
}
