//! Access rules of collections: what an end user may read and write.
//!
//! A rule never looks at documents one by one on its way through the node. It is evaluated with what is known of
//! the caller; what remains is a condition on documents, and that travels with the operation to the database,
//! which checks it against the same state that the operation reads or changes ([`yunbase_docdb::Guard`]). So
//! indexes serve guarded queries, and a change of rules is in force with its commit, on every node.
//!
//! # Map
//! | file | owns |
//! |---|---|
//! | `access` | the access document of a collection: modes and rules |
//! | `token`, `parse`, `ast` | the rule language |
//! | `fold`, `condition` | evaluation to a condition, and the condition as a filter |
//! | `implies` | whether a query asks for nothing but what a rule allows |
//! | `owner` | `_openid` and `{openid}` |
//! | `enforce`, `pipeline` | operations of end users to guarded operations; the collections that pipelines join |
//! | `trial` | what a rule says of given documents, and why |
//! | `cache`, `denials`, `refusal`, `limits` | compiled rules, the last refusals, their code, the bounds |
//!
//! # What it promises
//! * Whatever is not understood is refused: operations, rules of a later release, queries.
//! * Refusals hold nothing of documents, and what a user may not see cannot be told from what is not there, unless
//!   the user names it by its `_id` under CUSTOM rules.
//! * Documents that rules read with `get()` are read linearizably before the operation. They are not part of its
//!   atomic step: a change of such a document may come between. Inside a transaction they count as read by it.

pub mod access;
pub mod ast;
pub mod cache;
pub mod condition;
pub mod denials;
pub mod enforce;
pub mod fold;
pub mod implies;
pub mod limits;
pub mod owner;
pub mod parse;
mod pipeline;
pub mod refusal;
mod token;
pub mod trial;

#[cfg(test)]
mod attempts_test;
#[cfg(test)]
mod get_test;
#[cfg(test)]
mod places_test;
#[cfg(test)]
mod table_test;
#[cfg(test)]
pub(crate) mod testing;

pub use access::{Action, Rules};
pub use cache::RuleCache;
pub use denials::{Denial, Denials};
pub use enforce::{Asker, Collections, Documents, InForce, enforce, subject_of};
pub use owner::fill_in;
