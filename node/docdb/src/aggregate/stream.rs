//! The operators that need only the document at hand, a count, or a sorter.

use bson::{RawBsonRef, RawDocument};

use super::chain::{Chain, Flow, Operator};
use super::resources::Resources;
use super::sorter::Sorter;
use crate::error::{Error, ErrorCode, Result};
use crate::expr::Expression;
use crate::filter::Filter;
use crate::sort::Sort;
use crate::value::arithmetic::integer_result;
use crate::value::writer::Writer;
use crate::value::{malformed, type_name};

pub(super) struct Matching<'p>(pub(super) &'p Filter);

impl Operator for Matching<'_> {
    fn push(&mut self, document: &RawDocument, next: &mut Chain<'_, '_>) -> Result<Flow> {
        if self.0.matches(document)? {
            next.push(document)
        } else {
            Ok(Flow::More)
        }
    }
}

/// How many documents may still pass.
pub(super) struct Limiting(pub(super) u64);

impl Operator for Limiting {
    fn push(&mut self, document: &RawDocument, next: &mut Chain<'_, '_>) -> Result<Flow> {
        if self.0 == 0 {
            return Ok(Flow::Enough);
        }
        self.0 -= 1;
        let flow = next.push(document)?;
        Ok(if self.0 == 0 { Flow::Enough } else { flow })
    }
}

/// How many documents are still left out.
pub(super) struct Skipping(pub(super) u64);

impl Operator for Skipping {
    fn push(&mut self, document: &RawDocument, next: &mut Chain<'_, '_>) -> Result<Flow> {
        if self.0 == 0 {
            return next.push(document);
        }
        self.0 -= 1;
        Ok(Flow::More)
    }
}

pub(super) struct Replacing<'p>(pub(super) &'p Expression);

impl Operator for Replacing<'_> {
    fn push(&mut self, document: &RawDocument, next: &mut Chain<'_, '_>) -> Result<Flow> {
        match self.0.value(document)?.get() {
            Some(RawBsonRef::Document(root)) => next.push(root),
            other => Err(Error::new(
                ErrorCode::RequestFailed,
                format!(
                    "'$replaceRoot' needs an object, not {}; use '$ifNull' or filter such documents out",
                    other.map_or("missing", type_name)
                ),
            )),
        }
    }
}

pub(super) struct Counting<'p> {
    field: &'p str,
    count: u64,
}

impl<'p> Counting<'p> {
    pub(super) fn new(field: &'p str) -> Self {
        Self { field, count: 0 }
    }

    /// Documents that need not be pushed to be counted.
    pub(super) fn with(field: &'p str, count: u64) -> Self {
        Self { field, count }
    }
}

impl Operator for Counting<'_> {
    fn push(&mut self, _: &RawDocument, _: &mut Chain<'_, '_>) -> Result<Flow> {
        self.count += 1;
        Ok(Flow::More)
    }

    fn finish(&mut self, next: &mut Chain<'_, '_>) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let mut out = Writer::default();
        out.begin();
        let count = integer_result(self.count as i64, true);
        out.value(self.field.as_bytes(), count.as_raw_bson_ref())?;
        next.push(out.finish()?).map(|_| ())
    }
}

/// `$sort`
pub(super) struct Sorting<'p> {
    sort: &'p Sort,
    resources: &'p Resources<'p>,
    sorter: Option<Sorter<'p>>,
}

impl<'p> Sorting<'p> {
    pub(super) fn new(sort: &'p Sort, limit: Option<u64>, resources: &'p Resources<'p>) -> Self {
        Self {
            sort,
            resources,
            sorter: Some(Sorter::new(resources, limit)),
        }
    }
}

impl Operator for Sorting<'_> {
    fn push(&mut self, document: &RawDocument, _: &mut Chain<'_, '_>) -> Result<Flow> {
        let key = self.sort.key(document)?;
        if let Some(sorter) = &mut self.sorter {
            sorter.push(&key, document.as_bytes())?;
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, next: &mut Chain<'_, '_>) -> Result<()> {
        emit_sorted(self.sorter.take(), self.resources, next)
    }
}

/// `$sample`: the documents with the smallest random keys, in the order of these keys.
pub(super) struct Sampling<'p> {
    resources: &'p Resources<'p>,
    sorter: Option<Sorter<'p>>,
    random: u64,
}

impl<'p> Sampling<'p> {
    pub(super) fn new(size: u64, seed: u64, resources: &'p Resources<'p>) -> Self {
        Self {
            resources,
            sorter: Some(Sorter::new(resources, Some(size))),
            random: seed,
        }
    }
}

impl Operator for Sampling<'_> {
    fn push(&mut self, document: &RawDocument, _: &mut Chain<'_, '_>) -> Result<Flow> {
        let key = next_random(&mut self.random);
        if let Some(sorter) = &mut self.sorter {
            sorter.push(&key.to_be_bytes(), document.as_bytes())?;
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, next: &mut Chain<'_, '_>) -> Result<()> {
        emit_sorted(self.sorter.take(), self.resources, next)
    }
}

/// SplitMix64: randomness comes from the request, what is drawn from it must be the same everywhere.
pub(super) fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn emit_sorted(
    sorter: Option<Sorter<'_>>,
    resources: &Resources<'_>,
    next: &mut Chain<'_, '_>,
) -> Result<()> {
    let Some(sorter) = sorter else {
        return Ok(());
    };
    let mut sorted = sorter.finish()?;
    let mut count = 0;
    while let Some(document) = sorted.next()? {
        count += 1;
        resources.budget.check_time(count)?;
        let document = RawDocument::from_bytes(document).map_err(malformed)?;
        if next.push(document)? == Flow::Enough {
            break;
        }
    }
    Ok(())
}
