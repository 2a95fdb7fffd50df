//! Transactions as an app asks for them: over HTTP, through one node each.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::cluster::Cluster;

const PREFIX: &str = "/v1/database/instances/(default)/databases/(default)";
/// Longer than an outage after a leader's death.
const ANSWER_MAX: Duration = Duration::from_secs(8);

/// Why a request did not do what it should.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nothing has happened and nothing will: the node said so.
    Refused(String),
    /// Nobody can tell, unless it was a request that changes nothing by itself.
    Unknown,
}

/// A client of one node.
#[derive(Clone)]
pub(super) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    authorization: String,
}

impl Http {
    /// A client of node `k` with the rights of an administrator.
    pub(super) fn new(cluster: &Cluster, k: usize) -> Self {
        let text = |name: &str| cluster.json[name].as_str().unwrap().to_owned();
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            url: cluster.url(k),
            authorization: format!("Bearer {}.{}", text("secretId"), text("secretKey")),
        }
    }

    pub(super) async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Failed> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{PREFIX}{path}", self.url))
            .header("authorization", &self.authorization)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let answered = async {
            let response = self.client.request(request).await.ok()?;
            let is_fine = response.status().is_success();
            let body = response.into_body().collect().await.ok()?.to_bytes();
            let body: Value = serde_json::from_slice(&body).ok()?;
            Some((is_fine, body))
        };
        match tokio::time::timeout(ANSWER_MAX, answered).await {
            Ok(Some((true, body))) => Ok(body),
            Ok(Some((false, body))) => match body["code"].as_str() {
                // What the node does not know either.
                Some("SERVER_TIMEOUT" | "DATABASE_TRANSACTION_FAIL" | "SYS_ERR") | None => {
                    Err(Failed::Unknown)
                }
                Some(code) => Err(Failed::Refused(code.to_owned())),
            },
            Ok(None) | Err(_) => Err(Failed::Unknown),
        }
    }

    pub(super) async fn begin(&self) -> Result<Transaction<'_>, Failed> {
        let began = self.call("POST", "/transactions", None).await?;
        Ok(Transaction {
            http: self,
            id: began["transactionId"].as_str().unwrap().to_owned(),
        })
    }
}

/// An open transaction.
pub(super) struct Transaction<'h> {
    http: &'h Http,
    id: String,
}

impl Transaction<'_> {
    /// The document with this `_id`, which must be there.
    pub(super) async fn get(&self, collection: &str, id: &str) -> Result<Value, Failed> {
        let path = format!(
            "/collections/{collection}/documents/{id}?transactionId={}",
            self.id
        );
        self.http.call("GET", &path, None).await
    }

    /// The documents that a query finds.
    pub(super) async fn find(&self, collection: &str, query: &Value) -> Result<Vec<Value>, Failed> {
        let query = percent_encoding::utf8_percent_encode(
            &query.to_string(),
            percent_encoding::NON_ALPHANUMERIC,
        )
        .to_string();
        let path = format!(
            "/collections/{collection}/documents?limit=1000&query={query}&transactionId={}",
            self.id
        );
        let found = self.http.call("GET", &path, None).await?;
        Ok(found["list"].as_array().cloned().unwrap_or_default())
    }

    pub(super) async fn add(&self, collection: &str, document: Value) -> Result<(), Failed> {
        let body = json!({ "data": [document], "transactionId": self.id });
        let path = format!("/collections/{collection}/documents");
        self.http.call("POST", &path, Some(body)).await.map(drop)
    }

    /// Updates the document with this `_id`.
    pub(super) async fn update(
        &self,
        collection: &str,
        id: &str,
        update: Value,
    ) -> Result<(), Failed> {
        let body = json!({
            "query": { "_id": id }, "data": update, "multi": false, "upsert": false,
            "replaceMode": false, "transactionId": self.id,
        });
        let path = format!("/collections/{collection}/documents");
        self.http.call("PATCH", &path, Some(body)).await.map(drop)
    }

    /// Ends it, with effect or without.
    pub(super) async fn commit(self) -> Result<(), Failed> {
        let path = format!("/transactions/{}/commit", self.id);
        self.http.call("POST", &path, None).await.map(drop)
    }

    pub(super) async fn rollback(self) {
        let path = format!("/transactions/{}/rollback", self.id);
        let _ = self.http.call("POST", &path, None).await;
    }
}

/// A number in canonical EJSON or plain JSON.
pub(super) fn number(value: &Value) -> i64 {
    let text = ["$numberInt", "$numberLong", "$numberDouble"]
        .iter()
        .find_map(|name| value[*name].as_str());
    match text {
        Some(text) => text.parse::<f64>().unwrap() as i64,
        None => value.as_f64().unwrap() as i64,
    }
}
