//! serde adapters that carry BSON documents as plain bytes.
//!
//! `bson` types must never meet bincode directly: they encode, but cannot be decoded again.

use bson::RawDocumentBuf;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes the document's bytes.
pub fn serialize<S: Serializer>(
    document: &RawDocumentBuf,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(document.as_bytes())
}

/// Reads a document's bytes; refuses what is not framed as BSON.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RawDocumentBuf, D::Error> {
    let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
    RawDocumentBuf::from_bytes(bytes.into_vec()).map_err(D::Error::custom)
}

#[derive(Serialize, Deserialize)]
struct Carried(#[serde(with = "self")] RawDocumentBuf);

#[derive(Serialize)]
struct CarriedRef<'a>(#[serde(with = "self")] &'a RawDocumentBuf);

/// The same for `Vec<RawDocumentBuf>`.
pub mod vec {
    use super::{Carried, CarriedRef, Deserialize, Deserializer, RawDocumentBuf, Serializer};

    /// Writes a sequence of byte strings.
    pub fn serialize<S: Serializer>(
        documents: &[RawDocumentBuf],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(documents.iter().map(CarriedRef))
    }

    /// Reads a sequence of byte strings.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<RawDocumentBuf>, D::Error> {
        Ok(Vec::<Carried>::deserialize(deserializer)?
            .into_iter()
            .map(|c| c.0)
            .collect())
    }
}

/// The same for `Option<RawDocumentBuf>`.
pub mod option {
    use super::{
        Carried, CarriedRef, Deserialize, Deserializer, RawDocumentBuf, Serialize, Serializer,
    };

    /// Writes an optional byte string.
    pub fn serialize<S: Serializer>(
        document: &Option<RawDocumentBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        document.as_ref().map(CarriedRef).serialize(serializer)
    }

    /// Reads an optional byte string.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<RawDocumentBuf>, D::Error> {
        Ok(Option::<Carried>::deserialize(deserializer)?.map(|c| c.0))
    }
}
