//! The gate through which every operation on an environment goes that comes by a door: holds operators to their roles,
//! and writes down what the audit log wants. What keys and end users ask for passes as it is.

use std::net::IpAddr;
use std::sync::Arc;

use bson::RawBsonRef;
use yunbase_docdb::op::{Op, OpReply};

use super::Operators;
use super::access::Access;
use super::roles::{Action, Place};
use crate::audit::OK;
use crate::audit::record::{Act, Origin};
use crate::call::{Call, CallFuture, Caller, Execute, Failure};
use crate::router::TransactionCall;
use crate::transactions::{Step, Transact};

/// The code of creating a collection that exists.
const ALREADY_THERE: &str = "DATABASE_COLLECTION_ALREADY_EXIST";

/// A gate for one caller.
#[derive(Clone)]
pub struct Gate {
    execute: Arc<dyn Execute>,
    transactions: Arc<dyn Transact>,
    /// `None` in tests without a cluster: nothing is written down then.
    operators: Option<Arc<Operators>>,
    access: Access,
    address: Option<IpAddr>,
}

impl Gate {
    /// A gate in front of `execute` and `transactions` for a caller with `access` at `address`.
    pub fn new(
        execute: Arc<dyn Execute>,
        transactions: Arc<dyn Transact>,
        operators: Option<Arc<Operators>>,
        access: Access,
        address: Option<IpAddr>,
    ) -> Self {
        Self {
            execute,
            transactions,
            operators,
            access,
            address,
        }
    }

    /// The same question for what is no operation of the database, such as files; a refusal is written down as any other.
    pub async fn permit(&self, action: Action, env: &str, request_id: &str) -> Result<(), Failure> {
        match self.check(action, env) {
            Ok(()) => Ok(()),
            Err(failure) => {
                let refused = self.refuse(action, env.to_owned(), request_id, failure);
                refused.await.map(|_| ())
            }
        }
    }

    fn origin(&self, request_id: &str) -> Origin {
        self.access.origin(self.address, request_id)
    }

    /// The refusal of what the caller may not do.
    fn check(&self, action: Action, env: &str) -> Result<(), Failure> {
        // Whether a key opens the environment, its door has checked with the environment's name.
        match &self.access {
            Access::Operator(_) => self.access.check(action, Place::Environment(env)),
            Access::Key { .. } | Access::User => Ok(()),
        }
    }

    /// Writes the refusal down, and answers with it.
    fn refuse(
        &self,
        action: Action,
        env: String,
        request_id: &str,
        failure: Failure,
    ) -> CallFuture {
        let (gate, origin) = (self.clone(), self.origin(request_id));
        Box::pin(async move {
            if let (Some(operators), Access::Operator(operator)) = (&gate.operators, &gate.access) {
                operators
                    .refused(&origin, operator, action, Some(&env), &failure)
                    .await;
            }
            Err(failure)
        })
    }
}

impl Execute for Gate {
    fn execute(&self, call: Call) -> CallFuture {
        let action = Action::of_op(&call.op);
        if let Err(failure) = self.check(action, &call.env) {
            return self.refuse(action, call.env, &call.request_id, failure);
        }
        let act = match &self.access {
            Access::User => None,
            access => act_of(&call.op, access.operator().is_some()),
        };
        let (Some(act), Some(operators)) = (act, self.operators.clone()) else {
            return self.execute.execute(call);
        };
        let (origin, env) = (self.origin(&call.request_id), call.env.clone());
        let running = self.execute.execute(call);
        // On its own, so that the entry is written also when the client gives up waiting for the answer.
        let told = tokio::spawn(async move {
            let outcome = running.await;
            let (act, code) = match &outcome {
                Ok(reply) => (counted(act, reply), OK),
                Err(failure) => (act, failure.code.as_ref()),
            };
            // Apps make sure of their collections at every start: that one is there already is no act.
            if code != ALREADY_THERE {
                operators.audit().record(&env, &origin, act, code).await;
            }
            outcome
        });
        Box::pin(async move {
            told.await.unwrap_or_else(|error| {
                Err(Failure::new(
                    "SYS_ERR",
                    format!("the operation broke off: {error}"),
                    crate::call::Retry::SameSequence,
                ))
            })
        })
    }
}

impl Transact for Gate {
    fn begin(&self, env: &str, caller: &Caller) -> Result<String, Failure> {
        self.check(Action::DataWrite, env)?;
        self.transactions.begin(env, caller)
    }

