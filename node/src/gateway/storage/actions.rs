//! `storage.*`: the actions of files, from the members of a request to an answer with one entry for each file.
//!
//! The generations of clients agree on the names of members but for their case, so each is taken in all of its spellings.

use axum::http::request::Parts;
use futures::future::join_all;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Copying, FILES_MAX, FileCalls, authority, outage};
use crate::call::Failure;
use crate::gateway::GatewayState;
use crate::gateway::actions::{self, CallContext};
use crate::gateway::envelope::Answer;
use crate::gateway::params::{Params, wrong};
use crate::operators::gate::Gate;
use crate::operators::roles::Action;
use crate::storage::{StorageError, StorageResult};

const UPLOAD: &str = "storage.getUploadMetadata";
const LINK: &str = "storage.batchGetDownloadUrl";
const DELETE: &str = "storage.batchDeleteFile";
const COPY: &str = "storage.batchCopyFile";
const AUTHORITY: &str = "storage.getFileAuthority";

/// The code of a file with which all went well.
const SUCCESS: &str = "SUCCESS";

/// Whether an action is about files.
pub(in crate::gateway) fn is_action(name: &str) -> bool {
    name.starts_with("storage.")
}

/// Carries out the action named `name`.
pub(in crate::gateway) async fn dispatch(
    state: &GatewayState,
    parts: &Parts,
    gate: &Gate,
    name: &str,
    params: &Params<'_>,
    context: &CallContext<'_>,
) -> Result<Answer, Failure> {
    let action = match name {
        LINK | AUTHORITY => Action::DataRead,
        UPLOAD | DELETE | COPY => Action::DataWrite,
        _ => return Err(actions::unknown(name)),
    };
    gate.permit(action, &context.env, context.request_id)
        .await?;
    let calls = FileCalls::of(
        state,
        parts,
        &context.env,
        &context.caller,
        context.request_id,
    )?;
    let data = match name {
        UPLOAD => upload(&calls, params).await?,
        LINK => links(&calls, params).await?,
        DELETE => deletions(&calls, params).await?,
        COPY => copies(&calls, params).await?,
        _ => authority::answer(&calls, params).await?,
    };
    Ok(Answer::of(data.to_string()))
}

async fn upload(calls: &FileCalls<'_>, params: &Params<'_>) -> Result<Value, Failure> {
    let path = params
        .text("path")?
        .ok_or_else(|| wrong("path", "where the file shall be"))?;
    let content_type = content_type_of(params.raw("headers"));
    let upload = calls.upload(&path, content_type).await?;
    Ok(json!({
        "url": upload.url,
        // Both, since some platforms let an app send only one of the headers.
        "token": upload.ticket,
        "authorization": upload.ticket,
        "fileId": upload.id,
        // Travels in a header, so it is no name of a file. Nobody looks at it.
        "cosFileId": calls.scope.request_id,
        "download_url": upload.download.0,
    }))
}

/// The media type among headers that a client announces: texts, or lists of them.
pub(super) fn content_type_of(headers: Option<&str>) -> Option<String> {
    let headers: Map<String, Value> = serde_json::from_str(headers?).ok()?;
    let (_, value) = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))?;
    let text = match value {
        Value::Array(several) => several.first()?.as_str()?,
        other => other.as_str()?,
    };
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// A file that an address is wanted of: its id, or with more to say.
#[derive(Deserialize)]
#[serde(untagged)]
enum Wanted {
    Id(String),
    File {
        #[serde(alias = "fileID", alias = "fileId", alias = "file_id")]
        fileid: String,
        #[serde(default, alias = "maxAge")]
        max_age: Value,
    },
}

impl Wanted {
    fn id(&self) -> &str {
        match self {
            Self::Id(id) | Self::File { fileid: id, .. } => id,
        }
    }

    /// The life asked for, in seconds.
    fn life_s(&self) -> StorageResult<Option<u64>> {
        match self {
            Self::Id(_) => Ok(None),
            Self::File { max_age, .. } => life_of(max_age),
        }
    }
}

/// A number of seconds, also as text; nothing is as good as zero.
pub(super) fn life_of(value: &Value) -> StorageResult<Option<u64>> {
    let number = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_f64(),
        Value::String(text) if text.is_empty() => return Ok(None),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if number.is_finite() && number >= 0.0 => Ok(Some(number.ceil() as u64)),
        _ => Err(StorageError::Invalid(
            "`max_age` needs a number of seconds that is not negative".to_owned(),
        )),
    }
}

