//! Evaluates a rule for one request: everything that is known becomes a constant, and what remains is a
//! condition on the document. With the document at hand nothing remains.
//!
//! Pure: documents of `get()` come from the caller, who is told which one is missing and starts again.

use std::collections::{BTreeMap, HashMap};

use bson::{Bson, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};
use yunbase_docdb::value;

use super::ast::{AuthField, Comparison, Expr, Expression, Kind, Piece, Span};
use super::condition::{Check, Condition, Test};
use super::parse::key_of;
use crate::call::EndUser;

/// Names a document that a rule reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DocumentKey {
    /// Its collection.
    pub collection: String,
    /// Its `_id`.
    pub id: String,
}

/// Documents that rules of a request have read; `None` where there is none.
pub type Fetched = HashMap<DocumentKey, Option<RawDocumentBuf>>;

/// What a request tells a rule.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// Who asks.
    pub user: &'a EndUser,
    /// When, in milliseconds since 1970.
    pub now_ms: i64,
    /// `request.data`: the new document, or what an update sets.
    pub data: Option<&'a RawDocument>,
    /// What is known of the document.
    pub subject: Subject<'a>,
    /// What `get()` finds.
    pub fetched: &'a Fetched,
}

/// What is known of the document that a rule is about.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// All of it.
    Document(&'a RawDocument),
    /// Only values that it must have, by path. Only paths in `get()` use them, and then the condition demands them.
    Fixed(&'a BTreeMap<String, Bson>),
}

/// Why a rule could not be evaluated.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    /// Fetch this document and start again.
    Fetch(DocumentKey),
    /// A path in `get()` needs this field of the document, which the request does not fix.
    Unfixed(String),
    /// It makes no sense for this request.
    Senseless(String),
}

/// A value as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Known(Bson),
    /// Milliseconds since 1970: a number or a date, as the other side wants.
    Now(i64),
    /// The document's, at this path.
    Field(String),
    /// Nothing that a comparison could hold for: a field of a document that does not exist, or behind an array.
    Lost,
}

/// Evaluates `expression`.
pub fn fold(expression: &Expression, scope: &Scope<'_>) -> Result<Condition, Stop> {
    let mut folder = Folder::new(scope);
    let condition = folder.condition(&expression.root)?;
    // In front and never inside a negation: what `get()` found is only right for such documents.
    Ok(Condition::all(
        folder.demands.into_iter().chain([condition]),
    ))
}

/// The evaluation of one expression.
pub(super) struct Folder<'a> {
    scope: &'a Scope<'a>,
    demands: Vec<Condition>,
}

impl<'a> Folder<'a> {
    pub(super) fn new(scope: &'a Scope<'a>) -> Self {
        Self {
            scope,
            demands: Vec::new(),
        }
    }

    pub(super) fn condition(&mut self, expr: &Expr) -> Result<Condition, Stop> {
        Ok(match &expr.kind {
            Kind::Literal(literal) => Condition::constant(*literal == Bson::Boolean(true)),
            Kind::Not(inner) => self.condition(inner)?.negated(),
            Kind::And(operands) => {
                let mut folded = Vec::with_capacity(operands.len());
                for operand in operands {
                    let condition = self.condition(operand)?;
                    // What comes behind is not evaluated, as in the languages that rules look like.
                    if condition == Condition::Never {
                        return Ok(Condition::Never);
                    }
                    folded.push(condition);
                }
                Condition::all(folded)
            }
            Kind::Or(operands) => {
                let mut folded = Vec::with_capacity(operands.len());
                for operand in operands {
                    let condition = self.condition(operand)?;
                    if condition == Condition::Always {
                        return Ok(Condition::Always);
                    }
                    folded.push(condition);
                }
                Condition::any(folded)
            }
            Kind::Compare(comparison, left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                compare(*comparison, left, right, expr.span)
            }
            Kind::In(item, list) => self.contained(item, list, expr.span)?,
            // A bare value is a condition that holds for `true` alone.
            _ => {
                let value = self.value(expr)?;
                let truth = Value::Known(Bson::Boolean(true));
                compare(Comparison::Equal, value, truth, expr.span)
            }
        })
    }

    fn contained(&mut self, item: &Expr, list: &Expr, span: Span) -> Result<Condition, Stop> {
        let item = self.value(item)?;
        if let Kind::List(members) = &list.kind {
            let values = members
                .iter()
                .map(|member| self.value(member))
                .collect::<Result<Vec<_>, _>>()?;
            return Ok(one_of(&item, values, span));
        }
        let list = self.value(list)?;
        Ok(match (item, list) {
            (item, Value::Known(Bson::Array(members))) => {
                one_of(&item, members.into_iter().map(Value::Known).collect(), span)
            }
            (Value::Known(item), Value::Field(path)) => test(path, Check::Contains(item), span),
            (Value::Now(now_ms), Value::Field(path)) => Condition::any([
                test(path.clone(), Check::Contains(Bson::Int64(now_ms)), span),
                test(path, Check::Contains(date(now_ms)), span),
            ]),
            (Value::Field(path), Value::Field(list)) => test(path, Check::ElementOf(list), span),
            _ => Condition::Never,
        })
    }

