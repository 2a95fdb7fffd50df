//! Transactions: their operations read through the router and write to the transaction's working set; their commit is
//! one write. A request for a transaction that lives on another node is passed on.

use std::time::Instant;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use yunbase_docdb::op::{FindOp, Op, OpReply, UpdateOp};
use yunbase_docdb::projection::Projection;
use yunbase_docdb::sort::Sort;
use yunbase_docdb::update::{Update, UpdateContext, replace};
use yunbase_docdb::{Error, ErrorCode};

use super::Router;
use crate::call::{Call, Caller, Failure, Retry, check_collection};
use crate::forward::ForwardError;
use crate::forward::codec::{ForwardBody, ForwardRequest, ForwardResponse, failure};
use crate::node::now_ms;
use crate::transactions::{FAIL, Open, Registry, Step, conflict};

/// A request for a transaction.
#[derive(Debug, Clone)]
pub struct TransactionCall {
    /// The transaction.
    pub id: String,
    /// What to do with it.
    pub step: Step,
    /// The environment.
    pub env: String,
    /// When its caller stops waiting.
    pub deadline: Instant,
    /// For logs and errors.
    pub request_id: String,
}

impl Router {
    /// Opens a transaction in `env`, on this node.
    pub fn begin_transaction(&self, env: &str) -> Result<String, Failure> {
        self.group_of(env)?;
        self.transactions.begin(self.node_id, env)
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
            body: ForwardBody::Transaction {
                id: call.id,
                step: call.step,
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
        match &call.step {
            Step::Run(op) => {
                check_collection(
                    &Caller::Administrator {
                        key_id: String::new(),
                    },
                    op,
                )?;
                let open = self.transactions.find(&call.id, &call.env)?;
                InTransaction {
                    router: self,
                    open: &open,
                    call: &call,
                    now_ms: now_ms(),
                }
                .run(op)
                .await
            }
            Step::Abort => self
                .transactions
                .end(&call.id, &call.env)
                .map(|_| OpReply::Done),
            Step::Commit => {
                let open = self.transactions.end(&call.id, &call.env)?;
                let set = std::mem::take(&mut *open.set.lock().await);
                let Some(transaction) = set.into_transaction() else {
                    return Ok(OpReply::Done);
                };
                self.run_inside(&call, Op::Commit(Box::new(transaction)))
                    .await
            }
        }
    }

    async fn run_inside(&self, call: &TransactionCall, op: Op) -> Result<OpReply, Failure> {
        let call = Call {
            caller: Caller::System,
            env: call.env.clone(),
            op,
            session: None,
            read_level: crate::call::ReadLevel::Linearizable,
            deadline: call.deadline,
            request_id: call.request_id.clone(),
        };
        Box::pin(self.run(call)).await
    }
}

/// One operation inside a transaction.
struct InTransaction<'a> {
    router: &'a Router,
    open: &'a Open,
    call: &'a TransactionCall,
    now_ms: i64,
}

