//! JSON text straight to the bytes of BSON, without a tree in between: what an import spends most of its time on.
//!
//! Extended JSON inside is read by the `bson` crate, piece by piece. Whatever is unusual (a name that occurs twice, `$` in
//! the middle of an object) and whatever is wrong goes the long way, which also finds the reason.

use bson::spec::ElementType;
use bson::{Bson, doc};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::cli::ejson;

/// Objects with more names go the long way: here each name is compared with all before it.
const NAMES_MAX: usize = 64;

/// A document made of text.
#[derive(Debug)]
pub(super) struct Transcoded {
    pub(super) bytes: Vec<u8>,
    /// It holds nothing but values of types that JSON itself has, dates and ids of objects.
    pub(super) is_plain: bool,
}

/// The document that `text` describes in Extended JSON; the error is a reason without a subject.
pub(super) fn to_bson(text: &[u8]) -> Result<Transcoded, String> {
    let mut output = Output {
        bytes: Vec::with_capacity(text.len() + text.len() / 4 + 32),
        names: Vec::new(),
        is_plain: true,
    };
    let mut json = serde_json::Deserializer::from_slice(text);
    let element = ValueSeed(&mut output).deserialize(&mut json);
    let element = element.and_then(|element| json.end().map(|()| element));
    if element.is_ok_and(|element| element == ElementType::EmbeddedDocument as u8) {
        return Ok(Transcoded {
            bytes: output.bytes,
            is_plain: output.is_plain,
        });
    }
    let bytes = ejson::to_document(text)?.to_vec();
    Ok(Transcoded {
        bytes: bytes.map_err(|error| format!("cannot be stored: {error}"))?,
        is_plain: false,
    })
}

struct Output {
    bytes: Vec<u8>,
    /// Where the names of the open objects stand: start and end.
    names: Vec<(usize, usize)>,
    is_plain: bool,
}

impl Output {
    /// Begins a document or array; its length is filled in by `close`.
    fn open(&mut self) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        start
    }

    fn close<E: serde::de::Error>(&mut self, start: usize) -> Result<(), E> {
        self.bytes.push(0);
        let length = i32::try_from(self.bytes.len() - start).map_err(E::custom)?;
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    fn text<E: serde::de::Error>(&mut self, text: &str) -> Result<(), E> {
        let length = i32::try_from(text.len() + 1).map_err(E::custom)?;
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        Ok(())
    }

    /// A value that was read as Extended JSON.
    fn value<E: serde::de::Error>(&mut self, value: Bson) -> Result<u8, E> {
        self.is_plain &= matches!(
            value,
            Bson::DateTime(_) | Bson::ObjectId(_) | Bson::Int32(_) | Bson::Int64(_)
        );
        let wrapped = doc! {"": value}.to_vec().map_err(E::custom)?;
        // A length, the type, an empty name, the value, the end.
        let [_, _, _, _, element, 0, value @ .., 0] = wrapped.as_slice() else {
            return Err(E::custom("a value without bytes"));
        };
        self.bytes.extend_from_slice(value);
        Ok(*element)
    }
}

