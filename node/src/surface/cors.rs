//! Cross-origin access for browsers: one layer for every door that apps in pages call.
//!
//! Any origin may ask, because no door acts on cookies: who asks proves it with a token that a page must hold itself.
//! The names of headers are echoed, since `*` does not cover `Authorization`.

use std::time::Duration;

use axum::http::{HeaderName, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer, ExposeHeaders};

/// How long a browser may keep the answer to a preflight; browsers cap it at one or two hours themselves.
const PREFLIGHT_AGE: Duration = Duration::from_secs(7200);
/// What pages may read of an answer.
const EXPOSED: [&str; 4] = ["x-request-id", "x-tcb-trace", "etag", "retry-after"];

/// The layer. It answers every `OPTIONS` request itself, so it goes around the routes of a door and nothing else.
pub fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::any())
        .allow_headers(AllowHeaders::mirror_request())
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::HEAD,
            Method::OPTIONS,
        ])
        .expose_headers(ExposeHeaders::list(EXPOSED.map(HeaderName::from_static)))
        .max_age(PREFLIGHT_AGE)
}