impl InTransaction<'_> {
    async fn run(&self, op: &Op) -> Result<OpReply, Failure> {
        match op {
            Op::Find { collection, find } => self.find(collection, find).await,
            Op::Insert {
                collection,
                documents,
            } => self.insert(collection, documents).await,
            Op::Update { collection, update } => self.update(collection, update).await,
            Op::Remove {
                collection,
                filter,
                multi,
            } => {
                let found = self
                    .matches(collection, filter, &RawDocumentBuf::new())
                    .await?;
                let most = if *multi { found.len() } else { 1 };
                let mut removed = 0;
                for document in found.iter().take(most) {
                    self.write(collection, id(document)?, None, false).await?;
                    removed += 1;
                }
                Ok(OpReply::Removed { removed })
            }
            _ => Err(Failure::new(
                "INVALID_PARAM",
                "a transaction reads, adds, sets, updates and removes documents; this operation is outside of it: leave out transactionId",
                Retry::Never,
            )),
        }
    }

    async fn find(&self, collection: &str, find: &FindOp) -> Result<OpReply, Failure> {
        let has_own = self.open.set.lock().await.has_written_to(collection);
        let found = if has_own || named_id(&find.filter).is_some() {
            let found = self.matches(collection, &find.filter, &find.sort).await?;
            let skip = usize::try_from(find.skip).unwrap_or(usize::MAX);
            let limit = find.limit.and_then(|limit| usize::try_from(limit).ok());
            let shown = found.into_iter().skip(skip);
            shown.take(limit.unwrap_or(usize::MAX)).collect()
        } else {
            // Nothing of its own can be among them, so the database may cut the result.
            let found = self.read(
                collection,
                FindOp {
                    projection: RawDocumentBuf::new(),
                    ..find.clone()
                },
            );
            let found = found.await?;
            let mut set = self.open.set.lock().await;
            set.overlay(collection, found, &find.filter, self.now_ms)?
        };
        let projection = Projection::parse(&find.projection)?;
        let documents = found
            .iter()
            .map(|document| projection.apply(document))
            .collect::<Result<_, Error>>()?;
        Ok(OpReply::Found {
            documents,
            next: Vec::new(),
        })
    }

    async fn insert(
        &self,
        collection: &str,
        documents: &[RawDocumentBuf],
    ) -> Result<OpReply, Failure> {
        let mut ids = Vec::with_capacity(documents.len());
        for document in documents {
            let own = id(document)?;
            if self.get(collection, own).await?.is_some() {
                let message = format!(
                    "a document with this _id exists already in collection '{collection}'; choose another _id"
                );
                return Err(Error::new(ErrorCode::DuplicateWrite, message).into());
            }
            self.write(collection, own, Some(document.clone()), true)
                .await?;
            let mut wrapped = RawDocumentBuf::new();
            wrapped.append(bson::cstr!(""), own);
            ids.push(wrapped);
        }
        Ok(OpReply::Inserted { ids })
    }

    async fn update(&self, collection: &str, update: &UpdateOp) -> Result<OpReply, Failure> {
        let found = self
            .matches(collection, &update.filter, &update.sort)
            .await?;
        let context = UpdateContext {
            now_ms: self.now_ms,
        };
        let change =
            |before: &RawDocument, inserting: bool| -> Result<Option<RawDocumentBuf>, Error> {
                if update.replace {
                    replace(Some(before), &update.update).map(Some)
                } else {
                    Update::parse(&update.update, &context)?.apply(before, inserting)
                }
            };
        if found.is_empty() && update.upsert {
            return self.upsert(collection, update, change).await;
        }
        let most = if update.multi { found.len() } else { 1 };
        let (mut matched, mut modified, mut last) = (0, 0, None);
        for before in found.iter().take(most) {
            matched += 1;
            let after =
                change(before, false)?.filter(|after| after.as_bytes() != before.as_bytes());
            if let Some(after) = &after {
                modified += 1;
                self.write(collection, id(before)?, Some(after.clone()), update.replace)
                    .await?;
            }
            last = Some(after.unwrap_or_else(|| before.clone()));
        }
        Ok(OpReply::Updated {
            matched,
            modified,
            upserted_id: None,
            document: last.filter(|_| update.return_document),
        })
    }

    async fn upsert(
        &self,
        collection: &str,
        update: &UpdateOp,
        change: impl Fn(&RawDocument, bool) -> Result<Option<RawDocumentBuf>, Error>,
    ) -> Result<OpReply, Failure> {
        let Some(named) = named_id(&update.filter) else {
            let message = "inside a transaction only a document that is named by its _id can be set where there is none";
            return Err(Error::invalid(message).into());
        };
        let mut seed = RawDocumentBuf::new();
        seed.append(bson::cstr!("_id"), named);
        let document = change(&seed, true)?.unwrap_or_else(|| seed.clone());
        self.write(collection, named, Some(document.clone()), true)
            .await?;
        let mut wrapped = RawDocumentBuf::new();
        wrapped.append(bson::cstr!(""), named);
        Ok(OpReply::Updated {
            matched: 0,
            modified: 0,
            upserted_id: Some(wrapped),
            document: Some(document).filter(|_| update.return_document),
        })
    }

    async fn write(
        &self,
        collection: &str,
        id: RawBsonRef<'_>,
        document: Option<RawDocumentBuf>,
        is_replacement: bool,
    ) -> Result<(), Failure> {
        let mut set = self.open.set.lock().await;
        set.write(collection, id, document, is_replacement)
    }

    /// The document with this `_id`, as the transaction sees it.
    async fn get(
        &self,
        collection: &str,
        id: RawBsonRef<'_>,
    ) -> Result<Option<RawDocumentBuf>, Failure> {
        if let Some(own) = self.open.set.lock().await.own(collection, id)? {
            return Ok(own);
        }
        let mut filter = RawDocumentBuf::new();
        filter.append(bson::cstr!("_id"), id);
        let find = FindOp {
            filter,
            ..FindOp::default()
        };
        let found = self.read(collection, find).await?;
        let found = found.into_iter().next();
        let mut set = self.open.set.lock().await;
        set.note(collection, id, found.as_deref())?;
        Ok(found)
    }

    /// Documents that match, as the transaction sees them, in order.
    async fn matches(
        &self,
        collection: &str,
        filter: &RawDocument,
        sort: &RawDocument,
    ) -> Result<Vec<RawDocumentBuf>, Failure> {
        if let Some(id) = named_id(filter) {
            return Ok(self.get(collection, id).await?.into_iter().collect());
        }
        let find = FindOp {
            filter: filter.to_owned(),
            sort: sort.to_owned(),
            ..FindOp::default()
        };
        let found = self.read(collection, find).await?;
        let mut set = self.open.set.lock().await;
        let has_own = set.has_written_to(collection);
        let mut seen = set.overlay(collection, found, filter, self.now_ms)?;
        if has_own && !sort.is_empty() {
            let sort = Sort::parse(sort)?;
            let mut keyed = seen
                .into_iter()
                .map(|document| Ok((sort.key(&document)?, document)))
                .collect::<Result<Vec<_>, Error>>()?;
            keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
            seen = keyed.into_iter().map(|(_, document)| document).collect();
        }
        Ok(seen)
    }

    async fn read(&self, collection: &str, find: FindOp) -> Result<Vec<RawDocumentBuf>, Failure> {
        let is_cut = find.limit.is_some();
        let op = Op::Find {
            collection: collection.to_owned(),
            find,
        };
        match self.router.run_inside(self.call, op).await? {
            OpReply::Found { documents, next } if is_cut || next.is_empty() => Ok(documents),
            OpReply::Found { .. } => Err(Failure::new(
                "EXCEED_REQUEST_LIMIT",
                "the query matches more documents than a transaction can hold; narrow it",
                Retry::Never,
            )),
            _ => Err(Failure::new(
                "SYS_ERR",
                "the database answered something else",
                Retry::Never,
            )),
        }
    }
}

fn id(document: &RawDocument) -> Result<RawBsonRef<'_>, Failure> {
    match document.get("_id") {
        Ok(Some(id)) => Ok(id),
        _ => Err(Error::invalid("the document has no _id; give it one").into()),
    }
}

/// The `_id` that a filter names, if that is all it says.
fn named_id(filter: &RawDocument) -> Option<RawBsonRef<'_>> {
    let mut elements = filter.iter();
    let (name, value) = elements.next()?.ok()?;
    if name.as_str() != "_id" || elements.next().is_some() {
        return None;
    }
    match value {
        RawBsonRef::Document(operators) => {
            let mut operators = operators.iter();
            let (operator, value) = operators.next()?.ok()?;
            (operator.as_str() == "$eq" && operators.next().is_none()).then_some(value)
        }
        RawBsonRef::RegularExpression(_) | RawBsonRef::Array(_) => None,
        value => Some(value),
    }
}
