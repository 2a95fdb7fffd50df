//! `$graphLookup`: all documents that can be reached over a connection from field to field.
//!
//! Breadth first: one query for each depth, for all values that the depth before led to. A document is
//! taken once, at the depth where it is met first.

use std::collections::HashSet;

use bson::{RawBson, RawBsonRef, RawDocument};

use super::chain::{Chain, Flow, Operator, Sink};
use super::edit;
use super::engine::Engine;
use super::facet::Gathered;
use super::lookup::equality;
use super::resources::Memory;
use super::stage::GraphLookup;
use crate::catalog::Collection;
use crate::error::Result;
use crate::limits::{GRAPH_LOOKUP_DEPTH_MAX, GRAPH_LOOKUP_DOCUMENTS_MAX, IN_VALUES_MAX};
use crate::query::exceeded;
use crate::value::writer::Writer;
use crate::value::{Path, encode_value, index_values};

pub(super) struct Exploring<'p> {
    spec: &'p GraphLookup,
    engine: &'p Engine<'p>,
    collection: &'p Collection,
    gathered: Gathered<'p>,
    made: Writer,
}

impl<'p> Exploring<'p> {
    pub(super) fn new(spec: &'p GraphLookup, engine: &'p Engine<'p>) -> Result<Self> {
        Ok(Self {
            spec,
            engine,
            collection: engine.collection(&spec.from)?,
            gathered: Gathered::new(Memory::new(engine.resources())),
            made: Writer::default(),
        })
    }

    fn explore(&mut self, document: &RawDocument) -> Result<()> {
        self.gathered.clear();
        let mut visit = Visit {
            spec: self.spec,
            gathered: &mut self.gathered,
            memory: Memory::new(self.engine.resources()),
            made: Writer::default(),
            depth: 0,
            reached: HashSet::new(),
            known: HashSet::new(),
            frontier: Vec::new(),
        };
        match self.spec.start_with.value(document)?.get() {
            Some(RawBsonRef::Array(values)) => {
                for value in values {
                    visit.lead_to(value.map_err(crate::value::malformed)?)?;
                }
            }
            Some(value) => visit.lead_to(value)?,
            None => {}
        }
        while !visit.frontier.is_empty() {
            if self.spec.depth_max.is_some_and(|most| visit.depth > most) {
                break;
            }
            if visit.depth > GRAPH_LOOKUP_DEPTH_MAX {
                let limit =
                    format!("the limit of {GRAPH_LOOKUP_DEPTH_MAX} levels of '$graphLookup'");
                return Err(exceeded(&limit, "set 'maxDepth'"));
            }
            let frontier = std::mem::take(&mut visit.frontier);
            for values in frontier.chunks(IN_VALUES_MAX) {
                let values: Vec<_> = values.iter().map(RawBson::as_raw_bson_ref).collect();
                let filter = equality(&self.spec.connect_to, &values)?;
                let filter = filter.and(self.spec.restrict.clone());
                self.engine
                    .run(self.collection, &[], Some(filter), &mut visit)?;
            }
            visit.depth += 1;
        }
        Ok(())
    }
}

/// What has been met so far on the way from one document.
struct Visit<'v, 'p> {
    spec: &'p GraphLookup,
    gathered: &'v mut Gathered<'p>,
    memory: Memory<'p>,
    made: Writer,
    depth: u64,
    /// Encoded `_id`s.
    reached: HashSet<Vec<u8>>,
    /// Encoded values that were looked for or will be.
    known: HashSet<Vec<u8>>,
    frontier: Vec<RawBson>,
}

impl Visit<'_, '_> {
    fn lead_to(&mut self, value: RawBsonRef<'_>) -> Result<()> {
        let mut key = Vec::new();
        encode_value(value, false, &mut key)?;
        let bytes = 2 * key.len() + 96;
        if self.known.insert(key) {
            self.memory.grow_or_refuse(bytes)?;
            self.frontier.push(value.into());
        }
        Ok(())
    }
}

fn id_of(document: &RawDocument, path: &Path) -> Result<Vec<u8>> {
    let mut key = Vec::new();
    for value in index_values(document, path)?.values {
        encode_value(value.unwrap_or(RawBsonRef::Null), false, &mut key)?;
    }
    Ok(key)
}

impl Sink for Visit<'_, '_> {
    fn take(&mut self, document: &RawDocument) -> Result<Flow> {
        let id = id_of(document, &Path::parse("_id")?)?;
        let bytes = id.len() + 64;
        if !self.reached.insert(id) {
            return Ok(Flow::More);
        }
        self.memory.grow_or_refuse(bytes)?;
        if self.reached.len() > GRAPH_LOOKUP_DOCUMENTS_MAX {
            let limit =
                format!("the limit of {GRAPH_LOOKUP_DOCUMENTS_MAX} documents of '$graphLookup'");
            return Err(exceeded(
                &limit,
                "set 'maxDepth' or 'restrictSearchWithMatch'",
            ));
        }
        for value in index_values(document, &self.spec.connect_from)?.values {
            // A document without the field, or with an empty array, leads nowhere.
            if let Some(value) = value.filter(|value| *value != RawBsonRef::Undefined) {
                self.lead_to(value)?;
            }
        }
        match &self.spec.depth_field {
            None => self.gathered.take(document),
            Some(path) => {
                let depth = RawBsonRef::Int64(self.depth as i64);
                self.made.begin();
                edit::set(document, path, &mut self.made, &mut |out, name| {
                    out.value(name, depth)
                })?;
                self.gathered.take(self.made.finish()?)
            }
        }
    }
}

impl Operator for Exploring<'_> {
    fn push(&mut self, document: &RawDocument, next: &mut Chain<'_, '_>) -> Result<Flow> {
        self.explore(document)?;
        self.made.begin();
        let gathered = &self.gathered;
        edit::set(
            document,
            &self.spec.target,
            &mut self.made,
            &mut |out, name| gathered.write(name, out),
        )?;
        next.push(self.made.finish()?)
    }
}
