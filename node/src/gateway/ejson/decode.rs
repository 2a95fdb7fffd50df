//! EJSON text to BSON bytes in one pass.
//!
//! Each value is written where it ends up; the type byte before it is filled in afterwards. An
//! object that turns out to be the notation of a value is overwritten by that value.

use std::fmt;
use std::ops::Range;

use bson::spec::ElementType;
use bson::{RawDocument, RawDocumentBuf};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

use super::Error;
use super::wrapper::{self, Scalar};
use crate::gateway::body::check_depth;

/// What decoding needs to know besides the text.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// What server dates resolve to, the same for a whole request.
    pub now_unix_ms: i64,
    /// Nesting of arrays and objects.
    pub depth_max: usize,
    /// Size of the result.
    pub bytes_max: usize,
}

/// A decoded text. Scalars at the root are of no use to any action and are refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Root {
    /// An object.
    Document(RawDocumentBuf),
    /// An array, as the document of its elements: names are `0`, `1`, ...
    Array(RawDocumentBuf),
}

/// Decodes one object or array.
pub fn decode(text: &str, context: &Context) -> Result<Root, Error> {
    check_depth(text, context.depth_max).map_err(|error| Error(error.to_string()))?;
    let mut writer = Writer {
        out: Vec::with_capacity(text.len()),
        names: Vec::new(),
        context: *context,
    };
    let mut json = serde_json::Deserializer::from_str(text);
    let kind = Value {
        writer: &mut writer,
    }
    .deserialize(&mut json)
    .and_then(|kind| json.end().map(|()| kind))
    .map_err(|error| Error(error.to_string()))?;
    let document =
        |bytes| RawDocumentBuf::from_bytes(bytes).map_err(|error| Error(error.to_string()));
    match kind {
        ElementType::EmbeddedDocument => document(writer.out).map(Root::Document),
        ElementType::Array => document(writer.out).map(Root::Array),
        _ => Err(Error("expected an object or an array".into())),
    }
}

struct Writer {
    out: Vec<u8>,
    /// Where the names of all open objects stand in `out`.
    names: Vec<Range<usize>>,
    context: Context,
}

impl Writer {
    fn check_size<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.out.len() > self.context.bytes_max {
            return Err(E::custom(format!(
                "the value is larger than {} bytes",
                self.context.bytes_max
            )));
        }
        Ok(())
    }

    /// Opens a document or array and returns where it starts.
    fn open(&mut self) -> usize {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        start
    }

    fn close<E: serde::de::Error>(&mut self, start: usize) -> Result<(), E> {
        self.out.push(0);
        self.check_size()?;
        let length = i32::try_from(self.out.len() - start).map_err(E::custom)?;
        self.out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    /// Writes a placeholder type and the element's name; returns where the type belongs.
    fn begin_element<E: serde::de::Error>(&mut self, name: &str) -> Result<usize, E> {
        if name.contains('\0') {
            return Err(E::custom(
                "a name contains the character U+0000: rename the field",
            ));
        }
        let type_at = self.out.len();
        self.out.push(0);
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(0);
        Ok(type_at)
    }

    fn string(&mut self, text: &str) -> ElementType {
        let length = i32::try_from(text.len() + 1).unwrap_or(i32::MAX);
        self.out.extend_from_slice(&length.to_le_bytes());
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(0);
        ElementType::String
    }

    fn scalar(&mut self, scalar: &Scalar) -> ElementType {
        let out = &mut self.out;
        match scalar {
            Scalar::Int32(value) => out.extend_from_slice(&value.to_le_bytes()),
            Scalar::Int64(value) | Scalar::DateTime(value) => {
                out.extend_from_slice(&value.to_le_bytes());
            }
            Scalar::Double(value) => out.extend_from_slice(&value.to_le_bytes()),
            Scalar::Decimal128(bytes) => out.extend_from_slice(bytes),
            Scalar::ObjectId(bytes) => out.extend_from_slice(bytes),
            Scalar::Timestamp { time, increment } => {
                out.extend_from_slice(&increment.to_le_bytes());
                out.extend_from_slice(&time.to_le_bytes());
            }
            Scalar::Binary { subtype, bytes } => {
                let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
                out.extend_from_slice(&length.to_le_bytes());
                out.push(*subtype);
                out.extend_from_slice(bytes);
            }
            Scalar::Regex { pattern, options } => {
                for text in [pattern, options] {
                    out.extend_from_slice(text.as_bytes());
                    out.push(0);
                }
            }
            Scalar::MinKey | Scalar::MaxKey => {}
        }
        scalar.element_type()
    }

    /// Refuses a name that stands twice among the names from `mark` on, and forgets them.
    fn check_names<E: serde::de::Error>(&mut self, mark: usize) -> Result<(), E> {
        let out = &self.out;
        let names = &mut self.names[mark..];
        names.sort_unstable_by(|left, right| out[left.clone()].cmp(&out[right.clone()]));
        for pair in names.windows(2) {
            if out[pair[0].clone()] == out[pair[1].clone()] {
                let name = String::from_utf8_lossy(&out[pair[0].clone()]);
                return Err(E::custom(format!(
                    "the name `{name}` stands twice in one object"
                )));
            }
        }
        self.names.truncate(mark);
        Ok(())
    }
}

