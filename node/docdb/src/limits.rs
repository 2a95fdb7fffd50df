//! Every bound on what one request may ask of the document database, in one place.
//!
//! A limit is part of the behaviour that replicas must agree on: changing one here changes what an
//! apply accepts, so it goes behind the cluster's feature level.

/// Deepest nesting of documents and arrays, as MongoDB allows. Bounds every recursion over BSON.
pub const NESTING_DEPTH_MAX: usize = 100;

/// Largest document in bytes, as MongoDB allows.
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest dotted path in components: no document is deeper.
pub const PATH_PARTS_MAX: usize = NESTING_DEPTH_MAX;

/// Most conditions in one filter. Each costs a path walk per document examined.
pub const FILTER_NODES_MAX: usize = 4096;

/// Most values in one `$in`, `$nin` or `$all` list. Each may become an index range.
pub const IN_VALUES_MAX: usize = 65_536;

/// Longest pattern of one regular expression.
pub const REGEX_PATTERN_BYTES_MAX: usize = 32_764;

/// Steps that all regular expressions together may take on one document that is read: texts times states of a linear
/// pattern at worst, exact steps of a pattern that backtracks. Some 0.6 s at worst.
pub const REGEX_WORK_MAX: u64 = 1 << 27;

/// The same in one applied command, which holds up its group: some 3 ms. A write to many documents goes on in the
/// next command.
pub const REGEX_WRITE_WORK_MAX: u64 = 1 << 19;

/// What each document that a command carries whole adds to that, for the patterns of its collection's schema, which are
/// the owner's and not the caller's: enough for ten of fifty states on fields of ten letters.
pub const REGEX_WORK_PER_WHOLE_DOCUMENT: u64 = 1 << 12;

/// Alternatives and positions that a regular expression which backtracks may hold open at once, of 32 bytes each.
pub const REGEX_FRAMES_MAX: usize = 1 << 20;

/// Memory of one compiled regular expression.
pub const REGEX_COMPILED_BYTES_MAX: usize = 1024 * 1024;

/// Most regular expressions in one filter: together they stay within 64 MiB.
pub const REGEXES_PER_FILTER_MAX: usize = 64;

/// Most changes (operator and path) in one update.
pub const UPDATE_CHANGES_MAX: usize = 1024;

/// How many null elements an update may add to reach an array index beyond the array's end.
pub const ARRAY_PADDING_ELEMENTS_MAX: usize = 100_000;

/// Most fields in one projection.
pub const PROJECTION_FIELDS_MAX: usize = 4096;

/// Most fields in one sort, as MongoDB allows in one compound index.
pub const SORT_FIELDS_MAX: usize = 32;

/// Most operators in one aggregation expression.
pub const EXPRESSION_NODES_MAX: usize = 4096;

/// Steps (operators evaluated, elements visited) of one aggregation expression on one document.
pub const EXPRESSION_STEPS_MAX: u64 = 1_000_000;

/// Bytes that one evaluation of an aggregation expression may build.
pub const EXPRESSION_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;

/// Largest encoded command, reply or record in bytes: the largest document, twice (an update's images), and room.
pub const COMMAND_BYTES_MAX: usize = 48 * 1024 * 1024;

/// Longest name of an environment, collection or index, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Largest access document of a collection in bytes. All of them are in memory on each replica.
pub const ACCESS_BYTES_MAX: usize = 64 * 1024;

/// Most fields that a guard keeps in replacements or puts into new documents.
pub const GUARD_FIELDS_MAX: usize = 16;

/// Most collections in one environment. All of them are in memory on each replica.
pub const COLLECTIONS_PER_ENV_MAX: usize = 10_000;

/// Most indexes of one collection, as MongoDB allows. Each costs every write.
pub const INDEXES_PER_COLLECTION_MAX: usize = 64;

/// Most fields in one index, as MongoDB allows.
pub const INDEX_FIELDS_MAX: usize = 32;

/// Longest encoded `_id` in bytes: it is part of every index key.
pub const ID_BYTES_MAX: usize = 2048;

