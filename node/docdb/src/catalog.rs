//! What exists: environments, their collections, the collections' indexes.
//!
//! The whole catalog is held in memory as an immutable value that readers share. Each collection is
//! one record in the store. Ids are never reused, so entries of a dropped index can never be taken
//! for those of one created later under the same name.

mod record;

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorCode, Result};
use crate::filter::Filter;
use crate::index_options;
use crate::keys::{self, CollectionId, IndexId};
use crate::kv::{Direction, Family, StorageResult, View};
use crate::limits::{
    ACCESS_BYTES_MAX, COLLECTIONS_PER_ENV_MAX, INDEX_FIELDS_MAX, INDEXES_PER_COLLECTION_MAX,
    NAME_BYTES_MAX,
};
use crate::mutant;
use crate::op::{IndexOptions, IndexSpec};
use crate::validator::Validator;
use crate::value::{Path, check_document};

/// How far an index is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum IndexState {
    /// Writes maintain it; documents up to `cursor` (encoded `_id`; empty: none yet) have been entered.
    Building {
        #[serde(with = "serde_bytes")]
        cursor: Vec<u8>,
    },
    /// Holds all documents.
    Ready,
    /// The build met something that the index cannot hold. Has no entries; drop it.
    Failed { reason: Error },
}

/// An index as the catalog keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    pub(crate) id: IndexId,
    pub(crate) spec: IndexSpec,
    pub(crate) state: IndexState,
    /// For each field whether a document ever had an array there. Set once, never cleared.
    pub(crate) multikey: Vec<bool>,
    /// Version of the key encoding that its entries are in.
    pub(crate) key_encoding: u8,
    pub(crate) options: IndexOptions,
    /// `options.partial`, parsed by [`Collection::push_index`].
    pub(crate) partial: Option<Arc<Filter>>,
}

impl Index {
    /// The position of the field whose entries are cells of the earth.
    pub(crate) fn geo_field(&self) -> Option<usize> {
        usize::try_from(self.options.geo?).ok()
    }

    /// Whether writes maintain it.
    pub(crate) fn is_maintained(&self) -> bool {
        let is_left_out = mutant::has("build-misses-writes") && !self.is_ready();
        !matches!(self.state, IndexState::Failed { .. }) && !is_left_out
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.state == IndexState::Ready
    }

    pub(crate) fn is_multikey(&self) -> bool {
        self.multikey.contains(&true)
    }
}

/// Who may do what with a collection, as it was set.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    /// Never the same for two states of a collection's access, nor for two collections of a group, even of the
    /// same name.
    pub version: u64,
    /// Empty when none has been set.
    pub document: Arc<RawDocumentBuf>,
}

/// Whether a document may be set as a collection's access document.
pub(crate) fn check_access(access: &RawDocument) -> Result<()> {
    check_document(access)?;
    let size = access.as_bytes().len();
    if size > ACCESS_BYTES_MAX {
        return Err(Error::new(
            ErrorCode::ExceedSize,
            format!(
                "the access document has {size} bytes, more than {ACCESS_BYTES_MAX}; shorten its rules"
            ),
        ));
    }
    Ok(())
}

/// A collection with its indexes, paths parsed.
#[derive(Debug, Clone)]
pub(crate) struct Collection {
    pub(crate) id: CollectionId,
    pub(crate) env: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) created_ms: i64,
    pub(crate) indexes: Vec<Index>,
    /// For each index its parsed field paths.
    pub(crate) index_paths: Vec<Vec<Path>>,
    /// `None` when none was ever set.
    pub(crate) access: Option<Access>,
    /// What its documents must be like.
    pub(crate) validator: Option<Validator>,
}

impl Collection {
    pub(crate) fn new(id: CollectionId, env: &str, name: &str, created_ms: i64) -> Self {
        Self {
            id,
            env: env.into(),
            name: name.into(),
            created_ms,
            indexes: Vec::new(),
            index_paths: Vec::new(),
            access: None,
            validator: None,
        }
    }

    /// The version of the access document. Ids are never given out twice and versions come from the same
    /// numbers, so a collection to which none was set is told apart by its id.
    pub(crate) fn access_version(&self) -> u64 {
        self.access
            .as_ref()
            .map_or(self.id.0, |access| access.version)
    }

    /// The access document, empty when none was set, and its version.
    pub(crate) fn access(&self) -> Access {
        self.access.clone().unwrap_or_else(|| Access {
            version: self.id.0,
            document: Arc::default(),
        })
    }

    /// The position of the index of this name.
    pub(crate) fn index_named(&self, name: &str) -> Option<usize> {
        self.indexes
            .iter()
            .position(|index| index.spec.name == name)
    }

    pub(crate) fn push_index(&mut self, mut index: Index) -> Result<()> {
        index.partial = index_options::partial_filter(&index.options)?.map(Arc::new);
        let paths = index
            .spec
            .fields
            .iter()
            .map(|field| Path::parse(&field.path))
            .collect::<Result<_>>()?;
        self.indexes.push(index);
        self.index_paths.push(paths);
        Ok(())
    }

    pub(crate) fn remove_index(&mut self, at: usize) -> Index {
        self.index_paths.remove(at);
        self.indexes.remove(at)
    }
}

/// Everything that exists, by environment and name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    envs: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<Collection>>>,
}

