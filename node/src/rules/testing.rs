//! For tests: end users, and a door for them over a database without a cluster.

use std::borrow::Borrow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures::future::BoxFuture;
use yunbase_docdb::memory::MemoryStore;
use yunbase_docdb::op::{FindOp, Op, OpReply, UpdateOp};
use yunbase_docdb::{Budget, Database, Entry, Options, Step, WritePlan};

use super::{Asker, Collections, Documents, InForce, Rules, enforce};
use crate::call::{EndUser, Failure, LoginType};

pub(crate) const ENV: &str = "demo";
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

/// A user whose uid and openid are the same.
pub(crate) fn user(openid: &str) -> EndUser {
    EndUser {
        uid: openid.to_owned(),
        openid: openid.to_owned(),
        login_type: LoginType::Username,
        session: "s".to_owned(),
    }
}

pub(crate) fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("bson")
}

/// A database that end users reach as through a router.
pub(crate) struct World {
    pub(crate) database: Database,
    log_index: AtomicU64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            database: Database::open(Box::new(MemoryStore::new()), Options::default())
                .expect("a database"),
            log_index: AtomicU64::new(0),
        }
    }
}

impl World {
    /// With one collection under an access document, holding these documents.
    pub(crate) fn with(collection: &str, access: &Document, documents: &[Document]) -> Self {
        let world = Self::default();
        world.add(collection, access, documents);
        world
    }

    pub(crate) fn add(&self, collection: &str, access: &Document, documents: &[Document]) {
        self.run(Op::CreateCollection {
            collection: collection.into(),
        })
        .expect("created");
        self.set_access(collection, access);
        if !documents.is_empty() {
            self.run(insert(collection, documents)).expect("inserted");
        }
    }

    pub(crate) fn set_access(&self, collection: &str, access: &Document) {
        self.run(Op::SetAccess {
            collection: collection.into(),
            access: raw(access),
        })
        .expect("set");
    }

    /// As an administrator, or what enforcement made of a user's operation.
    pub(crate) fn run(&self, op: Op) -> Result<OpReply, Failure> {
        if op.is_read() {
            return Ok(self
                .database
                .read(ENV, &op, &Budget::new(&|| false), NOW_MS)?);
        }
        let mut plan = WritePlan::new(ENV, op, None)?;
        loop {
            match plan.next(&self.database, NOW_MS, &|| false)? {
                Step::Done(reply) => return Ok(reply),
                Step::Propose(payload) => {
                    let log_index = self.log_index.fetch_add(1, Ordering::Relaxed) + 1;
                    let entry = Entry {
                        log_index,
                        position: 0,
                        payload: &payload,
                    };
                    let replies = self.database.apply(&[entry], b"").expect("applied");
                    plan.feed(&replies[0])?;
                }
            }
        }
    }

    /// What enforcement makes of a user's operation now.
    pub(crate) fn guarded(&self, user: &EndUser, op: Op) -> Result<Op, Failure> {
        let (_, collection) = super::subject_of(&op)?;
        let access = self.database.access(ENV, collection)?;
        let rules = Rules::parse(&access.document).expect("rules");
        let asker = Asker {
            user,
            now_ms: NOW_MS,
        };
        let in_force = InForce {
            rules: &rules,
            version: access.version,
        };
        futures::executor::block_on(enforce(op, asker, in_force, self))
    }

    /// As an end user.
    pub(crate) fn run_as(&self, user: &EndUser, op: Op) -> Result<OpReply, Failure> {
        self.run(self.guarded(user, op)?)
    }

    /// All documents of a collection, in `_id` order.
    pub(crate) fn all(&self, collection: &str) -> Vec<Document> {
        found(self.run(find(collection, doc! {})).expect("found"))
    }
}

impl Documents for World {
    fn document<'a>(
        &'a self,
        collection: &'a str,
        id: &'a Bson,
    ) -> BoxFuture<'a, Result<Option<RawDocumentBuf>, Failure>> {
        Box::pin(async move {
            match self.run(find(collection, doc! { "_id": id.clone() }))? {
                OpReply::Found { documents, .. } => Ok(documents.into_iter().next()),
                other => panic!("{other:?}"),
            }
        })
    }
}

impl Collections for World {
    fn rules<'a>(
        &'a self,
        collection: &'a str,
    ) -> BoxFuture<'a, Result<(u64, Arc<Rules>), Failure>> {
        Box::pin(async move {
            let access = self.database.access(ENV, collection)?;
            let rules = Rules::parse(&access.document).expect("rules");
            Ok((access.version, Arc::new(rules)))
        })
    }
}

pub(crate) fn found(reply: OpReply) -> Vec<Document> {
    match reply {
        OpReply::Found { documents, .. } => documents
            .iter()
            .map(|document| Document::try_from(&**document).expect("bson"))
            .collect(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn find(collection: &str, filter: impl Borrow<Document>) -> Op {
    Op::Find {
        collection: collection.into(),
        find: FindOp {
            filter: raw(filter.borrow()),
            ..FindOp::default()
        },
    }
}

pub(crate) fn count(collection: &str, filter: impl Borrow<Document>) -> Op {
    Op::Count {
        collection: collection.into(),
        filter: raw(filter.borrow()),
    }
}

pub(crate) fn insert(collection: &str, documents: &[Document]) -> Op {
    Op::Insert {
        collection: collection.into(),
        documents: documents.iter().map(raw).collect(),
    }
}

pub(crate) fn update(
    collection: &str,
    filter: impl Borrow<Document>,
    update: impl Borrow<Document>,
) -> Op {
    Op::Update {
        collection: collection.into(),
        update: UpdateOp {
            filter: raw(filter.borrow()),
            update: raw(update.borrow()),
            ..UpdateOp::default()
        },
    }
}

/// `update` of all matches.
pub(crate) fn update_all(
    collection: &str,
    filter: impl Borrow<Document>,
    change: impl Borrow<Document>,
) -> Op {
    changed(update(collection, filter, change), |update| {
        update.multi = true;
    })
}

/// `doc().set()`: a replacement that creates.
pub(crate) fn set(
    collection: &str,
    filter: impl Borrow<Document>,
    document: impl Borrow<Document>,
) -> Op {
    changed(update(collection, filter, document), |update| {
        update.replace = true;
        update.upsert = true;
        update.upsert_id = "made".into();
    })
}

/// An update by operators that creates.
pub(crate) fn upsert(
    collection: &str,
    filter: impl Borrow<Document>,
    change: impl Borrow<Document>,
) -> Op {
    changed(update(collection, filter, change), |update| {
        update.upsert = true;
        update.upsert_id = "made".into();
    })
}

fn changed(op: Op, change: impl FnOnce(&mut UpdateOp)) -> Op {
    match op {
        Op::Update {
            collection,
            mut update,
        } => {
            change(&mut update);
            Op::Update { collection, update }
        }
        other => other,
    }
}

pub(crate) fn remove(collection: &str, filter: impl Borrow<Document>, multi: bool) -> Op {
    Op::Remove {
        collection: collection.into(),
        filter: raw(filter.borrow()),
        multi,
    }
}
