//! `database.modifyDocument`, its older form `database.updateDocument`, and `database.modifyAndReturnDoc`.
//!
//! `merge` tells an update by operators from a replacement. An update that carries nothing is a
//! no-op and must never be taken for a replacement by an empty document: the clients send `{}` for
//! `update({a: {}})`.

use bson::{Bson, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use yunbase_docdb::op::{FindOp, Op, OpReply, UpdateOp};

use super::{
    Action, Family, query, unexpected_reply, unreadable, with_id_in, write_found, write_id,
};
use crate::call::Failure;
use crate::gateway::envelope::Answer;
use crate::gateway::ids;
use crate::gateway::params::wrong;

const SET: &bson::raw::CStr = bson::raw::cstr!("$set");
const ID: &bson::raw::CStr = bson::raw::cstr!("_id");

pub(super) async fn modify(action: &Action<'_>) -> Result<Answer, Failure> {
    let params = &action.params;
    let collection = params.collection()?;
    let merge = params.flag("merge")?.unwrap_or(true);
    let multi = params.flag("multi")?.unwrap_or(false);
    let upsert = params.flag("upsert")?.unwrap_or(false);
    let data = params
        .document("data")?
        .ok_or_else(|| wrong("data", "an update"))?;
    let filter = query(params)?;
    if merge && !upsert && data.is_empty() {
        return touch_nothing(action, collection, filter, multi).await;
    }
    if !merge && multi {
        return Err(wrong(
            "multi",
            "the value false when merge is false: one document replaces one document",
        ));
    }
    let update = UpdateOp {
        filter,
        update: if merge {
            operators(&data)?
        } else {
            replacement(data)?
        },
        replace: !merge,
        upsert,
        multi,
        return_document: false,
        sort: RawDocumentBuf::new(),
        upsert_id: ids::document_id(params.now_unix_ms),
    };
    let OpReply::Updated {
        matched,
        modified,
        upserted_id,
        ..
    } = action.run(Op::Update { collection, update }).await?
    else {
        return Err(unexpected_reply());
    };
    let mut data = format!("{{\"updated\":{modified}");
    if action.family == Family::Rest {
        data.push_str(&format!(",\"matched\":{matched}"));
    }
    if let Some(id) = upserted_id {
        // doc.set of the older clients and of apps reads `upserted_id`, everything else `upsert_id`.
        let names: &[&str] = match action.family {
            Family::Ejson => &["upsert_id"],
            Family::Json | Family::Rest => &["upsert_id", "upserted_id"],
        };
        for name in names {
            data.push_str(&format!(",\"{name}\":"));
            write_id(&mut data, &id)?;
        }
    }
    data.push('}');
    Ok(Answer::of(data))
}

pub(super) async fn modify_and_return(action: &Action<'_>) -> Result<Answer, Failure> {
    let params = &action.params;
    let collection = params.collection()?;
    let data = params
        .document("data")?
        .ok_or_else(|| wrong("data", "an update"))?;
    let update = UpdateOp {
        filter: query(params)?,
        update: operators(&data)?,
        replace: false,
        upsert: false,
        multi: false,
        return_document: true,
        sort: params.order()?,
        upsert_id: String::new(),
    };
    let op = Op::Update { collection, update };
    let OpReply::Updated {
        modified, document, ..
    } = action.run(op).await?
    else {
        return Err(unexpected_reply());
    };
    let mut data = format!("{{\"updated\":{modified},\"doc\":");
    match document {
        Some(document) => write_found(&mut data, &mut String::new(), &document, action.family)?,
        None => data.push_str("null"),
    }
    data.push('}');
    Ok(Answer::of(data))
}

/// Updates the document whose `_id` is the first of `ids` that there is.
pub(super) async fn one(action: &Action<'_>, ids: &[Bson]) -> Result<Answer, Failure> {
    let params = &action.params;
    let collection = params.collection()?;
    let return_document = params.flag("returnDoc")?.unwrap_or(false);
    let data = params
        .document("data")?
        .ok_or_else(|| wrong("data", "an update"))?;
    let update = UpdateOp {
        filter: with_id_in(ids)?,
        update: operators(&data)?,
        return_document,
        sort: rawdoc! { "_id": -1 },
        ..UpdateOp::default()
    };
    let OpReply::Updated {
        modified, document, ..
    } = action.run(Op::Update { collection, update }).await?
    else {
        return Err(unexpected_reply());
    };
    let mut data = format!("{{\"updated\":{modified}");
    if return_document {
        data.push_str(",\"doc\":");
        match document {
            Some(document) => {
                write_found(&mut data, &mut String::new(), &document, action.family)?;
            }
            None => data.push_str("null"),
        }
    }
    data.push('}');
    Ok(Answer::of(data))
}

/// Answers an update that carries nothing. The read lets a wrong collection or query fail as always.
async fn touch_nothing(
    action: &Action<'_>,
    collection: String,
    filter: RawDocumentBuf,
    multi: bool,
) -> Result<Answer, Failure> {
    let mut data = String::from("{\"updated\":0");
    if action.family == Family::Rest {
        let op = Op::Count { collection, filter };
        let OpReply::Counted { count } = action.run(op).await? else {
            return Err(unexpected_reply());
        };
        let matched = if multi { count } else { count.min(1) };
        data.push_str(&format!(",\"matched\":{matched}"));
    } else {
        let find = FindOp {
            filter,
            projection: rawdoc! { "_id": 1 },
            limit: Some(1),
            ..FindOp::default()
        };
        action.run(Op::Find { collection, find }).await?;
    }
    data.push('}');
    Ok(Answer::of(data))
}

/// An update by operators; plain members alone mean `$set`.
pub(in crate::gateway) fn operators(data: &RawDocumentBuf) -> Result<RawDocumentBuf, Failure> {
    let (mut with_operator, mut plain) = (false, false);
    for member in data {
        let (name, value) = member.map_err(|error| unreadable(&error))?;
        if name.as_str().starts_with('$') {
            with_operator = true;
            check_id_untouched(name.as_str(), value)?;
        } else {
            plain = true;
        }
    }
    if with_operator && plain {
        return Err(wrong("data", "either operators or plain members, not both"));
    }
    if with_operator {
        return Ok(data.clone());
    }
    check_id_untouched(SET.as_str(), RawBsonRef::Document(data))?;
    let mut update = RawDocumentBuf::new();
    update.append(SET, data.as_ref() as &RawDocument);
    Ok(update)
}

/// `_id` names a document for life. (An upsert may set it for the document that it creates.)
fn check_id_untouched(operator: &str, fields: RawBsonRef<'_>) -> Result<(), Failure> {
    let Some(fields) = fields.as_document().filter(|_| operator != "$setOnInsert") else {
        return Ok(());
    };
    for field in fields {
        let (path, value) = field.map_err(|error| unreadable(&error))?;
        let renamed_to_id = operator == "$rename" && value.as_str().is_some_and(is_id);
        if is_id(path.as_str()) || renamed_to_id {
            return Err(wrong("data", "no `_id`: it cannot be changed"));
        }
    }
    Ok(())
}

fn is_id(path: &str) -> bool {
    path == "_id" || path.starts_with("_id.")
}

/// A whole new document.
pub(in crate::gateway) fn replacement(data: RawDocumentBuf) -> Result<RawDocumentBuf, Failure> {
    for member in &data {
        let (name, _) = member.map_err(|error| unreadable(&error))?;
        if name.as_str().starts_with('$') {
            return Err(wrong(
                "data",
                "a whole document without operators when merge is false",
            ));
        }
        if name == ID {
            return Err(wrong("data", "no `_id`: it cannot be changed"));
        }
    }
    Ok(data)
}
