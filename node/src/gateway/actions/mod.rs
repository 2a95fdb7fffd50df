//! The actions of the database: from the members of a request to an [`Op`], and from its reply to an answer.

mod collection;
mod find;
mod insert;
mod remove;
mod update;
mod user_info;

use std::time::Instant;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use yunbase_docdb::op::{Op, OpReply};

use super::codes;
use super::ejson::{self, Dialect, write_json_string};
use super::envelope::Answer;
use super::params::{Params, wrong};
use crate::call::{Call, Caller, Execute, Failure, ReadLevel, Retry};

pub(super) use user_info::{ACTION as USER_INFO, user_info};

/// An action under way: its members, and how to have the node carry out what it asks.
pub(super) struct Action<'a> {
    /// The members.
    pub(super) params: Params<'a>,
    /// The spelling of values in the answer.
    pub(super) dialect: Dialect,
    /// Everything of a call but the operation.
    pub(super) context: &'a CallContext<'a>,
}

/// What all calls of one request share.
pub(super) struct CallContext<'a> {
    pub(super) execute: &'a dyn Execute,
    pub(super) caller: Caller,
    pub(super) env: String,
    pub(super) deadline: Instant,
    pub(super) request_id: &'a str,
}

impl CallContext<'_> {
    async fn run(&self, op: Op) -> Result<OpReply, Failure> {
        let call = Call {
            caller: self.caller.clone(),
            env: self.env.clone(),
            op,
            session: None,
            read_level: ReadLevel::Linearizable,
            deadline: self.deadline,
            request_id: self.request_id.to_owned(),
        };
        self.execute.execute(call).await.map_err(on_admin)
    }
}

/// On `/admin` a duplicate key is the catch-all code: the server-side clients know no other.
fn on_admin(mut failure: Failure) -> Failure {
    if failure.code == codes::DATABASE_DUPLICATE_WRITE {
        failure.code = codes::DATABASE_REQUEST_FAILED.into();
    }
    failure
}

/// Carries out the action named `name`.
pub(super) async fn dispatch(
    name: &str,
    params: Params<'_>,
    context: &CallContext<'_>,
) -> Result<Answer, Failure> {
    let dialect = match name {
        "database.addDocument"
        | "database.queryDocument"
        | "database.countDocument"
        | "database.updateDocument"
        | "database.deleteDocument" => Dialect::Json,
        _ => Dialect::Canonical,
    };
    if params.raw("transactionId").is_some() {
        let message = "transactions are not supported by this version: leave out transactionId";
        return Err(Failure::new(codes::INVALID_ACTION, message, Retry::Never));
    }
    refuse_other_database(&params, &context.env)?;
    let action = Action {
        params,
        dialect,
        context,
    };
    match name {
        "database.addCollection" => collection::create(&action).await,
        "database.insertDocument" | "database.addDocument" => insert::insert(&action).await,
        "database.getDocument" | "database.queryDocument" => find::find(&action).await,
        "database.calculateDocument" | "database.countDocument" => find::count(&action).await,
        "database.modifyDocument" | "database.updateDocument" => update::modify(&action).await,
        "database.modifyAndReturnDoc" => update::modify_and_return(&action).await,
        "database.removeDocument" | "database.deleteDocument" => remove::remove(&action).await,
        _ => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> Failure {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    Failure::new(
        codes::INVALID_ACTION,
        format!("the action `{shown}` is not supported by this version"),
        Retry::Never,
    )
}

/// An environment has one database; a client that names another must not get this one.
fn refuse_other_database(params: &Params<'_>, env: &str) -> Result<(), Failure> {
    for member in ["instance", "database"] {
        let named = params.text(member)?;
        if named.is_some_and(|name| name != "(default)" && name != "default" && name != env) {
            return Err(wrong(
                member,
                "no value or `(default)`: an environment has one database",
            ));
        }
    }
    Ok(())
}

/// The reply was not of the kind that the operation answers with.
fn unexpected_reply() -> Failure {
    Failure::new(
        codes::SYS_ERR,
        "the database answered with another kind of reply",
        Retry::SameSequence,
    )
}

fn unreadable(error: &impl std::fmt::Display) -> Failure {
    Failure::new(
        codes::SYS_ERR,
        format!("an answer of the database cannot be read: {error}"),
        Retry::Never,
    )
}

/// The value in a one-element document `{"": value}`.
fn only_value(wrapped: &RawDocument) -> Result<RawBsonRef<'_>, Failure> {
    match wrapped.iter().next() {
        Some(Ok((_, value))) => Ok(value),
        Some(Err(error)) => Err(unreadable(&error)),
        None => Err(unexpected_reply()),
    }
}

/// Appends an `_id` as plain JSON, which is what both families expect of ids.
fn write_id(out: &mut String, wrapped: &RawDocument) -> Result<(), Failure> {
    ejson::write_value(out, only_value(wrapped)?, Dialect::Json).map_err(|error| unreadable(&error))
}

/// Appends a document: a string of EJSON, or a JSON object for the JSON family.
fn write_found(
    out: &mut String,
    scratch: &mut String,
    document: &RawDocument,
    dialect: Dialect,
) -> Result<(), Failure> {
    match dialect {
        Dialect::Json => {
            ejson::write_document(out, document, dialect).map_err(|error| unreadable(&error))?;
        }
        Dialect::Canonical => {
            scratch.clear();
            ejson::write_document(scratch, document, dialect)
                .map_err(|error| unreadable(&error))?;
            write_json_string(out, scratch);
        }
    }
    Ok(())
}

/// A query, or the empty one that matches all.
fn query(params: &Params<'_>) -> Result<RawDocumentBuf, Failure> {
    Ok(params.document("query")?.unwrap_or_default())
}
