//! Accumulators: what a group makes of the values of its documents.
//!
//! The state of each can be written down and merged, so that groups can be spilled: merging the states
//! of two parts of the input, in order, gives the state of the whole.

use std::collections::HashSet;

use bson::spec::BinarySubtype;
use bson::{RawBinaryRef, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::error::{Error, ErrorCode, Result};
use crate::expr::{Computed, Expression};
use crate::limits::DOCUMENT_BYTES_MAX;
use crate::value::element::elements;
use crate::value::sum::{Deviation, Sum};
use crate::value::writer::{Writer, index_name};
use crate::value::{compare, encode_value, malformed, type_name};

/// One field of a group.
#[derive(Debug, Clone)]
pub(super) struct Accumulation {
    pub(super) name: Box<str>,
    pub(super) operator: Accumulator,
    pub(super) argument: Expression,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accumulator {
    Sum,
    Average,
    Min,
    Max,
    First,
    Last,
    Push,
    AddToSet,
    DeviationOfAll,
    DeviationOfSample,
    MergeObjects,
}

impl Accumulator {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "$sum" => Self::Sum,
            "$avg" => Self::Average,
            "$min" => Self::Min,
            "$max" => Self::Max,
            "$first" => Self::First,
            "$last" => Self::Last,
            "$push" => Self::Push,
            "$addToSet" => Self::AddToSet,
            "$stdDevPop" => Self::DeviationOfAll,
            "$stdDevSamp" => Self::DeviationOfSample,
            "$mergeObjects" => Self::MergeObjects,
            _ => return None,
        })
    }
}

/// What one accumulator has gathered so far.
pub(super) enum State {
    Sum(Sum),
    Average(Sum),
    Min(Option<RawBson>),
    Max(Option<RawBson>),
    First(Option<Computed>),
    Last(Computed),
    Push(Array),
    AddToSet(Array, HashSet<Box<[u8]>>),
    Deviation(Deviation, bool),
    Merge(RawDocumentBuf),
}

/// An array under construction.
#[derive(Default)]
pub(super) struct Array {
    /// The elements, without what stands around them.
    elements: Writer,
    count: usize,
}

impl Array {
    fn push(&mut self, value: RawBsonRef<'_>) -> Result<usize> {
        let before = self.elements.len();
        self.elements
            .value(index_name(self.count, &mut [0; 20]), value)?;
        self.count += 1;
        if self.elements.len() > DOCUMENT_BYTES_MAX {
            return Err(too_large());
        }
        Ok(self.elements.len() - before)
    }

    /// Appends the array as an element.
    fn write(&self, name: &[u8], out: &mut Writer) -> Result<()> {
        let start = out.open_array(name);
        out.raw(self.elements.bytes());
        out.close(start)
    }
}

fn too_large() -> Error {
    Error::new(
        ErrorCode::ExceedSize,
        format!(
            "a group gathers more than {DOCUMENT_BYTES_MAX} bytes in one array; gather fewer fields or count instead"
        ),
    )
}

fn broken() -> Error {
    Error::internal("a spilled group cannot be read back")
}

/// Bytes of a value outside of its state.
fn size_of_value(value: &RawBson) -> usize {
    match value {
        RawBson::String(text) => text.len(),
        RawBson::Document(document) => document.as_bytes().len(),
        RawBson::Array(array) => array.as_bytes().len(),
        RawBson::Binary(binary) => binary.bytes.len(),
        _ => 0,
    }
}

impl State {
    pub(super) fn new(accumulator: Accumulator) -> Self {
        match accumulator {
            Accumulator::Sum => Self::Sum(Sum::default()),
            Accumulator::Average => Self::Average(Sum::default()),
            Accumulator::Min => Self::Min(None),
            Accumulator::Max => Self::Max(None),
            Accumulator::First => Self::First(None),
            Accumulator::Last => Self::Last(None),
            Accumulator::Push => Self::Push(Array::default()),
            Accumulator::AddToSet => Self::AddToSet(Array::default(), HashSet::new()),
            Accumulator::DeviationOfAll => Self::Deviation(Deviation::default(), false),
            Accumulator::DeviationOfSample => Self::Deviation(Deviation::default(), true),
            Accumulator::MergeObjects => Self::Merge(RawDocumentBuf::new()),
        }
    }

