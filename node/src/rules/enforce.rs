//! The one place where rules meet requests: turns an operation of an end user into one that the database holds
//! to the rules, or refuses it.
//!
//! The result carries the version of the rules it was made under, and the database refuses it when they are no
//! longer in force. Whatever is not named here is closed to end users.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf};
use futures::future::BoxFuture;
use yunbase_docdb::op::{FindOp, Op, UpdateOp};
use yunbase_docdb::value::check_document;
use yunbase_docdb::{Guard, Joined};

use super::access::{Action, Permission, Rules, is_system};
use super::ast::Expression;
use super::condition::Condition;
use super::fold::{Fetched, Scope, Stop, Subject, fold};
use super::implies::Facts;
use super::limits::REQUEST_GETS_MAX;
use super::owner::{OWNER, check_update, fill_in, owned};
use super::pipeline;
use super::refusal::{denied, malformed};
use crate::call::{EndUser, Failure};

/// Reads documents for `get()` in rules: in the same environment, linearizably, with the node's own rights.
pub trait Documents: Send + Sync {
    /// The document with this `_id`, if there is one.
    fn document<'a>(
        &'a self,
        collection: &'a str,
        id: &'a Bson,
    ) -> BoxFuture<'a, Result<Option<RawDocumentBuf>, Failure>>;
}

/// Also knows the rules of other collections.
pub trait Collections: Documents {
    /// The rules of a collection and the version of the access document that they are from.
    fn rules<'a>(
        &'a self,
        collection: &'a str,
    ) -> BoxFuture<'a, Result<(u64, Arc<Rules>), Failure>>;
}

/// A collection's rules, and what the database calls them.
#[derive(Clone, Copy)]
pub struct InForce<'a> {
    /// The rules.
    pub rules: &'a Rules,
    /// The version of the access document that they are from.
    pub version: u64,
}

/// Who asks and when.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The end user.
    pub user: &'a EndUser,
    /// Milliseconds since 1970: `now` in rules.
    pub now_ms: i64,
}

/// What an operation of an end user is about: the action that decides about it, and its collection. Refuses
/// operations that are not for end users, without looking at rules.
pub fn subject_of(op: &Op) -> Result<(Action, &str), Failure> {
    let (action, collection) = match op {
        Op::Find { collection, .. }
        | Op::Count { collection, .. }
        | Op::Aggregate { collection, .. } => (Action::Read, collection),
        Op::Insert { collection, .. } => (Action::Create, collection),
        Op::Update { collection, .. } => (Action::Update, collection),
        Op::Remove { collection, .. } => (Action::Delete, collection),
        _ => {
            return Err(denied(
                "this operation is for administrators; use a secret key or a cloud function",
            ));
        }
    };
    check_collection(collection)?;
    Ok((action, collection.as_str()))
}

fn check_collection(collection: &str) -> Result<(), Failure> {
    if is_system(collection) {
        return Err(denied(format!(
            "collection '{collection}' belongs to the system"
        )));
    }
    Ok(())
}

/// Holds an operation of an end user to the rules of its collection.
pub async fn enforce(
    op: Op,
    asker: Asker<'_>,
    in_force: InForce<'_>,
    documents: &dyn Collections,
) -> Result<Op, Failure> {
    let (action, collection) = subject_of(&op)?;
    let mut judge = Judge {
        collection: collection.to_owned(),
        asker,
        rules: in_force.rules,
        documents,
        fetched: Fetched::new(),
    };
    let mut guard = Guard {
        access_version: in_force.version,
        ..Guard::default()
    };
    let mut joined = Vec::new();
    let op = match op {
        Op::Find { collection, find } => {
            let filter = fill_in(&find.filter, asker.user)?;
            judge.narrow(action, &filter, None, &mut guard).await?;
            let find = FindOp { filter, ..find };
            Op::Find { collection, find }
        }
        Op::Count { collection, filter } => {
            let filter = fill_in(&filter, asker.user)?;
            judge.narrow(action, &filter, None, &mut guard).await?;
            Op::Count { collection, filter }
        }
        Op::Aggregate {
            collection,
            pipeline,
            seed,
        } => {
            let read = pipeline::read(pipeline, asker.user)?;
            guard.visible = judge.visible_to_pipeline(&read.stages).await?;
            joined = judge.joined(read.joined).await?;
            Op::Aggregate {
                collection,
                pipeline: read.stages,
                seed,
            }
        }
        Op::Insert {
            collection,
            documents,
        } => {
            let documents = judge.creations(documents).await?;
            Op::Insert {
                collection,
                documents,
            }
        }
        Op::Update { collection, update } => {
            let update = judge.update(update, &mut guard).await?;
            Op::Update { collection, update }
        }
        Op::Remove {
            collection,
            filter,
            multi,
        } => {
            let filter = fill_in(&filter, asker.user)?;
            judge.narrow(action, &filter, None, &mut guard).await?;
            Op::Remove {
                collection,
                filter,
                multi,
            }
        }
        _ => return Err(denied("this operation is for administrators")),
    };
    let (op, guard) = (Box::new(op), Box::new(guard));
    Ok(if joined.is_empty() {
        Op::Guarded { op, guard }
    } else {
        Op::GuardedJoin { op, guard, joined }
    })
}

