//! Reading documents: the query, its pages, and a stream over them.

use std::collections::VecDeque;
use std::marker::PhantomData;

use bson::Document;
use bytes::Bytes;
use futures::Stream;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::limits::PAGE_DOCUMENTS;
use crate::proto::request::Op;
use crate::proto::{self, ReadLevel, response};
use crate::wire;

/// A query under construction. Nothing is sent before one of [`all`](Self::all), [`first`](Self::first),
/// [`page`](Self::page) or [`stream`](Self::stream).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> yunbase_client::Result<()> {
/// # let server = yunbase_client::testing::DevServer::start(3)?;
/// # let client = server.client().await?;
/// # client.create_collection("numbers").await?;
/// use futures::TryStreamExt;
/// use yunbase_client::bson::{Document, doc};
/// use yunbase_client::filter::gte;
///
/// let numbers = client.collection::<Document>("numbers");
/// let many: Vec<Document> = (0..100).map(|n| doc! {"_id": n, "square": n * n}).collect();
/// numbers.insert_many(&many).await?;
/// let large = numbers.find(gte("square", 50 * 50)).project(doc! {"square": 1}).page_documents(7);
/// let found: Vec<Document> = large.stream().try_collect().await?;
/// assert_eq!(found.len(), 50);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a query does nothing until it is sent"]
pub struct Find<T> {
    client: Client,
    collection: String,
    filter: Filter,
    projection: Document,
    sort: Document,
    skip: u64,
    limit: Option<u64>,
    page_documents: u64,
    after: Bytes,
    result: PhantomData<fn() -> T>,
}

/// One page of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// In the order asked for.
    pub documents: Vec<T>,
    /// Where the next page begins: give it to [`Find::after`]. Empty at the end.
    pub next: Bytes,
}

impl<T> Find<T> {
    pub(crate) fn new(client: Client, collection: String, filter: Filter) -> Self {
        Self {
            client,
            collection,
            filter,
            projection: Document::new(),
            sort: Document::new(),
            skip: 0,
            limit: None,
            page_documents: PAGE_DOCUMENTS,
            after: Bytes::new(),
            result: PhantomData,
        }
    }

    /// Orders by this path, smallest first; further calls break ties.
    pub fn sort_by(mut self, path: impl Into<String>) -> Self {
        self.sort.insert(path, 1);
        self
    }

    /// Orders by this path, largest first; further calls break ties.
    pub fn sort_by_descending(mut self, path: impl Into<String>) -> Self {
        self.sort.insert(path, -1);
        self
    }

    /// The whole order at once: `{path: 1 | -1, ...}`.
    pub fn sort(mut self, sort: Document) -> Self {
        self.sort = sort;
        self
    }