    pub(super) fn value(&mut self, expr: &Expr) -> Result<Value, Stop> {
        Ok(match &expr.kind {
            Kind::Literal(literal) => Value::Known(literal.clone()),
            Kind::List(members) => {
                let mut values = Vec::with_capacity(members.len());
                for member in members {
                    values.push(match self.value(member)? {
                        Value::Known(value) => value,
                        Value::Now(now_ms) => Bson::Int64(now_ms),
                        Value::Lost => Bson::Undefined,
                        Value::Field(path) => {
                            return Err(Stop::Senseless(format!(
                                "`doc.{path}` stands in a list that is compared as a whole; use `in`"
                            )));
                        }
                    });
                }
                Value::Known(Bson::Array(values))
            }
            Kind::Template(pieces) => Value::Known(Bson::String(self.text(pieces)?)),
            Kind::Auth(field) => Value::Known(self.auth(*field)),
            Kind::Now => Value::Now(self.scope.now_ms),
            Kind::Data(path) => match self.scope.data {
                Some(data) => at(RawBsonRef::Document(data), path.iter().map(String::as_str)),
                None => Value::Known(Bson::Null),
            },
            Kind::Doc(path) => match self.scope.subject {
                Subject::Document(document) => at(RawBsonRef::Document(document), path.split('.')),
                Subject::Fixed(_) => Value::Field(path.clone()),
            },
            Kind::Get { path, field } => self.get(path, field)?,
            Kind::Not(_) | Kind::And(_) | Kind::Or(_) | Kind::Compare(..) | Kind::In(..) => {
                return Err(Stop::Senseless("a condition stands for a value".to_owned()));
            }
        })
    }

    fn auth(&self, field: Option<AuthField>) -> Bson {
        let user = self.scope.user;
        match field {
            Some(AuthField::Openid) => Bson::String(user.openid.clone()),
            Some(AuthField::Uid) => Bson::String(user.uid.clone()),
            Some(AuthField::LoginType) => Bson::String(user.login_type.as_str().to_owned()),
            None => Bson::Document(bson::doc! {
                "openid": &user.openid,
                "uid": &user.uid,
                "loginType": user.login_type.as_str(),
            }),
        }
    }

    fn get(&mut self, path: &Expr, field: &[String]) -> Result<Value, Stop> {
        let path = match self.known(path)? {
            Some(Bson::String(path)) => path,
            _ => {
                return Err(Stop::Senseless(
                    "the path of a get() is not a text for this request".to_owned(),
                ));
            }
        };
        let Some((collection, id)) = key_of(&path) else {
            return Err(Stop::Senseless(
                "the path of a get() is not 'database.<collection>.<id>' for this request"
                    .to_owned(),
            ));
        };
        let key = DocumentKey {
            collection: collection.to_owned(),
            id: id.to_owned(),
        };
        Ok(match self.scope.fetched.get(&key) {
            None => return Err(Stop::Fetch(key)),
            Some(Some(document)) => at(
                RawBsonRef::Document(document),
                field.iter().map(String::as_str),
            ),
            Some(None) if field.is_empty() => Value::Known(Bson::Null),
            Some(None) => Value::Lost,
        })
    }

    /// A value that must be known now. A field of the document is known when the request fixes it, and from then
    /// on demanded.
    fn known(&mut self, expr: &Expr) -> Result<Option<Bson>, Stop> {
        Ok(match self.value(expr)? {
            Value::Known(value) => Some(value),
            Value::Now(now_ms) => Some(Bson::Int64(now_ms)),
            Value::Lost => None,
            Value::Field(path) => {
                let Subject::Fixed(fixed) = self.scope.subject else {
                    return Ok(None);
                };
                let Some(value) = fixed.get(&path) else {
                    return Err(Stop::Unfixed(path));
                };
                let demand = test(path, Check::Equal(value.clone()), expr.span);
                if !self.demands.contains(&demand) {
                    self.demands.push(demand);
                }
                Some(value.clone())
            }
        })
    }

    fn text(&mut self, pieces: &[Piece]) -> Result<String, Stop> {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Value(expr) => match self.known(expr)? {
                    Some(Bson::String(value)) => text.push_str(&value),
                    Some(Bson::Int32(value)) => text.push_str(&value.to_string()),
                    Some(Bson::Int64(value)) => text.push_str(&value.to_string()),
                    _ => {
                        return Err(Stop::Senseless(
                            "a value in a template is neither text nor a whole number for this request"
                                .to_owned(),
                        ));
                    }
                },
            }
        }
        Ok(text)
    }
}

