//! Order-preserving bytes for BSON values: `memcmp` of two encodings is `compare` of the values.
//!
//! Version 1. An encoding is one rank byte and a payload that says where it ends, so no encoding is a
//! prefix of another and values can be put one after the other. Equal values encode equal (`1` and
//! `1.0`), hence a number's storage width is lost. A descending encoding has every byte inverted.
//! These bytes are on disk in every index: they never change under a version.
//!
//! | value | payload |
//! |---|---|
//! | number | the double at or below it, sign bit flipped (all bits when negative), big-endian; from 2^53 on two more bytes: the distance to it. NaN: zeros |
//! | string, regex pattern and flags | bytes with `00` as `00 ff`, ended by `00 00` |
//! | object | for each field rank, name as a string, payload; ended by `00` |
//! | array | for each element its encoding; ended by `00` |
//! | binData | length, 4 bytes; subtype; bytes |
//! | date, timestamp | 8 bytes big-endian, dates with the sign bit flipped |

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, RawBsonRef, Regex, Timestamp};

use super::compare::{Number, rank, rank_of};
use super::{malformed, type_name};
use crate::error::{Error, ErrorCode, Result};
use crate::limits::NESTING_DEPTH_MAX;

/// Version of the encoding, recorded with each index.
pub const KEY_ENCODING_VERSION: u8 = 1;

/// From here on (2^53) doubles are sparser than integers.
const SPARSE_FROM: f64 = 9_007_199_254_740_992.0;

const SIGN_BIT: u64 = 1 << 63;

/// Appends the encoding of `value` to `out`; on error `out` is as before.
pub fn encode_value(value: RawBsonRef<'_>, descending: bool, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    let encoded = encode_at(value, 0, out);
    if encoded.is_err() {
        out.truncate(start);
    } else if descending {
        invert(&mut out[start..]);
    }
    encoded
}

/// The encoding of one value, ascending.
pub fn encoded(value: RawBsonRef<'_>) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(16);
    encode_value(value, false, &mut out)?;
    Ok(out)
}

/// Length in bytes of the first encoded value.
pub fn skip_value(bytes: &[u8], descending: bool) -> Result<usize> {
    let mut reader = Reader::new(bytes, descending);
    let rank = reader.byte()?;
    reader.skip(rank, 0)?;
    Ok(reader.position)
}

/// The first encoded value and its length. Integers come back as the narrowest integer type, also
/// where a double was encoded.
pub fn decode_value(bytes: &[u8], descending: bool) -> Result<(Bson, usize)> {
    let mut reader = Reader::new(bytes, descending);
    let rank = reader.byte()?;
    let value = reader.value(rank, 0)?;
    Ok((value, reader.position))
}

