//! A collection with documents of one type.

use std::marker::PhantomData;

use bson::{Bson, Document};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::aggregate::Aggregate;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::find::{Find, unexpected};
use crate::proto::request::Op;
use crate::proto::{self, response};
use crate::update::Update;
use crate::wire;

/// A typed view of a collection. Cheap to clone.
///
/// `T` is anything that serde turns into a document; `bson::Document` takes whatever there is.
pub struct Collection<T> {
    client: Client,
    name: String,
    documents: PhantomData<fn(T) -> T>,
}

/// What an update did.
#[derive(Debug, Clone, PartialEq)]
pub struct Updated {
    /// Documents that matched.
    pub matched: u64,
    /// Documents that really changed.
    pub modified: u64,
    /// `_id` of the document that an upsert created.
    pub upserted_id: Option<Bson>,
}

impl<T> Collection<T> {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self {
            client,
            name,
            documents: PhantomData,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client it came from.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Begins a query.
    pub fn find(&self, filter: impl Into<Filter>) -> Find<T> {
        Find::new(self.client.clone(), self.name.clone(), filter.into())
    }

    /// Begins an aggregation. Its documents are of type `T` until [`Aggregate::typed`] says otherwise.
    pub fn aggregate(&self, pipeline: impl IntoIterator<Item = Document>) -> Aggregate<T> {
        let pipeline = pipeline.into_iter().collect();
        Aggregate::new(self.client.clone(), self.name.clone(), pipeline)
    }

    /// How many documents match.
    pub async fn count(&self, filter: impl Into<Filter>) -> Result<u64> {
        let filter = wire::from_document(&filter.into().0, "filter")?;
        let count = proto::Count {
            collection: self.name.clone(),
            filter,
        };
        match self.client.execute(Op::Count(count)).await? {
            response::Result::Counted(counted) => Ok(counted.count),
            _ => Err(unexpected("count")),
        }
    }

    /// Changes the first match.
    pub async fn update_one(
        &self,
        filter: impl Into<Filter>,
        update: impl Into<Update>,
    ) -> Result<Updated> {
        self.update(self.request(&filter.into(), &update.into())?)
            .await
    }

    /// Changes all matches.
    pub async fn update_many(
        &self,
        filter: impl Into<Filter>,
        update: impl Into<Update>,
    ) -> Result<Updated> {
        self.update(proto::Update {
            multi: true,
            ..self.request(&filter.into(), &update.into())?
        })
        .await
    }

    /// Changes the first match, or creates a document from filter and update when nothing matches.
    pub async fn upsert(
        &self,
        filter: impl Into<Filter>,
        update: impl Into<Update>,
    ) -> Result<Updated> {
        self.update(proto::Update {
            upsert: true,
            ..self.request(&filter.into(), &update.into())?
        })
        .await
    }

    fn request(&self, filter: &Filter, update: &Update) -> Result<proto::Update> {
        Ok(proto::Update {
            collection: self.name.clone(),
            filter: wire::from_document(&filter.0, "filter")?,
            update: wire::from_document(&update.0, "update")?,
            ..proto::Update::default()
        })
    }

    async fn update(&self, update: proto::Update) -> Result<Updated> {
        let (updated, _) = self.update_returning(update).await?;
        Ok(updated)
    }

    async fn update_returning(&self, update: proto::Update) -> Result<(Updated, Option<Bytes>)> {
        let response::Result::Updated(updated) = self.client.execute(Op::Update(update)).await?
        else {
            return Err(unexpected("update"));
        };
        let upserted_id = updated
            .upserted_id
            .as_ref()
            .map(|id| wire::to_id(id))
            .transpose()?;
        let counts = Updated {
            matched: updated.matched,
            modified: updated.modified,
            upserted_id,
        };
        Ok((counts, updated.document))
    }

    /// Removes the first match; returns how many that were.
    pub async fn delete_one(&self, filter: impl Into<Filter>) -> Result<u64> {
        self.remove(&filter.into(), false).await
    }

    /// Removes all matches; returns how many that were.
    pub async fn delete_many(&self, filter: impl Into<Filter>) -> Result<u64> {
        self.remove(&filter.into(), true).await
    }

    async fn remove(&self, filter: &Filter, multi: bool) -> Result<u64> {
        let filter = wire::from_document(&filter.0, "filter")?;
        let remove = proto::Remove {
            collection: self.name.clone(),
            filter,
            multi,
        };
        match self.client.execute(Op::Remove(remove)).await? {
            response::Result::Removed(removed) => Ok(removed.removed),
            _ => Err(unexpected("removal")),
        }
    }