/// The value at a path: null where nothing is, lost behind an array.
fn at<'p>(value: RawBsonRef<'_>, path: impl Iterator<Item = &'p str>) -> Value {
    let mut value = value;
    for part in path {
        value = match value {
            RawBsonRef::Document(document) => match document.get(part) {
                Ok(Some(inner)) => inner,
                Ok(None) => return Value::Known(Bson::Null),
                Err(_) => return Value::Lost,
            },
            // Paths in the document itself have no numbers.
            RawBsonRef::Array(array) => match part.parse().map(|index| array.get(index)) {
                Ok(Ok(Some(element))) => element,
                Ok(Ok(None)) => return Value::Known(Bson::Null),
                _ => return Value::Lost,
            },
            _ => return Value::Known(Bson::Null),
        };
    }
    Bson::try_from(value).map_or(Value::Lost, Value::Known)
}

fn test(path: String, check: Check, span: Span) -> Condition {
    Condition::Test(Test { path, check, span })
}

fn date(ms: i64) -> Bson {
    Bson::DateTime(bson::DateTime::from_millis(ms))
}

fn one_of(item: &Value, values: Vec<Value>, span: Span) -> Condition {
    if let Value::Field(path) = item {
        let known: Option<Vec<Bson>> = values
            .iter()
            .map(|value| match value {
                Value::Known(value) => Some(value.clone()),
                _ => None,
            })
            .collect();
        match known {
            Some(known) if known.is_empty() => return Condition::Never,
            Some(known) => return test(path.clone(), Check::OneOf(known), span),
            None => {}
        }
    }
    Condition::any(
        values
            .into_iter()
            .map(|value| compare(Comparison::Equal, item.clone(), value, span)),
    )
}

/// A comparison, decided where both sides are known.
pub(super) fn compare(comparison: Comparison, left: Value, right: Value, span: Span) -> Condition {
    if comparison == Comparison::NotEqual {
        return compare(Comparison::Equal, left, right, span).negated();
    }
    match (left, right) {
        (Value::Lost, _) | (_, Value::Lost) => Condition::Never,
        (Value::Field(path), Value::Field(other)) => {
            test(path, Check::Field(comparison, other), span)
        }
        (Value::Field(path), Value::Known(value)) => against(path, comparison, value, span),
        (Value::Known(value), Value::Field(path)) => {
            against(path, comparison.flipped(), value, span)
        }
        (Value::Field(path), Value::Now(now_ms)) => either(&path, comparison, now_ms, span),
        (Value::Now(now_ms), Value::Field(path)) => {
            either(&path, comparison.flipped(), now_ms, span)
        }
        (Value::Known(left), Value::Known(right)) => {
            Condition::constant(holds(comparison, left, right))
        }
        (Value::Now(now_ms), Value::Known(right)) => {
            Condition::constant(holds(comparison, now_for(&right, now_ms), right))
        }
        (Value::Known(left), Value::Now(now_ms)) => {
            let right = now_for(&left, now_ms);
            Condition::constant(holds(comparison, left, right))
        }
        (Value::Now(left), Value::Now(right)) => {
            Condition::constant(holds(comparison, Bson::Int64(left), Bson::Int64(right)))
        }
    }
}

fn now_for(other: &Bson, now_ms: i64) -> Bson {
    match other {
        Bson::DateTime(_) => date(now_ms),
        _ => Bson::Int64(now_ms),
    }
}

fn either(path: &str, comparison: Comparison, now_ms: i64, span: Span) -> Condition {
    Condition::any([
        against(path.to_owned(), comparison, Bson::Int64(now_ms), span),
        against(path.to_owned(), comparison, date(now_ms), span),
    ])
}

fn against(path: String, comparison: Comparison, value: Bson, span: Span) -> Condition {
    if comparison == Comparison::Equal {
        return test(path, Check::Equal(value), span);
    }
    if class_of(&value).is_none() {
        return Condition::Never;
    }
    test(path, Check::Order(comparison, value), span)
}

/// What can be ordered; values of different classes cannot.
fn class_of(value: &Bson) -> Option<u8> {
    match value {
        Bson::Double(number) if number.is_nan() => None,
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) => Some(0),
        Bson::String(_) => Some(1),
        Bson::DateTime(_) => Some(2),
        _ => None,
    }
}

/// Whether a comparison (not `NotEqual`) of two known values holds.
pub(super) fn holds(comparison: Comparison, left: Bson, right: Bson) -> bool {
    let classes = (class_of(&left), class_of(&right));
    let (Ok(left), Ok(right)) = (RawBson::try_from(left), RawBson::try_from(right)) else {
        return false;
    };
    let (left, right) = (left.as_raw_bson_ref(), right.as_raw_bson_ref());
    if comparison == Comparison::Equal {
        return value::equal(left, right);
    }
    if classes.0.is_none() || classes.0 != classes.1 {
        return false;
    }
    let order = value::compare(left, right);
    match comparison {
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
        Comparison::Equal | Comparison::NotEqual => false,
    }
}

#[cfg(test)]
#[path = "fold_test.rs"]
mod tests;
