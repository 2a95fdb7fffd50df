//! From the text of a rule expression to its tree.
//!
//! Everything that can be wrong with an expression is refused here, when it is set, with the place and what was
//! expected there; an expression that was accepted can always be evaluated. Recursion is bounded.

use std::sync::Arc;

use bson::Bson;

use super::ast::{AuthField, Comparison, Expr, Expression, Kind, Piece, Span};
use super::limits::{
    EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX, EXPRESSION_GETS_MAX, EXPRESSION_NODES_MAX,
};
use super::token::{Mistake, TemplatePiece, Token, TokenKind, tokens};

/// A mistake in an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {message}")]
pub struct RuleError {
    /// The character where it is, counted from 1.
    pub position: usize,
    /// What was expected and what is there.
    pub message: String,
}

impl Expression {
    /// Parses a condition.
    pub fn parse(source: &str) -> Result<Self, RuleError> {
        let located = |mistake: Mistake| RuleError {
            position: source
                .get(..mistake.at)
                .map_or(0, |before| before.chars().count())
                + 1,
            message: mistake.message,
        };
        let root = parse(source).map_err(located)?;
        Ok(Self {
            source: Arc::from(source),
            root,
        })
    }
}

fn parse(source: &str) -> Result<Expr, Mistake> {
    if source.len() > EXPRESSION_BYTES_MAX {
        return Err(Mistake {
            at: 0,
            message: format!(
                "the expression has {} bytes, more than {EXPRESSION_BYTES_MAX}; shorten it",
                source.len()
            ),
        });
    }
    let mut parser = Parser {
        tokens: tokens(source, 0, source.len())?,
        at: 0,
        depth: 0,
        nodes: 0,
        gets: 0,
    };
    let root = parser.or()?;
    let root = as_condition(root)?;
    parser.end("`&&`, `||` or the end")?;
    Ok(root)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    nodes: usize,
    gets: usize,
}

impl Parser {
    fn peek(&self) -> &TokenKind {
        self.tokens
            .get(self.at)
            .map_or(&TokenKind::End, |token| &token.kind)
    }

    fn span(&self) -> Span {
        let last = self.tokens.len().saturating_sub(1);
        self.tokens
            .get(self.at.min(last))
            .map_or(Span { start: 0, end: 0 }, |token| token.span)
    }

