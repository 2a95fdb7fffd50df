//! Query filters: parsed once into a typed tree, then matched against raw documents without decoding them.
//!
//! Semantics are MongoDB's: a condition on a path holds when one of the values the path leads to
//! satisfies it (`value::path`), negations hold when the negated condition does not, comparisons stay
//! within one type. The filter also tells the planner what it implies for an index (`bounds`) and an
//! upsert which fields it fixes (`equality`).

mod bounds;
mod condition;
mod equality;
mod geo;
mod implication;
mod parse;
pub(crate) mod pattern;
pub(crate) mod schema;

#[cfg(test)]
mod bounds_test;
#[cfg(test)]
mod filter_test;
#[cfg(test)]
mod implication_test;
#[cfg(test)]
mod pattern_test;
#[cfg(test)]
mod schema_test;

use bson::{RawBsonRef, RawDocument};

pub use bounds::Interval;
pub(crate) use condition::{Condition, Test};
pub(crate) use geo::{GeoTest, distance, intervals as geo_intervals, only_point};
pub(crate) use parse::{Parser, is_operator_document};
pub(crate) use pattern::WorkScope;

use schema::Schema;

use crate::error::Result;
use crate::expr::{Bindings, Expression};
use crate::value::Path;

/// What a filter may refer to besides the document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FilterContext {
    /// The time of the request in milliseconds since 1970, for `$$NOW`.
    pub now_ms: i64,
}

/// Holds all regular expressions tried in `work` together to what a write may cost: for whoever works in passing, on
/// threads that serve others, or must keep up with all writes.
pub fn within_write_budget<T>(work: impl FnOnce() -> T) -> T {
    let _shared = WorkScope::of_command(0);
    work()
}

/// A parsed filter.
#[derive(Debug, Clone)]
pub struct Filter {
    root: Node,
}

/// A condition on a whole document.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// All hold; empty holds.
    All(Vec<Node>),
    /// At least one holds.
    Any(Vec<Node>),
    /// None holds.
    Nor(Vec<Node>),
    /// A condition on the values at a path.
    Field {
        /// Where.
        path: Path,
        /// What.
        condition: Condition,
    },
    /// An aggregation expression whose value must be true.
    Expression(Box<Expression>),
    /// A JSON schema that the document must satisfy.
    Schema(Box<Schema>),
}

impl Filter {
    /// Parses a filter as clients send it; refuses what is malformed, unknown or beyond limits.
    pub fn parse(filter: &RawDocument, context: &FilterContext) -> Result<Self> {
        let bindings = Bindings {
            now_ms: context.now_ms,
            ..Bindings::default()
        };
        Self::parse_with(filter, &bindings)
    }

    /// Parses a filter in whose expressions some variables have known values.
    pub(crate) fn parse_with(filter: &RawDocument, bindings: &Bindings<'_>) -> Result<Self> {
        crate::value::check_document(filter)?;
        let filter = Self {
            root: Parser::with(*bindings).document(filter)?,
        };
        filter.check_near()?;
        Ok(filter)
    }

    /// A filter that every document satisfies.
    pub(crate) fn everything() -> Self {
        Self {
            root: Node::All(Vec::new()),
        }
    }

    /// The filter that holds when both do.
    pub(crate) fn and(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        Self {
            root: Node::All(vec![self.root, other.root]),
        }
    }

    /// The filters that must all hold for this one to hold.
    pub(crate) fn into_conditions(self) -> Vec<Self> {
        match self.root {
            Node::All(nodes) if !nodes.is_empty() => nodes
                .into_iter()
                .flat_map(|root| Self { root }.into_conditions())
                .collect(),
            root => vec![Self { root }],
        }
    }

    /// Whether the filter holds an expression, which may refuse a document.
    pub(crate) fn has_expression(&self) -> bool {
        self.root.has_expression()
    }

    /// The paths of all fields that the filter looks at; `None` when it may look at any field.
    pub(crate) fn paths(&self) -> Option<Vec<String>> {
        let mut paths = Vec::new();
        self.root.collect_paths(&mut paths).then_some(paths)
    }

    /// Whether `document` satisfies the filter. Errors come from expressions and regular expressions
    /// that go over their limits, and from malformed documents.
    pub fn matches(&self, document: &RawDocument) -> Result<bool> {
        let _shared = WorkScope::open();
        self.root.matches(document)
    }

    /// Whether the filter has no conditions and so matches every document.
    pub fn is_empty(&self) -> bool {
        matches!(&self.root, Node::All(nodes) if nodes.is_empty())
    }

    /// The only `_id` that can match, when the filter says `_id` equals a value (also inside `$and`).
    pub fn id_equality(&self) -> Option<RawBsonRef<'_>> {
        self.root.id_equality()
    }
}

impl Node {
    /// Whether `document` satisfies the node.
    pub(crate) fn matches(&self, document: &RawDocument) -> Result<bool> {
        match self {
            Self::All(nodes) => all(nodes, |node| node.matches(document)),
            Self::Any(nodes) => any(nodes, |node| node.matches(document)),
            Self::Nor(nodes) => Ok(!any(nodes, |node| node.matches(document))?),
            Self::Field { path, condition } => condition.matches_at(document, path),
            Self::Expression(expression) => expression.is_true(document),
            Self::Schema(schema) => Ok(schema.violation(document)?.is_none()),
        }
    }

    fn has_expression(&self) -> bool {
        match self {
            Self::All(nodes) | Self::Any(nodes) | Self::Nor(nodes) => {
                nodes.iter().any(Self::has_expression)
            }
            Self::Field { .. } | Self::Schema(_) => false,
            Self::Expression(_) => true,
        }
    }

    fn collect_paths(&self, paths: &mut Vec<String>) -> bool {
        match self {
            Self::All(nodes) | Self::Any(nodes) | Self::Nor(nodes) => {
                nodes.iter().all(|node| node.collect_paths(paths))
            }
            Self::Field { path, .. } => {
                paths.push(path.as_str().to_owned());
                true
            }
            Self::Expression(expression) => expression.collect_paths(paths),
            // It may speak of fields that are not there.
            Self::Schema(_) => false,
        }
    }

    fn id_equality(&self) -> Option<RawBsonRef<'_>> {
        match self {
            Self::All(nodes) => nodes.iter().find_map(Self::id_equality),
            Self::Field { path, condition } if path.as_str() == "_id" => condition.equality(),
            _ => None,
        }
    }
}

/// `Iterator::all` for fallible conditions.
pub(crate) fn all<T>(items: &[T], mut holds: impl FnMut(&T) -> Result<bool>) -> Result<bool> {
    for item in items {
        if !holds(item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `Iterator::any` for fallible conditions.
pub(crate) fn any<T>(items: &[T], mut holds: impl FnMut(&T) -> Result<bool>) -> Result<bool> {
    for item in items {
        if holds(item)? {
            return Ok(true);
        }
    }
    Ok(false)
}
