//! Aggregation expressions: parsed once, evaluated on one document at a time.
//!
//! Semantics are MongoDB's: a missing field is not null but counts as null for most operators,
//! comparisons order values of all types, arithmetic follows the operands' types. Evaluation is
//! bounded in steps and bytes and depends on nothing but the expression, the document and the
//! request's time.

mod arithmetic;
mod array;
mod convert;
mod date;
mod evaluate;
mod function;
mod object;
mod parse;
mod set;
mod text;

#[cfg(test)]
mod expr_test;

use bson::{DateTime, RawBson, RawBsonRef, RawDocument};

use crate::error::{Error, ErrorCode, Result};
use crate::limits::{EXPRESSION_BYTES_MAX, EXPRESSION_STEPS_MAX};
use evaluate::Scope;
use function::Function;

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
    /// `$$ROOT`, `$$CURRENT`
    Root,
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
        crate::value::check_value(value)?;
        Ok(Self {
            root: parse::Parser::default().node(value)?,
            now: RawBson::DateTime(DateTime::from_millis(now_ms)),
        })
    }

    /// The expression's value for `document`; `None` when it is a missing field.
    pub fn evaluate(&self, document: &RawDocument) -> Result<Computed> {
        Scope::new(document, &self.now).node(&self.root)
    }

    /// Whether the expression's value for `document` counts as true.
    pub fn is_true(&self, document: &RawDocument) -> Result<bool> {
        Ok(is_true(&self.evaluate(document)?))
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
