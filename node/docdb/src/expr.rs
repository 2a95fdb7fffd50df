//! Aggregation expressions: parsed once, evaluated on one document at a time.
//!
//! Semantics are MongoDB's: a missing field is not null but counts as null for most operators,
//! comparisons order values of all types, arithmetic follows the operands' types. Evaluation is
//! bounded in steps and bytes and depends on nothing but the expression, the document, the
//! request's time and the variables that were bound when it was parsed.

mod arithmetic;
mod array;
mod calendar;
mod convert;
mod date;
mod date_arithmetic;
mod date_parts;
mod date_text;
mod evaluate;
mod function;
mod object;
mod parse;
mod set;
mod text;
mod transcendental;
mod value;
mod zone;

#[cfg(test)]
mod expr_test;

use bson::{DateTime, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::error::{Error, ErrorCode, Result};
use crate::filter::WorkScope;
use crate::limits::{EXPRESSION_BYTES_MAX, EXPRESSION_STEPS_MAX};
use evaluate::Scope;
use function::Function;
pub(crate) use value::Value;

/// What an expression may refer to besides the document.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bindings<'a> {
    /// The time of the request in milliseconds since 1970, for `$$NOW`.
    pub now_ms: i64,
    /// Variables with known values, `$$name`; of two with one name the later counts.
    pub variables: &'a [(String, Computed)],
    /// The expression will see parts of documents, so that `$$ROOT` is not `$$CURRENT`.
    pub parts: bool,
}

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expression {
    root: Node,
    now: RawBson,
}

/// What an expression may compute: a value, or nothing (a missing field).
pub type Computed = Option<RawBson>;

/// One node of an expression.
#[derive(Debug, Clone)]
enum Node {
    /// A literal.
    Constant(Computed),
    /// `$a.b`: fields of the document.
    Field(Vec<Box<str>>),
    /// `$$x.a`: fields of a variable.
    Variable(Variable, Vec<Box<str>>),
    /// `{a: ..}`
    Object(Vec<(bson::raw::CString, Node)>),
    /// `[..]`
    Array(Vec<Node>),
    /// An operator that needs only its operands' values.
    Call(&'static Function, Vec<Node>),
    /// `$and` (true) and `$or` (false), which stop early.
    Junction(bool, Vec<Node>),
    /// `$ifNull`
    IfNull(Vec<Node>),
    /// `$cond` and `$switch`: cases in order, then the default.
    Switch(Vec<(Node, Node)>, Option<Box<Node>>),
    /// `$let`: values for new variables, then the body.
    Let(Vec<Node>, Box<Node>),
    /// `$map`: input, body with one new variable.
    Map(Box<Node>, Box<Node>),
    /// `$filter`: input, condition with one new variable, limit.
    Filter(Box<Node>, Box<Node>, Option<Box<Node>>),
    /// `$reduce`: input, initial value, body with `$$value` and `$$this`.
    Reduce(Box<Node>, Box<Node>, Box<Node>),
}

/// What a `$$name` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    /// `$$ROOT`
    Root,
    /// `$$CURRENT`
    Current,
    /// `$$NOW`
    Now,
    /// `$$REMOVE`
    Remove,
    /// Counted from the outermost definition.
    Defined(usize),
}

impl Expression {
    /// Parses an expression of a request made at `now_ms`.
    pub fn parse(value: RawBsonRef<'_>, now_ms: i64) -> Result<Self> {
        let bindings = Bindings {
            now_ms,
            ..Bindings::default()
        };
        Self::parse_with(value, &bindings)
    }

    /// Parses an expression in which some variables have known values.
    pub fn parse_with(value: RawBsonRef<'_>, bindings: &Bindings<'_>) -> Result<Self> {
        crate::value::check_value(value)?;
        Ok(Self {
            root: parse::Parser::new(bindings).node(value)?,
            now: RawBson::DateTime(DateTime::from_millis(bindings.now_ms)),
        })
    }

    /// The expression's value for `document`; `None` when it is a missing field.
    pub fn evaluate(&self, document: &RawDocument) -> Result<Computed> {
        self.evaluate_part(document, document)
    }

    /// The expression's value for `part`, which lies somewhere in `root`.
    pub(crate) fn evaluate_part(&self, root: &RawDocument, part: &RawDocument) -> Result<Computed> {
        let _shared = WorkScope::open();
        Scope::new(root, part, &self.now).node(&self.root)
    }

    /// The expression's value without copying what stands in the document as it is.
    pub(crate) fn value<'a>(&'a self, document: &'a RawDocument) -> Result<Value<'a>> {
        match &self.root {
            Node::Constant(Some(value)) => Ok(Value::Borrowed(value.as_raw_bson_ref())),
            Node::Field(path) => evaluate::reach(document, path),
            Node::Variable(Variable::Root | Variable::Current, path) if path.is_empty() => {
                Ok(Value::Borrowed(RawBsonRef::Document(document)))
            }
            _ => Ok(self.evaluate(document)?.into()),
        }
    }

    /// Whether the expression's value for `document` counts as true.
    pub fn is_true(&self, document: &RawDocument) -> Result<bool> {
        Ok(is_true(&self.evaluate(document)?))
    }

