//! A rule expression as a tree, each part with its place in the source.

use std::fmt;
use std::sync::Arc;

use bson::Bson;

/// A parsed expression, which is a condition as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// What it was parsed from.
    pub source: Arc<str>,
    /// Its tree.
    pub root: Expr,
}

/// One part of an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: Kind,
    /// Its place in the source.
    pub span: Span,
}

/// A place in the source, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
}

impl Span {
    /// The text at this place.
    pub fn of(self, source: &str) -> &str {
        source.get(self.start..self.end).unwrap_or(source).trim()
    }
}

/// What a part of an expression is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `1`, `'text'`, `true`, `null`
    Literal(Bson),
    /// `[a, b]`
    List(Vec<Expr>),
    /// A text with values in it.
    Template(Vec<Piece>),
    /// `auth` or one of its members.
    Auth(Option<AuthField>),
    /// `now`: milliseconds since 1970, which compare with numbers and with dates.
    Now,
    /// `request.data` and a path in it.
    Data(Vec<String>),
    /// A dotted path in the document.
    Doc(String),
    /// A document of another collection, and a path in it.
    Get {
        /// `'database.<collection>.<id>'`
        path: Box<Expr>,
        /// Where in the document; empty: the document itself.
        field: Vec<String>,
    },
    /// `!a`
    Not(Box<Expr>),
    /// `a && b`
    And(Vec<Expr>),
    /// `a || b`
    Or(Vec<Expr>),
    /// `a == b` and the like.
    Compare(Comparison, Box<Expr>, Box<Expr>),
    /// `a in b`
    In(Box<Expr>, Box<Expr>),
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// `${value}`
    Value(Expr),
}

/// What is known of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthField {
    /// What `_openid` of the caller's documents is.
    Openid,
    /// The caller's user id.
    Uid,
    /// How the caller signed in.
    LoginType,
}

/// An operator between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// The operator for exchanged operands.
    pub fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

impl Expr {
    /// The parts right below this one.
    pub fn children(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Literal(_) | Kind::Auth(_) | Kind::Now | Kind::Data(_) | Kind::Doc(_) => {
                Vec::new()
            }
            Kind::List(items) | Kind::And(items) | Kind::Or(items) => items.iter().collect(),
            Kind::Template(pieces) => pieces
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Text(_) => None,
                    Piece::Value(value) => Some(value),
                })
                .collect(),
            Kind::Get { path, .. } => vec![path],
            Kind::Not(inner) => vec![inner],
            Kind::Compare(_, left, right) | Kind::In(left, right) => vec![left, right],
        }
    }

    /// Whether this is a condition by its form, so never a value to compare.
    pub fn is_condition(&self) -> bool {
        matches!(
            self.kind,
            Kind::Not(_) | Kind::And(_) | Kind::Or(_) | Kind::Compare(..) | Kind::In(..)
        )
    }
}