    fn take(&mut self) -> TokenKind {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek(), TokenKind::Symbol(found) if *found == symbol)
    }

    fn accept(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        self.at += usize::from(found);
        found
    }

    fn expected<T>(&self, what: &str) -> Result<T, Mistake> {
        Err(Mistake {
            at: self.span().start,
            message: format!("expected {what}, found {}", self.peek()),
        })
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Mistake> {
        if self.accept(symbol) {
            return Ok(());
        }
        self.expected(&format!("`{symbol}`"))
    }

    fn end(&self, what: &str) -> Result<(), Mistake> {
        if *self.peek() == TokenKind::End {
            return Ok(());
        }
        self.expected(what)
    }

    /// A part from `start` to the last word taken.
    fn part(&mut self, start: usize, kind: Kind) -> Result<Expr, Mistake> {
        self.nodes += 1;
        if self.nodes > EXPRESSION_NODES_MAX {
            return Err(Mistake {
                at: start,
                message: format!(
                    "the expression has more than {EXPRESSION_NODES_MAX} parts; shorten it"
                ),
            });
        }
        let end = self
            .at
            .checked_sub(1)
            .and_then(|last| self.tokens.get(last))
            .map_or(start, |token| token.span.end);
        Ok(Expr {
            kind,
            span: Span { start, end },
        })
    }

    fn deeper<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, Mistake>,
    ) -> Result<T, Mistake> {
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH_MAX {
            return Err(Mistake {
                at: self.span().start,
                message: format!(
                    "the expression nests deeper than {EXPRESSION_DEPTH_MAX} levels; flatten it"
                ),
            });
        }
        let result = inner(self)?;
        self.depth -= 1;
        Ok(result)
    }

    fn or(&mut self) -> Result<Expr, Mistake> {
        self.joined("||", Self::and, Kind::Or)
    }

    fn and(&mut self) -> Result<Expr, Mistake> {
        self.joined("&&", Self::not, Kind::And)
    }

    fn joined(
        &mut self,
        operator: &str,
        operand: fn(&mut Self) -> Result<Expr, Mistake>,
        join: fn(Vec<Expr>) -> Kind,
    ) -> Result<Expr, Mistake> {
        let start = self.span().start;
        let first = operand(self)?;
        if !self.is(operator) {
            return Ok(first);
        }
        let mut operands = vec![as_condition(first)?];
        while self.accept(operator) {
            operands.push(as_condition(operand(self)?)?);
        }
        self.part(start, join(operands))
    }

    fn not(&mut self) -> Result<Expr, Mistake> {
        if !self.is("!") {
            return self.comparison();
        }
        let start = self.span().start;
        self.at += 1;
        let inner = self.deeper(|parser| {
            if parser.is("!") {
                parser.not()
            } else {
                parser.value()
            }
        })?;
        let inner = as_condition(inner)?;
        if self.comparison_operator().is_some() {
            return self.expected("`&&` or `||`: write `!(a == b)` to negate a comparison");
        }
        self.part(start, Kind::Not(Box::new(inner)))
    }

    fn comparison_operator(&self) -> Option<Option<Comparison>> {
        match self.peek() {
            TokenKind::Symbol("==") => Some(Some(Comparison::Equal)),
            TokenKind::Symbol("!=") => Some(Some(Comparison::NotEqual)),
            TokenKind::Symbol("<") => Some(Some(Comparison::Less)),
            TokenKind::Symbol("<=") => Some(Some(Comparison::LessOrEqual)),
            TokenKind::Symbol(">") => Some(Some(Comparison::Greater)),
            TokenKind::Symbol(">=") => Some(Some(Comparison::GreaterOrEqual)),
            TokenKind::Name(name) if name == "in" => Some(None),
            _ => None,
        }
    }

    fn comparison(&mut self) -> Result<Expr, Mistake> {
        let start = self.span().start;
        let left = self.value()?;
        let Some(operator) = self.comparison_operator() else {
            return Ok(left);
        };
        let left = as_value(left)?;
        self.at += 1;
        let right = as_value(self.value()?)?;
        if self.comparison_operator().is_some() {
            return self.expected("`&&` or `||`: comparisons do not chain");
        }
        let (left, right) = (Box::new(left), Box::new(right));
        let kind = match operator {
            Some(operator) => Kind::Compare(operator, left, right),
            None => Kind::In(left, right),
        };
        self.part(start, kind)
    }

    /// A value, or anything in parentheses.
    fn value(&mut self) -> Result<Expr, Mistake> {
        let start = self.span().start;
        match self.peek() {
            TokenKind::Symbol("(") => {
                self.at += 1;
                let inner = self.deeper(Self::or)?;
                self.expect(")")?;
                Ok(inner)
            }
            TokenKind::Symbol("[") => {
                self.at += 1;
                let items = self.deeper(Self::list)?;
                self.part(start, Kind::List(items))
            }
            TokenKind::Symbol("-") => {
                self.at += 1;
                let number = match self.take() {
                    TokenKind::Integer(number) => integer(-number),
                    TokenKind::Float(number) => Bson::Double(-number),
                    _ => {
                        self.at -= 1;
                        return self.expected("a number");
                    }
                };
                self.part(start, Kind::Literal(number))
            }
            TokenKind::Text(text) => {
                let text = Bson::String(text.clone());
                self.at += 1;
                self.part(start, Kind::Literal(text))
            }
            TokenKind::Integer(number) => {
                let number = integer(*number);
                self.at += 1;
                self.part(start, Kind::Literal(number))
            }
            TokenKind::Float(number) => {
                let number = Bson::Double(*number);
                self.at += 1;
                self.part(start, Kind::Literal(number))
            }
            TokenKind::Template(_) => self.template(),
            TokenKind::Name(name) => {
                let name = name.clone();
                self.at += 1;
                self.named(start, &name)
            }
            _ => self.expected("a value"),
        }
    }

    fn list(&mut self) -> Result<Vec<Expr>, Mistake> {
        let mut items = Vec::new();
        if self.accept("]") {
            return Ok(items);
        }
        loop {
            items.push(as_value(self.value()?)?);
            if self.accept("]") {
                return Ok(items);
            }
            if !self.accept(",") {
                return self.expected("`,` or `]`");
            }
        }
    }

    fn template(&mut self) -> Result<Expr, Mistake> {
        let start = self.span().start;
        let TokenKind::Template(raw) = self.take() else {
            return self.expected("a template");
        };
        let mut pieces = Vec::with_capacity(raw.len());
        for piece in raw {
            pieces.push(match piece {
                TemplatePiece::Text(text) => Piece::Text(text),
                TemplatePiece::Value(tokens) => {
                    // The words between the braces, read as a part of this expression.
                    let outer = std::mem::replace(&mut self.tokens, tokens);
                    let at = std::mem::replace(&mut self.at, 0);
                    let value = self
                        .deeper(Self::value)
                        .and_then(as_value)
                        .and_then(|value| self.end("`}`").map(|()| value))?;
                    self.tokens = outer;
                    self.at = at;
                    Piece::Value(value)
                }
            });
        }
        self.part(start, Kind::Template(pieces))
    }

    fn named(&mut self, start: usize, name: &str) -> Result<Expr, Mistake> {
        let kind = match name {
            "true" => Kind::Literal(Bson::Boolean(true)),
            "false" => Kind::Literal(Bson::Boolean(false)),
            "null" | "undefined" => Kind::Literal(Bson::Null),
            "now" => Kind::Now,
            "auth" => self.auth()?,
            "request" => self.request()?,
            // Rules of files call what they are about by the second name.
            "doc" | "resource" => {
                let path = self.path(false)?;
                if path.is_empty() {
                    return self.expected(&format!("`.` and a field of `{name}`"));
                }
                Kind::Doc(path.join("."))
            }
            "get" => return self.get(start),
            _ => {
                self.at -= 1;
                return self.expected(
                    "a value: `auth`, `doc`, `request.data`, `now`, `get(...)`, a literal or a list",
                );
            }
        };
        self.part(start, kind)
    }

    fn auth(&mut self) -> Result<Kind, Mistake> {
        let members = self.path(false)?;
        let field = match members
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .as_slice()
        {
            [] => None,
            ["openid"] => Some(AuthField::Openid),
            ["uid"] => Some(AuthField::Uid),
            ["loginType"] => Some(AuthField::LoginType),
            _ => {
                self.at -= 1;
                return self.expected("`openid`, `uid` or `loginType` of `auth`");
            }
        };
        Ok(Kind::Auth(field))
    }

    fn request(&mut self) -> Result<Kind, Mistake> {
        let mut members = self.path(true)?;
        if members.first().is_none_or(|member| member != "data") {
            self.at = self.at.saturating_sub(members.len().min(1));
            return self.expected("`.data` of `request`");
        }
        members.remove(0);
        Ok(Kind::Data(members))
    }

    fn get(&mut self, start: usize) -> Result<Expr, Mistake> {
        self.gets += 1;
        if self.gets > EXPRESSION_GETS_MAX {
            return Err(Mistake {
                at: start,
                message: format!(
                    "the expression has more than {EXPRESSION_GETS_MAX} get(); use fewer"
                ),
            });
        }
        self.expect("(")?;
        let path = as_value(self.deeper(Self::value)?)?;
        if let Kind::Literal(literal) = &path.kind {
            let valid = literal.as_str().is_some_and(|text| key_of(text).is_some());
            if !valid {
                return Err(Mistake {
                    at: path.span.start,
                    message: "expected 'database.<collection>.<id>' with a collection that is not the system's".to_owned(),
                });
            }
        }
        self.expect(")")?;
        let field = self.path(true)?;
        self.part(
            start,
            Kind::Get {
                path: Box::new(path),
                field,
            },
        )
    }

    /// `.a.b['c']`, as many as there are.
    fn path(&mut self, indexes: bool) -> Result<Vec<String>, Mistake> {
        let mut parts = Vec::new();
        loop {
            let part = if self.accept(".") {
                match self.take() {
                    TokenKind::Name(name) => name,
                    TokenKind::Integer(index) if indexes => index.to_string(),
                    TokenKind::Integer(_) | TokenKind::Float(_) => {
                        self.at -= 1;
                        return self
                            .expected("a field name: elements of arrays are asked for with `in`");
                    }
                    _ => {
                        self.at -= 1;
                        return self.expected("a field name");
                    }
                }
            } else if self.is("[") {
                self.at += 1;
                let TokenKind::Text(name) = self.take() else {
                    self.at -= 1;
                    return self.expected("a field name in quotes");
                };
                self.expect("]")?;
                name
            } else {
                return Ok(parts);
            };
            let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
            if part.is_empty()
                || part.starts_with('$')
                || part.contains(['.', '\0'])
                || (is_number && !indexes)
            {
                self.at -= 1;
                return self.expected(
                    "the name of a field, without dots, not a number and not beginning with `$`",
                );
            }
            parts.push(part);
        }
    }
}

