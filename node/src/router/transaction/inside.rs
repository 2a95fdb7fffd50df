//! Operations inside a transaction: they read the database through what the transaction has written, and write to the
//! transaction alone. Each takes effect there as a whole or not at all.

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use yunbase_docdb::filter::within_write_budget;
use yunbase_docdb::op::{FindOp, Op, OpReply, UpdateOp};
use yunbase_docdb::projection::Projection;
use yunbase_docdb::sort::Sort;
use yunbase_docdb::transaction::ReadQuery;
use yunbase_docdb::update::{Update, UpdateContext, replace};
use yunbase_docdb::{Error, ErrorCode, WritePlan};

use super::TransactionCall;
use super::held::Held;
use crate::call::{Failure, Retry};
use crate::node::now_ms;
use crate::router::Router;
use crate::router::user::CHANGED;
use crate::transactions::{Open, Write, conflict};

/// One operation inside a transaction.
pub(super) struct InTransaction<'a> {
    pub(super) router: &'a Router,
    pub(super) open: &'a Open,
    pub(super) call: &'a TransactionCall,
    pub(super) now_ms: i64,
}

/// What a query found in the database.
struct Found {
    documents: Vec<RawDocumentBuf>,
    /// The query, for the commit to see whether it would still find the same.
    query: ReadQuery,
}

impl<'a> InTransaction<'a> {
    pub(super) fn new(router: &'a Router, open: &'a Open, call: &'a TransactionCall) -> Self {
        Self {
            router,
            open,
            call,
            now_ms: now_ms(),
        }
    }

    pub(super) async fn run(&self, op: &Op) -> Result<OpReply, Failure> {
        match op {
            Op::Find { .. } => {}
            Op::Insert { .. } | Op::Update { .. } | Op::Remove { .. } => {
                // Refuses what is wrong whatever the database holds, now and not at the commit.
                WritePlan::new(&self.call.env, op.clone(), None)?;
            }
            _ => return Err(outside()),
        }
        let (op, held) = self.held(op).await?;
        match op {
            Op::Find { collection, find } => self.find(&collection, &find, &held).await,
            Op::Insert {
                collection,
                documents,
            } => self.insert(&collection, documents, &held).await,
            Op::Update { collection, update } => self.update(&collection, &update, &held).await,
            Op::Remove {
                collection,
                filter,
                multi,
            } => {
                let unsorted = RawDocumentBuf::new();
                let found = self.matches(&collection, &filter, &unsorted, &held).await?;
                let most = if multi { found.len() } else { 1 };
                let removals = found.iter().take(most);
                let removals = removals
                    .map(|document| Write::removal(document))
                    .collect::<Result<Vec<_>, _>>()?;
                let removed = removals.len() as u64;
                self.write(&collection, removals).await?;
                Ok(OpReply::Removed { removed })
            }
            _ => Err(outside()),
        }
    }

