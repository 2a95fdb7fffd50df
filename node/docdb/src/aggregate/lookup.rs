//! `$lookup`: documents of another collection of the same environment, as an array of each document.
//!
//! A join on equal fields goes through an index where there is one. Without one the other collection is read
//! once into a hash table, as long as that fits into memory; otherwise it is read for each document. A
//! pipeline that does not refer to the document at hand is carried out once.

use std::collections::HashMap;

use bson::raw::cstr;
use bson::{RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};

use super::chain::{Chain, Flow, Operator, Sink};
use super::edit;
use super::engine::Engine;
use super::facet::Gathered;
use super::parse::Parser;
use super::resources::Memory;
use super::stage::{Lookup, LookupPipeline, Stage};
use crate::catalog::Collection;
use crate::error::Result;
use crate::expr::{Bindings, Computed};
use crate::filter::{Filter, WorkScope};
use crate::value::path::{Leaf, Visit, Walk};
use crate::value::writer::Writer;
use crate::value::{Path, encode_value, index_values};

pub(super) struct LookingUp<'p> {
    spec: &'p Lookup,
    engine: &'p Engine<'p>,
    collection: &'p Collection,
    gathered: Gathered<'p>,
    made: Writer,
    table: Table<'p>,
    /// The result is the same for all documents and has been gathered.
    is_settled: bool,
}

/// The other collection by the value of its join field.
enum Table<'p> {
    /// It has not been tried yet.
    Untried,
    /// There is an index, or it does not fit into memory, or there is more than a join.
    Unused,
    Built(HashTable<'p>),
}

struct HashTable<'p> {
    memory: Memory<'p>,
    documents: Vec<RawDocumentBuf>,
    by_value: HashMap<Box<[u8]>, Vec<u32>>,
    /// The table has grown over what memory allows.
    is_too_large: bool,
}

impl<'p> LookingUp<'p> {
    pub(super) fn new(spec: &'p Lookup, engine: &'p Engine<'p>) -> Result<Self> {
        let collection = engine.collection(&spec.from)?;
        let table = match &spec.join {
            Some((_, foreign)) if spec.pipeline.is_none() && !is_indexed(collection, foreign) => {
                Table::Untried
            }
            _ => Table::Unused,
        };
        Ok(Self {
            spec,
            engine,
            collection,
            gathered: Gathered::new(Memory::new(engine.resources())),
            made: Writer::default(),
            table,
            is_settled: false,
        })
    }

    fn gather(&mut self, document: &RawDocument) -> Result<()> {
        if self.is_settled {
            return Ok(());
        }
        self.gathered.clear();
        let Some((local, foreign)) = &self.spec.join else {
            if let Some(pipeline) = &self.spec.pipeline {
                self.is_settled = pipeline.constant.is_some();
                self.run_pipeline(document, pipeline, None)?;
            }
            return Ok(());
        };
        if let Table::Untried = self.table {
            self.table = self.build(foreign)?;
        }
        let values = local_values(document, local)?;
        if let Table::Built(table) = &self.table {
            return table.find(&values, &mut self.gathered);
        }
        let join = equality(foreign, &values)?;
        match &self.spec.pipeline {
            Some(pipeline) => self.run_pipeline(document, pipeline, Some(join)),
            None => self
                .engine
                .run(self.collection, &[], Some(join), &mut self.gathered),
        }
    }

    fn run_pipeline(
        &mut self,
        document: &RawDocument,
        pipeline: &LookupPipeline,
        join: Option<Filter>,
    ) -> Result<()> {
        let parsed;
        let stages: &[Stage] = match &pipeline.constant {
            Some(stages) => stages,
            None => {
                let mut variables: Vec<(String, Computed)> = pipeline.outer.clone();
                let shared = WorkScope::open();
                for (name, expression) in &pipeline.definitions {
                    variables.push((name.clone(), expression.evaluate(document)?));
                }
                drop(shared);
                let bindings = Bindings {
                    now_ms: self.engine.now_ms(),
                    variables: &variables,
                    parts: false,
                };
                let mut stages = Parser::new(bindings).pipeline(&pipeline.text)?;
                super::optimize::optimize(&mut stages);
                parsed = stages;
                &parsed
            }
        };
        self.engine
            .run(self.collection, stages, join, &mut self.gathered)
    }

