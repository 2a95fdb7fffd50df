//! A document under change: raw bytes, taken apart only along the paths that are changed.

use std::borrow::Cow;

use bson::raw::{CStr, CString};
use bson::{RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::error::{Error, ErrorCode, Result};
use crate::limits::ARRAY_PADDING_ELEMENTS_MAX;
use crate::value::path::Part;
use crate::value::{Path, malformed, type_name};

/// A value in any stage of being taken apart.
enum Slot<'a> {
    /// As it came.
    Raw(RawBsonRef<'a>),
    /// Put here by an operator.
    New(RawBson),
    Document(Vec<(Cow<'a, CStr>, Slot<'a>)>),
    Array(Vec<Slot<'a>>),
}

/// A whole document under change.
pub(super) struct Tree<'a> {
    root: Slot<'a>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(document: &'a RawDocument) -> Result<Self> {
        let mut root = Slot::Raw(RawBsonRef::Document(document));
        root.take_apart()?;
        Ok(Self { root })
    }

    /// The value at a path; array elements are reached by index only.
    pub(super) fn get(&self, parts: &[Part]) -> Option<RawBsonRef<'_>> {
        let mut raw = None;
        let mut slot = &self.root;
        for (i, part) in parts.iter().enumerate() {
            slot = match slot {
                Slot::Document(fields) => {
                    &fields
                        .iter()
                        .find(|(name, _)| name.as_str() == &*part.name)?
                        .1
                }
                Slot::Array(elements) => elements.get(part.index?)?,
                Slot::Raw(value) => {
                    raw = Some((*value, i));
                    break;
                }
                Slot::New(value) => {
                    raw = Some((value.as_raw_bson_ref(), i));
                    break;
                }
            };
        }
        let (mut value, from) = match (raw, slot) {
            (Some(found), _) => found,
            (None, Slot::Raw(value)) => (*value, parts.len()),
            (None, Slot::New(value)) => (value.as_raw_bson_ref(), parts.len()),
            // Overlapping changes are refused, so nothing below an operator's target is taken apart.
            (None, _) => return None,
        };
        for part in &parts[from..] {
            value = match value {
                RawBsonRef::Document(document) => document.get(&part.name).ok()??,
                RawBsonRef::Array(array) => array.into_iter().nth(part.index?)?.ok()?,
                _ => return None,
            };
        }
        Some(value)
    }

    /// Puts a value at a path, creating documents and padding arrays on the way.
    pub(super) fn set(&mut self, path: &Path, value: RawBson) -> Result<()> {
        let mut slot = &mut self.root;
        let mut holder = None;
        for part in path.parts() {
            slot.take_apart()?;
            slot = match slot {
                Slot::Document(fields) => {
                    let at = match fields
                        .iter()
                        .position(|(name, _)| name.as_str() == &*part.name)
                    {
                        Some(at) => at,
                        None => {
                            fields.push((
                                Cow::Owned(field_name(&part.name)?),
                                Slot::Document(Vec::new()),
                            ));
                            fields.len() - 1
                        }
                    };
                    &mut fields[at].1
                }
                Slot::Array(elements) => {
                    let Some(index) = part.index else {
                        return Err(blocked(path, part, holder, "an array"));
                    };
                    pad(path, elements, index)?;
                    &mut elements[index]
                }
                Slot::Raw(other) => {
                    return Err(blocked(
                        path,
                        part,
                        holder,
                        &format!("a {}", type_name(*other)),
                    ));
                }
                Slot::New(_) => return Err(blocked(path, part, holder, "a value")),
            };
            holder = Some(&*part.name);
        }
        *slot = Slot::New(value);
        Ok(())
    }

    /// Removes a field, or makes an array element null; nothing there is fine.
    pub(super) fn remove(&mut self, parts: &[Part]) -> Result<()> {
        if self.get(parts).is_none() {
            return Ok(());
        }
        let mut slot = &mut self.root;
        for (i, part) in parts.iter().enumerate() {
            let last = i + 1 == parts.len();
            slot.take_apart()?;
            slot = match (slot, part.index) {
                (Slot::Document(fields), _) => {
                    let Some(at) = fields
                        .iter()
                        .position(|(name, _)| name.as_str() == &*part.name)
                    else {
                        return Ok(());
                    };
                    if last {
                        fields.remove(at);
                        return Ok(());
                    }
                    &mut fields[at].1
                }
                (Slot::Array(elements), Some(index)) if index < elements.len() => {
                    if last {
                        elements[index] = Slot::New(RawBson::Null);
                        return Ok(());
                    }
                    &mut elements[index]
                }
                _ => return Ok(()),
            };
        }
        Ok(())
    }

    pub(super) fn into_document(self) -> Result<RawDocumentBuf> {
        match self.root {
            Slot::Document(fields) => Ok(document_of(fields)),
            _ => Err(Error::internal("the root of an update is not a document")),
        }
    }
}

