//! `POST /v1/storages/…`: files for `@cloudbase/js-sdk` 3. A list of elements in, a list of the same order out.
//!
//! The bucket API of version 3 (`app.storage.from(bucket)`) is refused by name.

use std::time::Instant;

use axum::http::request::Parts;
use futures::future::join_all;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::actions::{CopyMember, content_type_of, life_of};
use super::{Copying, FILES_MAX, FileCalls, outage};
use crate::call::{Failure, Retry};
use crate::gateway::body::{Members, check_depth};
use crate::gateway::door::Trace;
use crate::gateway::envelope::Answer;
use crate::gateway::params::wrong;
use crate::gateway::rest::{Proving, credentials, method};
use crate::gateway::{GatewayState, codes, head, operator};
use crate::operators::roles::Action;
use crate::storage::StorageError;

const PREFIX: &str = "/v1/storages/";

/// A call of the REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    UploadInfo,
    DownloadInfo,
    Delete,
    Copy,
}

impl Route {
    /// What a method and a path mean.
    fn parse(method: &str, path: &str) -> Result<Self, Failure> {
        let name = path.strip_prefix(PREFIX).unwrap_or_default();
        let route = match name {
            "get-objects-upload-info" => Self::UploadInfo,
            "get-objects-download-info" => Self::DownloadInfo,
            "delete-objects" => Self::Delete,
            "copy-objects" => Self::Copy,
            _ if ["bucket", "object"].contains(&name.split('/').next().unwrap_or_default()) => {
                let message = "the bucket API (`app.storage.from`) is not supported by this version: use uploadFile, getTempFileURL, deleteFile and copyFile";
                return Err(Failure::new(codes::INVALID_ACTION, message, Retry::Never));
            }
            _ => {
                let message = "there is no such call below /v1/storages";
                return Err(Failure::new(codes::PATH_NOT_FOUND, message, Retry::Never));
            }
        };
        if method != "POST" {
            let message = "this call needs the method POST";
            return Err(Failure::new(
                codes::METHOD_NOT_ALLOWED,
                message,
                Retry::Never,
            ));
        }
        Ok(route)
    }

    /// For the access log.
    fn name(self) -> &'static str {
        match self {
            Self::UploadInfo => "storage.getObjectsUploadInfo",
            Self::DownloadInfo => "storage.getObjectsDownloadInfo",
            Self::Delete => "storage.deleteObjects",
            Self::Copy => "storage.copyObjects",
        }
    }
}

/// Finds out who asks, and carries out the call.
pub(in crate::gateway) async fn answer(
    state: &GatewayState,
    parts: &Parts,
    body: &[u8],
    request_id: &str,
    deadline: Instant,
    trace: &mut Trace,
) -> Result<Answer, Failure> {
    head::check_headers(&parts.headers, state.limits.header_bytes_max)?;
    // The body is a list, so no member of it could say which environment is meant.
    let members = Members::from_entries(Vec::new());
    let request = Proving {
        state,
        parts,
        body,
        credentials: credentials(parts)?,
        members: &members,
        now_unix_ms: state.clock.now_unix_ms(),
    };
    let identity = request.identity(request_id, deadline, trace).await?;
    let route = Route::parse(method(parts), parts.uri.path())?;
    trace.name_action(route.name());
    let text = text_of(body, state.limits.json_depth_max)?;
    let gate = operator::gate(state, parts, identity.access);
    let action = match route {
        Route::DownloadInfo => Action::DataRead,
        Route::UploadInfo | Route::Delete | Route::Copy => Action::DataWrite,
    };
    gate.permit(action, &identity.env, request_id).await?;
    let calls = FileCalls::of(state, parts, &identity.env, &identity.caller, request_id)?;
    let rows = match route {
        Route::UploadInfo => uploads(&calls, text).await?,
        Route::DownloadInfo => downloads(&calls, text).await?,
        Route::Delete => deletions(&calls, text).await?,
        Route::Copy => copies(&calls, text).await?,
    };
    Ok(Answer::of(Value::Array(rows).to_string()))
}

/// The text of a body, not nested too deep.
fn text_of(body: &[u8], depth_max: usize) -> Result<&str, Failure> {
    let text = std::str::from_utf8(body).map_err(|_| wrong("the body", "to be JSON in UTF-8"))?;
    check_depth(text, depth_max)
        .map_err(|error| Failure::new(codes::INVALID_PARAM, error.to_string(), Retry::Never))?;
    Ok(text)
}

/// The elements of a request.
fn elements<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, Failure> {
    let needs = format!("a list of 1 to {FILES_MAX} elements");
    let elements: Vec<T> = serde_json::from_str(text)
        .map_err(|error| wrong("the body", &format!("{needs}: {error}")))?;
    if elements.len() > FILES_MAX {
        let message = format!("a request may be about {FILES_MAX} files: send several");
        return Err(Failure::new(
            "OBJECT_BATCH_TOO_LARGE",
            message,
            Retry::Never,
        ));
    }
    if elements.is_empty() {
        return Err(wrong("the body", &needs));
    }
    Ok(elements)
}

#[derive(Deserialize)]
struct UploadElement {
    #[serde(rename = "objectId", alias = "cloudPath")]
    object_id: String,
    /// Only its media type counts: some clients announce a length that is not that of the file.
    #[serde(rename = "signedHeader", default)]
    signed_header: Value,
}

