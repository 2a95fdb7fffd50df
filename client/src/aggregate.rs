//! Aggregations: a pipeline of stages, and its result.

use std::marker::PhantomData;

use bson::Document;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::find::{described, unexpected};
use crate::proto::request::Op;
use crate::proto::{self, ReadLevel, response};
use crate::wire;

/// A pipeline under construction. Nothing is sent before [`all`](Self::all) or [`explain`](Self::explain).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> yunbase_client::Result<()> {
/// # let server = yunbase_client::testing::DevServer::start(3)?;
/// # let client = server.client().await?;
/// # client.create_collection("numbers").await?;
/// use yunbase_client::bson::{Document, doc};
///
/// let numbers = client.collection::<Document>("numbers");
/// let many: Vec<Document> = (0..10).map(|n| doc! {"_id": n, "even": n % 2 == 0}).collect();
/// numbers.insert_many(&many).await?;
/// let counted = numbers.aggregate([doc! {"$match": {"even": true}}, doc! {"$count": "n"}]).all().await?;
/// assert_eq!(counted[0].get_i32("n").ok(), Some(5));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a pipeline does nothing until it is sent"]
pub struct Aggregate<T> {
    client: Client,
    collection: String,
    pipeline: Vec<Document>,
    result: PhantomData<fn() -> T>,
}

impl<T> Aggregate<T> {
    pub(crate) fn new(client: Client, collection: String, pipeline: Vec<Document>) -> Self {
        Self {
            client,
            collection,
            pipeline,
            result: PhantomData,
        }
    }

    /// Adds a stage, for example `{"$match": {..}}`.
    pub fn stage(mut self, stage: Document) -> Self {
        self.pipeline.push(stage);
        self
    }

    /// How fresh the result must be.
    pub fn read_level(mut self, read_level: ReadLevel) -> Self {
        self.client = self.client.with_read_level(read_level);
        self
    }

    /// Reads the result into another type.
    pub fn typed<U>(self) -> Aggregate<U> {
        Aggregate::new(self.client, self.collection, self.pipeline)
    }

    fn request(&self) -> Result<proto::Aggregate> {
        let stages = self.pipeline.iter();
        Ok(proto::Aggregate {
            collection: self.collection.clone(),
            pipeline: stages
                .map(|stage| wire::from_document(stage, "stage"))
                .collect::<Result<_>>()?,
        })
    }

    /// How the pipeline was carried out: the plan, and the documents that each stage took.
    pub async fn explain(&self) -> Result<Document> {
        let explain = proto::Explain {
            op: Some(proto::explain::Op::Aggregate(self.request()?)),
        };
        let documents = described(self.client.execute(Op::Explain(explain)).await?)?;
        documents
            .into_iter()
            .next()
            .ok_or_else(|| Error::malformed("the node explained nothing"))
    }
}

impl<T: DeserializeOwned> Aggregate<T> {
    /// The whole result. A result beyond the node's limits is an error, never cut.
    pub async fn all(&self) -> Result<Vec<T>> {
        match self.client.execute(Op::Aggregate(self.request()?)).await? {
            response::Result::Found(found) => found
                .documents
                .iter()
                .map(|document| wire::to_value(document))
                .collect(),
            _ => Err(unexpected("aggregation")),
        }
    }
}
