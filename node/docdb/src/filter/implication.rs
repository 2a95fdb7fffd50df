//! What can be concluded from a filter about a document that matches it: that a field is there, or that
//! another filter, the one of a partial index, matches too.
//!
//! Sound and incomplete: "yes" is proven, "no" may only mean that the proof was not found. A condition holds
//! when some value at its path passes, so one condition implies another on the same path when each value
//! that passes the first passes the second.

use bson::spec::ElementType;
use bson::{RawBson, RawBsonRef};

use super::condition::{Condition, OrderTest, Test, is_nan};
use super::{Filter, Node};
use crate::error::{Error, Result};
use crate::value::compare;
use crate::value::compare::rank_of;

impl Filter {
    /// Whether each document that matches this filter certainly matches `other`.
    pub(crate) fn implies(&self, other: &Self) -> bool {
        implies(&self.root, &other.root)
    }

    /// Whether each document that matches has something at `path`.
    pub(crate) fn requires(&self, path: &str) -> bool {
        requires(&self.root, path)
    }

    /// Refuses what a partial index cannot be limited by: only what the planner can reason about may stand there.
    pub(crate) fn check_partial(&self) -> Result<()> {
        check_partial(&self.root)
    }
}

fn implies(from: &Node, to: &Node) -> bool {
    match (from, to) {
        (_, Node::All(parts)) => parts.iter().all(|part| implies(from, part)),
        (Node::Any(branches), _) => branches.iter().all(|branch| implies(branch, to)),
        (_, Node::Any(branches)) if branches.iter().any(|branch| implies(from, branch)) => true,
        (Node::All(parts), _) => parts.iter().any(|part| implies(part, to)),
        (
            Node::Field {
                path: a,
                condition: from,
            },
            Node::Field {
                path: b,
                condition: to,
            },
        ) => a == b && condition_implies(from, to),
        _ => false,
    }
}

fn requires(node: &Node, path: &str) -> bool {
    match node {
        Node::All(parts) => parts.iter().any(|part| requires(part, path)),
        Node::Any(branches) => branches.iter().all(|branch| requires(branch, path)),
        Node::Field {
            path: at,
            condition,
        } => at.as_str() == path && condition_implies(condition, &Condition::Test(Test::Exists)),
        Node::Nor(_) | Node::Expression(_) | Node::Schema(_) => false,
    }
}

fn condition_implies(from: &Condition, to: &Condition) -> bool {
    match (from, to) {
        (_, Condition::All(parts)) => parts.iter().all(|part| condition_implies(from, part)),
        (Condition::All(parts), _) => parts.iter().any(|part| condition_implies(part, to)),
        (Condition::Test(from), Condition::Test(to)) => test_implies(from, to),
        _ => false,
    }
}

fn test_implies(from: &Test, to: &Test) -> bool {
    match from {
        Test::Equal(value) => equal_implies(value.as_raw_bson_ref(), to),
        Test::In(list) => {
            list.patterns().is_empty() && list.values().all(|value| equal_implies(value, to))
        }
        Test::Order(order, operand) => order_implies(*order, operand.as_raw_bson_ref(), to),
        Test::Type(types) => match to {
            Test::Exists => true,
            Test::Type(wanted) => types.iter().all(|one| wanted.contains(one)),
            _ => false,
        },
        Test::Exists
        | Test::Matches(_)
        | Test::Modulo { .. }
        | Test::Size(_)
        | Test::AnyElement(_)
        | Test::AnyDocument(_)
        | Test::Geo(_) => matches!(to, Test::Exists),
    }
}

/// Null also equals what is not there, so it proves nothing. Equal numbers may differ in type.
fn equal_implies(value: RawBsonRef<'_>, to: &Test) -> bool {
    let is_number = matches!(
        value.element_type(),
        ElementType::Int32 | ElementType::Int64 | ElementType::Double | ElementType::Decimal128
    );
    value != RawBsonRef::Null
        && !(is_number && matches!(to, Test::Type(_)))
        && to.matches(Some(value)).unwrap_or(false)
}

fn order_implies(from: OrderTest, bound: RawBsonRef<'_>, to: &Test) -> bool {
    // These bounds are passed by what is not there, or by other types.
    if matches!(
        bound,
        RawBsonRef::Null | RawBsonRef::MinKey | RawBsonRef::MaxKey | RawBsonRef::Array(_)
    ) {
        return false;
    }
    match to {
        Test::Exists => true,
        Test::Order(to, other) => {
            let other = RawBson::as_raw_bson_ref(other);
            if rank_of(bound) != rank_of(other) || is_nan(bound) || is_nan(other) {
                return false;
            }
            let ordering = compare(bound, other);
            use OrderTest as O;
            match (from, to) {
                (O::Greater, O::Greater | O::GreaterOrEqual)
                | (O::GreaterOrEqual, O::GreaterOrEqual) => ordering.is_ge(),
                (O::GreaterOrEqual, O::Greater) => ordering.is_gt(),
                (O::Less, O::Less | O::LessOrEqual) | (O::LessOrEqual, O::LessOrEqual) => {
                    ordering.is_le()
                }
                (O::LessOrEqual, O::Less) => ordering.is_lt(),
                _ => false,
            }
        }
        _ => false,
    }
}

fn check_partial(node: &Node) -> Result<()> {
    match node {
        Node::All(nodes) | Node::Any(nodes) => nodes.iter().try_for_each(check_partial),
        Node::Field { path, condition } => check_partial_condition(path.as_str(), condition),
        Node::Nor(_) => Err(unusable("$nor")),
        Node::Expression(_) => Err(unusable("$expr")),
        Node::Schema(_) => Err(unusable("$jsonSchema")),
    }
}

fn check_partial_condition(path: &str, condition: &Condition) -> Result<()> {
    match condition {
        Condition::All(conditions) => conditions
            .iter()
            .try_for_each(|condition| check_partial_condition(path, condition)),
        Condition::Test(Test::In(list)) if !list.patterns().is_empty() => {
            Err(unusable("a regular expression"))
        }
        Condition::Test(
            Test::Equal(_) | Test::Order(..) | Test::In(_) | Test::Exists | Test::Type(_),
        ) => Ok(()),
        Condition::Not(_) => Err(unusable("a negation")),
        Condition::Test(_) => Err(Error::operator(format!(
            "field '{path}' has an operator that a partial index cannot be limited by; use comparisons, '$in', '$exists: true' or '$type'"
        ))),
    }
}

fn unusable(what: &str) -> Error {
    Error::operator(format!(
        "{what} cannot limit a partial index; use comparisons, '$in', '$exists: true' or '$type'"
    ))
}
