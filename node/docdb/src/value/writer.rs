//! Building raw documents in a buffer that is used again for the next one.

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};

use super::element::{ARRAY, DOCUMENT};
use super::malformed;
use crate::error::{Error, ErrorCode, Result};
use crate::limits::DOCUMENT_BYTES_MAX;

/// A document under construction. What is opened must be closed in reverse order.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Begins a new document in the place of the last one.
    pub(crate) fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&[0; 4]);
    }

    /// Ends the document and shows it; refuses one that is too large.
    pub(crate) fn finish(&mut self) -> Result<&RawDocument> {
        self.close(0)?;
        RawDocument::from_bytes(&self.bytes).map_err(malformed)
    }

    /// Ends the document and gives it away.
    pub(crate) fn into_document(mut self) -> Result<RawDocumentBuf> {
        self.close(0)?;
        RawDocumentBuf::from_bytes(self.bytes).map_err(malformed)
    }

    /// What was written so far, as it is.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends whole elements as they are.
    pub(crate) fn raw(&mut self, elements: &[u8]) {
        self.bytes.extend_from_slice(elements);
    }

    /// Appends an element with the bytes of its value.
    pub(crate) fn element(&mut self, kind: u8, name: &[u8], value: &[u8]) {
        self.head(kind, name);
        self.bytes.extend_from_slice(value);
    }

    fn head(&mut self, kind: u8, name: &[u8]) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
    }

    /// Opens an embedded document; returns what [`close`](Self::close) needs.
    pub(crate) fn open_document(&mut self, name: &[u8]) -> usize {
        self.open(DOCUMENT, name)
    }

    /// Opens an array, whose elements are named by [`index_name`].
    pub(crate) fn open_array(&mut self, name: &[u8]) -> usize {
        self.open(ARRAY, name)
    }

    /// Opens an embedded document or array.
    pub(crate) fn open(&mut self, kind: u8, name: &[u8]) -> usize {
        self.head(kind, name);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        start
    }

    /// Closes what was opened last.
    pub(crate) fn close(&mut self, start: usize) -> Result<()> {
        self.bytes.push(0);
        let length = self.bytes.len() - start;
        if length > DOCUMENT_BYTES_MAX {
            return Err(Error::new(
                ErrorCode::ExceedSize,
                format!(
                    "a document made by the pipeline has more than {DOCUMENT_BYTES_MAX} bytes; keep fewer fields or elements in one document"
                ),
            ));
        }
        self.bytes[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
        Ok(())
    }

    /// Takes back what was written since the buffer had this length.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    /// Appends an element.
    pub(crate) fn value(&mut self, name: &[u8], value: RawBsonRef<'_>) -> Result<()> {
        use RawBsonRef as V;
        let kind = value.element_type() as u8;
        match value {
            V::Double(v) => self.element(kind, name, &v.to_le_bytes()),
            V::Int32(v) => self.element(kind, name, &v.to_le_bytes()),
            V::Int64(v) => self.element(kind, name, &v.to_le_bytes()),
            V::DateTime(v) => self.element(kind, name, &v.timestamp_millis().to_le_bytes()),
            V::Boolean(v) => self.element(kind, name, &[u8::from(v)]),
            V::ObjectId(v) => self.element(kind, name, &v.bytes()),
            V::Null | V::Undefined | V::MinKey | V::MaxKey => self.head(kind, name),
            V::Document(v) => self.element(kind, name, v.as_bytes()),
            V::Array(v) => self.element(kind, name, v.as_bytes()),
            V::String(v) => {
                self.head(kind, name);
                let length = v.len() as u32 + 1;
                self.bytes.extend_from_slice(&length.to_le_bytes());
                self.bytes.extend_from_slice(v.as_bytes());
                self.bytes.push(0);
            }
            rare => {
                // The bson crate writes it under an empty name: one type byte, one zero, the value.
                let mut alone = RawDocumentBuf::new();
                alone.append(bson::raw::cstr!(""), rare);
                let bytes = alone.as_bytes();
                let value = bytes.get(6..bytes.len() - 1).unwrap_or_default();
                self.element(kind, name, value);
            }
        }
        Ok(())
    }
}

/// The name of an array's element. The text lives in `digits`.
pub(crate) fn index_name(index: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    let mut rest = index;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bson::{Binary, Bson, DateTime, Document, Regex, Timestamp, doc};

    use super::*;
    use crate::value::element::{elements, value};

    #[test]
    fn elements_copied_one_by_one_or_value_by_value_make_the_same_document() {
        let document = doc! {
            "a": 1, "b": 2_i64, "c": 1.5, "d": "tëxt", "e": [1, [2], { "x": null }], "f": { "g": {} }, "h": true,
            "i": null, "j": DateTime::from_millis(5), "k": bson::oid::ObjectId::from_bytes([7; 12]),
            "l": Bson::MinKey, "m": Bson::MaxKey, "n": Timestamp { time: 1, increment: 2 },
            "o": Regex { pattern: "^a".try_into().unwrap(), options: "i".try_into().unwrap() },
            "p": Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 2, 3] },
        };
        let document = RawDocumentBuf::try_from(&document).unwrap();
        let (mut copied, mut rebuilt) = (Writer::default(), Writer::default());
        copied.begin();
        rebuilt.begin();
        for element in elements(&document) {
            let element = element.unwrap();
            copied.raw(element.whole);
            rebuilt
                .value(element.name, value(&document, &element).unwrap())
                .unwrap();
        }
        assert_eq!(copied.finish().unwrap().as_bytes(), document.as_bytes());
        assert_eq!(rebuilt.finish().unwrap().as_bytes(), document.as_bytes());
    }

    #[test]
    fn nested_documents_and_arrays() {
        let mut writer = Writer::default();
        writer.begin();
        let array = writer.open_array(b"a");
        let inner = writer.open_document(index_name(0, &mut [0; 20]));
        writer.value(b"x", RawBsonRef::Int32(1)).unwrap();
        writer.close(inner).unwrap();
        writer
            .value(index_name(1, &mut [0; 20]), RawBsonRef::Null)
            .unwrap();
        writer.close(array).unwrap();
        let expected = doc! { "a": [{ "x": 1 }, null] };
        let made = writer.into_document().unwrap();
        assert_eq!(Document::try_from(made).unwrap(), expected);
        assert_eq!(index_name(1_234_567, &mut [0; 20]), b"1234567");
    }
}
