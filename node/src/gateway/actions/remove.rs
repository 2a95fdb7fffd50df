//! `database.removeDocument` and its older form `database.deleteDocument`.

use yunbase_docdb::op::{Op, OpReply};

use super::{Action, query, unexpected_reply};
use crate::call::Failure;
use crate::gateway::envelope::Answer;

pub(super) async fn remove(action: &Action<'_>) -> Result<Answer, Failure> {
    let params = &action.params;
    let op = Op::Remove {
        collection: params.collection()?,
        filter: query(params)?,
        multi: params.flag("multi")?.unwrap_or(false),
    };
    match action.run(op).await? {
        OpReply::Removed { removed } => Ok(Answer::of(format!("{{\"deleted\":{removed}}}"))),
        _ => Err(unexpected_reply()),
    }
}
