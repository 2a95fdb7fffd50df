//! Whether a query asks for nothing but what a rule allows.
//!
//! Conservative: it understands equalities, ranges, lists and their combination, and says no to whatever it does
//! not understand. A wrong "no" is a refusal that names the missing condition; a "yes" lets nothing through by
//! itself, since the rule's condition is added to the query all the same.

use std::collections::BTreeMap;

use bson::{Bson, Document};

use super::ast::Comparison;
use super::condition::{Check, Condition, Test};
use super::fold::holds;
use super::limits::IMPLICATION_CASES_MAX;

/// What a query says of one path.
#[derive(Debug, Clone, PartialEq)]
enum Fact {
    Equal(Bson),
    NotEqual(Bson),
    Order(Comparison, Bson),
    /// An array with this element.
    Element(Bson),
}

/// What every match of a query fulfils.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    facts: Vec<(String, Fact)>,
    /// Of each, one alternative holds.
    alternatives: Vec<Vec<Facts>>,
}

impl Facts {
    /// Reads a query.
    pub fn of(query: &Document) -> Self {
        let mut facts = Self::default();
        facts.read(query);
        facts
    }

    /// The values that the query fixes, by path.
    pub fn fixed(&self) -> BTreeMap<String, Bson> {
        self.facts
            .iter()
            .filter_map(|(path, fact)| match fact {
                Fact::Equal(value) => Some((path.clone(), value.clone())),
                _ => None,
            })
            .collect()
    }

    /// Whether `condition` follows; otherwise the first part of it that does not.
    pub fn imply<'c>(&self, condition: &'c Condition) -> Result<(), Option<&'c Test>> {
        let mut cases = 0;
        self.imply_within(condition, &mut cases)
    }

    fn read(&mut self, query: &Document) {
        for (key, value) in query {
            match (key.as_str(), value) {
                ("$and", Bson::Array(branches)) => {
                    for branch in branches {
                        if let Bson::Document(branch) = branch {
                            self.read(branch);
                        }
                    }
                }
                ("$or", Bson::Array(branches)) => {
                    let branches = branches
                        .iter()
                        .map(|branch| branch.as_document().map(Self::of))
                        .collect::<Option<Vec<_>>>();
                    self.alternatives.extend(branches);
                }
                (operator, _) if operator.starts_with('$') => {}
                (path, Bson::Document(operators)) if is_operators(operators) => {
                    self.read_operators(path, operators);
                }
                (_, Bson::RegularExpression(_)) => {}
                (path, value) => self.add(path, Fact::Equal(value.clone())),
            }
        }
    }

    fn read_operators(&mut self, path: &str, operators: &Document) {
        for (operator, operand) in operators {
            let fact = match (operator.as_str(), operand) {
                ("$eq", operand) => Fact::Equal(operand.clone()),
                ("$ne", operand) => Fact::NotEqual(operand.clone()),
                ("$lt", operand) => Fact::Order(Comparison::Less, operand.clone()),
                ("$lte", operand) => Fact::Order(Comparison::LessOrEqual, operand.clone()),
                ("$gt", operand) => Fact::Order(Comparison::Greater, operand.clone()),
                ("$gte", operand) => Fact::Order(Comparison::GreaterOrEqual, operand.clone()),
                ("$in", Bson::Array(values)) => {
                    let cases: Option<Vec<_>> = values
                        .iter()
                        .map(|value| match value {
                            Bson::RegularExpression(_) => None,
                            value => Some(Self {
                                facts: vec![(path.to_owned(), Fact::Equal(value.clone()))],
                                alternatives: Vec::new(),
                            }),
                        })
                        .collect();
                    self.alternatives.extend(cases);
                    continue;
                }
                ("$nin", Bson::Array(values)) => {
                    for value in values {
                        self.add(path, Fact::NotEqual(value.clone()));
                    }
                    continue;
                }
                ("$all", Bson::Array(values)) => {
                    for value in values {
                        if !matches!(value, Bson::RegularExpression(_) | Bson::Document(_)) {
                            self.add(path, Fact::Element(value.clone()));
                        }
                    }
                    continue;
                }
                ("$elemMatch", Bson::Document(inner)) => match inner.get("$eq") {
                    Some(value) => Fact::Element(value.clone()),
                    None => continue,
                },
                _ => continue,
            };
            self.add(path, fact);
        }
    }

    fn add(&mut self, path: &str, fact: Fact) {
        self.facts.push((path.to_owned(), fact));
    }

    fn imply_within<'c>(
        &self,
        condition: &'c Condition,
        cases: &mut usize,
    ) -> Result<(), Option<&'c Test>> {
        let directly = self.imply_directly(condition, cases);
        let Err(missing) = directly else {
            return Ok(());
        };
        // Perhaps it follows from each alternative of an `$or` or `$in`, for different reasons.
        for (number, branches) in self.alternatives.iter().enumerate() {
            *cases += branches.len();
            if *cases > IMPLICATION_CASES_MAX {
                return Err(missing);
            }
            let mut all = true;
            for branch in branches {
                let mut case = self.clone();
                case.alternatives.remove(number);
                case.facts.extend(branch.facts.iter().cloned());
                case.alternatives
                    .extend(branch.alternatives.iter().cloned());
                if case.imply_within(condition, cases).is_err() {
                    all = false;
                    break;
                }
            }
            if all {
                return Ok(());
            }
        }
        Err(missing)
    }

    fn imply_directly<'c>(
        &self,
        condition: &'c Condition,
        cases: &mut usize,
    ) -> Result<(), Option<&'c Test>> {
        match condition {
            Condition::Always => Ok(()),
            // No expression has it, and where it stands no query need imply anything.
            Condition::Never | Condition::Owner(_) => Err(None),
            Condition::All(conditions) => conditions
                .iter()
                .try_for_each(|condition| self.imply_within(condition, cases)),
            Condition::Any(conditions) => {
                let mut missing = None;
                for condition in conditions {
                    match self.imply_within(condition, cases) {
                        Ok(()) => return Ok(()),
                        Err(test) => missing = missing.or(test),
                    }
                }
                Err(missing)
            }
            Condition::Not(inner) => match &**inner {
                Condition::Test(test) if self.excludes(test) => Ok(()),
                other => Err(first_test(other)),
            },
            Condition::Test(test) if self.fulfils(test) => Ok(()),
            Condition::Test(test) => Err(Some(test)),
        }
    }

    fn on<'s>(&'s self, path: &'s str) -> impl Iterator<Item = &'s Fact> {
        self.facts
            .iter()
            .filter(move |(of, _)| of == path)
            .map(|(_, fact)| fact)
    }

    fn value<'s>(&'s self, path: &'s str) -> Option<&'s Bson> {
        self.on(path).find_map(|fact| match fact {
            Fact::Equal(value) => Some(value),
            _ => None,
        })
    }

    fn fulfils(&self, test: &Test) -> bool {
        self.on(&test.path).any(|fact| match (&test.check, fact) {
            (Check::Equal(wanted), Fact::Equal(value)) => same(wanted, value),
            (Check::Order(order, bound), Fact::Equal(value)) => {
                holds(*order, value.clone(), bound.clone())
            }
            (Check::Order(order, bound), Fact::Order(given, limit)) => {
                is_tighter(*given, limit, *order, bound)
            }
            (Check::OneOf(values), Fact::Equal(value)) => {
                values.iter().any(|wanted| same(wanted, value))
            }
            (Check::Contains(wanted), Fact::Equal(value) | Fact::Element(value)) => {
                same(wanted, value)
            }
            (Check::Field(relation, other), Fact::Equal(value)) => self
                .value(other)
                .is_some_and(|other| holds(*relation, value.clone(), other.clone())),
            (Check::ElementOf(list), Fact::Equal(value)) => self.on(list).any(|fact| {
                matches!(fact, Fact::Equal(element) | Fact::Element(element) if same(element, value))
            }),
            _ => false,
        })
    }

    /// Whether no match of the query passes `test`.
    fn excludes(&self, test: &Test) -> bool {
        self.on(&test.path).any(|fact| match (&test.check, fact) {
            (Check::Equal(wanted), Fact::Equal(value)) => !same(wanted, value),
            (Check::Equal(wanted), Fact::NotEqual(value)) => same(wanted, value),
            (Check::Equal(wanted), Fact::Order(given, limit)) => {
                !holds(*given, wanted.clone(), limit.clone())
            }
            (Check::OneOf(values), Fact::Equal(value)) => {
                !values.iter().any(|wanted| same(wanted, value))
            }
            (Check::OneOf(values), Fact::NotEqual(_)) => values.iter().all(|wanted| {
                self.on(&test.path)
                    .any(|fact| matches!(fact, Fact::NotEqual(value) if same(wanted, value)))
            }),
            (Check::Order(order, bound), Fact::Equal(value)) => {
                !holds(*order, value.clone(), bound.clone())
            }
            (Check::Contains(wanted), Fact::NotEqual(value)) => same(wanted, value),
            _ => false,
        })
    }
}