async fn links(calls: &FileCalls<'_>, params: &Params<'_>) -> Result<Value, Failure> {
    let wanted: Vec<Wanted> = list(params, &["file_list", "fileList"])?;
    let lives: Vec<StorageResult<Option<u64>>> = wanted.iter().map(Wanted::life_s).collect();
    let unsaid = |life: &StorageResult<Option<u64>>| matches!(life, Ok(None | Some(0)));
    let public = lives.iter().any(unsaid) && calls.door.access.is_public(&calls.scope).await?;
    let opened = join_all(
        wanted
            .iter()
            .zip(lives)
            .map(|(one, life)| async move { calls.link(one.id(), life?, public).await }),
    )
    .await;
    outage(&opened)?;
    let rows = wanted.iter().zip(&opened).map(|(one, outcome)| {
        let id = one.id();
        match outcome {
            Ok(link) => json!({
                "fileid": id, "fileID": id, "code": SUCCESS,
                "tempFileURL": link.url, "download_url": link.url, "maxAge": link.life_s,
            }),
            Err(error) => failed(
                json!({ "fileid": id, "fileID": id, "tempFileURL": "", "download_url": "" }),
                error,
            ),
        }
    });
    Ok(json!({ "download_list": rows.collect::<Vec<_>>() }))
}

async fn deletions(calls: &FileCalls<'_>, params: &Params<'_>) -> Result<Value, Failure> {
    let names = [
        "fileid_list",
        "fileIdList",
        "fileIDList",
        "file_list",
        "fileList",
    ];
    let ids: Vec<Wanted> = list(params, &names)?;
    let outcomes = join_all(ids.iter().map(|one| calls.delete(one.id()))).await;
    let rows = ids.iter().zip(&outcomes).map(|(one, outcome)| {
        let row = json!({ "fileID": one.id() });
        match outcome {
            Ok(()) => succeeded(row),
            Err(error) => failed(row, error),
        }
    });
    Ok(json!({ "delete_list": rows.collect::<Vec<_>>() }))
}

/// A copy as clients ask for it.
#[derive(Deserialize)]
pub(super) struct CopyMember {
    #[serde(alias = "srcPath")]
    src_path: String,
    #[serde(alias = "dstPath")]
    dst_path: String,
    #[serde(default)]
    overwrite: Option<bool>,
    #[serde(default, alias = "removeOriginal")]
    remove_original: Option<bool>,
}

impl From<CopyMember> for Copying {
    fn from(member: CopyMember) -> Self {
        Self {
            source: member.src_path,
            target: member.dst_path,
            // As the clients document it.
            overwrite: member.overwrite.unwrap_or(true),
            remove_source: member.remove_original.unwrap_or(false),
        }
    }
}

async fn copies(calls: &FileCalls<'_>, params: &Params<'_>) -> Result<Value, Failure> {
    let members: Vec<CopyMember> = list(params, &["file_list", "fileList"])?;
    let mut rows = Vec::with_capacity(members.len());
    // In their order: one may copy what another has made.
    for member in members {
        let copying = Copying::from(member);
        rows.push(match calls.copy(&copying).await {
            Ok(id) => succeeded(json!({ "fileId": id, "fileID": id })),
            Err(error) => failed(json!({ "fileId": "", "fileID": "" }), &error),
        });
    }
    Ok(json!({ "copy_list": rows }))
}

/// The list of files in the first of `names` that is there.
pub(super) fn list<T: DeserializeOwned>(
    params: &Params<'_>,
    names: &[&str],
) -> Result<Vec<T>, Failure> {
    let found = names
        .iter()
        .find_map(|name| params.raw(name).map(|raw| (*name, raw)));
    let needs = format!("a list of 1 to {FILES_MAX} files");
    let Some((name, raw)) = found else {
        return Err(wrong(names.first().copied().unwrap_or_default(), &needs));
    };
    let listed: Vec<T> =
        serde_json::from_str(raw).map_err(|error| wrong(name, &format!("{needs}: {error}")))?;
    if listed.is_empty() || listed.len() > FILES_MAX {
        return Err(wrong(name, &needs));
    }
    Ok(listed)
}

pub(super) fn succeeded(mut row: Value) -> Value {
    row["code"] = Value::from(SUCCESS);
    row
}

pub(super) fn failed(mut row: Value, error: &StorageError) -> Value {
    row["code"] = Value::from(error.code());
    row["message"] = Value::from(error.to_string());
    row
}