/// Longest encoded fields of one index entry in bytes.
pub const INDEX_KEY_BYTES_MAX: usize = 16 * 1024;

/// Most entries that one document may have in one index (elements of an array field).
pub const INDEX_ENTRIES_PER_DOCUMENT_MAX: usize = 10_000;

/// Most documents in one insert.
pub const INSERT_DOCUMENTS_MAX: usize = 1000;

/// Most documents that one step of a long write (update or remove of many) touches, so that no single apply
/// stalls its group.
pub const STEP_DOCUMENTS_MAX: usize = 500;

/// The same for a step of an index build, which neither evaluates nor logs anything: some ten milliseconds.
pub const INDEX_STEP_DOCUMENTS_MAX: usize = 2000;

/// Most bytes of documents that one step of a long write reads; one document may always be taken.
pub const STEP_BYTES_MAX: usize = 1024 * 1024;

/// Most steps that one look for expired documents proposes, over all time-to-live indexes of a group.
pub const EXPIRY_STEPS_MAX: usize = 16;

/// Longest time to live in seconds, as MongoDB allows.
pub const EXPIRE_AFTER_SECONDS_MAX: u32 = i32::MAX as u32;

/// How deep a JSON schema may nest.
pub const SCHEMA_DEPTH_MAX: usize = 32;

/// Most keywords in one JSON schema. Each costs every document that is checked.
pub const SCHEMA_KEYWORDS_MAX: usize = 4096;

/// Longest JSON schema of a collection in bytes: it is in memory with the catalog.
pub const VALIDATOR_BYTES_MAX: usize = 64 * 1024;

/// Most elements of an array that `uniqueItems` compares.
pub const SCHEMA_UNIQUE_ITEMS_MAX: usize = 100_000;

/// Most positions of one geometry. Each edge may be compared with each of another geometry.
pub const GEOMETRY_POSITIONS_MAX: usize = 10_000;

/// How deep geometry collections may nest.
pub const GEOMETRY_COLLECTIONS_DEPTH_MAX: usize = 4;

/// Entries that one geometry has at most in an index: the more, the closer they fit.
pub const GEO_DOCUMENT_CELLS_MAX: usize = 16;

/// Cells that a query for places is made of at most.
pub const GEO_QUERY_CELLS_MAX: usize = 64;

/// Radius in metres of the first look around the point of a `$near`; each further look goes four times as far.
pub const GEO_NEAR_FIRST_METRES: f64 = 500.0;

/// Candidates that a planned single write carries, so that losing the first one to a concurrent
/// write does not need a new plan.
pub const CANDIDATES_MAX: usize = 4;

/// How often a single write is planned again before it is refused as too contended.
pub const REPLANS_MAX: u32 = 32;

/// `_id`s that the plan of a write to many documents collects through an index; beyond it walks the collection.
pub const PLANNED_IDS_MAX: usize = 100_000;

/// Documents that one transaction may read and write: each is looked up in one apply.
pub const TRANSACTION_DOCUMENTS_MAX: usize = 2000;

/// Bytes of documents that one transaction may write.
pub const TRANSACTION_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Queries that one transaction may read by.
pub const TRANSACTION_QUERIES_MAX: usize = 256;

/// Bytes of their filters together.
pub const TRANSACTION_QUERY_BYTES_MAX: usize = 1024 * 1024;

/// Collections whose access rules, and documents whose presence, one commit depends on.
pub const TRANSACTION_CONDITIONS_MAX: usize = 1000;

/// Changes that the apply of a commit looks at to see whether its queries still hold; the leader has looked at all
/// others beforehand.
pub const TRANSACTION_CHANGES_MAX: usize = 500;

/// Bytes of such changes; one may always be looked at.
pub const TRANSACTION_CHANGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Times that the apply of a commit holds an image of a document against a query.
pub const TRANSACTION_MATCHES_MAX: usize = 2000;

/// Changes that the leader looks at for a commit: those of a group within the life of a transaction, unless it is
/// very busy.
pub const TRANSACTION_CHANGES_WALKED_MAX: usize = 500_000;

