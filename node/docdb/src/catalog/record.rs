//! A collection as the store keeps it. A record has the lowest version that says all there is to say, so a
//! store that makes no use of what came later can still be read by those who do not know it.

use std::sync::Arc;

use bson::RawDocumentBuf;
use serde::{Deserialize, Serialize};

use super::{Access, Collection, Index, IndexState};
use crate::codec::{self, Magic};
use crate::keys::{CollectionId, IndexId};
use crate::kv::{StorageError, StorageResult};
use crate::op::{IndexOptions, IndexSpec, ValidationLevel};
use crate::raw_bson;
use crate::validator::Validator;

/// An index in a collection's record; its options stand apart, for records that were written before there were any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct IndexRecord {
    id: IndexId,
    spec: IndexSpec,
    state: IndexState,
    multikey: Vec<bool>,
    key_encoding: u8,
}

/// A collection's record in the first version: names and plain indexes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CollectionRecord {
    env: String,
    name: String,
    created_ms: i64,
    indexes: Vec<IndexRecord>,
}

/// The version of records that end with an access document.
const WITH_ACCESS: u8 = 2;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct CollectionRecordWithAccess {
    record: CollectionRecord,
    access: AccessRecord,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct AccessRecord {
    version: u64,
    #[serde(with = "raw_bson")]
    document: RawDocumentBuf,
}

/// The version of records with options of indexes or a validator, and perhaps an access document.
const WITH_OPTIONS: u8 = 3;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct CollectionRecordWithOptions {
    record: CollectionRecord,
    access: Option<AccessRecord>,
    /// One for each index.
    index_options: Vec<IndexOptions>,
    /// Empty: none.
    #[serde(with = "raw_bson")]
    schema: RawDocumentBuf,
    validation: ValidationLevel,
}

impl Index {
    fn record(&self) -> IndexRecord {
        IndexRecord {
            id: self.id,
            spec: self.spec.clone(),
            state: self.state.clone(),
            multikey: self.multikey.clone(),
            key_encoding: self.key_encoding,
        }
    }

    fn from_record(record: IndexRecord, options: IndexOptions) -> Self {
        Self {
            id: record.id,
            spec: record.spec,
            state: record.state,
            multikey: record.multikey,
            key_encoding: record.key_encoding,
            options,
            partial: None,
        }
    }
}

impl From<&Access> for AccessRecord {
    fn from(access: &Access) -> Self {
        Self {
            version: access.version,
            document: RawDocumentBuf::clone(&access.document),
        }
    }
}

impl From<AccessRecord> for Access {
    fn from(record: AccessRecord) -> Self {
        Self {
            version: record.version,
            document: Arc::new(record.document),
        }
    }
}

impl Collection {
    fn from_record(
        id: CollectionId,
        record: CollectionRecord,
        index_options: Vec<IndexOptions>,
        access: Option<AccessRecord>,
    ) -> StorageResult<Self> {
        let mut collection = Self::new(id, &record.env, &record.name, record.created_ms);
        collection.access = access.map(Access::from);
        let options = index_options
            .into_iter()
            .chain(std::iter::repeat_with(IndexOptions::default));
        for (index, options) in record.indexes.into_iter().zip(options) {
            collection
                .push_index(Index::from_record(index, options))
                .map_err(|error| StorageError::corrupt(error.message))?;
        }
        Ok(collection)
    }

    /// Reads the value of a collection's record.
    pub(crate) fn decode(id: CollectionId, bytes: &[u8]) -> StorageResult<Self> {
        match codec::record_version(bytes) {
            Some(WITH_ACCESS) => {
                let read: CollectionRecordWithAccess =
                    codec::decode_record_as(Magic::Collection, WITH_ACCESS, bytes)?;
                Self::from_record(id, read.record, Vec::new(), Some(read.access))
            }
            Some(WITH_OPTIONS) => {
                let read: CollectionRecordWithOptions =
                    codec::decode_record_as(Magic::Collection, WITH_OPTIONS, bytes)?;
                let mut collection =
                    Self::from_record(id, read.record, read.index_options, read.access)?;
                collection.validator = Validator::new(read.schema, read.validation)
                    .map_err(|error| StorageError::corrupt(error.message))?;
                Ok(collection)
            }
            _ => {
                let record = codec::decode_record(Magic::Collection, bytes)?;
                Self::from_record(id, record, Vec::new(), None)
            }
        }
    }

    /// The value of the collection's record.
    pub(crate) fn encode(&self) -> StorageResult<Vec<u8>> {
        let record = CollectionRecord {
            env: self.env.to_string(),
            name: self.name.to_string(),
            created_ms: self.created_ms,
            indexes: self.indexes.iter().map(Index::record).collect(),
        };
        let access = self.access.as_ref().map(AccessRecord::from);
        let plain = IndexOptions::default();
        if self.validator.is_some() || self.indexes.iter().any(|index| index.options != plain) {
            let validator = self.validator.as_ref();
            let index_options = self.indexes.iter().map(|index| index.options.clone());
            let record = CollectionRecordWithOptions {
                record,
                access,
                index_options: index_options.collect(),
                schema: validator
                    .map(|validator| validator.document.clone())
                    .unwrap_or_default(),
                validation: validator
                    .map(|validator| validator.level)
                    .unwrap_or_default(),
            };
            return codec::encode_record_as(Magic::Collection, WITH_OPTIONS, &record);
        }
        match access {
            Some(access) => codec::encode_record_as(
                Magic::Collection,
                WITH_ACCESS,
                &CollectionRecordWithAccess { record, access },
            ),
            None => codec::encode_record(Magic::Collection, &record),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::op::IndexField;

    const ID: CollectionId = CollectionId(7);

    fn collection() -> Collection {
        let mut collection = Collection::new(ID, "env", "c", 5);
        let fields = vec![IndexField {
            path: "a.b".into(),
            descending: true,
        }];
        let index = Index {
            id: IndexId(8),
            spec: IndexSpec {
                name: "i".into(),
                fields,
                unique: true,
            },
            state: IndexState::Failed {
                reason: Error::invalid("because"),
            },
            multikey: vec![true],
            key_encoding: 1,
            options: IndexOptions::default(),
            partial: None,
        };
        collection.push_index(index).unwrap();
        collection
    }

    fn access() -> Access {
        Access {
            version: 9,
            document: Arc::new(bson::rawdoc! { "mode": "READONLY" }),
        }
    }

    /// Reads a collection back from its record, which must have this version.
    fn again(collection: &Collection, version: u8) -> Collection {
        let bytes = collection.encode().unwrap();
        assert_eq!(codec::record_version(&bytes), Some(version));
        assert!(Collection::decode(ID, &bytes[..bytes.len() - 1]).is_err());
        let read = Collection::decode(ID, &bytes).unwrap();
        assert_eq!((&*read.env, &*read.name, read.created_ms), ("env", "c", 5));
        assert_eq!(read.indexes[0].record(), collection.indexes[0].record());
        assert_eq!(read.indexes[0].options, collection.indexes[0].options);
        assert_eq!(read.index_paths[0][0].as_str(), "a.b");
        assert_eq!(read.access, collection.access);
        read
    }

    #[test]
    fn a_collection_reads_back_from_its_record() {
        let mut collection = collection();
        assert_eq!(again(&collection, 1).access_version(), 7);
        collection.access = Some(access());
        assert_eq!(again(&collection, WITH_ACCESS).access_version(), 9);

        collection.indexes[0].options = IndexOptions {
            partial: bson::rawdoc! { "a": { "$gt": 1 } },
            ..IndexOptions::default()
        };
        assert!(
            again(&collection, WITH_OPTIONS).indexes[0]
                .partial
                .is_some()
        );
        collection.access = None;
        assert_eq!(again(&collection, WITH_OPTIONS).access_version(), 7);

        collection.indexes[0].options = IndexOptions::default();
        let schema = bson::rawdoc! { "required": ["a"] };
        collection.validator = Validator::new(schema.clone(), ValidationLevel::Warn).unwrap();
        collection.access = Some(access());
        let validator = again(&collection, WITH_OPTIONS).validator.unwrap();
        assert_eq!(
            (validator.document, validator.level),
            (schema, ValidationLevel::Warn)
        );
    }

    /// What a member that knew only two versions wrote.
    #[test]
    fn the_second_version_is_as_it_was_first_written() {
        #[derive(Serialize)]
        struct First {
            record: CollectionRecord,
            access_version: u64,
            #[serde(with = "raw_bson")]
            access: RawDocumentBuf,
        }
        let mut collection = collection();
        collection.access = Some(access());
        let first = First {
            record: CollectionRecord {
                env: "env".into(),
                name: "c".into(),
                created_ms: 5,
                indexes: vec![collection.indexes[0].record()],
            },
            access_version: 9,
            access: bson::rawdoc! { "mode": "READONLY" },
        };
        let bytes = codec::encode_record_as(Magic::Collection, WITH_ACCESS, &first).unwrap();
        assert_eq!(collection.encode().unwrap(), bytes);
    }
}