    /// The value, when it does not depend on the document.
    pub(crate) fn fold(&self) -> Result<Computed> {
        let mut paths = Vec::new();
        if self.collect_paths(&mut paths) && paths.is_empty() {
            self.evaluate(&RawDocumentBuf::new())
        } else {
            Ok(None)
        }
    }

    /// Adds the paths of all fields that the value depends on; false when it may depend on any field.
    pub(crate) fn collect_paths(&self, paths: &mut Vec<String>) -> bool {
        self.root.collect_paths(paths)
    }

    /// Fields that must equal a constant for the value to be true. Equality of whole values: an array is
    /// not equal to its element.
    pub(crate) fn equalities(&self) -> Vec<(String, RawBsonRef<'_>)> {
        let mut found = Vec::new();
        self.root.collect_equalities(&mut found);
        found
    }
}

impl Node {
    fn collect_paths(&self, paths: &mut Vec<String>) -> bool {
        match self {
            Self::Constant(_) => true,
            Self::Field(path) => {
                paths.push(path.join("."));
                true
            }
            Self::Variable(variable, _) => !matches!(variable, Variable::Root | Variable::Current),
            Self::Object(fields) => fields.iter().all(|(_, node)| node.collect_paths(paths)),
            Self::Array(nodes)
            | Self::Call(_, nodes)
            | Self::Junction(_, nodes)
            | Self::IfNull(nodes) => nodes.iter().all(|node| node.collect_paths(paths)),
            Self::Switch(cases, default) => {
                cases.iter().all(|(condition, then)| {
                    condition.collect_paths(paths) && then.collect_paths(paths)
                }) && default
                    .as_ref()
                    .is_none_or(|node| node.collect_paths(paths))
            }
            Self::Let(values, body) => {
                values.iter().all(|node| node.collect_paths(paths)) && body.collect_paths(paths)
            }
            Self::Map(input, body) => input.collect_paths(paths) && body.collect_paths(paths),
            Self::Filter(input, condition, limit) => {
                input.collect_paths(paths)
                    && condition.collect_paths(paths)
                    && limit.as_ref().is_none_or(|node| node.collect_paths(paths))
            }
            Self::Reduce(input, initial, body) => {
                input.collect_paths(paths)
                    && initial.collect_paths(paths)
                    && body.collect_paths(paths)
            }
        }
    }

    fn collect_equalities<'a>(&'a self, found: &mut Vec<(String, RawBsonRef<'a>)>) {
        match self {
            Self::Junction(true, nodes) => {
                nodes.iter().for_each(|node| node.collect_equalities(found));
            }
            Self::Call(function, operands) if function.name == "$eq" => match operands.as_slice() {
                [Self::Field(path), Self::Constant(Some(value))]
                | [Self::Constant(Some(value)), Self::Field(path)] => {
                    found.push((path.join("."), value.as_raw_bson_ref()));
                }
                _ => {}
            },
            _ => {}
        }
    }
}

/// False, null, missing and zero are false; everything else is true.
fn is_true(value: &Computed) -> bool {
    match value {
        None
        | Some(
            RawBson::Null
            | RawBson::Undefined
            | RawBson::Boolean(false)
            | RawBson::Int32(0)
            | RawBson::Int64(0),
        ) => false,
        Some(RawBson::Double(v)) => *v != 0.0,
        Some(_) => true,
    }
}

fn is_null(value: &Computed) -> bool {
    matches!(value, None | Some(RawBson::Null | RawBson::Undefined))
}

/// What one evaluation may still use.
#[derive(Debug)]
struct Budget {
    steps: u64,
    bytes: usize,
}

impl Budget {
    fn new() -> Self {
        Self {
            steps: EXPRESSION_STEPS_MAX,
            bytes: EXPRESSION_BYTES_MAX,
        }
    }

    fn take(&mut self, steps: u64, bytes: usize) -> Result<()> {
        match (self.steps.checked_sub(steps), self.bytes.checked_sub(bytes)) {
            (Some(steps), Some(bytes)) => {
                *self = Self { steps, bytes };
                Ok(())
            }
            _ => Err(Error::new(
                ErrorCode::ExceedBudget,
                format!(
                    "the expression takes more than {EXPRESSION_STEPS_MAX} steps or {EXPRESSION_BYTES_MAX} bytes on one document; simplify it"
                ),
            )),
        }
    }
}

/// Bytes that a value occupies beyond a fixed size.
fn size_of(value: &RawBson) -> usize {
    match value {
        RawBson::String(text) => text.len(),
        RawBson::Document(document) => document.as_bytes().len(),
        RawBson::Array(array) => array.as_bytes().len(),
        RawBson::Binary(binary) => binary.bytes.len(),
        _ => 0,
    }
}

/// An operand of the wrong type.
fn wrong_type(operator: &str, expected: &str, found: &Computed) -> Error {
    let found = found.as_ref().map_or("missing", |value| {
        crate::value::type_name(value.as_raw_bson_ref())
    });
    refused(format!(
        "expression operator '{operator}' takes {expected}, not {found}"
    ))
}

fn refused(message: String) -> Error {
    Error::new(ErrorCode::RequestFailed, message)
}
