//! Regular expressions of filters: PCRE or JavaScript syntax in, one bounded matcher out.
//!
//! Compiled once per filter. `\d`, `\w`, `\s` and `\b` are ASCII as in PCRE; a literal brace or
//! bracket needs no escape as in JavaScript. Matching backtracks at most a fixed number of steps, so
//! its outcome depends on nothing but pattern and text.

use std::fmt::Write as _;

use bson::RawBsonRef;
use fancy_regex::{Regex, RegexBuilder};

use crate::error::{Error, ErrorCode, Result};
use crate::limits::{REGEX_BACKTRACK_STEPS_MAX, REGEX_COMPILED_BYTES_MAX, REGEX_PATTERN_BYTES_MAX};

/// A compiled regular expression that remembers how it was written.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    pattern: Box<str>,
    flags: Flags,
    regex: Regex,
}

/// The flags that have a meaning for a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Flags {
    ignore_case: bool,
    multi_line: bool,
    dot_all: bool,
    extended: bool,
}

impl Flags {
    /// `g`, `u` and `y` come from JavaScript and do not change whether a string matches.
    fn parse(text: &str) -> Result<Self> {
        let mut flags = Self::default();
        for flag in text.chars() {
            match flag {
                'i' => flags.ignore_case = true,
                'm' => flags.multi_line = true,
                's' => flags.dot_all = true,
                'x' => flags.extended = true,
                'g' | 'u' | 'y' => {}
                other => {
                    return Err(Error::invalid(format!(
                        "regular expression flag '{}' is unknown; use i, m, s or x",
                        other.escape_debug()
                    )));
                }
            }
        }
        Ok(flags)
    }
}

impl Pattern {
    /// Compiles `pattern` with the flags `i`, `m`, `s`, `x`.
    pub(crate) fn compile(pattern: &str, flags: &str) -> Result<Self> {
        if pattern.len() > REGEX_PATTERN_BYTES_MAX {
            return Err(Error::invalid(format!(
                "a regular expression has {} bytes, more than {REGEX_PATTERN_BYTES_MAX}; shorten it",
                pattern.len()
            )));
        }
        let flags = Flags::parse(flags)?;
        let regex = RegexBuilder::new(&translate(pattern, flags.extended))
            .case_insensitive(flags.ignore_case)
            .multi_line(flags.multi_line)
            .dot_matches_new_line(flags.dot_all)
            .backtrack_limit(REGEX_BACKTRACK_STEPS_MAX)
            .delegate_size_limit(REGEX_COMPILED_BYTES_MAX)
            .delegate_dfa_size_limit(REGEX_COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| {
                Error::invalid(format!(
                    "the regular expression cannot be compiled: {error}"
                ))
            })?;
        Ok(Self {
            pattern: pattern.into(),
            flags,
            regex,
        })
    }

    /// A string that contains a match, or the same regular expression as a value.
    pub(crate) fn matches(&self, value: Option<RawBsonRef<'_>>) -> Result<bool> {
        match value {
            Some(RawBsonRef::String(text)) => self.matches_text(text),
            Some(RawBsonRef::RegularExpression(other)) => Ok(*self.pattern
                == *other.pattern.as_str()
                && Flags::parse(other.options.as_str()).is_ok_and(|flags| flags == self.flags)),
            _ => Ok(false),
        }
    }

    /// Whether `text` contains a match.
    pub(crate) fn matches_text(&self, text: &str) -> Result<bool> {
        self.regex.is_match(text).map_err(|_| {
            Error::new(
                ErrorCode::ExceedBudget,
                format!(
                    "the regular expression '{}' takes more than {REGEX_BACKTRACK_STEPS_MAX} steps on one string; simplify it",
                    self.pattern.chars().take(60).collect::<String>()
                ),
            )
        })
    }

    /// The literal text that every matching string begins with; empty when there is none.
    pub(crate) fn literal_prefix(&self) -> String {
        let mut prefix = String::new();
        let flags = self.flags;
        let Some(rest) = self.pattern.strip_prefix('^') else {
            return prefix;
        };
        // An alternative anywhere could bypass the anchor.
        if flags.ignore_case || flags.multi_line || flags.extended || rest.contains('|') {
            return prefix;
        }
        let mut chars = rest.chars();
        while let Some(next) = chars.next() {
            match next {
                '?' | '*' | '{' => {
                    // The character before may be absent.
                    prefix.pop();
                    break;
                }
                '+' | '.' | '[' | '(' | ')' | '$' | '^' => break,
                '\\' => match chars.next() {
                    Some(escaped) if escaped.is_ascii_punctuation() => prefix.push(escaped),
                    _ => break,
                },
                literal => prefix.push(literal),
            }
        }
        prefix
    }
}

