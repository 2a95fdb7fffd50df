//! What is left of a rule once everything about the caller is known: a condition on documents, and that
//! condition as a filter of the database.
//!
//! Comparisons of rules are stricter than those of queries: they never look into arrays, so that an array with
//! one harmless element cannot pass for a value. `in` is the way to ask for an element.

use bson::{Bson, Document, doc};

use super::ast::{Comparison, Span};
use super::owner::OWNER;

/// A condition on a document.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Holds for every document.
    Always,
    /// Holds for none.
    Never,
    /// All hold.
    All(Vec<Condition>),
    /// At least one holds.
    Any(Vec<Condition>),
    /// Does not hold.
    Not(Box<Condition>),
    /// The document is this user's. Never part of another condition.
    Owner(String),
    /// A test of one field.
    Test(Test),
}

/// A test of the value at one path.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// Dotted; no component is a number.
    pub path: String,
    /// What is tested.
    pub check: Check,
    /// The part of the rule it comes from.
    pub span: Span,
}

/// What a test demands of a value. A missing value counts as null; one behind an array passes no test.
#[derive(Debug, Clone, PartialEq)]
pub enum Check {
    /// The same value.
    Equal(Bson),
    /// Of the value's type (number, text or date) and in this order to it; never `Equal` or `NotEqual`.
    Order(Comparison, Bson),
    /// One of these.
    OneOf(Vec<Bson>),
    /// An array that has this element.
    Contains(Bson),
    /// In this relation to the value at another path; never `NotEqual`.
    Field(Comparison, String),
    /// An element of the array at another path.
    ElementOf(String),
}

impl Condition {
    /// All of `conditions`, constants folded.
    pub fn all(conditions: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for condition in conditions {
            match condition {
                Self::Always => {}
                Self::Never => return Self::Never,
                Self::All(inner) => kept.extend(inner),
                other => kept.push(other),
            }
        }
        match kept.len() {
            0 => Self::Always,
            1 => kept.remove(0),
            _ => Self::All(kept),
        }
    }

    /// Any of `conditions`, constants folded.
    pub fn any(conditions: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for condition in conditions {
            match condition {
                Self::Never => {}
                Self::Always => return Self::Always,
                Self::Any(inner) => kept.extend(inner),
                other => kept.push(other),
            }
        }
        match kept.len() {
            0 => Self::Never,
            1 => kept.remove(0),
            _ => Self::Any(kept),
        }
    }

