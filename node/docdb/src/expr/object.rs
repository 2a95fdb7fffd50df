//! Operators on objects.

use bson::raw::CString;
use bson::{RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};

use super::array::elements;
use super::function::{Function, MANY, list, named};
use super::{Budget, Computed, is_null, refused, wrong_type};
use crate::error::Result;
use crate::value::malformed;

const SET: &[(&str, bool)] = &[("field", false), ("input", false), ("value", true)];

pub(super) static FUNCTIONS: [Function; 7] = [
    list("$mergeObjects", 0, MANY, merge),
    list("$objectToArray", 1, 1, object_to_array),
    list("$arrayToObject", 1, 1, array_to_object),
    named("$setField", SET, set_field),
    named(
        "$unsetField",
        &[("field", false), ("input", false)],
        set_field,
    ),
    list("$bsonSize", 1, 1, size),
    list("$binarySize", 1, 1, size),
];

/// An object under construction: a field keeps the place where it came first and the value that came last.
#[derive(Default)]
struct Fields<'a> {
    fields: Vec<(CString, RawBsonRef<'a>)>,
}

impl<'a> Fields<'a> {
    fn put(&mut self, name: CString, value: RawBsonRef<'a>) {
        match self.fields.iter_mut().find(|(known, _)| *known == name) {
            Some(field) => field.1 = value,
            None => self.fields.push((name, value)),
        }
    }

    fn into_object(self) -> Computed {
        Some(RawBson::Document(RawDocumentBuf::from_iter(self.fields)))
    }
}

fn merge(name: &'static str, operands: &[Computed], budget: &mut Budget) -> Result<Computed> {
    let mut merged = Fields::default();
    let mut sources: Vec<&RawDocument> = Vec::new();
    for operand in operands {
        match operand {
            Some(RawBson::Document(document)) => sources.push(document),
            Some(RawBson::Array(array)) if operands.len() == 1 => {
                for element in array {
                    match element.map_err(malformed)? {
                        RawBsonRef::Document(document) => sources.push(document),
                        RawBsonRef::Null => {}
                        other => return Err(wrong_type(name, "objects", &Some(other.into()))),
                    }
                }
            }
            value if is_null(value) => {}
            value => return Err(wrong_type(name, "objects", value)),
        }
    }
    for document in sources {
        for element in document.iter() {
            let (key, value) = element.map_err(malformed)?;
            budget.take(1 + merged.fields.len() as u64 / 8, 0)?;
            merged.put(key.to_owned(), value);
        }
    }
    Ok(merged.into_object())
}

fn object_to_array(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let document = match &operands[0] {
        Some(RawBson::Document(document)) => document,
        value if is_null(value) => return Ok(Some(RawBson::Null)),
        value => return Err(wrong_type(name, "an object", value)),
    };
    let mut pairs = RawArrayBuf::new();
    for element in document.iter() {
        let (key, value) = element.map_err(malformed)?;
        let mut pair = rawdoc! { "k": key.as_str() };
        pair.append(bson::raw::cstr!("v"), value);
        pairs.push(pair);
    }
    Ok(Some(RawBson::Array(pairs)))
}

/// From `[{k: .., v: ..}, ..]` or `[[k, v], ..]`.
fn array_to_object(
    name: &'static str,
    operands: &[Computed],
    budget: &mut Budget,
) -> Result<Computed> {
    let Some(pairs) = elements(name, &operands[0])? else {
        return Ok(Some(RawBson::Null));
    };
    let malformed_pair = || {
        refused(
            "'$arrayToObject' takes [{k: name, v: value}, ..] or [[name, value], ..]".to_owned(),
        )
    };
    let mut fields = Fields::default();
    for pair in pairs {
        let (key, value) = match pair {
            RawBsonRef::Document(pair) => (
                pair.get("k").map_err(malformed)?,
                pair.get("v").map_err(malformed)?,
            ),
            RawBsonRef::Array(pair) => (
                pair.get(0).map_err(malformed)?,
                pair.get(1).map_err(malformed)?,
            ),
            _ => return Err(malformed_pair()),
        };
        let (Some(RawBsonRef::String(key)), Some(value)) = (key, value) else {
            return Err(malformed_pair());
        };
        budget.take(1 + fields.fields.len() as u64 / 8, 0)?;
        fields.put(CString::try_from(key).map_err(|_| malformed_pair())?, value);
    }
    Ok(fields.into_object())
}

/// `$setField` and `$unsetField`: a value that is missing removes the field.
fn set_field(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let Some(RawBson::String(field)) = &operands[0] else {
        return Err(wrong_type(name, "a name as 'field'", &operands[0]));
    };
    let field = CString::try_from(field.as_str())
        .map_err(|_| refused(format!("'{name}' takes a name without U+0000")))?;
    let document = match &operands[1] {
        Some(RawBson::Document(document)) => document,
        value if is_null(value) => return Ok(Some(RawBson::Null)),
        value => return Err(wrong_type(name, "an object as 'input'", value)),
    };
    let value = operands.get(2).and_then(Option::as_ref);
    let mut changed = RawDocumentBuf::new();
    let mut is_set = false;
    for element in document.iter() {
        let (key, old) = element.map_err(malformed)?;
        if key != &*field {
            changed.append(key, old);
        } else if let Some(value) = value {
            changed.append(key, value.as_raw_bson_ref());
            is_set = true;
        }
    }
    if let Some(value) = value.filter(|_| !is_set) {
        changed.append(&field, value.as_raw_bson_ref());
    }
    Ok(Some(RawBson::Document(changed)))
}

/// `$bsonSize` of an object, `$binarySize` of a string or of binary data.
fn size(name: &'static str, operands: &[Computed], _: &mut Budget) -> Result<Computed> {
    let bytes = match &operands[0] {
        value if is_null(value) => return Ok(Some(RawBson::Null)),
        Some(RawBson::Document(document)) if name == "$bsonSize" => document.as_bytes().len(),
        Some(RawBson::String(text)) if name == "$binarySize" => text.len(),
        Some(RawBson::Binary(binary)) if name == "$binarySize" => binary.bytes.len(),
        value if name == "$bsonSize" => return Err(wrong_type(name, "an object", value)),
        value => return Err(wrong_type(name, "a string or binary data", value)),
    };
    Ok(Some(RawBson::Int32(bytes as i32)))
}