    async fn insert(&self, documents: Vec<Bytes>) -> Result<Vec<Bson>> {
        let count = documents.len();
        let insert = proto::Insert {
            collection: self.name.clone(),
            documents,
        };
        let response::Result::Inserted(inserted) = self.client.execute(Op::Insert(insert)).await?
        else {
            return Err(unexpected("insert"));
        };
        if inserted.ids.len() != count {
            return Err(Error::malformed(format!(
                "the node named {} _ids for {count} documents",
                inserted.ids.len()
            )));
        }
        inserted.ids.iter().map(|id| wire::to_id(id)).collect()
    }

    /// Inserts documents that are BSON already; all or none.
    pub async fn insert_raw(&self, documents: Vec<Bytes>) -> Result<Vec<Bson>> {
        self.insert(documents).await
    }

    /// Puts a document that is BSON already in the place of the one with this `_id`, or where none was.
    pub async fn put_raw(&self, id: &Bson, document: Bytes) -> Result<Updated> {
        self.update(self.replacement(wire::id_filter(id)?, document, true))
            .await
    }

    fn replacement(&self, filter: Bytes, document: Bytes, upsert: bool) -> proto::Update {
        let collection = self.name.clone();
        proto::Update {
            collection,
            filter,
            update: document,
            replace: true,
            upsert,
            ..proto::Update::default()
        }
    }
}

impl<T: Serialize> Collection<T> {
    /// Inserts a document and returns its `_id`, which the node makes when there is none.
    pub async fn insert_one(&self, document: &T) -> Result<Bson> {
        let ids = self.insert(vec![wire::from_value(document)?]).await?;
        ids.into_iter().next().ok_or_else(|| unexpected("insert"))
    }

    /// Inserts documents, all or none, and returns their `_id`s in order.
    pub async fn insert_many<'a>(
        &self,
        documents: impl IntoIterator<Item = &'a T>,
    ) -> Result<Vec<Bson>>
    where
        T: 'a,
    {
        self.insert(
            documents
                .into_iter()
                .map(wire::from_value)
                .collect::<Result<_>>()?,
        )
        .await
    }

    /// Puts `document` in the place of the first match; its `_id` stays.
    pub async fn replace_one(&self, filter: impl Into<Filter>, document: &T) -> Result<Updated> {
        let filter = wire::from_document(&filter.into().0, "filter")?;
        self.update(self.replacement(filter, wire::from_value(document)?, false))
            .await
    }

    /// Puts `document` under this `_id`, whether or not there was one.
    pub async fn put(&self, id: impl Into<Bson>, document: &T) -> Result<Updated> {
        self.put_raw(&id.into(), wire::from_value(document)?).await
    }
}

impl<T: DeserializeOwned> Collection<T> {
    /// The first match.
    pub async fn find_one(&self, filter: impl Into<Filter>) -> Result<Option<T>> {
        self.find(filter).first().await
    }

    /// The document with this `_id`.
    pub async fn get(&self, id: impl Into<Bson>) -> Result<Option<T>> {
        let found = self.get_raw(&id.into()).await?;
        found.map(|document| wire::to_value(&document)).transpose()
    }

    /// Changes the first match and returns it as it is then.
    pub async fn find_one_and_update(
        &self,
        filter: impl Into<Filter>,
        update: impl Into<Update>,
    ) -> Result<Option<T>> {
        let request = proto::Update {
            return_document: true,
            ..self.request(&filter.into(), &update.into())?
        };
        let (_, document) = self.update_returning(request).await?;
        document
            .map(|document| wire::to_value(&document))
            .transpose()
    }
}

impl<T> Collection<T> {
    /// The document with this `_id`, as BSON.
    pub async fn get_raw(&self, id: &Bson) -> Result<Option<Bytes>> {
        let find = proto::Find {
            collection: self.name.clone(),
            filter: wire::id_filter(id)?,
            limit: Some(1),
            ..proto::Find::default()
        };
        match self.client.execute(Op::Find(find)).await? {
            response::Result::Found(found) => Ok(found.documents.into_iter().next()),
            _ => Err(unexpected("find")),
        }
    }

    /// How an operation on this collection would be carried out, without doing it.
    pub async fn explain(&self, op: proto::explain::Op) -> Result<Document> {
        let explain = proto::Explain { op: Some(op) };
        let documents = crate::find::described(self.client.execute(Op::Explain(explain)).await?)?;
        documents
            .into_iter()
            .next()
            .ok_or_else(|| Error::malformed("the node explained nothing"))
    }
}

impl<T> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Self::new(self.client.clone(), self.name.clone())
    }
}

impl<T> std::fmt::Debug for Collection<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Collection({}/{})", self.client.env(), self.name)
    }
}
