//! `database.aggregateDocuments`, and the older `database.aggregate` with its result encoded twice.

use bson::RawDocumentBuf;
use yunbase_docdb::op::{Op, OpReply};

use super::find::too_large;
use super::{Action, unexpected_reply, write_found};
use crate::call::Failure;
use crate::gateway::ejson::{Dialect, write_json_string};
use crate::gateway::envelope::Answer;

pub(super) async fn aggregate(action: &Action<'_>) -> Result<Answer, Failure> {
    let params = &action.params;
    let op = Op::Aggregate {
        collection: params.collection()?,
        pipeline: params.stages()?,
        seed: rand::random(),
    };
    let OpReply::Found { documents, .. } = action.context.run(op).await? else {
        return Err(unexpected_reply());
    };
    let list = texts(&documents, params.limits.answer_bytes_max)?;
    let mut data = String::with_capacity(list.len() + 16);
    data.push_str("{\"list\":");
    match action.dialect {
        Dialect::Canonical => data.push_str(&list),
        Dialect::Json => write_json_string(&mut data, &list),
    }
    data.push('}');
    Ok(Answer { data })
}

/// A JSON array of the documents, each as a string of EJSON.
fn texts(documents: &[RawDocumentBuf], bytes_max: usize) -> Result<String, Failure> {
    let mut list = String::from("[");
    let mut scratch = String::new();
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            list.push(',');
        }
        write_found(&mut list, &mut scratch, document, Dialect::Canonical)?;
        if list.len() > bytes_max {
            return Err(too_large(format!(
                "the result is larger than {bytes_max} bytes"
            )));
        }
    }
    list.push(']');
    Ok(list)
}
