//! `database.addCollection`.

use yunbase_docdb::op::{Op, OpReply};

use super::{Action, unexpected_reply};
use crate::call::Failure;
use crate::gateway::envelope::Answer;

pub(super) async fn create(action: &Action<'_>) -> Result<Answer, Failure> {
    let collection = action.params.collection()?;
    match action.run(Op::CreateCollection { collection }).await? {
        OpReply::Done => Ok(Answer::object(|_| {})),
        _ => Err(unexpected_reply()),
    }
}
