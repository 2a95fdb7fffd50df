//! `/healthz`, `/readyz` and `/metrics`: what probes, load balancers and Prometheus ask.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// What these pages need to know of the node.
pub trait Health: Send + Sync + 'static {
    /// `Ok` when this node can take requests, else the reason in one sentence.
    fn ready(&self) -> Result<(), String>;
    /// All metrics in Prometheus' text format.
    fn metrics(&self) -> String;
}

/// The routes.
pub fn router(health: Arc<dyn Health>) -> Router {
    Router::new()
        // The process runs and its event loop answers; nothing else, so that a lost quorum does not make
        // a supervisor restart healthy processes.
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn ready(State(health): State<Arc<dyn Health>>) -> Response {
    match health.ready() {
        Ok(()) => (StatusCode::OK, "ready\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics(State(health): State<Arc<dyn Health>>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], health.metrics()).into_response()
}