    async fn find(&self, collection: &str, find: &FindOp, held: &Held) -> Result<OpReply, Failure> {
        let has_own = self.open.set.lock().await.has_written_to(collection);
        let found = if has_own || named_id(&find.filter).is_some() {
            let found = self
                .matches(collection, &find.filter, &find.sort, held)
                .await?;
            let skip = usize::try_from(find.skip).unwrap_or(usize::MAX);
            let limit = find.limit.and_then(|limit| usize::try_from(limit).ok());
            let shown = found.into_iter().skip(skip);
            shown.take(limit.unwrap_or(usize::MAX)).collect()
        } else {
            // Nothing of its own can be among them, so the database may cut the result.
            let whole = FindOp {
                projection: RawDocumentBuf::new(),
                ..find.clone()
            };
            let found = self.read(collection, whole, held).await?;
            self.overlay(collection, found).await?
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
        documents: Vec<RawDocumentBuf>,
        held: &Held,
    ) -> Result<OpReply, Failure> {
        let mut ids = Vec::with_capacity(documents.len());
        let mut inserts: Vec<Write> = Vec::with_capacity(documents.len());
        for document in documents {
            let insert = Write::of(held.created(document, collection)?, true)?;
            let id = insert.id.get("").ok().flatten().unwrap_or(RawBsonRef::Null);
            // With the node's own rights: an `_id` that somebody else has is taken, whoever may see it.
            let is_taken = self.get(collection, id, &Held::default()).await?.is_some();
            if is_taken || inserts.iter().any(|other| other.id == insert.id) {
                let message = format!(
                    "a document with this _id exists already in collection '{collection}'; choose another _id"
                );
                return Err(Error::new(ErrorCode::DuplicateWrite, message).into());
            }
            ids.push(insert.id.clone());
            inserts.push(insert);
        }
        self.write(collection, inserts).await?;
        Ok(OpReply::Inserted { ids })
    }

    async fn update(
        &self,
        collection: &str,
        update: &UpdateOp,
        held: &Held,
    ) -> Result<OpReply, Failure> {
        let found = self
            .matches(collection, &update.filter, &update.sort, held)
            .await?;
        if found.is_empty() && update.upsert {
            return self.upsert(collection, update, held).await;
        }
        let most = if update.multi { found.len() } else { 1 };
        let change = |before: &RawDocument| {
            if update.replace {
                let after = replace(Some(before), &update.update)?;
                return Ok(Some(held.kept(before, after, collection)?));
            }
            Ok::<_, Failure>(self.updated(update, before, false)?)
        };
        let (mut matched, mut last) = (0, None);
        let mut changes = Vec::new();
        // This thread serves others too.
        within_write_budget(|| {
            for before in found.iter().take(most) {
                matched += 1;
                let after = change(before)?.filter(|after| after.as_bytes() != before.as_bytes());
                if let Some(after) = &after {
                    held.check_after(after, collection)?;
                    changes.push(Write::of(after.clone(), update.replace)?);
                }
                last = Some(after.unwrap_or_else(|| before.clone()));
            }
            Ok::<_, Failure>(())
        })?;
        let modified = changes.len() as u64;
        self.write(collection, changes).await?;
        Ok(OpReply::Updated {
            matched,
            modified,
            upserted_id: None,
            document: last.filter(|_| update.return_document),
        })
    }

    fn updated(
        &self,
        update: &UpdateOp,
        before: &RawDocument,
        inserting: bool,
    ) -> Result<Option<RawDocumentBuf>, Error> {
        let context = UpdateContext {
            now_ms: self.now_ms,
        };
        Update::parse(&update.update, &context)?.apply(before, inserting)
    }

    async fn upsert(
        &self,
        collection: &str,
        update: &UpdateOp,
        held: &Held,
    ) -> Result<OpReply, Failure> {
        let Some(named) = named_id(&update.filter) else {
            let message = "inside a transaction only a document that is named by its _id can be set where there is none";
            return Err(Error::invalid(message).into());
        };
        let mut seed = RawDocumentBuf::new();
        seed.append(bson::cstr!("_id"), named);
        let document = if update.replace {
            replace(Some(&seed), &update.update)?
        } else {
            self.updated(update, &seed, true)?.unwrap_or(seed)
        };
        let document = held.created(document, collection)?;
        let insert = Write::of(document.clone(), true)?;
        let upserted_id = Some(insert.id.clone());
        self.write(collection, vec![insert]).await?;
        Ok(OpReply::Updated {
            matched: 0,
            modified: 0,
            upserted_id,
            document: Some(document).filter(|_| update.return_document),
        })
    }

    async fn write(&self, collection: &str, writes: Vec<Write>) -> Result<(), Failure> {
        self.open.set.lock().await.write(collection, writes)
    }

    /// The document with this `_id`, as the transaction and the step see it.
    pub(super) async fn get(
        &self,
        collection: &str,
        id: RawBsonRef<'_>,
        held: &Held,
    ) -> Result<Option<RawDocumentBuf>, Failure> {
        if let Some(own) = self.open.set.lock().await.own(collection, id)? {
            return match own {
                Some(own) if held.sees(&own, collection)? => Ok(Some(own)),
                _ => Ok(None),
            };
        }
        let mut filter = RawDocumentBuf::new();
        filter.append(bson::cstr!("_id"), id);
        let find = FindOp {
            filter,
            ..FindOp::default()
        };
        let found = self.read(collection, find, held).await?;
        let document = found.documents.into_iter().next();
        let mut set = self.open.set.lock().await;
        if document.is_none() && held.guard().is_some_and(|guard| !guard.visible.is_empty()) {
            // There may be one that the step must not know of, not even by whether it changes.
            set.note_query(found.query)?;
        } else {
            set.note(collection, id, document.as_deref())?;
        }
        Ok(document)
    }

    /// Documents that match, as the transaction sees them, in order.
    async fn matches(
        &self,
        collection: &str,
        filter: &RawDocument,
        sort: &RawDocument,
        held: &Held,
    ) -> Result<Vec<RawDocumentBuf>, Failure> {
        if let Some(id) = named_id(filter) {
            let found = self.get(collection, id, held).await?;
            return Ok(found.into_iter().collect());
        }
        let find = FindOp {
            filter: filter.to_owned(),
            sort: sort.to_owned(),
            ..FindOp::default()
        };
        let found = self.read(collection, find, held).await?;
        let has_own = self.open.set.lock().await.has_written_to(collection);
        let mut seen = self.overlay(collection, found).await?;
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

    /// What a query found with what the transaction has written; the query counts as read.
    async fn overlay(
        &self,
        collection: &str,
        found: Found,
    ) -> Result<Vec<RawDocumentBuf>, Failure> {
        let Found { documents, query } = found;
        let mut set = self.open.set.lock().await;
        let seen = set.overlay(collection, documents, &query.filter, self.now_ms)?;
        set.note_query(query)?;
        Ok(seen)
    }

    async fn read(&self, collection: &str, find: FindOp, held: &Held) -> Result<Found, Failure> {
        let is_cut = find.limit.is_some();
        let filter = held.narrowed(&find.filter);
        let op = Op::Find {
            collection: collection.to_owned(),
            find,
        };
        let op = match held.guard() {
            Some(guard) => Op::Guarded {
                op: Box::new(op),
                guard: Box::new(guard.clone()),
            },
            None => op,
        };
        let reply = self
            .router
            .run_inside(self.call, Op::Positioned(Box::new(op)))
            .await
            .map_err(|failure| match &*failure.code {
                CHANGED => conflict(),
                _ => failure,
            })?;
        let OpReply::Positioned {
            reply,
            as_of,
            now_ms,
        } = reply
        else {
            return Err(unexpected());
        };
        let query = ReadQuery {
            collection: collection.to_owned(),
            filter,
            now_ms,
            as_of,
        };
        match *reply {
            OpReply::Found { documents, next } if is_cut || next.is_empty() => {
                Ok(Found { documents, query })
            }
            OpReply::Found { .. } => Err(Failure::new(
                "EXCEED_REQUEST_LIMIT",
                "the query matches more documents than a transaction can hold; narrow it",
                Retry::Never,
            )),
            _ => Err(unexpected()),
        }
    }
}

fn outside() -> Failure {
    Failure::new(
        "INVALID_PARAM",
        "a transaction reads, adds, sets, updates and removes documents; this operation is outside of it: leave out transactionId",
        Retry::Never,
    )
}

fn unexpected() -> Failure {
    Failure::new(
        "SYS_ERR",
        "the database answered something else",
        Retry::Never,
    )
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
