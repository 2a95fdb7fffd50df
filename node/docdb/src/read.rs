//! Reading operations over one consistent view.

use bson::{RawDocument, RawDocumentBuf, doc};

use crate::aggregate::{self, Request};
use crate::catalog::{self, Catalog, Collection, Index, IndexState};
use crate::error::{Error, Result};
use crate::executor::{self, Effort, Scan};
use crate::explain;
use crate::guard::{self, Guard, Joined, denied};
use crate::index_options;
use crate::kv::{KeyRange, View};
use crate::op::{FindOp, Op, OpReply};
use crate::planner::{self, Access, Choice, Plan};
use crate::query::{Budget, EMPTY_DOCUMENT, Query, parse_filter};
use crate::state::{Counters, load_tally};
use crate::statistics;
use crate::value::malformed;

/// One view with the catalog that belongs to it.
pub(crate) struct Snapshot<'a> {
    pub(crate) view: &'a dyn View,
    pub(crate) catalog: &'a Catalog,
    pub(crate) budget: &'a Budget<'a>,
    pub(crate) now_ms: i64,
}

impl<'a> Snapshot<'a> {
    /// Carries out a reading operation.
    pub(crate) fn read(&self, env: &str, op: &Op) -> Result<OpReply> {
        match op {
            Op::Find { collection, find } => {
                self.find(self.catalog.require(env, collection)?, find)
            }
            Op::Count { collection, filter } => {
                let collection = self.catalog.require(env, collection)?;
                Ok(OpReply::Counted {
                    count: self.count(collection, filter)?,
                })
            }
            Op::ListCollections => self.list_collections(env),
            Op::ListIndexes { collection } => {
                self.list_indexes(self.catalog.require(env, collection)?)
            }
            Op::Explain(op) => explain::explain(self, env, op),
            Op::Aggregate {
                collection,
                pipeline,
                seed,
            } => {
                let request = Request {
                    env,
                    collection,
                    pipeline,
                    visible: RawDocument::from_bytes(EMPTY_DOCUMENT).map_err(Error::internal)?,
                    seed: *seed,
                    joined: None,
                };
                aggregate::aggregate(self, &request)
            }
            Op::GetAccess { collection } => {
                access_reply(&self.catalog.require(env, collection)?.access())
            }
            Op::Guarded { op, guard } => self.guarded(env, op, guard, &[]),
            Op::GuardedJoin { op, guard, joined } => {
                if !matches!(**op, Op::Aggregate { .. }) {
                    return Err(Error::internal("only aggregations join"));
                }
                for other in joined {
                    let collection = self.catalog.require(env, &other.collection)?;
                    guard::check_version(collection, other.access_version)?;
                }
                self.guarded(env, op, guard, joined)
            }
            Op::Positioned(op) => {
                if matches!(**op, Op::Positioned(_)) {
                    return Err(Error::internal("a position of a position"));
                }
                Ok(OpReply::Positioned {
                    reply: Box::new(self.read(env, op)?),
                    as_of: Counters::load(self.view)?.last_change,
                    now_ms: self.now_ms,
                })
            }
            _ => Err(Error::internal("a write reached the reading side")),
        }
    }

    /// Carries out a find or count for somebody who may not see everything.
    fn guarded(&self, env: &str, op: &Op, guard: &Guard, joined: &[Joined]) -> Result<OpReply> {
        if let Op::Aggregate {
            collection,
            pipeline,
            seed,
        } = op
        {
            guard.check_version(self.catalog.require(env, collection)?)?;
            let request = Request {
                env,
                collection,
                pipeline,
                visible: &guard.visible,
                seed: *seed,
                joined: Some(joined),
            };
            return aggregate::aggregate(self, &request);
        }
        let (name, filter) = match op {
            Op::Find { collection, find } => (collection, &find.filter),
            Op::Count { collection, filter } => (collection, filter),
            _ => return Err(Error::internal("a guard for a read that takes none")),
        };
        let collection = self.catalog.require(env, name)?;
        guard.check_version(collection)?;
        if let Some(forbidden) = guard.forbidden(filter) {
            let mut query = Query::by_filter(parse_filter(&forbidden, self.now_ms)?)?;
            query.limit = Some(1);
            let choice = self.choose(collection, &query)?;
            let (ids, _) = executor::ids(self.scan(collection, &choice.best, &query), &query, 1)?;
            if !ids.is_empty() {
                return Err(denied("reading a document that the query matches", name));
            }
        }
        match op {
            Op::Find { find, .. } => {
                let narrowed = FindOp {
                    filter: guard.narrow(filter),
                    ..find.clone()
                };
                self.find(collection, &narrowed)
            }
            _ => Ok(OpReply::Counted {
                count: self.count(collection, &guard.narrow(filter))?,
            }),
        }
    }

    fn find(&self, collection: &Collection, find: &FindOp) -> Result<OpReply> {
        let query = Query::parse(find, self.now_ms)?;
        let choice = self.choose(collection, &query)?;
        let (found, _) = executor::find(self.scan(collection, &choice.best, &query), &query)?;
        Ok(OpReply::Found {
            documents: found.documents,
            next: found.next,
        })
    }