/// Writes one value at the end of the output and returns its type.
struct Value<'w> {
    writer: &'w mut Writer,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ElementType;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<ElementType, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ElementType;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<ElementType, E> {
        Ok(ElementType::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<ElementType, E> {
        self.writer.out.push(u8::from(value));
        Ok(ElementType::Boolean)
    }

    fn visit_i64<E>(self, value: i64) -> Result<ElementType, E> {
        let scalar = i32::try_from(value).map_or(Scalar::Int64(value), Scalar::Int32);
        Ok(self.writer.scalar(&scalar))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<ElementType, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<ElementType, E> {
        Ok(self.writer.scalar(&Scalar::Double(value)))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ElementType, E> {
        let kind = self.writer.string(text);
        self.writer.check_size()?;
        Ok(kind)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<ElementType, A::Error> {
        let writer = self.writer;
        let start = writer.open();
        let mut digits = String::new();
        for index in 0_usize.. {
            digits.clear();
            fmt::Write::write_fmt(&mut digits, format_args!("{index}"))
                .map_err(A::Error::custom)?;
            let before = writer.out.len();
            let type_at = writer.begin_element(&digits)?;
            let Some(kind) = elements.next_element_seed(Value {
                writer: &mut *writer,
            })?
            else {
                writer.out.truncate(before);
                break;
            };
            writer.out[type_at] = kind as u8;
            writer.check_size()?;
        }
        writer.close(start)?;
        Ok(ElementType::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<ElementType, A::Error> {
        let writer = self.writer;
        let start = writer.open();
        let mark = writer.names.len();
        while let Some(type_at) = members.next_key_seed(Name {
            writer: &mut *writer,
        })? {
            let kind = members.next_value_seed(Value {
                writer: &mut *writer,
            })?;
            writer.out[type_at] = kind as u8;
            writer.check_size()?;
        }
        writer.close(start)?;
        writer.check_names(mark)?;
        if writer.out.get(start + 5) != Some(&b'$') {
            return Ok(ElementType::EmbeddedDocument);
        }
        let object = RawDocument::from_bytes(&writer.out[start..]).map_err(A::Error::custom)?;
        let Some(scalar) =
            wrapper::resolve(object, writer.context.now_unix_ms).map_err(A::Error::custom)?
        else {
            return Ok(ElementType::EmbeddedDocument);
        };
        writer.out.truncate(start);
        Ok(writer.scalar(&scalar))
    }
}

/// Writes an element's name and returns where its type belongs.
struct Name<'w> {
    writer: &'w mut Writer,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = usize;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<usize, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<usize, E> {
        let type_at = self.writer.begin_element(name)?;
        self.writer
            .names
            .push(type_at + 1..type_at + 1 + name.len());
        Ok(type_at)
    }
}