/// Rewrites a pattern so that the matcher reads it as PCRE and JavaScript do.
fn translate(pattern: &str, extended: bool) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    // Position in a class: characters seen since its opening bracket.
    let mut in_class: Option<usize> = None;
    while let Some(next) = chars.next() {
        match (next, in_class) {
            ('\\', _) => {
                translate_escape(chars.next(), &mut chars, in_class.is_some(), &mut out);
                in_class = in_class.map(|seen| seen + 1);
            }
            ('[', None) => {
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                in_class = Some(0);
            }
            (']', Some(seen)) if seen > 0 => {
                out.push(']');
                in_class = None;
            }
            ('[', Some(_)) if chars.peek() == Some(&':') => {
                out.push('[');
                in_class = Some(1);
                // A named class such as `[:alpha:]` is copied up to its own bracket.
                for named in chars.by_ref() {
                    out.push(named);
                    if named == ']' {
                        break;
                    }
                }
            }
            (special @ ('[' | ']' | '&' | '~' | ' ' | '#'), Some(seen)) => {
                out.push('\\');
                out.push(special);
                in_class = Some(seen + 1);
            }
            (_, Some(seen)) => {
                out.push(next);
                in_class = Some(seen + 1);
            }
            ('#', None) if extended => {
                for comment in chars.by_ref() {
                    if comment == '\n' {
                        break;
                    }
                }
            }
            (space, None) if extended && space.is_ascii_whitespace() => {}
            ('{', None) if !is_quantifier(chars.clone()) => out.push_str("\\{"),
            ('}', None) if !open_quantifier(&out) => out.push_str("\\}"),
            (']', None) => out.push_str("\\]"),
            (_, None) => out.push(next),
        }
    }
    out
}

/// `\b` and `\B` between ASCII words; the compiler knows only Unicode words.
const WORD_BOUNDARY: &str =
    "(?:(?<=[0-9A-Za-z_])(?![0-9A-Za-z_])|(?<![0-9A-Za-z_])(?=[0-9A-Za-z_]))";
const NO_WORD_BOUNDARY: &str =
    "(?:(?<=[0-9A-Za-z_])(?=[0-9A-Za-z_])|(?<![0-9A-Za-z_])(?![0-9A-Za-z_]))";

/// Whether `{` is followed by `n}`, `n,}` or `n,m}`.
fn is_quantifier(rest: impl Iterator<Item = char>) -> bool {
    let mut digits = 0;
    let mut comma = false;
    for next in rest {
        match next {
            '0'..='9' => digits += 1,
            ',' if digits > 0 && !comma => comma = true,
            '}' => return digits > 0,
            _ => return false,
        }
    }
    false
}

/// Whether `out` ends in an opened quantifier, property or group reference that a `}` closes.
fn open_quantifier(out: &str) -> bool {
    let tail = out.rfind('{').map(|at| (&out[..at], &out[at + 1..]));
    tail.is_some_and(|(before, inside)| !before.ends_with('\\') && !inside.contains('}'))
}

fn translate_escape(
    escaped: Option<char>,
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    in_class: bool,
    out: &mut String,
) {
    let Some(escaped) = escaped else {
        out.push('\\');
        return;
    };
    let (class, outside) = match escaped {
        'd' => ("0-9", "[0-9]"),
        'w' => ("0-9A-Za-z_", "[0-9A-Za-z_]"),
        's' => (r"\t\n\x0b\x0c\r\x20", r"[\t\n\x0b\x0c\r\x20]"),
        'D' => ("[^0-9]", "[^0-9]"),
        'W' => ("[^0-9A-Za-z_]", "[^0-9A-Za-z_]"),
        'S' => (r"[^\t\n\x0b\x0c\r\x20]", r"[^\t\n\x0b\x0c\r\x20]"),
        'b' if in_class => (r"\x08", ""),
        'b' => ("", WORD_BOUNDARY),
        'B' if !in_class => ("", NO_WORD_BOUNDARY),
        '/' => ("/", "/"),
        '0' => (r"\x00", r"\x00"),
        'u' => {
            let digits: String = chars.clone().take(4).collect();
            match u32::from_str_radix(&digits, 16) {
                Ok(code) if digits.len() == 4 => {
                    let _infallible = write!(out, "\\x{{{code:x}}}");
                    chars.nth(3);
                }
                _ => out.push_str("\\u"),
            }
            return;
        }
        // Needless escapes of letters without a meaning are kept for the compiler to judge.
        other => {
            out.push('\\');
            out.push(other);
            if matches!(other, 'p' | 'P' | 'x' | 'k' | 'g') && chars.next_if_eq(&'{').is_some() {
                out.push('{');
            }
            return;
        }
    };
    out.push_str(if in_class { class } else { outside });
}
