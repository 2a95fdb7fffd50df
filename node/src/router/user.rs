//! Calls of end users: their operations are held to the rules in force, and again when the rules change under
//! them. What is refused is remembered for whoever asks why.

use std::sync::Arc;
use std::time::Instant;

use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};
use futures::future::BoxFuture;
use yunbase_consensus::GroupId;
use yunbase_docdb::op::{FindOp, Op, OpReply};

use super::Router;
use crate::call::{Call, Caller, EndUser, Failure, ReadLevel, Retry, SessionSequence};
use crate::node::now_ms;
use crate::rules::limits::RECOMPILATIONS_MAX;
use crate::rules::refusal::DENIED;
use crate::rules::{Asker, Denial, Documents, InForce, Rules, enforce, subject_of};

/// How the database says that rules have changed since they were compiled.
const CHANGED: &str = "ACCESS_CHANGED";

impl Router {
    pub(super) async fn run_for_user(
        &self,
        group: GroupId,
        call: Call,
        user: &EndUser,
    ) -> Result<OpReply, Failure> {
        let outcome = match subject_of(&call.op) {
            Err(refused) => Err(refused),
            Ok(_) if call.op.is_read() => self.read_held(group, &call, user).await,
            Ok(_) => self.run_write(group, &call).await,
        };
        if let Err(failure) = &outcome
            && failure.code == DENIED
        {
            self.denials.record(Denial {
                at_ms: now_ms(),
                operation: subject_of(&call.op)
                    .map_or("administration", |(action, _)| action.as_str()),
                collection: call.op.collection().unwrap_or_default().to_owned(),
                request_id: call.request_id,
                env: call.env,
                uid: user.uid.clone(),
                reason: failure.message.clone(),
            });
        }
        outcome
    }

    async fn read_held(
        &self,
        group: GroupId,
        call: &Call,
        user: &EndUser,
    ) -> Result<OpReply, Failure> {
        for attempt in 0..RECOMPILATIONS_MAX {
            let op = self.enforced(group, call, user, attempt > 0).await?;
            match self.read(group, own(call, op, call.read_level)).await {
                Err(failure) if failure.code == CHANGED => {}
                outcome => return outcome,
            }
        }
        Err(changed_too_often())
    }

    /// Writes for whoever calls. The exactly-once name stays the same when a user's operation has to be compiled
    /// again: some steps of it may be done.
    pub(super) async fn write_held(
        &self,
        group: GroupId,
        call: &Call,
        session: SessionSequence,
    ) -> Result<OpReply, Failure> {
        let Caller::User(user) = &call.caller else {
            return self.write(group, call, session).await;
        };
        for attempt in 0..RECOMPILATIONS_MAX {
            let op = self.enforced(group, call, user, attempt > 0).await?;
            let held = own(call, op, call.read_level);
            match self.write(group, &held, session).await {
                Err(failure) if failure.code == CHANGED => {}
                outcome => return outcome,
            }
        }
        Err(changed_too_often())
    }

    /// What an end user may see of a collection by a query: a filter, and the version of the rules that say so.
    pub async fn readable(
        &self,
        user: &Arc<EndUser>,
        env: &str,
        collection: &str,
        query: &RawDocument,
        deadline: Instant,
    ) -> Result<(RawDocumentBuf, u64), Failure> {
        let call = Call {
            caller: Caller::User(user.clone()),
            env: env.to_owned(),
            op: Op::Find {
                collection: collection.to_owned(),
                find: FindOp {
                    filter: query.to_owned(),
                    ..FindOp::default()
                },
            },
            session: None,
            read_level: ReadLevel::Linearizable,
            deadline,
            request_id: String::new(),
        };
        let group = self.group_of(env)?;
        match self.enforced(group, &call, user, true).await? {
            Op::Guarded { guard, .. } => {
                // A query for one `_id` is refused where a reader is; a watcher of it sees nothing instead.
                let restriction = if guard.before.is_empty() {
                    guard.visible
                } else {
                    guard.before
                };
                Ok((restriction, guard.access_version))
            }
            _ => Err(Failure::new(
                "SYS_ERR",
                "the rules gave no guard",
                Retry::Never,
            )),
        }
    }

    /// The version of a collection's rules, as this node's replica has it.
    pub fn rules_version(&self, env: &str, collection: &str) -> Option<u64> {
        let group = self.group_of(env).ok()?;
        let local = self.local(group).ok()?;
        Some(local.database().access(env, collection).ok()?.version)
    }

