//! Classes of characters.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

/// A character in all its cases.
pub(super) fn folded(each: char) -> ClassUnicode {
    let mut class = ClassUnicode::new([ClassUnicodeRange::new(each, each)]);
    class.case_fold_simple();
    class
}

/// The class as it is written; `None` when it is none.
pub(super) fn class_of(written: &str, ignore_case: bool) -> Option<ClassUnicode> {
    let hir = ParserBuilder::new()
        .case_insensitive(ignore_case)
        .build()
        .parse(written)
        .ok()?;
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        HirKind::Class(Class::Bytes(class)) => class.to_unicode_class(),
        // A class of one character.
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).ok()?;
            let mut chars = text.chars();
            let (only, None) = (chars.next()?, chars.next()) else {
                return None;
            };
            Some(ClassUnicode::new([ClassUnicodeRange::new(only, only)]))
        }
        _ => None,
    }
}

/// Characters, quick to look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chars {
    /// One bit for each ASCII character.
    ascii: u128,
    /// Ascending, without overlap.
    ranges: Box<[(char, char)]>,
}

impl From<ClassUnicode> for Chars {
    fn from(class: ClassUnicode) -> Self {
        let ranges: Box<[_]> = class
            .ranges()
            .iter()
            .map(|range| (range.start(), range.end()))
            .collect();
        let has = |at: u8| {
            let at = char::from(at);
            ranges
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&at))
        };
        Self {
            ascii: (0..128)
                .filter(|at| has(*at))
                .fold(0, |all, at| all | 1 << at),
            ranges,
        }
    }
}

impl Chars {
    pub(super) fn contains(&self, each: char) -> bool {
        if each.is_ascii() {
            return self.ascii >> u32::from(each) & 1 == 1;
        }
        let after = self.ranges.partition_point(|(first, _)| *first <= each);
        after > 0 && each <= self.ranges[after - 1].1
    }
}