    fn build(&self, foreign: &'p Path) -> Result<Table<'p>> {
        let mut table = HashTable {
            memory: Memory::new(self.engine.resources()),
            documents: Vec::new(),
            by_value: HashMap::new(),
            is_too_large: false,
        };
        let mut building = Building {
            table: &mut table,
            foreign,
        };
        self.engine.run(self.collection, &[], None, &mut building)?;
        Ok(if table.is_too_large {
            Table::Unused
        } else {
            Table::Built(table)
        })
    }
}

/// Whether equality of the field needs no scan, whatever the value.
fn is_indexed(collection: &Collection, path: &Path) -> bool {
    let path = path.as_str();
    path == "_id"
        || collection.indexes.iter().any(|index| {
            let first = index.spec.fields.first();
            let has_all = index.is_ready()
                && index.partial.is_none()
                && !index.options.sparse
                && index.geo_field().is_none();
            has_all && first.is_some_and(|field| field.path == path)
        })
}

/// The values to look for: those at the path, of an array its elements; null where there is none.
fn local_values<'a>(document: &'a RawDocument, path: &Path) -> Result<Vec<RawBsonRef<'a>>> {
    let values = index_values(document, path)?.values.into_iter();
    let mut values: Vec<_> = values
        .flatten()
        .filter(|value| !matches!(value, RawBsonRef::Undefined))
        .collect();
    if values.is_empty() {
        values.push(RawBsonRef::Null);
    }
    Ok(values)
}

/// A filter for documents whose field equals one of the values.
pub(super) fn equality(path: &Path, values: &[RawBsonRef<'_>]) -> Result<Filter> {
    let field = bson::raw::CString::try_from(path.as_str())
        .map_err(|_| crate::Error::invalid("a field path holds U+0000"))?;
    let mut filter = RawDocumentBuf::new();
    // In a list a regular expression would be a pattern; here it is a value.
    let patterns = values
        .iter()
        .any(|value| matches!(value, RawBsonRef::RegularExpression(_)));
    if let [only] = values {
        filter.append(&field, equals(*only));
    } else if patterns {
        let mut branches = RawArrayBuf::new();
        for value in values {
            let mut branch = RawDocumentBuf::new();
            branch.append(&field, equals(*value));
            branches.push(branch);
        }
        filter.append(cstr!("$or"), branches);
    } else {
        let list = RawArrayBuf::from_iter(values.iter().copied());
        filter.append(&field, rawdoc! { "$in": list });
    }
    Filter::parse_with(&filter, &Bindings::default())
}

fn equals(value: RawBsonRef<'_>) -> RawDocumentBuf {
    let value: RawBson = value.into();
    rawdoc! { "$eq": value }
}

/// Reads a collection into a table.
struct Building<'b, 'p> {
    table: &'b mut HashTable<'p>,
    foreign: &'p Path,
}

impl Sink for Building<'_, '_> {
    fn take(&mut self, document: &RawDocument) -> Result<Flow> {
        let number = self.table.documents.len() as u32;
        let mut bytes = document.as_bytes().len() + 64;
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let mut walk = Walk::new(Leaf::Expand, |visit: Visit<'_>| {
            let mut key = Vec::new();
            encode_value(visit.value.unwrap_or(RawBsonRef::Null), false, &mut key)?;
            keys.push(key);
            Ok(false)
        });
        walk.document(document, self.foreign.parts())?;
        for key in keys {
            bytes += key.len() + 64;
            let numbers = self.table.by_value.entry(key.into()).or_default();
            if numbers.last() != Some(&number) {
                numbers.push(number);
            }
        }
        self.table.documents.push(document.to_owned());
        if self.table.memory.grow(bytes) {
            return Ok(Flow::More);
        }
        self.table.is_too_large = true;
        self.table.by_value.clear();
        self.table.documents.clear();
        self.table.memory.clear();
        Ok(Flow::Enough)
    }
}

impl HashTable<'_> {
    /// Gathers the documents with one of the values, in the order of the collection.
    fn find(&self, values: &[RawBsonRef<'_>], gathered: &mut Gathered<'_>) -> Result<()> {
        let mut numbers: Vec<u32> = Vec::new();
        let mut key = Vec::new();
        for value in values {
            key.clear();
            encode_value(*value, false, &mut key)?;
            numbers.extend(self.by_value.get(key.as_slice()).into_iter().flatten());
        }
        if values.len() > 1 {
            numbers.sort_unstable();
            numbers.dedup();
        }
        for number in numbers {
            if let Some(document) = self.documents.get(number as usize) {
                gathered.take(document)?;
            }
        }
        Ok(())
    }
}

impl Operator for LookingUp<'_> {
    fn push(&mut self, document: &RawDocument, next: &mut Chain<'_, '_>) -> Result<Flow> {
        self.gather(document)?;
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
