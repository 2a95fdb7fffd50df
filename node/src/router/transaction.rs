//! Transactions: their operations read through the router and write to the transaction's working set (`inside`), held to
//! the access rules where the transaction is an end user's (`held`); their commit is one write. A request for a
//! transaction that lives on another node is passed on.

mod held;
mod inside;

use std::time::Instant;

use bson::{RawDocumentBuf, doc};
use yunbase_docdb::op::{Op, OpReply};
use yunbase_docdb::transaction::RequiredDocument;

use super::Router;
use crate::auth::records::SESSIONS;
use crate::call::{Call, Caller, EndUser, Failure, ReadLevel, Retry, check_collection};
use crate::forward::ForwardError;
use crate::forward::codec::{ForwardBody, ForwardRequest, ForwardResponse, failure};
use crate::node::now_ms;
use crate::rules::refusal::DENIED;
use crate::rules::{Denial, subject_of};
use crate::transactions::{CONFLICT, FAIL, Registry, Step, conflict};
use inside::InTransaction;

/// A request for a transaction.
#[derive(Debug, Clone)]
pub struct TransactionCall {
    /// The transaction.
    pub id: String,
    /// What to do with it.
    pub step: Step,
    /// Who asks: whoever began it.
    pub caller: Caller,
    /// The environment.
    pub env: String,
    /// When its caller stops waiting.
    pub deadline: Instant,
    /// For logs and errors.
    pub request_id: String,
}

impl Router {
    /// Opens a transaction of `caller` in `env`, on this node.
    pub fn begin_transaction(&self, env: &str, caller: &Caller) -> Result<String, Failure> {
        self.group_of(env)?;
        self.transactions.begin(self.node_id, env, caller)
    }

    /// Carries out one step of a transaction, on the node where it lives.
    pub async fn transact(&self, call: TransactionCall) -> Result<OpReply, Failure> {
        let node = Registry::node_of(&call.id)?;
        if node == self.node_id {
            return self.transact_here(call).await;
        }
        let is_commit = call.step == Step::Commit;
        let left = call.deadline.saturating_duration_since(Instant::now());
        let request = ForwardRequest {
            env: call.env,
            group: 0,
            body: match call.caller {
                Caller::User(user) => ForwardBody::UserTransaction {
                    id: call.id,
                    step: call.step,
                    user: (&*user).into(),
                },
                Caller::Administrator { .. } | Caller::System => ForwardBody::Transaction {
                    id: call.id,
                    step: call.step,
                },
            },
            key_id: None,
            session: None,
            remaining_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            request_id: call.request_id,
        };
        match self.forward.call(node, &request, call.deadline).await {
            Ok(ForwardResponse::Replied(reply)) => Ok(reply),
            Ok(ForwardResponse::Failed {
                code,
                message,
                retry,
            }) => Err(failure(code, message, retry)),
            Err(ForwardError::Unknown(_)) if is_commit => Err(Failure::new(
                FAIL,
                format!(
                    "node {node} did not answer: the transaction may or may not have been committed; read what it should have written"
                ),
                Retry::Never,
            )),
            // Nothing has happened and nothing will: the clients run a transaction again after this.
            Err(_) => Err(conflict()),
            Ok(_) => Err(Failure::new(
                FAIL,
                "the node answered something else",
                Retry::Never,
            )),
        }
    }

    pub(super) async fn transact_here(&self, call: TransactionCall) -> Result<OpReply, Failure> {
        let Caller::User(user) = &call.caller else {
            return self.take_step(&call).await;
        };
        let outcome = self.take_step(&call).await;
        if let (Err(failure), Step::Run(op)) = (&outcome, &call.step)
            && failure.code == DENIED
        {
            self.denials.record(Denial {
                at_ms: now_ms(),
                request_id: call.request_id.clone(),
                env: call.env.clone(),
                collection: op.collection().unwrap_or_default().to_owned(),
                operation: subject_of(op).map_or("administration", |(action, _)| action.as_str()),
                uid: user.uid.clone(),
                reason: failure.message.clone(),
            });
        }
        outcome
    }

    async fn take_step(&self, call: &TransactionCall) -> Result<OpReply, Failure> {
        let (id, env, caller) = (&call.id, &call.env, &call.caller);
        match &call.step {
            Step::Run(op) => {
                // The node's own rights are for what it adds itself.
                let nobody = Caller::Administrator {
                    key_id: String::new(),
                };
                check_collection(&nobody, op)?;
                let open = self.transactions.find(id, env, caller)?;
                let _turn = open.turn.lock().await;
                let outcome = InTransaction::new(self, &open, call).run(op).await;
                if matches!(&outcome, Err(failure) if failure.code == CONFLICT) {
                    // It has lost; the clients begin another without ending this one.
                    let _ = self.transactions.end(id, env, caller);
                }
                outcome
            }
            Step::Abort => {
                self.transactions.end(id, env, caller)?;
                Ok(OpReply::Done)
            }
            Step::Commit => {
                let open = self.transactions.end(id, env, caller)?;
                let _turn = open.turn.lock().await;
                let set = std::mem::take(&mut *open.set.lock().await);
                let required = open.owner().map(|owner| signed_in(owner)).transpose()?;
                let Some(checked) = set.into_transaction(required.into_iter().collect()) else {
                    return Ok(OpReply::Done);
                };
                let op = if checked.is_plain() {
                    Op::Commit(Box::new(checked.transaction))
                } else {
                    Op::CommitChecked(Box::new(checked))
                };
                self.run_inside(call, op).await
            }
        }
    }

    async fn run_inside(&self, call: &TransactionCall, op: Op) -> Result<OpReply, Failure> {
        Box::pin(self.run(own(call, op))).await
    }
}

/// The node's own call for the sake of a transaction's.
fn own(call: &TransactionCall, op: Op) -> Call {
    Call {
        caller: Caller::System,
        env: call.env.clone(),
        op,
        session: None,
        read_level: ReadLevel::Linearizable,
        deadline: call.deadline,
        request_id: call.request_id.clone(),
    }
}

/// What must be there when an end user commits: whoever ends a session removes its document.
fn signed_in(user: &EndUser) -> Result<RequiredDocument, Failure> {
    let raw = |document: bson::Document| {
        RawDocumentBuf::try_from(&document)
            .map_err(|error| Failure::new("SYS_ERR", error.to_string(), Retry::Never))
    };
    Ok(RequiredDocument {
        collection: SESSIONS.to_owned(),
        id: raw(doc! { "": &user.session })?,
        filter: raw(doc! { "uid": &user.uid, "expires_at_ms": { "$gt": now_ms() } })?,
    })
}

#[cfg(test)]
#[path = "transaction_test.rs"]
mod tests;