impl Catalog {
    /// Reads all collection records.
    pub(crate) fn load(view: &dyn View) -> StorageResult<Self> {
        let mut catalog = Self::default();
        let mut cursor = view.scan(Family::Meta, &keys::collections(), Direction::Forward);
        while cursor.advance()? {
            let id = keys::meta_number(cursor.key()).ok_or_else(|| {
                crate::kv::StorageError::corrupt("a collection's key has a wrong length")
            })?;
            catalog.put(Collection::decode(CollectionId(id), cursor.value())?);
        }
        Ok(catalog)
    }

    /// The collection, or the refusal that names it.
    pub(crate) fn require(&self, env: &str, name: &str) -> Result<&Arc<Collection>> {
        self.get(env, name).ok_or_else(|| {
            Error::new(
                ErrorCode::CollectionNotExist,
                format!(
                    "collection '{name}' does not exist in environment '{env}'; create it first"
                ),
            )
        })
    }

    pub(crate) fn get(&self, env: &str, name: &str) -> Option<&Arc<Collection>> {
        self.envs.get(env)?.get(name)
    }

    /// An environment's collections in order of their names.
    pub(crate) fn collections(&self, env: &str) -> impl Iterator<Item = &Arc<Collection>> {
        self.envs.get(env).into_iter().flat_map(BTreeMap::values)
    }

    /// All collections of all environments, in order of environment and name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Collection>> {
        self.envs.values().flat_map(BTreeMap::values)
    }

    /// Adds or replaces a collection.
    pub(crate) fn put(&mut self, collection: Collection) {
        let env = self.envs.entry(Arc::clone(&collection.env)).or_default();
        env.insert(Arc::clone(&collection.name), Arc::new(collection));
    }

    pub(crate) fn remove(&mut self, env: &str, name: &str) {
        if let Some(collections) = self.envs.get_mut(env) {
            collections.remove(name);
            if collections.is_empty() {
                self.envs.remove(env);
            }
        }
    }

    /// Whether a collection of the environment may be called `to` from now on.
    pub(crate) fn check_rename(&self, env: &str, to: &str) -> Result<()> {
        check_name("collection", to)?;
        match self.get(env, to) {
            None => Ok(()),
            Some(_) => Err(Error::new(
                ErrorCode::CollectionAlreadyExist,
                format!(
                    "collection '{to}' exists already in environment '{env}'; drop it first or choose another name"
                ),
            )),
        }
    }

    /// Whether one more collection called `name` may be created.
    pub(crate) fn check_create(&self, env: &str, name: &str) -> Result<()> {
        check_name("environment", env)?;
        check_name("collection", name)?;
        if self.get(env, name).is_some() {
            return Err(Error::new(
                ErrorCode::CollectionAlreadyExist,
                format!("collection '{name}' exists already in environment '{env}'"),
            ));
        }
        if self
            .envs
            .get(env)
            .is_some_and(|collections| collections.len() >= COLLECTIONS_PER_ENV_MAX)
        {
            return Err(Error::new(
                ErrorCode::CollectionExceedLimit,
                format!(
                    "environment '{env}' has {COLLECTIONS_PER_ENV_MAX} collections, the most there may be; drop one"
                ),
            ));
        }
        Ok(())
    }
}

/// Names are any text but the empty one, operators, and what would not survive as a C string.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    let problem = if name.is_empty() {
        "is empty"
    } else if name.len() > NAME_BYTES_MAX {
        "is longer than 255 bytes"
    } else if name.starts_with('$') {
        "starts with '$'"
    } else if name.contains('\0') {
        "contains a NUL character"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!(
        "the {what} name {problem}; choose another"
    )))
}

/// Whether an index of this definition may exist.
pub(crate) fn check_index(collection: &Collection, spec: &IndexSpec) -> Result<()> {
    check_name("index", &spec.name)?;
    if collection.indexes.len() >= INDEXES_PER_COLLECTION_MAX {
        return Err(Error::new(
            ErrorCode::CollectionExceedLimit,
            format!(
                "collection '{}' has {INDEXES_PER_COLLECTION_MAX} indexes, the most there may be; drop one",
                collection.name
            ),
        ));
    }
    if spec.fields.is_empty() || spec.fields.len() > INDEX_FIELDS_MAX {
        return Err(Error::invalid(format!(
            "index '{}' must have 1 to {INDEX_FIELDS_MAX} fields",
            spec.name
        )));
    }
    for (position, field) in spec.fields.iter().enumerate() {
        if field.path.is_empty()
            || field
                .path
                .split('.')
                .any(|part| part.is_empty() || part.starts_with('$'))
        {
            return Err(Error::invalid(format!(
                "index '{}' has the field path '{}'; name a field",
                spec.name, field.path
            )));
        }
        Path::parse(&field.path)?;
        if spec.fields[..position]
            .iter()
            .any(|earlier| earlier.path == field.path)
        {
            return Err(Error::invalid(format!(
                "index '{}' names the field '{}' twice",
                spec.name, field.path
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_collections(count: usize) -> Catalog {
        let mut catalog = Catalog::default();
        for number in 0..count {
            let id = CollectionId(number as u64);
            catalog.put(Collection::new(id, "env", &format!("c{number}"), 0));
        }
        catalog
    }

    #[test]
    fn an_environment_has_a_bounded_number_of_collections() {
        let mut catalog = with_collections(COLLECTIONS_PER_ENV_MAX);
        let refused = catalog.check_create("env", "one more").unwrap_err();
        assert_eq!(refused.code, ErrorCode::CollectionExceedLimit);
        assert_eq!(catalog.check_create("other", "c0"), Ok(()));
        catalog.remove("env", "c0");
        assert_eq!(catalog.check_create("env", "one more"), Ok(()));
    }
}
