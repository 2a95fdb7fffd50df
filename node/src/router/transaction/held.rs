//! What a step of an end user's transaction is held to: the rules of its collection, as the transaction found them when it
//! first came there. When they have changed since, it has lost, and is run again under the new ones.

use std::sync::Arc;

use bson::{Bson, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use futures::future::BoxFuture;
use yunbase_docdb::op::Op;
use yunbase_docdb::{Checks, Guard};

use super::inside::InTransaction;
use super::own;
use crate::call::Failure;
use crate::rules::refusal::{DENIED, malformed};
use crate::rules::{Asker, Collections, Documents, InForce, Rules, enforce, subject_of};
use crate::transactions::conflict;

/// What a step is held to; nothing for administrators.
#[derive(Default)]
pub(super) struct Held {
    guard: Option<(Box<Guard>, Checks)>,
}

impl Held {
    fn by(guard: Box<Guard>, now_ms: i64) -> Result<Self, Failure> {
        let checks = Checks::parse(&guard, now_ms)?;
        Ok(Self {
            guard: Some((guard, checks)),
        })
    }

    pub(super) fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref().map(|(guard, _)| &**guard)
    }

    /// A query, with what is visible to it.
    pub(super) fn narrowed(&self, filter: &RawDocument) -> RawDocumentBuf {
        match &self.guard {
            Some((guard, _)) => guard.narrow(filter),
            None => filter.to_owned(),
        }
    }

    /// Whether the step sees a document; refuses one that it sees and must not touch.
    pub(super) fn sees(&self, document: &RawDocument, collection: &str) -> Result<bool, Failure> {
        let Some((_, checks)) = &self.guard else {
            return Ok(true);
        };
        if !checks.sees(document)? {
            return Ok(false);
        }
        checks.before(document, collection)?;
        Ok(true)
    }

    /// A replacement of `before` with the fields that it has to keep.
    pub(super) fn kept(
        &self,
        before: &RawDocument,
        after: RawDocumentBuf,
        collection: &str,
    ) -> Result<RawDocumentBuf, yunbase_docdb::Error> {
        match &self.guard {
            Some((guard, _)) => guard.kept(before, after, collection),
            None => Ok(after),
        }
    }

    /// Refuses what a document must not become.
    pub(super) fn check_after(&self, after: &RawDocument, collection: &str) -> Result<(), Failure> {
        match &self.guard {
            Some((_, checks)) => Ok(checks.after(after, collection)?),
            None => Ok(()),
        }
    }

    /// A new document as it has to be.
    pub(super) fn created(
        &self,
        document: RawDocumentBuf,
        collection: &str,
    ) -> Result<RawDocumentBuf, Failure> {
        let Some((guard, checks)) = &self.guard else {
            return Ok(document);
        };
        let document = guard.stamped(document, collection)?;
        checks.inserted(&document, collection)?;
        Ok(document)
    }
}

impl InTransaction<'_> {
    /// The operation as its caller may have it done.
    pub(super) async fn held(&self, op: &Op) -> Result<(Op, Held), Failure> {
        let Some(user) = self.open.owner() else {
            return Ok((op.clone(), Held::default()));
        };
        let (_, collection) = subject_of(op)?;
        let (version, rules) = self.rules(collection).await?;
        let asker = Asker {
            user,
            now_ms: self.now_ms,
        };
        let in_force = InForce {
            rules: &rules,
            version,
        };
        match enforce(op.clone(), asker, in_force, self).await {
            Ok(Op::Guarded { op, guard }) => Ok((*op, Held::by(guard, self.now_ms)?)),
            Ok(op) => Ok((op, Held::default())),
            // Only rules that are still in force refuse anything.
            Err(refused) if refused.code == DENIED => {
                let (now, _) = self.rules_afresh(collection).await?;
                Err(if now == version { refused } else { conflict() })
            }
            Err(failure) => Err(failure),
        }
    }

    async fn rules_afresh(&self, collection: &str) -> Result<(u64, Arc<Rules>), Failure> {
        let get = Op::GetAccess {
            collection: collection.to_owned(),
        };
        let group = self.router.group_of(&self.call.env)?;
        let call = own(self.call, get);
        self.router.rules_of(group, &call, collection, true).await
    }
}

/// Documents as the transaction sees them: what its rules read counts as read.
impl Documents for InTransaction<'_> {
    fn document<'a>(
        &'a self,
        collection: &'a str,
        id: &'a Bson,
    ) -> BoxFuture<'a, Result<Option<RawDocumentBuf>, Failure>> {
        Box::pin(async move {
            let wrapped = RawDocumentBuf::try_from(&doc! { "": id.clone() });
            let wrapped = wrapped.map_err(malformed)?;
            let id = wrapped.get("").ok().flatten().unwrap_or(RawBsonRef::Null);
            match self.get(collection, id, &Held::default()).await {
                Err(failure) if failure.code == "DATABASE_COLLECTION_NOT_EXIST" => Ok(None),
                outcome => outcome,
            }
        })
    }
}

impl Collections for InTransaction<'_> {
    fn rules<'a>(
        &'a self,
        collection: &'a str,
    ) -> BoxFuture<'a, Result<(u64, Arc<Rules>), Failure>> {
        Box::pin(async move {
            if let Some(known) = self.open.set.lock().await.rules(collection) {
                return Ok(known);
            }
            let (version, rules) = self.rules_afresh(collection).await?;
            let mut set = self.open.set.lock().await;
            set.hold_to(collection, version, rules.clone())?;
            Ok((version, rules))
        })
    }
}