fn is_operators(document: &Document) -> bool {
    document
        .keys()
        .next()
        .is_some_and(|key| key.starts_with('$'))
}

fn same(a: &Bson, b: &Bson) -> bool {
    holds(Comparison::Equal, a.clone(), b.clone())
}

/// Whether all values that are `given` to `limit` are also `wanted` to `bound`.
fn is_tighter(given: Comparison, limit: &Bson, wanted: Comparison, bound: &Bson) -> bool {
    use Comparison::{Greater, GreaterOrEqual, Less, LessOrEqual};
    let needed = match (given, wanted) {
        (Less, Less | LessOrEqual) | (LessOrEqual, LessOrEqual) => LessOrEqual,
        (LessOrEqual, Less) => Less,
        (Greater, Greater | GreaterOrEqual) | (GreaterOrEqual, GreaterOrEqual) => GreaterOrEqual,
        (GreaterOrEqual, Greater) => Greater,
        _ => return false,
    };
    holds(needed, limit.clone(), bound.clone())
}

fn first_test(condition: &Condition) -> Option<&Test> {
    match condition {
        Condition::Always | Condition::Never | Condition::Owner(_) => None,
        Condition::All(conditions) | Condition::Any(conditions) => {
            conditions.iter().find_map(first_test)
        }
        Condition::Not(inner) => first_test(inner),
        Condition::Test(test) => Some(test),
    }
}

#[cfg(test)]
#[path = "implies_test.rs"]
mod tests;
