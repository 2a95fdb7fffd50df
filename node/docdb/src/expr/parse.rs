//! From a client's expression to its tree: names resolved, operands counted.

use bson::raw::CString;
use bson::{RawBsonRef, RawDocument};

use super::evaluate::follow;
use super::function::{self, Operands};
use super::{Bindings, Computed, Node, Variable};
use crate::error::{Error, Result};
use crate::limits::{EXPRESSION_NODES_MAX, NESTING_DEPTH_MAX, PATH_PARTS_MAX};
use crate::value::{malformed, type_name};

/// Parses one expression.
pub(super) struct Parser<'a> {
    nodes: usize,
    depth: usize,
    /// Names of the variables in scope, outermost first.
    variables: Vec<String>,
    bound: &'a [(String, Computed)],
    /// `$$ROOT` is not `$$CURRENT`.
    parts: bool,
}

impl<'a> Parser<'a> {
    pub(super) fn new(bindings: &Bindings<'a>) -> Self {
        Self {
            nodes: 0,
            depth: 0,
            variables: Vec::new(),
            bound: bindings.variables,
            parts: bindings.parts,
        }
    }

    pub(super) fn node(&mut self, value: RawBsonRef<'_>) -> Result<Node> {
        self.nodes += 1;
        self.depth += 1;
        if self.nodes > EXPRESSION_NODES_MAX || self.depth > NESTING_DEPTH_MAX {
            return Err(Error::invalid(format!(
                "the expression has more than {EXPRESSION_NODES_MAX} parts or {NESTING_DEPTH_MAX} levels; simplify it"
            )));
        }
        let node = match value {
            RawBsonRef::String(text) => match (text.strip_prefix("$$"), text.strip_prefix('$')) {
                (Some(variable), _) => self.variable(variable)?,
                (None, Some(path)) => Node::Field(field_path(path)?),
                (None, None) => Node::Constant(Some(value.into())),
            },
            RawBsonRef::Array(array) => {
                let mut nodes = Vec::new();
                for element in array {
                    nodes.push(self.node(element.map_err(malformed)?)?);
                }
                Node::Array(nodes)
            }
            RawBsonRef::Document(document) => self.document(document)?,
            value => Node::Constant(Some(value.into())),
        };
        self.depth -= 1;
        Ok(node)
    }

    fn variable(&self, text: &str) -> Result<Node> {
        let (name, path) = text
            .split_once('.')
            .map_or((text, None), |(name, path)| (name, Some(path)));
        let path = path.map(field_path).transpose()?.unwrap_or_default();
        let variable = match name {
            "ROOT" if self.parts => Variable::Root,
            "ROOT" | "CURRENT" => Variable::Current,
            "NOW" => Variable::Now,
            "REMOVE" => Variable::Remove,
            name => match self.variables.iter().rposition(|known| known == name) {
                Some(index) => Variable::Defined(index),
                None => return self.bound(name, &path),
            },
        };
        Ok(match variable {
            Variable::Current if !path.is_empty() => Node::Field(path),
            variable => Node::Variable(variable, path),
        })
    }

    /// A variable whose value is known already.
    fn bound(&self, name: &str, path: &[Box<str>]) -> Result<Node> {
        let Some((_, value)) = self.bound.iter().rev().find(|(known, _)| known == name) else {
            return Err(Error::invalid(format!(
                "the expression uses '$${name}', which is not defined; define it with '$let'"
            )));
        };
        Ok(Node::Constant(match value {
            Some(value) => follow(value.as_raw_bson_ref(), path)?,
            None => None,
        }))
    }

    fn document(&mut self, document: &RawDocument) -> Result<Node> {
        let mut fields: Vec<(CString, Node)> = Vec::new();
        for element in document.iter() {
            let (key, value) = element.map_err(malformed)?;
            let name = key.as_str();
            if name.starts_with('$') {
                if document.iter_elements().count() > 1 {
                    return Err(Error::operator(format!(
                        "expression operator '{name}' must stand alone in its object"
                    )));
                }
                return self.operator(name, value);
            }
            if name.is_empty() || name.contains('.') {
                return Err(Error::invalid(format!(
                    "'{name}' cannot be a field of an expression object; nest objects"
                )));
            }
            if fields.iter().any(|(known, _)| known.as_str() == name) {
                return Err(Error::invalid(format!(
                    "the expression object has the field '{name}' twice; keep one"
                )));
            }
            fields.push((key.to_owned(), self.node(value)?));
        }
        Ok(Node::Object(fields))
    }