    /// The operation, held to the rules. A refusal never reaches the database, which would notice outdated rules,
    /// so it is only given by rules that were read for it.
    async fn enforced(
        &self,
        group: GroupId,
        call: &Call,
        user: &EndUser,
        afresh: bool,
    ) -> Result<Op, Failure> {
        match self.enforced_by(group, call, user, afresh).await {
            Err(refused) if !afresh && refused.code == DENIED => {
                self.enforced_by(group, call, user, true).await
            }
            outcome => outcome,
        }
    }

    async fn enforced_by(
        &self,
        group: GroupId,
        call: &Call,
        user: &EndUser,
        afresh: bool,
    ) -> Result<Op, Failure> {
        let (_, collection) = subject_of(&call.op)?;
        let (version, rules) = self.rules_of(group, call, collection, afresh).await?;
        let asker = Asker {
            user,
            now_ms: now_ms(),
        };
        let in_force = InForce {
            rules: &rules,
            version,
        };
        let documents = GroupDocuments {
            router: self,
            group,
            call,
        };
        enforce(call.op.clone(), asker, in_force, &documents).await
    }

    /// The rules of a collection: what this node knows of them, or afresh, as of a read that begins now. What it
    /// knows may be out of date.
    async fn rules_of(
        &self,
        group: GroupId,
        call: &Call,
        collection: &str,
        afresh: bool,
    ) -> Result<(u64, Arc<Rules>), Failure> {
        let env = call.env.as_str();
        if !afresh {
            let here = self.local(group)?.database().access(env, collection).ok();
            let heard = self.rules.heard(env, collection);
            match (here, heard) {
                // Versions of a group only grow.
                (Some(here), heard)
                    if heard
                        .as_ref()
                        .is_none_or(|(version, _)| *version <= here.version) =>
                {
                    let rules =
                        self.rules
                            .compiled(env, collection, here.version, &here.document)?;
                    return Ok((here.version, rules));
                }
                (_, Some(heard)) => return Ok(heard),
                (_, None) => {}
            }
        }
        let level = if call.op.is_read() {
            call.read_level
        } else {
            ReadLevel::Linearizable
        };
        let get = Op::GetAccess {
            collection: collection.to_owned(),
        };
        let (version, access) = match self.read(group, own(call, get, level)).await? {
            OpReply::Described { documents } => access_of(&documents),
            _ => None,
        }
        .ok_or_else(|| {
            Failure::new(
                "SYS_ERR",
                "the group answered something else than an access document",
                Retry::Never,
            )
        })?;
        let rules = self.rules.compiled(env, collection, version, &access)?;
        self.rules.hear(env, collection, version, rules.clone());
        Ok((version, rules))
    }
}

/// The node's own call for the sake of a user's, with its deadline.
fn own(call: &Call, op: Op, read_level: ReadLevel) -> Call {
    Call {
        caller: Caller::System,
        env: call.env.clone(),
        op,
        session: None,
        read_level,
        deadline: call.deadline,
        request_id: call.request_id.clone(),
    }
}

fn access_of(documents: &[RawDocumentBuf]) -> Option<(u64, RawDocumentBuf)> {
    let document = documents.first()?;
    let version = u64::try_from(document.get_i64("version").ok()?).ok()?;
    Some((version, document.get_document("access").ok()?.to_owned()))
}

fn changed_too_often() -> Failure {
    Failure::new(
        "DATABASE_REQUEST_FAILED",
        "the access rules changed again and again meanwhile; try again",
        Retry::Safe,
    )
}

/// Documents of the call's environment, for `get()` in rules.
struct GroupDocuments<'a> {
    router: &'a Router,
    group: GroupId,
    call: &'a Call,
}

impl Documents for GroupDocuments<'_> {
    fn document<'a>(
        &'a self,
        collection: &'a str,
        id: &'a Bson,
    ) -> BoxFuture<'a, Result<Option<RawDocumentBuf>, Failure>> {
        Box::pin(async move {
            let filter: Document = doc! { "_id": id.clone() };
            let filter = RawDocumentBuf::try_from(&filter)
                .map_err(|error| Failure::new("INVALID_PARAM", error.to_string(), Retry::Never))?;
            let find = Op::Find {
                collection: collection.to_owned(),
                find: FindOp {
                    filter,
                    ..FindOp::default()
                },
            };
            let read = self
                .router
                .read(self.group, own(self.call, find, ReadLevel::Linearizable));
            match read.await {
                Ok(OpReply::Found { documents, .. }) => Ok(documents.into_iter().next()),
                Ok(_) => Ok(None),
                Err(failure) if failure.code == "DATABASE_COLLECTION_NOT_EXIST" => Ok(None),
                Err(failure) => Err(failure),
            }
        })
    }
}

#[cfg(test)]
#[path = "user_test.rs"]
mod tests;
