//! `database.getDocument` and `database.calculateDocument`, and their older forms.

use bson::{Bson, rawdoc};
use yunbase_docdb::op::{FindOp, Op, OpReply};

use super::aggregate::list_of;
use super::{Action, Family, query, unexpected_reply, with_id_in, write_found};
use crate::call::{Failure, Retry};
use crate::gateway::codes;
use crate::gateway::envelope::Answer;
use crate::gateway::params::wrong;

pub(super) async fn find(action: &Action<'_>) -> Result<Answer, Failure> {
    let params = &action.params;
    let collection = params.collection()?;
    check_query_type(action)?;
    let offset = params.count("offset")?.unwrap_or(0);
    // The clients send no limit for zero, so zero and absent mean the same.
    let limit = params
        .count("limit")?
        .filter(|limit| *limit > 0)
        .unwrap_or(params.limits.find_limit_default);
    let limit = limit.min(params.limits.find_limit_max);
    let find = FindOp {
        filter: query(params)?,
        projection: params.document("projection")?.unwrap_or_default(),
        sort: params.order()?,
        skip: offset,
        limit: Some(limit),
        after: Vec::new(),
    };
    let OpReply::Found { documents, next } = action.run(Op::Find { collection, find }).await?
    else {
        return Err(unexpected_reply());
    };
    // The protocol has no way to say "there is more", so half a result must not look like a whole one.
    if !next.is_empty() && (documents.len() as u64) < limit {
        return Err(too_large(format!(
            "only {} of the documents asked for fit into one result",
            documents.len()
        )));
    }
    let mut data = String::from("{\"list\":");
    data.push_str(&list_of(
        &documents,
        action.family,
        params.limits.answer_bytes_max,
    )?);
    data.push_str(&format!(",\"offset\":{offset},\"limit\":{limit}"));
    if action.family == Family::Rest {
        let found = documents.len() as u64;
        // Where the result itself does not tell, its number would cost a second pass over all matches, for a member
        // that no client reads.
        if found < limit && (found > 0 || offset == 0) {
            data.push_str(&format!(",\"total\":{}", offset.saturating_add(found)));
        }
    }
    data.push('}');
    Ok(Answer::of(data))
}

/// The first of `ids` that is the `_id` of a document, as the document itself.
pub(super) async fn one(action: &Action<'_>, ids: &[Bson]) -> Result<Answer, Failure> {
    let params = &action.params;
    let find = FindOp {
        filter: with_id_in(ids)?,
        projection: params.document("projection")?.unwrap_or_default(),
        sort: rawdoc! { "_id": -1 },
        limit: Some(1),
        ..FindOp::default()
    };
    let collection = params.collection()?;
    let OpReply::Found { documents, .. } = action.run(Op::Find { collection, find }).await? else {
        return Err(unexpected_reply());
    };
    let document = documents.first().ok_or_else(|| {
        let message = "there is no document with this _id";
        Failure::new(codes::DOCUMENT_NOT_FOUND, message, Retry::Never)
    })?;
    let mut data = String::new();
    write_found(&mut data, &mut String::new(), document, action.family)?;
    Ok(Answer::of(data))
}

/// The refusal of a result that does not fit into an answer.
pub(super) fn too_large(what: String) -> Failure {
    let message = what + ": ask for fewer documents or fields";
    Failure::new(codes::EXCEED_REQUEST_SIZE_LIMIT, message, Retry::Never)
}

pub(super) async fn count(action: &Action<'_>) -> Result<Answer, Failure> {
    let params = &action.params;
    let op = Op::Count {
        collection: params.collection()?,
        filter: query(params)?,
    };
    match action.run(op).await? {
        OpReply::Counted { count } => Ok(Answer::of(format!("{{\"total\":{count}}}"))),
        _ => Err(unexpected_reply()),
    }
}

/// `DOC` and `WHERE` differ only in the query that the client makes; anything else is a mistake.
fn check_query_type(action: &Action<'_>) -> Result<(), Failure> {
    match action.params.text("queryType")?.as_deref() {
        None | Some("DOC" | "WHERE") => Ok(()),
        Some(_) => Err(wrong("queryType", "DOC or WHERE")),
    }
}
