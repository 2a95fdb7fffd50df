//! The door of the official packages, as far as workloads need it: transactions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::{ANSWER_MAX, Access};

const PREFIX: &str = "/v1/database/instances/(default)/databases/(default)";
/// Codes by which a node says that it does not know either.
const UNKNOWN_CODES: [&str; 3] = ["SERVER_TIMEOUT", "DATABASE_TRANSACTION_FAIL", "SYS_ERR"];

/// Why a request did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// Nothing has happened and nothing will: a node said so, with this code.
    Refused(String),
    /// Nobody can tell.
    Unknown(String),
}

/// A client of one node at a time.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    urls: Arc<Vec<String>>,
    at: Arc<AtomicUsize>,
    authorization: String,
}

impl Http {
    /// Begins with the node of index `first`.
    pub(super) fn new(access: &Access, first: usize) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            urls: Arc::new(access.urls.clone()),
            at: Arc::new(AtomicUsize::new(first)),
            authorization: format!("Bearer {}.{}", access.secret_id, access.secret_key),
        }
    }

    /// One request, never repeated.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Failed> {
        let at = self.at.load(Ordering::Relaxed);
        let url = &self.urls[at % self.urls.len()];
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{url}{PREFIX}{path}"))
            .header("authorization", &self.authorization)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failed::Refused(error.to_string()))?;
        let answered = async {
            let response = self.client.request(request).await.map_err(lost)?;
            let is_fine = response.status().is_success();
            let body = response.into_body().collect().await.map_err(lost)?;
            let body: Value = serde_json::from_slice(&body.to_bytes()).map_err(lost)?;
            Ok((is_fine, body))
        };
        let failed = match tokio::time::timeout(ANSWER_MAX, answered).await {
            Ok(Ok((true, body))) => return Ok(body),
            Ok(Ok((false, body))) => match body["code"].as_str() {
                Some(code) if !UNKNOWN_CODES.contains(&code) => {
                    return Err(Failed::Refused(code.to_owned()));
                }
                code => Failed::Unknown(code.unwrap_or("an answer without a code").to_owned()),
            },
            Ok(Err(lost)) => lost,
            Err(_) => Failed::Unknown("no answer in time".to_owned()),
        };
        // Perhaps this node is gone: the next request goes to another.
        let _ = self
            .at
            .compare_exchange(at, at + 1, Ordering::Relaxed, Ordering::Relaxed);
        Err(failed)
    }

    /// The next request goes to the next node.
    pub fn to_next_node(&self) {
        self.at.fetch_add(1, Ordering::Relaxed);
    }

    /// What a socket for watches of an environment needs: its address and a ticket.
    pub async fn sign_socket(&self, env: &str) -> Option<Value> {
        let url = &self.urls[self.at.load(Ordering::Relaxed) % self.urls.len()];
        let key = self.authorization.trim_start_matches("Bearer ");
        let body = json!({ "action": "auth.wsWebSign", "env": env, "access_token": key });
        let request = http::Request::post(format!("{url}/web"))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .ok()?;
        let response = self.client.request(request).await.ok()?;
        let body = response.into_body().collect().await.ok()?.to_bytes();
        let mut answer: Value = serde_json::from_slice(&body).ok()?;
        Some(answer["data"].take()).filter(|data| !data.is_null())
    }

    /// Opens a transaction.
    pub async fn begin(&self) -> Result<Transaction<'_>, Failed> {
        let began = self.call("POST", "/transactions", None).await?;
        match began["transactionId"].as_str() {
            Some(id) => Ok(Transaction {
                http: self,
                id: id.to_owned(),
            }),
            None => Err(Failed::Unknown("a transaction without an id".to_owned())),
        }
    }
}

fn lost(error: impl std::error::Error) -> Failed {
    Failed::Unknown(error.to_string())
}

/// An open transaction.
pub struct Transaction<'h> {
    http: &'h Http,
    id: String,
}

impl Transaction<'_> {
    /// The document with this `_id`, if there is one.
    pub async fn get(&self, collection: &str, id: &str) -> Result<Option<Value>, Failed> {
        let found = self.find(collection, &json!({ "_id": id })).await?;
        Ok(found.into_iter().next())
    }

    /// The documents that a query finds.
    pub async fn find(&self, collection: &str, query: &Value) -> Result<Vec<Value>, Failed> {
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

    /// Updates the document with this `_id`, or makes it.
    pub async fn upsert(&self, collection: &str, id: &str, update: Value) -> Result<(), Failed> {
        let body = json!({
            "query": { "_id": id }, "data": update, "multi": false, "upsert": true,
            "replaceMode": false, "transactionId": self.id,
        });
        let path = format!("/collections/{collection}/documents");
        self.http.call("PATCH", &path, Some(body)).await.map(drop)
    }

    /// Ends it, with effect or without.
    pub async fn commit(self) -> Result<(), Failed> {
        let path = format!("/transactions/{}/commit", self.id);
        self.http.call("POST", &path, None).await.map(drop)
    }

    /// Ends it without effect, if anybody hears of it; else its time ends it.
    pub async fn rollback(self) {
        let path = format!("/transactions/{}/rollback", self.id);
        let _ = self.http.call("POST", &path, None).await;
    }
}

/// An integer in canonical EJSON or plain JSON.
pub fn number(value: &Value) -> Option<i64> {
    ["$numberInt", "$numberLong", "$numberDouble"]
        .iter()
        .find_map(|name| value[*name].as_str())
        .and_then(|text| text.parse::<f64>().ok())
        .or_else(|| value.as_f64())
        .map(|number| number as i64)
}
