//! The actions of the database: from the members of a request to an [`Op`], and from its reply to an answer.
//!
//! All doors meet in [`dispatch_as`]: an action is the same by whatever door it came, only the spelling of its answer
//! differs.

mod aggregate;
mod collection;
mod find;
pub(super) mod insert;
mod remove;
mod transaction;
pub(super) mod update;
mod user_info;

use std::time::Instant;

use bson::{Bson, RawBsonRef, RawDocument, RawDocumentBuf};
use yunbase_docdb::op::{Op, OpReply};

use super::codes;
use super::ejson::{self, Dialect, write_json_string};
use super::envelope::Answer;
use super::large::LARGE_BODY_BYTES;
use super::params::{Params, wrong};
use crate::call::{Call, Caller, Execute, Failure, ReadLevel, Retry};
use crate::transactions::{Step, Transact};

pub(super) use user_info::{ACTION as USER_INFO, user_info};

/// An action under way: its members, and how to have the node carry out what it asks.
pub(super) struct Action<'a> {
    /// The members.
    pub(super) params: Params<'a>,
    /// The spelling of the answer.
    pub(super) family: Family,
    /// Everything of a call but the operation.
    pub(super) context: &'a CallContext<'a>,
    /// The transaction that it is part of.
    transaction: Option<String>,
}

impl<'a> Action<'a> {
    /// An action on `params`, unless they ask for what no action can do.
    fn new(
        family: Family,
        params: Params<'a>,
        context: &'a CallContext<'a>,
    ) -> Result<Self, Failure> {
        check(&params, context)?;
        Ok(Self {
            transaction: transaction::id_of(&params)?,
            params,
            family,
            context,
        })
    }

    /// Has the node carry out `op`, as part of the action's transaction if there is one.
    pub(super) async fn run(&self, op: Op) -> Result<OpReply, Failure> {
        match &self.transaction {
            Some(id) => transaction::step(self.context, id, Step::Run(op)).await,
            None => self.context.run(op).await,
        }
    }
}

/// How an answer is spelt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Documents as strings of canonical EJSON: the newer server-side clients.
    Ejson,
    /// Documents as JSON objects with plain numbers: the older clients.
    Json,
    /// Documents as objects of canonical EJSON: the REST of apps.
    Rest,
}

impl Family {
    /// The family that an action belongs to.
    fn of(action: &str) -> Self {
        match action {
            "database.addDocument"
            | "database.queryDocument"
            | "database.countDocument"
            | "database.updateDocument"
            | "database.deleteDocument"
            | "database.aggregate"
            | "database.getInTransaction"
            | "database.insertDocInTransaction"
            | "database.updateDocInTransaction"
            | "database.deleteDocInTransaction" => Self::Json,
            _ => Self::Ejson,
        }
    }
}

/// What all calls of one request share.
pub(super) struct CallContext<'a> {
    pub(super) execute: &'a dyn Execute,
    pub(super) transactions: &'a dyn Transact,
    pub(super) caller: Caller,
    pub(super) env: String,
    pub(super) deadline: Instant,
    pub(super) request_id: &'a str,
}

impl CallContext<'_> {
    pub(super) async fn run(&self, op: Op) -> Result<OpReply, Failure> {
        if op.query_bytes() >= LARGE_BODY_BYTES {
            // Else it would be refused on the leader, after a journey that makes others wait.
            op.check_query()?;
        }
        let call = Call {
            caller: self.caller.clone(),
            env: self.env.clone(),
            op,
            session: None,
            read_level: ReadLevel::Linearizable,
            deadline: self.deadline,
            request_id: self.request_id.to_owned(),
        };
        self.execute.execute(call).await
    }

    /// Refuses an end user what only administrators may do, whatever the rules of a collection say.
    pub(super) fn require_administrator(&self, what: &str) -> Result<(), Failure> {
        if matches!(self.caller, Caller::User(_)) {
            let message = format!("{what} needs a secret key: end users may not do it");
            return Err(Failure::new(codes::ACTION_FORBIDDEN, message, Retry::Never));
        }
        Ok(())
    }
}

/// Among the actions a duplicate key is the catch-all code: their clients know no other.
fn as_actions_spell_it(mut failure: Failure) -> Failure {
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
    dispatch_as(Family::of(name), name, params, context)
        .await
        .map_err(as_actions_spell_it)
}