    fn count(&self, collection: &Collection, filter: &RawDocument) -> Result<u64> {
        if filter.is_empty() {
            return Ok(load_tally(self.view, collection.id)?.documents);
        }
        let query = Query::by_filter(parse_filter(filter, self.now_ms)?)?;
        let choice = self.choose(collection, &query)?;
        if let Some(range) = covered_range(collection, &choice.best, filter)? {
            return executor::count_keys(self.view, range, self.budget);
        }
        Ok(self
            .count_matches(collection, &choice.best, &query)?
            .documents_matched)
    }

    pub(crate) fn count_matches(
        &self,
        collection: &Collection,
        plan: &Plan,
        query: &Query,
    ) -> Result<Effort> {
        let mut scan = self.scan(collection, plan, query);
        scan.run(&mut |_, _| Ok(true))?;
        Ok(scan.effort)
    }

    pub(crate) fn choose(&self, collection: &Collection, query: &Query) -> Result<Choice> {
        // Planning needs the size of the collection only when there is something to choose from.
        let documents = if collection.indexes.is_empty() {
            0
        } else {
            load_tally(self.view, collection.id)?.documents
        };
        planner::choose(self.view, collection, documents, query)
    }

    pub(crate) fn scan<'s>(
        &'s self,
        collection: &'s Collection,
        plan: &'s Plan,
        query: &'s Query,
    ) -> Scan<'s> {
        Scan {
            view: self.view,
            collection,
            plan,
            filter: &query.filter,
            after: &query.after,
            budget: self.budget,
            effort: Effort::default(),
        }
    }

    fn list_collections(&self, env: &str) -> Result<OpReply> {
        let mut documents = Vec::new();
        for collection in self.catalog.collections(env) {
            documents.push(raw(&statistics::describe(self.view, collection)?)?);
        }
        Ok(OpReply::Described { documents })
    }

    fn list_indexes(&self, collection: &Collection) -> Result<OpReply> {
        let documents = collection
            .indexes
            .iter()
            .map(|index| raw(&index_document(index)))
            .collect::<Result<_>>()?;
        Ok(OpReply::Described { documents })
    }
}

/// The range whose keys are exactly the matches: each condition is equality of a field with a plain
/// value, the plan's index holds these fields and no others before them, and no document twice.
fn covered_range<'p>(
    collection: &Collection,
    plan: &'p Plan,
    filter: &RawDocument,
) -> Result<Option<&'p KeyRange>> {
    let Access::Index { at, ranges } = &plan.access else {
        return Ok(None);
    };
    let (index, [range]) = (&collection.indexes[*at], ranges.as_slice()) else {
        return Ok(None);
    };
    if index.is_multikey() || index.geo_field().is_some() {
        return Ok(None);
    }
    let mut conditions = 0;
    for element in filter.iter() {
        let (path, value) = element.map_err(malformed)?;
        let is_plain = matches!(
            value,
            bson::RawBsonRef::String(_)
                | bson::RawBsonRef::Int32(_)
                | bson::RawBsonRef::Int64(_)
                | bson::RawBsonRef::Boolean(_)
                | bson::RawBsonRef::ObjectId(_)
                | bson::RawBsonRef::DateTime(_)
        );
        let is_operator = path.as_str().starts_with('$');
        if !is_plain || is_operator {
            return Ok(None);
        }
        conditions += 1;
        if conditions > index.spec.fields.len() {
            return Ok(None);
        }
    }
    let is_prefix = |name: &str| {
        index.spec.fields[..conditions]
            .iter()
            .any(|field| field.path == name)
    };
    for element in filter.iter() {
        if !is_prefix(element.map_err(malformed)?.0.as_str()) {
            return Ok(None);
        }
    }
    Ok(Some(range))
}

/// An index as `ListIndexes` and `ListCollections` describe it.
pub(crate) fn index_document(index: &Index) -> bson::Document {
    let fields: Vec<_> = index
        .spec
        .fields
        .iter()
        .enumerate()
        .map(|(at, field)| match index.geo_field() == Some(at) {
            true => doc! { "path": &field.path, "direction": "2dsphere" },
            false => {
                doc! { "path": &field.path, "direction": if field.descending { -1 } else { 1 } }
            }
        })
        .collect();
    let (state, error) = match &index.state {
        IndexState::Building { .. } => ("building", None),
        IndexState::Ready => ("ready", None),
        IndexState::Failed { reason } => ("failed", Some(reason.to_string())),
    };
    let mut document = doc! {
        "name": &index.spec.name,
        "fields": fields,
        "unique": index.spec.unique,
        "multikey": index.is_multikey(),
        "state": state,
    };
    index_options::describe(&index.options, &mut document);
    if let Some(error) = error {
        document.insert("error", error);
    }
    document
}

/// A collection's access as `GetAccess` answers it.
fn access_reply(access: &catalog::Access) -> Result<OpReply> {
    let document: bson::Document = access.document.as_ref().try_into().map_err(malformed)?;
    Ok(OpReply::Described {
        documents: vec![raw(
            &doc! { "version": access.version as i64, "access": document },
        )?],
    })
}

/// A decoded document as raw bytes.
pub(crate) fn raw(document: &bson::Document) -> Result<RawDocumentBuf> {
    RawDocumentBuf::try_from(document).map_err(Error::internal)
}