/// What a query says.
#[derive(Default)]
struct Query {
    facts: Facts,
    fixed: BTreeMap<String, Bson>,
    /// It says nothing but what `_id` is.
    is_id_alone: bool,
}

impl Query {
    fn fixes_id(&self) -> bool {
        self.fixed.contains_key("_id")
    }
}

fn facts_of(filter: &RawDocument) -> Result<Query, Failure> {
    if filter.is_empty() {
        return Ok(Query::default());
    }
    // Bounds the depth of what is walked next.
    check_document(filter)?;
    let filter = Document::try_from(filter).map_err(malformed)?;
    let facts = Facts::of(&filter);
    let is_id_alone = filter.len() == 1
        && match filter.get("_id") {
            Some(Bson::Document(operators)) => {
                operators.len() == 1 && operators.contains_key("$eq")
            }
            Some(Bson::RegularExpression(_) | Bson::Array(_)) | None => false,
            Some(_) => true,
        };
    let fixed = facts.fixed();
    Ok(Query {
        facts,
        fixed,
        is_id_alone,
    })
}

/// Judges one request.
struct Judge<'a> {
    collection: String,
    asker: Asker<'a>,
    rules: &'a Rules,
    documents: &'a dyn Collections,
    fetched: Fetched,
}

impl<'a> Judge<'a> {
    /// Puts into `guard` what an action on the matches of `filter` is held to. A query for one `_id` is checked
    /// against the document, so that a refusal is told; any other sees only what it may.
    async fn narrow(
        &mut self,
        action: Action,
        filter: &RawDocument,
        data: Option<&RawDocument>,
        guard: &mut Guard,
    ) -> Result<Condition, Failure> {
        let query = facts_of(filter)?;
        let (condition, source) = self.condition(action, &query, data).await?;
        if let Some(source) = source {
            if condition == Condition::Never {
                return Err(self.refused(action, source));
            }
            if query.is_id_alone {
                guard.before = to_raw(&condition.to_filter())?;
                return Ok(condition);
            }
            if !query.fixes_id() {
                self.demand(&query, &condition, source)?;
            }
        }
        guard.visible = to_raw(&condition.to_filter())?;
        Ok(condition)
    }

    /// What documents a pipeline may begin with. Rules of CUSTOM collections must follow from its first `$match`, or
    /// the `query` of its `$geoNear`, as from a query.
    async fn visible_to_pipeline(
        &mut self,
        pipeline: &[RawDocumentBuf],
    ) -> Result<RawDocumentBuf, Failure> {
        let leading = pipeline.first().and_then(|stage| {
            let near = stage.get_document("$geoNear");
            near.and_then(|near| near.get_document("query"))
                .or_else(|_| stage.get_document("$match"))
                .ok()
        });
        let query = leading.map_or_else(|| Ok(Query::default()), facts_of)?;
        let (condition, source) = self.condition(Action::Read, &query, None).await?;
        if let Some(source) = source {
            if condition == Condition::Never {
                return Err(self.refused(Action::Read, source));
            }
            if !query.fixes_id() {
                self.demand(&query, &condition, source)?;
            }
        }
        to_raw(&condition.to_filter())
    }

    /// What a pipeline may see of the collections that it joins. Here the rules are conditions that are added: nobody
    /// can be asked to put them into every join.
    async fn joined(&mut self, names: BTreeSet<String>) -> Result<Vec<Joined>, Failure> {
        let mut joined = Vec::with_capacity(names.len());
        for collection in names {
            check_collection(&collection)?;
            let (access_version, rules) = self.documents.rules(&collection).await?;
            let mut judge = Judge {
                collection,
                asker: self.asker,
                rules: &rules,
                documents: self.documents,
                fetched: std::mem::take(&mut self.fetched),
            };
            let query = Query::default();
            let (condition, source) = judge.condition(Action::Read, &query, None).await?;
            if let (Condition::Never, Some(source)) = (&condition, source) {
                return Err(judge.refused(Action::Read, source));
            }
            self.fetched = judge.fetched;
            joined.push(Joined {
                collection: judge.collection,
                access_version,
                visible: to_raw(&condition.to_filter())?,
            });
        }
        Ok(joined)
    }