impl Slot<'_> {
    /// Replaces a raw document or array by its members.
    fn take_apart(&mut self) -> Result<()> {
        match self {
            Self::Raw(RawBsonRef::Document(document)) => {
                let mut fields = Vec::new();
                for element in document.iter() {
                    let (key, value) = element.map_err(malformed)?;
                    fields.push((Cow::Borrowed(key), Self::Raw(value)));
                }
                *self = Self::Document(fields);
            }
            Self::Raw(RawBsonRef::Array(array)) => {
                let mut elements = Vec::new();
                for element in *array {
                    elements.push(Self::Raw(element.map_err(malformed)?));
                }
                *self = Self::Array(elements);
            }
            _ => {}
        }
        Ok(())
    }

    fn into_raw(self) -> RawBson {
        match self {
            Self::Raw(value) => value.into(),
            Self::New(value) => value,
            Self::Document(fields) => RawBson::Document(document_of(fields)),
            Self::Array(elements) => {
                let mut array = RawArrayBuf::new();
                for element in elements {
                    match element {
                        Self::Raw(value) => array.push(value),
                        other => array.push(other.into_raw()),
                    }
                }
                RawBson::Array(array)
            }
        }
    }
}

fn document_of(fields: Vec<(Cow<'_, CStr>, Slot<'_>)>) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    for (name, slot) in fields {
        match slot {
            Slot::Raw(value) => document.append(&*name, value),
            other => document.append(&*name, other.into_raw()),
        }
    }
    document
}

fn field_name(name: &str) -> Result<CString> {
    CString::try_from(name)
        .map_err(|_| Error::invalid(format!("field '{}' holds a zero byte", name.escape_debug())))
}

fn pad(path: &Path, elements: &mut Vec<Slot<'_>>, index: usize) -> Result<()> {
    if index < elements.len() {
        return Ok(());
    }
    if index - elements.len() > ARRAY_PADDING_ELEMENTS_MAX {
        return Err(Error::new(
            ErrorCode::RequestFailed,
            format!(
                "'{path}' would pad an array by more than {ARRAY_PADDING_ELEMENTS_MAX} elements; use a smaller index"
            ),
        ));
    }
    elements.resize_with(index, || Slot::New(RawBson::Null));
    elements.push(Slot::Document(Vec::new()));
    Ok(())
}

fn blocked(path: &Path, part: &Part, holder: Option<&str>, what: &str) -> Error {
    Error::new(
        ErrorCode::RequestFailed,
        format!(
            "'{path}': cannot create field '{}' in '{}', which is {what}; set the whole field instead",
            part.name,
            holder.unwrap_or_default()
        ),
    )
}

/// The value at a path of fields, for `$rename`, which does not reach into arrays.
pub(super) fn field<'a>(document: &'a RawDocument, path: &Path) -> Result<Option<RawBsonRef<'a>>> {
    let mut value = RawBsonRef::Document(document);
    for part in path.parts() {
        value = match value {
            RawBsonRef::Document(inner) => match inner.get(&part.name).map_err(malformed)? {
                Some(value) => value,
                None => return Ok(None),
            },
            RawBsonRef::Array(_) => {
                return Err(Error::new(
                    ErrorCode::RequestFailed,
                    format!(
                        "'$rename' cannot reach into an array at '{path}'; rename whole fields"
                    ),
                ));
            }
            _ => return Ok(None),
        };
    }
    Ok(Some(value))
}
