//! The operators that are plain functions of their operands, found by name.

use super::{
    Budget, Computed, arithmetic, array, convert, date, date_arithmetic, date_parts, date_text,
    object, set, text, transcendental,
};
use crate::error::Result;

/// An operator that needs only its operands' values.
#[derive(Debug)]
pub(super) struct Function {
    /// With the dollar.
    pub(super) name: &'static str,
    pub(super) operands: Operands,
    pub(super) call: Call,
}

/// Computes a result; operands that were left out are missing.
pub(super) type Call = fn(&'static str, &[Computed], &mut Budget) -> Result<Computed>;

/// How an operator takes its operands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operands {
    /// A list of at least and at most so many; a single one may stand without a list.
    List(usize, usize),
    /// An object with these members, each with whether it may be left out.
    Named(&'static [(&'static str, bool)]),
    /// One date, alone or as `{date: .., timezone: ..}`.
    Date,
}

/// Any number of operands.
pub(super) const MANY: usize = usize::MAX;

pub(super) const fn list(name: &'static str, least: usize, most: usize, call: Call) -> Function {
    Function {
        name,
        operands: Operands::List(least, most),
        call,
    }
}

pub(super) const fn named(
    name: &'static str,
    members: &'static [(&'static str, bool)],
    call: Call,
) -> Function {
    Function {
        name,
        operands: Operands::Named(members),
        call,
    }
}

pub(super) fn find(name: &str) -> Option<&'static Function> {
    let tables: [&'static [Function]; 11] = [
        &arithmetic::FUNCTIONS,
        &text::FUNCTIONS,
        &array::FUNCTIONS,
        &set::FUNCTIONS,
        &object::FUNCTIONS,
        &convert::FUNCTIONS,
        &date::FUNCTIONS,
        &date_parts::FUNCTIONS,
        &date_text::FUNCTIONS,
        &date_arithmetic::FUNCTIONS,
        &transcendental::FUNCTIONS,
    ];
    tables
        .into_iter()
        .flatten()
        .find(|function| function.name == name)
}
