//! Walking an expression's tree for one document.

use bson::{RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use super::{
    Budget, Computed, Node, Value, Variable, is_null, is_true, refused, size_of, wrong_type,
};
use crate::error::Result;
use crate::value::compare::Number;
use crate::value::{field, malformed};

/// One evaluation: the document, the variables in scope, what may still be used.
pub(super) struct Scope<'a> {
    root: &'a RawDocument,
    /// Where fields are looked for: the root or a part of it.
    document: &'a RawDocument,
    now: &'a RawBson,
    /// As numbered by the parser.
    variables: Vec<Computed>,
    budget: Budget,
}

impl<'a> Scope<'a> {
    pub(super) fn new(root: &'a RawDocument, document: &'a RawDocument, now: &'a RawBson) -> Self {
        Self {
            root,
            document,
            now,
            variables: Vec::new(),
            budget: Budget::new(),
        }
    }

    pub(super) fn node(&mut self, node: &Node) -> Result<Computed> {
        let computed = self.compute(node)?;
        self.budget.take(1, computed.as_ref().map_or(0, size_of))?;
        Ok(computed)
    }

    fn compute(&mut self, node: &Node) -> Result<Computed> {
        Ok(match node {
            Node::Constant(value) => value.clone(),
            Node::Field(path) => follow_document(self.document, path)?,
            Node::Variable(variable, path) => self.variable(*variable, path)?,
            Node::Object(fields) => {
                let mut document = RawDocumentBuf::new();
                for (name, node) in fields {
                    if let Some(value) = self.node(node)? {
                        document.append(name, value);
                    }
                }
                Some(RawBson::Document(document))
            }
            Node::Array(nodes) => {
                let mut array = RawArrayBuf::new();
                for node in nodes {
                    array.push(self.node(node)?.unwrap_or(RawBson::Null));
                }
                Some(RawBson::Array(array))
            }
            Node::Call(function, operands) => {
                let mut values = Vec::with_capacity(operands.len());
                for operand in operands {
                    values.push(self.node(operand)?);
                }
                (function.call)(function.name, &values, &mut self.budget)?
            }
            Node::Junction(all, nodes) => {
                let mut holds = *all;
                for node in nodes {
                    if is_true(&self.node(node)?) != *all {
                        holds = !*all;
                        break;
                    }
                }
                Some(RawBson::Boolean(holds))
            }
            Node::IfNull(nodes) => {
                let mut value = None;
                for node in nodes {
                    value = self.node(node)?;
                    if !is_null(&value) {
                        break;
                    }
                }
                value
            }
            Node::Switch(cases, default) => return self.switch(cases, default.as_deref()),
            Node::Let(values, body) => {
                let outer = self.variables.len();
                let mut defined = Vec::with_capacity(values.len());
                for value in values {
                    defined.push(self.node(value)?);
                }
                self.variables.extend(defined);
                let value = self.node(body)?;
                self.variables.truncate(outer);
                value
            }
            Node::Map(input, body) => {
                let Some(elements) = self.elements("$map", input)? else {
                    return Ok(Some(RawBson::Null));
                };
                let mut array = RawArrayBuf::new();
                for element in elements {
                    let value = self.with_variable(element, body)?.0;
                    array.push(value.unwrap_or(RawBson::Null));
                }
                Some(RawBson::Array(array))
            }
            Node::Filter(input, condition, limit) => {
                self.filter(input, condition, limit.as_deref())?
            }
            Node::Reduce(input, initial, body) => {
                let Some(elements) = self.elements("$reduce", input)? else {
                    return Ok(Some(RawBson::Null));
                };
                let mut value = self.node(initial)?;
                let outer = self.variables.len();
                for element in elements {
                    self.variables.push(value);
                    self.variables.push(Some(element));
                    value = self.node(body)?;
                    self.variables.truncate(outer);
                }
                value
            }
        })
    }

    fn variable(&self, variable: Variable, path: &[Box<str>]) -> Result<Computed> {
        let value = match variable {
            Variable::Root => Some(RawBsonRef::Document(self.root)),
            Variable::Current => Some(RawBsonRef::Document(self.document)),
            Variable::Now => Some(self.now.as_raw_bson_ref()),
            Variable::Remove => None,
            Variable::Defined(index) => self
                .variables
                .get(index)
                .and_then(|value| value.as_ref().map(RawBson::as_raw_bson_ref)),
        };
        match value {
            Some(value) => follow(value, path),
            None => Ok(None),
        }
    }

