//! `database.aggregateDocuments`, the older `database.aggregate` with its result encoded twice, and the REST's own.

use bson::RawDocumentBuf;
use yunbase_docdb::op::{Op, OpReply};

use super::find::too_large;
use super::{Action, Family, unexpected_reply, write_found};
use crate::call::Failure;
use crate::gateway::aside::aside;
use crate::gateway::ejson::write_json_string;
use crate::gateway::envelope::Answer;

pub(super) async fn aggregate(action: &Action<'_>) -> Result<Answer, Failure> {
    let params = &action.params;
    let op = Op::Aggregate {
        collection: params.collection()?,
        pipeline: match action.family {
            Family::Rest => params.pipeline()?,
            Family::Ejson | Family::Json => params.stages()?,
        },
        seed: rand::random(),
    };
    let OpReply::Found { documents, .. } = action.run(op).await? else {
        return Err(unexpected_reply());
    };
    // The older clients parse each document once more, whatever family they are of otherwise.
    let spelling = match action.family {
        Family::Rest => Family::Rest,
        Family::Ejson | Family::Json => Family::Ejson,
    };
    let list = list_of(&documents, spelling, params.limits.answer_bytes_max)?;
    let mut data = String::with_capacity(list.len() + 16);
    data.push_str("{\"list\":");
    match action.family {
        Family::Ejson | Family::Rest => data.push_str(&list),
        Family::Json => write_json_string(&mut data, &list),
    }
    data.push('}');
    Ok(Answer::of(data))
}

/// A JSON array of the documents.
pub(super) fn list_of(
    documents: &[RawDocumentBuf],
    spelling: Family,
    bytes_max: usize,
) -> Result<String, Failure> {
    let bytes = documents.iter().map(|one| one.as_bytes().len()).sum();
    aside(bytes, || write_list(documents, spelling, bytes_max))
}

fn write_list(
    documents: &[RawDocumentBuf],
    spelling: Family,
    bytes_max: usize,
) -> Result<String, Failure> {
    let mut list = String::from("[");
    let mut scratch = String::new();
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            list.push(',');
        }
        write_found(&mut list, &mut scratch, document, spelling)?;
        if list.len() > bytes_max {
            return Err(too_large(format!(
                "the result is larger than {bytes_max} bytes"
            )));
        }
    }
    list.push(']');
    Ok(list)
}
