//! Every bound on access rules, in one place.

/// Longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 8 * 1024;
/// Deepest nesting of parentheses, lists, negations and `get()`. Each level becomes two of the compiled filter,
/// which the database allows a hundred of.
pub const EXPRESSION_DEPTH_MAX: usize = 24;
/// Most parts (values, operators, list members) of one expression.
pub const EXPRESSION_NODES_MAX: usize = 1000;
/// Most `get()` in one expression.
pub const EXPRESSION_GETS_MAX: usize = 3;
/// Most documents that the rules of one request read through `get()`. Each is a linearizable read.
pub const REQUEST_GETS_MAX: usize = 10;
/// Most collections that one pipeline joins. The rules of each are looked up.
pub const JOINED_COLLECTIONS_MAX: usize = 20;
/// Most cases (values of `$in`, branches of `$or`) that one query is split into to see whether it implies a rule.
pub const IMPLICATION_CASES_MAX: usize = 256;
/// Compiled rule sets that a node keeps: one for each collection in use, also of environments with many.
pub const CACHED_RULES_MAX: u64 = 10_000;
/// How often one request is compiled again because the rules changed under it.
pub const RECOMPILATIONS_MAX: u32 = 8;
/// Denials that a node remembers.
pub const DENIALS_MAX: usize = 1000;
/// Longest reason that a denial is remembered with, in characters.
pub const DENIAL_REASON_CHARACTERS_MAX: usize = 400;
