//! `storage.getFileAuthority`: what a user may do with files, for servers that ask on its behalf.
//!
//! The official description of the answer is not public; this one says for each file whether what was asked for is allowed.

use serde::Deserialize;
use serde_json::{Value, json};

use super::FileCalls;
use super::actions::{failed, list, succeeded};
use crate::call::{Caller, EndUser, Failure, LoginType};
use crate::gateway::params::{Params, wrong};
use crate::rules::{Action, Rules};
use crate::storage::{FilePath, FileRecord, StorageError, StorageResult};

/// A file and what is wanted of it.
#[derive(Deserialize)]
struct Asked {
    #[serde(rename = "type")]
    kind: Kind,
    path: String,
}

#[derive(Deserialize, Clone, Copy)]
enum Kind {
    #[serde(rename = "READ")]
    Read,
    #[serde(rename = "WRITE")]
    Write,
    #[serde(rename = "READWRITE")]
    ReadWrite,
}

/// Answers for the calling user, or for the one whom an administrator names.
pub(super) async fn answer(calls: &FileCalls<'_>, params: &Params<'_>) -> Result<Value, Failure> {
    let asked: Vec<Asked> = list(params, &["file_list", "fileList"])?;
    let user = match calls.caller {
        Caller::User(user) => EndUser::clone(user),
        Caller::Administrator { .. } | Caller::System => named(params)?,
    };
    let rules = calls.door.access.rules(&calls.scope).await?;
    let mut rows = Vec::with_capacity(asked.len());
    for one in &asked {
        let row = json!({ "path": one.path });
        rows.push(match judge(calls, &rules, &user, one).await {
            Ok(()) => succeeded(row),
            Err(StorageError::Database(failure)) => return Err(failure),
            Err(error) => failed(row, &error),
        });
    }
    Ok(json!({ "authority_list": rows, "authorityList": rows }))
}

/// The user whom an administrator asks about.
fn named(params: &Params<'_>) -> Result<EndUser, Failure> {
    let openid = match params.text("openId")? {
        None => params.text("openid")?,
        some => some,
    };
    let uid = params.text("uid")?;
    let known = openid.clone().or_else(|| uid.clone());
    let known = known.ok_or_else(|| wrong("uid", "a user: administrators may do everything"))?;
    let login_type = match params.text("loginType")?.as_deref() {
        Some("ANONYMOUS") => LoginType::Anonymous,
        Some("EMAIL") => LoginType::Email,
        Some("PHONE") => LoginType::Phone,
        Some("CUSTOM") => LoginType::Custom,
        Some("USERNAME") => LoginType::Username,
        Some(_) | None if openid.is_some() => LoginType::Wechat,
        Some(_) | None => LoginType::Username,
    };
    Ok(EndUser {
        uid: uid.unwrap_or_else(|| known.clone()),
        openid: known,
        login_type,
        session: String::new(),
    })
}

async fn judge(
    calls: &FileCalls<'_>,
    rules: &Rules,
    user: &EndUser,
    asked: &Asked,
) -> StorageResult<()> {
    let path = calls.path_or_id(&asked.path)?;
    let record = calls.door.files.stat(&calls.scope, &path).await?;
    let ask = Ask {
        calls,
        rules,
        user,
        path: &path,
        record: record.as_ref(),
    };
    match asked.kind {
        Kind::Read => ask.one(Action::Read).await,
        Kind::Write => ask.write().await,
        Kind::ReadWrite => {
            ask.one(Action::Read).await?;
            ask.write().await
        }
    }
}

/// Questions about one file.
struct Ask<'a> {
    calls: &'a FileCalls<'a>,
    rules: &'a Rules,
    user: &'a EndUser,
    path: &'a FilePath,
    record: Option<&'a FileRecord>,
}

impl Ask<'_> {
    async fn one(&self, action: Action) -> StorageResult<()> {
        let (scope, access) = (&self.calls.scope, &self.calls.door.access);
        access
            .judge(scope, self.rules, self.user, action, self.path, self.record)
            .await
    }

    async fn write(&self) -> StorageResult<()> {
        if self.record.is_none() {
            return self.one(Action::Create).await;
        }
        self.one(Action::Update).await?;
        self.one(Action::Delete).await
    }
}
