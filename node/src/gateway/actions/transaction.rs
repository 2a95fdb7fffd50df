//! Transactions: their begin and end, and the operations of the older clients inside of them. Those of the newer ones
//! are the ordinary actions with a `transactionId`.

use bson::{Bson, RawDocumentBuf};
use serde_json::{Map, Value, json};
use yunbase_docdb::op::{FindOp, Op, OpReply, UpdateOp};

use super::{Action, CallContext, Family, insert, query, unexpected_reply, update, write_id};
use crate::call::{Failure, Retry};
use crate::gateway::codes;
use crate::gateway::ejson::{self, Dialect, write_json_string};
use crate::gateway::envelope::Answer;
use crate::gateway::ids;
use crate::gateway::params::{Params, wrong};
use crate::router::TransactionCall;
use crate::transactions::Step;

/// What a request is part of, if it is part of a transaction.
pub(super) fn id_of(params: &Params<'_>) -> Result<Option<String>, Failure> {
    Ok(params.text("transactionId")?.filter(|id| !id.is_empty()))
}

/// Carries out one step of a transaction.
pub(super) async fn step(
    context: &CallContext<'_>,
    id: &str,
    step: Step,
) -> Result<OpReply, Failure> {
    let call = TransactionCall {
        id: id.to_owned(),
        step,
        caller: context.caller.clone(),
        env: context.env.clone(),
        deadline: context.deadline,
        request_id: context.request_id.to_owned(),
    };
    context.transactions.step(call).await
}

pub(super) fn start(action: &Action<'_>) -> Result<Answer, Failure> {
    let context = action.context;
    let id = context.transactions.begin(&context.env, &context.caller)?;
    Ok(named(action.family, &id))
}

pub(super) async fn end(action: &Action<'_>, how: Step) -> Result<Answer, Failure> {
    let id = required(action)?;
    step(action.context, id, how).await?;
    Ok(named(action.family, id))
}

fn required<'a>(action: &'a Action<'_>) -> Result<&'a str, Failure> {
    let id = action.transaction.as_deref();
    id.ok_or_else(|| wrong("transactionId", "the id of a transaction"))
}

fn named(family: Family, id: &str) -> Answer {
    let member = Map::from_iter([("transactionId".to_owned(), json!(id))]);
    match family {
        Family::Rest => Answer::of(Value::Object(member).to_string()),
        Family::Ejson | Family::Json => Answer::beside(&member),
    }
}

/// `database.getInTransaction`: the document as text, or the text `null`, as the whole of `data`.
pub(super) async fn get(action: &Action<'_>) -> Result<Answer, Failure> {
    required(action)?;
    let op = Op::Find {
        collection: action.params.collection()?,
        find: FindOp {
            filter: one(&action.params)?,
            limit: Some(1),
            ..FindOp::default()
        },
    };
    let OpReply::Found { documents, .. } = action.run(op).await? else {
        return Err(unexpected_reply());
    };
    let mut text = String::new();
    match documents.first() {
        Some(document) => ejson::write_document(&mut text, document, Dialect::Canonical)
            .map_err(|error| super::unreadable(&error))?,
        None => text.push_str("null"),
    }
    let mut data = String::new();
    write_json_string(&mut data, &text);
    Ok(Answer::of(data))
}

/// `database.insertDocInTransaction`.
pub(super) async fn insert(action: &Action<'_>) -> Result<Answer, Failure> {
    required(action)?;
    let params = &action.params;
    let document = params
        .document("data")?
        .ok_or_else(|| wrong("data", "a document"))?;
    let given = insert::given_id(params, 1)?;
    let document = insert::with_id(&document, given.as_deref(), params.now_unix_ms)?;
    let op = Op::Insert {
        collection: params.collection()?,
        documents: vec![document],
    };
    let OpReply::Inserted { ids } = action.run(op).await? else {
        return Err(unexpected_reply());
    };
    let mut text = String::new();
    if let Some(id) = ids.first() {
        write_id(&mut text, id)?;
    }
    Ok(beside([("inserted", "1"), ("ok", "1"), ("_id", &text)]))
}

/// `database.updateDocInTransaction`: an update by operators, or a replacement where there are none.
pub(super) async fn update(action: &Action<'_>) -> Result<Answer, Failure> {
    required(action)?;
    let params = &action.params;
    let data = params
        .document("data")?
        .ok_or_else(|| wrong("data", "an update or a document"))?;
    let replace = !data
        .iter()
        .flatten()
        .any(|(name, _)| name.as_str().starts_with('$'));
    let op = Op::Update {
        collection: params.collection()?,
        update: UpdateOp {
            filter: one(params)?,
            update: if replace {
                update::replacement(data)?
            } else {
                data
            },
            replace,
            upsert: params.flag("upsert")?.unwrap_or(false),
            upsert_id: ids::document_id(params.now_unix_ms),
            ..UpdateOp::default()
        },
    };
    let OpReply::Updated {
        modified,
        upserted_id,
        ..
    } = action.run(op).await?
    else {
        return Err(unexpected_reply());
    };
    let updated = format!("{{\"$numberInt\":\"{modified}\"}}");
    let Some(id) = upserted_id else {
        return Ok(beside([("updated", updated.as_str())]));
    };
    let mut upserted = String::from("[{\"_id\":");
    write_id(&mut upserted, &id)?;
    upserted.push_str("}]");
    Ok(beside([
        ("updated", updated.as_str()),
        ("upserted", &upserted),
    ]))
}

/// `database.deleteDocInTransaction`.
pub(super) async fn delete(action: &Action<'_>) -> Result<Answer, Failure> {
    required(action)?;
    let op = Op::Remove {
        collection: action.params.collection()?,
        filter: one(&action.params)?,
        multi: false,
    };
    match action.run(op).await? {
        OpReply::Removed { removed } => Ok(beside([("deleted", removed.to_string().as_str())])),
        _ => Err(unexpected_reply()),
    }
}

/// The document meant: by `query`, or by a member `_id`.
fn one(params: &Params<'_>) -> Result<RawDocumentBuf, Failure> {
    match params.text("_id")? {
        Some(id) => super::with_id_in(&[Bson::String(id)]),
        None => {
            let filter = query(params)?;
            if filter.is_empty() {
                return Err(Failure::new(
                    codes::INVALID_PARAM,
                    "inside a transaction name the document by its _id",
                    Retry::Never,
                ));
            }
            Ok(filter)
        }
    }
}

/// Members beside `data`, each the text of a value.
fn beside<const N: usize>(members: [(&str, &str); N]) -> Answer {
    let members = members.map(|(name, text)| (name.to_owned(), json!(text)));
    Answer::beside(&Map::from_iter(members))
}