/// Carries out the action named `name` and answers in the way of `family`.
pub(super) async fn dispatch_as(
    family: Family,
    name: &str,
    params: Params<'_>,
    context: &CallContext<'_>,
) -> Result<Answer, Failure> {
    let action = Action::new(family, params, context)?;
    match name {
        "database.addCollection" => {
            context.require_administrator("creating a collection")?;
            collection::create(&action).await
        }
        "database.insertDocument" | "database.addDocument" => insert::insert(&action).await,
        "database.getDocument" | "database.queryDocument" => find::find(&action).await,
        "database.calculateDocument" | "database.countDocument" => find::count(&action).await,
        "database.modifyDocument" | "database.updateDocument" => update::modify(&action).await,
        "database.modifyAndReturnDoc" => update::modify_and_return(&action).await,
        "database.removeDocument" | "database.deleteDocument" => remove::remove(&action).await,
        "database.aggregateDocuments" | "database.aggregate" => aggregate::aggregate(&action).await,
        "database.startTransaction" => transaction::start(&action),
        "database.commitTransaction" => transaction::end(&action, Step::Commit).await,
        "database.abortTransaction" => transaction::end(&action, Step::Abort).await,
        "database.getInTransaction" => transaction::get(&action).await,
        "database.insertDocInTransaction" => transaction::insert(&action).await,
        "database.updateDocInTransaction" => transaction::update(&action).await,
        "database.deleteDocInTransaction" => transaction::delete(&action).await,
        _ => Err(unknown(name)),
    }
}

/// The one document with an `_id`: a call of the REST that is no action.
pub(super) async fn get_one(
    ids: &[Bson],
    params: Params<'_>,
    context: &CallContext<'_>,
) -> Result<Answer, Failure> {
    find::one(&Action::new(Family::Rest, params, context)?, ids).await
}

/// Updates the one document with an `_id`: likewise.
pub(super) async fn update_one(
    ids: &[Bson],
    params: Params<'_>,
    context: &CallContext<'_>,
) -> Result<Answer, Failure> {
    update::one(&Action::new(Family::Rest, params, context)?, ids).await
}

pub(super) fn unknown(name: &str) -> Failure {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    Failure::new(
        codes::INVALID_ACTION,
        format!("the action `{shown}` is not supported by this version"),
        Retry::Never,
    )
}

/// Refuses what no action can do.
pub(super) fn check(params: &Params<'_>, context: &CallContext<'_>) -> Result<(), Failure> {
    refuse_other_database(params, &context.env)
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
pub(super) fn unexpected_reply() -> Failure {
    Failure::new(
        codes::SYS_ERR,
        "the database answered with another kind of reply",
        Retry::SameSequence,
    )
}

pub(super) fn unreadable(error: &impl std::fmt::Display) -> Failure {
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
pub(super) fn write_id(out: &mut String, wrapped: &RawDocument) -> Result<(), Failure> {
    ejson::write_value(out, only_value(wrapped)?, Dialect::Json).map_err(|error| unreadable(&error))
}

/// Appends a document as `family` spells it.
pub(super) fn write_found(
    out: &mut String,
    scratch: &mut String,
    document: &RawDocument,
    family: Family,
) -> Result<(), Failure> {
    let write = |out: &mut String, dialect| {
        ejson::write_document(out, document, dialect).map_err(|error| unreadable(&error))
    };
    match family {
        Family::Json => write(out, Dialect::Json),
        Family::Rest => write(out, Dialect::Canonical),
        Family::Ejson => {
            scratch.clear();
            write(scratch, Dialect::Canonical)?;
            write_json_string(out, scratch);
            Ok(())
        }
    }
}

/// The query for documents whose `_id` is one of `ids`.
fn with_id_in(ids: &[Bson]) -> Result<RawDocumentBuf, Failure> {
    let filter = match ids {
        [id] => bson::doc! { "_id": id },
        several => bson::doc! { "_id": { "$in": several.to_vec() } },
    };
    RawDocumentBuf::try_from(&filter).map_err(|error| unreadable(&error))
}

/// A query, or the empty one that matches all.
fn query(params: &Params<'_>) -> Result<RawDocumentBuf, Failure> {
    Ok(params.document("query")?.unwrap_or_default())
}
