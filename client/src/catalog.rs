//! Collections and indexes: what an environment is made of.

use std::time::Duration;

use bson::{Bson, Document};

use crate::client::Client;
use crate::collection::Collection;
use crate::error::Result;
use crate::find::{described, unexpected};
use crate::proto::request::Op;
use crate::proto::{self, response};
use crate::wire::from_document;

/// An index to create.
///
/// ```
/// use yunbase_client::Index;
///
/// let index = Index::ascending("country").then_descending("population").unique();
/// assert_eq!(index.name(), "country_1_population_-1");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Index {
    name: Option<String>,
    fields: Vec<proto::IndexField>,
    unique: bool,
    sparse: bool,
    partial: Document,
    expire_after: Option<Duration>,
}

impl Index {
    fn new() -> Self {
        Self {
            name: None,
            fields: Vec::new(),
            unique: false,
            sparse: false,
            partial: Document::new(),
            expire_after: None,
        }
    }

    /// Begins with `path`, smallest value first.
    pub fn ascending(path: impl Into<String>) -> Self {
        Self::new().then(path.into(), false)
    }

    /// Begins with `path`, which holds GeoJSON.
    pub fn geo(path: impl Into<String>) -> Self {
        Self::new().then_geo(path)
    }

    /// Begins with `path`, largest value first.
    pub fn descending(path: impl Into<String>) -> Self {
        Self::new().then(path.into(), true)
    }

    /// Then `path`, smallest value first.
    #[must_use]
    pub fn then_ascending(self, path: impl Into<String>) -> Self {
        self.then(path.into(), false)
    }

    /// Then `path`, largest value first.
    #[must_use]
    pub fn then_descending(self, path: impl Into<String>) -> Self {
        self.then(path.into(), true)
    }

    /// Then `path`, which holds GeoJSON: at most one of an index.
    #[must_use]
    pub fn then_geo(mut self, path: impl Into<String>) -> Self {
        self.fields.push(proto::IndexField {
            path: path.into(),
            descending: false,
            geo: true,
        });
        self
    }

    fn then(mut self, path: String, descending: bool) -> Self {
        self.fields.push(proto::IndexField {
            path,
            descending,
            geo: false,
        });
        self
    }

    /// No two documents may have an equal key.
    #[must_use]
    pub fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    /// Leaves out documents that have none of the fields.
    #[must_use]
    pub fn sparse(mut self) -> Self {
        self.sparse = true;
        self
    }

    /// Only documents that match `filter` are in the index; `unique` holds among them.
    #[must_use]
    pub fn partial(mut self, filter: Document) -> Self {
        self.partial = filter;
        self
    }

    /// Documents are removed when the date at the index's only field is this long past, in whole seconds.
    #[must_use]
    pub fn expire_after(mut self, time: Duration) -> Self {
        self.expire_after = Some(time);
        self
    }

    /// Names the index; without this it is named after its fields.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The name it has or will get.
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let parts = self.fields.iter().map(|f| match (f.geo, f.descending) {
                (true, _) => format!("{}_2dsphere", f.path),
                (false, true) => format!("{}_-1", f.path),
                (false, false) => format!("{}_1", f.path),
            });
            parts.collect::<Vec<_>>().join("_")
        })
    }
}

impl Client {
    /// Creates an empty collection.
    pub async fn create_collection(&self, name: impl Into<String>) -> Result<()> {
        self.done(Op::CreateCollection(proto::CreateCollection {
            collection: name.into(),
        }))
        .await
    }

    /// Removes a collection with all its documents and indexes.
    pub async fn drop_collection(&self, name: impl Into<String>) -> Result<()> {
        self.done(Op::DropCollection(proto::DropCollection {
            collection: name.into(),
        }))
        .await
    }

    /// Gives a collection another name; documents and indexes stay.
    pub async fn rename_collection(
        &self,
        name: impl Into<String>,
        to: impl Into<String>,
    ) -> Result<()> {
        self.done(Op::RenameCollection(proto::RenameCollection {
            collection: name.into(),
            to: to.into(),
        }))
        .await
    }

    /// Says what documents of a collection must be like from now on, as a JSON schema (draft 4 with `bsonType`).
    pub async fn set_validator(
        &self,
        collection: impl Into<String>,
        schema: &Document,
        level: proto::ValidationLevel,
    ) -> Result<()> {
        self.done(Op::SetValidator(proto::SetValidator {
            collection: collection.into(),
            schema: from_document(schema, "schema")?,
            level: level.into(),
        }))
        .await
    }

    /// Describes each collection: name, number of documents, indexes.
    pub async fn list_collections(&self) -> Result<Vec<Document>> {
        described(
            self.execute(Op::ListCollections(proto::ListCollections {}))
                .await?,
        )
    }

    async fn done(&self, op: Op) -> Result<()> {
        match self.execute(op).await? {
            response::Result::Done(_) => Ok(()),
            _ => Err(unexpected("change of the catalogue")),
        }
    }
}

impl<T> Collection<T> {
    /// Starts to build an index; it serves queries once its build has finished.
    pub async fn create_index(&self, index: &Index) -> Result<()> {
        let create = proto::CreateIndex {
            collection: self.name().to_owned(),
            name: index.name(),
            fields: index.fields.clone(),
            unique: index.unique,
            sparse: index.sparse,
            partial: from_document(&index.partial, "partial filter")?,
            expire_after_seconds: index
                .expire_after
                .map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX)),
        };
        self.client().done(Op::CreateIndex(create)).await
    }

    /// Removes an index.
    pub async fn drop_index(&self, name: impl Into<String>) -> Result<()> {
        let drop = proto::DropIndex {
            collection: self.name().to_owned(),
            name: name.into(),
        };
        self.client().done(Op::DropIndex(drop)).await
    }

    /// Says what end users may do with the collection, as `{"mode": "READONLY"}` or `{"mode": "CUSTOM", "rule": {...}}`;
    /// an empty document takes back what was said. In force once this returns, on every node.
    pub async fn set_access(&self, access: &Document) -> Result<()> {
        let set = proto::SetAccess {
            collection: self.name().to_owned(),
            access: from_document(access, "access")?,
        };
        self.client().done(Op::SetAccess(set)).await
    }

    /// What end users may do with the collection; empty when nothing was ever said, which means PRIVATE.
    pub async fn access(&self) -> Result<Document> {
        let get = proto::GetAccess {
            collection: self.name().to_owned(),
        };
        let mut documents = described(self.client().execute(Op::GetAccess(get)).await?)?;
        match documents
            .pop()
            .and_then(|mut document| document.remove("access"))
        {
            Some(Bson::Document(access)) => Ok(access),
            _ => Err(unexpected("access document")),
        }
    }

    /// Describes each index and its state.
    pub async fn list_indexes(&self) -> Result<Vec<Document>> {
        let list = proto::ListIndexes {
            collection: self.name().to_owned(),
        };
        described(self.client().execute(Op::ListIndexes(list)).await?)
    }
}
