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

/// Steps that one regular expression may backtrack on one string before the query is refused.
pub const REGEX_BACKTRACK_STEPS_MAX: usize = 100_000;

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