/// Writes a value behind its name, and gives its type.
struct ValueSeed<'a>(&'a mut Output);

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = u8;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u8, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = u8;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<u8, E> {
        self.0.bytes.push(u8::from(value));
        Ok(ElementType::Boolean as u8)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<u8, E> {
        if let Ok(value) = i32::try_from(value) {
            self.0.bytes.extend_from_slice(&value.to_le_bytes());
            return Ok(ElementType::Int32 as u8);
        }
        self.0.bytes.extend_from_slice(&value.to_le_bytes());
        Ok(ElementType::Int64 as u8)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<u8, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<u8, E> {
        self.0.bytes.extend_from_slice(&value.to_le_bytes());
        Ok(ElementType::Double as u8)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<u8, E> {
        self.0.text(value)?;
        Ok(ElementType::String as u8)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<u8, E> {
        Ok(ElementType::Null as u8)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<u8, A::Error> {
        use std::io::Write as _;
        let output = self.0;
        let start = output.open();
        for index in 0_u32.. {
            let at = output.bytes.len();
            // Writing into memory does not fail.
            write!(output.bytes, "\0{index}\0").map_err(A::Error::custom)?;
            match elements.next_element_seed(ValueSeed(output))? {
                Some(element) => output.bytes[at] = element,
                None => {
                    output.bytes.truncate(at);
                    break;
                }
            }
        }
        output.close(start)?;
        Ok(ElementType::Array as u8)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<u8, A::Error> {
        let output = self.0;
        let start = output.open();
        let first = output.names.len();
        while let Some(at) = members.next_key_seed(NameSeed { output, first })? {
            let (name, _) = output.names[output.names.len() - 1];
            if output.bytes[name] == b'$' {
                if output.names.len() > first + 1 {
                    return Err(A::Error::custom("Extended JSON in the middle of an object"));
                }
                output.names.truncate(first);
                let name = name_at(&output.bytes, name).to_owned();
                output.bytes.truncate(start);
                return extended(output, name, members);
            }
            let element = members.next_value_seed(ValueSeed(output))?;
            output.bytes[at] = element;
        }
        output.names.truncate(first);
        output.close(start)?;
        Ok(ElementType::EmbeddedDocument as u8)
    }
}

fn name_at(bytes: &[u8], start: usize) -> &str {
    let end = bytes.len() - 1;
    std::str::from_utf8(&bytes[start..end]).unwrap_or_default()
}

/// An object whose first name begins with `$`.
fn extended<'de, A: MapAccess<'de>>(
    output: &mut Output,
    name: String,
    mut members: A,
) -> Result<u8, A::Error> {
    let mut object = serde_json::Map::new();
    object.insert(name, members.next_value::<Value>()?);
    while let Some((name, value)) = members.next_entry::<String, Value>()? {
        object.insert(name, value);
    }
    let value = Bson::try_from(Value::Object(object)).map_err(A::Error::custom)?;
    output.value(value)
}

/// Writes the place of a type and a name, and gives where that is.
struct NameSeed<'a> {
    output: &'a mut Output,
    /// The first name of this object.
    first: usize,
}

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<usize, E> {
        let Output { bytes, names, .. } = self.output;
        let name = name.as_bytes();
        let is_known = names[self.first..]
            .iter()
            .any(|(start, end)| &bytes[*start..*end] == name);
        if is_known || name.contains(&0) || names.len() - self.first >= NAMES_MAX {
            return Err(E::custom("an unusual name"));
        }
        let at = bytes.len();
        bytes.push(0);
        names.push((at + 1, at + 1 + name.len()));
        bytes.extend_from_slice(name);
        bytes.push(0);
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the long way makes of it.
    fn long_way(text: &str) -> Result<Vec<u8>, String> {
        Ok(ejson::to_document(text.as_bytes())?.to_vec().unwrap())
    }

    fn same(text: &str) {
        let short = to_bson(text.as_bytes()).map(|transcoded| transcoded.bytes);
        assert_eq!(short, long_way(text), "{text}");
    }

    #[test]
    fn it_is_what_the_long_way_makes() {
        for text in [
            "{}",
            r#"{"a":1,"b":-1,"c":2147483648,"d":-2147483649,"e":18446744073709551615,"f":1.5,"g":1e300,"h":-0.0}"#,
            r#"{"s":"é\u0000\"\n","t":true,"f":false,"n":null,"":{"":[]}}"#,
            r#"{"a":[1,[2,{"b":[]}],"x",null,{}],"d":{"e":{"f":{}}}}"#,
            r#" {"at":{"$date":"2020-01-02T03:04:05.678Z"},"id":{"$oid":"507f1f77bcf86cd799439011"},"l":{"$numberLong":"7"}} "#,
            r#"{"a":{"$numberDecimal":"1.5"},"b":{"$binary":{"base64":"AQ==","subType":"00"}},"c":{"$minKey":1}}"#,
            r#"{"a":{"$ref":"c","$id":1},"b":{"$foo":{"x":1}},"c":{"$symbol":"s"}}"#,
            r#"{"a":{"x":1,"$oid":"507f1f77bcf86cd799439011"}}"#,
            r#"{"x":1,"$y":2}"#,
            r#"{"a":1,"b":2,"a":3}"#,
            r#"{"a":{"$oid":"nonsense"}}"#,
            r#"{"$oid":"507f1f77bcf86cd799439011"}"#,
            r#"{"a":1} x"#,
            r#"{"a":1"#,
            "[1]",
            "7",
            "",
            "{\"a\":\"\u{1}\"}",
        ] {
            same(text);
        }
        let many: Vec<String> = (0..200).map(|n| format!("\"n{n}\":{n}")).collect();
        same(&format!("{{{}}}", many.join(",")));
        same(&format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100)));
        same(&format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200)));
    }

    #[test]
    fn it_tells_which_documents_need_no_further_check() {
        let is_plain = |text: &str| to_bson(text.as_bytes()).unwrap().is_plain;
        assert!(is_plain(
            r#"{"a":[1,"x",{"b":null}],"at":{"$date":"2020-01-02T03:04:05Z"}}"#
        ));
        assert!(!is_plain(r#"{"a":{"$numberDecimal":"1"}}"#));
        assert!(!is_plain(r#"{"a":{"$symbol":"s"}}"#));
        assert!(!is_plain(r#"{"a":1,"a":2}"#));
    }

    /// Random JSON, well-formed more often than not: the short way never disagrees with the long one.
    #[test]
    fn random_objects_are_the_same_either_way() {
        use rand::rngs::StdRng;
        use rand::{Rng, SeedableRng};
        fn value(rng: &mut StdRng, depth: u32) -> String {
            const LEAVES: [&str; 12] = [
                "1",
                "-2.5e3",
                "\"x\\u00e9\"",
                "null",
                "true",
                "99999999999",
                "{}",
                "[]",
                "{\"$numberInt\":\"3\"}",
                "{\"$date\":{\"$numberLong\":\"5\"}}",
                "{\"$numberDouble\":\"NaN\"}",
                "{\"$uuid\":\"zz\"}",
            ];
            const NAMES: [&str; 6] = ["a", "b", "c", "$d", "", "$oid"];
            match rng.random_range(0..if depth == 0 { 2 } else { 5 }) {
                0 | 1 => LEAVES[rng.random_range(0..LEAVES.len())].to_owned(),
                2 => {
                    let elements: Vec<String> = (0..rng.random_range(0..4))
                        .map(|_| value(rng, depth - 1))
                        .collect();
                    format!("[{}]", elements.join(","))
                }
                _ => {
                    let members: Vec<String> = (0..rng.random_range(0..4))
                        .map(|_| {
                            let name = NAMES[rng.random_range(0..NAMES.len())];
                            format!("\"{name}\":{}", value(rng, depth - 1))
                        })
                        .collect();
                    format!("{{{}}}", members.join(","))
                }
            }
        }
        let seed: u64 = rand::random();
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..5000 {
            let mut text = value(&mut rng, 4);
            if rng.random_bool(0.1) {
                text.truncate(text.len() / 2);
            }
            let short = to_bson(text.as_bytes()).map(|transcoded| transcoded.bytes);
            assert_eq!(short, long_way(&text), "seed {seed}: {text}");
        }
    }
}