    fn step(&self, call: TransactionCall) -> CallFuture {
        let action = match &call.step {
            Step::Run(op) => Action::of_op(op),
            Step::Commit | Step::Abort => Action::DataWrite,
        };
        match self.check(action, &call.env) {
            Ok(()) => self.transactions.step(call),
            Err(failure) => self.refuse(action, call.env, &call.request_id, failure),
        }
    }
}

/// What the log says of an operation, if it is one that the log wants. Documents in bulk are so where an operator changes
/// them, or where a whole collection is emptied: otherwise it is an app at its work.
fn act_of(op: &Op, by_operator: bool) -> Option<Act> {
    Some(match op {
        Op::CreateCollection { collection } => Act::new("collection.create", collection),
        Op::DropCollection { collection } => Act::new("collection.drop", collection),
        Op::CreateIndex { collection, index }
        | Op::CreateIndexWith {
            collection, index, ..
        } => Act::new("index.create", format!("{collection}/{}", index.name)),
        Op::RenameCollection { collection, to } => {
            Act::new("collection.rename", collection).with(to.clone())
        }
        Op::SetValidator {
            collection, level, ..
        } => Act::new("collection.validator", collection).with(format!("{level:?}").to_lowercase()),
        Op::DropIndex { collection, name } => {
            Act::new("index.drop", format!("{collection}/{name}"))
        }
        Op::SetAccess { collection, access } => {
            let mode = match access.get("mode") {
                Ok(Some(RawBsonRef::String(mode))) => mode.to_owned(),
                _ => "reset".to_owned(),
            };
            Act::new("rules.set", collection).with(mode)
        }
        Op::Remove {
            collection,
            filter,
            multi: true,
        } if by_operator || filter.iter().next().is_none() => {
            Act::new("data.remove_many", collection)
        }
        Op::Update { collection, update } if by_operator && update.multi => {
            Act::new("data.update_many", collection)
        }
        _ => return None,
    })
}

fn counted(act: Act, reply: &OpReply) -> Act {
    match reply {
        OpReply::Removed { removed } => act.with(format!("{removed} documents")),
        OpReply::Updated { modified, .. } => act.with(format!("{modified} documents")),
        _ => act,
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};
    use yunbase_docdb::op::{IndexOptions, IndexSpec, UpdateOp, ValidationLevel};

    use super::*;

    #[test]
    fn the_log_wants_what_administrators_do_and_not_an_app_at_its_work() {
        let remove = |filter: RawDocumentBuf, multi| Op::Remove {
            collection: "c".into(),
            filter,
            multi,
        };
        let update = |multi| Op::Update {
            collection: "c".into(),
            update: UpdateOp {
                multi,
                ..UpdateOp::default()
            },
        };
        let action = |op: &Op, by_operator| act_of(op, by_operator).map(|act| act.action);
        let all = remove(RawDocumentBuf::new(), true);
        let some = remove(rawdoc! { "a": 1 }, true);
        for (op, by_key, by_operator) in [
            (&all, Some("data.remove_many"), Some("data.remove_many")),
            (&some, None, Some("data.remove_many")),
            (&remove(RawDocumentBuf::new(), false), None, None),
            (&update(true), None, Some("data.update_many")),
            (&update(false), None, None),
        ] {
            assert_eq!(action(op, false), by_key, "{op:?}");
            assert_eq!(action(op, true), by_operator, "{op:?}");
        }
        let rename = Op::RenameCollection {
            collection: "c".into(),
            to: "d".into(),
        };
        let act = act_of(&rename, false).expect("wanted");
        assert_eq!(
            (act.action, act.detail.as_str()),
            ("collection.rename", "d")
        );
        let validator = Op::SetValidator {
            collection: "c".into(),
            schema: RawDocumentBuf::new(),
            level: ValidationLevel::Warn,
        };
        let act = act_of(&validator, false).expect("wanted");
        assert_eq!(
            (act.action, act.detail.as_str()),
            ("collection.validator", "warn")
        );
        let index = Op::CreateIndexWith {
            collection: "c".into(),
            index: IndexSpec {
                name: "i".into(),
                fields: Vec::new(),
                unique: false,
            },
            options: IndexOptions::default(),
        };
        let act = act_of(&index, false).expect("wanted");
        assert_eq!((act.action, act.target.as_str()), ("index.create", "c/i"));
        let set = Op::SetAccess {
            collection: "c".into(),
            access: rawdoc! { "mode": "CUSTOM", "rule": { "read": "doc.secret == 'x'" } },
        };
        let act = act_of(&set, false).expect("wanted");
        assert_eq!((act.action, act.detail.as_str()), ("rules.set", "CUSTOM"));
    }
}
