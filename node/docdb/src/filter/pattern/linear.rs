//! Patterns without look-around and references: run by an engine whose time is at worst text times states.
//!
//! Which of its strategies it picks, and so how long it really takes, depends on what it has seen before. What is
//! charged is the worst of them.

use fancy_regex::{Assertion, Expr};
use regex_automata::meta::{Config, Regex};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_syntax::hir::{Class, Dot, Hir, HirKind, Look, Repetition};

use super::class::{class_of, folded};
use super::program::Refusal;
use crate::limits::REGEX_COMPILED_BYTES_MAX;

/// What starting a search costs, in steps.
const START_STEPS: u64 = 24;

/// Ranges of a class that are looked through in the time of one step.
const RANGES_PER_STEP: usize = 8;

/// Most ranges that may be looked through for one byte: those of one position in the encoding of a character.
const RANGES_PER_BYTE_MAX: usize = 128;

#[derive(Debug, Clone)]
pub(super) struct Linear {
    regex: Regex,
    steps_per_byte: u64,
    size: u64,
}

impl Linear {
    pub(super) fn new(hir: &Hir) -> Result<Self, Refusal> {
        let config = Config::new()
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(REGEX_COMPILED_BYTES_MAX))
            .hybrid_cache_capacity(REGEX_COMPILED_BYTES_MAX);
        let regex = Regex::builder()
            .configure(config)
            .build_from_hir(hir)
            .map_err(|error| match error.size_limit() {
                Some(_) => Refusal::TooLarge,
                None => Refusal::Unsupported(error.to_string()),
            })?;
        let steps_per_byte = match hir.kind() {
            HirKind::Literal(_) => 1,
            _ => states(hir),
        };
        Ok(Self {
            regex,
            steps_per_byte,
            size: size(hir),
        })
    }

    /// About how many states were made.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The steps of one search at worst.
    pub(super) fn cost(&self, text: &str) -> u64 {
        (text.len() as u64)
            .saturating_add(1)
            .saturating_mul(self.steps_per_byte)
            .saturating_add(START_STEPS)
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// How many states can be alive at once, a class counted by what a look into it costs: of the states of one class
/// only those of one character are alive at once.
fn states(hir: &Hir) -> u64 {
    count(hir, &|ranges| {
        1 + (ranges.min(RANGES_PER_BYTE_MAX) / RANGES_PER_STEP) as u64
    })
}

/// About how many states there are.
fn size(hir: &Hir) -> u64 {
    count(hir, &|ranges| 1 + ranges as u64)
}

/// What is counted for each class of so many ranges, and one for anything else, repetitions written out.
fn count(hir: &Hir, class: &dyn Fn(usize) -> u64) -> u64 {
    let sum = |parts: &[Hir]| {
        parts
            .iter()
            .fold(0, |sum: u64, part| sum.saturating_add(count(part, class)))
    };
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(Class::Unicode(ranges)) => class(ranges.ranges().len()),
        HirKind::Class(Class::Bytes(ranges)) => class(ranges.ranges().len()),
        HirKind::Repetition(Repetition { min, max, sub, .. }) => {
            let copies = max.unwrap_or((*min).max(1));
            u64::from(copies).saturating_mul(count(sub, class).saturating_add(1))
        }
        HirKind::Capture(capture) => count(&capture.sub, class),
        HirKind::Concat(parts) => sum(parts),
        HirKind::Alternation(parts) => sum(parts).saturating_add(parts.len() as u64),
    }
}

/// The pattern in the engine's form; `None` when it cannot run it.
pub(super) fn hir_of(expr: &Expr) -> Option<Hir> {
    let all = |parts: &[Expr]| parts.iter().map(hir_of).collect::<Option<Vec<_>>>();
    Some(match expr {
        Expr::Empty => Hir::empty(),
        Expr::Any { newline, crlf } => Hir::dot(match (newline, crlf) {
            (true, _) => Dot::AnyChar,
            (false, false) => Dot::AnyCharExceptLF,
            (false, true) => Dot::AnyCharExceptCRLF,
        }),
        Expr::Literal { val, casei: false } => Hir::literal(val.as_bytes()),
        Expr::Literal { val, casei: true } => Hir::concat(
            val.chars()
                .map(|each| Hir::class(Class::Unicode(folded(each))))
                .collect(),
        ),
        Expr::Delegate { inner, casei } => Hir::class(Class::Unicode(class_of(inner, *casei)?)),
        Expr::Assertion(assertion) => Hir::look(look(*assertion)?),
        Expr::Concat(parts) => Hir::concat(all(parts)?),
        Expr::Alt(parts) => Hir::alternation(all(parts)?),
        Expr::Group(inner) => hir_of(inner)?,
        Expr::Repeat {
            child,
            lo,
            hi,
            greedy,
        } => Hir::repetition(Repetition {
            min: u32::try_from(*lo).ok()?,
            max: match hi {
                &usize::MAX => None,
                hi => Some(u32::try_from(*hi).ok()?),
            },
            greedy: *greedy,
            sub: Box::new(hir_of(child)?),
        }),
        _ => return None,
    })
}

fn look(assertion: Assertion) -> Option<Look> {
    Some(match assertion {
        Assertion::StartText => Look::Start,
        Assertion::EndText => Look::End,
        Assertion::StartLine { crlf: false } => Look::StartLF,
        Assertion::StartLine { crlf: true } => Look::StartCRLF,
        Assertion::EndLine { crlf: false } => Look::EndLF,
        Assertion::EndLine { crlf: true } => Look::EndCRLF,
        Assertion::WordBoundary => Look::WordAscii,
        Assertion::NotWordBoundary => Look::WordAsciiNegate,
        Assertion::LeftWordBoundary => Look::WordStartAscii,
        Assertion::RightWordBoundary => Look::WordEndAscii,
        Assertion::LeftWordHalfBoundary => Look::WordStartHalfAscii,
        Assertion::RightWordHalfBoundary => Look::WordEndHalfAscii,
        Assertion::EndTextIgnoreTrailingNewlines { .. } | Assertion::StartLineOniguruma { .. } => {
            return None;
        }
    })
}