async fn uploads(calls: &FileCalls<'_>, text: &str) -> Result<Vec<Value>, Failure> {
    let elements: Vec<UploadElement> = elements(text)?;
    let outcomes = join_all(elements.iter().map(|element| async move {
        let headers = element.signed_header.to_string();
        let content_type = content_type_of(Some(&headers));
        calls.upload(&element.object_id, content_type).await
    }))
    .await;
    outage(&outcomes)?;
    let rows = elements.iter().zip(outcomes).map(|(element, outcome)| {
        let id = &element.object_id;
        match outcome {
            Ok(upload) => json!({
                "objectId": id,
                "uploadUrl": upload.url,
                "authorization": upload.ticket,
                "token": upload.ticket,
                "cloudObjectMeta": calls.scope.request_id,
                "cloudObjectId": upload.id,
                "downloadUrl": upload.download.0,
                "downloadUrlEncoded": upload.download.1,
            }),
            Err(error) => failed(json!({ "objectId": id }), &error),
        }
    });
    Ok(rows.collect())
}

#[derive(Deserialize)]
struct IdElement {
    #[serde(rename = "cloudObjectId", alias = "fileID", alias = "fileid")]
    cloud_object_id: String,
    #[serde(rename = "maxAge", alias = "max_age", default)]
    max_age: Value,
}

async fn downloads(calls: &FileCalls<'_>, text: &str) -> Result<Vec<Value>, Failure> {
    let elements: Vec<IdElement> = elements(text)?;
    let public = calls.door.access.is_public(&calls.scope).await?;
    let outcomes = join_all(elements.iter().map(|element| async move {
        let life_s = life_of(&element.max_age)?;
        calls.link(&element.cloud_object_id, life_s, public).await
    }))
    .await;
    outage(&outcomes)?;
    let rows = elements.iter().zip(outcomes).map(|(element, outcome)| {
        let row = json!({ "cloudObjectId": element.cloud_object_id });
        match outcome {
            Ok(link) => json!({
                "cloudObjectId": link.id,
                "downloadUrl": link.url,
                "downloadUrlEncoded": link.escaped,
            }),
            Err(error) => failed(row, &error),
        }
    });
    Ok(rows.collect())
}

async fn deletions(calls: &FileCalls<'_>, text: &str) -> Result<Vec<Value>, Failure> {
    let elements: Vec<IdElement> = elements(text)?;
    let deleted = elements
        .iter()
        .map(|one| calls.delete(&one.cloud_object_id));
    let outcomes = join_all(deleted).await;
    let rows = elements.iter().zip(&outcomes).map(|(element, outcome)| {
        let row = json!({ "cloudObjectId": element.cloud_object_id });
        match outcome {
            Ok(()) => row,
            Err(error) => failed(row, error),
        }
    });
    Ok(rows.collect())
}

async fn copies(calls: &FileCalls<'_>, text: &str) -> Result<Vec<Value>, Failure> {
    let members: Vec<CopyMember> = elements(text)?;
    let mut rows = Vec::with_capacity(members.len());
    // In their order: one may copy what another has made.
    for member in members {
        let copying = Copying::from(member);
        rows.push(match calls.copy(&copying).await {
            Ok(id) => json!({ "cloudObjectId": id }),
            Err(error) => failed(json!({ "cloudObjectId": "" }), &error),
        });
    }
    Ok(rows)
}

/// An element that failed, with the codes that the clients of the REST know.
fn failed(mut row: Value, error: &StorageError) -> Value {
    let code = match error {
        StorageError::NotFound(_) | StorageError::NoSuchUpload(_) => "OBJECT_NOT_EXIST",
        StorageError::Exists(_) => "OBJECT_ALREADY_EXIST",
        StorageError::Denied(_) => "STORAGE_EXCEED_AUTHORITY",
        StorageError::Invalid(_) => codes::INVALID_PARAM,
        _ => "COS_ACTION_FAILED",
    };
    row["code"] = Value::from(code);
    row["message"] = Value::from(error.to_string());
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_calls() {
        let parse = |method, path: &str| {
            Route::parse(method, &format!("{PREFIX}{path}")).map_err(|failure| failure.code)
        };
        assert_eq!(parse("POST", "delete-objects"), Ok(Route::Delete));
        assert_eq!(
            parse("GET", "delete-objects"),
            Err("METHOD_NOT_ALLOWED".into())
        );
        assert_eq!(
            parse("POST", "delete-objects/x"),
            Err("PATH_NOT_FOUND".into())
        );
        for path in ["bucket/", "bucket/b", "object/b/a/c.png", "object/sign/b/a"] {
            assert_eq!(parse("GET", path), Err("INVALID_ACTION".into()), "{path}");
        }
    }

    #[test]
    fn elements_are_bounded() {
        let of = |text: &str| elements::<IdElement>(text).map_err(|failure| failure.code);
        let one = r#"{"cloudObjectId":"cloud://demo.demo/a"}"#;
        assert_eq!(of(&format!("[{one}]")).map(|all| all.len()).ok(), Some(1));
        let many = vec![one; FILES_MAX + 1].join(",");
        assert_eq!(
            of(&format!("[{many}]")).err().unwrap(),
            "OBJECT_BATCH_TOO_LARGE"
        );
        for bad in ["", "[]", "{}", "[1]", "[{}]"] {
            assert_eq!(of(bad).err().unwrap(), "INVALID_PARAM", "{bad}");
        }
    }
}
