//! Regular expressions of filters: PCRE or JavaScript syntax in, one matcher with counted steps out.
//!
//! Compiled once per filter. `\d`, `\w`, `\s` and `\b` are ASCII as in PCRE; a literal brace or
//! bracket needs no escape as in JavaScript. A pattern without look-around and references runs on an engine of
//! linear time, any other on a backtracking machine. Both are charged to the budget of the document or command at
//! hand (`work`), so the outcome depends on nothing but patterns and texts.

mod class;
mod length;
mod linear;
mod machine;
mod program;
mod translate;
mod work;

#[cfg(test)]
mod differential_test;
#[cfg(test)]
mod work_test;

use std::sync::Arc;

use bson::RawBsonRef;
use fancy_regex::Expr;

use crate::error::{Error, ErrorCode, Result};
use crate::limits::{REGEX_FRAMES_MAX, REGEX_PATTERN_BYTES_MAX};
use linear::Linear;
use machine::Machine;
use program::Program;

pub(crate) use work::WorkScope;

/// A compiled regular expression that remembers how it was written.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    pattern: Box<str>,
    flags: Flags,
    matcher: Matcher,
}

#[derive(Debug, Clone)]
enum Matcher {
    Linear(Linear),
    Backtracking(Arc<Program>),
}

/// What compiling takes, in steps of matching, beyond what depends on its size.
const COMPILE_STEPS: u64 = 1000;
/// For each byte of the pattern.
const COMPILE_STEPS_PER_BYTE: u64 = 50;
/// For each state or instruction.
const COMPILE_STEPS_PER_STATE: u64 = 50;

/// What setting up the backtracking machine takes.
const MACHINE_STEPS: u64 = 24;

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

    /// The pattern with the flags that its parser knows.
    fn prefix(self, pattern: &str) -> String {
        let flags = [
            (self.ignore_case, "(?i)"),
            (self.multi_line, "(?m)"),
            (self.dot_all, "(?s)"),
        ];
        let set = flags.iter().filter(|(is_set, _)| *is_set);
        let mut out: String = set.map(|(_, flag)| *flag).collect();
        out.push_str(pattern);
        out
    }
}

impl Matcher {
    fn compile(pattern: &str) -> Result<Self> {
        let refused = |why: &dyn std::fmt::Display| {
            Error::invalid(format!("the regular expression cannot be compiled: {why}"))
        };
        let tree = Expr::parse_tree(pattern).map_err(|error| refused(&error))?;
        match linear::hir_of(&tree.expr) {
            Some(hir) => Ok(Self::Linear(
                Linear::new(&hir).map_err(|error| refused(&error))?,
            )),
            None => match Program::new(&tree.expr) {
                Ok(program) => Ok(Self::Backtracking(Arc::new(program))),
                Err(refusal) => Err(refused(&refusal)),
            },
        }
    }

    /// The steps that compiling has taken.
    fn compile_cost(&self, pattern: &str) -> u64 {
        let size = match self {
            Self::Linear(linear) => linear.size(),
            Self::Backtracking(program) => program.instructions.len() as u64,
        };
        (pattern.len() as u64)
            .saturating_mul(COMPILE_STEPS_PER_BYTE)
            .saturating_add(size.saturating_mul(COMPILE_STEPS_PER_STATE))
            .saturating_add(COMPILE_STEPS)
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
        let compiled = Self {
            pattern: pattern.into(),
            flags,
            matcher: Matcher::compile(
                &flags.prefix(&translate::translate(pattern, flags.extended)),
            )?,
        };
        if work::spend(compiled.matcher.compile_cost(pattern)) {
            Ok(compiled)
        } else {
            Err(compiled.exceeded())
        }
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
        match &self.matcher {
            Matcher::Linear(linear) if work::spend(linear.cost(text)) => Ok(linear.is_match(text)),
            Matcher::Linear(_) => Err(self.exceeded()),
            Matcher::Backtracking(program) => {
                let left = work::left();
                let mut machine = Machine::new(program, text, left.saturating_sub(MACHINE_STEPS));
                let found = machine.is_match();
                work::spend(left - machine.steps_left());
                found.map_err(|_| self.exceeded())
            }
        }
    }

    fn exceeded(&self) -> Error {
        Error::new(
            ErrorCode::ExceedBudget,
            format!(
                "the regular expressions take more than {} steps or {REGEX_FRAMES_MAX} open alternatives \
                 on one document or in one write, at last '{}'; simplify it, begin it with '^', or use it on shorter texts",
                work::max(),
                self.pattern.chars().take(60).collect::<String>()
            ),
        )
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