    /// Takes the value of one document; returns by how many bytes the state has grown.
    pub(super) fn add(&mut self, value: Option<RawBsonRef<'_>>) -> Result<usize> {
        match self {
            Self::Sum(sum) | Self::Average(sum) => {
                if let Some(value) = value {
                    sum.add(value);
                }
                Ok(0)
            }
            Self::Deviation(deviation, _) => {
                if let Some(value) = value {
                    deviation.add(value);
                }
                Ok(0)
            }
            Self::Min(least) => Ok(extreme(least, value, std::cmp::Ordering::is_lt)),
            Self::Max(most) => Ok(extreme(most, value, std::cmp::Ordering::is_gt)),
            Self::First(Some(_)) => Ok(0),
            Self::First(first) => {
                let value: Computed = value.map(Into::into);
                let grown = value.as_ref().map_or(0, size_of_value);
                *first = Some(value);
                Ok(grown)
            }
            Self::Last(last) => {
                let before = last.as_ref().map_or(0, size_of_value);
                *last = value.map(Into::into);
                Ok(last
                    .as_ref()
                    .map_or(0, size_of_value)
                    .saturating_sub(before))
            }
            Self::Push(array) => value.map_or(Ok(0), |value| array.push(value)),
            Self::AddToSet(array, known) => {
                value.map_or(Ok(0), |value| insert(array, known, value))
            }
            Self::Merge(merged) => merge_object(merged, value),
        }
    }

    /// Appends the result as a field.
    pub(super) fn write(&self, name: &[u8], out: &mut Writer) -> Result<()> {
        let optional = |value: Option<f64>| value.map_or(RawBsonRef::Null, RawBsonRef::Double);
        match self {
            Self::Sum(sum) => out.value(name, sum.total().as_raw_bson_ref()),
            Self::Average(sum) => out.value(name, optional(sum.mean())),
            Self::Deviation(deviation, is_sample) => {
                out.value(name, optional(deviation.value(*is_sample)))
            }
            Self::Min(value) | Self::Max(value) | Self::Last(value) | Self::First(Some(value)) => {
                let value = value.as_ref().map(RawBson::as_raw_bson_ref);
                out.value(name, value.unwrap_or(RawBsonRef::Null))
            }
            Self::First(None) => out.value(name, RawBsonRef::Null),
            Self::Push(array) | Self::AddToSet(array, _) => array.write(name, out),
            Self::Merge(merged) => out.value(name, RawBsonRef::Document(merged)),
        }
    }

    /// Appends everything about the state as an element; undefined stands for nothing.
    pub(super) fn write_state(&self, out: &mut Writer) -> Result<()> {
        let binary = |out: &mut Writer, bytes: &[u8]| {
            let value = RawBsonRef::Binary(RawBinaryRef {
                subtype: BinarySubtype::Generic,
                bytes,
            });
            out.value(b"", value)
        };
        match self {
            Self::Sum(sum) | Self::Average(sum) => binary(out, &sum.to_bytes()),
            Self::Deviation(deviation, _) => binary(out, &deviation.to_bytes()),
            Self::Min(value) | Self::Max(value) | Self::Last(value) => {
                let value = value.as_ref().map(RawBson::as_raw_bson_ref);
                out.value(b"", value.unwrap_or(RawBsonRef::Undefined))
            }
            Self::First(value) => {
                let value = value.as_ref().and_then(Option::as_ref);
                let value = value.map(RawBson::as_raw_bson_ref);
                out.value(b"", value.unwrap_or(RawBsonRef::Undefined))
            }
            Self::Push(_) | Self::AddToSet(..) | Self::Merge(_) => self.write(b"", out),
        }
    }

    /// Takes in the state of a later part of the input.
    pub(super) fn merge(&mut self, state: RawBsonRef<'_>) -> Result<()> {
        let value = (state != RawBsonRef::Undefined).then_some(state);
        match (self, state) {
            (Self::Sum(sum) | Self::Average(sum), RawBsonRef::Binary(binary)) => {
                sum.merge(binary.bytes).ok_or_else(broken)
            }
            (Self::Deviation(deviation, _), RawBsonRef::Binary(binary)) => {
                deviation.merge(binary.bytes).ok_or_else(broken)
            }
            (Self::Push(array), RawBsonRef::Array(values)) => {
                for value in values {
                    array.push(value.map_err(malformed)?)?;
                }
                Ok(())
            }
            (Self::AddToSet(array, known), RawBsonRef::Array(values)) => {
                for value in values {
                    insert(array, known, value.map_err(malformed)?)?;
                }
                Ok(())
            }
            (
                state @ (Self::Min(_)
                | Self::Max(_)
                | Self::First(_)
                | Self::Last(_)
                | Self::Merge(_)),
                _,
            ) => state.add(value).map(|_| ()),
            _ => Err(broken()),
        }
    }
}

