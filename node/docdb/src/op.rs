//! What a caller asks of the database and what it answers: one value for each operation, independent
//! of the protocol that brought it. Also the wire form between nodes, so members are only ever appended.

use bson::RawDocumentBuf;
use serde::{Deserialize, Serialize};

use crate::guard::{Guard, Joined};
use crate::keys::Position;
use crate::raw_bson;
use crate::transaction::{CheckedTransaction, Transaction};

/// An index as its creator defines it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexSpec {
    /// Unique in its collection, for example `country_1_population_-1`.
    pub name: String,
    /// Dotted field paths, in order of significance, and whether the order is descending.
    pub fields: Vec<IndexField>,
    /// Whether two documents may not have an equal key (missing fields count as null, as in MongoDB).
    pub unique: bool,
}

/// What an index may have beyond its fields.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct IndexOptions {
    /// Leaves out documents that have none of the fields.
    pub sparse: bool,
    /// Only documents that match this filter are in the index; empty = all. It may compare with `$eq`, `$in`, `$lt`,
    /// `$lte`, `$gt`, `$gte`, and ask `$exists: true` and `$type`, joined by `$and` and `$or`.
    #[serde(with = "raw_bson")]
    pub partial: RawDocumentBuf,
    /// A document is removed some time after the date at the index's only field is this many seconds past.
    pub expire_after_seconds: Option<u32>,
    /// Position in `fields` of the one that holds GeoJSON (a `2dsphere` index). Documents without a geometry there are
    /// not in the index; those with anything else are refused.
    pub geo: Option<u32>,
}

/// What happens to a write whose document does not satisfy its collection's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ValidationLevel {
    /// Nothing is checked.
    #[default]
    Off,
    /// It passes and is counted.
    Warn,
    /// It is refused.
    Strict,
}

/// One field of a (compound) index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexField {
    /// Dotted path.
    pub path: String,
    /// Largest value first.
    pub descending: bool,
}

/// A query with everything that shapes its result.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FindOp {
    /// Which documents; empty = all.
    #[serde(with = "raw_bson")]
    pub filter: RawDocumentBuf,
    /// Which fields; empty = whole documents.
    #[serde(with = "raw_bson")]
    pub projection: RawDocumentBuf,
    /// `{path: 1 | -1, ...}` in order of significance; empty = by `_id`.
    #[serde(with = "raw_bson")]
    pub sort: RawDocumentBuf,
    /// Matches to leave out first.
    pub skip: u64,
    /// Most documents to return; `None` = as many as the budget of results allows.
    pub limit: Option<u64>,
    /// Continue after this position of an earlier page (`FindReply::next`); only with an empty sort.
    #[serde(with = "serde_bytes")]
    pub after: Vec<u8>,
}

/// How an update changes what it matches.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct UpdateOp {
    /// Which documents.
    #[serde(with = "raw_bson")]
    pub filter: RawDocumentBuf,
    /// Update operators, or the whole new document when `replace`.
    #[serde(with = "raw_bson")]
    pub update: RawDocumentBuf,
    /// `update` is a whole document, not operators.
    pub replace: bool,
    /// Insert when nothing matches.
    pub upsert: bool,
    /// Change all matches instead of the first.
    pub multi: bool,
    /// Answer with the document after the change (single updates only).
    pub return_document: bool,
    /// Which match a single update takes first; empty = by `_id`.
    #[serde(with = "raw_bson")]
    pub sort: RawDocumentBuf,
    /// `_id` for a document that an upsert creates when filter and update name none; made at the edge.
    pub upsert_id: String,
}