/// The smallest byte string above all strings that begin with `prefix`; `None` when there is none.
pub fn prefix_successor(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < 0xff {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}

/// The bytes of a descending encoding from those of an ascending one, and back.
pub(crate) fn invert(bytes: &mut [u8]) {
    for byte in bytes {
        *byte = !*byte;
    }
}

/// How the encodings of all strings that begin with `text` begin.
pub(crate) fn string_prefix(text: &str) -> Vec<u8> {
    let mut out = vec![rank::STRING];
    escape(text.as_bytes(), &mut out);
    out
}

fn encode_at(value: RawBsonRef<'_>, depth: usize, out: &mut Vec<u8>) -> Result<()> {
    out.push(rank_of(value));
    encode_payload(value, depth, out)
}

fn encode_payload(value: RawBsonRef<'_>, depth: usize, out: &mut Vec<u8>) -> Result<()> {
    use RawBsonRef as V;
    if depth > NESTING_DEPTH_MAX {
        return Err(too_deep());
    }
    match value {
        V::Null | V::Undefined | V::MinKey | V::MaxKey => {}
        V::Int32(v) => encode_number(Number::Integer(i64::from(v)), out),
        V::Int64(v) => encode_number(Number::Integer(v), out),
        V::Double(v) => encode_number(Number::Double(v), out),
        V::String(v) => encode_text(v, out),
        V::Document(document) => {
            for element in document.iter() {
                let (name, value) = element.map_err(malformed)?;
                out.push(rank_of(value));
                encode_text(name.as_str(), out);
                encode_payload(value, depth + 1, out)?;
            }
            out.push(rank::END);
        }
        V::Array(array) => {
            for element in array {
                encode_at(element.map_err(malformed)?, depth + 1, out)?;
            }
            out.push(rank::END);
        }
        V::Binary(v) => {
            let length = u32::try_from(v.bytes.len()).map_err(Error::internal)?;
            out.extend_from_slice(&length.to_be_bytes());
            out.push(v.subtype.into());
            out.extend_from_slice(v.bytes);
        }
        V::ObjectId(v) => out.extend_from_slice(&v.bytes()),
        V::Boolean(v) => out.push(u8::from(v)),
        V::DateTime(v) => {
            out.extend_from_slice(&(v.timestamp_millis() as u64 ^ SIGN_BIT).to_be_bytes());
        }
        V::Timestamp(v) => {
            out.extend_from_slice(&v.time.to_be_bytes());
            out.extend_from_slice(&v.increment.to_be_bytes());
        }
        V::RegularExpression(v) => {
            encode_text(v.pattern.as_str(), out);
            encode_text(v.options.as_str(), out);
        }
        V::Decimal128(_)
        | V::Symbol(_)
        | V::DbPointer(_)
        | V::JavaScriptCode(_)
        | V::JavaScriptCodeWithScope(_) => {
            return Err(Error::invalid(format!(
                "a value of type {} cannot be indexed or sorted",
                type_name(value)
            )));
        }
    }
    Ok(())
}

fn encode_number(number: Number, out: &mut Vec<u8>) {
    let (double, distance) = match number {
        Number::Double(v) => (v, 0),
        Number::Integer(v) => {
            let nearest = v as f64;
            let below = if nearest as i128 > i128::from(v) {
                nearest.next_down()
            } else {
                nearest
            };
            // At most 1023: the gap between doubles below 2^63 is 1024.
            (below, (i128::from(v) - below as i128) as u16)
        }
    };
    out.extend_from_slice(&sortable_bits(double).to_be_bytes());
    if double.abs() >= SPARSE_FROM {
        out.extend_from_slice(&distance.to_be_bytes());
    }
}

/// Bits whose unsigned order is the order of doubles; NaN first, both zeros equal.
fn sortable_bits(v: f64) -> u64 {
    if v.is_nan() {
        return 0;
    }
    let bits = if v == 0.0 { 0 } else { v.to_bits() };
    if bits & SIGN_BIT == 0 {
        bits | SIGN_BIT
    } else {
        !bits
    }
}

fn double_from_sortable(bits: u64) -> f64 {
    match bits {
        0 => f64::NAN,
        bits if bits & SIGN_BIT == 0 => f64::from_bits(!bits),
        bits => f64::from_bits(bits & !SIGN_BIT),
    }
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    escape(text.as_bytes(), out);
    out.extend_from_slice(&[0, 0]);
}

fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    let mut pieces = bytes.split(|byte| *byte == 0);
    out.extend_from_slice(pieces.next().unwrap_or_default());
    for piece in pieces {
        out.extend_from_slice(&[0, 0xff]);
        out.extend_from_slice(piece);
    }
}

fn too_deep() -> Error {
    Error::invalid(format!(
        "nesting is deeper than {NESTING_DEPTH_MAX} levels; flatten the value"
    ))
}