    fn switch(&mut self, cases: &[(Node, Node)], default: Option<&Node>) -> Result<Computed> {
        for (condition, then) in cases {
            if is_true(&self.node(condition)?) {
                return self.node(then);
            }
        }
        match default {
            Some(default) => self.node(default),
            None => Err(refused(
                "no branch of '$switch' applies; give it a default".to_owned(),
            )),
        }
    }

    fn filter(&mut self, input: &Node, condition: &Node, limit: Option<&Node>) -> Result<Computed> {
        let Some(elements) = self.elements("$filter", input)? else {
            return Ok(Some(RawBson::Null));
        };
        let limit = match limit {
            None => usize::MAX,
            Some(limit) => {
                let value = self.node(limit)?;
                if is_null(&value) {
                    usize::MAX
                } else {
                    let number = value
                        .as_ref()
                        .map(RawBson::as_raw_bson_ref)
                        .and_then(Number::of);
                    let limit = number
                        .and_then(Number::as_exact_i64)
                        .and_then(|limit| usize::try_from(limit).ok());
                    limit
                        .filter(|limit| *limit > 0)
                        .ok_or_else(|| wrong_type("$filter", "a 'limit' above 0", &value))?
                }
            }
        };
        let mut array = RawArrayBuf::new();
        let mut kept = 0;
        for element in elements {
            if kept == limit {
                break;
            }
            let (holds, element) = self.with_variable(element, condition)?;
            if is_true(&holds) {
                array.push(element.unwrap_or(RawBson::Null));
                kept += 1;
            }
        }
        Ok(Some(RawBson::Array(array)))
    }

    /// Evaluates `body` with one more variable and gives that variable back.
    fn with_variable(&mut self, value: RawBson, body: &Node) -> Result<(Computed, Computed)> {
        self.variables.push(Some(value));
        let computed = self.node(body)?;
        Ok((computed, self.variables.pop().flatten()))
    }

    /// The elements of an array operand; `None` when it is null or missing.
    fn elements(&mut self, operator: &str, input: &Node) -> Result<Option<Vec<RawBson>>> {
        let value = self.node(input)?;
        match &value {
            Some(RawBson::Array(array)) => {
                let elements: Result<Vec<RawBson>> = array
                    .into_iter()
                    .map(|element| Ok(element.map_err(malformed)?.into()))
                    .collect();
                Ok(Some(elements?))
            }
            value if is_null(value) => Ok(None),
            value => Err(wrong_type(operator, "an array", value)),
        }
    }
}

/// The value at a path below `value`. An array on the way stands for the values of its objects; an
/// index is not a field.
pub(super) fn follow(value: RawBsonRef<'_>, path: &[Box<str>]) -> Result<Computed> {
    if path.is_empty() {
        return Ok(Some(value.into()));
    }
    match value {
        RawBsonRef::Document(document) => follow_document(document, path),
        RawBsonRef::Array(array) => {
            let mut found = RawArrayBuf::new();
            for element in array {
                if let RawBsonRef::Document(document) = element.map_err(malformed)?
                    && let Some(value) = follow_document(document, path)?
                {
                    found.push(value);
                }
            }
            Ok(Some(RawBson::Array(found)))
        }
        _ => Ok(None),
    }
}

fn follow_document(document: &RawDocument, path: &[Box<str>]) -> Result<Computed> {
    let Some((first, rest)) = path.split_first() else {
        return Ok(Some(RawBson::Document(document.to_owned())));
    };
    match field::get(document, first)? {
        Some(value) => follow(value, rest),
        None => Ok(None),
    }
}

/// What [`follow`] finds, without a copy where no array is on the way.
pub(super) fn reach<'a>(document: &'a RawDocument, path: &[Box<str>]) -> Result<Value<'a>> {
    let (mut document, mut path) = (document, path);
    while let Some((first, rest)) = path.split_first() {
        match field::get(document, first)? {
            None => return Ok(Value::Missing),
            Some(value) if rest.is_empty() => return Ok(Value::Borrowed(value)),
            Some(RawBsonRef::Document(inner)) => (document, path) = (inner, rest),
            Some(value) => return Ok(follow(value, rest)?.into()),
        }
    }
    Ok(Value::Borrowed(RawBsonRef::Document(document)))
}