/// One operation on one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Creates an empty collection.
    CreateCollection {
        /// Its name.
        collection: String,
    },
    /// Removes a collection with all documents and indexes.
    DropCollection {
        /// Its name.
        collection: String,
    },
    /// Names, document counts and index definitions of all collections.
    ListCollections,
    /// Inserts documents; each must carry its `_id`. All or none.
    Insert {
        /// Target.
        collection: String,
        /// Whole documents with `_id`.
        #[serde(with = "raw_bson::vec")]
        documents: Vec<RawDocumentBuf>,
    },
    /// Reads documents.
    Find {
        /// Source.
        collection: String,
        /// The query.
        find: FindOp,
    },
    /// Counts matches.
    Count {
        /// Source.
        collection: String,
        /// Which documents; empty = all.
        #[serde(with = "raw_bson")]
        filter: RawDocumentBuf,
    },
    /// Updates, replaces or upserts.
    Update {
        /// Target.
        collection: String,
        /// What and how.
        update: UpdateOp,
    },
    /// Removes the first match or all.
    Remove {
        /// Target.
        collection: String,
        /// Which documents.
        #[serde(with = "raw_bson")]
        filter: RawDocumentBuf,
        /// All matches instead of the first.
        multi: bool,
    },
    /// Starts to build an index; it serves queries once its build has finished.
    CreateIndex {
        /// Target.
        collection: String,
        /// Definition.
        index: IndexSpec,
    },
    /// Removes an index.
    DropIndex {
        /// Target.
        collection: String,
        /// Its name.
        name: String,
    },
    /// Definitions and build states of a collection's indexes.
    ListIndexes {
        /// Source.
        collection: String,
    },
    /// How a find, count, update, remove or aggregate would be carried out. Only reads.
    Explain(Box<Op>),
    /// Sends documents through a pipeline; answered like a find, in one piece.
    Aggregate {
        /// Source.
        collection: String,
        /// One stage each, such as `{$match: {..}}`; empty = whole documents.
        #[serde(with = "raw_bson::vec")]
        pipeline: Vec<RawDocumentBuf>,
        /// What `$sample` draws from; made at the edge.
        seed: u64,
    },
    /// Says who may do what with a collection. The database keeps the document and its version; what it means
    /// is the node's business.
    SetAccess {
        /// Target.
        collection: String,
        /// The access document; empty = as if none had ever been set.
        #[serde(with = "raw_bson")]
        access: RawDocumentBuf,
    },
    /// The access document of a collection and its version: `{version: int64, access: {...}}`.
    GetAccess {
        /// Source.
        collection: String,
    },
    /// An insert, find, count, update or remove on behalf of an end user.
    Guarded {
        /// What is asked for.
        op: Box<Op>,
        /// What it is held to.
        guard: Box<Guard>,
    },
    /// Commits a transaction.
    Commit(Box<Transaction>),
    /// A read whose answer tells of which moment it is.
    Positioned(Box<Op>),
    /// Commits a transaction that depends on more than the documents that it read.
    CommitChecked(Box<CheckedTransaction>),
    /// An aggregation on behalf of an end user that reads other collections too.
    GuardedJoin {
        /// The aggregation.
        op: Box<Op>,
        /// What it is held to in its own collection.
        guard: Box<Guard>,
        /// The same of every other collection that it may read.
        joined: Vec<Joined>,
    },
    /// Like `CreateIndex`, for an index with options.
    CreateIndexWith {
        /// Target.
        collection: String,
        /// Definition.
        index: IndexSpec,
        /// The rest of the definition.
        options: IndexOptions,
    },
    /// Says what documents of a collection must be like from now on; those that are there stay as they are.
    SetValidator {
        /// Target.
        collection: String,
        /// A JSON schema; empty = none.
        #[serde(with = "raw_bson")]
        schema: RawDocumentBuf,
        /// What happens to writes that do not satisfy it.
        level: ValidationLevel,
    },
    /// Gives a collection another name; documents and indexes stay.
    RenameCollection {
        /// Its name.
        collection: String,
        /// Its new name, which no other collection may have.
        to: String,
    },
}

impl Op {
    /// Whether the operation only reads, so that any replica may serve it after a read barrier.
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Self::ListCollections
                | Self::Find { .. }
                | Self::Count { .. }
                | Self::ListIndexes { .. }
                | Self::Explain(_)
                | Self::Aggregate { .. }
                | Self::GetAccess { .. }
                | Self::GuardedJoin { .. }
        ) || matches!(self, Self::Guarded { op, .. } | Self::Positioned(op) if op.is_read())
    }

    /// The collection concerned, where there is one.
    pub fn collection(&self) -> Option<&str> {
        match self {
            Self::CreateCollection { collection }
            | Self::DropCollection { collection }
            | Self::Insert { collection, .. }
            | Self::Find { collection, .. }
            | Self::Count { collection, .. }
            | Self::Update { collection, .. }
            | Self::Remove { collection, .. }
            | Self::CreateIndex { collection, .. }
            | Self::DropIndex { collection, .. }
            | Self::ListIndexes { collection }
            | Self::Aggregate { collection, .. }
            | Self::SetAccess { collection, .. }
            | Self::GetAccess { collection }
            | Self::CreateIndexWith { collection, .. }
            | Self::SetValidator { collection, .. }
            | Self::RenameCollection { collection, .. } => Some(collection),
            Self::ListCollections | Self::Commit(_) | Self::CommitChecked(_) => None,
            Self::Explain(inner)
            | Self::Guarded { op: inner, .. }
            | Self::GuardedJoin { op: inner, .. }
            | Self::Positioned(inner) => inner.collection(),
        }
    }
}

/// What an operation answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum OpReply {
    /// Done, nothing to say (collections and indexes created or dropped).
    Done,
    /// The `_id`s of inserted documents, in order, each as a one-element document `{"": id}`.
    Inserted {
        /// `{"": _id}` for each document.
        #[serde(with = "raw_bson::vec")]
        ids: Vec<RawDocumentBuf>,
    },
    /// Documents found.
    Found {
        /// In the order asked for.
        #[serde(with = "raw_bson::vec")]
        documents: Vec<RawDocumentBuf>,
        /// Position to continue after (`FindOp::after`) when the result was cut by a limit; empty at the end.
        #[serde(with = "serde_bytes")]
        next: Vec<u8>,
    },
    /// Number of matches.
    Counted {
        /// Matches.
        count: u64,
    },
    /// What an update did.
    Updated {
        /// Documents that matched.
        matched: u64,
        /// Documents that really changed.
        modified: u64,
        /// `{"": _id}` of the document that an upsert created.
        #[serde(with = "raw_bson::option")]
        upserted_id: Option<RawDocumentBuf>,
        /// The document after the change, when asked for and there was one.
        #[serde(with = "raw_bson::option")]
        document: Option<RawDocumentBuf>,
    },
    /// Documents removed.
    Removed {
        /// How many.
        removed: u64,
    },
    /// `ListCollections`, `ListIndexes` and `Explain` answer with documents of their own shape.
    Described {
        /// One document for each collection, each index, or one plan.
        #[serde(with = "raw_bson::vec")]
        documents: Vec<RawDocumentBuf>,
    },
    /// The answer of a read and of which moment it is.
    Positioned {
        /// The answer itself.
        reply: Box<OpReply>,
        /// The last change that it takes into account.
        as_of: Position,
        /// What the time was to it.
        now_ms: i64,
    },
}