/// Outcome slots of one session: the last that many mutating requests can be retried.
pub const SESSION_WINDOW: u16 = 1024;

/// Most sessions of one group.
pub const SESSIONS_MAX: usize = 10_000;

/// A session that made no request for this long may be evicted.
pub const SESSION_IDLE_MS_MAX: i64 = 60 * 60 * 1000;

/// The same while there is no place for another session: whoever opens one for each run of a script must not shut
/// others out for an hour. An evicted session costs its owner a round trip, or, with a retry under way, an outcome
/// that is reported as unknown. Twice the time by which the last use may lie behind, so that a minute is sure.
pub const SESSION_IDLE_WHEN_FULL_MS_MAX: i64 = 2 * SESSION_TOUCH_MS;

/// Sessions evicted at most by opening one, so that an apply stays short.
pub const SESSION_EVICTIONS_PER_OPEN_MAX: usize = 16;

/// A session's time of last use is only written when it is this much older, to spare a write a request.
pub const SESSION_TOUCH_MS: i64 = 60 * 1000;

/// Largest outcome kept for retries; of a larger one only the fact is kept.
pub const OUTCOME_BYTES_MAX: usize = 64 * 1024;

/// The change log is cut into segments of this size; whole segments are trimmed.
pub const CHANGE_SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes of changes that a group keeps. With a document's images before and after, some 100,000 updates of 1 KiB.
pub const CHANGE_LOG_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Age of changes that a group keeps.
pub const CHANGE_LOG_AGE_MS_MAX: i64 = 24 * 60 * 60 * 1000;

/// Documents that one read may examine.
pub const READ_DOCUMENTS_EXAMINED_MAX: u64 = 1_000_000;

/// Documents that one read may return.
pub const READ_RESULT_DOCUMENTS_MAX: u64 = 1000;

/// Bytes of documents that one read may return.
pub const READ_RESULT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Memory that sorting one read may take.
pub const READ_MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Keys that the planner looks at in each index to judge its selectivity.
pub const PLANNER_PROBE_KEYS_MAX: u64 = 128;

/// Ranges that one index scan may consist of (values of `$in`, products over compound fields).
pub const PLANNER_RANGES_MAX: usize = 1000;

/// Entries between two looks at the clock.
pub const DEADLINE_CHECK_ENTRIES: u64 = 128;

/// Most stages of one aggregation, those of pipelines inside it included. Documents go through them one inside the
/// other, so each costs stack.
pub const AGGREGATE_STAGES_MAX: usize = 200;

/// Deepest nesting of pipelines in `$lookup`, `$facet` and `$unionWith`.
pub const AGGREGATE_NESTING_MAX: usize = 10;

/// Memory that all stages of one aggregation may hold together before they spill, as MongoDB documents it for one stage.
pub const AGGREGATE_MEMORY_BYTES_MAX: usize = 100 * 1024 * 1024;

/// Bytes that one aggregation may spill in all.
pub const AGGREGATE_SPILL_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Runs that are merged at once, each with a buffer; more are merged in several passes.
pub const SPILL_RUNS_MAX: usize = 64;

/// What is buffered of each run, writing and reading.
pub const SPILL_BUFFER_BYTES: usize = 64 * 1024;

/// A stage holds at least so much before it spills, also when others have taken all memory: tiny runs would
/// never end.
pub const SPILL_RUN_BYTES_MIN: usize = 1024 * 1024;

/// Most accumulated fields of one `$group`.
pub const GROUP_FIELDS_MAX: usize = 1024;

/// Most buckets of one `$bucket` or `$bucketAuto`.
pub const BUCKETS_MAX: usize = 10_000;

/// Most outputs of one `$facet`.
pub const FACETS_MAX: usize = 50;

/// Deepest recursion of one `$graphLookup`; one without `maxDepth` that leads deeper is refused.
pub const GRAPH_LOOKUP_DEPTH_MAX: u64 = 1000;

/// Documents that one `$graphLookup` may reach from one document.
pub const GRAPH_LOOKUP_DOCUMENTS_MAX: usize = 100_000;
