//! Uploads: `PUT` with the content as body, and `POST` of a form.
//!
//! | client | request | all went well |
//! |---|---|---|
//! | newer, and browsers | `PUT`, ticket in headers | 200 |
//! | older, or `method: 'post'` | `POST`, ticket in fields before the file | what `success_action_status` asks for, else 204 |
//! | Mini Programs | `POST`, ticket in headers | 204 |
//!
//! All of them take an answer without a body for success. The ticket says which path may be written, until when, by whom
//! and how much; the URL or the field `key` must name that path.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::Stream;

use super::arrival::{Arrival, PieceReader};
use super::form::Form;
use super::part_head::boundary_of;
use super::{Place, TransferState, permit, text};
use crate::storage::address;
use crate::storage::door::FileDoor;
use crate::storage::error::{StorageError, StorageResult};
use crate::storage::files::NewFile;
use crate::storage::links::UploadTicket;
use crate::storage::path::FilePath;
use crate::storage::record::FileRecord;

/// Where a ticket may stand, among headers or fields: some clients send it twice, some platforms keep back a header.
const TICKET_NAMES: [&str; 3] = ["authorization", "signature", "x-cos-security-token"];
/// Most fields in front of the file.
const FIELDS_MAX: usize = 64;
/// What senders say that do not know the type of what they send.
const UNKNOWN_TYPES: [&str; 3] = [
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "binary/octet-stream",
];

/// Takes an upload.
pub(super) async fn serve(
    state: &TransferState,
    place: &Place,
    parts: &Parts,
    body: Body,
) -> StorageResult<Response<Body>> {
    let permit = permit(&state.uploads, "uploads")?;
    let mut arrival = Arrival::new(body.into_data_stream(), state.door.files.limits());
    let upload = UploadRequest {
        state,
        place,
        headers: &parts.headers,
    };
    // Boxed, since the future of a put is large.
    let outcome = if parts.method == Method::PUT {
        Box::pin(upload.put(&mut arrival)).await
    } else {
        Box::pin(upload.post(&mut arrival)).await
    };
    // A client that waits for permission to send has sent nothing, and now it need not.
    if outcome.is_err() && !parts.headers.contains_key(header::EXPECT) {
        // Aside, so that whoever waits for the answer before it sends on gets it now.
        tokio::spawn(async move {
            arrival.drain().await;
            drop(permit);
        });
    }
    outcome
}

/// An upload without its body.
struct UploadRequest<'a> {
    state: &'a TransferState,
    place: &'a Place,
    headers: &'a HeaderMap,
}

impl UploadRequest<'_> {
    async fn put<S>(&self, body: S) -> StorageResult<Response<Body>>
    where
        S: Stream<Item = StorageResult<Bytes>> + Send + Unpin,
    {
        let ticket = self.ticket(&Fields::default())?;
        let path = self.written(&ticket, None)?;
        self.state.check_env(&self.place.scope, true).await?;
        let length = text(self.headers, header::CONTENT_LENGTH.as_str());
        let length = length.and_then(|length| length.parse::<u64>().ok());
        if length.is_some_and(|length| length > ticket.bytes_max) {
            return Err(StorageError::TooLarge {
                bytes_max: ticket.bytes_max,
            });
        }
        let said = text(self.headers, header::CONTENT_TYPE.as_str());
        let md5 = digest(text(self.headers, "content-md5"))?;
        let record = self.store(ticket, path, said, md5, body).await?;
        Ok(stored(StatusCode::OK, &record))
    }

    async fn post<S>(&self, body: S) -> StorageResult<Response<Body>>
    where
        S: Stream<Item = StorageResult<Bytes>> + Send + Unpin,
    {
        let said = text(self.headers, header::CONTENT_TYPE.as_str()).unwrap_or_default();
        let boundary = boundary_of(said).ok_or_else(|| {
            StorageError::Invalid(
                "a POST of a file needs a form (`multipart/form-data`): use PUT for the content alone"
                    .to_owned(),
            )
        })?;
        let mut form = Form::new(body, &boundary);
        let mut fields = Fields::default();
        let content_type = loop {
            let Some(part) = form.next_part().await? else {
                return Err(StorageError::Invalid(
                    "the form has no part named `file`".to_owned(),
                ));
            };
            if part.name == "file" {
                break part.content_type;
            }
            if fields.0.len() >= FIELDS_MAX {
                return Err(StorageError::Invalid(format!(
                    "the form has more than {FIELDS_MAX} fields in front of the file"
                )));
            }
            let value = form.text().await?;
            fields.0.push((part.name.to_ascii_lowercase(), value));
        };
        let ticket = self.ticket(&fields)?;
        let path = self.written(&ticket, fields.get("key"))?;
        self.state.check_env(&self.place.scope, true).await?;
        let said = fields.get("content-type").or(content_type.as_deref());
        let md5 = digest(fields.get("content-md5"))?;
        let status = status_of(fields.get("success_action_status"));
        let record = self.store(ticket, path, said, md5, form).await?;
        Ok(stored(status, &record))
    }

    /// The ticket that comes with the upload, which must still be good.
    fn ticket(&self, fields: &Fields) -> StorageResult<UploadTicket> {
        let among_fields = TICKET_NAMES.iter().filter_map(|name| fields.get(name));
        let among_headers = TICKET_NAMES
            .iter()
            .filter_map(|name| text(self.headers, name));
        let mut offered = among_fields.chain(among_headers).peekable();
        if offered.peek().is_none() {
            return Err(StorageError::Denied(
                "the upload carries no `authorization`: ask for one with uploadFile".to_owned(),
            ));
        }
        let (links, env) = (&self.state.door.links, &self.place.scope.env);
        let ticket = offered
            .find_map(|text| links.open_upload(env, text))
            .ok_or_else(|| {
                StorageError::Denied(
                    "the `authorization` of the upload is not one that this cluster gave out"
                        .to_owned(),
                )
            })?;
        if ticket.until_s < self.state.now_s() {
            return Err(StorageError::Denied(
                "the `authorization` of the upload has expired: ask for another with uploadFile"
                    .to_owned(),
            ));
        }
        Ok(ticket)
    }

    /// The path that is written: that of the ticket, which the form or the URL must name.
    fn written(&self, ticket: &UploadTicket, key: Option<&str>) -> StorageResult<FilePath> {
        let names_it = match key {
            Some(key) => key == ticket.path || address::readings(key)?.contains(&ticket.path),
            None => self.place.readings.contains(&ticket.path),
        };
        if !names_it {
            return Err(StorageError::Denied(
                "the `authorization` of the upload is for another path".to_owned(),
            ));
        }
        FilePath::parse(&ticket.path)
    }

    async fn store<S>(
        &self,
        ticket: UploadTicket,
        path: FilePath,
        content_type: Option<&str>,
        md5: Option<[u8; 16]>,
        content: S,
    ) -> StorageResult<FileRecord>
    where
        S: Stream<Item = StorageResult<Bytes>> + Send + Unpin,
    {
        let files = &self.state.door.files;
        let new = NewFile {
            path,
            content_type: known_type(content_type).or(known_type(ticket.content_type.as_deref())),
            metadata: Default::default(),
            owner: ticket.owner,
            condition: FileDoor::condition_of(ticket.condition),
            md5_etag: false,
            md5,
            bytes_max: ticket.bytes_max.min(files.limits().file_bytes_max),
        };
        let reader = PieceReader::new(content);
        files.put(&self.place.scope, new, reader).await
    }
}