    /// The opposite.
    #[must_use]
    pub fn negated(self) -> Self {
        match self {
            Self::Always => Self::Never,
            Self::Never => Self::Always,
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    /// Whether a constant holds.
    pub fn constant(holds: bool) -> Self {
        if holds { Self::Always } else { Self::Never }
    }

    /// The condition as a filter; empty when it always holds.
    pub fn to_filter(&self) -> Document {
        match self {
            Self::Always => Document::new(),
            Self::Never => never(),
            Self::All(conditions) => doc! { "$and": filters(conditions) },
            Self::Any(conditions) => doc! { "$or": filters(conditions) },
            Self::Not(condition) => doc! { "$nor": [condition.to_filter()] },
            // Plain, so that an index on the owner serves it: the field is the server's and never an array.
            Self::Owner(openid) => doc! { OWNER: openid },
            Self::Test(test) => test.to_filter(),
        }
    }
}

fn filters(conditions: &[Condition]) -> Vec<Document> {
    conditions.iter().map(Condition::to_filter).collect()
}

/// The filter that nothing matches.
pub fn never() -> Document {
    doc! { "$nor": [{}] }
}

impl Test {
    fn to_filter(&self) -> Document {
        let path = self.path.as_str();
        let mut filter = match &self.check {
            Check::Equal(value) => equal(path, value),
            Check::Order(order, value) => {
                doc! { path: { operator(*order): value.clone(), "$not": array() } }
            }
            Check::OneOf(values) => one_of(path, values),
            Check::Contains(value) => match value {
                Bson::Null | Bson::Array(_) | Bson::Document(_) => {
                    doc! { path: { "$elemMatch": { "$eq": value.clone() } } }
                }
                // Both conditions on one path: the equality alone would also match a plain value.
                value => doc! { path: { "$eq": value.clone(), "$type": "array" } },
            },
            Check::Field(relation, other) => doc! { "$expr": relate(*relation, path, other) },
            Check::ElementOf(other) => doc! { "$expr": {
                "$cond": [{ "$isArray": [field(other)] }, { "$in": [or_null(path), field(other)] }, false],
            } },
        };
        let others = match &self.check {
            Check::Field(_, other) | Check::ElementOf(other) => Some(other.as_str()),
            _ => None,
        };
        for prefix in [Some(path), others]
            .into_iter()
            .flatten()
            .flat_map(prefixes)
        {
            filter.insert(prefix, doc! { "$not": array() });
        }
        filter
    }
}

/// The paths to what the value at `path` is inside of.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('.').map(|(at, _)| &path[..at])
}

fn array() -> Document {
    doc! { "$type": "array" }
}

fn equal(path: &str, value: &Bson) -> Document {
    match value {
        // As an operand of a query it would also match an array that holds it.
        Bson::Array(_) => doc! { "$expr": { "$eq": [field(path), { "$literal": value.clone() }] } },
        value => doc! { path: { "$eq": value.clone(), "$not": array() } },
    }
}

fn one_of(path: &str, values: &[Bson]) -> Document {
    let is_plain = |value: &Bson| {
        !matches!(
            value,
            Bson::Array(_) | Bson::Document(_) | Bson::RegularExpression(_)
        )
    };
    if values.iter().all(is_plain) {
        doc! { path: { "$in": values, "$not": array() } }
    } else {
        let branches: Vec<_> = values.iter().map(|value| equal(path, value)).collect();
        doc! { "$or": branches }
    }
}

fn operator(order: Comparison) -> &'static str {
    match order {
        Comparison::Equal => "$eq",
        Comparison::NotEqual => "$ne",
        Comparison::Less => "$lt",
        Comparison::LessOrEqual => "$lte",
        Comparison::Greater => "$gt",
        Comparison::GreaterOrEqual => "$gte",
    }
}

fn field(path: &str) -> Bson {
    Bson::String(format!("${path}"))
}

fn or_null(path: &str) -> Bson {
    Bson::Document(doc! { "$ifNull": [field(path), Bson::Null] })
}

/// Two fields compared. Expressions order values of all types among each other, rules only within one.
fn relate(relation: Comparison, left: &str, right: &str) -> Document {
    let compared = doc! { operator(relation): [or_null(left), or_null(right)] };
    if relation == Comparison::Equal {
        return compared;
    }
    let both_of = |types: &[&str]| -> Document {
        let types: Vec<Bson> = types.iter().map(|name| Bson::from(*name)).collect();
        doc! { "$and": [
            { "$in": [{ "$type": field(left) }, { "$literal": types.clone() }] },
            { "$in": [{ "$type": field(right) }, { "$literal": types }] },
        ] }
    };
    doc! { "$and": [
        { "$or": [both_of(&["int", "long", "double"]), both_of(&["string"]), both_of(&["date"])] },
        compared,
    ] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(path: &str, check: Check) -> Condition {
        Condition::Test(Test {
            path: path.into(),
            check,
            span: Span { start: 0, end: 0 },
        })
    }

    #[test]
    fn constants_fold_away() {
        let a = test("a", Check::Equal(1.into()));
        assert_eq!(Condition::all([Condition::Always, a.clone()]), a.clone());
        assert_eq!(
            Condition::all([a.clone(), Condition::Never]),
            Condition::Never
        );
        assert_eq!(
            Condition::any([a.clone(), Condition::Always]),
            Condition::Always
        );
        assert_eq!(Condition::any([]), Condition::Never);
        assert_eq!(a.clone().negated().negated(), a);
    }

    #[test]
    fn plain_conditions_become_conditions_that_an_index_serves() {
        assert_eq!(
            test("a.b", Check::Equal("x".into())).to_filter(),
            doc! { "a.b": { "$eq": "x", "$not": { "$type": "array" } }, "a": { "$not": { "$type": "array" } } }
        );
        assert_eq!(
            test("m", Check::Contains("x".into())).to_filter(),
            doc! { "m": { "$eq": "x", "$type": "array" } }
        );
        assert_eq!(Condition::Always.to_filter(), doc! {});
    }
}