/// Null and missing do not count. Returns by how many bytes the kept value has grown.
fn extreme(
    kept: &mut Option<RawBson>,
    value: Option<RawBsonRef<'_>>,
    is_better: fn(std::cmp::Ordering) -> bool,
) -> usize {
    let value = match value {
        None | Some(RawBsonRef::Null | RawBsonRef::Undefined) => return 0,
        Some(value) => value,
    };
    if kept
        .as_ref()
        .is_some_and(|kept| !is_better(compare(value, kept.as_raw_bson_ref())))
    {
        return 0;
    }
    let before = kept.as_ref().map_or(0, size_of_value);
    let value: RawBson = value.into();
    let grown = size_of_value(&value).saturating_sub(before);
    *kept = Some(value);
    grown
}

fn insert(
    array: &mut Array,
    known: &mut HashSet<Box<[u8]>>,
    value: RawBsonRef<'_>,
) -> Result<usize> {
    let mut key = Vec::with_capacity(16);
    encode_value(value, false, &mut key)?;
    if known.contains(key.as_slice()) {
        return Ok(0);
    }
    let bytes = key.len() + size_of::<Box<[u8]>>();
    known.insert(key.into());
    Ok(array.push(value)? + bytes)
}

/// Fields keep the place where they came first and the value that came last.
fn merge_object(merged: &mut RawDocumentBuf, value: Option<RawBsonRef<'_>>) -> Result<usize> {
    let object = match value {
        None | Some(RawBsonRef::Null | RawBsonRef::Undefined) => return Ok(0),
        Some(RawBsonRef::Document(object)) => object,
        Some(other) => {
            return Err(Error::new(
                ErrorCode::RequestFailed,
                format!(
                    "accumulator '$mergeObjects' takes objects, not {}",
                    type_name(other)
                ),
            ));
        }
    };
    let before = merged.as_bytes().len();
    let mut out = Writer::default();
    out.begin();
    for element in elements(merged) {
        let element = element?;
        match find(object, element.name)? {
            Some(newer) => out.raw(newer),
            None => out.raw(element.whole),
        }
    }
    for element in elements(object) {
        let element = element?;
        if find(merged, element.name)?.is_none() {
            out.raw(element.whole);
        }
    }
    *merged = out.into_document()?;
    Ok(merged.as_bytes().len().saturating_sub(before))
}

fn find<'a>(document: &'a RawDocument, name: &[u8]) -> Result<Option<&'a [u8]>> {
    for element in elements(document) {
        let element = element?;
        if element.name == name {
            return Ok(Some(element.whole));
        }
    }
    Ok(None)
}

/// The states of one group, in the order of its accumulations.
pub(super) struct States(Vec<State>);

impl States {
    pub(super) fn new(fields: &[Accumulation]) -> Self {
        Self(
            fields
                .iter()
                .map(|field| State::new(field.operator))
                .collect(),
        )
    }

    /// Takes one document; returns by how many bytes the states have grown.
    pub(super) fn add(&mut self, fields: &[Accumulation], document: &RawDocument) -> Result<usize> {
        let mut grown = 0;
        for (state, field) in self.0.iter_mut().zip(fields) {
            grown += state.add(field.argument.value(document)?.get())?;
        }
        Ok(grown)
    }

    /// Appends the results.
    pub(super) fn write(&self, fields: &[Accumulation], out: &mut Writer) -> Result<()> {
        for (state, field) in self.0.iter().zip(fields) {
            state.write(field.name.as_bytes(), out)?;
        }
        Ok(())
    }

    /// Appends the states themselves.
    pub(super) fn write_states(&self, out: &mut Writer) -> Result<()> {
        self.0.iter().try_for_each(|state| state.write_state(out))
    }

    /// Takes in what `write_states` wrote: the elements of `document` behind the first.
    pub(super) fn merge(&mut self, document: &RawDocument) -> Result<()> {
        let mut written = document.iter().skip(1);
        for state in &mut self.0 {
            let (_, value) = written.next().ok_or_else(broken)?.map_err(malformed)?;
            state.merge(value)?;
        }
        Ok(())
    }

    /// Bytes of one set of fresh states.
    pub(super) fn size(fields: &[Accumulation]) -> usize {
        size_of::<Self>() + fields.len() * size_of::<State>()
    }
}