    fn operator(&mut self, name: &str, value: RawBsonRef<'_>) -> Result<Node> {
        match name {
            "$literal" | "$const" => Ok(Node::Constant(Some(value.into()))),
            "$meta" => Err(Error::operator(
                "expression operator '$meta' needs a text query, which is not supported yet",
            )),
            "$and" => Ok(Node::Junction(
                true,
                self.operands(name, value, 0, function::MANY)?,
            )),
            "$or" => Ok(Node::Junction(
                false,
                self.operands(name, value, 0, function::MANY)?,
            )),
            "$ifNull" => Ok(Node::IfNull(self.operands(
                name,
                value,
                2,
                function::MANY,
            )?)),
            "$cond" => self.cond(value),
            "$switch" => self.switch(value),
            "$let" => self.define(value),
            "$map" => self.map(value),
            "$filter" => self.filter(value),
            "$reduce" => self.reduce(value),
            _ => self.call(name, value),
        }
    }

    fn call(&mut self, name: &str, value: RawBsonRef<'_>) -> Result<Node> {
        let Some(function) = function::find(name) else {
            return Err(Error::operator(format!(
                "expression operator '{name}' is unknown or not supported yet; check its spelling"
            )));
        };
        let operands = match function.operands {
            Operands::List(least, most) => self.operands(name, value, least, most)?,
            Operands::Named(members) => {
                let document = object_operand(name, value)?;
                let known: Vec<&str> = members.iter().map(|(member, _)| *member).collect();
                check_members(name, document, &known)?;
                let mut operands = Vec::with_capacity(members.len());
                for (member, optional) in members {
                    operands.push(match member_of(document, member)? {
                        Some(value) => self.node(value)?,
                        None if *optional => Node::Constant(None),
                        None => return Err(lacks(name, member)),
                    });
                }
                operands
            }
            Operands::Date => match value {
                RawBsonRef::Document(document) if member_of(document, "date")?.is_some() => {
                    check_members(name, document, &["date", "timezone"])?;
                    let date = self.member(name, document, "date")?;
                    match member_of(document, "timezone")? {
                        Some(zone) => vec![date, self.node(zone)?],
                        None => vec![date],
                    }
                }
                RawBsonRef::Array(_) => self.operands(name, value, 1, 1)?,
                value => vec![self.node(value)?],
            },
        };
        Ok(Node::Call(function, operands))
    }

    fn operands(
        &mut self,
        name: &str,
        value: RawBsonRef<'_>,
        least: usize,
        most: usize,
    ) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        match value {
            RawBsonRef::Array(array) => {
                for element in array {
                    nodes.push(self.node(element.map_err(malformed)?)?);
                }
            }
            value => nodes.push(self.node(value)?),
        }
        if nodes.len() < least || nodes.len() > most {
            let wanted = match (least, most) {
                (least, function::MANY) => format!("at least {least}"),
                (least, most) if least == most => format!("{least}"),
                (least, most) => format!("{least} to {most}"),
            };
            return Err(Error::invalid(format!(
                "expression operator '{name}' has {} operands; it takes {wanted}",
                nodes.len()
            )));
        }
        Ok(nodes)
    }

    fn member(&mut self, operator: &str, document: &RawDocument, member: &str) -> Result<Node> {
        let value = member_of(document, member)?.ok_or_else(|| lacks(operator, member))?;
        self.node(value)
    }

    fn cond(&mut self, value: RawBsonRef<'_>) -> Result<Node> {
        let (condition, then, otherwise) = match value {
            RawBsonRef::Document(document) => {
                check_members("$cond", document, &["if", "then", "else"])?;
                (
                    self.member("$cond", document, "if")?,
                    self.member("$cond", document, "then")?,
                    self.member("$cond", document, "else")?,
                )
            }
            value => {
                let mut operands = self.operands("$cond", value, 3, 3)?.into_iter();
                match (operands.next(), operands.next(), operands.next()) {
                    (Some(condition), Some(then), Some(otherwise)) => (condition, then, otherwise),
                    _ => return Err(lacks("$cond", "if")),
                }
            }
        };
        Ok(Node::Switch(
            vec![(condition, then)],
            Some(Box::new(otherwise)),
        ))
    }

    fn switch(&mut self, value: RawBsonRef<'_>) -> Result<Node> {
        let document = object_operand("$switch", value)?;
        check_members("$switch", document, &["branches", "default"])?;
        let Some(RawBsonRef::Array(branches)) = member_of(document, "branches")? else {
            return Err(lacks("$switch", "branches"));
        };
        let mut cases = Vec::new();
        for branch in branches {
            let branch = object_operand("$switch", branch.map_err(malformed)?)?;
            check_members("$switch", branch, &["case", "then"])?;
            cases.push((
                self.member("$switch", branch, "case")?,
                self.member("$switch", branch, "then")?,
            ));
        }
        if cases.is_empty() {
            return Err(lacks("$switch", "branches"));
        }
        let default = match member_of(document, "default")? {
            Some(value) => Some(Box::new(self.node(value)?)),
            None => None,
        };
        Ok(Node::Switch(cases, default))
    }

    fn define(&mut self, value: RawBsonRef<'_>) -> Result<Node> {
        let document = object_operand("$let", value)?;
        check_members("$let", document, &["vars", "in"])?;
        let Some(RawBsonRef::Document(definitions)) = member_of(document, "vars")? else {
            return Err(lacks("$let", "vars"));
        };
        let mut values = Vec::new();
        let mut names = Vec::new();
        for definition in definitions.iter() {
            let (name, value) = definition.map_err(malformed)?;
            names.push(variable_name("$let", name.as_str())?);
            values.push(self.node(value)?);
        }
        let body = self.with(names, |parser| parser.member("$let", document, "in"))?;
        Ok(Node::Let(values, Box::new(body)))
    }

    fn map(&mut self, value: RawBsonRef<'_>) -> Result<Node> {
        let document = object_operand("$map", value)?;
        check_members("$map", document, &["input", "as", "in"])?;
        let input = self.member("$map", document, "input")?;
        let name = as_name("$map", document)?;
        let body = self.with(vec![name], |parser| parser.member("$map", document, "in"))?;
        Ok(Node::Map(Box::new(input), Box::new(body)))
    }

    fn filter(&mut self, value: RawBsonRef<'_>) -> Result<Node> {
        let document = object_operand("$filter", value)?;
        check_members("$filter", document, &["input", "as", "cond", "limit"])?;
        let input = self.member("$filter", document, "input")?;
        let name = as_name("$filter", document)?;
        let condition = self.with(vec![name], |parser| {
            parser.member("$filter", document, "cond")
        })?;
        let limit = match member_of(document, "limit")? {
            Some(value) => Some(Box::new(self.node(value)?)),
            None => None,
        };
        Ok(Node::Filter(Box::new(input), Box::new(condition), limit))
    }

    fn reduce(&mut self, value: RawBsonRef<'_>) -> Result<Node> {
        let document = object_operand("$reduce", value)?;
        check_members("$reduce", document, &["input", "initialValue", "in"])?;
        let input = self.member("$reduce", document, "input")?;
        let initial = self.member("$reduce", document, "initialValue")?;
        let names = vec!["value".to_owned(), "this".to_owned()];
        let body = self.with(names, |parser| parser.member("$reduce", document, "in"))?;
        Ok(Node::Reduce(
            Box::new(input),
            Box::new(initial),
            Box::new(body),
        ))
    }

    /// Parses something in which more variables are defined.
    fn with(
        &mut self,
        names: Vec<String>,
        parse: impl FnOnce(&mut Self) -> Result<Node>,
    ) -> Result<Node> {
        let outer = self.variables.len();
        self.variables.extend(names);
        let node = parse(self);
        self.variables.truncate(outer);
        node
    }
}