    /// What the rules demand of documents, and the expression that says so, if one does.
    async fn condition(
        &mut self,
        action: Action,
        query: &Query,
        data: Option<&RawDocument>,
    ) -> Result<(Condition, Option<&'a Expression>), Failure> {
        match self.rules.permission(action) {
            Permission::Everyone => Ok((Condition::Always, None)),
            Permission::Nobody => Err(self.closed(action)),
            Permission::Owner => Ok((owner(self.asker.user), None)),
            Permission::When(expression) => {
                let condition = self
                    .evaluate(action, expression, Known::Query(query), data)
                    .await?;
                Ok((condition, Some(expression)))
            }
        }
    }

    /// Evaluates an expression, fetching what its `get()` ask for.
    async fn evaluate(
        &mut self,
        action: Action,
        expression: &Expression,
        known: Known<'_>,
        data: Option<&RawDocument>,
    ) -> Result<Condition, Failure> {
        let mut fixed = match known {
            Known::Query(query) => Cow::Borrowed(&query.fixed),
            Known::Document(_) => Cow::Owned(BTreeMap::new()),
        };
        let mut asked_document = false;
        loop {
            let scope = Scope {
                user: self.asker.user,
                now_ms: self.asker.now_ms,
                data,
                subject: match known {
                    Known::Query(_) => Subject::Fixed(&fixed),
                    Known::Document(document) => Subject::Document(document),
                },
                fetched: &self.fetched,
            };
            match fold(expression, &scope) {
                Ok(condition) => return Ok(condition),
                Err(Stop::Fetch(key)) => {
                    if self.fetched.len() >= REQUEST_GETS_MAX {
                        return Err(denied(format!(
                            "rule `{}` of collection '{}' reads more than {REQUEST_GETS_MAX} documents for this request; send less at once",
                            action.as_str(),
                            self.collection
                        )));
                    }
                    let id = Bson::String(key.id.clone());
                    let found = self.documents.document(&key.collection, &id).await?;
                    self.fetched.insert(key, found);
                }
                Err(Stop::Unfixed(path)) => {
                    let Some(id) = fixed.get("_id").cloned() else {
                        return Err(denied(format!(
                            "rule `{}` of collection '{}' reads a document named by `doc.{path}`: the query must fix that field with an equality",
                            action.as_str(),
                            self.collection
                        )));
                    };
                    // A query for one `_id` fixes what its document has now; the condition then demands it.
                    if !std::mem::replace(&mut asked_document, true)
                        && let Some(found) = self.documents.document(&self.collection, &id).await?
                    {
                        let found = Document::try_from(&*found).map_err(malformed)?;
                        flatten("", &found, fixed.to_mut());
                    }
                    fixed.to_mut().entry(path).or_insert(Bson::Null);
                }
                Err(Stop::Senseless(reason)) => {
                    return Err(denied(format!(
                        "rule `{}` of collection '{}' does not fit this request: {reason}",
                        action.as_str(),
                        self.collection
                    )));
                }
            }
        }
    }

    /// Refuses a query from which the rule does not follow.
    fn demand(
        &self,
        query: &Query,
        condition: &Condition,
        source: &Expression,
    ) -> Result<(), Failure> {
        let missing = match query.facts.imply(condition) {
            Ok(()) => return Ok(()),
            Err(missing) => missing.map_or(source.root.span, |test| test.span),
        };
        Err(denied(format!(
            "the query must contain the condition `{}` that a rule of collection '{}' demands",
            missing.of(&source.source),
            self.collection
        )))
    }

    /// Documents to insert, each the user's and each allowed.
    async fn creations(
        &mut self,
        documents: Vec<RawDocumentBuf>,
    ) -> Result<Vec<RawDocumentBuf>, Failure> {
        let permission = self.rules.permission(Action::Create);
        if permission == Permission::Nobody {
            return Err(self.closed(Action::Create));
        }
        let mut owned_documents = Vec::with_capacity(documents.len());
        for document in documents {
            let document = owned(document, self.asker.user)?;
            if let Permission::When(expression) = permission {
                check_document(&document)?;
                let known = Known::Document(&document);
                let verdict = self
                    .evaluate(Action::Create, expression, known, Some(&document))
                    .await?;
                if verdict != Condition::Always {
                    return Err(self.refused(Action::Create, expression));
                }
            }
            owned_documents.push(document);
        }
        Ok(owned_documents)
    }

