//! How many characters an expression consumes.

use fancy_regex::Expr;

/// The least and the most characters; `usize::MAX`: without bound.
pub(super) fn lengths(expr: &Expr) -> (usize, usize) {
    match expr {
        Expr::Any { .. } | Expr::Delegate { .. } => (1, 1),
        Expr::Literal { val, .. } => {
            let chars = val.chars().count();
            (chars, chars)
        }
        Expr::GeneralNewline { .. } => (1, 2),
        Expr::Concat(parts) => parts.iter().map(lengths).fold((0, 0), |sum, part| {
            (sum.0.saturating_add(part.0), sum.1.saturating_add(part.1))
        }),
        Expr::Alt(parts) => either(parts.iter()),
        Expr::Group(inner) => lengths(inner),
        Expr::AtomicGroup(inner) => lengths(inner),
        Expr::Repeat { child, lo, hi, .. } => {
            let (min, max) = lengths(child);
            (min.saturating_mul(*lo), max.saturating_mul(*hi))
        }
        Expr::Conditional {
            condition,
            true_branch,
            false_branch,
        } => {
            let (min, max) = either([true_branch.as_ref(), false_branch].into_iter());
            (min, max.saturating_add(lengths(condition).1))
        }
        Expr::Empty
        | Expr::Assertion(_)
        | Expr::LookAround(..)
        | Expr::KeepOut
        | Expr::ContinueFromPreviousMatchEnd
        | Expr::BackrefExistsCondition { .. } => (0, 0),
        // References, and what the compiler refuses.
        _ => (0, usize::MAX),
    }
}

fn either<'a>(parts: impl Iterator<Item = &'a Expr>) -> (usize, usize) {
    parts
        .map(lengths)
        .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
        .unwrap_or_default()
}
