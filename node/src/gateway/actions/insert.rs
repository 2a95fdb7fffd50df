//! `database.insertDocument` and its older form `database.addDocument`.

use bson::{RawBsonRef, RawDocumentBuf};
use yunbase_docdb::op::{Op, OpReply};

use super::{Action, Family, unexpected_reply, write_id};
use crate::call::Failure;
use crate::gateway::body::string_of;
use crate::gateway::envelope::Answer;
use crate::gateway::ids;
use crate::gateway::params::{Params, wrong};

const ID: &bson::raw::CStr = bson::raw::cstr!("_id");

pub(super) async fn insert(action: &Action<'_>) -> Result<Answer, Failure> {
    let params = &action.params;
    let collection = params.collection()?;
    let mut documents = params.documents("data")?;
    let given_id = given_id(params, documents.len())?;
    for document in &mut documents {
        *document = with_id(document, given_id.as_deref(), params.now_unix_ms)?;
    }
    let OpReply::Inserted { ids } = action
        .run(Op::Insert {
            collection,
            documents,
        })
        .await?
    else {
        return Err(unexpected_reply());
    };
    let mut data = String::from("{\"insertedIds\":[");
    for (index, id) in ids.iter().enumerate() {
        if index > 0 {
            data.push(',');
        }
        write_id(&mut data, id)?;
    }
    data.push(']');
    if let (Family::Json, Some(first)) = (action.family, ids.first()) {
        data.push_str(",\"_id\":");
        write_id(&mut data, first)?;
    }
    data.push('}');
    Ok(Answer::of(data))
}

/// The member `_id` beside the document, with which the older clients name a single new document.
pub(super) fn given_id(
    params: &Params<'_>,
    documents: usize,
) -> Result<Option<RawDocumentBuf>, Failure> {
    let Some(raw) = params.raw("_id") else {
        return Ok(None);
    };
    if documents != 1 {
        return Err(wrong("_id", "exactly one document in `data`"));
    }
    let mut wrapped = RawDocumentBuf::new();
    if let Some(text) = string_of(raw) {
        wrapped.append(ID, text.as_ref());
    } else if let Ok(whole) = raw.parse::<i64>() {
        match i32::try_from(whole) {
            Ok(small) => wrapped.append(ID, small),
            Err(_) => wrapped.append(ID, whole),
        }
    } else if let Ok(number) = serde_json::from_str::<f64>(raw) {
        wrapped.append(ID, number);
    } else {
        return Err(wrong_id());
    }
    Ok(Some(wrapped))
}

/// The document with `_id` as its first member: its own, else `given`, else a new one.
pub(in crate::gateway) fn with_id(
    document: &RawDocumentBuf,
    given: Option<&bson::RawDocument>,
    now_unix_ms: i64,
) -> Result<RawDocumentBuf, Failure> {
    let own = document.get("_id").map_err(|_| wrong_id())?;
    let given = given.and_then(|wrapped| wrapped.get("_id").ok().flatten());
    if let Some(id) = own.or(given) {
        check_id(id)?;
    }
    let mut out = RawDocumentBuf::new();
    match own.or(given) {
        Some(id) => out.append(ID, id),
        None => out.append(ID, ids::document_id(now_unix_ms)),
    }
    for member in document {
        let (name, value) = member.map_err(|error| super::unreadable(&error))?;
        if name != ID {
            out.append(name, value);
        }
    }
    Ok(out)
}

/// Other types would reach the app as `{}`: the clients know only these as ids.
fn check_id(id: RawBsonRef<'_>) -> Result<(), Failure> {
    match id {
        RawBsonRef::String(text) if !text.is_empty() => Ok(()),
        RawBsonRef::Int32(_) | RawBsonRef::Int64(_) => Ok(()),
        RawBsonRef::Double(number) if number.is_finite() => Ok(()),
        _ => Err(wrong_id()),
    }
}

fn wrong_id() -> Failure {
    wrong(
        "_id",
        "a string that is not empty or a finite number: leave it out to have one made",
    )
}
