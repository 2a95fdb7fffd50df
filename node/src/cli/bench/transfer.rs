//! The steps of the workload `txn`: money moved between two documents in a transaction, asked for over HTTP as apps do.
//!
//! One operation is one transfer that was committed, however often it had to be run for that.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use yunbase_client::auth::Credentials;

use super::workload::StepError;
use crate::auth::wechat::tls;
use crate::cli::environment::Environment;
use crate::cli::failure::CliError;

const PREFIX: &str = "/v1/database/instances/(default)/databases/(default)";
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// A transfer that loses so often is an error.
const RUNS_MAX: u64 = 100;
const CONFLICT: &str = "DATABASE_TRANSACTION_CONFLICT";

/// Connections to one node, shared by clients.
#[derive(Clone)]
pub(super) struct Transfers {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
    env: String,
    authorization: String,
    deadline: Duration,
}

/// What a node answered: a document, or that the transaction has lost.
enum Answer {
    Fine(Value),
    Conflict,
}

impl Transfers {
    /// Connections to the node of index `first`, counted round.
    pub(super) fn to(target: &Environment, first: usize) -> Result<Self, CliError> {
        let endpoints = target.endpoints();
        let url = endpoints.get(first % endpoints.len().max(1));
        let key = match target.credentials() {
            Some(Credentials::SecretKey {
                secret_id,
                secret_key,
            }) => format!("{secret_id}.{secret_key}"),
            Some(Credentials::ApiKey(key)) => key,
            None => return Err(CliError::usage("workload txn needs a secret key")),
        };
        let tls = tls().map_err(|error| CliError::failed(error.to_string()))?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            http: Client::builder(TokioExecutor::new()).build(connector),
            url: url.cloned().unwrap_or_default(),
            env: target.env.clone(),
            authorization: format!("Bearer {key}"),
            deadline: target.deadline(),
        })
    }

    /// Moves `amount` from one document to another; returns how often that was in vain.
    pub(super) async fn step(
        &self,
        collection: &str,
        (from, to): (&str, &str),
        amount: i64,
    ) -> Result<u64, StepError> {
        for conflicts in 0..RUNS_MAX {
            if self.run(collection, (from, to), amount).await? {
                return Ok(conflicts);
            }
        }
        Err(unexpected(format!(
            "a transfer met with {RUNS_MAX} conflicts in a row"
        )))
    }

    /// One run; whether it was committed.
    async fn run(
        &self,
        collection: &str,
        (from, to): (&str, &str),
        amount: i64,
    ) -> Result<bool, StepError> {
        let Answer::Fine(began) = self.call("POST", "/transactions?", None).await? else {
            return Ok(false);
        };
        let id = began["transactionId"].as_str().unwrap_or_default();
        let documents = format!("/collections/{collection}/documents");
        for (key, change) in [(from, -amount), (to, amount)] {
            let path = format!("{documents}/{key}?transactionId={id}&");
            let Answer::Fine(found) = self.call("GET", &path, None).await? else {
                return Ok(false);
            };
            let body = json!({
                "query": { "_id": key }, "data": { "$set": { "money": money(&found) + change } },
                "multi": false, "upsert": false, "replaceMode": false, "transactionId": id,
            });
            let path = format!("{documents}?");
            match self.call("PATCH", &path, Some(body)).await? {
                Answer::Fine(done) if done["updated"] == 1 => {}
                Answer::Fine(_) => return Err(unexpected(format!("document {key} is missing"))),
                Answer::Conflict => return Ok(false),
            }
        }
        let path = format!("/transactions/{id}/commit?");
        let ended = self.call("POST", &path, None).await?;
        Ok(matches!(ended, Answer::Fine(_)))
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, StepError> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{PREFIX}{path}env={}", self.url, self.env))
            .header("authorization", &self.authorization)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| unexpected(error.to_string()))?;
        let answered = async {
            let response = self.http.request(request).await;
            let response = response.map_err(|error| unexpected(error.to_string()))?;
            let is_fine = response.status().is_success();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
            let body = body.collect().await;
            let body = body.map_err(|error| unexpected(error.to_string()))?;
            let answer: Value = serde_json::from_slice(&body.to_bytes())
                .map_err(|error| unexpected(error.to_string()))?;
            match answer["code"].as_str() {
                _ if is_fine => Ok(Answer::Fine(answer)),
                Some(CONFLICT) => Ok(Answer::Conflict),
                code => {
                    let message = answer["message"].as_str().unwrap_or_default();
                    Err(unexpected(format!("{}: {message}", code.unwrap_or("?"))))
                }
            }
        };
        let answered = tokio::time::timeout(self.deadline, answered).await;
        answered.unwrap_or_else(|_| Err(unexpected("no answer in time".to_owned())))
    }
}