fn field_path(text: &str) -> Result<Vec<Box<str>>> {
    let parts: Vec<Box<str>> = text.split('.').map(Into::into).collect();
    if parts.len() > PATH_PARTS_MAX
        || parts
            .iter()
            .any(|part| part.is_empty() || part.starts_with('$'))
    {
        return Err(Error::invalid(format!(
            "'${text}' is not a field path; use '$' and a dotted path, or '$literal' for a text with a dollar"
        )));
    }
    Ok(parts)
}

fn variable_name(operator: &str, name: &str) -> Result<String> {
    let mut chars = name.chars();
    let first = chars
        .next()
        .is_some_and(|first| first.is_ascii_lowercase() || !first.is_ascii());
    if first && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii()) {
        return Ok(name.to_owned());
    }
    Err(Error::invalid(format!(
        "'{operator}': '{name}' cannot name a variable; begin with a lower-case letter"
    )))
}

fn as_name(operator: &str, document: &RawDocument) -> Result<String> {
    match member_of(document, "as")? {
        None => Ok("this".to_owned()),
        Some(RawBsonRef::String(name)) => variable_name(operator, name),
        Some(other) => Err(Error::invalid(format!(
            "'{operator}': 'as' is a {}; it takes a name",
            type_name(other)
        ))),
    }
}

fn object_operand<'a>(operator: &str, value: RawBsonRef<'a>) -> Result<&'a RawDocument> {
    value.as_document().ok_or_else(|| {
        Error::invalid(format!(
            "expression operator '{operator}' takes an object of operands, not a {}",
            type_name(value)
        ))
    })
}

fn member_of<'a>(document: &'a RawDocument, member: &str) -> Result<Option<RawBsonRef<'a>>> {
    document.get(member).map_err(malformed)
}

fn check_members(operator: &str, document: &RawDocument, known: &[&str]) -> Result<()> {
    for element in document.iter_elements() {
        let key = element.map_err(malformed)?.key().as_str();
        if !known.contains(&key) {
            return Err(Error::operator(format!(
                "expression operator '{operator}' does not know '{key}' (or not yet)"
            )));
        }
    }
    Ok(())
}

fn lacks(operator: &str, member: &str) -> Error {
    Error::invalid(format!("expression operator '{operator}' needs '{member}'"))
}
