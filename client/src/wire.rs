//! Documents on their way between the caller's types and the protocol's bytes. Nothing a node sends is believed
//! before it is checked.

use bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf, cstr};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// The bytes of a document of operators; empty when the document is.
pub(crate) fn from_document(document: &Document, name: &str) -> Result<Bytes> {
    if document.is_empty() {
        return Ok(Bytes::new());
    }
    let bytes = document.to_vec();
    bytes
        .map(Bytes::from)
        .map_err(|error| Error::invalid(format!("the {name} cannot be written as BSON: {error}")))
}

/// The bytes of a caller's value.
pub(crate) fn from_value<T: Serialize>(value: &T) -> Result<Bytes> {
    let bytes = bson::serialize_to_vec(value);
    bytes
        .map(Bytes::from)
        .map_err(|error| Error::invalid(format!("the value is not a document: {error}")))
}

/// `{_id: id}` without a detour over a document of values: the filter of point reads.
pub(crate) fn id_filter(id: &Bson) -> Result<Bytes> {
    let mut filter = RawDocumentBuf::new();
    match id {
        Bson::String(id) => filter.append(cstr!("_id"), id.as_str()),
        Bson::Int32(id) => filter.append(cstr!("_id"), *id),
        Bson::Int64(id) => filter.append(cstr!("_id"), *id),
        other => return from_document(&crate::filter::id(other.clone()).0, "_id"),
    }
    Ok(filter.into_bytes().into())
}

/// A caller's value from a document.
pub(crate) fn to_value<T: DeserializeOwned>(document: &[u8]) -> Result<T> {
    bson::deserialize_from_slice(document).map_err(|error| Error::decode(&error))
}

/// The value of a `{"": _id}` document.
pub(crate) fn to_id(document: &[u8]) -> Result<Bson> {
    let malformed = || Error::malformed("the node sent an _id that is not BSON");
    let document = RawDocument::from_bytes(document).map_err(|_| malformed())?;
    let (_, value): (_, RawBsonRef<'_>) = document
        .iter()
        .next()
        .ok_or_else(malformed)?
        .map_err(|_| malformed())?;
    Bson::try_from(value).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn ids_round_trip_and_garbage_is_an_error() {
        for id in [
            Bson::String("x".into()),
            Bson::Int32(1),
            Bson::Int64(1 << 40),
            Bson::Double(0.5),
        ] {
            let mut document = Document::new();
            document.insert("", id.clone());
            assert_eq!(to_id(&document.to_vec().unwrap()).unwrap(), id);
        }
        for garbage in [&b""[..], b"abc", &[5, 0, 0, 0, 0], &[255; 40]] {
            assert!(to_id(garbage).is_err());
            assert!(to_value::<Document>(garbage).is_err() || garbage == [5, 0, 0, 0, 0]);
        }
    }

    #[test]
    fn values_that_are_no_documents_are_refused() {
        assert!(from_value(&7).is_err());
        assert!(from_value(&doc! {"a": 1}).is_ok());
    }

    #[test]
    fn point_filters_equal_their_long_form() {
        assert_eq!(
            id_filter(&Bson::String("k".into())).unwrap(),
            doc! {"_id": "k"}.to_vec().unwrap()
        );
        assert_eq!(
            id_filter(&Bson::Double(1.5)).unwrap(),
            doc! {"_id": {"$eq": 1.5}}.to_vec().unwrap()
        );
    }
}