fn unexpected(what: String) -> StepError {
    StepError::Unexpected(what)
}

/// The document's money, in canonical EJSON; none at first.
fn money(document: &Value) -> i64 {
    let money = &document["money"];
    ["$numberInt", "$numberLong"]
        .iter()
        .find_map(|name| money[*name].as_str()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::{Path, State};
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use axum::{Json, response::IntoResponse};

    use super::*;
    use crate::cli::target::Target;

    /// A node as far as transfers need it. Every second commit is a conflict.
    #[derive(Clone, Default)]
    struct StandIn {
        money: Arc<Mutex<BTreeMap<String, i64>>>,
        pending: Arc<Mutex<BTreeMap<String, i64>>>,
        commits: Arc<Mutex<u64>>,
    }

    async fn update(State(own): State<StandIn>, Json(body): Json<Value>) -> impl IntoResponse {
        let key = body["query"]["_id"].as_str().unwrap().to_owned();
        assert_eq!(body["transactionId"], "t");
        let money = body["data"]["$set"]["money"].as_i64().unwrap();
        own.pending.lock().unwrap().insert(key, money);
        Json(json!({ "updated": 1 }))
    }

    async fn read(State(own): State<StandIn>, Path(key): Path<String>) -> impl IntoResponse {
        match own.money.lock().unwrap().get(&key) {
            Some(money) => Json(json!({ "money": { "$numberInt": money.to_string() } })),
            None => Json(json!({ "_id": key })),
        }
    }

    async fn commit(State(own): State<StandIn>) -> impl IntoResponse {
        let mut commits = own.commits.lock().unwrap();
        *commits += 1;
        let pending = std::mem::take(&mut *own.pending.lock().unwrap());
        if *commits % 2 == 1 {
            return (StatusCode::CONFLICT, Json(json!({ "code": CONFLICT })));
        }
        own.money.lock().unwrap().extend(pending);
        (StatusCode::OK, Json(json!({})))
    }

    #[tokio::test]
    async fn a_transfer_is_run_until_it_is_committed() {
        let own = StandIn::default();
        let begin = post(|| async { Json(json!({ "transactionId": "t" })) });
        let routes = Router::new()
            .route("/transactions", begin)
            .route("/transactions/t/commit", post(commit))
            .route("/collections/c/documents", axum::routing::patch(update))
            .route("/collections/c/documents/{key}", get(read))
            .with_state(own.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().nest(PREFIX, routes);
        tokio::spawn(async move { axum::serve(listener, app).await });
        let target = |credentials| Environment {
            cluster: Target {
                endpoints: vec![url.clone()],
                env: None,
                pids: Vec::new(),
                credentials,
                deadline: Duration::from_secs(10),
            },
            env: "demo".into(),
        };
        assert!(Transfers::to(&target(None), 0).is_err());
        let key = Some(Credentials::ApiKey("id.key".into()));
        let transfers = Transfers::to(&target(key), 5).unwrap();
        for _ in 0..2 {
            let conflicts = transfers.step("c", ("a", "b"), 3).await.unwrap();
            assert_eq!(conflicts, 1);
        }
        let money = own.money.lock().unwrap().clone();
        assert_eq!(money, BTreeMap::from([("a".into(), -6), ("b".into(), 6)]));
        let missing = transfers.step("elsewhere", ("a", "b"), 1).await;
        assert!(missing.is_err());
    }
}
