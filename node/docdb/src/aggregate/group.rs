//! `$group`: a hash table of groups, spilled in the order of their keys when it becomes too large.
//!
//! Groups are keyed by the encoded value that documents are grouped by, so `1` and `1.0` are one group and
//! a missing field counts as null. Each spilled run holds the states of the groups that its part of the
//! input has; runs are merged group by group.

use std::collections::HashMap;

use bson::{RawBson, RawBsonRef, RawDocument};

use super::accumulator::{Accumulation, States};
use super::chain::{Chain, Flow, Operator};
use super::resources::{Memory, Resources};
use super::runs::{RunWriter, Runs};
use super::stage::{Group, GroupKey};
use crate::error::{Error, ErrorCode, Result};
use crate::expr::Value;
use crate::filter::WorkScope;
use crate::limits::SPILL_RUN_BYTES_MIN;
use crate::value::writer::Writer;
use crate::value::{compare, encode_value, malformed};

pub(super) struct Grouping<'p> {
    spec: &'p Group,
    resources: &'p Resources<'p>,
    memory: Memory<'p>,
    /// Positions in `groups` by key.
    table: HashMap<Box<[u8]>, usize>,
    groups: Vec<(RawBson, States)>,
    runs: Runs<'p>,
    /// The key of the document at hand.
    key: Vec<u8>,
}

impl<'p> Grouping<'p> {
    pub(super) fn new(spec: &'p Group, resources: &'p Resources<'p>) -> Self {
        Self {
            spec,
            resources,
            memory: Memory::new(resources),
            table: HashMap::new(),
            groups: Vec::new(),
            runs: Runs::new(resources),
            key: Vec::new(),
        }
    }

    /// The position of the group that `self.key` belongs to.
    fn new_group(&mut self, id: RawBsonRef<'_>) -> usize {
        let at = self.groups.len();
        // Key and id hold the value, each with what a table and a vector add.
        self.memory
            .grow(2 * self.key.len() + 96 + States::size(&self.spec.fields));
        self.table.insert(self.key.as_slice().into(), at);
        self.groups
            .push((id.into(), States::new(&self.spec.fields)));
        at
    }

    fn spill(&mut self) -> Result<()> {
        let mut order: Vec<(&[u8], usize)> =
            self.table.iter().map(|(key, at)| (&**key, *at)).collect();
        order.sort_unstable();
        let mut run = RunWriter::new(self.resources)?;
        let mut out = Writer::default();
        for (key, at) in order {
            let (id, states) = &self.groups[at];
            out.begin();
            out.value(b"", id.as_raw_bson_ref())?;
            states.write_states(&mut out)?;
            run.record(key, out.finish()?.as_bytes())?;
        }
        self.runs.add(run)?;
        self.table.clear();
        self.groups.clear();
        self.memory.clear();
        Ok(())
    }

    fn emit_merged(&mut self, next: &mut Chain<'_, '_>) -> Result<()> {
        let mut merge = std::mem::replace(&mut self.runs, Runs::new(self.resources)).merge()?;
        let mut out = Writer::default();
        let mut open: Option<(Vec<u8>, RawBson, States)> = None;
        let mut count = 0;
        loop {
            let record = merge.next()?;
            let is_same = match (&open, &record) {
                (Some((known, ..)), Some((key, _))) => known == key,
                _ => false,
            };
            if !is_same {
                if let Some((_, id, states)) = open.take() {
                    let id = id.as_raw_bson_ref();
                    if emit(id, &states, &self.spec.fields, &mut out, next)? == Flow::Enough {
                        return Ok(());
                    }
                }
                if record.is_none() {
                    return Ok(());
                }
            }
            let Some((key, payload)) = record else {
                return Ok(());
            };
            let written = RawDocument::from_bytes(payload).map_err(malformed)?;
            if open.is_none() {
                let id = written.iter().next().transpose().map_err(malformed)?;
                let id = id.map_or(RawBson::Null, |(_, id)| id.into());
                open = Some((key.to_vec(), id, States::new(&self.spec.fields)));
            }
            if let Some((.., states)) = &mut open {
                states.merge(written)?;
            }
            count += 1;
            self.resources.budget.check_time(count)?;
        }
    }
}

fn emit(
    id: RawBsonRef<'_>,
    states: &States,
    fields: &[Accumulation],
    out: &mut Writer,
    next: &mut Chain<'_, '_>,
) -> Result<Flow> {
    out.begin();
    out.value(b"_id", id)?;
    states.write(fields, out)?;
    next.push(out.finish()?)
}

/// The value that a document is grouped by.
fn key_of<'a>(key: &'a GroupKey, document: &'a RawDocument) -> Result<Value<'a>> {
    match key {
        GroupKey::Value(expression) => expression.value(document),
        GroupKey::Bucket {
            by,
            boundaries,
            default,
        } => {
            let value = by.value(document)?;
            let sought = value.get().unwrap_or(RawBsonRef::Undefined);
            let above = boundaries
                .partition_point(|bound| compare(bound.as_raw_bson_ref(), sought).is_le());
            let found = match above {
                0 => None,
                above if above == boundaries.len() => None,
                above => boundaries.get(above - 1),
            };
            match found.or(default.as_ref()) {
                Some(bound) => Ok(Value::Borrowed(bound.as_raw_bson_ref())),
                None => Err(Error::new(
                    ErrorCode::RequestFailed,
                    "a value lies outside the boundaries of '$bucket'; give it a default",
                )),
            }
        }
    }
}

impl Operator for Grouping<'_> {
    fn push(&mut self, document: &RawDocument, _: &mut Chain<'_, '_>) -> Result<Flow> {
        let _shared = WorkScope::open();
        let spec = self.spec;
        let id = key_of(&spec.key, document)?;
        let id = id.get().unwrap_or(RawBsonRef::Null);
        self.key.clear();
        encode_value(id, false, &mut self.key)?;
        let at = match self.table.get(self.key.as_slice()) {
            Some(at) => *at,
            None => self.new_group(id),
        };
        let grown = self.groups[at].1.add(&spec.fields, document)?;
        let least = SPILL_RUN_BYTES_MIN.min(self.resources.budget.aggregate_memory_bytes_max);
        if !self.memory.grow(grown) && self.memory.bytes() >= least {
            self.spill()?;
        }
        Ok(Flow::More)
    }

    fn finish(&mut self, next: &mut Chain<'_, '_>) -> Result<()> {
        if !self.runs.is_empty() {
            if !self.groups.is_empty() {
                self.spill()?;
            }
            return self.emit_merged(next);
        }
        let mut out = Writer::default();
        for (count, (id, states)) in (0..).zip(std::mem::take(&mut self.groups)) {
            self.resources.budget.check_time(count)?;
            let id = id.as_raw_bson_ref();
            if emit(id, &states, &self.spec.fields, &mut out, next)? == Flow::Enough {
                break;
            }
        }
        self.table.clear();
        self.memory.clear();
        Ok(())
    }
}