/// `database.<collection>.<id>` as collection and id; `None` for anything else and for system collections.
pub(super) fn key_of(path: &str) -> Option<(&str, &str)> {
    let (collection, id) = path.strip_prefix("database.")?.split_once('.')?;
    let usable = !collection.is_empty() && !id.is_empty() && !super::access::is_system(collection);
    usable.then_some((collection, id))
}

fn integer(number: i64) -> Bson {
    i32::try_from(number).map_or(Bson::Int64(number), Bson::Int32)
}

fn as_condition(expr: Expr) -> Result<Expr, Mistake> {
    let what = match &expr.kind {
        Kind::Literal(Bson::Boolean(_)) | Kind::Doc(_) | Kind::Data(_) | Kind::Get { .. } => {
            return Ok(expr);
        }
        _ if expr.is_condition() => return Ok(expr),
        Kind::Literal(_) | Kind::Template(_) => "a literal",
        Kind::List(_) => "a list",
        Kind::Auth(_) => "`auth`",
        _ => "`now`",
    };
    Err(Mistake {
        at: expr.span.start,
        message: format!("expected a condition such as `a == b`, found {what}"),
    })
}

fn as_value(expr: Expr) -> Result<Expr, Mistake> {
    if expr.is_condition() {
        return Err(Mistake {
            at: expr.span.start,
            message: "expected a value, found a condition: join conditions with `&&` and `||`"
                .to_owned(),
        });
    }
    Ok(expr)
}

#[cfg(test)]
#[path = "parse_test.rs"]
mod tests;
