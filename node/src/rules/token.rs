//! The words of the rule language.

use std::fmt;

use super::ast::Span;

/// A word with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    Name(String),
    Text(String),
    Integer(i64),
    Float(f64),
    /// Texts and the words of the values between them.
    Template(Vec<TemplatePiece>),
    /// An operator or bracket.
    Symbol(&'static str),
    End,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TemplatePiece {
    Text(String),
    Value(Vec<Token>),
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "`{name}`"),
            Self::Text(_) => f.write_str("a text"),
            Self::Integer(_) | Self::Float(_) => f.write_str("a number"),
            Self::Template(_) => f.write_str("a template"),
            Self::Symbol(symbol) => write!(f, "`{symbol}`"),
            Self::End => f.write_str("the end"),
        }
    }
}

/// What is wrong, at a byte of the source.
pub(super) struct Mistake {
    pub(super) at: usize,
    pub(super) message: String,
}

/// Longest first, so that `<=` is not read as `<`.
const SYMBOLS: [&str; 18] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ",", ".", "-", "{", "}",
];

/// Operators of other languages that are written by habit, and what to write instead.
const HABITS: [(&str, &str); 5] = [
    ("===", "`==`"),
    ("!==", "`!=`"),
    ("&", "`&&`"),
    ("|", "`||`"),
    ("=", "`==`"),
];

/// Cuts `source` into words; `from` and `to` bound the part of it that is read.
pub(super) fn tokens(source: &str, from: usize, to: usize) -> Result<Vec<Token>, Mistake> {
    let mut reader = Reader {
        source,
        at: from,
        to,
    };
    let mut tokens = Vec::new();
    loop {
        let token = reader.next()?;
        let is_end = token.kind == TokenKind::End;
        tokens.push(token);
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Reader<'a> {
    source: &'a str,
    at: usize,
    to: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..self.to]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest
            .char_indices()
            .find(|(_, character)| !belongs(*character))
            .map_or(rest.len(), |(at, _)| at);
        self.at += length;
        &rest[..length]
    }

    fn next(&mut self) -> Result<Token, Mistake> {
        self.take_while(char::is_whitespace);
        let start = self.at;
        let kind = match self.peek() {
            None => TokenKind::End,
            Some('\'' | '"') => self.text()?,
            Some('`') => self.template()?,
            Some(first) if first.is_ascii_digit() => self.number()?,
            Some(first) if first.is_alphabetic() || matches!(first, '_' | '$') => TokenKind::Name(
                self.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '$'))
                    .to_owned(),
            ),
            Some(other) => self.symbol(other)?,
        };
        Ok(Token {
            kind,
            span: Span {
                start,
                end: self.at,
            },
        })
    }

    fn symbol(&mut self, first: char) -> Result<TokenKind, Mistake> {
        let rest = self.rest();
        let mistake = |message: String| {
            Err(Mistake {
                at: self.at,
                message,
            })
        };
        for (habit, instead) in HABITS {
            let is_own = SYMBOLS
                .iter()
                .any(|symbol| symbol.len() > habit.len() && rest.starts_with(symbol));
            if rest.starts_with(habit) && !is_own {
                return mistake(format!("expected {instead}, found `{habit}`"));
            }
        }
        match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            Some(symbol) => {
                self.at += symbol.len();
                Ok(TokenKind::Symbol(symbol))
            }
            None if first == '+' => mistake(
                "expected an operator of rules, found `+`: join texts in a template, `a${b}`"
                    .to_owned(),
            ),
            None => mistake(format!("expected a value or an operator, found `{first}`")),
        }
    }

    fn number(&mut self) -> Result<TokenKind, Mistake> {
        let start = self.at;
        self.take_while(|c| c.is_ascii_digit());
        let rest = self.rest();
        let mut fraction = rest.strip_prefix('.').map(str::chars);
        if fraction
            .as_mut()
            .and_then(Iterator::next)
            .is_some_and(|c| c.is_ascii_digit())
        {
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
        }
        let text = &self.source[start..self.at];
        let wrong = || Mistake {
            at: start,
            message: "expected a number of 64 bits".to_owned(),
        };
        if text.contains('.') {
            text.parse().map(TokenKind::Float).map_err(|_| wrong())
        } else {
            text.parse().map(TokenKind::Integer).map_err(|_| wrong())
        }
    }

    /// One character of a text, escapes resolved.
    fn character(&mut self, start: usize) -> Result<char, Mistake> {
        let endless = || Mistake {
            at: start,
            message: "expected the end of the text that begins here".to_owned(),
        };
        let character = self.peek().ok_or_else(endless)?;
        self.at += character.len_utf8();
        if character != '\\' {
            return Ok(character);
        }
        let escaped = self.peek().ok_or_else(endless)?;
        let meant = match escaped {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            '\\' | '\'' | '"' | '`' | '$' | '/' => escaped,
            other => {
                return Err(Mistake {
                    at: self.at,
                    message: format!("expected an escape such as `\\n`, found `\\{other}`"),
                });
            }
        };
        self.at += escaped.len_utf8();
        Ok(meant)
    }

    fn text(&mut self) -> Result<TokenKind, Mistake> {
        let start = self.at;
        let quote = self.peek();
        self.at += 1;
        let mut text = String::new();
        while self.peek() != quote {
            text.push(self.character(start)?);
        }
        self.at += 1;
        Ok(TokenKind::Text(text))
    }

    fn template(&mut self) -> Result<TokenKind, Mistake> {
        let start = self.at;
        self.at += 1;
        let mut pieces = Vec::new();
        let mut text = String::new();
        while self.peek() != Some('`') {
            if !self.rest().starts_with("${") {
                text.push(self.character(start)?);
                continue;
            }
            let begin = self.at + 2;
            let length = self.source[begin..self.to]
                .find('}')
                .ok_or_else(|| Mistake {
                    at: self.at,
                    message: "expected `}` after the value that begins here".to_owned(),
                })?;
            pieces.push(TemplatePiece::Text(std::mem::take(&mut text)));
            // Templates do not nest: a backtick inside would be without an end there.
            pieces.push(TemplatePiece::Value(tokens(
                self.source,
                begin,
                begin + length,
            )?));
            self.at = begin + length + 1;
        }
        self.at += 1;
        pieces.push(TemplatePiece::Text(text));
        Ok(TokenKind::Template(pieces))
    }
}