    /// Leaves out this many matches.
    pub fn skip(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// Returns at most this many documents.
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Which fields: `{path: 1, ...}` or `{path: 0, ...}`.
    pub fn project(mut self, projection: Document) -> Self {
        self.projection = projection;
        self
    }

    /// Continues after the [`Page::next`] of an earlier page.
    pub fn after(mut self, after: Bytes) -> Self {
        self.after = after;
        self
    }

    /// Asks for this many documents with each page.
    pub fn page_documents(mut self, page_documents: u64) -> Self {
        self.page_documents = page_documents.max(1);
        self
    }

    /// How fresh the result must be.
    pub fn read_level(mut self, read_level: ReadLevel) -> Self {
        self.client = self.client.with_read_level(read_level);
        self
    }

    /// Reads the documents into another type, for example after a projection.
    pub fn typed<U>(self) -> Find<U> {
        let Self {
            client,
            collection,
            filter,
            projection,
            sort,
            skip,
            limit,
            page_documents,
            after,
            result: _,
        } = self;
        let result = PhantomData;
        Find {
            client,
            collection,
            filter,
            projection,
            sort,
            skip,
            limit,
            page_documents,
            after,
            result,
        }
    }

    fn request(&self, page: u64) -> Result<proto::Find> {
        Ok(proto::Find {
            collection: self.collection.clone(),
            filter: wire::from_document(&self.filter.0, "filter")?,
            projection: wire::from_document(&self.projection, "projection")?,
            sort: wire::from_document(&self.sort, "sort")?,
            skip: self.skip,
            limit: Some(self.limit.unwrap_or(u64::MAX).min(page)),
            after: self.after.clone(),
        })
    }

    /// How the query would be carried out, without doing it.
    pub async fn explain(&self) -> Result<Document> {
        let find = proto::Find {
            limit: self.limit,
            ..self.request(u64::MAX)?
        };
        let explain = proto::Explain {
            op: Some(proto::explain::Op::Find(find)),
        };
        let documents = described(self.client.execute(Op::Explain(explain)).await?)?;
        documents
            .into_iter()
            .next()
            .ok_or_else(|| Error::malformed("the node explained nothing"))
    }

    async fn raw_page(&self, page: u64) -> Result<proto::Found> {
        match self.client.execute(Op::Find(self.request(page)?)).await? {
            response::Result::Found(found) => Ok(found),
            _ => Err(unexpected("find")),
        }
    }

    /// One page of documents as BSON: as many as [`limit`](Self::limit) and the size of a page allow.
    pub async fn page_raw(&self) -> Result<Page<Bytes>> {
        let proto::Found { documents, next } = self.raw_page(self.page_documents).await?;
        Ok(Page { documents, next })
    }

    /// The documents as BSON, page by page, at most one page ahead of the reader.
    ///
    /// Each page is a query of its own: a document that changes meanwhile may show before or after its change.
    pub fn stream_raw(self) -> impl Stream<Item = Result<Bytes>> + Send + use<T>
    where
        T: 'static,
    {
        let reading = Reading {
            find: self,
            page: VecDeque::new(),
            ended: false,
        };
        futures::stream::try_unfold(reading, async |mut reading| {
            let document = reading.next().await?;
            Ok(document.map(|document| (document, reading)))
        })
    }
}

impl<T: DeserializeOwned> Find<T> {
    /// One page: as many documents as [`limit`](Self::limit) and the size of a page allow.
    pub async fn page(&self) -> Result<Page<T>> {
        let found = self.raw_page(self.page_documents).await?;
        let documents = found
            .documents
            .iter()
            .map(|document| wire::to_value(document))
            .collect::<Result<_>>()?;
        Ok(Page {
            documents,
            next: found.next,
        })
    }

    /// The first document, if any matches.
    pub async fn first(&self) -> Result<Option<T>> {
        let found = self.raw_page(1).await?;
        found
            .documents
            .first()
            .map(|document| wire::to_value(document))
            .transpose()
    }

    /// All documents of the result, in memory. Set a [`limit`](Self::limit) when there may be many.
    pub async fn all(self) -> Result<Vec<T>>
    where
        T: 'static,
    {
        let mut reading = Reading {
            find: self,
            page: VecDeque::new(),
            ended: false,
        };
        let mut documents = Vec::new();
        while let Some(document) = reading.next().await? {
            documents.push(wire::to_value(&document)?);
        }
        Ok(documents)
    }

    /// The documents, page by page; see [`stream_raw`](Self::stream_raw).
    pub fn stream(self) -> impl Stream<Item = Result<T>> + Send + use<T>
    where
        T: Send + 'static,
    {
        use futures::StreamExt;
        self.stream_raw().map(|document| wire::to_value(&document?))
    }
}

/// A result being read.
struct Reading<T> {
    find: Find<T>,
    page: VecDeque<Bytes>,
    ended: bool,
}

impl<T> Reading<T> {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.page.is_empty() && !self.ended && self.find.limit != Some(0) {
            self.read_page().await?;
        }
        Ok(self.page.pop_front())
    }

    async fn read_page(&mut self) -> Result<()> {
        let found = self.find.raw_page(self.find.page_documents).await?;
        let count = found.documents.len() as u64;
        // A position without progress would be asked for again for ever.
        self.ended = found.next.is_empty() || (count == 0 && found.next == self.find.after);
        self.page = found.documents.into();
        if let Some(limit) = &mut self.find.limit {
            *limit = limit.saturating_sub(count);
        }
        if self.find.sort.is_empty() {
            self.find.skip = 0;
            self.find.after = found.next;
        } else {
            // Positions are those of the primary key: an ordered result continues by number.
            self.find.skip = self.find.skip.saturating_add(count);
            self.ended |= count == 0;
        }
        Ok(())
    }
}

pub(crate) fn unexpected(operation: &str) -> Error {
    Error::malformed(format!(
        "the node answered a {operation} with something else"
    ))
}

pub(crate) fn described(result: response::Result) -> Result<Vec<Document>> {
    match result {
        response::Result::Described(described) => described
            .documents
            .iter()
            .map(|document| wire::to_value(document))
            .collect(),
        _ => Err(unexpected("description")),
    }
}
