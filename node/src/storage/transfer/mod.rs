//! `/storage/{env}/{path}`: the bytes of files, in and out, over HTTP.
//!
//! Who comes with an address or a ticket of [`Links`](crate::storage::links::Links) is served without any other question; where
//! everyone may read, who comes without is served too. Nothing here knows keys or tokens.
//!
//! | file | owns |
//! |---|---|
//! | `upload` | `PUT` and `POST`: three forms of upload with three ways to say that all went well |
//! | `form`, `part_head` | forms of `POST`, read piece by piece within bounds |
//! | `arrival` | a body that arrives: how slow it may be, and what it was refused for |
//! | `download` | `GET` and `HEAD` |
//! | `conditions`, `range` | which answer a reader's headers ask for |
//! | `answer` | errors as XML, with the four members that clients read |
//!
//! # What it promises
//! * An upload that breaks off, is too slow, too large or not what was announced leaves no file and no change of one.
//! * What is held of a body is bounded, whatever its size; so are uploads and downloads under way.
//! * Files never act on the origin that they come from: browsers are told not to guess their type nor run them.

mod answer;
mod arrival;
mod conditions;
mod download;
mod form;
mod part_head;
mod range;
#[cfg(test)]
mod transfer_test;
mod upload;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use axum::routing::any;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::address;
use super::door::FileDoor;
use super::error::{StorageError, StorageResult};
use super::files::Scope;
use crate::call::KeyDirectory;
use crate::cluster::records::CLUSTER_ENV;
use crate::gateway::{Clock, adopt_request_id};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id taken over from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What transfers need from the node around them.
#[derive(Clone)]
pub struct TransferState {
    door: Arc<FileDoor>,
    keys: Arc<dyn KeyDirectory>,
    clock: Arc<dyn Clock>,
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
}

impl TransferState {
    /// Transfers of the files behind `door`, in the environments that `keys` knows.
    pub fn new(door: Arc<FileDoor>, keys: Arc<dyn KeyDirectory>, clock: Arc<dyn Clock>) -> Self {
        let limits = door.files.limits();
        Self {
            uploads: Arc::new(Semaphore::new(limits.uploads_max)),
            downloads: Arc::new(Semaphore::new(limits.downloads_max)),
            door,
            keys,
            clock,
        }
    }

    fn now_s(&self) -> i64 {
        self.clock.now_unix_ms().div_euclid(1000)
    }

    /// Whether there is an environment of this name, which the node may have to learn of first.
    async fn check_env(&self, scope: &Scope, may_ask: bool) -> StorageResult<()> {
        let is_there = || scope.env != CLUSTER_ENV && self.keys.has_env(&scope.env);
        if is_there() {
            return Ok(());
        }
        if may_ask {
            let timeout = self.door.files.limits().request_timeout;
            self.keys.catch_up(Instant::now() + timeout).await;
            if is_there() {
                return Ok(());
            }
        }
        Err(StorageError::NotFound(format!("{}/…", scope.env)))
    }
}

/// The routes.
pub fn router(state: TransferState) -> Router {
    Router::new()
        .route("/storage/{env}/{*path}", any(serve))
        .with_state(state)
}

/// What a URL is about.
struct Place {
    scope: Scope,
    /// What its path may mean, likeliest first.
    readings: Vec<String>,
}

impl Place {
    fn of(parts: &Parts, request_id: &str) -> StorageResult<Self> {
        let rest = parts.uri.path().strip_prefix(address::PREFIX);
        let Some((env, path)) = rest.and_then(|rest| rest.split_once('/')) else {
            return Err(StorageError::Invalid(
                "the path of the URL has the form `/storage/environment/path`".to_owned(),
            ));
        };
        Ok(Self {
            scope: Scope {
                env: env.to_owned(),
                request_id: request_id.to_owned(),
            },
            readings: address::readings(path)?,
        })
    }
}

async fn serve(State(state): State<TransferState>, request: Request) -> Response<Body> {
    let began = Instant::now();
    let (parts, body) = request.into_parts();
    let request_id = adopt_request_id(text(&parts.headers, "x-request-id"), REQUEST_ID_BYTES_MAX);
    let request_id = request_id.as_str();
    let outcome = carry_out(&state, &parts, body, request_id).await;
    let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    let mut response = match outcome {
        Ok(response) => {
            let status = response.status().as_u16();
            tracing::debug!(request_id, method, path, status, took_us, "file served");
            response
        }
        Err(error) => {
            let code = error.code();
            tracing::info!(request_id, method, path, code, took_us, "file refused");
            answer::refusal(&error, request_id)
        }
    };
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

async fn carry_out(
    state: &TransferState,
    parts: &Parts,
    body: Body,
    request_id: &str,
) -> StorageResult<Response<Body>> {
    let place = Place::of(parts, request_id)?;
    match parts.method {
        Method::GET | Method::HEAD => download::serve(state, &place, parts).await,
        Method::PUT | Method::POST => upload::serve(state, &place, parts, body).await,
        _ => Ok(answer::wrong_method(request_id)),
    }
}

/// One of the places for uploads or for downloads.
fn permit(places: &Arc<Semaphore>, what: &'static str) -> StorageResult<OwnedSemaphorePermit> {
    places.clone().try_acquire_owned().map_err(|_| {
        StorageError::TooMany(format!(
            "this node serves as many {what} as it may: try again shortly, or through another node"
        ))
    })
}

/// A header's text; absent and not plain ASCII are the same.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