/// Reads encodings of either direction.
struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    mask: u8,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], descending: bool) -> Self {
        Self {
            bytes,
            position: 0,
            mask: if descending { 0xff } else { 0 },
        }
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self
            .position
            .checked_add(length)
            .filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| corrupt("it ends early"))?;
        let slice = &self.bytes[self.position..end];
        self.position = end;
        Ok(slice)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.slice(1)?[0] ^ self.mask)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mask = self.mask;
        let slice = self.slice(N)?;
        Ok(std::array::from_fn(|i| slice[i] ^ mask))
    }

    /// Calls `take` with each byte of an escaped string.
    fn text_bytes(&mut self, mut take: impl FnMut(u8)) -> Result<()> {
        loop {
            match self.byte()? {
                0 => match self.byte()? {
                    0 => return Ok(()),
                    0xff => take(0),
                    _ => return Err(corrupt("a zero byte is not escaped")),
                },
                byte => take(byte),
            }
        }
    }

    fn text(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        self.text_bytes(|byte| bytes.push(byte))?;
        String::from_utf8(bytes).map_err(|_| corrupt("a string is not utf-8"))
    }

    fn cstring(&mut self) -> Result<bson::raw::CString> {
        self.text()?
            .try_into()
            .map_err(|_| corrupt("a regular expression holds a zero byte"))
    }

    fn number(&mut self) -> Result<Bson> {
        let double = double_from_sortable(u64::from_be_bytes(self.array()?));
        let distance = if double.abs() >= SPARSE_FROM {
            u16::from_be_bytes(self.array()?)
        } else {
            0
        };
        let Some(below) = Number::Double(double).as_exact_i64() else {
            return Ok(Bson::Double(double));
        };
        let whole = below
            .checked_add(i64::from(distance))
            .ok_or_else(|| corrupt("a number is out of range"))?;
        Ok(i32::try_from(whole).map_or(Bson::Int64(whole), Bson::Int32))
    }

    fn skip(&mut self, rank: u8, depth: usize) -> Result<()> {
        if depth > NESTING_DEPTH_MAX {
            return Err(too_deep());
        }
        match rank {
            rank::MIN_KEY | rank::UNDEFINED | rank::NULL | rank::MAX_KEY => {}
            rank::NUMBER => {
                self.number()?;
            }
            rank::STRING => self.text_bytes(|_| {})?,
            rank::OBJECT => loop {
                match self.byte()? {
                    rank::END => break,
                    rank => {
                        self.text_bytes(|_| {})?;
                        self.skip(rank, depth + 1)?;
                    }
                }
            },
            rank::ARRAY => loop {
                match self.byte()? {
                    rank::END => break,
                    rank => self.skip(rank, depth + 1)?,
                }
            },
            rank::BINARY => {
                let length = u32::from_be_bytes(self.array()?) as usize;
                self.slice(length.saturating_add(1))?;
            }
            rank::OBJECT_ID => {
                self.slice(12)?;
            }
            rank::BOOLEAN => {
                self.slice(1)?;
            }
            rank::DATE | rank::TIMESTAMP => {
                self.slice(8)?;
            }
            rank::REGEX => {
                self.text_bytes(|_| {})?;
                self.text_bytes(|_| {})?;
            }
            _ => return Err(corrupt("its type byte is unknown")),
        }
        Ok(())
    }

    fn value(&mut self, rank: u8, depth: usize) -> Result<Bson> {
        if depth > NESTING_DEPTH_MAX {
            return Err(too_deep());
        }
        Ok(match rank {
            rank::MIN_KEY => Bson::MinKey,
            rank::UNDEFINED => Bson::Undefined,
            rank::NULL => Bson::Null,
            rank::MAX_KEY => Bson::MaxKey,
            rank::NUMBER => self.number()?,
            rank::STRING => Bson::String(self.text()?),
            rank::OBJECT => {
                let mut document = bson::Document::new();
                loop {
                    match self.byte()? {
                        rank::END => break Bson::Document(document),
                        rank => {
                            let name = self.text()?;
                            let value = self.value(rank, depth + 1)?;
                            document.insert(name, value);
                        }
                    }
                }
            }
            rank::ARRAY => {
                let mut array = Vec::new();
                loop {
                    match self.byte()? {
                        rank::END => break Bson::Array(array),
                        rank => array.push(self.value(rank, depth + 1)?),
                    }
                }
            }
            rank::BINARY => {
                let length = u32::from_be_bytes(self.array()?) as usize;
                let subtype = BinarySubtype::from(self.byte()?);
                let mut bytes = self.slice(length)?.to_vec();
                if self.mask != 0 {
                    invert(&mut bytes);
                }
                Bson::Binary(Binary { subtype, bytes })
            }
            rank::OBJECT_ID => Bson::ObjectId(ObjectId::from_bytes(self.array()?)),
            rank::BOOLEAN => Bson::Boolean(self.byte()? != 0),
            rank::DATE => {
                let millis = (u64::from_be_bytes(self.array()?) ^ SIGN_BIT) as i64;
                Bson::DateTime(DateTime::from_millis(millis))
            }
            rank::TIMESTAMP => {
                let time = u32::from_be_bytes(self.array()?);
                let increment = u32::from_be_bytes(self.array()?);
                Bson::Timestamp(Timestamp { time, increment })
            }
            rank::REGEX => Bson::RegularExpression(Regex {
                pattern: self.cstring()?,
                options: self.cstring()?,
            }),
            _ => return Err(corrupt("its type byte is unknown")),
        })
    }
}

fn corrupt(what: &str) -> Error {
    Error::new(
        ErrorCode::Internal,
        format!("an encoded key is damaged: {what}; rebuild the index"),
    )
}