/// The fields of a form, their names in lower case.
#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A media type that says something.
fn known_type(content_type: Option<&str>) -> Option<String> {
    let content_type = content_type?.trim();
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let unknown = kind.is_empty()
        || UNKNOWN_TYPES
            .iter()
            .any(|unknown| kind.eq_ignore_ascii_case(unknown));
    let sendable = HeaderValue::from_str(content_type).is_ok();
    (sendable && !unknown).then(|| content_type.to_owned())
}

/// The MD5 that a client says the content has.
fn digest(base64: Option<&str>) -> StorageResult<Option<[u8; 16]>> {
    let Some(base64) = base64 else {
        return Ok(None);
    };
    let digest = STANDARD.decode(base64.trim()).ok();
    match digest.and_then(|digest| <[u8; 16]>::try_from(digest).ok()) {
        Some(digest) => Ok(Some(digest)),
        None => Err(StorageError::Invalid(
            "`Content-MD5` is the Base64 of 16 bytes".to_owned(),
        )),
    }
}

/// The status that a form asks for.
fn status_of(asked: Option<&str>) -> StatusCode {
    match asked.map(str::trim) {
        Some("200") => StatusCode::OK,
        Some("201") => StatusCode::CREATED,
        _ => StatusCode::NO_CONTENT,
    }
}

/// Success: nothing but a status and what tells this content from others.
fn stored(status: StatusCode, record: &FileRecord) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", record.etag)) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_answered_as_they_ask() {
        for (asked, status) in [
            (None, 204),
            (Some("200"), 200),
            (Some(" 201 "), 201),
            (Some("204"), 204),
            (Some("500"), 204),
            (Some(""), 204),
        ] {
            assert_eq!(status_of(asked).as_u16(), status, "{asked:?}");
        }
    }

    #[test]
    fn types_that_say_nothing_are_left_out() {
        for unknown in [
            None,
            Some(""),
            Some("application/octet-stream"),
            Some("Application/Octet-Stream; x=y"),
            Some("text/plain\r\nX: y"),
        ] {
            assert_eq!(known_type(unknown), None, "{unknown:?}");
        }
        let known = known_type(Some(" text/html; charset=utf-8 "));
        assert_eq!(known.as_deref(), Some("text/html; charset=utf-8"));
    }

    #[test]
    fn digests_have_sixteen_bytes() {
        assert_eq!(digest(None), Ok(None));
        assert_eq!(digest(Some("AAAAAAAAAAAAAAAAAAAAAA==")), Ok(Some([0; 16])));
        for bad in ["", "AAAA", "no base64"] {
            assert!(digest(Some(bad)).is_err(), "{bad}");
        }
    }
}