    async fn update(&mut self, update: UpdateOp, guard: &mut Guard) -> Result<UpdateOp, Failure> {
        let filter = fill_in(&update.filter, self.asker.user)?;
        if !update.replace {
            check_update(&update.update)?;
        }
        let data = if update.replace {
            update.update.clone()
        } else {
            set_by(&update.update)?
        };
        guard.keep = vec![OWNER.to_owned()];
        if update.upsert {
            self.upsert(&filter, &data, guard).await?;
        } else {
            let condition = self
                .narrow(Action::Update, &filter, Some(&data), guard)
                .await?;
            guard.after = to_raw(&condition.to_filter())?;
        }
        Ok(UpdateOp { filter, ..update })
    }

    /// An upsert is an update where something matches and a creation where nothing does; each part may be
    /// forbidden by itself.
    async fn upsert(
        &mut self,
        filter: &RawDocument,
        data: &RawDocument,
        guard: &mut Guard,
    ) -> Result<(), Failure> {
        let query = facts_of(filter)?;
        let may_create = self.rules.permission(Action::Create) != Permission::Nobody;
        let changed = match self.condition(Action::Update, &query, Some(data)).await {
            Ok((condition, source)) => {
                if let Some(source) = source
                    && !query.fixes_id()
                    && condition != Condition::Never
                {
                    self.demand(&query, &condition, source)?;
                }
                condition
            }
            Err(_) if may_create && self.rules.permission(Action::Update) == Permission::Nobody => {
                Condition::Never
            }
            Err(refused) => return Err(refused),
        };
        let created = if may_create {
            self.condition(Action::Create, &query, Some(data)).await?.0
        } else {
            Condition::Never
        };
        if changed == Condition::Never && created == Condition::Never {
            return Err(self.closed(Action::Update));
        }
        let changed = to_raw(&changed.to_filter())?;
        // Somebody else's document under the `_id` is a refusal, not an `_id` that is taken.
        if query.is_id_alone {
            guard.before.clone_from(&changed);
        } else {
            guard.visible.clone_from(&changed);
        }
        guard.after = changed;
        guard.inserted = to_raw(&created.to_filter())?;
        guard.stamp = RawDocumentBuf::new();
        guard
            .stamp
            .append(bson::cstr!("_openid"), self.asker.user.openid.as_str());
        Ok(())
    }

    fn closed(&self, action: Action) -> Failure {
        denied(format!(
            "collection '{}' allows no `{}` by end users ({})",
            self.collection,
            action.as_str(),
            self.rules.mode()
        ))
    }

    fn refused(&self, action: Action, expression: &Expression) -> Failure {
        denied(format!(
            "rule `{}` of collection '{}' does not hold for this request: {}",
            action.as_str(),
            self.collection,
            expression.source
        ))
    }
}

/// What an expression is evaluated on.
#[derive(Clone, Copy)]
enum Known<'k> {
    Query(&'k Query),
    Document(&'k RawDocument),
}

/// The condition that a document is the user's.
fn owner(user: &EndUser) -> Condition {
    Condition::Owner(user.openid.clone())
}

/// What an update sets, nested where its paths are dotted: `request.data` of an update by operators.
fn set_by(update: &RawDocument) -> Result<RawDocumentBuf, Failure> {
    let mut data = Document::new();
    for element in update.iter() {
        // Every `$set`: BSON may repeat a name, and the database carries out all of them.
        let (name, operand) = element.map_err(malformed)?;
        if let ("$set", RawBsonRef::Document(set)) = (name.as_str(), operand) {
            for element in set.iter() {
                let (path, value) = element.map_err(malformed)?;
                let value = Bson::try_from(value).map_err(malformed)?;
                nest(&mut data, path.as_str(), value);
            }
        }
    }
    to_raw(&data)
}

fn nest(data: &mut Document, path: &str, value: Bson) {
    let Some((first, rest)) = path.split_once('.') else {
        data.insert(path, value);
        return;
    };
    let inner = data
        .entry(first.to_owned())
        .or_insert_with(|| Bson::Document(Document::new()));
    if let Bson::Document(inner) = inner {
        nest(inner, rest, value);
    }
}

fn flatten(prefix: &str, document: &Document, into: &mut BTreeMap<String, Bson>) {
    for (name, value) in document {
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        if let Bson::Document(inner) = value {
            flatten(&path, inner, into);
        }
        into.entry(path).or_insert_with(|| value.clone());
    }
}

fn to_raw(document: &Document) -> Result<RawDocumentBuf, Failure> {
    RawDocumentBuf::try_from(document).map_err(malformed)
}
